"""Series of stats.db over a window, by steps: what a chart is drawn from. On a connection of its own."""

import contextlib
import math
import sqlite3
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from hyperhive.problem import Problem
from hyperhive.series import HOUR, PER_DOUBLING

Row = dict[str, Any]
Point = tuple[int, float, float, float]  # when its step begins, value, the greatest in it, p95

BUSY_MS = 5000  # a batch is written in milliseconds, unless another reader holds it up
RAW_MAX = 25 * HOUR  # a day, asked for a little later; what is longer is read from the hours
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
BEFORE = """select value from stats where key = :key and agent = :agent and ts < :since
    order by ts desc limit 1"""


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
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.execute(f"pragma busy_timeout = {BUSY_MS}")
            db.execute("begin")
            found = db.execute(FOUND, {"key": key, "agent": agent}).fetchall()
            return [series(db, wanted, *about) for about in found]
    except sqlite3.Error as e:
        raise Problem("storage", f"cannot read {path}: {e}") from e


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
    rows = db.execute(VALUES if wanted.raw else SPREAD, given)
    points = []
    for at, group in groupby(rows, lambda row: row[0]):
        steps = [(value, count) for _, value, count in group]
        values = [percentile(steps, share) for share in (0.5, 1, 0.95)]
        if not wanted.raw:
            values = [round(2 ** (value / PER_DOUBLING)) for value in values]
        points.append((at, *values))
    return points


def percentile(steps: Iterable[tuple[float, int]], share: float) -> float:
    """By nearest rank, of values in order, each with how often it is there."""
    steps = list(steps)
    rank = math.ceil(share * sum(count for _, count in steps))
    for value, count in steps:
        rank -= count
        if rank <= 0:
            return value
    raise ValueError("no values")
