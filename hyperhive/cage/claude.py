"""One warm claude process: turns in, typed events out, over stream-json. Standard library only."""

import contextlib
import json
import math
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hyperhive.config.agent_toml import FILE, HIVE_SERVER, Agent
from hyperhive.rules import match

Event = dict[str, Any]

INITIALIZE = {"type": "control_request", "request_id": "initialize", "request": {"subtype": "initialize"}}
INTERRUPT = {"type": "control_request", "request_id": "interrupt", "request": {"subtype": "interrupt"}}

NO_JUDGE = "The rules for commands cannot be looked up, so no command is allowed."
JUDGING = 60  # seconds; hive-rules gives up long before


class Ended(Exception):
    """The process is gone, or what it says can no longer be followed."""


class Silent(Exception):
    """Nothing came for too long."""


class Aside(Protocol):
    """What else to attend to while claude works; it may raise an error of its own, which ends the wait."""

    def reading(self) -> Sequence[int]: ...

    def writing(self) -> Sequence[int]: ...

    def due(self) -> float: ...

    def serve(self) -> None: ...


@dataclass(frozen=True)
class Limits:
    line: int = 32 * 1024 * 1024  # bytes; a tool's result comes back as one line
    turn: int = 512 * 1024 * 1024  # bytes of output in one turn
    interrupt: float = 5.0  # seconds that an interrupted turn has to end; it takes 20 ms
    cancel: float = 1.5  # the same, when somebody waits for it
    switch: float = 20.0  # seconds that another model has to be agreed on with the endpoint
    proof: float = 5.0  # seconds that it has to answer before its first turn; it takes half a second


LIMITS = Limits()


@dataclass(frozen=True)
class Setup:
    program: str
    model: str
    agent: Agent
    prompt: str
    mcp: str  # the program that gives the agent its tools
    rules: str  # the program that judges its commands
    role: str
    config: Path  # the deployed one
    session: str | None
    base_url: str
    socket: str
    invocation: str
    folder: Path  # for what the CLI reads at its start
    limits: Limits


def write_files(setup: Setup) -> None:
    setup.folder.mkdir(mode=0o700, exist_ok=True)
    (setup.folder / "mcp.json").write_text(json.dumps({"mcpServers": servers(setup)}))
    (setup.folder / "prompt.md").write_text(setup.prompt)


def servers(setup: Setup) -> dict[str, Any]:
    """As the CLI reads them; nobody can put another in the place of the hive's own."""
    about = {"HIVE_SOCKET": setup.socket, "INVOCATION_ID": setup.invocation, "HIVE_ROLE": setup.role}
    found: dict[str, Any] = {}
    for name, server in setup.agent.mcp.items():
        own = server.command.startswith("bin/")
        command = os.fspath(setup.config / server.command) if own else server.command
        found[name] = {"command": command, "args": server.args, "env": server.env}
    return found | {HIVE_SERVER: {"command": setup.mcp, "env": about}}


def rules(agent: Agent) -> list[str]:
    """What is allowed. Nothing else is."""
    found = [f"mcp__{HIVE_SERVER}", *agent.allow]
    for name, server in agent.mcp.items():
        found += [f"mcp__{name}" if tool == "*" else f"mcp__{name}__{tool}" for tool in server.allow]
    return found


def arguments(setup: Setup) -> list[str]:
    built_in = sorted({rule.partition("(")[0] for rule in setup.agent.allow})
    line = [setup.program, "--print", "--verbose"]
    line += ["--input-format=stream-json", "--output-format=stream-json"]
    line += [f"--mcp-config={setup.folder}/mcp.json", "--strict-mcp-config"]
    line += [f"--append-system-prompt-file={setup.folder}/prompt.md", "--system-prompt-snapshot=off"]
    # Only what is listed exists, and of that only what the rules allow is done: nobody is there to be asked.
    line += ["--setting-sources=", f"--tools={','.join(built_in)}", "--permission-mode=dontAsk"]
    line += [f"--model={setup.model}", f"--settings={json.dumps(settings(setup))}"]
    line += [f"--resume={setup.session}"] if setup.session else []
    return [*line, "--allowedTools", *rules(setup.agent)]


def judge(setup: Setup) -> str:
    """The command that judges those of the agent, if there are rules for them."""
    if match.anything(setup.agent.allow) or not match.patterns(setup.agent.allow):
        return ""
    words = [setup.rules, f"{setup.config}/{FILE}", setup.socket, setup.invocation]
    # Only 2 keeps the CLI from going on: a judge that crashes, or is not there, must not let anything pass.
    return f"{shlex.join(words)} || {{ echo '{NO_JUDGE}' >&2; exit 2; }}"


def settings(setup: Setup) -> dict[str, Any]:
    hook = {"type": "command", "command": judge(setup), "timeout": JUDGING}
    return {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [hook]}]}} if judge(setup) else {}


def environment(setup: Setup) -> dict[str, str]:
    proxy = {"ANTHROPIC_BASE_URL": setup.base_url, "ANTHROPIC_API_KEY": "added-by-hive-gate"}
    quiet = {
        # What ends in the background would begin a turn of the CLI's own, which nobody watches or records.
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_GROWTHBOOK": "1",
        "DISABLE_TELEMETRY": "1",
        # The CLI says how long it would wait; beyond one short retry we decide.
        "CLAUDE_CODE_MAX_RETRIES": "1",
        # above the longest recv
        "MCP_TOOL_TIMEOUT": "240000",
    }
    return dict(os.environ) | proxy | quiet | judged(setup)


def judged(setup: Setup) -> dict[str, str]:
    shell = Path(setup.rules).with_name("hive-bash")
    return {"CLAUDE_CODE_SHELL": os.fspath(shell)} if judge(setup) else {}


class Claude:
    """From its start to its end, with everything it started. Only a cage's first process may have one."""

    def __init__(self, setup: Setup, aside: Aside) -> None:
        self.session = setup.session
        self.aside = aside
        self.limits = setup.limits
        self.spoke = False
        self.begun = False  # the turn that it was last given
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
        self.death = os.pidfd_open(self.process.pid)
        os.set_blocking(self.stdin, False)

    def prove(self) -> None:
        """It has come up: it answers, or at least goes on running for as long as that should take."""
        end = time.monotonic() + self.limits.proof
        self.say(INITIALIZE, end)
        with contextlib.suppress(Silent):
            for event in self.events(math.inf, end):
                if event.get("type") == "control_response":
                    break
        self.spoke = False  # about a turn it has not said a word

    def turn(self, text: str, patience: float) -> Iterator[Event]:
        """Every event of a turn, the last of type 'result'. Silent after `patience` seconds without one."""
        uuid = Path("/proc/sys/kernel/random/uuid").read_text().strip()
        message = {"role": "user", "content": [{"type": "text", "text": text}]}
        self.begun = False
        self.say({"type": "user", "uuid": uuid, "message": message}, time.monotonic() + patience)
        for event in self.events(patience):
            self.begun = self.begun or begins(event, uuid)
            # What comes before is the rest of the last turn, or of one that the CLI began by itself.
            if self.begun or failed_at_once(event):
                yield event
                if event.get("type") == "result":
                    return

    def set_model(self, model: str) -> Event:
        """Between two turns: how it answers, {subtype: success} or {subtype: error, error, error_code}."""
        end = time.monotonic() + self.limits.switch
        request = {"subtype": "set_model", "model": model}
        self.say({"type": "control_request", "request_id": f"model {model}", "request": request}, end)
        for event in self.events(math.inf, end):
            response = event.get("response")
            if isinstance(response, dict) and response.get("request_id") == f"model {model}":
                return response
        raise Ended("it never answered")

    def interrupted(self, patience: float) -> Iterator[Event]:
        """What is left of the turn, if it stops."""
        if not self.begun:
            raise Ended("it did not begin the turn")
        end = time.monotonic() + patience
        self.say(INTERRUPT, end)
        for event in self.events(math.inf, end):
            yield event
            if event.get("type") == "result":
                return

    def say(self, message: Event, end: float) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            # It may have to get rid of what it says before it listens.
            if self.wait(end, [self.stdin]):
                try:
                    data = data[os.write(self.stdin, data) :]
                except BrokenPipeError:
                    return  # what it said last tells more

    def events(self, patience: float, end: float = math.inf) -> Iterator[Event]:
        size = 0
        while True:
            line = self.line(min(end, time.monotonic() + patience))
            size += len(line)
            if size > self.limits.turn:
                raise Ended("it flooded its output")
            if event := parse(line):
                yield event

    def line(self, end: float) -> bytes:
        start = 0
        while (at := self.buffer.find(b"\n", start)) < 0:
            start = len(self.buffer)
            self.wait(end)
        line = bytes(self.buffer[:at])
        del self.buffer[: at + 1]
        return line

    def wait(self, end: float, writing: Sequence[int] = ()) -> bool:
        """Until it has said something, or takes something (True)."""
        left = max(0.0, min(end, self.aside.due()) - time.monotonic())
        aside, more = self.aside.reading(), self.aside.writing()
        readable, writable, _ = select.select([self.stdout, self.death, *aside], [*writing, *more], [], left)
        reap(self.process.pid)
        takes = any(fd in writable for fd in writing)
        if self.stdout in readable:
            self.read()
        elif self.death in readable:  # and its stdout has no end: what it left behind holds it open
            raise Ended(self.how_it_ended())
        elif not (readable or writable) and time.monotonic() >= end:
            raise Silent
        self.aside.serve()
        return takes

    def read(self) -> None:
        data = os.read(self.stdout, 1024 * 1024)
        if not data:
            raise Ended(self.how_it_ended())
        self.spoke = True
        self.buffer += data
        if len(self.buffer) > self.limits.line:
            raise Ended("it flooded its output: one line has no end")

    def how_it_ended(self) -> str:
        return "it ended in the middle of a line" if self.buffer else "it ended"

    def end(self) -> None:
        """It and all that it left behind: whatever else runs in the cage is its doing."""
        assert os.getpid() == 1 and self.process.stdin and self.process.stdout
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        self.process.wait()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        self.process.stdin.close()
        self.process.stdout.close()
        os.close(self.death)


def begins(event: Event, uuid: str) -> bool:
    """The message of this uuid is being worked on."""
    if event.get("type") == "command_lifecycle":
        return event.get("command_uuid") == uuid and event.get("state") == "started"
    # A CLI that cannot say so: then this may be another turn's, but none would ever begin.
    return event.get("subtype") == "init" and "msg_lifecycle_v1" not in (event.get("capabilities") or ())


def failed_at_once(event: Event) -> bool:
    return event.get("type") == "result" and event.get("subtype") == "error_during_execution"


def reap(spare: int) -> None:
    """Orphans come to the cage's first process, and count against its tasks until it has looked at them."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while (ended := os.waitid(os.P_ALL, 0, options)) and ended.si_pid != spare:
        os.waitpid(ended.si_pid, 0)


def parse(line: bytes) -> Event:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        print(f"claude printed what is not JSON, ignoring: {line[:200]!r}", file=sys.stderr)
        return {}
    return event if isinstance(event, dict) else {}


def read_session(path: Path) -> str | None:
    try:
        session = path.read_text().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as e:
        print(f"Cannot read the session's id, ignoring: {e}", file=sys.stderr)
        return None
    # The agent can write it: it must not become an option.
    return session if re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z-]{0,99}", session) else None


def write_session(path: Path, session: str) -> None:
    new = path.with_suffix(".new")
    try:
        new.write_text(session + "\n")
        new.replace(path)
    except OSError as e:  # the disk is full, say: the mail is done nevertheless
        print(f"Cannot keep the session's id, ignoring: {e}", file=sys.stderr)
