"""The model's side for tests: the real rehearsal model, the real gate, the real CLI, as processes."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PACKED = ROOT / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
CLAUDE = os.environ.get("HIVE_CLAUDE", os.fspath(PACKED))
ENV = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
PATIENCE = 60.0

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
    command = [
        sys.executable,
        ROOT / "bin/hive-rehearsal",
        "--listen",
        listen,
        "--rules",
        path,
        "--log",
        log,
    ]
    with subprocess.Popen(
        command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address, process.stderr.read() if process.stderr else ""
        yield Rehearsal(address, path, log, process)
        process.terminate()


def wait_for(path: Path, process: subprocess.Popen[Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, f"no {path}"
        time.sleep(0.01)


@contextlib.contextmanager
def gate(folder: Path, config: str, *arguments: str | Path, **setenv: str) -> Iterator[Path]:
    """A gate on a socket that any uid may connect to; its log goes to gate.log."""
    folder.mkdir(exist_ok=True)
    path, settings = folder / "gate.sock", folder / "hive.toml"
    settings.write_text(config)
    environment = {"PYTHONPATH": os.fspath(ROOT), **setenv}
    command = ["systemd-socket-activate", "--listen", path, *(f"-E{k}={v}" for k, v in environment.items())]
    program = [sys.executable, ROOT / "bin/hive-gate", "--config", settings, "--agents", folder / "agents"]
    with (folder / "gate.log").open("w") as log:
        process = subprocess.Popen([*command, *program, *arguments], stderr=log, env=ENV)
    try:
        wait_for(path, process)
        path.chmod(0o666)
        yield path
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
    program = [sys.executable, "-I", ROOT / "tests/relay.py", path, str(uid)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        assert port
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition("/")[2].rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


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
