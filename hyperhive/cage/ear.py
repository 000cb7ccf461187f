"""What broker and harness say to each other in mid-turn, without waiting. Standard library only."""

import contextlib
import math
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from hyperhive import wire
from hyperhive.problem import Problem

Event = dict[str, Any]

EVENTS_MAX = 2000  # of one turn, as the broker takes them
BATCH_EVENTS = 64
BATCH_BYTES = 48 * 1024  # of text, which JSON may make six times as long
BACKLOG_BYTES = 1024 * 1024  # while the broker is away or slow
PATIENCE = 60.0  # seconds, for what is left at the end of a turn
RETRY = 1.0  # seconds between two tries to connect
HELLO, LISTEN = 1, 2  # ids of requests; reports are counted on from there


class Cancelled(Exception):
    """The turn that runs is to stop."""


class Ear:
    """A connection of its own, made at the first turn and again whenever it was lost: the socket stays when
    the broker is restarted, so that connecting is done at once, and is answered when there is a broker."""

    def __init__(self, path: str, hello: Event) -> None:
        self.path = path
        self.hello = hello
        self.sock: socket.socket | None = None
        self.tried = -math.inf
        self.came = bytearray()
        self.goes = bytearray()
        self.queue: deque[tuple[int, Event]] = deque()  # (turn, event) that nobody was told yet
        self.backlog = 0
        self.reports: dict[int, list[tuple[int, Event]]] = {}  # by id, not answered yet
        self.last_id = LISTEN
        self.turn = 0  # the number of the one that runs
        self.armed = False  # it was not told to stop yet
        self.listened = 0  # the turn that was named to this connection
        self.n = 0
        self.switched = False  # another model is to be used

    # a turn

    def begin(self, number: int) -> None:
        self.hear()  # what is left of earlier turns
        self.turn, self.n, self.armed = number, 0, True
        if not self.sock:
            self.connect()

    def end(self) -> None:
        """The record of the turn is with the broker, so the broker is there."""
        self.turn, self.armed = 0, False
        if self.queue and not self.sock:
            self.tried = -math.inf
            self.connect()
        self.send(all_at_once=True)
        if self.sock and self.goes:  # more than a socket takes; the next turn has a new one
            rest = (self.sock, bytes(self.goes), self.last_id)
            threading.Thread(target=hand_over, args=rest, daemon=True).start()
            self.sock = None
            self.goes.clear()
            self.came.clear()
            self.reports.clear()

    def report(self, events: Iterable[Event]) -> None:
        for event in events:
            if self.n < EVENTS_MAX and self.backlog < BACKLOG_BYTES:
                self.n += 1
                last = {"kind": "status", "text": "what follows is not kept", "bytes": 0}
                self.queue.append((self.turn, {"n": self.n} | (event if self.n < EVENTS_MAX else last)))
                self.backlog += len(event["text"])
        self.send()

    # the connection

    def connect(self) -> None:
        if time.monotonic() < self.tried + RETRY:
            return
        self.tried = time.monotonic()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self.path)
        except OSError:
            sock.close()
            return  # the whole hive is stopped, or the broker is far behind: later
        self.sock = sock
        self.goes += wire.encode({"v": wire.VERSION, "id": HELLO, "op": "hello", **self.hello})
        if self.turn:
            self.listened = self.turn
            self.goes += wire.encode({"id": LISTEN, "op": "listen", "number": self.turn})
        self.send()

    def lost(self) -> None:
        if self.sock:
            self.sock.close()
            self.sock = None
        self.came.clear()
        self.goes.clear()
        for number in sorted(self.reports, reverse=True):
            self.queue.extendleft(reversed(self.reports.pop(number)))  # nothing is kept twice by that
        if self.turn:
            self.connect()

    def reading(self) -> Sequence[int]:
        return [self.sock.fileno()] if self.sock else []

    def writing(self) -> Sequence[int]:
        return self.reading() if self.goes else []

    def due(self) -> float:
        """When serve() is to be called even if nothing has come."""
        return math.inf if self.sock or not self.turn else self.tried + RETRY

    def serve(self) -> None:
        if not self.sock and self.turn:
            self.connect()
        self.hear()
        self.send()

    def wait(self, seconds: float) -> bool:
        """Between turns; True when another model is to be used."""
        readable, _, _ = select.select(self.reading(), [], [], seconds)
        if readable:
            self.hear()
        switched, self.switched = self.switched, False
        return switched

    def hear(self) -> None:
        while self.sock:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.lost()
                break
            self.came += data
        while (end := self.came.find(b"\n")) >= 0:
            line = bytes(self.came[:end])
            del self.came[: end + 1]
            with contextlib.suppress(Problem):
                self.take(wire.decode(line))

    def take(self, message: Event) -> None:
        match message.get("event"), message.get("id"):
            case "cancel", _:
                self.stop(message.get("number"))
            case "model", _:
                self.switched = True
            case None, number if number in self.reports:
                self.answered(self.reports.pop(number), message)
            case None, _ if not message.get("ok"):
                print(f"Cannot listen to the broker: {message.get('message')}, ignoring", file=sys.stderr)
            case None, number if number == LISTEN and message.get("cancel"):
                self.stop(self.listened)

    def answered(self, batch: list[tuple[int, Event]], answer: Event) -> None:
        if not answer.get("ok"):
            about = f"what {len(batch)} events of turn {batch[0][0]} said"
            print(f"Cannot report {about}: {answer.get('message')}, ignoring", file=sys.stderr)

    def stop(self, number: object) -> None:
        if self.armed and number == self.turn:
            self.armed = False
            raise Cancelled

    def send(self, *, all_at_once: bool = False) -> None:
        """One report at a time: its answer asks for the next."""
        while self.sock and self.queue and (all_at_once or not self.reports):
            self.last_id += 1
            batch = self.reports[self.last_id] = self.batch()
            events = [event for _, event in batch]
            about = {"id": self.last_id, "op": "turn_events", "number": batch[0][0], "events": events}
            self.goes += wire.encode(about)
        if self.sock and self.goes:
            try:
                del self.goes[: self.sock.send(self.goes)]
            except BlockingIOError:
                pass
            except OSError:
                self.lost()

    def batch(self) -> list[tuple[int, Event]]:
        """Of one turn, at least one."""
        found: list[tuple[int, Event]] = []
        size = 0
        while self.queue and len(found) < BATCH_EVENTS and size < BATCH_BYTES:
            if found and self.queue[0][0] != found[0][0]:
                break
            found.append(self.queue.popleft())
            size += len(found[-1][1]["text"])
        self.backlog = max(0, self.backlog - size)
        return found


def hand_over(sock: socket.socket, rest: bytes, last_id: int) -> None:
    """In a thread of its own, between two turns: until the last report is answered."""
    sock.settimeout(PATIENCE)
    with sock, contextlib.suppress(OSError):
        sock.sendall(rest)
        answer = f'{{"id":{last_id},'.encode()
        came = b""
        while answer not in came:
            came = came[-100:] + (data := sock.recv(65536))
            if not data:
                return
