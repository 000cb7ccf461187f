"""The system's clock is set back and forth by a day; order and delivery do not care."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hive import Hive
from tests.test_broker import bodies


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Hive]:
    """A broker whose wall clock a file sets; the monotonic one goes on."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    it = Hive(tmp_path)
    fake = {"LD_PRELOAD": os.fspath(library), "FAKETIME_TIMESTAMP_FILE": f"{tmp_path}/clock"}
    fake |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    it.passed = [f"--setenv={name}={value}" for name, value in fake.items()]
    set_clock(it, 0)
    it.start()
    it.add("manager", "ada", "bob")
    yield it
    assert it.broker
    for peer in it.peers:
        peer.close()
    it.kill()
    for left in Path("/dev/shm").glob(f"*faketime*_{it.broker.pid}"):
        left.unlink()  # it cannot do that when it is killed


def set_clock(here: Hive, days: int) -> None:
    new = here.folder / "new"
    new.write_text(f"{days:+d}d")
    new.replace(here.folder / "clock")


def test_order_and_delivery_under_a_clock_that_jumps(clocked: Hive) -> None:
    operator, ada, bob = clocked.operator(), clocked.agent("ada"), clocked.agent("bob")
    stamps = []
    for n, days in enumerate((0, 1, -1, 2, -2, 0)):
        set_clock(clocked, days)
        assert ada.ask("send", to="bob", body=str(n), key=str(n))["ahead"] == n
        stamps.append(operator.ask("mail", limit=1)["messages"][0]["sent_at"])
    assert sorted(stamps) != stamps, "the clock was not set"
    assert bodies(bob.ask("recv", max=3)) == ["0", "1", "2"]
    bob.close()
    set_clock(clocked, -1)
    bob = clocked.agent("bob")
    assert bodies(bob.ask("recv")) == list("012345")
    assert bob.ask("ack")["acked"] == 6
    parked = bob.write("recv", wait_seconds=180)
    assert bob.ask("whoami")["ok"]
    set_clock(clocked, 1)
    assert bob.ask("whoami")["ok"], "a wait is not measured by that clock"
    set_clock(clocked, -1)
    ada.ask("send", to="bob", body="now")
    assert bodies(bob.answer(parked)) == ["now"]
    assert ada.ask("send", to="bob", body="0", key="0")["ids"] == [3]


def test_a_reminder_fires_once_when_the_clock_is_set_past_it_and_back(clocked: Hive) -> None:
    bob = clocked.agent("bob")
    assert bob.ask("remind", message="soon", delay=1)["ok"]
    set_clock(clocked, 1)
    assert len(bob.ask("recv", wait_seconds=20)["messages"]) == 1
    set_clock(clocked, -1)
    assert bodies(bob.ask("recv", wait_seconds=2)) == []
