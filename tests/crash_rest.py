"""All that is no subject of its own, step by step, for tests/crash_scenarios.py."""

import contextlib
import resource
import sqlite3
from typing import Any

from tests.crash_birth import start
from tests.crash_world import BASES, Gone, Step, World, answer_to, write
from tests.test_broker import RECORD


def looks(w: World) -> None:
    w.ok("operator/watcher", "subscribe")
    w.send("ada", "operator", "hello")
    for op in ("status", "agents", "inbox", "questions", "loose_ends", "mail"):
        w.ok("operator", op)
    w.ok("operator", "show", agent="bob")


def reads(w: World) -> None:
    for _ in range(2):
        assert w.ok("operator", "read", ids=w.book.sent["hello"], key="key of read")["read"] == 1
    w.book.done |= {*w.book.sent["hello"]}


def tells(w: World) -> None:
    w.ok("bob", "whoami")
    w.ok("bob", "set_status", status="busy")
    w.ok("bob", "progress", number=1, text="reading")


def is_pruned(w: World) -> None:
    with contextlib.closing(sqlite3.connect(w.folder / "state/db/hive.db", isolation_level=None)) as db:
        db.execute("update reply set at = '2001'")
    w.ok("system", "prune", days=1)
    assert w.call("operator", "read", ids=w.book.sent["hello"], key="key of read")["read"] == 0 or w.deaths


def backup(w: World) -> None:
    def deed() -> dict[str, Any]:
        there = w.peer("operator")
        answer_to(there, write(there, "backup"))
        return answer_to(there, write(there, "backup_read", name="hive.db", offset=0))

    assert w.through(deed)["data"]


def leftovers(w: World) -> None:
    """A backup that a crash cut short, and telemetry that nobody can read."""
    (w.folder / "state/db/.backup-hive.db").write_bytes(b"")
    (w.folder / "state/db/stats.db").write_bytes(b"garbage" * 999)


def turns(w: World) -> None:
    w.ok("bob", "turn", **RECORD | {"notes": "remember"})
    w.ok("bob", "turn", **RECORD | {"number": 2, "outcome": "auth-failed", "error": "no"})
    w.hears("needs_login")
    shown = w.ok("operator", "show", agent="bob")  # comes after the records, on the same thread
    assert shown["notes"]["text"] == "remember"


def refused(w: World) -> None:
    def deed() -> dict[str, Any]:
        peer = w.connect(w.folder / "run/agents/ada/hive.sock", BASES["bob"])
        try:
            answer = peer.read()
        finally:
            peer.close()
        if answer is None:
            raise Gone
        return {"error": answer["error"]}

    assert w.through(deed)["error"] == "forbidden"


def full_disk(w: World) -> None:
    """Whoever asks again after a crash finds a broker without the limit."""
    w.send("ada", "bob", "before the disk was full")
    w.peer("operator")
    resource.prlimit(w.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    answer = w.call("operator", "send", to="bob", body="there is room", key="key of there is room")
    assert answer["ok"] or answer["error"] == "storage"
    assert not answer["ok"] or w.deaths
    resource.prlimit(w.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    w.send("operator", "bob", "there is room")


SCENARIOS: dict[str, list[Step]] = {
    "rest": [leftovers, start, looks, reads, tells, is_pruned, backup, turns, refused, full_disk]
}
