"""A change begins between two turns: from its approval on, its agent's mail is kept back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.changing import carry_out, draft, spawned
from tests.hive import INVOCATION, Hive, Peer, hive
from tests.proposed import TOML

MORE = TOML + "# more\n"
NOW = "2026-11-22T10:00:00.000Z"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hive]:
    with hive(tmp_path) as it:
        it.add("manager")
        spawned(it, "eve", "turn_timeout = 10\n")
        spawned(it, "flo")
        draft(it, "eve", {"agent.toml": MORE})
        yield it


def approved(here: Hive) -> int:
    """A change of eve on its way."""
    manager = here.agent("manager", "tool")
    number = manager.ask("request_apply_commit", agent="eve", commit_ref="main")["request"]
    assert here.operator().ask("approve", request=number)["ok"]
    return int(number)


def restart(here: Hive) -> None:
    here.kill()
    here.start()
    assert here.operator().ask("status")["ok"]


def is_queued(here: Hive, number: int) -> bool:
    return (here.state / f"apply/{number}.json").exists()


def in_turn(here: Hive, invocation: str) -> tuple[Peer, int]:
    eve = here.agent("eve", invocation=invocation)
    run = {"unit": "hive-agent@eve.service", "invocation": invocation, "at": NOW}
    assert here.system().ask("event", event="started", **run)["ok"]
    (number,) = here.operator().ask("send", to="eve", body="in a turn")["ids"]
    assert [m["id"] for m in eve.ask("recv")["messages"]] == [number]
    return eve, number


def test_an_agent_without_a_turn_is_changed_at_once(here: Hive) -> None:
    eve = here.agent("eve")
    number = approved(here)
    assert is_queued(here, number)
    here.operator().ask("send", to="eve", body="kept back")
    assert eve.ask("recv")["messages"] == []
    carry_out(here, number)
    assert len(eve.ask("recv", wait_seconds=5)["messages"]) == 1


def test_a_change_waits_for_the_turn_and_nobody_for_the_change(here: Hive) -> None:
    eve, message = in_turn(here, f"{next(INVOCATION):032x}")
    number = approved(here)
    other = here.operator().ask("rollback", agent="flo", deploy=1)["request"]
    carry_out(here, other)
    assert not is_queued(here, number)
    waiting = eve.write("recv", wait_seconds=20)
    here.operator().ask("send", to="eve", body="kept back")
    assert eve.ask("ack", ids=[message])["ok"]
    carry_out(here, number)
    assert [m["body"] for m in eve.answer(waiting)["messages"]] == ["kept back"]


@pytest.mark.parametrize("outcome", ["done", "crashed"])
def test_a_restart_of_the_broker_in_the_turn(here: Hive, outcome: str) -> None:
    """The mail is in the queue again, and yet the turn's, until it is done or its run is over."""
    invocation = f"{next(INVOCATION):032x}"
    _, message = in_turn(here, invocation)
    number = approved(here)
    restart(here)
    eve = here.agent("eve", invocation=invocation)
    assert eve.ask("recv")["messages"] == []
    assert not is_queued(here, number)
    if outcome == "done":
        assert eve.ask("ack", ids=[message])["ok"]
    else:
        run = {"unit": "hive-agent@eve.service", "invocation": invocation, "at": NOW}
        assert here.system().ask("event", event="finished", **run)["ok"]
    carry_out(here, number)
    again = eve.ask("recv", wait_seconds=1)["messages"]
    assert [m["id"] for m in again] == ([] if outcome == "done" else [message])


def test_a_restart_of_the_broker_in_the_trial(here: Hive) -> None:
    fifo = here.fifo("eve")
    number = approved(here)
    assert here.system().ask("applying", request=number)["ok"]
    assert here.operator().ask("send", to="eve", body="kept back")["ok"]
    restart(here)
    eve = here.connect(here.socket("eve"), here.bases["eve"])
    hello = eve.ask("hello", role="harness", invocation=f"{next(INVOCATION):032x}")
    assert hello["trial"] and hello["brief"]
    assert eve.ask("recv")["messages"] == []
    assert eve.ask("asleep")["sleep"] is True
    eve.close()
    here.peers.remove(eve)
    carry_out(here, number, message="it did not come up")
    with open(fifo, "rb") as reading:
        assert reading.read(1), "mail that waited wakes it"


def test_a_turn_has_as_long_as_the_running_config_allows(here: Hive) -> None:
    in_turn(here, f"{next(INVOCATION):032x}")
    number = approved(here)
    assert not is_queued(here, number)
    waited = here.operator().ask("approval", request=number, wait_seconds=9)["approval"]
    assert waited["state"] == "approved" and not is_queued(here, number)
    carry_out(here, number)
