"""A blocking client of hyperhive-wire(7) that outlives a restart of the broker."""

import os
import socket
import threading
import time
from collections.abc import Iterator

from hyperhive import wire
from hyperhive.problem import EX_TEMPFAIL, Problem
from hyperhive.wire import Message

ANSWER_WAIT = 30.0  # seconds beyond what the request itself may wait
RETRY = 0.1  # seconds: a socket that is not there yet has no event that the standard library can wait for
ONCE = frozenset({"spawn"})  # doing it again would answer 'exists'
LATER = frozenset({"busy", "queue-full", "storage", "too-many"})


class Lost(Exception):
    """The connection could not be made, or it ended before the answer; the text says why."""


class Connection:
    """One connection, from connect() to its end."""

    def __init__(self, path: str) -> None:
        self.last_id = 0
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_WAIT)
        try:
            self.sock.connect(path)
        except PermissionError as e:
            raise Problem("forbidden", f"not allowed to connect to {path}") from e
        except OSError as e:
            raise Lost(e.strerror or str(e)) from e
        self.file = self.sock.makefile("rb")

    def ask(self, request: Message, timeout: float) -> Message:
        self.last_id += 1
        self.sock.settimeout(timeout)
        try:
            self.sock.sendall(wire.encode({"v": wire.VERSION, "id": self.last_id, **request}))
            line = self.file.readline()
        except TimeoutError as e:
            text = f"the broker did not answer '{request['op']}' within {timeout:.0f} s"
            raise Problem("no-answer", text, exit_status=EX_TEMPFAIL) from e
        except OSError as e:
            raise Lost(e.strerror or str(e)) from e
        if not line.endswith(b"\n"):  # what a broker wrote that died is no answer
            raise Lost("the broker hung up")
        return checked(wire.decode(line))

    def events(self) -> Iterator[Message]:
        self.sock.settimeout(None)
        for line in self.file:
            yield wire.decode(line)

    def hang_up(self) -> None:
        """From any thread: what has arrived can still be read, then comes the end."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended already

    def close(self) -> None:
        self.file.close()
        self.sock.close()


class Client:
    """A connection that is made when it is first needed, and made again when it was lost."""

    def __init__(self, path: str, *, hello: Message | None = None, patience: float) -> None:
        self.path = path
        self.hello = hello
        self.patience = patience  # how long, in seconds, to wait for a broker that is away
        self.given_up = threading.Event()
        self.connection: Connection | None = None
        self.greeting: Message = {}  # what the last hello was answered

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def give_up(self) -> None:
        """From any thread: the call that waits ends as 'given-up', unless its answer has arrived."""
        self.given_up.set()
        if connection := self.connection:
            connection.hang_up()

    def greet(self) -> Message:
        """Connect, and give the answer to hello."""
        self.call("whoami")
        return self.greeting

    def call(self, op: str, *, answer_wait: float = ANSWER_WAIT, **fields: object) -> Message:
        if op == "send":
            fields.setdefault("key", os.urandom(16).hex())  # so that sending it again does not double it
        wait = wire.get_int(fields, "wait_seconds", 0, wire.RECV_WAIT_MAX, default=0)
        end = time.monotonic() + wait
        lost_at = 0.0
        while True:
            sent = False
            try:
                connection = self.connect()
                sent = True
                return connection.ask({"op": op, **fields}, wait + answer_wait)
            except Lost as e:
                self.drop()
                if self.given_up.is_set():
                    raise Problem("given-up", "the request was given up") from e
                if sent and op in ONCE:
                    raise Problem("lost", f"{e} before it answered", hint="look whether it was done") from e
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at >= self.patience:
                    text = f"cannot reach the broker at {self.path}: {e}"
                    raise Problem("unreachable", text, exit_status=EX_TEMPFAIL) from e
            self.given_up.wait(RETRY)
            if wait:
                wait = fields["wait_seconds"] = max(0, int(end - time.monotonic()))

    def events(self) -> Iterator[Message]:
        """Subscribe, and give each event; ends when the broker hangs up."""
        self.call("subscribe")
        return self.connect().events()

    def connect(self) -> Connection:
        if self.connection:
            return self.connection
        self.connection = Connection(self.path)
        if self.hello:
            self.greeting = self.connection.ask({"op": "hello", **self.hello}, ANSWER_WAIT)
        if self.given_up.is_set():  # it came before there was a connection to hang up
            raise Lost("given up")
        return self.connection

    def drop(self) -> None:
        if self.connection:
            self.connection.close()
            self.connection = None


def checked(answer: Message) -> Message:
    if answer.get("ok") is True:
        return answer
    code = wire.get(answer, "error", str)
    raise Problem(code, wire.get(answer, "message", str), exit_status=EX_TEMPFAIL if code in LATER else 1)
