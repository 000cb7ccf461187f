"""An agent that sends the gate what takes long to look at holds up nobody else."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import endpoints
from tests.outside import Outside, Server, echo, outside
from tests.scripted_model import BASE

Parts = Callable[[int], Iterator[bytes]]
PATIENT = (
    5.0  # seconds, which the other's ten connections took together at most, on a machine with a load of 25
)


def chunks(port: int) -> Iterator[bytes]:
    yield (
        b"POST http://127.0.0.1:%d/ HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n" % port
    )
    for _ in range(100):
        yield b"1\r\na\r\n" * 20_000


def headers(port: int) -> Iterator[bytes]:
    yield b"GET /nope HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * 15_000 + b"\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(echo) as it:
        yield it


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[tuple[Outside, str]]:
    """A gate, ada's side of it, and bob's."""
    folder = tmp_path_factory.mktemp("gate")
    endpoints.agent(folder, "bob", BASE + 65536)
    config = f'[egress]\nprivate = ["127.0.0.1:{server.port}"]\n'
    with outside(folder, config) as out, endpoints.relay(out.gate.path, BASE + 65536) as bob:
        for name in ("ada", "bob"):
            out.allow(f"127.0.0.1:{server.port}", agent=name)
        yield out, bob


def send(url: str, parts: Parts, port: int, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(OSError), endpoints.connect(url) as s:
            for part in parts(port):
                s.sendall(part)
            while not stop.is_set() and s.recv(65536):
                pass


def reached(url: str, port: int) -> None:
    with endpoints.connect(url) as s:
        s.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % port)
        assert endpoints.until(s, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        s.sendall(b"hello")
        assert s.recv(5) == b"hello"


@pytest.mark.parametrize("parts", [chunks, headers])
def test_what_takes_long_to_look_at_holds_up_nobody_else(
    two: tuple[Outside, str], server: Server, parts: Parts
) -> None:
    out, bob = two
    stop = threading.Event()
    floods = [threading.Thread(target=send, args=(out.url, parts, server.port, stop)) for _ in range(8)]
    for each in floods:
        each.start()
    try:
        began = time.monotonic()
        for _ in range(10):
            reached(bob, server.port)
        assert time.monotonic() - began < PATIENT
    finally:
        stop.set()
        for each in floods:
            each.join()


def test_answers_that_are_none_do_not_either_and_count(tmp_path: Path, server: Server) -> None:
    """Before its answer, a server may say as often as it likes that it is at it."""

    def says(s: socket.socket) -> None:
        s.recv(65536)
        with contextlib.suppress(OSError):
            while True:
                s.sendall(b"HTTP/1.1 102 x\r\n\r\n" * 4000)

    with Server(says) as bad:
        private = f'private = ["127.0.0.1:{bad.port}", "127.0.0.1:{server.port}"]'
        endpoints.agent(tmp_path, "bob", BASE + 65536)
        with (
            outside(tmp_path, f'[egress]\n{private}\nbytes_per_hour = "1M"\n') as out,
            endpoints.relay(out.gate.path, BASE + 65536) as bob,
        ):
            out.allow(f"127.0.0.1:{bad.port}")
            out.allow(f"127.0.0.1:{server.port}", agent="bob")
            with endpoints.connect(out.url) as s:
                s.sendall(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % bad.port)
                began = time.monotonic()
                reached(bob, server.port)
                assert time.monotonic() - began < PATIENT
                fact = out.fact("egress", HIVE_AGENT="ada")
    assert fact["HIVE_END"] == "bytes"
    assert (1 << 20) <= int(fact["HIVE_BYTES_OUT"]) < (2 << 20)
