"""What the harness hears and reports in mid-turn; claude misbehaves, and the broker goes away."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.caged import Cage, caged
from tests.hive import Hive, hive
from tests.scripted import wait_until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hive]:
    with hive(tmp_path) as it:
        it.add("manager", "ada")
        yield it


@pytest.fixture
def cage(here: Hive) -> Iterator[Cage]:
    with caged(here) as it:
        yield it


def running(cage: Cage, body: str, doing: str) -> int:
    number = cage.send(body)
    cage.start()
    cage.wait_for("progress", text=doing)
    return number


def cancel(cage: Cage) -> Any:
    return cage.operator.ask("command", agent="ada", command="cancel")


def replaced(cage: Cage) -> None:
    """A new broker takes over in mid-turn."""
    cage.hive.kill()
    cage.hive.start()
    cage.operator, cage.events = cage.hive.operator(), cage.hive.operator()
    assert cage.events.ask("subscribe")["ok"]


@pytest.mark.parametrize(
    ("act", "doing", "starts"),
    [("silent", "Bash sleep 1000", 1), ("frozen", "Bash sleep 1000", 2), ("chatty", "Bash yes", 2)],
)
def test_whatever_claude_does_it_stops_within_two_seconds(
    cage: Cage, act: str, doing: str, starts: int
) -> None:
    number = running(cage, f"{act} once", doing)
    began = time.monotonic()
    assert cancel(cage)["ok"]
    record = cage.wait_for("turn")
    assert time.monotonic() - began < 2
    assert (record["outcome"], record["error"]) == ("cancelled", None)
    cage.wait_for("done", id=number)
    assert cage.mail(number)["attempts"] == 1
    second = cage.send("hello")
    assert cage.wait_for("turn")["outcome"] == "ok"
    cage.wait_for("done", id=second)
    assert len(cage.starts()) == starts
    told = [json.loads(m["body"]) for m in cage.operator.ask("inbox")["messages"]]
    assert told == [{"event": "turn_cancelled", "agent": "ada", "by": "operator", "ids": [number]}]


def test_a_cancel_reaches_a_turn_that_outlived_the_broker(cage: Cage) -> None:
    number = running(cage, "silent once", "Bash sleep 1000")
    replaced(cage)
    assert cage.process
    wait_until(lambda: cancel(cage)["ok"], cage.process)
    assert cage.wait_for("turn")["outcome"] == "cancelled"
    cage.wait_for("done", id=number)


def test_a_cancel_that_the_broker_took_and_could_not_hand_on_is_not_forgotten(cage: Cage) -> None:
    """It dies with the word on disk: its harness asks the next one."""
    number = running(cage, "silent once", "Bash sleep 1000")
    said = cancel(cage)  # it may be heard at once, or after the restart
    replaced(cage)
    shown = cage.operator.ask("show", agent="ada")
    if not shown["recent_turns"]:
        cage.wait_for("turn", outcome="cancelled")
    wait_until(lambda: cage.mail(number)["state"] == "done", cage.hive.broker)  # type: ignore[arg-type]
    assert said["turn"] == 1


def test_a_broker_that_is_away_slows_no_turn_and_hears_of_it_later(cage: Cage) -> None:
    running(cage, "pauses", "Bash wait")
    cage.hive.kill()
    (cage.home / "go").touch()
    assert cage.process
    cage.hive.start()
    cage.operator = cage.hive.operator()

    def events() -> list[Any]:
        turns = cage.operator.ask("turns", agent="ada")["turns"]
        return [event["text"] for turn in turns for event in turn["events"]]

    wait_until(lambda: len(events()) == 2, cage.process)
    assert events() == ["reading 1 from operator", '{"command": "wait"}']


def test_one_that_waits_for_an_endpoint_goes_on_with_another_model(cage: Cage) -> None:
    number = cage.send("waits once")
    cage.start()
    assert cage.wait_for("turn")["outcome"] == "rate-limited"
    cage.wait_for_status("trying again in 60 s")
    assert cage.operator.ask("model", agent="ada", model="other")["ok"]
    assert cage.wait_for("turn")["outcome"] == "ok"
    cage.wait_for("done", id=number)
    assert cage.operator.ask("model", agent="ada")["state"] == "active"


def test_what_claude_says_is_cut_and_counted(cage: Cage) -> None:
    running(cage, "talks", "Bash talk")
    cage.wait_for("turn")
    assert cage.process

    def turns() -> Any:
        return cage.operator.ask("turns", agent="ada")["turns"][0]

    wait_until(lambda: (turns()["events"] or [{"n": 0}])[-1]["n"] == 2000, cage.process)
    shown = turns()
    assert shown["events"][-1]["text"] == "what follows is not kept"
    assert shown["more"] is True
    earlier = cage.operator.ask("turns", agent="ada", limit=1, events_before=shown["events"][0]["n"])[
        "turns"
    ][0]
    assert earlier["events"][-1]["n"] == shown["events"][0]["n"] - 1
    first = cage.operator.ask("turns", agent="ada", limit=1, events_before=3)["turns"][0]["events"][1]
    assert (first["kind"], len(first["text"].encode()), first["bytes"]) == ("text", 8192, 30_000)
