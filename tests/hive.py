"""A broker of the test's own: the real program on real sockets, and a peer that speaks lines to it."""

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BASE = 1_200_000_000
INVOCATION = itertools.count(1)
NEVER = 10**9  # the number of a request that no test gets to


class Peer:
    """One connection. The kernel reports the uid of whoever calls connect()."""

    def __init__(self, path: Path, uid: int | None = None) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        # relative, because that uid may not walk down pytest's folders
        before = Path.cwd()
        os.chdir(path.parent)
        if uid is not None:
            os.seteuid(uid)
        try:
            self.sock.connect(path.name)
        finally:
            os.seteuid(os.getuid())
            os.chdir(before)
        self.file = self.sock.makefile("rb")
        self.numbers = itertools.count(1)
        self.early: dict[int, Any] = {}

    def write(self, op: str, **fields: Any) -> int:
        number = next(self.numbers)
        self.sock.sendall(json.dumps({"id": number, "op": op} | fields).encode() + b"\n")
        return number

    def read(self) -> Any:
        line = self.file.readline()
        return json.loads(line) if line else None

    def answer(self, number: int) -> Any:
        while number not in self.early:
            message = self.read()
            assert message is not None, "the broker hung up"
            self.early[message.get("id")] = message
        return self.early.pop(number)

    def ask(self, op: str, **fields: Any) -> Any:
        return self.answer(self.write(op, **fields))

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def listeners(path: Path) -> set[str]:
    """Inodes of sockets of that name that can be connected to. One of a process just killed may still be."""
    pattern = rf" 00010000 \S+ \S+ +(\d+) {re.escape(str(path))}$"
    return {*re.findall(pattern, Path("/proc/net/unix").read_text(), re.M)}


def listening(path: Path) -> bool:
    """It is there a moment before it can be connected to."""
    return bool(listeners(path))


class Hive:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state, self.run = folder / "state", folder / "run"
        for each in ("state/db", "state/apply", "state/agents", "state/registry", "run/agents", "run/wake"):
            (folder / each).mkdir(parents=True)
        self.peers: list[Peer] = []
        self.bases: dict[str, int] = {}
        self.passed: list[str] = []  # --setenv options for it
        self.sockets = ["operator", "system"]
        self.under: list[str] = []  # a program that runs the broker: strace, unshare
        self.broker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        listen = [f"--listen={self.run}/{name}.sock" for name in self.sockets]
        paths = [self.run / f"{name}.sock" for name in self.sockets]
        before = {inode for path in paths for inode in listeners(path)}
        for path in paths:
            path.unlink(missing_ok=True)
        program = [
            sys.executable,
            os.fspath(ROOT / "bin/hive-broker"),
            f"--state={self.state}",
            f"--run={self.run}",
        ]
        command = [
            *self.under,
            "systemd-socket-activate",
            *listen,
            f"--fdname={':'.join(self.sockets)}",
            "--setenv=PYTHONPATH",
            *self.passed,
            *program,
        ]
        environment = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
        self.broker = subprocess.Popen(command, env=environment, process_group=0)
        while not all(listeners(path) - before for path in paths):
            assert self.broker.poll() is None, "the broker went away"
            time.sleep(0.01)  # no event says it; it fails when the process is gone

    def kill(self) -> None:
        """With what it runs under: strace alone would leave the broker behind."""
        assert self.broker
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.broker.pid, signal.SIGKILL)
        self.broker.wait()

    def processor_time(self) -> float:
        """Seconds that the broker has run, however many others did meanwhile."""
        assert self.broker
        stats = Path(f"/proc/{self.broker.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in stats) / 1e9

    def connect(self, path: Path, uid: int | None = None) -> Peer:
        peer = Peer(path, uid)
        self.peers.append(peer)
        return peer

    def operator(self) -> Peer:
        return self.connect(self.run / "operator.sock")

    def system(self) -> Peer:
        return self.connect(self.run / "system.sock")

    def add(self, *names: str) -> None:
        for name in names:
            self.bases[name] = BASE + len(self.bases) * 65536
            about = {"name": name, "role": "manager" if name == "manager" else "agent", "description": ""}
            agent = about | {"uid_base": self.bases[name]}
            assert self.system().ask("applied", request=NEVER, agent=agent)["ok"]

    def socket(self, name: str) -> Path:
        return self.run / "agents" / name / "hive.sock"

    def agent(self, name: str, role: str = "harness", invocation: str = "") -> Peer:
        peer = self.connect(self.socket(name), self.bases[name])
        hello = peer.ask("hello", role=role, invocation=invocation or f"{next(INVOCATION):032x}")
        assert hello["ok"], hello
        return peer

    def fifo(self, name: str) -> int:
        """The reading end that systemd would hold."""
        path = self.run / "wake" / name
        os.mkfifo(path)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK)


@contextmanager
def hive(folder: Path) -> Iterator[Hive]:
    it = Hive(folder)
    it.start()
    try:
        yield it
    finally:
        for peer in it.peers:
            peer.close()
        it.kill()
