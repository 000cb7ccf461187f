"""Figures for `make bench`: what much telemetry, and an analyst, cost the mail."""

import itertools
import select
import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import quote

from hyperhive.bench import explore
from hyperhive.bench.bench import WAIT, Figure, figure
from hyperhive.bench.mail import BODY, NAMES, Hive, Peer, rank, request
from hyperhive.problem import Problem

ROUNDS = 5
SECONDS = 5.0  # of a measurement: some thousand messages
AGENTS = 400
REPORTERS = 20  # of these; others send, another one each time
SENDS_MAX = 9000  # of one sender: 10,000 of its messages may wait
TURNS, TOOLS = 120, 187  # a second, and in each: some 200 points of as many series
WARM = 2.0  # seconds until an analyst is at work
SWEEP = 12.0  # and until points are written of all agents in turn, some 500 series a second
COUNTS = "tokens_in tokens_out tokens_cache_read tokens_cache_write messages duration_ms notes_bytes".split()
TURN: dict[str, object] = dict.fromkeys(COUNTS, 1000)
TURN |= dict.fromkeys(("model", "woken_by", "session"), "bench")
TURN |= {f"last_{each}": 1000 for each in COUNTS[:4]}
TURN |= {"outcome": "ok", "cost_usd": 0.1}
TURN |= {"started_at": "2026-11-22T00:00:00.000Z"}
# A second of reading stats.db, on a fast machine or a slow one: Datasette ends it.
LONG = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n, series"


Times = list[float]
Load = Callable[[], AbstractContextManager[None]]


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
    poll, idle, due = select.epoll(), deque(peers), time.perf_counter()
    by_fd = {peer.sock.fileno(): peer for peer in peers}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    while True:
        while idle and time.perf_counter() >= due:
            idle.popleft().sock.sendall(request("turn", number=next(numbers), **TURN | used))
            due += 1 / turns
        wait = max(0.0, due - time.perf_counter()) if idle else WAIT
        for fd, _ in poll.poll(wait):
            if b'"ok":true' not in by_fd[fd].read():
                raise Problem("failed", "a turn was not taken")
            idle.append(by_fd[fd])


def ask_on(place: explore.Datasette) -> None:
    while True:
        if place.get(f"/stats.json?_timelimit=1000&sql={quote(LONG)}") != 400:
            raise Problem("failed", "the question has ended too early")


class Flood:
    """Turns of many agents, and how many points a second become of them."""

    def __init__(self, hive: Hive) -> None:
        self.hive = hive
        self.peers = [hive.agent(name, "harness") for name in hive.names[:REPORTERS]]
        self.numbers = itertools.count(1, 1_000_000)
        self.rates: list[float] = []

    @contextmanager
    def of(self, tools: int) -> Iterator[None]:
        before, began = self.points(), time.perf_counter()
        with beside(report, self.peers, itertools.count(next(self.numbers)), TURNS, tools):
            time.sleep(SWEEP)  # a load is only one after a while, and no event says so
            yield
        for peer in self.peers:
            peer.sock.sendall(request("whoami", id=2))
            while b'"id":2' not in peer.read():  # but an answer that nobody took
                pass
        self.settle()
        if tools:
            self.rates.append((self.points() - before) / (time.perf_counter() - began))

    def points(self, query: str = "select count(*) from stats") -> int:
        path = self.hive.folder / "db/stats.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=WAIT)) as db:
            count: int = db.execute(query).fetchone()[0]
        return count

    def settle(self) -> None:
        """Until every turn has its points."""
        operator = Peer(self.hive.folder / "run/operator.sock")
        turns = self.points("select count(*) from (select distinct agent, ended_at from turns)")
        while self.points("select count(*) from stats where key = 'turns'") < turns:
            operator.ask(request("metrics"))  # which has a batch written at once


@contextmanager
def asking(place: explore.Datasette) -> Iterator[None]:
    with beside(ask_on, place):
        time.sleep(WARM)  # Datasette has to be at work on a question, and no event says so
        yield


def sends(hive: Hive) -> Times:
    """Each waits for the answer to the one before."""
    line = request("send", to=hive.names[-1], body=BODY)
    found: Times = []
    until = time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < until:
        if len(found) % SENDS_MAX == 0:
            (peer,) = hive.senders(1)
            began = time.perf_counter()
        if b'"ok":true' not in peer.ask(line):
            raise Problem("failed", "a message was not taken")
        found.append(time.perf_counter() - began)
    return found


def rounds(hive: Hive, loads: dict[str, Load]) -> dict[str, list[Times]]:
    """In turn, so that a change of the machine is one of all, and each after another: the disk remembers."""
    found: dict[str, list[Times]] = {name: [] for name in loads}
    order = deque(loads)
    for _ in range(ROUNDS):
        for name in order:
            with loads[name]():
                found[name].append(sends(hive))
        order.rotate(2)
    return found


def against(what: str, ours: list[Times], theirs: list[Times], limit: float | None) -> list[Figure]:
    return [
        figure(
            f"{what}: p{share * 100:.0f}",
            "of it",
            [rank(a, share) / rank(b, share) for a, b in zip(ours, theirs, strict=True)],
            limit,
        )
        for share in (0.5, 0.99)
    ]


def run(parent: Path) -> list[Figure]:
    """`parent` is a folder on the disk that is to be measured."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        Path(name).chmod(0o711)  # agents connect to sockets below it
        hive = Hive(Path(name) / "hive", NAMES[:AGENTS])
        with hive.broker(), explore.datasette(hive, hive.folder / "db/stats.db") as place:
            flood = Flood(hive)
            hive.next_name = itertools.cycle(hive.names[REPORTERS:-1])
            found = rounds(
                hive,
                {
                    "quiet": nullcontext,
                    "again": nullcontext,
                    "turns": lambda: flood.of(0),
                    "points": lambda: flood.of(TOOLS),
                    "analyst": lambda: asking(place),
                },
            )
    quiet, turns, points = found["quiet"], found["turns"], found["points"]
    return [
        figure("points of telemetry, until the last is written", "/s", flood.rates, 20_000, at_least=True),
        *against("… send meanwhile, to that of a quiet broker", points, quiet, 1.1),
        *against("… to that beside the same turns without tools", points, turns, 1.1),
        *against("… of that beside these turns, to a quiet broker's", turns, quiet, None),
        *against("send while an analyst asks for a second, again and again", found["analyst"], quiet, 1.1),
        *against("two measurements of a quiet broker", found["again"], quiet, None),
        figure("send to a quiet broker: p50", "ms", [rank(each, 0.5) * 1000 for each in quiet], None),
        figure("… p99", "ms", [rank(each, 0.99) * 1000 for each in quiet], None),
    ]
