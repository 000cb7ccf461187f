"""hive-mcp as a process that a test talks to, alone or with the uid of an agent."""

import json
import os
import subprocess
from typing import Any

from tests.hive import ROOT, Hive

HIVE_MCP = os.fspath(ROOT / "bin/hive-mcp")
INVOCATION = "0123456789abcdef" * 2


class Server:
    """bin/hive-mcp, spoken to in raw lines; ids count up from 1."""

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

    def result(self, id_: int) -> tuple[str, bool]:
        answer = self.read()
        assert answer["id"] == id_, answer
        return answer["result"]["content"][0]["text"], answer["result"]["isError"]

    def call(self, tool: str, **arguments: Any) -> tuple[str, bool]:
        return self.result(self.start(tool, **arguments))

    def say(self, tool: str, **arguments: Any) -> str:
        text, is_error = self.call(tool, **arguments)
        assert not is_error, text
        return text

    def alive(self) -> None:
        id_ = self.request("ping")
        assert self.read() == {"jsonrpc": "2.0", "id": id_, "result": {}}


def in_cage(here: Hive, name: str) -> tuple[list[str], dict[str, str]]:
    """The command and environment of an agent's hive-mcp, with its uid: that may search pytest's folders."""
    search = "+dac_read_search"
    become = ["setpriv", f"--reuid={here.bases[name]}", "--clear-groups", f"--inh-caps={search}"]
    command = [*become, f"--ambient-caps={search}", HIVE_MCP]
    role = "manager" if name == "manager" else "agent"
    about = {"HIVE_SOCKET": os.fspath(here.socket(name)), "INVOCATION_ID": INVOCATION}
    return command, about | {"HIVE_ROLE": role}


def caged(here: Hive, name: str) -> subprocess.Popen[bytes]:
    command, env = in_cage(here, name)
    return subprocess.Popen(command, stdin=-1, stdout=-1, env=os.environ | env)
