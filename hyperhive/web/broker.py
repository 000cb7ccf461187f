"""hive-web's connections to the broker, as many as are asked for at once, and the page's state."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator

from hyperhive import client
from hyperhive.client import Client
from hyperhive.wire import Message

PATIENCE = 3.0  # seconds: longer than a restart of the broker takes
KEPT = 16  # connections; more are made while they are needed
FRESH = 1.0  # seconds: not all that changes makes an event
SHARE = 5  # one part of its time


class Pool:
    def __init__(self, path: str) -> None:
        self.path = path
        self.free: queue.SimpleQueue[Client] = queue.SimpleQueue()

    @contextlib.contextmanager
    def take(self) -> Iterator[Client]:
        try:
            taken = self.free.get_nowait()
        except queue.Empty:
            taken = Client(self.path, patience=PATIENCE)
        try:
            yield taken
        finally:
            if self.free.qsize() < KEPT:
                self.free.put(taken)
            else:
                taken.drop()

    def call(self, op: str, *, answer_wait: float = client.ANSWER_WAIT, **fields: object) -> Message:
        with self.take() as taken:
            return taken.call(op, answer_wait=answer_wait, **fields)


class State:
    """The broker's `state`, asked for once for all who ask at the same time, and while nothing happens."""

    def __init__(self, pool: Pool, events: Callable[[], object]) -> None:
        self.pool = pool
        self.events = events  # what is another value when there was one
        self.actions = 0
        self.lock = threading.Lock()
        self.rest = threading.Event()  # nobody sets it
        self.began = self.took = 0.0
        self.known: tuple[object, Message] | None = None

    def look(self) -> Message:
        arrived = time.monotonic()
        with self.lock:
            mark, now = (self.events(), self.actions), time.monotonic()
            if self.known and (
                self.began >= arrived or (self.known[0] == mark and now < self.began + FRESH)
            ):
                return self.known[1]
            # however many look, and however much there is to look at, most of the broker's time is for mail
            self.rest.wait(max(0, self.began + SHARE * self.took - now))
            mark, self.began = (self.events(), self.actions), time.monotonic()
            self.known = (mark, self.pool.call("state"))
            self.took = time.monotonic() - self.began
            return self.known[1]

    def forget(self) -> None:
        """Something was done, of which there may be no event."""
        self.actions += 1
