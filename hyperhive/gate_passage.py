"""One cage's connection: every request is checked, given the credential and passed on as it comes."""

import asyncio
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from hyperhive import facts, gate_upstream, http1
from hyperhive.gate_upstream import Upstream
from hyperhive.http1 import Connection, Headers
from hyperhive.problem import Problem

BODY_MAX = 64 << 20
BETWEEN = 300.0  # seconds without a request
WITHIN = 60.0  # seconds without progress in a request, or without taking the answer

# no '%' and no leading dot: what a server decodes must not lead elsewhere
ROUTES = re.compile(rb"POST /v1/messages(/count_tokens)?|(GET|HEAD) /v1/models(/[a-z][a-z0-9.:@-]*)?")
HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
# what the cage says about who it is counts for nothing
REPLACED = {b"host", b"expect", b"authorization", b"x-api-key", b"cookie", b"x-hive-agent"}
CLOSE = (b"connection", b"close")
TEXT = (b"content-type", b"text/plain; charset=utf-8")
JSON = (b"content-type", b"application/json")


@dataclass
class Count:
    """What one request moved."""

    line: str
    started: float
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    named = {
        word.strip()
        for name, value in headers
        if name == b"connection"
        for word in value.lower().split(b",")
    }
    return [(name, value) for name, value in headers if name not in HOP_BY_HOP | named]


def refusal(request: h11.Request) -> tuple[int, str] | None:
    """Why the request may not pass."""
    headers = dict(request.headers)
    if b"transfer-encoding" in headers and b"content-length" in headers:
        return 400, "a request with both Content-Length and Transfer-Encoding is ambiguous"
    if int(headers.get(b"content-length", b"0")) > BODY_MAX:
        return 413, f"the body is over {BODY_MAX} bytes"
    path = request.target.partition(b"?")[0]
    if not ROUTES.fullmatch(request.method + b" " + path):
        where = f"{request.method.decode()} {request.target[:200].decode('ascii', 'replace')}"
        return 403, f"hive-gate passes requests to the model only, not {where}"
    return None


def outgoing(request: h11.Request, agent: str, to: Upstream) -> h11.Request:
    headers = [(b"host", to.host)]
    headers += [(name, value) for name, value in end_to_end(request.headers) if name not in REPLACED]
    if (b"transfer-encoding", b"chunked") in list(request.headers):
        headers.append((b"transfer-encoding", b"chunked"))
    if to.auth:
        headers.append(to.auth)
    if to.unix:
        headers.append((b"x-hive-agent", agent.encode()))
    return h11.Request(method=request.method, target=request.target, headers=headers)


class Passage:
    def __init__(self, client: Connection, agent: str, to: Upstream) -> None:
        self.client = client
        self.agent = agent
        self.to = to
        self.upstream: Connection | None = None

    async def run(self) -> None:
        try:
            while True:
                self.client.idle = BETWEEN
                request = await self.client.read()
                if not isinstance(request, h11.Request):
                    return
                self.client.idle = WITHIN
                await self.handle(request)
                if not self.client.next_cycle():
                    return
        except h11.RemoteProtocolError as e:
            await self.refuse(e.error_status_hint, TEXT, f"hive-gate: {e}\n")
        finally:
            self.hang_up()

    async def handle(self, request: h11.Request) -> None:
        if wrong := refusal(request):
            await self.refuse(wrong[0], TEXT, wrong[1] + "\n")
            return
        path = request.target.partition(b"?")[0].decode()
        count = Count(f"{request.method.decode()} {path}", time.monotonic())
        try:
            await self.exchange(request, count)
        except h11.RemoteProtocolError as e:
            count.status = count.status or e.error_status_hint
            raise
        except Problem as e:
            self.hang_up()
            count.status = count.status or 502
            error = {"type": "error", "error": {"type": "api_error", "message": str(e)}}
            await self.refuse(502, JSON, json.dumps(error))
        finally:
            self.record(count)

    async def refuse(self, status: int, kind: tuple[bytes, bytes], text: str) -> None:
        """Answer and hang up; an answer that has begun is cut short, which the client sees."""
        if self.client.may_respond:
            await self.client.respond(status, [kind, CLOSE], text.encode())
        self.client.http.send_failed()

    def hang_up(self) -> None:
        if self.upstream:
            self.upstream.writer.close()
            self.upstream = None

    def record(self, count: Count) -> None:
        ms = round((time.monotonic() - count.started) * 1000)
        facts.log(
            "model_request",
            f"{self.agent}: {count.line} -> {count.status} in {ms} ms",
            agent=self.agent,
            HIVE_STATUS=count.status,
            HIVE_BYTES_IN=count.bytes_in,
            HIVE_BYTES_OUT=count.bytes_out,
            HIVE_DURATION_MS=ms,
        )

    async def connection(self) -> Connection:
        """The connection of the last request, unless the model has closed it since."""
        if self.upstream and not self.upstream.reader.at_eof():
            return self.upstream
        self.hang_up()
        self.upstream = await gate_upstream.connect(self.to)
        return self.upstream

    async def exchange(self, request: h11.Request, count: Count) -> None:
        upstream = await self.connection()
        with gate_upstream.failures(self.to):
            await upstream.send(outgoing(request, self.agent, self.to))
        up = asyncio.create_task(self.upload(upstream, count))
        down = asyncio.create_task(self.download(upstream, count))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if up.done() and not down.done():
                up.result()
            await down
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        if not upstream.next_cycle():
            self.hang_up()

    async def upload(self, upstream: Connection, count: Count) -> None:
        """The request's body; then stay to see whether the client goes away before its answer."""
        writable = True
        while not isinstance(event := await self.client.read(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise ConnectionResetError("the client went away")
            count.bytes_in += len(event.data)
            if count.bytes_in > BODY_MAX:
                raise h11.RemoteProtocolError(f"the body is over {BODY_MAX} bytes", error_status_hint=413)
            writable = writable and await sent(upstream, event)
        if writable:
            await sent(upstream, h11.EndOfMessage())
        early = await self.client.reader.read(http1.READ_SIZE)
        if not early:
            raise ConnectionResetError("the client went away")
        self.client.http.receive_data(early)  # the next request, pipelined; more of it waits in the kernel

    async def download(self, upstream: Connection, count: Count) -> None:
        while True:
            with gate_upstream.failures(self.to):
                event = await upstream.read()
            if isinstance(event, h11.Response):
                count.status = event.status_code
                headers = end_to_end(event.headers)
                await self.client.send(h11.Response(status_code=event.status_code, headers=headers))
            elif isinstance(event, h11.Data):
                count.bytes_out += len(event.data)
                await self.client.send(event)
            elif isinstance(event, h11.EndOfMessage):
                await self.client.send(h11.EndOfMessage())
                return
            elif isinstance(event, h11.ConnectionClosed):
                text = f"the model endpoint '{self.to.name}' closed the connection without an answer"
                raise Problem("upstream", text)


async def sent(upstream: Connection, event: h11.Event) -> bool:
    """False when the model takes no more: its answer, which it may have given early, says why."""
    try:
        await upstream.send(event)
    except (OSError, h11.LocalProtocolError):
        return False
    return True
