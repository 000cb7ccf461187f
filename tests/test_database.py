"""What the broker does at its start with a database that is not as it left it."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hive import ROOT, Hive

NOBODY = 65534


def broker(folder: Path, *, uid: int = 0) -> str:
    """What a broker without sockets says: it looks at its databases first."""
    for each in ("state/db", "run"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    search = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    become = ["setpriv", f"--reuid={uid}", "--clear-groups", *search] if uid else []
    options = [f"--state={folder}/state", f"--run={folder}/run", f"--config={folder}/hive.toml"]
    (folder / "hive.toml").touch()
    command = [*become, sys.executable, os.fspath(ROOT / "bin/hive-broker"), *options]
    env = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


STARTS = "systemd did not pass: operator, system"


@pytest.fixture
def stopped(here: Hive) -> Hive:
    """A hive with mail, and a turn in its statistics, that was stopped by a crash."""
    operator = here.operator()
    for number in range(200):
        operator.write("send", to="bob", body=f"{number} " + "x" * 1000)
    operator.ask("send", to="bob", body="last")
    here.kill()
    return here


def settled(here: Hive, name: str) -> Path:
    """The database, with nothing beside it."""
    path = here.state / "db" / name
    with sqlite3.connect(path) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    db.close()
    assert not path.with_name(f"{name}-wal").exists()
    return path


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_in_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1000)


def garbage_in_the_middle(path: Path) -> None:
    middle = path.stat().st_size // 8192 * 4096
    with path.open("r+b") as file:
        file.seek(middle)
        file.write(os.urandom(4096))


def other_file(path: Path) -> None:
    path.write_text("not a database, but long enough to be looked at\n" * 100)


def empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGE = [truncated, cut_in_a_page, garbage_in_the_middle, other_file, empty]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_hive_db_stops_the_broker_and_is_left_as_it_is(stopped: Hive, damage: Any) -> None:
    path = settled(stopped, "hive.db")
    damage(path)
    before = path.read_bytes()
    said = broker(stopped.folder)
    assert f"{path}: " in said and "hivectl restore FILE" in said
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["stats.db", "events.db"])
@pytest.mark.parametrize("damage", [truncated, garbage_in_the_middle, other_file, empty])
def test_damaged_telemetry_is_put_aside_and_stops_nothing(stopped: Hive, damage: Any, name: str) -> None:
    path = settled(stopped, name)
    damage(path)
    before = path.read_bytes()
    said = broker(stopped.folder)
    assert STARTS in said and f"moving it to {path}.bad-" in said
    (aside,) = path.parent.glob(f"{name}.bad-*")
    assert aside.read_bytes() == before
    assert STARTS in broker(stopped.folder)
    assert len([*path.parent.glob(f"{name}.bad-*")]) == 1


def test_a_crash_alone_is_no_damage(stopped: Hive) -> None:
    assert (stopped.state / "db/hive.db-wal").stat().st_size
    assert broker(stopped.folder).startswith(STARTS)


def test_a_damaged_file_keeps_the_wal_that_a_crash_left(stopped: Hive) -> None:
    path = stopped.state / "db/hive.db"
    wal = path.with_name("hive.db-wal")
    other_file(path)
    before = wal.read_bytes()
    assert "hivectl restore FILE" in broker(stopped.folder)
    assert wal.read_bytes() == before


def test_a_new_database_appears_whole_also_after_a_crash_while_it_was_made(tmp_path: Path) -> None:
    folder = tmp_path / "state/db"
    folder.mkdir(parents=True)
    (folder / ".hive.db.new").write_text("half")
    assert broker(tmp_path).startswith(STARTS)
    assert {each.name for each in folder.iterdir()} >= {"hive.db", "stats.db", "events.db"}
    assert not (folder / ".hive.db.new").exists()


def test_a_wal_without_its_database_is_not_written_over(stopped: Hive) -> None:
    (stopped.state / "db/hive.db").unlink()
    assert "hive.db: is not there, but hive.db-wal is" in broker(stopped.folder)


def test_a_restore_that_was_cut_short_keeps_the_broker_from_starting(stopped: Hive) -> None:
    (stopped.state / "db/restoring").mkdir()
    assert "a restore was begun and has not ended\n(run hivectl restore again)" in broker(stopped.folder)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_database_of_another_owner_says_how_to_change_it(stopped: Hive, mode: int) -> None:
    path = settled(stopped, "hive.db")
    for each in (path.parent, path.with_name("stats.db"), path.with_name("events.db")):
        os.chown(each, NOBODY, NOBODY)
    path.chmod(mode)
    said = broker(stopped.folder, uid=NOBODY)
    assert (
        f"{path}: Permission denied: it belongs to uid 0 with mode {mode:04o}\n(chown hive: {path})" in said
    )
