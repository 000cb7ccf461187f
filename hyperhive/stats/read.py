"""Series of stats.db over a window, by steps: what a chart is drawn from. On a connection of its own."""

import contextlib
import math
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from hyperhive.problem import Problem
from hyperhive.stats.series import HOUR, PER_DOUBLING, SIX_HOURS
from hyperhive.stats.sql import ms

Row = dict[str, Any]
About = tuple[str, str, str, str]  # key, agent, kind, unit
Point = tuple[int, float, float, float]  # when its step begins, value, the greatest in it, p95

BUSY_MS = 5000  # a batch is written in milliseconds, unless another reader holds it up
RAW_MAX = 25 * HOUR  # a day, asked for a little later; what is longer is read from the hours
FIRST = itemgetter(0)
STEPS_BY_DEFAULT = 120
STEPS_MAX = 1000
NICE = [n * 1000 for n in (1, 5, 15, 60, 120, 300, 900, 1800)] + [
    n * HOUR for n in (1, 2, 3, 6, 12, 24, 168)
]

FOUND = """select key, agent, kind, unit from series
    where (:key is null or key = :key) and (:agent is null or agent = :agent) order by agent, key"""
ONE = "where key = :key and agent = :agent and ts >= :since and ts < :until"
STEP = "select ts / :step * :step as at"
# A bare column beside a lone max() is of the row that has the maximum.
RAW = {
    "sum": f"{STEP}, sum(value), max(value), 0 from stats {ONE} group by 1",
    "mean": f"{STEP}, avg(value), max(value), 0 from stats {ONE} group by 1",
    "last": f"""select at, value, most, 0 from ({STEP}, value, max(ts) from stats {ONE} group by 1)
        join ({STEP}, max(value) as most from stats {ONE} group by 1) using (at)""",
}
HOURS = {
    "sum": f"{STEP}, sum(sum), max(max), 0 from stats_hour {ONE} group by 1",
    "mean": f"{STEP}, sum(sum) / sum(count), max(max), 0 from stats_hour {ONE} group by 1",
    "last": f"""select at, last, most, 0 from ({STEP}, last, max(ts) from stats_hour {ONE} group by 1)
        join ({STEP}, max(max) as most from stats_hour {ONE} group by 1) using (at)""",
}
VALUES = f"{STEP}, value, 1 from stats {ONE} order by 1, 2"
SPREAD = f"{STEP}, step, sum(count) from stats_spread {ONE} group by 1, 2"
SPREAD_6H = f"{STEP}, step, sum(count) from stats_spread_6h {ONE} group by 1, 2"
AS_THEY_ARE = f"select ts, step, count from stats_spread_6h {ONE} order by 1, 2"
BEFORE = """select value from stats where key = :key and agent = :agent and ts < :since
    order by ts desc limit 1"""

TOTAL = "select step, count, sum from stats_total where agent = :agent and key = :key order by step"
OLDEST = f"""select coalesce(max(0, :now - min({ms("requested_at")})), 0)
    from approvals where state = 'pending'"""  # it grows while nothing happens
NEWEST = "select last from stats_hour where key = :key and agent = :agent order by ts desc limit 1"


class Window(NamedTuple):
    """Unix times and a length in ms; `since` is a multiple of the step."""

    since: int
    until: int
    step: int

    @property
    def raw(self) -> bool:
        return self.step < HOUR or self.step % HOUR != 0


def window(since: int, until: int, step: int | None) -> Window:
    if since >= until:
        raise Problem("bad-request", "'since' must be before 'until'")
    if step is None:
        wanted = (until - since) / STEPS_BY_DEFAULT
        step = next((each for each in NICE if each >= wanted), NICE[-1])
    if until - since > step * STEPS_MAX:
        raise Problem("bad-request", f"'step' makes more than {STEPS_MAX} steps of this window")
    if until - since > RAW_MAX and step % HOUR:
        raise Problem("bad-request", "'step' of a window of more than a day must be whole hours")
    return Window(since // step * step, until, step)


def read(path: Path, wanted: Window, key: str | None, agent: str | None) -> list[Row]:
    return at_once(path, lambda db: [series(db, wanted, *about) for about in which(db, key, agent)])


def totals(path: Path, agents: frozenset[str], now: int) -> list[Row]:
    """Of each series of these agents: all that there ever was, and what is now."""
    return at_once(path, lambda db: [total(db, now, *about) for about in which(db) if about[1] in agents])


def at_once(path: Path, work: Callable[[sqlite3.Connection], list[Row]]) -> list[Row]:
    """As of one moment."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.execute(f"pragma busy_timeout = {BUSY_MS}")
            db.execute("begin")
            return work(db)
    except sqlite3.Error as e:
        raise Problem("storage", f"cannot read {path}: {e}") from e


def which(db: sqlite3.Connection, key: str | None = None, agent: str | None = None) -> list[About]:
    return db.execute(FOUND, {"key": key, "agent": agent}).fetchall()


def total(db: sqlite3.Connection, now: int, key: str, agent: str, kind: str, unit: str) -> Row:
    given = {"key": key, "agent": agent, "now": now}
    about: Row = {"key": key, "agent": agent, "kind": kind, "unit": unit, "last": None, "steps": []}
    if kind == "last":
        newest = OLDEST if key == "approvals_oldest_ms" else NEWEST
        (last,) = db.execute(newest, given).fetchone()
        return about | {"last": last, "count": 0, "sum": 0}
    steps = db.execute(TOTAL, given).fetchall()
    about |= {"steps": [each[:2] for each in steps]} if kind == "spread" else {}
    return about | {"count": sum(row[1] for row in steps), "sum": sum(row[2] for row in steps)}


def series(db: sqlite3.Connection, wanted: Window, key: str, agent: str, kind: str, unit: str) -> Row:
    given = wanted._asdict() | {"key": key, "agent": agent}
    before = db.execute(BEFORE, given).fetchone() if kind == "last" else None
    if kind == "spread":
        points = spread(db, wanted, given)
    else:
        points = db.execute((RAW if wanted.raw else HOURS)[kind], given).fetchall()
    at, value, most, high = map(list, zip(*points, strict=True)) if points else ([], [], [], [])
    about = {"key": key, "agent": agent, "kind": kind, "unit": unit, "before": before and before[0]}
    return about | {"at": at, "value": value, "max": most, "high": high if kind == "spread" else []}


def spread(db: sqlite3.Connection, wanted: Window, given: Row) -> list[Point]:
    """p50 and p95: exact in a short window, to within 9 % in a long one."""
    rows = db.execute(spreads(wanted), given)
    points = []
    for at, group in groupby(rows, FIRST):
        _, steps, counts = zip(*group, strict=True)
        values = percentile(steps, counts, 0.5), steps[-1], percentile(steps, counts, 0.95)
        middle, most, high = values if wanted.raw else (round(2 ** (each / PER_DOUBLING)) for each in values)
        points.append((at, middle, most, high))
    return points


def spreads(wanted: Window) -> str:
    if wanted.raw:
        return VALUES
    if wanted.step == SIX_HOURS:  # the step of 30 days, of all agents in half the time of a sum
        return AS_THEY_ARE
    return SPREAD if wanted.step % SIX_HOURS else SPREAD_6H


def percentile(values: Sequence[float], counts: Sequence[int], share: float) -> float:
    """By nearest rank, of values in order, each with how often it is there."""
    ranks = list(accumulate(counts))
    return values[bisect_left(ranks, math.ceil(share * ranks[-1]))]
