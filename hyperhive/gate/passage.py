"""One cage's connection: a request to the model gets the credential, one to elsewhere goes by egress."""

import asyncio
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import h11

from hyperhive import facts
from hyperhive.gate import account as gate_account
from hyperhive.gate import egress, http1
from hyperhive.gate import upstream as gate_upstream
from hyperhive.gate.account import Account, Denied, Way
from hyperhive.gate.doors import Doors
from hyperhive.gate.egress import Target
from hyperhive.gate.http1 import Connection, Headers
from hyperhive.gate.pipe import Tunnel
from hyperhive.gate.upstream import Upstream
from hyperhive.gate.ways import Egress
from hyperhive.problem import Problem

BODY_MAX = 64 << 20
BETWEEN = 300.0  # seconds without a request
REASON_MAX = 300  # characters
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
REPLACED_ELSEWHERE = {b"host", b"expect"}  # it may well sign in there, with what it has itself
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
    doors: Doors = field(default_factory=Doors)

    def sent(self, data: bytes) -> None:
        self.doors.look(data)
        self.bytes_in += len(data)
        if self.bytes_in > BODY_MAX:
            raise h11.RemoteProtocolError(f"the body is over {BODY_MAX} bytes", error_status_hint=413)

    def received(self, count: int) -> None:
        self.bytes_out += count


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    named = {
        word.strip()
        for name, value in headers
        if name == b"connection"
        for word in value.lower().split(b",")
    }
    dropped = HOP_BY_HOP | named - {b"content-length"}  # which is not for the peer to take out
    return [(name, value) for name, value in headers if name not in dropped]


def ambiguous(request: h11.Request) -> bool:
    """Two ways to tell where its body ends, or one for a body that a CONNECT has not."""
    named = {name for name, _ in request.headers} & {b"transfer-encoding", b"content-length"}
    return len(named) > (0 if request.method == b"CONNECT" else 1)


def refusal(request: h11.Request) -> tuple[int, str] | None:
    """Why the request may not pass to the model."""
    headers = dict(request.headers)
    if int(headers.get(b"content-length", b"0")) > BODY_MAX:
        return 413, f"the body is over {BODY_MAX} bytes"
    if b"content-encoding" in headers:
        return 415, "hive-gate reads what goes to the model: send it without Content-Encoding"
    path = request.target.partition(b"?")[0]
    if not ROUTES.fullmatch(request.method + b" " + path):
        where = f"{request.method.decode()} {request.target[:200].decode('ascii', 'replace')}"
        return 403, f"of the model hive-gate passes requests for messages only, not {where}"
    return None


def outgoing(
    request: h11.Request, target: bytes, host: bytes, replaced: set[bytes], *more: tuple[bytes, bytes]
) -> h11.Request:
    headers = [(b"host", host)]
    headers += [(name, value) for name, value in end_to_end(request.headers) if name not in replaced]
    if (b"transfer-encoding", b"chunked") in list(request.headers):
        headers.append((b"transfer-encoding", b"chunked"))
    return h11.Request(method=request.method, target=target, headers=[*headers, *more])


def to_model(request: h11.Request, agent: str, to: Upstream) -> h11.Request:
    more = [to.auth] if to.auth else []
    more += [(b"x-hive-agent", agent.encode())] if to.unix else []
    return outgoing(request, request.target, to.host, REPLACED, *more)


def destination(request: h11.Request) -> tuple[Target, str]:
    """Where a CONNECT or a request for a whole URL is to go, and what it wants there."""
    said = request.target.decode("ascii")
    try:
        to, path = (egress.target(said), "") if request.method == b"CONNECT" else egress.absolute(said)
    except Problem as e:
        raise Denied("host", str(e), None) from e
    host = dict(request.headers).get(b"host", b"").decode("latin-1").lower()
    if host not in ("", to.host, str(to)):
        raise Denied("host", f"the header Host is {host[: egress.SHOWN]!r}, the request is for {to}", to)
    return to, path


class Passage:
    def __init__(self, client: Connection, account: Account, model: Upstream, out: Egress) -> None:
        self.client = client
        self.account = account
        self.model = model
        self.out = out
        self.upstream: Connection | None = None  # that of the last request
        self.way: Way | None = None  # by which it leads out; None: to the model

    async def run(self) -> None:
        try:
            while True:
                self.client.idle = BETWEEN
                request = await self.client.read()
                if not isinstance(request, h11.Request):
                    return
                self.client.idle = WITHIN
                await self.account.requests.turn()
                await self.handle(request)
                if not self.client.next_cycle():
                    return
        except h11.RemoteProtocolError as e:
            await self.refuse(e.error_status_hint, TEXT, f"hive-gate: {e}\n")
        finally:
            self.hang_up()

    async def handle(self, request: h11.Request) -> None:
        if ambiguous(request):
            await self.refuse(400, TEXT, "the request does not tell clearly where its body ends\n")
        elif request.method == b"CONNECT" or not request.target.startswith(b"/"):
            await self.elsewhere(request)
        elif wrong := refusal(request):
            await self.refuse(wrong[0], TEXT, wrong[1] + "\n")
        else:
            await self.ask_model(request)

    async def ask_model(self, request: h11.Request) -> None:
        path = request.target.partition(b"?")[0].decode()
        count = Count(f"{request.method.decode()} {path}", time.monotonic())
        try:
            if not self.leads_to(None):
                self.hang_up()
                self.upstream = await gate_upstream.connect(self.model)
                self.upstream.rest = self.account.rest
            await self.exchange(to_model(request, self.account.agent, self.model), self.model, count)
        except h11.RemoteProtocolError as e:
            count.status = count.status or e.error_status_hint
            raise
        except Denied as e:
            self.hang_up()  # in the middle of its body: nobody takes that for a request
            count.status = e.status
            await self.account.elsewhere.turn()
            gate_account.record_denial(self.account.agent, e)
            await self.refuse_model(e.status, "permission_error", f"hive-gate: {e}")
        except Problem as e:
            self.hang_up()
            count.status = count.status or 502
            await self.refuse_model(502, "api_error", str(e))
        finally:
            self.record(count)

    async def refuse_model(self, status: int, kind: str, text: str) -> None:
        """As the Messages interface has it."""
        error = {"type": "error", "error": {"type": kind, "message": text}}
        await self.refuse(status, JSON, json.dumps(error))

    async def elsewhere(self, request: h11.Request) -> None:
        try:
            to, path = destination(request)
            if request.method == b"CONNECT":
                await self.tunnel(to)
            else:
                await self.fetch(request, to, path)
        except Denied as e:
            if e.code == "host":  # so it has not had to wait yet
                await self.account.elsewhere.turn()
            gate_account.record_denial(self.account.agent, e)
            await self.refuse(e.status, TEXT, f"hive-gate: {e}\n")
        except Problem as e:
            await self.refuse(502, TEXT, f"hive-gate: {e}\n")
        except TimeoutError:
            end = self.way.end if self.way else "timed out"
            await self.refuse(504, TEXT, f"hive-gate: the connection was cut: {end}\n")

    async def tunnel(self, to: Target) -> None:
        await self.client.read()  # the end of the request, at once
        self.hang_up()
        self.way, sock = await self.out.open(self.account, to)
        tunnel = Tunnel(self.way.sent, self.way.received)
        try:
            await self.client.send(h11.Response(status_code=200, headers=[], reason=b"Connected"))
        except BaseException:  # also when it is cancelled: nobody else would close it
            sock.close()
            raise
        await tunnel.join(self.client, sock)
        try:
            async with self.way.limited():
                await tunnel.over
            tunnel.close()
        finally:
            tunnel.abort()

    async def fetch(self, request: h11.Request, to: Target, path: str) -> None:
        if self.leads_to(to):
            self.out.check(self.account, to)
        else:
            self.hang_up()
            self.way, sock = await self.out.open(self.account, to)
            self.upstream = http1.Connection(
                h11.CLIENT,
                *await asyncio.open_connection(sock=sock, limit=http1.READ_SIZE // 2),
                gate_account.IDLE,
            )
            self.upstream.rest = self.account.rest
            self.upstream.sent, self.upstream.received = self.way.sent, self.way.received
        assert self.way
        host = to.host if to.port == egress.HTTP_PORT else str(to)
        passed = outgoing(request, path.encode(), host.encode(), REPLACED_ELSEWHERE)
        try:
            async with self.way.limited():
                await self.exchange(passed, Upstream(str(to), host.encode()), None)
        except Problem:
            self.way.end = self.way.end or "failed"
            self.hang_up()
            raise

    async def refuse(self, status: int, kind: tuple[bytes, bytes], text: str) -> None:
        """Answer and hang up; an answer that has begun is cut short, which the client sees."""
        if self.client.may_respond:
            # of the answer to a CONNECT, most programs show the first line only
            reason = "".join(filter(str.isprintable, text))[:REASON_MAX] if kind is TEXT else ""
            await self.client.respond(status, [kind, CLOSE], text.encode(), reason.encode())
        self.client.http.send_failed()

    def hang_up(self) -> None:
        if self.upstream:
            self.upstream.writer.close()
            self.upstream = None
        if self.way:
            self.out.close(self.way)
            self.way = None

    def leads_to(self, to: Target | None) -> bool:
        """The connection of the last request, unless it was closed since."""
        ends = self.way.to if self.way else None
        cut = self.way.end if self.way else ""
        return bool(self.upstream and not self.upstream.reader.at_eof() and ends == to and not cut)

    def record(self, count: Count) -> None:
        ms = round((time.monotonic() - count.started) * 1000)
        facts.log(
            "model_request",
            f"{self.account.agent}: {count.line} -> {count.status} in {ms} ms",
            agent=self.account.agent,
            HIVE_STATUS=count.status,
            HIVE_BYTES_IN=count.bytes_in,
            HIVE_BYTES_OUT=count.bytes_out,
            HIVE_DURATION_MS=ms,
        )

    async def exchange(self, request: h11.Request, to: Upstream, count: Count | None) -> None:
        upstream = self.upstream
        assert upstream
        with gate_upstream.failures(to):
            await upstream.send(request)
        up = asyncio.create_task(self.upload(upstream, count))
        down = asyncio.create_task(self.download(upstream, to, count))
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

    async def upload(self, upstream: Connection, count: Count | None) -> None:
        """The request's body; then stay to see whether the client goes away before its answer."""
        writable = True
        while not isinstance(event := await self.client.read(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise ConnectionResetError("the client went away")
            if count:
                count.sent(event.data)
            writable = writable and await sent(upstream, event)
        if writable:
            await sent(upstream, h11.EndOfMessage())
        early = await self.client.reader.read(http1.READ_SIZE)
        if not early:
            raise ConnectionResetError("the client went away")
        self.client.http.receive_data(early)  # the next request, pipelined; more of it waits in the kernel

    async def download(self, upstream: Connection, to: Upstream, count: Count | None) -> None:
        while True:
            with gate_upstream.failures(to):
                event = await upstream.read()
            if isinstance(event, h11.Response):
                if count:
                    count.status = event.status_code
                headers = end_to_end(event.headers)
                answer = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
                await self.client.send(answer)
            elif isinstance(event, h11.Data):
                if count:
                    count.received(len(event.data))
                await self.client.send(event)
            elif isinstance(event, h11.EndOfMessage):
                await self.client.send(h11.EndOfMessage())
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise Problem("upstream", f"{to.name} closed the connection without an answer")


async def sent(upstream: Connection, event: h11.Event) -> bool:
    """False when the model takes no more: its answer, which it may have given early, says why."""
    try:
        await upstream.send(event)
    except (OSError, h11.LocalProtocolError):
        return False
    return True
