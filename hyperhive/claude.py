"""One warm claude process: turns in, typed events out, over stream-json. Standard library only."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]

LINE_MAX = 32 * 1024 * 1024  # a tool's result comes back as one line
TURN_MAX = 512 * 1024 * 1024  # bytes of output in one turn
INTERRUPT_WAIT = 5.0  # seconds that an interrupted turn has to end; it takes 20 ms
INTERRUPT = {"type": "control_request", "request_id": "interrupt", "request": {"subtype": "interrupt"}}


class Ended(Exception):
    """The process is gone, or what it says can no longer be followed."""


class Silent(Exception):
    """Nothing came for too long."""


@dataclass(frozen=True)
class Setup:
    program: str
    model: str
    allow: tuple[str, ...]
    prompt: str
    mcp: str  # the program that gives the agent its tools
    session: str | None
    base_url: str
    socket: str
    invocation: str
    folder: Path  # for what the CLI reads at its start


def write_files(setup: Setup) -> None:
    setup.folder.mkdir(mode=0o700, exist_ok=True)
    server = {"command": setup.mcp, "env": {"HIVE_SOCKET": setup.socket, "INVOCATION_ID": setup.invocation}}
    (setup.folder / "mcp.json").write_text(json.dumps({"mcpServers": {"hive": server}}))
    (setup.folder / "prompt.md").write_text(setup.prompt)


def arguments(setup: Setup) -> list[str]:
    built_in = sorted({rule.partition("(")[0] for rule in setup.allow if not rule.startswith("mcp__")})
    line = [setup.program, "--print", "--verbose"]
    line += ["--input-format=stream-json", "--output-format=stream-json"]
    line += [f"--mcp-config={setup.folder}/mcp.json", "--strict-mcp-config"]
    line += [f"--append-system-prompt-file={setup.folder}/prompt.md", "--system-prompt-snapshot=off"]
    # Only what is listed exists, and of that only what the rules allow is done: nobody is there to be asked.
    line += ["--setting-sources=", f"--tools={','.join(built_in)}", "--permission-mode=dontAsk"]
    line += [f"--model={setup.model}"]
    line += [f"--resume={setup.session}"] if setup.session else []
    return [*line, "--allowedTools", "mcp__hive", *setup.allow]


def environment(setup: Setup) -> dict[str, str]:
    proxy = {"ANTHROPIC_BASE_URL": setup.base_url, "ANTHROPIC_API_KEY": "added-by-hive-gate"}
    quiet = {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_GROWTHBOOK": "1",
        "DISABLE_TELEMETRY": "1",
        # The CLI says how long it would wait; beyond one short retry we decide.
        "CLAUDE_CODE_MAX_RETRIES": "1",
        # above the longest recv
        "MCP_TOOL_TIMEOUT": "240000",
    }
    return dict(os.environ) | proxy | quiet


class Claude:
    """From its start to its end, with everything it started."""

    def __init__(self, setup: Setup) -> None:
        self.session = setup.session
        self.spoke = False
        self.buffer = bytearray()
        write_files(setup)
        self.process = subprocess.Popen(
            arguments(setup),
            env=environment(setup),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdin and self.process.stdout
        self.stdin, self.stdout = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.stdout, False)
        os.set_blocking(self.stdin, False)

    def say(self, message: Event, patience: float) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            if not select.select([], [self.stdin], [], patience)[1]:
                raise Silent
            try:
                data = data[os.write(self.stdin, data) :]
            except BrokenPipeError as e:
                raise Ended("it does not read any more") from e

    def turn(self, text: str, patience: float) -> Iterator[Event]:
        """Every event of a turn, the last of type 'result'. Silent after `patience` seconds without one."""
        content = [{"type": "text", "text": text}]
        self.say({"type": "user", "message": {"role": "user", "content": content}}, patience)
        yield from self.events(patience)

    def interrupted(self) -> Iterator[Event]:
        self.say(INTERRUPT, INTERRUPT_WAIT)
        yield from self.events(INTERRUPT_WAIT)

    def events(self, patience: float) -> Iterator[Event]:
        size = 0
        while True:
            line = self.line(time.monotonic() + patience)
            size += len(line)
            if size > TURN_MAX:
                raise Ended("it flooded its output")
            event = parse(line)
            if event:
                yield event
            if event.get("type") == "result":
                return

    def line(self, end: float) -> bytes:
        while (at := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > LINE_MAX:
                raise Ended("it flooded its output: one line has no end")
            if not select.select([self.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise Silent
            data = os.read(self.stdout, 1024 * 1024)
            if not data:
                raise Ended("it ended in the middle of a line" if self.buffer else "it ended")
            self.spoke = True
            self.buffer += data
        line = bytes(self.buffer[:at])
        del self.buffer[: at + 1]
        return line

    def end(self) -> None:
        """It and all that it left behind."""
        if os.getpid() == 1:  # the cage's first process: whatever else runs here is its doing
            kill(-1)
        else:
            kill(-self.process.pid)
        self.process.wait()
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        reap()


def parse(line: bytes) -> Event:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        print(f"claude printed what is not JSON, ignoring: {line[:200]!r}", file=sys.stderr)
        return {}
    return event if isinstance(event, dict) else {}


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def reap() -> None:
    """Orphans of the cage come to its first process."""
    if os.getpid() == 1:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def read_session(path: Path) -> str | None:
    try:
        session = path.read_text().strip()
    except FileNotFoundError:
        return None
    # The agent can write it: it must not become an option.
    return session if session.replace("-", "").isalnum() and session[0] != "-" else None
