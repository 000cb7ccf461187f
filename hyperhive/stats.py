"""stats.db: telemetry, written on a thread of its own so that no analyst's query can hold up a message."""

import asyncio
import json
import logging
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlite_utils import Database, Migrations

from hyperhive import database
from hyperhive.problem import Problem

log = logging.getLogger(__name__)

Row = dict[str, Any]
BUSY_MS = 60_000  # a reader's long query delays this thread, nobody else

migrations = Migrations("stats")


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


def prepare(path: Path) -> None:
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


class Stats:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.thread = ThreadPoolExecutor(1, "stats")
        self.db: sqlite3.Connection | None = None
        try:
            self.opened()
        except (sqlite3.Error, Problem) as e:
            print(f"Cannot open {path}: {e}, ignoring until there is a turn to record", file=sys.stderr)

    def opened(self) -> sqlite3.Connection:
        """Tried again with every use: what ails this file must not keep the mail from going."""
        if not self.db:
            prepare(self.path)
            db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute(f"pragma busy_timeout = {BUSY_MS}")
            migrations.apply(Database(db))
            self.db = db
        return self.db

    async def add_turn(self, turn: Row) -> None:
        row = turn | {"tools": json.dumps(turn["tools"])}
        columns = ", ".join(row)
        insert = f"insert or replace into turns({columns}) values ({', '.join(':' + c for c in row)})"  # noqa: S608
        await asyncio.get_running_loop().run_in_executor(self.thread, self.insert, insert, row)

    def insert(self, statement: str, row: Row) -> None:
        try:
            self.opened().execute(statement, row)
        except (sqlite3.Error, Problem) as e:
            what = f"turn {row['number']} of {row['agent']}"
            print(f"Cannot record {what} in {self.path}: {e}, ignoring", file=sys.stderr)

    async def recent_turns(self, agent: str, limit: int) -> list[Row]:
        loop = asyncio.get_running_loop()
        rows = await loop.run_in_executor(self.thread, self.select, agent, limit)
        return [row | {"tools": json.loads(row["tools"])} for row in rows]

    def select(self, agent: str, limit: int) -> list[Row]:
        query = "select * from turns where agent = ? order by number desc limit ?"
        try:
            return [dict(row) for row in self.opened().execute(query, (agent, limit))]
        except (sqlite3.Error, Problem) as e:
            raise Problem("storage", f"cannot read {self.path}: {e}") from e
