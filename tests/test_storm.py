"""50 senders and 50 receivers at once, and the broker is killed ten times meanwhile."""

import os
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hyperhive.client import Client, Connection
from tests.crash_world import World, Zygote
from tests.hive import BASE, INVOCATION

SENDERS, EACH, KILLS = 50, 200, 10
PATIENCE = 60
NAMES = [f"agent-{n:02}" for n in range(SENDERS)]
USER = threading.Lock()  # an effective uid is the whole process's


class ClientAs(Client):
    """Connects as a uid: the kernel reports that to the broker."""

    uid = 0

    def connect(self) -> Connection:
        if self.connection:
            return self.connection
        with USER:
            os.seteuid(self.uid)
            try:
                return super().connect()
            finally:
                os.seteuid(0)


class Storm:
    def __init__(self, world: World) -> None:
        self.world = world
        self.sent: dict[str, int] = {}  # body → id, as the sender was told
        self.seen: dict[int, str] = {}
        self.got = dict.fromkeys(NAMES, 0)
        self.book = threading.Condition()

    def send(self, number: int) -> None:
        client = ClientAs(f"{self.world.folder}/run/operator.sock", patience=PATIENCE)
        with client:
            for n in range(EACH):
                to, body = NAMES[(number + n) % SENDERS], f"{number}/{n}"
                (told,) = client.call("send", to=to, body=body)["ids"]
                with self.book:
                    self.sent[body] = told
                    self.book.notify_all()

    def receive(self, number: int) -> None:
        name = NAMES[number]
        hello = {"role": "harness", "invocation": f"{next(INVOCATION):032x}"}
        path = f"{self.world.folder}/run/agents/{name}/hive.sock"
        client = ClientAs(path, hello=hello, patience=PATIENCE)
        client.uid = BASE + number * 65536
        with client:
            while self.got[name] < EACH:
                messages = client.call("recv", wait_seconds=1, max=100)["messages"]
                self.note(name, messages)
                client.call("ack", ids=[message["id"] for message in messages])

    def note(self, name: str, messages: list[dict[str, Any]]) -> None:
        with self.book:
            for message in messages:
                number = message["id"]
                assert message["redelivered"] or number not in self.seen, f"{number} again, without the mark"
                self.got[name] += number not in self.seen
                assert self.seen.setdefault(number, message["body"]) == message["body"]

    def kill(self) -> None:
        """At even distances of the work."""
        for n in range(KILLS):
            wanted = (2 * n + 1) * SENDERS * EACH // (2 * KILLS)
            with self.book:
                while len(self.sent) < wanted:
                    assert self.book.wait(60), f"the storm has stopped at {len(self.sent)} messages"
            self.world.zygote.kill(self.world.pid)
            self.world.start()


def test_a_storm() -> None:
    zygote = Zygote()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        world = World(zygote, Path(folder) / "hive")
        world.start()
        for number, name in enumerate(NAMES):
            about = {"name": name, "role": "agent", "description": "", "uid_base": BASE + number * 65536}
            world.ok("system", "applied", request=number + 1, agent=about)
        storm = Storm(world)
        with ThreadPoolExecutor(2 * SENDERS + 1) as pool:
            jobs: list[Future[None]] = [pool.submit(storm.kill)]
            jobs += [pool.submit(storm.send, n) for n in range(SENDERS)]
            jobs += [pool.submit(storm.receive, n) for n in range(SENDERS)]
        for job in jobs:
            job.result()
        world.drop()
        mail = count(world)
        world.close()
    zygote.close()
    assert len(storm.sent) == len({*storm.sent.values()}) == SENDERS * EACH
    assert {body: number for number, body in storm.seen.items()} == storm.sent
    assert mail == {"done": SENDERS * EACH}


def count(world: World) -> dict[str, int]:
    """By state, without what the system said to the operator."""
    states: dict[str, int] = {}
    before = 2**62
    while rows := world.ok("operator", "mail", limit=1000, before=before)["messages"]:
        before = rows[-1]["id"]
        for row in rows:
            if row["from"] != "system":
                states[row["state"]] = states.get(row["state"], 0) + 1
    return states
