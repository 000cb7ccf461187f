"""One side of an HTTP/1.1 connection: h11 over asyncio streams, with limits."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import h11

from hyperhive.problem import EX_CONFIG, Problem

HEADERS_MAX = 64 * 1024
LINES_MAX = 256  # of a head: each takes longer to look at than a kilobyte
HEAD_READ = 16 * 1024  # at once, as long as there is no whole head: what comes at once is looked at whole
READ_SIZE = 256 * 1024
LINGER = 2.0  # seconds

Headers = list[tuple[bytes, bytes]]
Role = type[h11.CLIENT] | type[h11.SERVER]


def ignore(count: int) -> None:
    pass


class Connection:
    def __init__(
        self,
        role: Role,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        idle: float,
    ) -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=HEADERS_MAX)
        self.reader = reader
        self.writer = writer
        self.head = False  # the last request wants no body
        self.idle = idle  # seconds that the peer may neither send nor take anything
        self.begun = b""  # a head of which not all is there
        self.rest: Callable[[], Awaitable[None]] | None = None  # after each event, as many may come at once
        self.sent: Callable[[int], None] = ignore  # so many bytes
        self.received: Callable[[int], None] = ignore

    async def read(self) -> h11.Event:
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Request):
                self.head = event.method == b"HEAD"
            if isinstance(event, h11.Event):
                self.begun = b""
                if self.rest:
                    await self.rest()
                return event
            if event is h11.PAUSED:
                raise h11.RemoteProtocolError("the last exchange is not over")
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            between = self.http.their_state in (h11.IDLE, h11.SEND_RESPONSE)
            async with asyncio.timeout(self.idle):
                data = await self.reader.read(HEAD_READ if between else READ_SIZE)
            self.received(len(data))
            if between:
                self.check(data)
            self.http.receive_data(data)

    def check(self, data: bytes) -> None:
        """A head of many lines, before it is parsed."""
        self.begun += data
        end = self.begun.find(b"\r\n\r\n")
        if self.begun.count(b"\n", 0, end if end >= 0 else None) > LINES_MAX:
            raise h11.RemoteProtocolError(f"the head has over {LINES_MAX} lines", error_status_hint=431)

    async def send(self, *events: h11.Event) -> None:
        data = b"".join(self.http.send(event) or b"" for event in events)
        self.sent(len(data))
        self.writer.write(data)
        async with asyncio.timeout(self.idle):
            await self.writer.drain()

    async def respond(self, status: int, headers: Headers, body: bytes, reason: bytes = b"") -> None:
        length = (b"content-length", str(len(body)).encode())
        response = h11.Response(status_code=status, headers=[*headers, length], reason=reason)
        await self.send(response, h11.Data(data=b"" if self.head else body), h11.EndOfMessage())

    @property
    def may_respond(self) -> bool:
        return self.http.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    def next_cycle(self) -> bool:
        """Ready for one more exchange, unless one of the two sides has to close."""
        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
            return False
        self.http.start_next_cycle()
        return True

    async def close(self) -> None:
        """Let the peer read what we said: closing while its words are unread would reset the connection."""
        if self.writer.transport.is_closing():
            return
        with contextlib.suppress(OSError):
            if self.writer.can_write_eof():
                self.writer.write_eof()
            async with asyncio.timeout(LINGER):
                while await self.reader.read(READ_SIZE):
                    pass
                self.writer.close()
                await self.writer.wait_closed()
        self.writer.transport.abort()


async def body(connection: Connection, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while not isinstance(event := await connection.read(), h11.EndOfMessage):
        if not isinstance(event, h11.Data):
            raise h11.RemoteProtocolError("the request ended early")
        size += len(event.data)
        if size > limit:
            raise h11.RemoteProtocolError(f"the body is over {limit} bytes", error_status_hint=413)
        parts.append(bytes(event.data))
    return b"".join(parts)


def listen(address: str) -> socket.socket:
    """A listening socket for `unix:PATH` or `HOST:PORT` on loopback; port 0 takes a free one."""
    kind, _, path = address.partition(":")
    try:
        if kind == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            sock.listen(socket.SOMAXCONN)
            return sock
        return socket.create_server((kind, int(path)), backlog=128)
    except (OSError, ValueError, OverflowError) as e:
        hint = "give unix:PATH or 127.0.0.1:PORT"
        raise Problem(
            "bad-address", f"cannot listen on '{address}': {e}", hint=hint, exit_status=EX_CONFIG
        ) from e


def name_of(sock: socket.socket) -> str:
    name = sock.getsockname()
    return f"unix:{Path(name)}" if sock.family == socket.AF_UNIX else f"{name[0]}:{name[1]}"
