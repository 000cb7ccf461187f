"""What hive-gate lets out of a cage besides requests to the model."""

import os
import socket
from collections.abc import Iterator

import pytest

from tests.outside import Outside, Server, echo, outside


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(echo) as it:
        yield it


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("gate")
    (folder / "credentials").mkdir()
    (folder / "credentials/model-key").write_text("the-secret")
    config = f'[egress]\nprivate = ["127.0.0.1:{server.port}"]\n'
    with outside(folder, config, CREDENTIALS_DIRECTORY=os.fspath(folder / "credentials")) as it:
        yield it


def test_a_tunnel_carries_bytes_both_ways_and_is_a_fact(out: Outside, server: Server) -> None:
    out.hosts("127.0.0.1 git.example.org")
    out.allow(f"*.example.org:{server.port}")
    with out.connect(f"git.example.org:{server.port}") as s:
        s.sendall(b"x" * 1_000_000)
        s.shutdown(socket.SHUT_WR)
        assert sum(map(len, iter(lambda: s.recv(65536), b""))) == 1_000_000
    fact = out.fact("egress")
    wanted = {"AGENT": "ada", "HOST": "git.example.org", "PORT": str(server.port), "ADDRESS": "127.0.0.1"}
    wanted |= {"RULE": f"*.example.org:{server.port}", "END": "closed"}
    wanted |= {"BYTES_IN": "1000000", "BYTES_OUT": "1000000"}
    assert {key: fact[f"HIVE_{key}"] for key in wanted} == wanted


ODD = [
    "user@example.org:443",
    "example.org.:443",
    "example.org",
    "example.org:",
    "example.org:0",
    "example.org:65536",
    "example.org:+443",
    "ex%61mple.org:443",
    "2130706433:443",
    "127.1:443",
    "0177.0.0.1:443",
    "0x7f000001:443",
    "127.0.0.0x1:443",
    "[::1]:443",
    "::1:443",
    "exa_mple.org:443",
    "-example.org:443",
    "a" * 64 + ".org:443",
]


@pytest.mark.parametrize("to", ODD)
def test_an_odd_host_is_refused_with_the_reason(out: Outside, to: str) -> None:
    out.allow("example.org:443")
    status, reason, fact = out.refused(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
    assert (status, fact["HIVE_RULE"]) == (400, "host")
    assert reason.startswith(f"hive-gate: '{to}' is no HOST:PORT: ")
