"""The audit log in hive.db: what was asked for and what came of it, each entry bound to the one before."""

import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from hyperhive.problem import Problem

Row = dict[str, Any]

FIRST = "0" * 64
COLUMNS = ("id", "at", "who", "event", "request", "agent", "commit", "detail")
NAMED = ", ".join(f'"{name}"' for name in COLUMNS)

SCHEMA = """
    create table audit(
        id integer primary key, at text not null, who text not null, event text not null, request integer,
        agent text not null, "commit" text, detail text not null, hash text not null
    ) strict;
    create index audit_agent on audit(agent, id);
    create index audit_request on audit(request, id);
    create trigger audit_update before update on audit
        begin select raise(abort, 'the audit log is only added to'); end;
    create trigger audit_delete before delete on audit
        begin select raise(abort, 'the audit log is only added to'); end;
    -- "insert or replace" fires no trigger for what it deletes
    create trigger audit_insert before insert on audit
        when new.id != (select ifnull(max(id), 0) + 1 from audit)
        begin select raise(abort, 'the audit log is only added to at its end'); end;
"""


def digest(before: str, entry: Row) -> str:
    canonical = json.dumps({name: entry[name] for name in COLUMNS}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256((before + canonical).encode()).hexdigest()


def append(db: sqlite3.Connection, at: str, who: str, event: str, request: Row, detail: Row) -> None:
    """In the transaction of what it is about."""
    last = db.execute("select id, hash from audit order by id desc limit 1").fetchone() or (0, FIRST)
    text = json.dumps(detail, ensure_ascii=False, sort_keys=True)
    values = (last[0] + 1, at, who, event, request["id"], request["agent"], request["commit"], text)
    entry = dict(zip(COLUMNS, values, strict=True))
    statement = f"insert into audit({NAMED}, hash) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    db.execute(statement, (*values, digest(last[1], entry)))


def shown(entry: Row) -> Row:
    return {name: entry[name] for name in COLUMNS} | {"detail": json.loads(entry["detail"])}


def verify(path: Path) -> tuple[int, list[str]]:
    """How many entries there are, and what is wrong; on a connection of its own, beside the writer's."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            db.execute("begin")  # one view for all queries
            count, wrong = chain(db)
            return count, wrong + ends(db)
    except sqlite3.Error as e:
        raise Problem("storage", f"cannot read {path}: {e}") from e


def chain(db: sqlite3.Connection) -> tuple[int, list[str]]:
    before, number = FIRST, 0
    for entry in db.execute("select * from audit order by id"):
        row: dict[str, Any] = dict(entry)
        if row["id"] != number + 1:
            return number, [f"audit entry {number + 1} is missing"]
        if row["hash"] != digest(before, row):
            return number, [f"audit entry {row['id']} is not what was written, or the one before it is not"]
        before, number = row["hash"], row["id"]
    return number, []


def ends(db: sqlite3.Connection) -> list[str]:
    """A chain does not show that its end was cut off, but then requests and their last entries differ."""
    query = """
        select id, state, (select event from audit where request = request.id order by id desc limit 1) last
        from request where state is not last order by id limit 10
    """
    return [
        f"request {number} is {state}, and its last entry in the audit log says {last or 'nothing'}"
        for number, state, last in db.execute(query)
    ]
