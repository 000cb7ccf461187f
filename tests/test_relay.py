"""The harness's relay as a process, between a TCP client and a unix socket that plays the gate."""

import hashlib
import os
import re
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hyperhive.cage.relay import CONNECTIONS_MAX
from tests.hive import ROOT
from tests.scripted import wait_until

CHUNK = os.urandom(1 << 20)


class Relayed:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate.sock"
        self.gate = socket.socket(socket.AF_UNIX)
        self.gate.settimeout(20)
        self.gate.bind(os.fspath(self.path))
        self.gate.listen(256)
        program = [sys.executable, os.fspath(ROOT / "tests/doubles/relayed.py"), os.fspath(self.path)]
        env = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
        self.process = subprocess.Popen(program, env=env, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = self.connect()
        gate, _ = self.gate.accept()
        gate.settimeout(20)
        return client, gate

    def memory(self) -> int:
        """Megabytes at the highest."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found[1]) // 1024

    def files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.gate.close()


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[Relayed]:
    it = Relayed(tmp_path)
    yield it
    it.close()


def everything(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def hung_up(sock: socket.socket) -> bool:
    try:
        return not everything(sock)
    except ConnectionResetError:
        return True


def feed(sock: socket.socket, count: int) -> str:
    seen = hashlib.sha256()
    for _ in range(count):
        sock.sendall(CHUNK)
        seen.update(CHUNK)
    sock.shutdown(socket.SHUT_WR)
    return seen.hexdigest()


def drain(sock: socket.socket) -> str:
    seen = hashlib.sha256()
    while data := sock.recv(1 << 20):
        seen.update(data)
    return seen.hexdigest()


def test_both_directions_at_once(relayed: Relayed) -> None:
    client, gate = relayed.pair()
    with client, gate, ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(feed, sock, 20) for sock in (client, gate)]
        got = [threads.submit(drain, sock) for sock in (gate, client)]
        assert [s.result() for s in sent] == [g.result() for g in got]


def test_half_close_goes_through_and_the_answer_still_comes(relayed: Relayed) -> None:
    client, gate = relayed.pair()
    with client, gate:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert everything(gate) == b"question"
        gate.sendall(b"answer")
        gate.close()
        assert everything(client) == b"answer"


def test_a_client_that_goes_away_is_told_to_the_gate(relayed: Relayed) -> None:
    client, gate = relayed.pair()
    client.sendall(b"x")
    client.close()
    assert everything(gate) == b"x"
    gate.close()


def test_a_gate_that_goes_away_is_told_to_the_client(relayed: Relayed) -> None:
    client, gate = relayed.pair()
    gate.close()
    assert hung_up(client)
    client.close()


def test_a_slow_reader_slows_the_sender_and_nobody_else(relayed: Relayed) -> None:
    client, gate = relayed.pair()
    with client, gate:
        client.setblocking(False)
        taken = 0
        while select.select([], [client], [], 0.5)[1]:
            taken += client.send(CHUNK)
            assert taken < 100 << 20, "nobody stops the sender"
        other, behind = relayed.pair()
        with other, behind:
            other.sendall(b"hello")
            assert behind.recv(100) == b"hello"
        client.settimeout(20)
        client.shutdown(socket.SHUT_WR)
        assert len(everything(gate)) == taken
        assert relayed.memory() < 40


def test_many_at_once_and_then_one_too_many(relayed: Relayed) -> None:
    idle = relayed.files()
    pairs = [relayed.pair() for _ in range(CONNECTIONS_MAX)]
    for number, (client, gate) in enumerate(pairs):
        client.sendall(str(number).encode())
        assert gate.recv(100) == str(number).encode()
    with relayed.connect() as extra:
        assert b"too many connections\n" in everything(extra)
    for client, gate in pairs:
        client.close()
        assert hung_up(gate)
        gate.close()
    wait_until(lambda: relayed.files() == idle, relayed.process)


def test_no_gate_is_a_502_with_one_plain_line(relayed: Relayed) -> None:
    relayed.gate.close()
    with relayed.connect() as client:
        body = b"x" * (8 << 20)  # more than the kernel holds
        client.sendall(b"POST /v1/messages HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head, _, text = everything(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert text == b"hive-gate cannot be reached: Connection refused\n"
    assert f"Content-Length: {len(text)}\r\n".encode() in head


def test_a_gate_that_accepts_nobody_does_not_hold_up_the_others(relayed: Relayed) -> None:
    relayed.gate.listen(0)
    client, gate = relayed.pair()
    waiting = [relayed.connect() for _ in range(5)]
    with waiting[-1] as refused:
        assert b"Resource temporarily unavailable" in everything(refused)
    client.sendall(b"hello")
    assert gate.recv(100) == b"hello"
    for sock in (client, gate, *waiting):
        sock.close()


def test_clients_that_are_gone_before_they_are_accepted(relayed: Relayed) -> None:
    for _ in range(100):
        relayed.connect().close()
    with relayed.connect() as client:
        client.sendall(b"last")
        client.shutdown(socket.SHUT_WR)
        heard = b""
        while heard != b"last":
            gate, _ = relayed.gate.accept()
            with gate:
                gate.settimeout(20)
                heard = everything(gate)
                gate.sendall(b"heard" if heard else b"")
        assert everything(client) == b"heard"


def test_a_gigabyte_in_little_memory(relayed: Relayed) -> None:
    client, gate = relayed.pair()
    with client, gate, ThreadPoolExecutor(1) as threads:
        before = relayed.memory()
        size = threads.submit(count, gate)
        for _ in range(1024):
            client.sendall(CHUNK)
        client.shutdown(socket.SHUT_WR)
        assert size.result() == 1 << 30
    assert relayed.memory() - before < 4


def count(sock: socket.socket) -> int:
    buffer = bytearray(1 << 20)
    total = 0
    while got := sock.recv_into(buffer):
        total += got
    return total
