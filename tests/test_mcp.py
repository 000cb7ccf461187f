"""hive-mcp as the CLI runs it: a child process with pipes, and a broker (a scripted one) on a unix socket."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from hyperhive import mail, wire

ROOT = Path(__file__).parent.parent
HIVE_MCP = os.fspath(ROOT / "bin/hive-mcp")
INVOCATION = "0123456789abcdef0123456789abcdef"
HELLO = {"agent": "ada", "role": "agent", "waiting": 0, "turns": 0, "model": "rehearsal"}
WHOAMI = {
    "agent": "ada",
    "role": "agent",
    "status": "",
    "waiting": 1,
    "leased": 2,
    "peers": ["bob", "manager"],
}
MAIL = {
    "id": 12,
    "from": "bob",
    "to": "ada",
    "body": "hi",
    "sent_at": "2026-11-22T10:00:00.000Z",
    "in_reply_to": None,
    "attempts": 1,
    "redelivered": False,
}


def wait_until(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert process.poll() is None, f"{process.args!r} went away"
        assert time.monotonic() < deadline, "it did not come to pass in 10 s"
        time.sleep(0.01)


class Broker:
    """tests/peer.py on a socket, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "hive.sock"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **answers: Any) -> None:
        answers = {"hello": [HELLO], "whoami": [WHOAMI], **answers}
        command = [sys.executable, ROOT / "tests/peer.py", self.socket, self.log, json.dumps(answers)]
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(command)
        wait_until(self.socket.exists, self.process)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.socket.unlink(missing_ok=True)
            self.process = None

    def requests(self, op: str) -> list[Any]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [r for r in map(json.loads, lines) if r["op"] == op]

    def wait_for(self, op: str, count: int = 1) -> None:
        assert self.process
        wait_until(lambda: len(self.requests(op)) >= count, self.process)


class Server:
    """bin/hive-mcp on pipes; ids count up from 1."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.last_id = 0

    def write(self, line: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def request(self, method: str, **params: Any) -> int:
        self.last_id += 1
        message = {"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params}
        self.write(json.dumps(message).encode())
        return self.last_id

    def notify(self, method: str, **params: Any) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())

    def start(self, tool: str, **arguments: Any) -> int:
        return self.request("tools/call", name=tool, arguments=arguments)

    def call(self, tool: str, **arguments: Any) -> tuple[str, bool]:
        id_ = self.start(tool, **arguments)
        answer = self.read()
        assert answer["id"] == id_
        return answer["result"]["content"][0]["text"], answer["result"]["isError"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    b = Broker(tmp_path)
    yield b
    b.stop()


def environment(broker: Broker) -> dict[str, str]:
    return {"HIVE_SOCKET": os.fspath(broker.socket), "INVOCATION_ID": INVOCATION}


@pytest.fixture
def server(broker: Broker) -> Iterator[Server]:
    with subprocess.Popen([HIVE_MCP], stdin=-1, stdout=-1, stderr=-1, env=environment(broker)) as process:
        yield Server(process)
        process.terminate()


def test_initialize_needs_no_broker(server: Server) -> None:
    server.request("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={})
    assert server.read()["result"]["protocolVersion"] == "2025-06-18"
