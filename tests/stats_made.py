"""A stats.db small enough to reckon by hand: two agents, one day in 2026."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from hyperhive.stats.series import find
from hyperhive.stats.stats import Stats

DAY = "2026-11-20"
MIDNIGHT = 1_795_132_800_000  # of that day, in ms
HOUR = 3_600_000
RUN = {"ada": "a" * 32, "bob": "b" * 32}


def at(clock: str) -> str:
    return f"{DAY}T{clock}.000Z"


def insert(db: sqlite3.Connection, table: str, **row: Any) -> None:
    places = ", ".join("?" * len(row))
    db.execute(f"insert into {table}({', '.join(row)}) values ({places})", [*row.values()])  # noqa: S608


def turn(db: sqlite3.Connection, agent: str, number: int, ended: str, **more: Any) -> None:
    row = {
        "agent": agent,
        "number": number,
        "invocation": RUN[agent],
        "started_at": at(ended),
        "ended_at": at(ended),
    }
    row |= {"duration_ms": 1000, "outcome": "ok", "model": "opus", "woken_by": "manager", "messages": 1}
    row |= {"tool_calls": 2, "tools": json.dumps({"Bash": 2}), "tokens_in": 10, "tokens_out": 5}
    row |= {
        "tokens_cache_read": 80,
        "tokens_cache_write": 10,
        "cost_usd": 0.5,
        "session": "s",
        "error": None,
    }
    row |= {"last_tokens_in": 1, "last_tokens_cache_read": 90, "last_tokens_cache_write": 9}
    insert(db, "turns", **row | more)


def hours(db: sqlite3.Connection, key: str, agent: str, **sums: float) -> None:
    """h9=3 is: at nine, 3 in one point."""
    about = find(key)
    insert(db, "series", key=key, agent=agent, kind=about.kind, unit=about.unit)
    for hour, value in sums.items():
        ts = MIDNIGHT + int(hour[1:]) * HOUR
        insert(db, "stats", agent=agent, ts=ts, key=key, value=value)
        row = {"count": 1, "sum": value, "min": value, "max": value, "last": value}
        insert(db, "stats_hour", agent=agent, ts=ts, key=key, **row)


def message(
    db: sqlite3.Connection, number: int, sender: str, recipient: str, sent: str, **more: Any
) -> None:
    row = {"id": number, "sender": sender, "recipient": recipient, "sent_at": at(sent), "bytes": 10}
    row |= {"state": "done", "attempts": 1}
    insert(db, "messages", **row | more)


def make(path: Path) -> None:
    with closing(Stats(path).opened()) as db:
        db.execute("begin")
        fill_turns(db)
        fill_hours(db)
        fill_mail(db)
        fill_rest(db)
        db.execute("commit")


def fill_turns(db: sqlite3.Connection) -> None:
    turn(db, "ada", 1, "09:00:00", last_tokens_cache_read=990)
    turn(db, "ada", 2, "10:00:00", outcome="compacted", cost_usd=1.5, woken_by="operator")
    bad = {"outcome": "crashed", "error": "claude: it ended", "exit_code": 3, "duration_ms": 9000}
    turn(db, "bob", 1, "10:30:00", model="haiku", cost_usd=0.25, **bad)


def fill_hours(db: sqlite3.Connection) -> None:
    hours(db, "turns", "ada", h9=1, h10=1)
    hours(db, "turns", "bob", h10=1)
    hours(db, "turn_ms", "ada", h9=1_800_000, h10=1_800_000)
    hours(db, "cost_usd", "ada", h9=0.5, h10=1.5)
    hours(db, "cost_usd", "bob", h10=0.25)
    hours(db, "outcome.ok", "ada", h9=1)
    hours(db, "outcome.compacted", "ada", h10=1)
    hours(db, "outcome.crashed", "bob", h10=1)
    hours(db, "tool.Bash", "ada", h9=3)
    hours(db, "tool.send", "bob", h10=1)
    hours(db, "context_tokens", "ada", h9=1000, h10=100)
    hours(db, "notes_bytes", "ada", h9=100, h10=150)
    hours(db, "inbox_depth", "bob", h9=2, h10=7)
    for key, value in {
        "tokens_in": 20,
        "tokens_out": 10,
        "tokens_cache_read": 160,
        "tokens_cache_write": 20,
    }.items():
        hours(db, key, "ada", h9=value)


def fill_mail(db: sqlite3.Connection) -> None:
    message(db, 1, "operator", "ada", "08:59:58", first_delivered_at=at("09:00:00"))
    message(db, 2, "ada", "bob", "09:00:10", first_delivered_at=at("09:00:14"), attempts=3)
    message(db, 3, "ada", "bob", "09:00:20", state="dead", attempts=5, done_at=at("10:31:00"))
    message(db, 4, "bob", "ada", "10:00:00", state="queued", attempts=0)


def fill_rest(db: sqlite3.Connection) -> None:
    start = {"hello_ms": 100, "mail_ms": 5, "claude_ms": 2}
    insert(db, "starts", invocation=RUN["ada"], agent="ada", at=at("09:00:00"), answer_ms=900, **start)
    insert(db, "starts", invocation=RUN["bob"], agent="bob", at=at("10:00:00"), answer_ms=50, **start)
    crash: dict[str, Any] = {
        "agent": "bob",
        "unit": "hive-agent@bob.service",
        "at": at("10:30:00"),
        "event": "container_crash",
    }
    crash |= {"result": "signal", "signal": "SIGKILL", "runtime": 12.5, "restarts": 0, "restarted": 1}
    insert(db, "crashes", invocation=RUN["bob"], **crash)
    request = {"kind": "change", "agent": "ada", "requested_by": "manager", "requested_at": at("09:00:00")}
    decided = {"decided_by": "operator", "decided_at": at("09:01:00")}
    insert(db, "approvals", id=1, risk="higher", state="denied", **request | decided)
    insert(db, "approvals", id=2, risk="same", state="pending", **request)
    denied = {"agent": "ada", "program": "curl", "rule": "no-rule", "first_at": at("09:00:00")}
    insert(db, "commands_denied", id=1, count=4, last_at=at("10:00:00"), **denied)
    insert(db, "commands_denied", id=2, count=1, last_at=at("09:30:00"), **denied)
    denied |= {"agent": "bob", "program": "", "rule": "write"}
    insert(db, "commands_denied", id=3, count=1, last_at=at("09:00:00"), **denied)
    fill_ways_out(db)
    flood = {"agent": "ada", "since": at("09:00:00"), "last_at": at("09:04:30")}
    insert(db, "wild", kind="many_calls", count=1500, turn=2, **flood)
    insert(db, "wild", kind="log_flood", count=31_200, **flood)
    insert(db, "wild", agent="", kind="disk_low", since=at("10:00:00"), last_at=at("10:00:00"))
    asked = {"asker": "ada", "asked": "operator", "asked_at": at("09:00:00")}
    insert(db, "questions", id=1, state="answered", answered_at=at("09:00:30"), **asked)
    insert(db, "questions", id=2, state="open", **asked)


def fill_ways_out(db: sqlite3.Connection) -> None:
    def way(agent: str, host: str, clock: str, **more: Any) -> None:
        row = {
            "agent": agent,
            "host": host,
            "port": 443,
            "address": "",
            "rule": "*.org:443",
            "end": "closed",
        }
        row |= {"summed": 0, "count": 1, "first_at": at(clock), "last_at": at(clock)}
        insert(db, "egress", **row | {"bytes_sent": 10, "bytes_received": 100, "duration_ms": 5} | more)

    nothing = {"rule": "allow", "end": "denied", "bytes_sent": 0, "bytes_received": 0, "duration_ms": 0}
    way("ada", "a.org", "09:00:00", bytes_received=1000)
    way("ada", "a.org", "10:00:00", end="bytes")
    way("ada", "b.org", "09:00:00", summed=1, count=5)
    way("bob", "a.org", "09:00:00")
    way("ada", "evil.test", "09:00:00", **nothing)
    way("ada", "evil.test", "09:30:00", **nothing)
    way("bob", "10.0.0.1", "09:00:00", **nothing | {"rule": "address"})
    way("bob", "", "10:00:00", **nothing | {"port": 0, "rule": "connections", "count": 99})
    hours(db, "egress", "ada", h9=6, h10=1)
    hours(db, "egress_sent_bytes", "ada", h9=20, h10=10)
    hours(db, "egress_received_bytes", "ada", h9=1100, h10=100)
    hours(db, "egress", "bob", h9=1)
