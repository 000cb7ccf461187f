"""A hive whose broker may die at any moment, and its clients who go on."""

import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import crash_at
from tests.crash_book import Answer, Book
from tests.hive import BASE, INVOCATION
from tests.hive import Peer as AnyPeer

AGENTS = ("manager", "ada", "bob")
BASES = {name: BASE + n * 65536 for n, name in enumerate((*AGENTS, "eve"))}
TRIES = 6
Step = Callable[["World"], None]


class Gone(Exception):
    """The broker hung up before it answered."""


class Peer(AnyPeer):
    """Whose broker may die while the connection waits to be accepted: then nobody hangs up on it."""

    def __init__(self, path: Path, uid: int | None, pid: int) -> None:
        self.pidfd = os.pidfd_open(pid)
        super().__init__(path, uid)
        self.buffer = b""

    def read(self) -> Any:
        while b"\n" not in self.buffer:
            if self.sock.fileno() < 0:
                return None
            ready, _, _ = select.select([self.sock.fileno(), self.pidfd], [], [], 20)
            assert ready, "the broker does not answer"
            data = self.sock.recv(65536) if self.sock.fileno() in ready else b""
            if not data:
                return None
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            super().close()
            os.close(self.pidfd)


class Zygote:
    """tests/crash_at.py, for many hives one after the other."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash_at"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            text=True,
        )

    def ask(self, do: str, folder: Path) -> Answer:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"do": do, "folder": os.fspath(folder)}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "tests/crash_at.py ended"
        answer: Answer = json.loads(line)
        return answer

    @staticmethod
    def kill(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class World:
    def __init__(self, zygote: Zygote, folder: Path, state: Path | None = None) -> None:
        self.zygote, self.folder = zygote, folder
        self.old: set[int] = set()  # messages from before
        for each in ("run/agents", "run/wake", "state/db", "state/apply", "state/agents", "state/registry"):
            (folder / each).mkdir(parents=True)
        if state:
            shutil.copytree(state, folder / "state", dirs_exist_ok=True)
            with contextlib.closing(sqlite3.connect(folder / "state/db/hive.db")) as db:
                self.old = {number for (number,) in db.execute("select id from message")}
        (folder / "points").write_bytes(bytes(crash_at.SIZE))
        self.cells = crash_at.cells(folder)
        self.fifos: dict[str, int] = {}
        for name in BASES:
            os.mkfifo(folder / "run/wake" / name)
            self.fifos[name] = os.open(folder / "run/wake" / name, os.O_RDWR | os.O_NONBLOCK)
        self.peers: dict[str, Peer] = {}
        self.runs: dict[str, str] = {}  # agents that are awake → InvocationID
        self.book = Book()
        self.keys = itertools.count(1)  # of requests that are not to be done twice
        self.deaths = 0  # in this step
        self.doom: list[str] = []  # points at which it is still to die in this step, one after the other
        self.died: list[str] = []  # at which it did
        self.way: list[str] = []  # all that it passed in the last step
        self.pid = 0
        self.zygote.ask("open", folder)

    def close(self) -> None:
        self.drop()
        for fd in self.fifos.values():
            os.close(fd)
        self.zygote.ask("close", self.folder)

    # points

    def step(self, step: Step, *doom: str) -> list[str]:
        """Take it, and die at these points. Gives those at which it did."""
        self.deaths, self.doom, self.died = 0, [*doom], []
        since = self.cells[crash_at.CLOCK]
        self.arm()
        step(self)
        self.settle()
        self.arm()
        self.way = self.passed(since)
        self.doom, self.cells[crash_at.DIE] = [], 0
        self.audit()
        return self.died

    def arm(self) -> None:
        """Note the last death, and bring about the next."""
        if number := self.cells[crash_at.DIED]:
            self.died.append(crash_at.POINTS[number - 1])
            self.cells[crash_at.DIED] = 0
        if self.doom and not self.cells[crash_at.DIE]:
            self.cells[crash_at.DIE] = crash_at.NUMBER[self.doom.pop(0)] + 1

    def passed(self, since: int) -> list[str]:
        """The points, in the order in which the broker came by."""
        when = self.cells[crash_at.WHEN :].tolist()
        return sorted(
            (name for name in crash_at.POINTS if when[crash_at.NUMBER[name]] > since),
            key=lambda name: when[crash_at.NUMBER[name]],
        )

    def hold_at(self, point: str) -> None:
        self.cells[crash_at.HOLD] = crash_at.NUMBER[point] + 1

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Looks again every millisecond; false dawns end in an error: the broker died, or the patience."""
        for _ in range(5_000):
            if true():
                return
            if not alive(self.pid):
                raise Gone
            select.select([], [], [], 0.001)
        raise AssertionError(f"waited in vain; died: {self.died}")

    def held(self) -> bool:
        return bool(self.cells[crash_at.HELD])

    def release(self) -> None:
        self.cells[crash_at.HOLD] = self.cells[crash_at.HELD] = 0

    # the broker and its clients

    def start(self) -> None:
        for _ in range(TRIES):
            self.arm()
            answer = self.zygote.ask("start", self.folder)
            self.pid = answer["pid"]
            if answer["done"]:
                return
            self.deaths += 1
        raise AssertionError(f"it does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def reborn(self) -> None:
        """What systemd and the clients do when the broker has died."""
        self.deaths += 1
        self.release()
        self.drop()
        self.start()
        for name in self.runs:
            self.peer(name)

    def kill(self) -> Answer:
        self.zygote.kill(self.pid)
        self.reborn()
        return {}

    def drop(self) -> None:
        for peer in self.peers.values():
            peer.close()
        self.peers.clear()

    def peer(self, who: str) -> Peer:
        if who not in self.peers:
            name, _, role = who.partition("/")
            if name in ("operator", "system"):
                self.peers[who] = self.connect(self.folder / f"run/{name}.sock")
            else:
                self.peers[who] = self.greeted(name, role or "harness")
        return self.peers[who]

    def connect(self, path: Path, uid: int | None = None) -> Peer:
        if not alive(self.pid):
            raise Gone
        return Peer(path, uid, self.pid)

    def greeted(self, name: str, role: str) -> Peer:
        if role == "harness" and name not in self.runs:
            self.runs[name] = f"{next(INVOCATION):032x}"
            while select.select([self.fifos[name]], [], [], 0)[0]:
                os.read(self.fifos[name], 100)
        for _ in range(1000):
            peer = self.connect(self.folder / "run/agents" / name / "hive.sock", BASES[name])
            number = write(peer, "hello", role=role, invocation=self.runs.get(name, "0" * 32))
            try:
                answer = answer_to(peer, number)
            except Gone:
                peer.close()  # or a broker to come finds it, and thinks that it lives
                raise
            if answer["ok"]:
                return peer
            assert answer["error"] == "busy", answer
            peer.close()
        raise AssertionError("busy for ever")

    def call(self, who: str, op: str, **fields: Any) -> Answer:
        """As hyperhive.client does it: again, when the broker went away."""
        return self.through(lambda: answer_to(self.peer(who), write(self.peer(who), op, **fields)))

    def settle(self) -> None:
        """The broker's loop has come round: what follows an answer is done, and who waited for that, too."""
        for _ in range(3):
            self.call("operator/settle", "nothing")

    def through(self, deed: Callable[[], Answer]) -> Answer:
        for _ in range(TRIES):
            try:
                return deed()
            except (Gone, OSError):
                self.reborn_surely()
        raise AssertionError("the broker dies again and again")

    def reborn_surely(self) -> None:
        for _ in range(TRIES):
            try:
                return self.reborn()
            except (Gone, OSError):
                continue
        raise AssertionError("the broker dies again and again")

    def leave(self, who: str) -> None:
        """The connection ends; a harness's run with it."""
        if who in self.peers:
            self.peers.pop(who).close()
        if "/" not in who:
            self.runs.pop(who, None)

    # what clients do, with what they must find

    def ok(self, who: str, op: str, **fields: Any) -> Answer:
        answer = self.call(who, op, **fields)
        assert answer["ok"], answer
        return answer

    def send(self, who: str, to: str, body: str) -> None:
        answer = self.ok(who, "send", to=to, body=body, key=f"key of {body}")
        everybody = sorted(set(AGENTS) - {who})
        self.book.accepted(body, answer["ids"], everybody if to == "all" else [to])

    def recv(self, who: str, **fields: Any) -> list[int]:
        return self.came(who, self.ok(who, "recv", **fields))

    def came(self, who: str, answer: Answer) -> list[int]:
        self.book.came(who.partition("/")[0], answer["messages"])
        return [message["id"] for message in answer["messages"]]

    def ack(self, name: str, ids: list[int]) -> None:
        self.ok(name, "ack", ids=ids)
        self.book.done |= {*ids}

    def fail(self, name: str, ids: list[int], *, count: bool = True) -> None:
        self.ok(name, "fail", reason="crashed", ids=ids, count=count)

    def hears(self, event: str, number: int | None = None) -> None:
        """The manager takes its mail, and this is in it."""
        self.ack("manager", self.recv("manager"))
        events = [json.loads(text) for text in self.book.seen.values() if text.startswith("{")]
        found = [e for e in events if e["event"] == event and number in (None, e.get("id"))]
        assert found, f"no {event} of {number}"

    # the end

    def finish(self) -> None:
        """Everybody takes what is left; then the books are compared."""
        self.look_at_fifos()
        for name in sorted(self.names()):
            self.leave(f"{name}/tool")
            self.leave(name)
            while ids := self.recv(name, max=100):
                self.ack(name, ids)
        rows = self.ok("operator", "mail", limit=1000)["messages"]
        new = {row["id"]: row for row in rows if row["id"] not in self.old}
        self.nothing_lost_or_doubled(new)
        self.compare(new)
        for body, ids in self.book.sent.items():
            assert {self.book.seen.get(n, body) for n in ids} == {body}, "one id, two bodies"

    def audit(self) -> None:
        """What holds after each step, so that no later start of the broker can hide that it did not."""
        self.look_at_fifos()
        rows = self.ok("operator", "mail", limit=1000)["messages"]
        self.nothing_lost_or_doubled({row["id"]: row for row in rows if row["id"] not in self.old})
        stuck = [row for row in rows if row["state"] == "leased" and row["to"] not in self.runs]
        assert not stuck, f"held by nobody: {stuck}"

    def names(self) -> list[str]:
        return [agent["name"] for agent in self.ok("operator", "agents")["agents"]]

    def compare(self, rows: dict[int, Answer]) -> None:
        book = self.book
        for number, row in rows.items():
            if number in book.done:
                assert row["state"] == "done", row
            if number in book.dead:
                continue
            assert row["state"] == "done" or row["to"] == "operator", row
            assert row["to"] == "operator" or number in book.seen, f"done, and nobody saw it: {row}"

    def nothing_lost_or_doubled(self, rows: dict[int, Answer]) -> None:
        lost = {n for ids in self.book.sent.values() for n in ids} - rows.keys()
        assert not lost, f"lost: {lost}"
        sent = [(row["from"], row["to"], row["body"]) for row in rows.values()]
        twice = {each for each in sent if sent.count(each) > 1}
        assert not twice, f"doubled: {twice}"

    def look_at_fifos(self) -> None:
        """Who sleeps and has mail has a byte."""
        for agent in self.ok("operator", "agents")["agents"]:
            if agent["waiting"] and not agent["awake"] and agent["name"] not in self.runs:
                woken = select.select([self.fifos[agent["name"]]], [], [], 5)[0]
                assert woken, f"{agent['name']} sleeps over its mail"


def alive(pid: int) -> bool:
    """Not when it is a zombie, which waits for the process that forked it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def write(peer: Peer, op: str, **fields: Any) -> int:
    return peer.write(op, **fields)


def answer_to(peer: Peer, number: int) -> Answer:
    while number not in peer.early:
        message = peer.read()
        if message is None:
            raise Gone
        if "event" not in message:
            peer.early[message["id"]] = message
    answer: Answer = peer.early.pop(number)
    return answer
