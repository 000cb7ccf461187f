"""A deterministic server of the Messages interface, by rules from a file. See hive-rehearsal(8)."""

import argparse
import asyncio
import contextlib
import json
import logging
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import h11
from systemd import journal
from systemd.daemon import listen_fds, notify

from hyperhive.gate import http1
from hyperhive.problem import EX_CONFIG, Problem
from hyperhive.rehearsal import ask as rehearsal_ask
from hyperhive.rehearsal import reply
from hyperhive.rehearsal import rules as rehearsal_rules
from hyperhive.rehearsal.ask import Ask
from hyperhive.rehearsal.rules import Action, Failure, Match, Rules

log = logging.getLogger(__name__)

RULES = Path("/usr/share/hyperhive/rehearsal.toml")
BODY_MAX = 64 << 20
IDLE = 600.0
CONNECTIONS_MAX = 4096
JSON = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Book:
    """The rules in force: those of the first file that exists, read again whenever it changes."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.stamp = self._stamp()
        self.rules = rehearsal_rules.load(self._path())

    def _path(self) -> Path:
        return next((path for path in self.paths if path.exists()), self.paths[-1])

    def _stamp(self) -> tuple[Any, ...]:
        path = self._path()
        try:
            stat = path.stat()
        except OSError as e:
            return path, e.errno
        return path, stat.st_ino, stat.st_mtime_ns, stat.st_size

    def current(self) -> Rules:
        stamp = self._stamp()
        if stamp != self.stamp:
            self.stamp = stamp
            try:
                self.rules = rehearsal_rules.load(self._path())
            except Problem as e:
                log.error("%s; the old rules stay", e)
        return self.rules


@dataclass(frozen=True)
class Arrival:
    request: h11.Request
    headers: dict[str, str]
    mono_ns: int
    wall: str


def arrival(request: h11.Request) -> Arrival:
    headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
    wall = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Arrival(request, headers, time.monotonic_ns(), wall)


class Rehearsal:
    def __init__(self, book: Book, log_file: TextIO | None) -> None:
        self.book = book
        self.log_file = log_file
        self.connections = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = http1.Connection(h11.SERVER, reader, writer, IDLE)
        self.connections += 1
        try:
            if self.connections <= CONNECTIONS_MAX:
                await self.converse(connection)
        except (ConnectionError, TimeoutError):
            pass  # the peer is gone, and there is nobody to tell
        finally:
            self.connections -= 1
            await connection.close()

    async def converse(self, connection: http1.Connection) -> None:
        while True:
            try:
                event = await connection.read()
                if not isinstance(event, h11.Request):
                    return
                arrived = arrival(event)
                data = await http1.body(connection, BODY_MAX)
            except h11.RemoteProtocolError as e:
                await refuse(connection, Failure(e.error_status_hint, "invalid_request_error", str(e), {}))
                return
            await self.answer(connection, arrived, data)
            if not connection.next_cycle():
                return

    async def answer(self, connection: http1.Connection, arrived: Arrival, data: bytes) -> None:
        path = arrived.request.target.decode("latin-1").partition("?")[0]
        method = arrived.request.method.decode()
        match (method, path):
            case ("POST", "/v1/messages"):
                await self.messages(connection, arrived, data)
            case ("POST", "/v1/messages/count_tokens"):
                count = reply.tokens(len(data))
                await respond(connection, {"input_tokens": count})
            case ("GET", "/v1/models"):
                await respond(
                    connection, {"data": [MODEL], "has_more": False, "first_id": None, "last_id": None}
                )
            case ("GET" | "HEAD", "/"):
                await respond(connection, {})
            case _:
                await refuse(connection, Failure(404, "not_found_error", f"no {method} {path} here", {}))

    async def messages(self, connection: http1.Connection, arrived: Arrival, data: bytes) -> None:
        try:
            ask = parse(arrived, data)
        except Problem as e:
            await refuse(connection, Failure(400, e.code, str(e), {}))
            return
        rules = self.book.current()
        if not rules.knows(ask.model):
            self.record(arrived, ask, None)
            await refuse(connection, Failure(404, "not_found_error", f"model: {ask.model}", {}))
            return
        action, match = reply.choose(rules, ask)
        self.record(arrived, ask, match)
        if action.delay_ms:
            await asyncio.sleep(action.delay_ms / 1000)
        await perform(connection, ask, action)

    def record(self, arrived: Arrival, ask: Ask, match: Match | None) -> None:
        rule = match.rule.number if match else None
        line = {
            "mono_ns": arrived.mono_ns,
            "at": arrived.wall,
            "path": arrived.request.target.decode("latin-1"),
            "agent": ask.agent,
            "model": ask.model,
            "text": ask.text,
            "step": ask.step,
            "after_tool": ask.after_tool,
            "tool_result": ask.tool_result[:4096],
            "rule": rule,
            "stream": ask.stream,
            "headers": arrived.headers,
        }
        if self.log_file:
            print(json.dumps(line, ensure_ascii=False), file=self.log_file, flush=True)
            return
        journal.send(
            f"{ask.agent or 'somebody'}: step {ask.step} by rule {rule or 'of its own'}",
            SYSLOG_IDENTIFIER="hive-rehearsal",  # else it is the interpreter's name
            HIVE_AGENT=ask.agent,
            HIVE_EVENT="rehearsed",
            HIVE_MODEL=ask.model,
            HIVE_RULE=str(rule or ""),
            HIVE_STEP=str(ask.step),
        )


MODEL = {
    "type": "model",
    "id": "rehearsal",
    "display_name": "Rehearsal",
    "created_at": "2026-01-01T00:00:00Z",
}


def parse(arrived: Arrival, data: bytes) -> Ask:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise Problem("invalid_request_error", f"The request body is not valid JSON: {e}") from e
    if not isinstance(body, dict):
        raise Problem("invalid_request_error", "The request body is not a JSON object")
    agent = arrived.headers.get("x-hive-agent", "")
    return rehearsal_ask.read(body, agent, arrived.headers.get("x-claude-code-session-id", ""))


async def respond(connection: http1.Connection, value: dict[str, Any]) -> None:
    await connection.respond(200, JSON, json.dumps(value).encode())


async def refuse(connection: http1.Connection, failure: Failure) -> None:
    if connection.may_respond:
        extra = [(name.encode(), value.encode()) for name, value in failure.headers.items()]
        body = json.dumps(reply.error(failure)).encode()
        await connection.respond(failure.status, [*JSON, *extra], body)


async def perform(connection: http1.Connection, ask: Ask, action: Action) -> None:
    request_id = (b"request-id", f"req_{ask.digest}".encode())
    if action.error:
        await refuse(connection, action.error)
    elif action.malformed or action.hang:
        await connection.send(h11.Response(status_code=200, headers=[*EVENTS, request_id]))
        text = reply.half_a_stream(ask) if action.malformed else reply.start(ask)
        await connection.send(h11.Data(data=text))
        if action.hang:
            await until_gone(connection)
        connection.http.send_failed()
    elif ask.stream:
        await connection.send(h11.Response(status_code=200, headers=[*EVENTS, request_id]))
        for piece in reply.stream(ask, action):
            await connection.send(h11.Data(data=piece))
        await connection.send(h11.EndOfMessage())
    else:
        body = json.dumps(reply.message(ask, action)).encode()
        await connection.respond(200, [*JSON, request_id], body)


async def until_gone(connection: http1.Connection) -> None:
    while await connection.reader.read(http1.READ_SIZE):
        pass


async def serve(sock: socket.socket, rehearsal: Rehearsal) -> None:
    async with await asyncio.start_server(rehearsal.accept, sock=sock) as server:
        notify("READY=1")
        await server.serve_forever()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="hive-rehearsal", description="Answer as a model would, by rules.")
    top.add_argument(
        "--listen", metavar="ADDRESS", help="unix:PATH or 127.0.0.1:PORT (0: any); else systemd's"
    )
    rules = "rules file; given more than once, the first that exists"
    top.add_argument("--rules", metavar="FILE", type=Path, action="append", help=rules)
    top.add_argument("--log", metavar="FILE", type=Path, help="append one JSON line per request")
    return top


def main() -> None:
    args = parser().parse_args()
    book = Book(args.rules or [RULES])
    with contextlib.ExitStack() as stack:
        log_file = stack.enter_context(args.log.open("a", encoding="utf-8")) if args.log else None
        if args.listen:
            sock = http1.listen(args.listen)
            print(http1.name_of(sock), flush=True)
        else:
            sock = activated()
        asyncio.run(serve(sock, Rehearsal(book, log_file)))


def activated() -> socket.socket:
    fds = listen_fds()
    if len(fds) != 1:
        hint = "start hive-rehearsal.socket, or give --listen"
        raise Problem("no-socket", f"expected one socket, got {len(fds)}", hint=hint, exit_status=EX_CONFIG)
    return socket.socket(fileno=fds[0])
