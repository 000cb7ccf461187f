"""A tunnel's two ends: what comes in at one goes out at the other, as fast as that one takes it."""

import asyncio
import socket
from collections.abc import Callable

from hyperhive.gate.http1 import Connection

ROOM = memoryview(bytearray(256 * 1024))  # for all: what is read into it is passed on at once
LINGER = 5.0  # seconds for the rest, when one side is gone


class End(asyncio.BufferedProtocol):
    def __init__(self, moved: Callable[[int], None]) -> None:
        self.moved = moved
        self.other = self  # until there are two
        self.transport: asyncio.Transport
        self.over: asyncio.Future[None]
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return ROOM

    def buffer_updated(self, nbytes: int) -> None:
        self.other.transport.write(bytes(ROOM[:nbytes]))
        self.moved(nbytes)

    def eof_received(self) -> bool:
        self.ended = True
        if self.other.ended:
            self.finish()
        elif not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True  # it may still want to hear

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish()

    def finish(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


class Tunnel:
    def __init__(self, sent: Callable[[int], None], received: Callable[[int], None]) -> None:
        self.here, self.there = End(sent), End(received)
        self.here.other, self.there.other = self.there, self.here
        self.over = self.here.over = self.there.over = asyncio.get_running_loop().create_future()

    async def join(self, client: Connection, sock: socket.socket) -> None:
        """Take the client's connection over from HTTP."""
        transport = client.writer.transport
        assert isinstance(transport, asyncio.Transport)
        self.here.connection_made(transport)
        transport.set_protocol(self.here)
        client.reader.feed_eof()  # what it holds is all that it will ever get
        early = client.http.trailing_data[0] + await client.reader.read()
        transport.pause_reading()  # not sooner: the reader may have resumed it
        await asyncio.get_running_loop().create_connection(lambda: self.there, sock=sock)
        self.here.moved(len(early))
        self.there.transport.write(early)
        transport.resume_reading()

    def close(self) -> None:
        """What was sent still arrives, if it is taken soon."""
        for end in (self.here, self.there):
            end.transport.close()
            asyncio.get_running_loop().call_later(LINGER, end.transport.abort)

    def abort(self) -> None:
        for end in (self.here, self.there):
            if not end.transport.is_closing():
                end.transport.abort()
