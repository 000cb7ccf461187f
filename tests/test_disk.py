"""A disk that is full, that cannot be written, that fails to sync: mail is refused, and none is lost."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperhive.wire import seconds_of
from tests.hive import Hive, Peer
from tests.test_broker import RECORD, bodies, states

MOUNT = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"'
# As a grandchild: who kills our child kills the broker, and strace ends with it.
STRACE = ["strace", "--daemonize", "--follow-forks", "--quiet=all"]


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Hive]:
    """Not started yet."""
    it = Hive(tmp_path)
    yield it
    for peer in it.peers:
        peer.close()
    if it.broker:
        it.kill()


def begin(here: Hive, *under: str) -> Peer:
    here.under = [*under]
    here.start()
    here.add("manager", "bob")
    return here.operator()


def send_until(operator: Peer, start: int, *, ok: bool) -> list[int]:
    """Gives the ids of the messages that were taken."""
    ids: list[int] = []
    for n in range(start, start + 3000):
        answer = operator.ask("send", to="bob", body=f"{n} " + "x" * 500, key=str(n))
        ids += answer.get("ids", [])
        if answer["ok"] is ok:
            return ids
        assert answer["ok"] or answer["error"] == "storage", answer
    raise AssertionError(f"it never became ok={ok}")


def fill(here: Hive) -> Path:
    assert here.broker
    filler = Path(f"/proc/{here.broker.pid}/root{here.state}/db/filler")
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return filler
    raise AssertionError("it is never full")


def test_a_full_disk(idle: Hive) -> None:
    operator = begin(idle, "unshare", "--mount", "sh", "-c", MOUNT, f"{idle.state}/db")
    operator.ask("send", to="bob", body="first")
    harness = idle.agent("bob")
    assert bodies(harness.ask("recv")) == ["first"]
    due = seconds_of(harness.ask("remind", message="later", delay=1)["due_at"])
    filler = fill(idle)
    sent = send_until(operator, 0, ok=False)
    harness.close()  # what it held goes back in the queue as soon as there is room
    assert operator.ask("status")["leased"] == 1
    assert operator.ask("send", to="bob", body="x", key="again")["error"] == "storage"
    while time.time() < due + 0.1:
        assert operator.ask("status")["queued"] == len(sent) + 1, "with what the manager was told of bob"
    filler.unlink()
    sent += send_until(operator, len(sent), ok=True)
    again = idle.agent("bob")
    got: list[dict[str, object]] = []
    while len(got) < len(sent) + 2:
        came = again.ask("recv", wait_seconds=10, max=100)["messages"]
        assert came, f"stuck after {len(got)} of {len(sent) + 2}"
        got += came
    assert [m["id"] for m in got if m["from"] == "operator"] == sorted({*sent, 2})
    assert [m["redelivered"] for m in got][:2] == [True, False]
    assert again.ask("ack")["acked"] == len(got)


# What strace makes of a thread's calls from some number to another, beyond those of the start.
FAULTS = [
    "pwrite64:error=EROFS:when=900..909",
    "pwrite64:error=EIO:when=900..909",
    "fdatasync:error=EIO:when=200..209",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_fails_for_a_while(idle: Hive, fault: str) -> None:
    calls = fault.partition(":")[0]
    operator = begin(idle, *STRACE, "--output=/dev/null", f"--trace={calls}", f"--inject={fault}")
    sent = send_until(operator, 0, ok=False)
    sent += send_until(operator, len(sent), ok=True)
    bob = idle.agent("bob")
    got: list[int] = []
    while came := bob.ask("recv", max=100)["messages"]:
        got += [message["id"] for message in came]
    assert got == sorted({*sent})
    assert bob.ask("ack")["acked"] == len(got)
    assert {number for number, state in states(idle).items() if state == "done"} == {*sent}


def test_an_answer_comes_after_the_sync(idle: Hive) -> None:
    """SIGKILL cannot tell a write from a sync: the order of the broker's calls can."""
    log = idle.folder / "calls"
    shown = ["--decode-fds=path", "--string-limit=100", "--trace=fdatasync,fsync,sendto"]
    operator = begin(idle, *STRACE, *shown, f"--output={log}")
    for n in range(20):
        assert operator.ask("send", to="bob", body=str(n))["ok"]
    synced, answers = False, 0
    for line in log.read_text().splitlines():
        if re.search(r'sendto\(.*\\"ids\\"', line):
            assert synced, f"answered before it was on disk: {line}"
            synced, answers = False, answers + 1
        elif re.search(r"f(data)?sync\(\d+<.*hive\.db-wal>", line):
            synced = True
    assert answers == 20


def test_telemetry_does_not_make_the_disk_busy(idle: Hive) -> None:
    """All that happens in a second is written at once, into files that stay."""
    log = idle.folder / "calls"
    shown = ["--decode-fds=path", "--trace=fdatasync,fsync,unlink,pwrite64"]
    operator = begin(idle, *STRACE, *shown, f"--output={log}")
    bob = idle.agent("bob")
    tools = {"tools": {f"tool{n}": 1 for n in range(150)}, "tool_calls": 150}
    began = len(log.read_text().splitlines())
    for number in range(1, 101):
        assert bob.ask("turn", **RECORD | tools | {"number": number})["ok"]
    assert operator.ask("stats", since="2026-01-01", agent="bob", step=86_400)["ok"]
    calls = [line for line in log.read_text().splitlines()[began:] if "hive.db" not in line]
    syncs = [line for line in calls if re.search(r"f(data)?sync\(\d+<.*/db", line)]
    assert 0 < len(syncs) < 50, syncs
    assert not [line for line in calls if "unlink(" in line or "/etilqs" in line]


def test_a_broken_stats_db_does_not_hurt_mail(idle: Hive) -> None:
    (idle.state / "db/stats.db").write_bytes(os.urandom(8192))
    operator = begin(idle)
    bob = idle.agent("bob")
    assert operator.ask("send", to="bob", body="on")["ok"]
    assert bodies(bob.ask("recv")) == ["on"]
    assert bob.ask("turn", **RECORD)["ok"]
    assert operator.ask("show", agent="bob")["recent_turns"][0]["number"] == 1
    assert bob.ask("ack")["acked"] == 1
    assert operator.ask("agents")["agents"][0]["turns"] == 1
