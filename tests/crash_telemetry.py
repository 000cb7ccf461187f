"""Telemetry while the broker may die: what it was told is in stats.db once."""

import contextlib
import sqlite3
from typing import Any

from tests.crash_birth import start
from tests.crash_world import Step, World
from tests.test_broker import RECORD

SINCE = "2026-01-01T00:00:00.000Z"


def series(w: World, agent: str) -> dict[str, Any]:
    found = w.ok("operator", "stats", since=SINCE, agent=agent, step=86_400)["series"]
    return {each["key"]: sum(each["value"]) for each in found}


def total(w: World, agent: str, key: str) -> float:
    found = w.ok("operator", "metrics")["series"]
    (count,) = [each["sum"] for each in found if (each["agent"], each["key"]) == (agent, key)]
    return float(count)


def is_counted(w: World) -> None:
    w.send("ada", "operator", "counted")
    w.ok("ada", "turn", **RECORD | {"number": 1})
    counts = series(w, "ada")
    assert counts["sent.operator"] == total(w, "ada", "sent.operator") == 1
    assert counts["turns"] == counts["outcome.ok"] == 1


def is_kept_or_pruned(w: World) -> None:
    with contextlib.closing(sqlite3.connect(w.folder / "state/db/stats.db", isolation_level=None)) as db:
        db.execute("pragma busy_timeout = 10000")
        db.execute("update stats set ts = ts - 864000000 where key = 'sent.operator'")
    w.ok("system", "prune", days=1, stats_days=1)
    assert series(w, "ada")["sent.operator"] == 1  # of the hour


def older_release(w: World) -> None:
    """Which had what was said in stats.db."""
    folder = w.folder / "state/db"
    with contextlib.closing(sqlite3.connect(folder / "events.db")) as db:
        ((table,),) = db.execute("select sql from sqlite_schema where name = 'turn_events'")
    row = (1, "ada", 7, "run", 1, "2099-01-01T00:00:00.000Z", "text", None, None, "said", 4)
    with contextlib.closing(sqlite3.connect(folder / "stats.db")) as db, db:
        db.execute(table)
        db.execute("insert into turn_events values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def is_moved(w: World) -> None:
    (turn,) = w.ok("operator", "turns", agent="ada", limit=1)["turns"]
    assert [event["text"] for event in turn["events"]] == ["said"]


STEPS: list[Step] = [is_counted, is_kept_or_pruned]
UPGRADE: list[Step] = [older_release, start, is_moved]
