"""Every operation that changes something, all at once, while the broker is killed again and again."""

import contextlib
import json
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hyperhive.client import Client
from tests.crash_world import AGENTS, BASES, World, Zygote
from tests.hive import BASE, INVOCATION
from tests.test_broker import RECORD
from tests.test_storm import PATIENCE, USER, ClientAs

KILLS = 10
ROUNDS = 5  # of each work, between two deaths
TOML = 'description = "one of us"'


class Load:
    """Its works run in a thread each, where each caller has a connection of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.over = threading.Event()
        self.ended: set[str] = set()
        self.rounds: dict[str, int] = {}
        self.book = threading.Condition()
        self.mine = threading.local()
        self.runs = {name: f"{next(INVOCATION):032x}" for name in AGENTS}

    def call(self, who: str, op: str, **fields: Any) -> Any:
        clients = self.mine.__dict__
        if who not in clients:
            clients[who] = self.client(who)
        return clients[who].call(op, **fields)

    def client(self, who: str) -> Client:
        name, _, role = who.partition("/")
        if name in ("operator", "system"):
            return ClientAs(f"{self.world.folder}/run/{name}.sock", patience=PATIENCE)
        hello = {"role": role or "harness", "invocation": self.runs[name]}
        path = f"{self.world.folder}/run/agents/{name}/hive.sock"
        client = ClientAs(path, hello=hello, patience=PATIENCE)
        client.uid = BASES[name]
        return client

    def work(self, name: str) -> None:
        try:
            number = 0
            # A tool that waits for mail needs its harness to the end.
            while not self.over.is_set() or (name == "turns" and "mail" not in self.ended):
                number += 1
                getattr(self, name)(number)
                with self.book:
                    self.rounds[name] = number
                    self.book.notify_all()
        finally:
            self.stop()
            self.ended.add(name)

    def stop(self) -> None:
        self.over.set()
        with self.book:
            self.book.notify_all()

    def kill(self) -> None:
        try:
            for _ in range(KILLS):
                with self.book:
                    before = dict(self.rounds)
                    assert self.book.wait_for(lambda: self.worked(before), 60), "somebody has stopped"  # noqa: B023
                if self.over.is_set():
                    return
                with USER:
                    self.world.zygote.kill(self.world.pid)
                self.world.start()
        finally:
            self.stop()

    def worked(self, before: dict[str, int]) -> bool:
        done = [self.rounds.get(name, 0) - before.get(name, 0) for name in WORKS]
        return self.over.is_set() or min(done) >= ROUNDS

    # works

    def turns(self, n: int) -> None:
        self.call("ada", "turn", **RECORD | {"number": n})

    def mail(self, n: int) -> None:
        self.call("operator", "send", to="ada", body=f"mail {n}")
        ids: list[int] = []
        while not ids:
            ids = [m["id"] for m in self.call("ada/tool", "recv", wait_seconds=1)["messages"]]
        self.call("ada/tool", "shown", ids=ids)

    def questions(self, n: int) -> None:
        first = self.call("ada/tool", "ask", question=f"first {n}")["question"]
        self.call("operator", "answer", question=first, answer=["so"])
        second = self.call("ada/tool", "ask", question=f"second {n}", to="manager")["question"]
        assert second == first + 1
        self.call("ada/tool", "cancel_loose_end", kind="question", number=second)

    def reminders(self, n: int) -> None:
        assert self.call("bob/tool", "remind", message=f"reminder {n}", delay=1000)["reminder"] == n
        self.call("bob/tool", "cancel_loose_end", kind="reminder", number=n)
        self.call("bob/tool", "set_status", status=f"{n}")

    def reads(self, n: int) -> None:
        ids = self.call("bob/tool", "send", to="operator", body=f"read {n}")["ids"]
        assert self.call("operator", "read", ids=ids)["read"] == 1

    def dead_letters(self, n: int) -> None:
        ids = self.call("operator", "send", to="bob", body=f"poison {n}")["ids"]
        self.bury()
        assert self.call("operator", "retry", ids=ids)["requeued"] == 1
        self.bury()
        assert self.call("operator", "drop", ids=ids)["dropped"] == 1

    def bury(self) -> None:
        while messages := self.call("bob", "recv")["messages"]:
            self.call("bob", "fail", reason="poison", ids=[m["id"] for m in messages])

    def births(self, n: int) -> None:
        born = self.call("operator", "spawn", agent=f"child-{n}", toml=TOML)
        assert (born["agent"], born["uid_base"]) == (f"child-{n}", uid_base(n))

    def letters(self, n: int) -> None:
        """The manager is told much, by all the others."""
        while messages := self.call("manager", "recv")["messages"]:
            self.call("manager", "ack", ids=[m["id"] for m in messages])

    def hive_apply(self) -> None:
        with self.client("system") as client:
            while "births" not in self.ended:
                self.over.wait(0.005)
                with USER:
                    files = [*(self.world.folder / "state/apply").glob("*.json")]
                    requests = [(path, json.loads(path.read_text())) for path in files]
                for path, request in requests:
                    number = int(request["agent"].partition("-")[2])
                    about = {"name": request["agent"], "role": "agent", "description": ""}
                    agent = about | {"uid_base": uid_base(number)}
                    client.call("applied", request=request["id"], agent=agent)
                    with USER:
                        path.unlink()


WORKS = ("turns", "mail", "questions", "reminders", "reads", "dead_letters", "births", "letters")


def uid_base(number: int) -> int:
    return BASE + (number + 10) * 65536


@contextlib.contextmanager
def hive_of_three() -> Iterator[World]:
    zygote = Zygote()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        world = World(zygote, Path(folder) / "hive")
        world.start()
        for name in AGENTS:
            about = {"name": name, "role": "manager" if name == "manager" else "agent", "description": ""}
            world.ok("system", "applied", request=999, agent=about | {"uid_base": BASES[name]})
        world.drop()
        yield world
        world.close()
    zygote.close()


def test_no_operation_fails_and_none_is_done_twice() -> None:
    with hive_of_three() as world:
        load = Load(world)
        with ThreadPoolExecutor(len(WORKS) + 2) as pool:
            jobs = [pool.submit(load.work, name) for name in WORKS]
            jobs += [pool.submit(load.kill), pool.submit(load.hive_apply)]
        failures = [failure for job in jobs if (failure := job.exception())]
        assert not failures, failures
        turns = {agent["name"]: agent["turns"] for agent in world.ok("operator", "agents")["agents"]}
        with contextlib.closing(sqlite3.connect(world.folder / "state/db/hive.db")) as db:
            found = {"question": counts(db, "select state from question")}
            found["reminder"] = counts(db, "select state from reminder")
            found["request"] = counts(db, "select state from request where id != 999")
            found["poison"] = counts(db, "select state from message where body glob 'poison*'")
            found["read"] = counts(db, "select state from message where body glob 'read*'")
            told = counts(db, "select body from message where body glob '*question_answered*'")
    rounds = load.rounds
    assert turns["ada"] == rounds["turns"] and len(turns) == len(AGENTS) + rounds["births"]
    assert found == {
        "question": {"answered": rounds["questions"], "cancelled": rounds["questions"]},
        "reminder": {"cancelled": rounds["reminders"]},
        "request": {"deployed": rounds["births"]},
        "poison": {"dropped": rounds["dead_letters"]},
        "read": {"done": rounds["reads"]},
    }
    assert {*told.values()} == {1} and len(told) == 2 * rounds["questions"]


def counts(db: sqlite3.Connection, query: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for (value,) in db.execute(query):
        found[value] = found.get(value, 0) + 1
    return found
