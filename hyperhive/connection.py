"""One connection to the broker: lines in, answers out, and limits on both."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from hyperhive import wire
from hyperhive.problem import Problem

PENDING_MAX = 64  # requests of one connection that are not answered yet; then we stop reading
WRITE_MAX = 8 * 1024 * 1024  # bytes that a subscriber may lag behind

Answer = Callable[["Connection", wire.Message], Awaitable[wire.Message]]


def peer_uid(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


class Connection(asyncio.Protocol):
    def __init__(
        self,
        who: str,
        answer: Answer,
        opened: Callable[["Connection"], str],
        lost: Callable[["Connection"], None],
    ) -> None:
        self.who = who  # an agent's name, 'operator' or 'system'
        self.role = ""  # 'harness' or 'tool', after hello
        self.invocation = ""
        self.full = False  # answers that the peer does not read
        self.answer = answer
        self.opened = opened
        self.lost = lost
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        refusal = self.opened(self)
        if refusal:
            self.refuse(Problem(refusal, "this connection is not accepted here"))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\n")) >= 0 and self.transport:
            line = bytes(self.buffer[:end])
            del self.buffer[: end + 1]
            if len(line) > wire.LINE_MAX:
                break
            task = asyncio.get_running_loop().create_task(self.handle(line))
            self.tasks.add(task)
            task.add_done_callback(self.handled)
        if len(self.buffer) > wire.LINE_MAX or end >= 0:
            # Where the next line starts is anybody's guess from here on.
            self.refuse(Problem("line-too-long", f"a line is over {wire.LINE_MAX} bytes"))
        else:
            self.read_on()

    def handled(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # Ours, not the peer's: end with a traceback; systemd starts us again, the mail is on disk.
            asyncio.get_running_loop().stop()
            raise error
        self.read_on()

    def read_on(self) -> None:
        """Read only from a peer that reads, and only as much as we can answer."""
        if not self.transport or self.transport.is_closing():
            return
        if len(self.tasks) > PENDING_MAX or self.full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    async def handle(self, line: bytes) -> None:
        number: Any = None
        try:
            message = wire.decode(line)
            number = message.get("id")
            if not (number is None or type(number) is int):
                number = None
                raise Problem("bad-request", "'id' must be int")
            if message.get("v", wire.VERSION) != wire.VERSION:
                raise Problem("bad-request", f"'v' must be {wire.VERSION}")
            reply = {"ok": True} | await self.answer(self, message)
        except Problem as e:
            reply = wire.failure(e)
        self.write({"id": number} | reply)

    def write(self, message: wire.Message) -> None:
        if self.transport:
            self.transport.write(wire.encode(message))

    def event(self, line: bytes) -> None:
        if not self.transport:
            return
        if self.transport.get_write_buffer_size() > WRITE_MAX:
            self.transport.abort()  # it does not read, so it would not read a farewell either
        else:
            self.transport.write(line)

    def refuse(self, problem: Problem) -> None:
        self.write({"id": None} | wire.failure(problem))
        if self.transport:
            self.transport.close()

    def pause_writing(self) -> None:
        self.full = True
        self.read_on()

    def resume_writing(self) -> None:
        self.full = False
        self.read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.lost(self)
