"""The model's side for tests: the real rehearsal model, the real gate, the real CLI, as processes."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PACKED = ROOT / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
CLAUDE = os.environ.get("HIVE_CLAUDE", os.fspath(PACKED))
ENV = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
PATIENCE = 60.0
REHEARSAL: list[str | Path] = [sys.executable, ROOT / "bin/hive-rehearsal"]
GATE: list[str | Path] = [sys.executable, ROOT / "bin/hive-gate"]

Event = dict[str, Any]


@dataclass
class Rehearsal:
    address: str  # host:port or unix:PATH
    rules: Path
    log: Path
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def requests(self) -> list[Event]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextlib.contextmanager
def rehearsal(folder: Path, rules: str, listen: str = "127.0.0.1:0") -> Iterator[Rehearsal]:
    folder.mkdir(exist_ok=True)
    path, log = folder / "rules.toml", folder / "log.jsonl"
    path.write_text(rules)
    log.touch()
    command = [*REHEARSAL, "--listen", listen, "--rules", path, "--log", log]
    with (
        (folder / "stderr").open("w") as stderr,
        subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address, (folder / "stderr").read_text()
        try:
            yield Rehearsal(address, path, log, process)
        finally:
            process.terminate()


def wait_until(met: Callable[[], object], process: subprocess.Popen[Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not met():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)  # no event says it; it fails when the process is gone


@dataclass
class Gate:
    folder: Path
    path: Path
    process: subprocess.Popen[bytes]

    def log(self) -> str:
        return (self.folder / "gate.log").read_text()


@contextlib.contextmanager
def gate(
    folder: Path, config: str, *arguments: str | Path, inside: Sequence[str] = (), **setenv: str
) -> Iterator[Gate]:
    """A gate on a socket that any uid may connect to; the agents are folders below `folder`."""
    folder.mkdir(exist_ok=True)
    path, settings = folder / "gate.sock", folder / "hive.toml"
    settings.write_text(config)
    environment = {"PYTHONPATH": os.fspath(ROOT), **setenv}
    activate = [
        *inside,
        "systemd-socket-activate",
        f"--listen={path}",
        *(f"-E{k}={v}" for k, v in environment.items()),
    ]
    (folder / "deployed").mkdir(exist_ok=True)
    folders: list[str | Path] = ["--agents", folder / "agents", "--deployed", folder / "deployed"]
    command = [*activate, *GATE, "--config", settings, *folders, *arguments]
    with (folder / "gate.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, env=ENV)
    try:
        running = Gate(folder, path, process)
        # the socket is there before it listens
        wait_until(lambda: "Listening on" in running.log(), process)
        path.chmod(0o666)
        yield running
    finally:
        process.terminate()
        process.wait(PATIENCE)


def agent(folder: Path, name: str, base: int) -> int:
    state = folder / "agents" / name / "state"
    state.mkdir(parents=True)
    os.chown(state, base, base)
    return base


@contextlib.contextmanager
def relay(path: Path, uid: int) -> Iterator[str]:
    """What the harness does in a cage: a TCP port of loopback whose bytes go to the gate, as `uid`."""
    program: list[str | Path] = [sys.executable, "-I", ROOT / "tests/relay.py", path, str(uid)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        assert port
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def talk(url: str, request: bytes) -> bytes:
    """Everything that comes back until the server hangs up."""
    with connect(url) as s:
        s.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            return b"".join(iter(lambda: s.recv(65536), b""))
    return b""


def until(s: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        more = s.recv(65536)
        assert more, f"hung up after {received[-200:]!r}"
        received += more
    return received


def ask(
    url: str, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    with contextlib.closing(client):
        client.request(
            method, path, data, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = client.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


def prompt(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "claude-m", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def answer(url: str, text: str, **headers: str) -> str:
    """The text that the model says to one prompt."""
    status, _, data = ask(url, "POST", "/v1/messages", prompt(text), **headers)
    assert status == 200, data
    return "".join(part.get("text", "") for part in json.loads(data)["content"])


def cli_env(home: Path, url: str, **more: str) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    plain = {
        "PATH": "/usr/bin:/bin",
        "HOME": os.fspath(home),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "placeholder",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
    }
    return plain | more


class Warm:
    """A claude process that is fed one line per turn, as the harness does it."""

    def __init__(self, home: Path, url: str, *arguments: str, **env: str) -> None:
        formats = ["--print", "--verbose", "--input-format=stream-json", "--output-format=stream-json"]
        self.process = subprocess.Popen(
            [CLAUDE, *formats, *arguments],
            env=cli_env(home, url, **env),
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, line: Event) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def say(self, text: str) -> None:
        self.send({"type": "user", "message": {"role": "user", "content": text}})

    def control(self, **request: str) -> None:
        self.send({"type": "control_request", "request_id": "1", "request": request})

    def until(self, kind: str) -> list[Event]:
        """The events up to the next one of this type."""
        assert self.process.stdout
        seen: list[Event] = []
        while not seen or seen[-1]["type"] != kind:
            line = self.process.stdout.readline()
            assert line, f"claude ended before a {kind}"
            seen.append(json.loads(line))
        return seen

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


def claude(home: Path, url: str, text: str, *arguments: str, **env: str) -> list[Event]:
    """One `claude --print` to its end; what it printed, a dict per line."""
    formats = ["--print", "--verbose", "--output-format", "stream-json", *arguments, "--", text]
    run = subprocess.run(
        [CLAUDE, *formats],
        env=cli_env(home, url, **env),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.stdout, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]
