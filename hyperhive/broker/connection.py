"""One connection to the broker: lines in, answers out, and limits on both."""

import asyncio
import select
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from hyperhive import wire
from hyperhive.follow import follow
from hyperhive.problem import Problem

PENDING_MAX = 64  # requests of one connection that are not answered yet; then we stop reading
WRITE_MAX = 8 * 1024 * 1024  # bytes that a subscriber may lag behind

# What was read last, on whichever connection. By itself asyncio makes one of 256 KiB for each read.
ARRIVED = memoryview(bytearray(64 * 1024))

Answer = Callable[["Connection", wire.Message], Awaitable[wire.Message]]


class Request:
    """A coroutine that begins at once. A Task would begin in the next turn of the loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], done: Callable[[], None]) -> None:
        self.coroutine = coroutine
        self.done = done

    def step(self, _: object = None) -> None:
        try:
            future = self.coroutine.send(None)
            if future is None:  # asyncio.sleep(0), which create_unix_server() does
                asyncio.get_running_loop().call_soon(self.step)
            else:
                future._asyncio_future_blocking = False  # so a Task says that it has understood
                future.add_done_callback(self.step)
        except StopIteration:
            self.done()
        except BaseException:  # ours, not the peer's: end with a traceback; systemd starts us again
            asyncio.get_running_loop().stop()
            raise


class Connection(asyncio.BufferedProtocol):
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
        self.holder = ""  # whose is what it receives: the run's, or a tool's until it says that it was shown
        self.holds = False  # it is a tool that has received some
        self.full = False  # answers that the peer does not read
        self.answer = answer
        self.opened = opened
        self.lost = lost
        self.transport: asyncio.Transport | None = None
        self.unfollow: Callable[[], None] = lambda: None
        self.buffer = bytearray()
        self.pending = 0
        self.reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.unfollow = follow(transport.get_extra_info("socket"), transport.abort)
        refusal = self.opened(self)
        if refusal:
            self.refuse(Problem(refusal, "this connection is not accepted here"))

    def get_buffer(self, sizehint: int) -> memoryview:
        return ARRIVED

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(ARRIVED[:nbytes])
        if not self.buffer and data.find(b"\n") == nbytes - 1:
            self.take(data)  # one whole line, as most come
            self.read_on()
            return
        self.buffer += data
        while (end := self.buffer.find(b"\n")) >= 0 and self.transport:
            line = bytes(self.buffer[:end])
            del self.buffer[: end + 1]
            if len(line) > wire.LINE_MAX:
                break
            self.take(line)
        if len(self.buffer) > wire.LINE_MAX or end >= 0:
            # Where the next line starts is anybody's guess from here on.
            self.refuse(Problem("line-too-long", f"a line is over {wire.LINE_MAX} bytes"))
        else:
            self.read_on()

    def take(self, line: bytes) -> None:
        self.pending += 1
        Request(self.handle(line), self.handled).step()

    def handled(self) -> None:
        self.pending -= 1
        self.read_on()

    def read_on(self) -> None:
        """Read only from a peer that reads, and only as much as we can answer."""
        wanted = self.pending <= PENDING_MAX and not self.full
        if wanted == self.reading or not self.transport or self.transport.is_closing():
            return
        self.reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

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
            reply = {"id": number, "ok": True} | await self.answer(self, message)
        except Problem as e:
            reply = {"id": number} | wire.failure(e)
        self.write(reply)

    def write(self, message: wire.Message) -> None:
        if self.transport:
            self.transport.write(wire.encode(message))

    def hung_up(self) -> bool:
        """Also while the loop has not noticed it yet, because the disk kept it."""
        if not self.transport or self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), select.POLLRDHUP)
        return bool(poll.poll(0))

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
        self.unfollow()
        self.lost(self)
