"""What hive-gate lets out of a cage besides requests to the model."""

import asyncio
import contextlib
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperhive.gate import addresses
from hyperhive.gate.account import Account, Limits, Pace, Way
from hyperhive.gate.egress import Target
from tests import endpoints
from tests.outside import NAME_SERVER, Names, Outside, Server, echo, outside, two_hosts
from tests.scripted_model import BASE
from tests.test_gate import memory


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
    fact = out.fact("egress", HIVE_BYTES_IN=1_000_000)
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


UNCLEAR = {
    "GET http://u:p@example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n": "it has a user in it",
    "GET http://[::1]/ HTTP/1.1\r\nHost: x\r\n\r\n": "IPv6 addresses are not taken",
    "GET http://0x7f.1/ HTTP/1.1\r\nHost: x\r\n\r\n": "an address in another form",
    "GET http://example.org:/ HTTP/1.1\r\nHost: x\r\n\r\n": "its port is no number",
    "GET http://example.org/#x HTTP/1.1\r\nHost: example.org\r\n\r\n": "a URL without a fragment",
    "GET https://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n": "only http:// passes as a URL",
    "OPTIONS * HTTP/1.1\r\nHost: example.org\r\n\r\n": "is neither a path nor a URL",
    "GET http://example.org/ HTTP/1.1\r\nHost: other.org\r\n\r\n": "the header Host is 'other.org'",
    "CONNECT example.org:443 HTTP/1.1\r\nHost: other.org:443\r\n\r\n": "the header Host is 'other.org:443'",
    "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:8\r\n\r\n": "the header Host is 'example.org:8'",
}


@pytest.mark.parametrize("request_", UNCLEAR)
def test_what_is_not_clear_is_refused_with_the_reason(out: Outside, request_: str) -> None:
    out.allow("example.org:443", "example.org:80")
    status, reason, fact = out.refused(request_)
    assert (status, fact["HIVE_RULE"]) == (400, "host")
    assert UNCLEAR[request_] in reason


IMPROPER = [
    b"CONNECT ex\xe4mple.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT example.org:443\r\nX: HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\nHost: example.org:443\r\n\r\n",
    b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nContent-Length: 3\r\n\r\nabc",
    b"CONNECT example.org:443 HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("request_", IMPROPER)
def test_what_is_no_proper_request_goes_nowhere(out: Outside, request_: bytes) -> None:
    out.allow("example.org:443")
    assert endpoints.talk(out.url, request_).startswith(b"HTTP/1.1 400 ")


def test_a_request_of_64_kilobytes_is_not_told_in_the_status_line(out: Outside) -> None:
    answer = endpoints.talk(out.url, b"GET " + b"x" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 hive-gate: 'xxx")
    assert len(answer.partition(b"\r\n")[0]) < 400
    assert out.fact("egress_denied")["HIVE_RULE"] == "host"


def test_only_what_is_listed_is_reached(out: Outside, server: Server) -> None:
    port = server.port
    out.allow(f"example.org:{port}", f"*.below.org:{port}")
    out.hosts(*(f"127.0.0.1 {name}" for name in ("example.org", "a.below.org", "a.b.below.org")))
    for name in ("example.org", "EXAMPLE.org", "a.below.org", "a.b.below.org"):
        out.connect(f"{name}:{port}").close()
    for to in (f"below.org:{port}", f"a.example.org:{port}", f"xbelow.org:{port}", "example.org:1", "org:1"):
        status, reason, fact = out.refuses(to)
        assert (status, reason) == (403, f"hive-gate: {to} is not in [egress] allow of its agent.toml")
        assert (fact["HIVE_AGENT"], fact["HIVE_RULE"]) == ("ada", "allow")
        assert f"{fact['HIVE_HOST']}:{fact['HIVE_PORT']}" == to


def test_without_a_deployed_config_nothing_is_reached(out: Outside, server: Server) -> None:
    out.allow(f"127.0.0.1:{server.port}")
    (out.folder / "deployed/ada").rename(out.folder / "deployed/.ada.gone")
    assert out.refuses(f"127.0.0.1:{server.port}")[2]["HIVE_RULE"] == "allow"


OTHER_THAN_THE_INTERNETS = {
    "0.0.0.0": "unspecified",  # noqa: S104
    "10.1.2.3": "private",
    "100.64.1.1": "carrier-grade NAT",
    "127.0.0.1": "loopback",
    "127.8.8.8": "loopback",
    "168.63.129.16": "cloud metadata",
    "169.254.169.254": "link-local or cloud metadata",
    "172.31.255.255": "private",
    "192.0.0.192": "reserved",
    "192.168.1.1": "private",
    "224.0.0.1": "multicast",
    "255.255.255.255": "reserved or broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "reserved",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "link-local or cloud metadata",
    "64:ff9b::10.0.0.1": "private",
    "64:ff9b:1::1": "reserved",
    "2001:0:1:2::3": "reserved or Teredo",
    "2002:7f00:1::": "6to4",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fec0::1": "reserved",
    "ff02::1": "multicast",
}


def test_a_name_that_leads_to_an_address_that_is_not_the_internets_is_refused(out: Outside) -> None:
    out.allow("example.org:443")
    for address, why in OTHER_THAN_THE_INTERNETS.items():
        out.hosts(f"{address} example.org")
        status, reason, fact = out.refuses("example.org:443")
        assert (status, fact["HIVE_RULE"], fact["HIVE_HOST"]) == (403, "address", "example.org"), address
        assert reason.endswith(f"is no address of the internet: {why}"), (address, reason)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "2606:4700::1", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]
)
def test_an_address_of_the_internet_passes(address: str) -> None:
    assert addresses.refusal(address, 443, []) is None


def test_one_bad_address_among_good_ones_is_enough(out: Outside) -> None:
    out.allow("example.org:443")
    out.hosts("8.8.8.8 example.org", "10.0.0.1 example.org")
    assert out.refuses("example.org:443")[2]["HIVE_ADDRESS"] == "10.0.0.1"


def test_what_the_admin_opens_is_an_address_and_a_port(out: Outside, server: Server) -> None:
    port = server.port
    out.allow(f"127.0.0.1:{port}", f"127.0.0.2:{port}", "127.0.0.1:22")
    out.connect(f"127.0.0.1:{port}").close()
    for to in (f"127.0.0.2:{port}", "127.0.0.1:22"):
        _, reason, fact = out.refuses(to)
        assert reason == f"hive-gate: {to} is no address of the internet: loopback"
        assert fact["HIVE_RULE"] == "address"


def test_a_name_that_changes_its_answer_leads_nowhere_else(out: Outside, server: Server) -> None:
    out.allow(f"rebind.example.org:{server.port}")
    with Names(["127.0.0.1", "127.0.0.2"]) as names:
        with out.connect(f"rebind.example.org:{server.port}") as s:
            s.sendall(b"hello")
            assert (s.recv(5), names.asked) == (b"hello", 1)
        assert out.refuses(f"rebind.example.org:{server.port}")[2]["HIVE_ADDRESS"] == "127.0.0.2"


def test_the_internet_is_reached_but_not_this_host_by_its_own_address(tmp_path: Path) -> None:
    with two_hosts(here="9.9.9.8", there="9.9.9.9") as (here, there):
        web = [*there, sys.executable, "-m", "http.server", "--bind", "9.9.9.9", "8000"]
        with (
            subprocess.Popen(
                web, cwd=tmp_path, stdout=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}
            ) as server,
            outside(tmp_path / "gate", network=here) as it,
        ):
            assert server.stdout and b"Serving HTTP" in server.stdout.readline()
            it.allow("9.9.9.9:8000", "9.9.9.8:8000")
            status, _, body = endpoints.ask(it.url, "GET", "http://9.9.9.9:8000/", Host="9.9.9.9:8000")
            assert status == 200 and b"gate/" in body
            _, reason, _ = it.refuses("9.9.9.8:8000")
            assert reason == "hive-gate: 9.9.9.8:8000 is no address of the internet: of this host"
            server.terminate()


def test_a_name_server_that_never_answers_holds_up_nobody_else(out: Outside, server: Server) -> None:
    out.allow("slow.org:1")
    out.allow(f"127.0.0.1:{server.port}", agent="bob")
    endpoints.agent(out.folder, "bob", BASE + 65536)
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        silent.bind((NAME_SERVER, 53))
        waiting = [stack.enter_context(endpoints.connect(out.url)) for _ in range(40)]
        for s in waiting:
            s.sendall(b"CONNECT slow.org:1 HTTP/1.1\r\nHost: slow.org\r\n\r\n")
        assert silent.recv(512)
        url = stack.enter_context(endpoints.relay(out.gate.path, BASE + 65536))
        request = f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        s = stack.enter_context(endpoints.connect(url))
        s.sendall(request.encode())
        assert endpoints.until(s, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert not select.select(waiting, [], [], 0)[0]
    out.fact("egress", HIVE_AGENT="bob")


def test_what_cannot_be_reached_is_named(out: Outside) -> None:
    out.allow("nowhere.example.org:1")
    head = endpoints.talk(
        out.url, b"CONNECT nowhere.example.org:1 HTTP/1.1\r\nHost: nowhere.example.org\r\n\r\n"
    )
    assert head.startswith(b"HTTP/1.1 502 hive-gate: nowhere.example.org cannot be looked up: ")
    assert out.fact("egress", HIVE_HOST="nowhere.example.org")["HIVE_END"] == "unresolved"


def test_a_way_that_is_taken_away_is_cut_and_the_others_stay(out: Outside, server: Server) -> None:
    out.hosts("127.0.0.1 a.org b.org")
    out.allow(f"a.org:{server.port}", f"b.org:{server.port}")
    with out.connect(f"a.org:{server.port}") as a, out.connect(f"b.org:{server.port}") as b:
        out.allow(f"a.org:{server.port}")
        with contextlib.suppress(ConnectionResetError):
            assert b.recv(1) == b""
        assert out.fact("egress", HIVE_HOST="b.org")["HIVE_END"] == "revoked"
        a.sendall(b"still")
        assert a.recv(5) == b"still"
    assert out.fact("egress", HIVE_HOST="a.org")["HIVE_END"] == "closed"


@pytest.mark.parametrize("size", [1, 300_000])
def test_what_was_said_with_the_connect_arrives(out: Outside, server: Server, size: int) -> None:
    out.allow(f"127.0.0.1:{server.port}")
    with endpoints.connect(out.url) as s:
        # as old programs ask: HTTP/1.0, without a Host
        s.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.0\r\n\r\n" % server.port + b"x" * size)
        s.shutdown(socket.SHUT_WR)
        head, _, data = b"".join(iter(lambda: s.recv(65536), b"")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") and data == b"x" * size


def test_cages_that_never_read_cost_no_memory_and_hold_up_nobody(out: Outside, server: Server) -> None:
    out.allow(f"127.0.0.1:{server.port}")
    to = f"127.0.0.1:{server.port}"
    out.connect(to).close()
    before = memory(out.gate.process.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            s = stack.enter_context(out.connect(to))
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    s.send(b"x" * 65536)
        with out.connect(to) as s:
            s.sendall(b"hello")
            assert s.recv(5) == b"hello"
        assert memory(out.gate.process.pid) - before < 32 << 20


def test_a_flood_of_connections_is_told_once_and_counted(out: Outside, server: Server) -> None:
    out.allow(f"127.0.0.1:{server.port}")
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(out.connect(f"127.0.0.1:{server.port}"))
        for _ in range(100):
            assert endpoints.talk(out.url, b"GET / HTTP/1.1\r\n").startswith(b"HTTP/1.1 503 ")
        assert out.fact("egress_denied")["MESSAGE"].startswith("Refused a connection of ada: it has 64")
    fact = out.fact("egress_denied")
    assert fact["MESSAGE"] == "ada: 100 connections were refused in all"
    assert fact["HIVE_COUNT"] == "99"


def test_the_bytes_of_an_hour_are_limited(tmp_path: Path, server: Server) -> None:
    config = f'[egress]\nprivate = ["127.0.0.1:{server.port}"]\nbytes_per_hour = "1M"\n'
    with outside(tmp_path, config) as it:
        it.allow(f"127.0.0.1:{server.port}")
        with it.connect(f"127.0.0.1:{server.port}") as s, contextlib.suppress(ConnectionError):
            s.sendall(b"x" * 65536)
            while data := s.recv(65536):
                s.sendall(data)
        fact = it.fact("egress")
        assert fact["HIVE_END"] == "bytes"
        assert (1 << 20) < int(fact["HIVE_BYTES_IN"]) + int(fact["HIVE_BYTES_OUT"]) < (2 << 20)
        status, reason, denial = it.refuses(f"127.0.0.1:{server.port}")
        assert (status, denial["HIVE_RULE"]) == (429, "bytes")
        assert reason.endswith("has moved its bytes of this hour; 60 minutes are left of it")


@pytest.mark.parametrize(("seconds", "idle", "end"), [(0.05, 60.0, "time"), (60.0, 0.05, "idle")])
def test_a_way_out_lasts_so_long_and_idles_so_long(seconds: float, idle: float, end: str) -> None:
    async def wait() -> Way:
        way = Way(Account("ada"), Target("example.org", 443), "example.org:443", Limits(1000, seconds, idle))
        with pytest.raises(TimeoutError):
            async with way.limited():
                while end == "time":
                    way.sent(0)
                    await asyncio.sleep(0)
                await asyncio.Future()
        return way

    assert asyncio.run(wait()).end == end


def test_who_asks_again_and_again_waits_for_it() -> None:
    async def ask() -> tuple[float, float]:
        pace, now = Pace(rate=100, burst=10), asyncio.get_running_loop().time
        began = now()
        for _ in range(10):
            await pace.turn()
        at_once = now() - began
        for _ in range(10):
            await pace.turn()
        return at_once, now() - began

    at_once, then = asyncio.run(ask())
    assert at_once < 0.05 < 0.09 < then


def test_who_connects_again_and_again_is_turned_away() -> None:
    async def knock() -> tuple[list[bool], bool, bool]:
        pace, loop = Pace(rate=50, burst=10), asyncio.get_running_loop()
        let_in = [pace.is_due() for _ in range(30)]
        during = pace.is_calm()
        end = loop.time() + 0.15
        while loop.time() < end:
            await asyncio.sleep(0.01)
        return let_in, during, pace.is_calm() and pace.is_due()

    let_in, during, after = asyncio.run(knock())
    assert let_in == sorted(let_in, reverse=True) and 10 <= sum(let_in) < 20
    assert (during, after) == (False, True)
