"""Figures for `make bench`: what analysts and much telemetry cost the mail, and Datasette's answers."""

import http.client
import itertools
import json
import os
import select
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import quote, urlencode

import yaml

from hyperhive.bench import mail
from hyperhive.bench.bench import WAIT, Figure, figure
from hyperhive.bench.mail import NAMES, Hive, Peer, rank, request, send_times
from hyperhive.problem import Problem

PROGRAM = Path(__file__).resolve().parents[2] / "bin/hive-explore"
DATASETTE = Path("/usr/share/hyperhive/datasette")
PAIRS = 9
REPORTERS = 50
AGENTS = 200  # of which those beyond the reporters send
# Turns a second, the tools of each, the limit. A turn is a commit beside the mail's, a point is not: few
# turns of many tools show what the points cost.
FLOODS = ((900, 11, None), (107, 187, 1.1))
COUNTS = "tokens_in tokens_out tokens_cache_read tokens_cache_write messages duration_ms notes_bytes".split()
TURN: dict[str, object] = dict.fromkeys(COUNTS, 1000)
TURN |= dict.fromkeys(("model", "woken_by", "session"), "bench")
TURN |= {f"last_{each}": 1000 for each in COUNTS[:4]}
TURN |= {"outcome": "ok", "cost_usd": 0.1}
TURN |= {"started_at": "2026-11-22T00:00:00.000Z"}
WARM = 2.0  # seconds: the writing of telemetry begins one after the first report
# A second of reading stats.db, on a fast machine or a slow one: Datasette ends it.
LONG = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n, series"


class Datasette:
    """A hive-explore on a database, before the broker of a Hive, and somebody who is signed in."""

    def __init__(self, path: Path, operator: Path) -> None:
        self.path = path
        peer = Peer(operator)
        code = json.loads(peer.ask(request("url")))["code"]
        begun = json.loads(peer.ask(request("sign_in", code=code, agent="bench")))
        self.headers = {"Host": "bench", "Cookie": f"hive={begun['token']}"}

    def get(self, place: str) -> int:
        connection = http.client.HTTPConnection("localhost", timeout=WAIT)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(os.fspath(self.path))
        with closing(connection):
            connection.request("GET", place, headers=self.headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status


@contextmanager
def datasette(hive: Hive, database: Path) -> Iterator[Datasette]:
    run = hive.folder / "run"
    path = run / f"{database.parent.name}.sock"
    nice = ["nice", "--adjustment=10"]  # as its unit says
    command = [*nice, "systemd-socket-activate", f"--listen={path}", "--setenv=PYTHONPATH", sys.executable]
    command += [os.fspath(PROGRAM), f"--database={database}", f"--datasette={DATASETTE}"]
    (config := run / "hive.toml").write_text('[web]\npublic_origin = "http://bench"\n')
    command += [f"--config={config}"]
    with mail.running([*command, f"--broker={run}/operator.sock"], path):
        it = Datasette(path, run / "operator.sock")
        if it.get("/stats") != 200:
            raise Problem("failed", "Datasette does not answer")
        yield it


@contextmanager
def beside(work: Callable[..., None], *arguments: object) -> Iterator[None]:
    """In a process of its own until we are done: it must not share our interpreter's lock."""
    process = get_context("fork").Process(target=work, args=arguments)
    process.start()
    try:
        yield
        if not process.is_alive():
            raise Problem("failed", f"{work.__name__} went away")
    finally:
        process.kill()
        process.join()


def report(peers: list[Peer], numbers: Iterator[int], turns: int, tools: int) -> None:
    """So many turns a second, of agents that wait for each answer."""
    used = {"tools": {f"tool{number}": 1 for number in range(tools)}, "tool_calls": tools}
    poll, idle, due = select.epoll(), [*peers], time.perf_counter()
    by_fd = {peer.sock.fileno(): peer for peer in peers}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    while True:
        while idle and time.perf_counter() >= due:
            idle.pop().sock.sendall(request("turn", number=next(numbers), **TURN | used))
            due += 1 / turns
        wait = max(0.0, due - time.perf_counter()) if idle else WAIT
        for fd, _ in poll.poll(wait):
            if b'"ok":true' not in by_fd[fd].read():
                raise Problem("failed", "a turn was not taken")
            idle.append(by_fd[fd])


def written(hive: Hive) -> int:
    """Points in stats.db, once all that was reported is."""
    Peer(hive.folder / "run/operator.sock").ask(request("metrics"))
    with closing(sqlite3.connect(f"{(hive.folder / 'db/stats.db').as_uri()}?mode=ro", uri=True)) as db:
        count: int = db.execute("select count(*) from stats").fetchone()[0]
    return count


def pairs(hive: Hive, work: Callable[[int], AbstractContextManager[None]]) -> list[tuple[float, float]]:
    """What became of send's p50 and p99, in each pair of a quiet run and one beside other work."""
    found = []
    for pair in range(PAIRS):
        quiet = send_times(hive)
        with work(pair):
            time.sleep(WARM)  # a load is only one after a while, and no event says so
            busy = send_times(hive)
        found.append((rank(busy, 0.5) / rank(quiet, 0.5), rank(busy, 0.99) / rank(quiet, 0.99)))
    return found


def ingest(
    hive: Hive, peers: list[Peer], flood: int, turns: int, tools: int, limit: float | None
) -> list[Figure]:
    rates = []

    @contextmanager
    def reported(pair: int) -> Iterator[None]:
        before, began = written(hive), time.perf_counter()
        numbers = itertools.count(1 + (flood * PAIRS + pair) * 1_000_000)
        with beside(report, peers, numbers, turns, tools):
            yield
            took = time.perf_counter() - began
        for peer in peers:  # an answer that nobody took
            peer.sock.setblocking(False)
            with suppress(BlockingIOError):
                peer.sock.recv(65536)
            peer.sock.setblocking(True)
        rates.append((written(hive) - before) / took)

    found = pairs(hive, reported)
    name = f"points of telemetry written, of {turns} turns a second with {tools} tools each"
    wanted = 20_000 if limit else None
    return [figure(name, "/s", rates, wanted, at_least=True), *ratios(found, limit)]


def ratios(found: list[tuple[float, float]], limit: float | None) -> list[Figure]:
    return [
        figure(f"… send {share} meanwhile, to that of a quiet broker", "of it", [*values], limit)
        for share, values in zip(("p50", "p99"), zip(*found, strict=True), strict=True)
    ]


def ask_on(place: Datasette) -> None:
    while True:
        if place.get(f"/stats.json?_timelimit=1000&sql={quote(LONG)}") != 400:
            raise Problem("failed", "the question has ended too early")


def analyst(hive: Hive) -> list[Figure]:
    with datasette(hive, hive.folder / "db/stats.db") as place:
        found = pairs(hive, lambda _: beside(ask_on, place))
    low, high = ratios(found, 1.1)
    return [replace(low, name=f"an analyst asks for a second, again and again:{low.name[1:]}"), high]


def questions(hive: Hive, database: Path) -> Figure:
    ready = yaml.safe_load((DATASETTE / "metadata.yaml").read_text())["databases"]["stats"]["queries"]
    with datasette(hive, database) as place:
        took = [middle(place, name) for name in ready]
    return figure(f"the slowest of {len(ready)} questions through Datasette", "ms", [max(took)], 1000)


def middle(place: Datasette, name: str) -> float:
    """Milliseconds: the middle of three."""
    asked = urlencode({"agent": "", "since": "", "minutes": ""})
    times = []
    for _ in range(3):
        began = time.perf_counter()
        if place.get(f"/stats/{name}.json?{asked}") != 200:
            raise Problem("failed", f"{name} has no answer")
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[1]


def run(parent: Path, database: Path) -> list[Figure]:
    """`database` is a stats.db of much telemetry."""
    hive = Hive(parent / "hive", NAMES[:AGENTS])
    with hive.broker():
        peers = [hive.agent(name, "harness") for name in hive.names[:REPORTERS]]
        hive.next_name = itertools.cycle(hive.names[REPORTERS:-1])
        figures = [
            each for number, flood in enumerate(FLOODS) for each in ingest(hive, peers, number, *flood)
        ]
        return [*figures, *analyst(hive), questions(hive, database)]
