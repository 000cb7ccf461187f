"""hive-web's stream: nothing is lost without a word, and nobody who reads it holds up anybody else."""

import os
import select
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from hyperhive.web import stream as web_stream
from tests import web as webs
from tests.hive import Hive
from tests.web import Stream, Web

STREAMS = 200


def state_id(it: Web) -> str:
    state = it.get("/api/state").json
    return f"{state['epoch']}-{state['seq']}"


def say(it: Web, *bodies: str) -> None:
    operator = it.hive.operator()
    for body in bodies:
        assert operator.ask("send", to="ada", body=body)["ok"]


def bodies(stream: Stream, *wanted: str) -> None:
    """The mail that comes is this."""
    got = [stream.until("mail")[1]["body"] for _ in wanted]
    assert got == [*wanted]


def test_events_come_as_they_happen(signed: Web) -> None:
    with closing(signed.stream()) as stream:
        say(signed, "one")
        number, data = stream.until("mail", body="one")
        assert (data["from"], data["to"], data["clipped"]) == ("operator", "ada", False)
        assert number.endswith(f"-{data['seq']}")


@pytest.mark.parametrize("header", [True, False], ids=["Last-Event-ID", "last"])
def test_a_stream_goes_on_where_the_last_one_ended(signed: Web, header: bool) -> None:
    with closing(signed.stream()) as stream:
        say(signed, "one")
        number, _ = stream.until("mail", body="one")
    say(signed, "two", "three")
    with closing(signed.stream(number, header=header)) as stream:
        bodies(stream, "two", "three")


def test_a_stream_goes_on_where_the_state_ends(signed: Web) -> None:
    say(signed, "before")
    last = state_id(signed)
    say(signed, "after")
    with closing(signed.stream(last)) as stream:
        bodies(stream, "after")


def test_who_missed_something_is_told_to_reload(own: Web) -> None:
    first = state_id(own)
    say(own, *(str(n) for n in range(web_stream.RING + 1)))
    latest = state_id(own)
    for last in ("wrong", "-1", first, f"{'0' * 16}-5", f"{first.partition('-')[0]}-{'9' * 30}x"):
        with closing(own.stream(last)) as stream:
            number, event, _ = stream.next()
            assert event == "reload", last
            assert number.partition("-")[0] == first.partition("-")[0]
    with closing(own.stream(latest)) as stream:
        say(own, "last")
        bodies(stream, "last")


def test_a_restart_of_the_broker_is_outlived(own: Web) -> None:
    with closing(own.stream()) as stream:
        own.hive.kill()
        stream.until("away")
        assert own.get("/").status == 503
        own.hive.start()
        own.hive.operator().ask("status")  # systemd-socket-activate starts it for a connection
        number, _ = stream.until("reload")
        assert number.partition("-")[0] == own.get("/api/state").json["epoch"]
        assert stream.next()[1] == ""  # it comes again, as what ended its session may have been missed
    say(own, "after")
    with closing(own.stream(number, header=True)) as stream:
        bodies(stream, "after")


def test_a_long_text_is_cut_off(signed: Web) -> None:
    with closing(signed.stream()) as stream:
        text = "<b>\u2028\n\ndata: x\n" + "x" * 60_000
        say(signed, text)
        _, data = stream.until("mail", clipped=True)
        assert data["body"] == text[:600]


def test_a_stream_ends_with_its_session(own: Web) -> None:
    number = own.get("/api/sessions").json["sessions"][0]["id"]
    with closing(own.stream()) as stream:
        own.hive.operator().ask("sign_out", session=number)
        while stream.next()[1]:
            pass
    assert own.get("/api/stream").status == 401


def test_who_signs_out_signs_out_only_here(own: Web) -> None:
    first = own.token
    own.sign_in()
    assert own.do("sign-out").json["ended"] == 1
    assert own.get("/").status == 401
    own.cookies[own.name] = first
    assert own.get("/").status == 200


# many of them


def slow_reader(it: Web) -> socket.socket:
    """It takes a few bytes, and then nothing more."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", it.port))
    head = f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{it.port}\r\nCookie: {it.cookie}\r\n\r\n"
    sock.sendall(head.encode())
    assert sock.recv(100).startswith(b"HTTP/1.1 200")
    return sock


def median_send(it: Web) -> float:
    """Seconds, at the broker."""
    operator = it.hive.operator()
    took = []
    for _ in range(101):
        began = time.monotonic()
        assert operator.ask("send", to="bob", body="x" * 1000)["ok"]
        took.append(time.monotonic() - began)
    operator.close()
    return sorted(took)[50]


def connections_to_the_broker(it: Web) -> int:
    return len(
        [line for line in Path("/proc/net/unix").read_text().splitlines() if str(it.hive.run) in line]
    )


def test_200_streams_do_no_harm(own: Web) -> None:
    """A third of them reads, a third never does, a third hangs up."""
    alone = median_send(own)
    readers = [own.stream() for _ in range(STREAMS // 3 + 2)]
    slow = [slow_reader(own) for _ in range(STREAMS // 3)]
    rude = [slow_reader(own) for _ in range(STREAMS // 3)]
    for sock in rude:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        sock.close()
    with_them = median_send(own)
    say(own, "for all of them")
    for stream in readers:
        stream.until("mail", body="for all of them")
    assert own.get("/api/state").status == 200
    assert with_them < max(10 * alone, 0.05), (alone, with_them)
    with ThreadPoolExecutor(STREAMS // 3) as at_once:  # in the places of those that hung up
        again = [*at_once.map(lambda _: own.stream(), range(STREAMS // 3))]
    assert memory(own.process.pid) < 150_000_000
    for sock in slow:
        sock.close()
    for stream in (*readers, *again):
        stream.close()
    assert connections_to_the_broker(own) < 40


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_there_is_a_most_of_them_and_room_again_when_some_end(own: Web) -> None:
    streams = [own.stream() for _ in range(web_stream.STREAMS_MAX)]
    assert own.get("/api/stream").status == 429
    assert own.get("/").status == 200
    streams.pop().close()
    while own.get("/api/stream").status == 429:
        assert own.process.poll() is None
    for stream in streams:
        stream.close()


# the end


def test_it_ends_when_nobody_asks(here: Hive) -> None:
    with webs.web(here, "", "--idle=0.5") as it:
        assert it.process.wait(20) == 0


def test_it_does_not_end_while_somebody_looks(here: Hive) -> None:
    with webs.web(here, "", "--idle=0.2") as it:
        stream = it.stream()
        pidfd = os.pidfd_open(it.process.pid)
        assert not select.select([pidfd], [], [], 1.5)[0]
        stream.close()
        assert it.process.wait(20) == 0
        os.close(pidfd)
