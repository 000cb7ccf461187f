"""stats.db and events.db, written on a thread of their own so that no analyst's query can hold up a message.

What was said and done in turns may hold secrets: it is in events.db, which only the broker reads.
"""

import asyncio
import itertools
import json
import logging
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database, Migrations

from hyperhive.problem import Problem
from hyperhive.stats import schema
from hyperhive.store import database

log = logging.getLogger(__name__)

Row = dict[str, Any]
T = TypeVar("T")
BUSY_MS = 60_000  # a reader's long query delays this thread, nobody else
SETTINGS = (
    f"busy_timeout = {BUSY_MS}",
    # Each fdatasync, and each file that is made or removed, may have the mail's own wait for it.
    "journal_mode = persist",
    "journal_size_limit = 16777216",
    "temp_store = memory",
    "cache_size = -16384",  # KiB; what does not fit is written, and synced, before the commit
)
EVENTS_MAX = 2000  # of one turn
EVENTS_KEPT = 10_000  # of one agent, the newest
TRIM_AFTER = 500  # new ones
EVENT = "agent, number, invocation, n, at, kind, tool, call, text, bytes"
HISTORY_MAX = 512 * 1024  # characters of events in one answer

migrations = Migrations("stats")
events_migrations = Migrations("events")


@migrations()
def first(db: Database) -> None:
    db.executescript("""
        create table turns(
            agent text not null, number integer not null, invocation text not null, started_at text not null,
            duration_ms integer not null, outcome text not null, model text not null, woken_by text not null,
            messages integer not null, tool_calls integer not null, tools text not null,
            tokens_in integer not null, tokens_out integer not null, tokens_cache_read integer not null,
            tokens_cache_write integer not null, cost_usd real not null, session text not null, error text,
            primary key(agent, number)
        ) strict;
    """)


@events_migrations()
def turn_events(db: Database) -> None:
    db.executescript("""
        create table turn_events(
            id integer primary key, agent text not null, number integer not null, invocation text not null,
            n integer not null, at text not null, kind text not null, tool text, call text,
            text text not null, bytes integer not null
        ) strict;
        create unique index turn_events_turn on turn_events(agent, number, invocation, n);
        create index turn_events_agent on turn_events(agent);
        create index turn_events_at on turn_events(at);
    """)


def prepare(path: Path, migrations: Migrations) -> None:
    """Telemetry that cannot be read stops no mail: it is moved aside, and a new file begun."""
    try:
        database.prepare(path, migrations, mode="rw")
    except Problem as e:
        aside = path.with_name(f"{path.name}.bad-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        log.error("%s; moving it to %s, beginning a new one", e, aside)
        move(path, aside)
        database.prepare(path, migrations, mode="rw")


def move(path: Path, aside: Path) -> None:
    """What SQLite keeps beside it goes with it."""
    try:
        for suffix in ("", *database.BESIDE):
            if (old := path.with_name(path.name + suffix)).exists():
                old.rename(f"{aside}{suffix}")
    except OSError as e:
        raise Problem("storage", f"cannot move {path}: {e.strerror}") from e


def attach(db: sqlite3.Connection, path: Path) -> None:
    prepare(path, events_migrations)
    path.chmod(0o600)
    db.execute("attach ? as events", (os.fspath(path),))
    if db.execute("select 1 from main.sqlite_schema where name = 'turn_events'").fetchone():
        take_over(db)


def take_over(db: sqlite3.Connection) -> None:
    """Earlier releases, and backups of them, have what was said in stats.db: no byte of it stays there."""
    db.execute("pragma main.secure_delete = on")
    db.execute("begin immediate")
    with db:
        db.execute(f"insert or ignore into events.turn_events({EVENT}) select {EVENT} from main.turn_events")  # noqa: S608
        db.execute("drop table main.turn_events")
    db.execute("pragma main.secure_delete = off")


class Stats:
    def __init__(self, path: Path, events: Path | None = None) -> None:
        self.path = path
        self.events = events
        self.thread = ThreadPoolExecutor(1, "stats")
        self.db: sqlite3.Connection | None = None
        self.new: Counter[str] = Counter()  # turn events since the oldest were deleted, by agent
        try:
            self.opened()
        except (sqlite3.Error, Problem) as e:
            print(f"Cannot open {path}: {e}, ignoring until there is a turn to record", file=sys.stderr)

    def opened(self) -> sqlite3.Connection:
        """Tried again with every use: what ails this file must not keep the mail from going."""
        if not self.db:
            prepare(self.path, migrations)
            db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute(f"pragma busy_timeout = {BUSY_MS}")
            migrations.apply(Database(db, execute_plugins=False))
            schema.migrations.apply(Database(db, execute_plugins=False))
            self.path.chmod(0o640)  # hive-explore has the folder's group
            for setting in SETTINGS:  # with a journal that has the mode of the file
                db.execute(f"pragma {setting}")
            if self.events:
                attach(db, self.events)
            self.db = db
        return self.db

    async def do(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, work, *arguments)

    def insert(self, statement: str, rows: list[Row]) -> None:
        try:
            db = self.opened()
            db.execute("begin immediate")
            with db:
                db.executemany(statement, rows)
        except (sqlite3.Error, Problem) as e:
            what = f"turn {rows[0]['number']} of {rows[0]['agent']}"
            print(f"Cannot record {what} in {self.path}: {e}, ignoring", file=sys.stderr)

    async def recent_turns(self, agent: str, limit: int) -> list[Row]:
        query = "select * from turns where agent = ? order by number desc limit ?"
        return [shown(row) for row in await self.do(self.select, query, agent, limit)]

    def select(self, query: str, *parameters: object) -> list[Row]:
        try:
            return [dict(row) for row in self.opened().execute(query, parameters)]
        except (sqlite3.Error, Problem) as e:
            raise Problem("storage", f"cannot read {self.path}: {e}") from e

    # what was done in a turn

    async def add_events(self, agent: str, events: list[Row]) -> None:
        if events:
            await self.do(self.insert_events, agent, events)

    def insert_events(self, agent: str, events: list[Row]) -> None:
        values = "agent, :number, :invocation, :n, :at, :kind, :tool, :id, :text, :bytes"
        columns = values.replace(":id", "call").replace(":", "")
        # A report that is repeated, as its answer was lost, adds nothing.
        self.insert(f"insert or ignore into turn_events({columns}) values (:{values})", events)  # noqa: S608
        self.new[agent] += len(events)
        if self.new[agent] >= TRIM_AFTER:
            self.new[agent] = 0
            oldest = "select id from turn_events where agent = :agent order by id desc limit 1 offset :kept"
            about = {"agent": agent, "number": events[0]["number"], "kept": EVENTS_KEPT}
            self.insert(f"delete from turn_events where agent = :agent and id <= ({oldest})", [about])  # noqa: S608

    async def history(self, agent: str, before: int, limit: int, events_before: int) -> list[Row]:
        return await self.do(self.read_history, agent, before, limit, events_before)

    def read_history(self, agent: str, before: int, limit: int, events_before: int) -> list[Row]:
        """Newest first. A run that died has left a turn without a record, and its number to the next."""
        place = "agent = ? and number < ?"
        query = f"""
            with one as (select number, invocation, 0 id from turns where {place}
                union all select number, invocation, id from turn_events where {place})
            select number, invocation from one where number in
                (select distinct number from one order by number desc limit ?)
            group by number, invocation order by number desc, max(id) desc
        """  # noqa: S608
        found = self.select(query, agent, before, agent, before, limit)
        left = HISTORY_MAX
        for about in found:
            one = (agent, about["number"], about["invocation"])
            recorded = self.select(
                "select * from turns where agent = ? and number = ? and invocation = ?", *one
            )
            about["turn"] = shown(recorded[0]) if recorded else None
            about["events"], about["more"] = self.read_events(*one, events_before, left)
            left = max(0, left - sum(len(each["text"]) for each in about["events"]))
        return found

    def read_events(
        self, agent: str, number: int, invocation: str, before: int, room: int
    ) -> tuple[list[Row], bool]:
        """The last that there is room for, oldest first, and whether there are more before them."""
        query = """
            select agent, number, invocation, n, at, kind, tool, call id, text, bytes from turn_events
            where agent = ? and number = ? and invocation = ? and n < ? order by n desc
        """
        rows = self.select(query, agent, number, invocation, before)
        kept = [row for row, size in zip(rows, sums(rows), strict=True) if size <= room]
        return kept[::-1], len(kept) < len(rows)

    async def prune(self, before: str) -> None:
        about = {"before": before, "agent": "all", "number": 0}
        await self.do(self.insert, "delete from turn_events where at < :before", [about])


def shown(turn: Row) -> Row:
    return turn | {"tools": json.loads(turn["tools"])}


def sums(rows: list[Row]) -> Iterator[int]:
    return itertools.accumulate(len(row["text"]) for row in rows)
