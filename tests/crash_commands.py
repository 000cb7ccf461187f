"""What the operator says of models and turns, step by step, for tests/crash_scenarios.py."""

from __future__ import annotations

import contextlib
import select
import sqlite3
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.crash_world import TRIES, answer_to, write
from tests.test_broker import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crash_world import World

EVENT = {"kind": "text", "text": "hello", "bytes": 5}


def said(w: World, op: str, key: str, **fields: Any) -> dict[str, Any]:
    """Twice under one key, which is once."""
    first = w.ok("operator", op, agent="bob", key=key, **fields)
    w.ok("operator", op, agent="bob", key=key, **fields)
    return first


def overrides(w: World) -> None:
    said(w, "model", "one", model="one")
    assert w.ok("bob", "recv")["models"]["override"] == "one"
    w.ok("bob", "progress", number=1, text="asking", model="one")
    w.ok("bob", "turn", **RECORD | {"asked": "one"})
    status = w.ok("operator", "model", agent="bob")
    assert (status["next"], status["state"]) == ("one", "active")


def refusals(w: World) -> None:
    """The override before it is back, once, however often the harness says so."""
    said(w, "model", "nosuch", model="nosuch")
    for _ in range(2):
        w.ok("bob", "model_refused", model="nosuch", error="not found")
    status = w.ok("operator", "model", agent="bob")
    assert (status["next"], status["refused"]["model"]) == ("one", "nosuch")
    mail = w.ok("operator", "inbox", limit=1000)["messages"]
    assert len([m for m in mail if "model_refused" in m["body"]]) == 1


def expiry(w: World) -> None:
    at = datetime.fromtimestamp(time.time() + 1, UTC).isoformat(timespec="milliseconds")
    said(w, "model", "soon", model="two", until=at)
    until(w, lambda: w.ok("operator", "model", agent="bob")["set_by"] is None)
    said(w, "model", "reset", model=None)


def until(w: World, met: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not met():
        assert time.monotonic() < end


def cancels(w: World) -> None:
    """One turn is stopped, its mail done and its sender told; the next one runs."""
    w.send("ada", "bob", "to be cancelled")
    (number,) = w.recv("bob")
    w.ok("bob", "progress", number=2, text="Bash")
    w.ok("bob/tool", "listen", number=2)
    asked = cancel(w, 2, "stop it")
    assert asked["turn"] == 2
    w.ok("bob/tool", "turn_events", number=2, events=[{"n": 1} | EVENT])
    for _ in range(2):
        w.ok("bob", "turn", **RECORD | {"number": 2, "outcome": "cancelled"})
    w.book.done.add(number)
    w.ack("ada", w.recv("ada"))
    told = [text for text in w.book.seen.values() if "turn_cancelled" in text]
    assert len(told) == 1 and f'"ids": [{number}]' in told[0]
    assert states(w)[asked["command"]] == "done"
    (shown,) = w.ok("operator", "turns", agent="bob", limit=1)["turns"]
    assert shown["number"] == 2


def cancel(w: World, turn: int, key: str) -> dict[str, Any]:
    """A broker that was just started is told by the harness which turn runs."""
    for _ in range(TRIES):
        asked = w.call("operator", "command", agent="bob", command="cancel", key=key)
        if asked["ok"]:
            return asked
        assert asked["error"] == "not-running" and w.deaths
        w.ok("bob/tool", "listen", number=turn)
    raise AssertionError("it never runs")


def late(w: World) -> None:
    """The turn ends before it is stopped, or its run does: neither stops another."""
    w.ok("bob", "progress", number=3, text="Bash")
    w.ok("bob/tool", "listen", number=3)
    number = cancel(w, 3, "too late")["command"]
    w.ok("bob", "turn", **RECORD | {"number": 3})
    assert states(w)[number] == "failed"


def between(w: World) -> None:
    number = said(w, "command", "compact", command="compact")["command"]
    assert [given["id"] for given in w.ok("bob", "recv", wait_seconds=5)["commands"]] == [number]
    w.ok("bob", "command_done", command=number)
    assert states(w)[number] == "done"
    lost = said(w, "command", "new", command="new-session")["command"]
    w.ok("bob", "recv")
    w.leave("bob/tool")
    w.leave("bob")
    until(w, lambda: not w.ok("operator", "show", agent="bob")["agent"]["awake"])
    w.ok("bob", "asleep")
    assert states(w)[lost] == "failed"


def hurries(w: World) -> None:
    """Whoever waits for mail hears of a command at once; a sleeper is woken."""

    def deed() -> dict[str, Any]:
        bob = w.peer("bob")
        number = write(bob, "recv", wait_seconds=20)
        answer_to(bob, write(bob, "whoami"))
        w.ok("operator", "command", agent="bob", command="compact", key="hurry")
        return answer_to(bob, number)

    (given,) = w.through(deed)["commands"]
    w.ok("bob", "command_done", command=given["id"], error="nothing to compact")
    w.leave("bob")
    until(w, lambda: not w.ok("operator", "show", agent="bob")["agent"]["awake"])
    said(w, "command", "wake", command="new-session")
    assert select.select([w.fifos["bob"]], [], [], 5)[0], "nobody woke it"
    (given,) = w.ok("bob", "recv")["commands"]
    w.ok("bob", "command_done", command=given["id"])


def states(w: World) -> dict[int, str]:
    with contextlib.closing(sqlite3.connect(w.folder / "state/db/hive.db")) as db:
        return dict(db.execute("select id, state from command"))


def many_events(w: World) -> None:
    for start in range(1, 602, 50):
        events = [{"n": start + n} | EVENT for n in range(50)]
        w.ok("bob/tool", "turn_events", number=9, events=events)
    w.ok("operator", "turns", agent="bob")


SCENARIOS = {
    "models": [overrides, refusals, expiry],
    "commands": [cancels, late, between, hurries, many_events],
}
