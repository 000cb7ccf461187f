"""A blocking client of hyperhive-wire(7) that outlives a restart of the broker."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable

from hyperhive import wire
from hyperhive.problem import EX_TEMPFAIL, Problem
from hyperhive.wire import Message

ANSWER_WAIT = 30.0  # seconds beyond what the request itself may wait
RETRY = 0.1  # seconds: a socket that is not there yet has no event that the standard library can wait for
PARKED = 1.0  # seconds: a recv that took longer was well until then, however often the broker went before
# 'no-harness' too: after a restart of the broker a tool may be back before the harness.
AWAY = frozenset({"unreachable", "no-harness"})
# Under its key a request can be repeated, which is not done twice, and is answered as it was the first time.
KEYED = frozenset(
    "send ask answer remind cancel_loose_end read retry drop"
    " model command allow dismiss"
    " spawn draft approve deny rollback destroy revive purge"
    " request_spawn request_spawn_draft request_spawn_commit request_apply_commit withdraw".split()
)
LATER = frozenset({"busy", "queue-full", "storage", "too-many"})


class Lost(Exception):
    """The connection could not be made, or it ended before the answer; the text says why."""


class Connection:
    """One connection, from connect() to its end."""

    def __init__(self, path: str) -> None:
        self.last_id = 0
        self.buffer = bytearray()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_WAIT)
        try:
            self.sock.connect(path)
        except PermissionError as e:
            raise Problem("no-permission", f"not allowed to connect to {path}") from e
        except OSError as e:
            raise Lost(e.strerror or str(e)) from e

    def ask(self, request: Message, timeout: float) -> Message:
        self.last_id += 1
        self.sock.settimeout(timeout)
        try:
            self.sock.sendall(wire.encode({"v": wire.VERSION, "id": self.last_id, **request}))
            line = self.read_line()
        except TimeoutError as e:
            text = f"the broker did not answer '{request['op']}' within {timeout:.0f} s"
            raise Problem("no-answer", text, exit_status=EX_TEMPFAIL) from e
        except OSError as e:
            raise Lost(e.strerror or str(e)) from e
        return checked(wire.decode(line))

    def read_line(self) -> bytes:
        """A whole line: what a broker wrote that died in the middle of it is none."""
        start = 0
        while (end := self.buffer.find(b"\n", start)) < 0:
            start = len(self.buffer)
            data = self.sock.recv(65536)
            if not data:
                raise Lost("the broker hung up")
            self.buffer += data
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        return line

    def next_event(self, timeout: float | None) -> Message | None:
        """The next event, or None when none has come within so many seconds."""
        self.sock.settimeout(timeout)
        try:
            return wire.decode(self.read_line())
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as e:
            raise Lost(e.strerror or str(e)) from e

    def until_hang_up(self) -> None:
        """In a thread of its own, while another one asks."""
        poll = select.poll()
        if (fd := self.sock.fileno()) >= 0:  # it is closed when the other one has noticed
            poll.register(fd, select.POLLRDHUP)
            poll.poll()

    def hang_up(self) -> None:
        """From any thread: what the broker has written, or writes before it notices, can still be read."""
        try:
            self.sock.shutdown(socket.SHUT_WR)  # not both ways: what it writes then would be lost
        except OSError:
            return  # it has ended already

    def close(self) -> None:
        self.sock.close()


class Client:
    """A connection that is made when it is first needed, and made again when it was lost."""

    def __init__(
        self,
        path: str,
        *,
        hello: Message | None = None,
        patience: float,
        waiting: Callable[[], None] = lambda: None,
        server: str = "broker",
    ) -> None:
        self.path = path
        self.server = server
        self.hello = hello
        self.patience = patience  # how long, in seconds, to wait for a broker that is away
        self.waiting = waiting  # called now and then meanwhile
        self.given_up = threading.Event()
        self.connection: Connection | None = None
        self.greeting: Message = {}  # what the last hello was answered

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def give_up(self) -> None:
        """From any thread: the call that waits ends, unless its answer has arrived."""
        self.given_up.set()
        if connection := self.connection:
            connection.hang_up()

    def greet(self) -> Message:
        """Connect, and give the answer to hello."""
        self.call("whoami")
        return self.greeting

    def call(self, op: str, *, answer_wait: float = ANSWER_WAIT, **fields: object) -> Message:
        if op in KEYED:
            fields.setdefault("key", os.urandom(16).hex())
        wait = wire.get_int(fields, "wait_seconds", 0, wire.RECV_WAIT_MAX, default=0)
        end = time.monotonic() + wait
        lost_at = 0.0
        while True:
            began = time.monotonic()
            try:
                return self.attempt(op, fields, wait + answer_wait)
            except Problem as e:
                if e.code not in AWAY or self.given_up.is_set():
                    raise
                if not lost_at or (wait and time.monotonic() - began > PARKED):
                    lost_at = time.monotonic()
                if time.monotonic() - lost_at >= self.patience:
                    raise
            self.waiting()
            self.given_up.wait(RETRY)
            if wait:
                wait = fields["wait_seconds"] = max(0, int(end - time.monotonic()))

    def attempt(self, op: str, fields: Message, timeout: float) -> Message:
        try:
            return self.connect().ask({"op": op, **fields}, timeout)
        except Problem as e:
            if e.code == "no-answer":
                self.drop()  # or its answer would be taken for the next one's
            raise
        except Lost as e:
            self.drop()
            text = f"cannot reach the {self.server} at {self.path}: {e}"
            raise Problem("unreachable", text, exit_status=EX_TEMPFAIL) from e

    def subscribe(self) -> Connection:
        """The connection, which brings events from now on."""
        self.call("subscribe")
        return self.connect()

    def connect(self) -> Connection:
        if self.connection:
            return self.connection
        connection = Connection(self.path)
        if self.hello:
            self.greeting = connection.ask({"op": "hello", **self.hello}, ANSWER_WAIT)
        self.connection = connection
        if self.given_up.is_set():  # it came before there was a connection to hang up
            raise Lost("given up")
        return connection

    def drop(self) -> None:
        if self.connection:
            self.connection.close()
            self.connection = None


def checked(answer: Message) -> Message:
    if answer.pop("ok", None) is True:
        del answer["id"]
        return answer
    code = wire.get(answer, "error", str)
    raise Problem(code, wire.get(answer, "message", str), exit_status=EX_TEMPFAIL if code in LATER else 1)
