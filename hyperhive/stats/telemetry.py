"""What happens in the hive, noted on the mail's thread in a microsecond, and written by that of stats.db."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from hyperhive import facts
from hyperhive.problem import Problem
from hyperhive.stats import sql, ways_sql
from hyperhive.stats.stats import SETTINGS
from hyperhive.store.store import now, stamp

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker

Fields = dict[str, Any]

EVERY = 1.0  # seconds at least from one batch to the next
DAY = 86_400_000  # ms
FLUSH_WAIT = 1.0  # seconds
NOTED_MAX = 200_000  # while a reader holds up the writing
# Each series that gets a point costs a page or two of the file, however many points it gets. With more
# series than these, agents take turns: their points come later, and more at a time.
SERIES_A_BATCH = 500
SERIES_OF_A_TURN = len(sql.OF_A_TURN)


@dataclass
class Noted:
    """What a batch is made of. The rows themselves are read from the databases when it is written."""

    touched: list[int] = field(default_factory=list)
    delivered: list[tuple[int, str, str]] = field(default_factory=list)
    turns: list[tuple[str, int]] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    questions: list[int] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    denied: list[tuple[int, str, int]] = field(default_factory=list)
    starts: list[tuple[str, str, str, int | None]] = field(default_factory=list)
    points: list[tuple[str, str, str, str, int, float]] = field(default_factory=list)
    wild: dict[tuple[str, str, str], tuple[str, int | None, int | None]] = field(default_factory=dict)
    egress: list[list[str | int]] = field(default_factory=list)
    read_to: str | None = None  # in the journal, with the last of these

    def as_given(self) -> dict[str, Any]:
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found["wild"] = [(*which, *what) for which, what in self.wild.items()]
        return {
            name: json.dumps(value) if isinstance(value, list) else value for name, value in found.items()
        }


def clock() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Waiting:
    """Turns of one agent that have no points yet."""

    numbers: list[int] = field(default_factory=list)
    series: int = 0  # at least so many are they in


class Telemetry:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.noted = Noted()
        self.count = 0
        self.waiting: dict[str, Waiting] = {}  # who has waited longest comes first
        self.reported = False  # a turn, since the last batch began
        self.lost = 0
        self.deepest: dict[str, tuple[int, int]] = {}  # of inboxes since the last batch: how many, when
        self.awake = (-1, -1)
        self.timer: asyncio.TimerHandle | None = None
        self.writing: asyncio.Future[int | None] | None = None
        self.catch_up = True  # what an earlier broker left out
        self.read_to: str | None = None  # in the journal, of what hive-gate has written there
        self.unsure = True  # of that
        self.db: sqlite3.Connection | None = None
        self.base: sqlite3.Connection | None = None  # that of Stats, when ours was opened
        self.reader = ThreadPoolExecutor(1, "stats-reader")
        self.takes: dict[str, Callable[[Fields], None]] = {
            "mail": self.mail,
            "delivered": self.delivered,
            "done": self.ended,
            "requeued": self.ended,
            "dead": self.ended,
            "awake": self.woke,
            "asleep": lambda fields: None,
            "turn": self.turn,
            "approval": lambda fields: self.noted.requests.append(fields["id"]),
            "question": lambda fields: self.noted.questions.append(fields["id"]),
            "question_answered": lambda fields: self.noted.questions.append(fields["id"]),
            "command_denied": lambda fields: self.noted.denied.append(
                (fields["id"], fields["agent"], clock())
            ),
            "container_crash": lambda fields: self.noted.runs.append(fields["invocation"]),
            "quarantined": lambda fields: self.noted.runs.append(fields["invocation"]),
        }

    def note(self, event: str, fields: Fields) -> None:
        take = self.takes.get(event)
        if not take:
            return
        if self.count >= NOTED_MAX:
            self.lost += 1
            return
        self.count += 1
        take(fields)
        self.soon()

    def soon(self) -> None:
        if not self.timer and not self.writing:
            self.timer = asyncio.get_running_loop().call_later(EVERY, self.begin)

    async def egress(self, after: str | None, cursor: str, told: list[list[str | int]]) -> bool:
        """Takes only what follows in the journal on what it has."""
        if self.unsure:
            loop = asyncio.get_running_loop()
            self.read_to = await loop.run_in_executor(self.broker.stats.thread, self.position)
            self.unsure = False
        if after != self.read_to or not told or self.count >= NOTED_MAX:
            return False
        self.noted.egress += told
        self.noted.read_to = self.read_to = cursor
        self.count += len(told)
        self.soon()
        return True

    def mail(self, fields: Fields) -> None:
        self.noted.touched.append(fields["id"])
        self.depth(fields["to"])

    def delivered(self, fields: Fields) -> None:
        self.noted.delivered.append((fields["id"], fields["agent"], now()))
        self.depth(fields["agent"])

    def ended(self, fields: Fields) -> None:
        self.noted.touched.append(fields["id"])
        self.depth(fields["agent"])

    def turn(self, fields: Fields) -> None:
        waiting = self.waiting.setdefault(fields["agent"], Waiting())
        waiting.numbers.append(fields["number"])
        waiting.series = max(waiting.series, SERIES_OF_A_TURN + len(fields["tools"]))
        self.reported = True

    def depth(self, name: str) -> None:
        count = self.broker.store.queued[name]
        if name not in self.deepest or count > self.deepest[name][0]:
            self.deepest[name] = count, clock()

    def woke(self, fields: Fields) -> None:
        wake_ms, at = fields["wake_ms"], clock()
        self.noted.starts.append(
            (fields["invocation"], fields["agent"], stamp(at - (wake_ms or 0)), wake_ms)
        )
        if wake_ms is not None:
            self.noted.points.append(("spread", "ms", "wake_ms", fields["agent"], at, wake_ms))

    def wild(self, agent: str, kind: str, since: str, count: int | None, turn: int | None) -> None:
        """Told again and again while it lasts, of which the newest is written."""
        self.count += (agent, kind, since) not in self.noted.wild
        self.noted.wild[agent, kind, since] = now(), count, turn
        self.soon()

    # a batch

    def begin(self) -> asyncio.Future[int | None]:
        """What was noted goes to the other thread; what comes meanwhile goes with the next."""
        if self.timer:
            self.timer.cancel()
        self.timer = None
        self.gauges()
        self.noted.turns = self.longest_waiting()
        batch, catch_up = self.noted, self.catch_up
        self.noted, self.catch_up, self.reported = Noted(), False, False
        self.count = sum(len(each.numbers) for each in self.waiting.values())
        loop = asyncio.get_running_loop()
        self.writing = loop.run_in_executor(self.broker.stats.thread, self.write, batch, catch_up)
        self.writing.add_done_callback(self.written)
        return self.writing

    def longest_waiting(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        room = SERIES_A_BATCH
        while self.waiting and room > 0:
            agent, waiting = next(iter(self.waiting.items()))
            del self.waiting[agent]
            found += [(agent, number) for number in waiting.numbers]
            room -= waiting.series
        return found

    def gauges(self) -> None:
        at, queued = clock(), self.broker.store.queued
        for name, (count, when) in self.deepest.items():
            if name in self.broker.agents:
                kept = [(count, when)] if count > queued[name] else []
                for value, ts in (*kept, (queued[name], at)):
                    self.noted.points.append(("last", "messages", "inbox_depth", name, ts, value))
        self.deepest.clear()
        awake = sum(agent.run is not None for agent in self.broker.agents.values())
        counts = awake, len(self.broker.agents) - awake
        if counts != self.awake:
            self.awake = counts
            for key, value in zip(("agents_awake", "agents_asleep"), counts, strict=True):
                self.noted.points.append(("last", "agents", key, "", at, value))

    def written(self, done: asyncio.Future[int | None]) -> None:
        self.writing = None
        last = done.result()
        if last is None:
            # what came meanwhile follows on what was lost: both are told again
            self.catch_up = self.unsure = True
            self.noted.egress, self.noted.read_to = [], None
        if last != 0:
            self.broker.spawn_task(self.broker.surely(lambda: self.broker.store.forget_turns(last)))
        if self.lost:
            text = f"{self.lost} events are missing from the statistics: a reader holds up their writing"
            facts.log("telemetry_lost", text, agent="", notice=True, HIVE_COUNT=self.lost)
            self.lost, self.catch_up = 0, True
        if self.count:
            self.soon()

    async def flush(self) -> None:
        """All that has happened by now is in stats.db, unless a reader holds up its writing."""
        if self.writing:
            await asyncio.wait([self.writing], timeout=FLUSH_WAIT)
        if not self.writing and (self.count or self.catch_up):
            await asyncio.wait([self.begin()], timeout=FLUSH_WAIT)

    async def records(self) -> None:
        """Every turn that was reported by now is in stats.db, if not yet in its series."""
        if self.reported or self.catch_up:
            await self.broker.stats.do(self.write_records)

    async def prune(self, days: int) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.broker.stats.thread, self.delete, clock() - days * DAY)

    # on the thread of stats.db

    def write(self, batch: Noted, catch_up: bool) -> int | None:
        """The id of the last record of a turn that is in now, 0 if there is none, None if all failed."""
        given = batch.as_given() | {"catch_up": catch_up, "now": clock()}
        try:
            db = self.opened()
            (last,) = db.execute(sql.LAST_REPORTED).fetchone()
            for statements in ((sql.REPORTED, *sql.NEWS), sql.OF_TURNS):
                transact(db, statements, given)
        except (sqlite3.Error, Problem) as e:
            print(f"Cannot write to {self.broker.stats.path}: {e}, ignoring", file=sys.stderr)
            return None
        return int(last)

    def write_records(self) -> None:
        try:
            transact(self.opened(), [sql.REPORTED], {})
        except (sqlite3.Error, Problem) as e:
            print(f"Cannot write to {self.broker.stats.path}: {e}, ignoring", file=sys.stderr)

    def position(self) -> str | None:
        try:
            found = self.opened().execute(ways_sql.READ_TO).fetchone()
        except (sqlite3.Error, Problem) as e:
            raise Problem("storage", f"cannot read {self.broker.stats.path}: {e}") from e
        return found[0] if found else None

    def delete(self, before: int) -> None:
        """In small transactions: each waits for all readers, and they for it."""
        try:
            db = self.opened()
            for statement in sql.OLD:
                db.execute(statement, {"at": stamp(before)})
            for key, agent in db.execute("select key, agent from series").fetchall():
                db.execute(sql.OLD_POINTS, (key, agent, before))
        except (sqlite3.Error, Problem) as e:
            print(f"Cannot prune {self.broker.stats.path}: {e}, ignoring", file=sys.stderr)

    def opened(self) -> sqlite3.Connection:
        """Of our own: a `begin immediate` on one that has both attached would lock hive.db, too."""
        base = self.broker.stats.opened()
        if not self.db or base is not self.base:
            db = sqlite3.connect(self.broker.stats.path, check_same_thread=False, isolation_level=None)
            for setting in SETTINGS:
                db.execute(f"pragma {setting}")
            db.execute("attach ? as hive", (str(self.broker.store.path),))
            db.executescript(sql.FRESH)
            self.db, self.base = db, base
        return self.db


def transact(db: sqlite3.Connection, statements: Iterable[str], given: dict[str, Any]) -> None:
    db.execute("begin")  # not immediate, which would lock hive.db, too
    with db:
        for statement in statements:
            db.execute(statement, given)
