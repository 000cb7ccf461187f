"""What the operator sees of an agent gone wild, and of a disk that fills, until it is over."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hyperhive.broker import wild
from tests.hive import Hive, hive
from tests.hivectl import load, run
from tests.test_broker import RECORD

SIZE = 32 * 2**20  # bytes
STOP = "systemctl stop hive-agent@ada.socket hive-agent@ada.service"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hive]:
    with hive(tmp_path) as it:
        it.add("ada", "bob")
        yield it


def seen(here: Hive) -> list[tuple[str, str, str]]:
    waiting = here.operator().ask("state")["waiting"]
    return [(each["kind"], each["agent"], each["title"]) for each in waiting if each["kind"] != "mail"]


def row(here: Hive, name: str) -> Any:
    return next(each for each in here.operator().ask("agents")["agents"] if each["name"] == name)


def kept(here: Hive) -> list[Any]:
    """For analysts."""
    here.operator().ask("metrics")  # which has all written that was told
    with closing(sqlite3.connect(here.state / "db/stats.db", timeout=20)) as db:
        return db.execute(
            "select agent, kind, count, turn, last_at >= since from wild order by since"
        ).fetchall()


def test_a_turn_with_many_calls_is_seen_while_it_runs(here: Hive) -> None:
    ada, watcher = here.agent("ada"), here.operator()
    watcher.ask("subscribe")
    for calls in (1000, 1001, 1500):
        assert ada.ask("progress", number=1, text="Bash true", tool_calls=calls)["ok"]
    assert seen(here) == [("many_calls", "ada", "ada has called 1,500 tools in turn 1, which goes on")]
    assert row(here, "ada")["wild"][0]["do"] == STOP and row(here, "bob")["wild"] == []
    said = run(here, "status").stdout
    assert "ada has called 1,500 tools in turn 1" in said and f"\n  {STOP}\n" in said
    assert "MANY CALLS: Bash true" in run(here, "list").stdout
    assert [each["kind"] for each in load(here, "status")["wild"]] == ["many_calls"]
    assert ada.ask("turn", **RECORD | {"number": 1})["ok"]
    assert seen(here) == []
    ada.ask("progress", number=2, text="Bash true", tool_calls=5)
    assert seen(here) == [], "it is another turn"
    assert kept(here) == [("ada", "many_calls", 1500, 1, 1)]
    ada.close()
    events = [watcher.read() for _ in range(4)]
    assert [each["event"] for each in events] == ["progress", "wild", "progress", "progress"]


def test_dropped_lines_are_added_up_and_are_over_when_it_is_quiet(here: Hive) -> None:
    system = here.system()
    for lines in (1200, 30_000):
        assert system.ask("suppressed", agent="ada", lines=lines)["ok"]
    assert system.ask("suppressed", agent="nobody", lines=7)["ok"]
    assert seen(here) == [("log_flood", "ada", "ada floods the journal: 31,200 of its lines were dropped")]
    assert kept(here) == [("ada", "log_flood", 31_200, None, 1)]
    flag = wild.Flag("", 1, None, last=time.monotonic())
    assert not flag.calm(flag.last + wild.CALM - 1) and flag.calm(flag.last + wild.CALM)


def test_an_agent_may_not_speak_of_dropped_lines(here: Hive) -> None:
    assert here.agent("ada").ask("suppressed", agent="bob", lines=1)["error"] == "unknown-op"
    assert here.system().ask("suppressed", agent="bob", lines=0)["error"] == "bad-request"


def test_a_disk_that_fills_waits_for_the_operator(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", tmp_path], check=True)
    fill = tmp_path / "fill"
    try:
        with hive(tmp_path) as here:
            assert seen(here) == []
            watcher = here.operator()
            watcher.ask("subscribe")
            fill.write_bytes(bytes(free(tmp_path) - 2**20))
            text = f"less than 5% of the file system of {tmp_path}/state/db is free"
            about = {"event": "wild", "agent": "", "kind": "disk_low"}
            assert watcher.read().items() >= (about | {"text": text, "over": False}).items(), "unasked"
            assert seen(here) == [("disk_low", "", text)]
            (low,) = load(here, "status")["wild"]
            assert low["kind"] == "disk_low" and low["text"] == text
            os.truncate(fill, fill.stat().st_size + free(tmp_path) - round(0.055 * SIZE))
            assert len(seen(here)) == 1, "until there is a bit more"
            fill.unlink()
            assert seen(here) == []
            assert watcher.read().items() >= (about | {"text": text, "over": True}).items()
            assert kept(here) == [("", "disk_low", None, None, 1)]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def free(folder: Path) -> int:
    done = subprocess.run(["stat", "-f", "-c", "%a %S", folder], check=True, capture_output=True, text=True)
    blocks, size = map(int, done.stdout.split())
    return blocks * size
