"""The generator of telemetry: believable, quick, and the same for the same seed."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from hyperhive.stats import made, sql
from hyperhive.stats.stats import Stats
from tests.hive import ROOT

COMMAND = [sys.executable, "-m", "hyperhive.stats.made"]
FEW = ["--agents=5", "--days=4", "--turns=400", "--until=2026-11-22T00:00:00+00:00"]


def make(path: Path, *options: str) -> list[str]:
    subprocess.run([*COMMAND, path, *FEW, *options], check=True, cwd=ROOT, timeout=60)
    with closing(sqlite3.connect(path)) as db:
        return [line for line in db.iterdump() if "_sqlite_migrations" not in line]


def test_the_same_seed_makes_the_same(tmp_path: Path) -> None:
    first, second, other = (
        make(tmp_path / name, f"--seed={seed}") for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second != other


def test_every_kind_of_row_is_there(tmp_path: Path) -> None:
    make(tmp_path / "stats.db")
    with closing(sqlite3.connect(tmp_path / "stats.db")) as db:
        tables = (
            "turns series stats stats_hour stats_spread messages approvals questions starts egress".split()
        )
        assert all(db.execute(f"select count(*) from {name}").fetchone()[0] > 5 for name in tables)  # noqa: S608
        turns, outcomes = db.execute("select count(*), count(distinct outcome) from turns").fetchone()
        assert 200 < turns < 600 and outcomes > 2
        hours = dict(db.execute("select substr(ended_at, 12, 2), count(*) from turns group by 1"))
        assert hours["10"] > 3 * hours.get("02", 0)


def steps(path: Path) -> int:
    """Of SQLite's machine, in hundreds, for a batch with one new message."""
    db = Stats(path).opened()
    db.executescript(made.AS_IN_HIVE_DB + sql.FRESH)
    message = (10_000, "ada", "bob", "2026-11-22T10:00:00.000Z", "hello", None, None, "queued", 0)
    db.execute(f"insert into hive.message values ({', '.join('?' * len(message))})", message)  # noqa: S608
    lists = "delivered turns requests questions runs starts denied points egress wild".split()
    given: dict[str, object] = {**dict.fromkeys(lists, "[]"), "touched": "[10000]"}
    given |= {"read_to": None, "now": 0, "catch_up": False}
    counted: list[None] = []
    db.set_progress_handler(lambda: counted.append(None), 100)
    for statement in (*sql.NEWS, *sql.OF_TURNS):
        db.execute(statement, given)
    db.close()
    return len(counted)


def test_a_batch_takes_no_longer_the_longer_there_has_been_a_hive(tmp_path: Path) -> None:
    make(tmp_path / "old.db")
    assert steps(tmp_path / "old.db") < 2 * steps(tmp_path / "new.db")
