"""The figures of `make bench` on hive-gate: a relay and a gate before a server, beside the server alone."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperhive.bench.bench import WAIT, Figure, figure
from hyperhive.bench.mail import BASE, PROGRAM, running
from hyperhive.problem import Problem

SIZE = 512 << 20  # bytes of one download or upload
PAIRS = 7  # through the gate, and directly, in turn
ROUNDS = 150  # more at once, and the gate slows us down
CHUNK = b"\0" * (256 << 10)
MB = 1e6
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
# what the harness does in a cage, with the uid of one
RELAY = """
import os, sys
from hyperhive.cage.relay import Relay
os.chdir(sys.argv[1])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
relay = Relay("gate.sock", ("127.0.0.1", 0))
print(relay.listener.getsockname()[1], flush=True)
relay.run()
"""
# Answers GET /SIZE with so many bytes, and takes what is put.
SERVER = """
import os, socket, sys
from hyperhive.bench import gate
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1], flush=True)
while True:
    gate.answer(listener.accept()[0])
"""


def head_of(s: socket.socket) -> tuple[bytes, int]:
    """Up to the empty line, and how much came after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not more:
            raise Problem("hung-up", "the server hung up")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, len(rest)


def take(s: socket.socket, size: int) -> None:
    room = bytearray(1 << 20)
    while size > 0:
        got = s.recv_into(room)
        if not got:
            raise Problem("hung-up", "the server hung up")
        size -= got


def give(s: socket.socket, size: int) -> None:
    for _ in range(size // len(CHUNK)):
        s.sendall(CHUNK)


def answer(s: socket.socket) -> None:
    with s:
        head, early = head_of(s)
        size = int(head.split()[1].rpartition(b"/")[2])
        if head.startswith(b"PUT"):
            take(s, size - early)
            s.sendall(HEAD % 0)
        else:
            s.sendall(HEAD % size)
            give(s, size)
        s.recv(1)  # until the client has gone


class Net:
    def __init__(self, server: int, relay: int) -> None:
        self.server, self.relay = server, relay

    def connect(self, way: str) -> socket.socket:
        port = self.server if way == "direct" else self.relay
        s = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        if way == "tunnel":
            s.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % self.server)
            head, _ = head_of(s)
            if b" 200 " not in head:
                raise Problem("refused", head.decode())
        return s

    def request(self, s: socket.socket, way: str, method: str, size: int) -> None:
        host = f"127.0.0.1:{self.server}"
        url = f"http://{host}" if way == "plain" else ""
        length = f"Content-Length: {size}\r\n" if method == "PUT" else ""
        s.sendall(f"{method} {url}/{size} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n".encode())

    def speed(self, way: str, method: str) -> float:
        """MB/s"""
        with self.connect(way) as s:
            began = time.monotonic()
            self.request(s, way, method, SIZE)
            if method == "PUT":
                give(s, SIZE)
                head_of(s)
            else:
                take(s, SIZE - head_of(s)[1])
            return SIZE / MB / (time.monotonic() - began)

    def first_byte(self, way: str) -> float:
        """Milliseconds from the connection on."""
        began = time.perf_counter()
        with self.connect(way) as s:
            self.request(s, way, "GET", 0)
            head_of(s)
            return (time.perf_counter() - began) * 1000


@contextmanager
def started(program: str, *arguments: str) -> Iterator[int]:
    environment = os.environ | {"PYTHONPATH": os.fspath(PROGRAM.parent.parent)}
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def net(folder: Path) -> Iterator[Net]:
    folder.chmod(0o755)
    state, deployed = folder / "agents/ada/state", folder / "deployed/ada"
    for each in (state, deployed):
        each.mkdir(parents=True)
    os.chown(state, BASE, BASE)
    with started(SERVER) as server:
        (deployed / "agent.toml").write_text(f'[egress]\nallow = ["127.0.0.1:{server}"]\n')
        config = folder / "hive.toml"
        config.write_text(f'[egress]\nprivate = ["127.0.0.1:{server}"]\nbytes_per_hour = "1T"\n')
        gate = [sys.executable, os.fspath(PROGRAM.parent / "hive-gate"), f"--config={config}"]
        gate += [f"--agents={folder}/agents", f"--deployed={folder}/deployed"]
        command = ["systemd-socket-activate", f"--listen={folder}/gate.sock", "--setenv=PYTHONPATH", *gate]
        with running(command, folder / "gate.sock"):
            (folder / "gate.sock").chmod(0o666)
            with started(RELAY, os.fspath(folder), str(BASE)) as relay:
                yield Net(server, relay)


def run(folder: Path) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch, net(Path(scratch)) as it:
        return [*speeds(it), *first_bytes(it)]


def speeds(it: Net) -> list[Figure]:
    found = []
    for text, way, method in (
        ("down a tunnel", "tunnel", "GET"),
        ("up a tunnel", "tunnel", "PUT"),
        ("of a plain GET", "plain", "GET"),
    ):
        pairs = [(it.speed(way, method), it.speed("direct", method)) for _ in range(PAIRS)]
        found.append(figure(f"hive-gate: {text}", "MB/s", [ours for ours, _ in pairs], 200, at_least=True))
        shares = [ours / alone for ours, alone in pairs]
        found.append(figure(f"hive-gate: {text}, of what goes without", "", shares, None))
    return found


def first_bytes(it: Net) -> list[Figure]:
    found = []
    for way in ("tunnel", "plain"):
        pairs = [(it.first_byte(way), it.first_byte("direct")) for _ in range(ROUNDS)]
        added = [ours - alone for ours, alone in pairs]
        found.append(figure(f"hive-gate: added to the first byte, {way}", "ms", added, 3))
    return found
