"""hive.db: mail and agents. Every method runs on the writer's thread, inside its transaction."""

import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from hyperhive import names, wire
from hyperhive.problem import Problem
from hyperhive.store import database, schema

UNDELIVERED_MAX = 10_000  # per sender
ATTEMPTS_MAX = 5
LEASE_BYTES_MAX = 256 * 1024
REPORTED_MAX = 10_000  # records of turns, while stats.db cannot be written

Row = dict[str, Any]

# What is read of the table, each with the index of its name: by itself the planner may choose another.
QUEUED = "message indexed by message_queued where state = 'queued'"
LEASED = "message indexed by message_leased where state = 'leased'"
ENDED = "message indexed by message_recipient where state not in ('queued', 'leased')"
# What its recipient has not answered: all of it, oldest first, and that to one from another. In SQLite the
# condition must be the index's own, word for word.
WANTS = "settled = 0 and in_reply_to is null and sender <> 'system' and sender <> recipient"
UNANSWERED = f"message indexed by message_unanswered where state = 'done' and {WANTS}"
OWED = f"message indexed by message_owed where state = 'done' and {WANTS}"
INSERT = "insert into message(sender, recipient, body, sent_at, key, in_reply_to) values (?, ?, ?, ?, ?, ?)"

# In place of an InvocationID, with a number: a tool's connection has it, and has not said that it was shown.
TOOL = "tool "

# From the moment on that its first run may say hello.
LIVES = """(destroyed_at is null or exists (select 1 from request
    where agent = agent.name and kind = 'revive' and state = 'applying'))"""


def now() -> str:
    return stamp(time.time_ns() // 1_000_000)


@lru_cache(1)  # messages that share a commit mostly share the millisecond
def stamp(milliseconds: int) -> str:
    return wire.stamp(milliseconds / 1000)


def as_mail(row: Row) -> Row:
    """A message as the wire shows it."""
    return {
        "id": row["id"],
        "from": row["sender"],
        "to": row["recipient"],
        "body": row["body"],
        "sent_at": row["sent_at"],
        "in_reply_to": row["in_reply_to"],
        "attempts": row["attempts"],
        "redelivered": bool(row["seen"]),
        "reason": row["reason"] if row["seen"] else None,
    }


class Queued(Counter[str]):
    """How many messages wait, by recipient, and for whom that has changed since `grown` was cleared."""

    def __init__(self) -> None:
        self.grown: set[str] = set()
        super().__init__()

    def __setitem__(self, recipient: str, count: int) -> None:
        self.grown.add(recipient)
        super().__setitem__(recipient, count)


def as_record(row: Row) -> Row:
    """The same, with how it ended."""
    return as_mail(row) | {key: row[key] for key in ("state", "done_at", "reason")}


def chosen(rows: list[Row], ids: list[int] | None) -> list[Row]:
    return rows if ids is None else [row for row in rows if row["id"] in {*ids}]


class Store:
    def __init__(self, path: Path) -> None:
        self.path = path
        database.prepare(path, schema.migrations, mode="ro")
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.row_factory = sqlite3.Row
        self.db.execute("pragma journal_mode = wal")
        self.db.execute("pragma synchronous = full")
        self.db.execute("pragma wal_autocheckpoint = 4000")
        schema.migrations.apply(Database(self.db, execute_plugins=False))
        self.queued = Queued()
        self.undelivered: Counter[str] = Counter()  # by sender
        self.owed: defaultdict[str, set[str]] = defaultdict(set)  # who → to whom it may owe an answer
        self.count()

    def count(self) -> None:
        """What every send asks; after a rollback it is taken from the table again."""
        self.queued.clear()
        self.undelivered.clear()
        self.owed.clear()
        # A parameter for the state would keep the planner from the index that has only such rows.
        query = "select recipient, sender, count(*) n from message where state = '{}' group by 1, 2"
        for state in ("queued", "leased"):
            for row in self.db.execute(query.format(state)):
                self.undelivered[row["sender"]] += row["n"]
                self.owed[row["recipient"]].add(row["sender"])
                if state == "queued":
                    self.queued[row["recipient"]] += row["n"]
        # From pair to pair, however much mail each has: a name and a blank sort before the next name.
        after = "(recipient, sender) >= (?, ?) order by recipient, sender limit 1"
        query = f"select recipient, sender from {OWED} and {after}"  # noqa: S608
        pair = ("", "")
        while row := self.db.execute(query, pair).fetchone():
            pair = (row["recipient"], row["sender"] + " ")
            self.owed[row["recipient"]].add(row["sender"])

    def rows(self, query: str, *parameters: object) -> list[Row]:
        return [dict(row) for row in self.db.execute(query, parameters)]

    # mail

    def send(
        self, sender: str, recipients: list[str], body: str, in_reply_to: int | None, key: str | None
    ) -> tuple[list[Row], int, bool]:
        """The messages, how many are ahead of the first, and whether they are new."""
        if key is not None and (known := self.sent_before(sender, key, body)):
            return known, 0, False
        room = UNDELIVERED_MAX - self.undelivered[sender]
        if sender != names.SYSTEM and len(recipients) > room:
            hint = "wait until some of them are read"
            raise Problem("queue-full", f"{sender} has {UNDELIVERED_MAX} undelivered messages", hint=hint)
        ahead = self.queued[recipients[0]] if recipients else 0
        if in_reply_to is None:
            self.settle(sender, recipients)
        else:
            replied = "update message set settled = 1 where id = ? and recipient = ? and settled = 0"
            self.db.execute(replied, (in_reply_to, sender))
        at = now()
        sent = []
        for recipient in recipients:
            rowid = self.db.execute(INSERT, (sender, recipient, body, at, key, in_reply_to)).lastrowid
            sent.append({"id": rowid, "sender": sender, "recipient": recipient, "body": body})
            sent[-1] |= {"sent_at": at, "in_reply_to": in_reply_to, "attempts": 0, "seen": 0}
            self.queued[recipient] += 1
            self.undelivered[sender] += 1
            if in_reply_to is None:
                self.owed[recipient].add(sender)
        return sent, ahead, True

    def settle(self, who: str, others: Iterable[str]) -> None:
        """`who` writes to them, which answers all that it has from them, taken or not."""
        them = self.owed[who].intersection(others)
        if not them:
            return
        self.owed[who] -= them
        theirs = "recipient = ? and sender in (select value from json_each(?))"
        for source in (f"{QUEUED} and {WANTS}", f"{LEASED} and {WANTS}", OWED):
            answered = f"select id from {source} and {theirs}"  # noqa: S608
            change = f"update message set settled = 1 where id in ({answered})"  # noqa: S608
            self.db.execute(change, (who, json.dumps([*them])))

    def sent_before(self, sender: str, key: str, body: str) -> list[Row]:
        known = self.rows("select * from message where sender = ? and key = ? order by id", sender, key)
        if known and known[0]["body"] != body:
            raise Problem("conflict", f"key '{key}' was used with another body", hint="use a new key")
        return known

    def lease(self, recipient: str, holder: str, limit: int) -> list[Row]:
        query = f"select * from {QUEUED} and recipient = ? order by id limit ?"  # noqa: S608
        given: list[Row] = []
        size = 0
        for row in self.rows(query, recipient, limit):
            size += len(row["body"].encode())
            if given and size > LEASE_BYTES_MAX:
                break
            given.append(row | {"attempts": row["attempts"] + 1})
        update = "update message set state = 'leased', attempts = attempts + 1, invocation = ? where id = ?"
        self.db.executemany(update, [(holder, row["id"]) for row in given])
        self.queued[recipient] -= len(given)
        return given

    def leased_rows(self, recipient: str, ids: list[int] | None) -> list[Row]:
        found = self.rows(f"select * from {LEASED} and recipient = ?", recipient)  # noqa: S608
        return chosen(found, ids)

    def taken_back(self, recipient: str, invocation: str, ids: list[int] | None) -> list[Row]:
        """What went back because the broker restarted still belongs to the run that held it, until another
        has it: its turn may yet end well."""
        if not self.queued[recipient]:
            return []
        query = f"select * from {QUEUED} and recipient = ? and invocation = ?"  # noqa: S608
        return chosen(self.rows(query, recipient, invocation), ids)

    def shown(self, recipient: str, holder: str, invocation: str, ids: list[int]) -> int:
        """From now on it is the run's, also what a restart of the broker took back before we heard of it."""
        rows = [row for row in self.leased_rows(recipient, ids) if row["invocation"] == holder]
        if self.queued[recipient]:
            query = f"select * from {QUEUED} and recipient = ? and invocation glob ?"  # noqa: S608
            rows += chosen(self.rows(query, recipient, f"{TOOL}*"), ids)
        update = "update message set invocation = ? where id = ?"
        self.db.executemany(update, [(invocation, row["id"]) for row in rows])
        return len(rows)

    def ack(self, recipient: str, invocation: str, ids: list[int] | None) -> list[Row]:
        rows = [row for row in self.leased_rows(recipient, ids) if row["invocation"] == invocation]
        rows += self.taken_back(recipient, invocation, ids)
        update = "update message set state = 'done', done_at = ? where id = ?"
        at = now()
        self.db.executemany(update, [(at, row["id"]) for row in rows])
        for row in rows:
            self.undelivered[row["sender"]] -= 1
            self.queued[recipient] -= row["state"] == "queued"
        return rows

    def fail(
        self, recipient: str, invocation: str, reason: str, ids: list[int] | None, *, count: bool
    ) -> tuple[list[Row], list[Row]]:
        """Back in the queue, for whichever run comes next: (requeued, dead)."""
        rows = self.leased_rows(recipient, ids) + self.taken_back(recipient, invocation, ids)
        kept, dead = self.back(rows, reason, 0 if count else 1)
        forget = "update message set invocation = null where id = ?"
        self.db.executemany(forget, [(row["id"],) for row in kept])
        return kept, dead

    def unlease(self, recipient: str, ids: list[int]) -> None:
        """As if it had not been given: nobody has seen it."""
        rows = self.leased_rows(recipient, ids)
        undo = "update message set state = 'queued', attempts = attempts - 1, invocation = null where id = ?"
        self.db.executemany(undo, [(row["id"],) for row in rows])
        self.queued[recipient] += len(rows)

    def release(self, recipient: str, reason: str, tool: str = "") -> tuple[list[Row], list[Row]]:
        """The connection that held the lease has ended, a tool's or the harness's: (requeued, dead)."""
        rows = [row for row in self.leased_rows(recipient, None) if tool in ("", row["invocation"])]
        # for whoever tells how the run ended: by then another may have the mail
        insert = "insert or ignore into run_mail(invocation, message) values (?, ?)"
        self.db.executemany(
            insert,
            [(row["invocation"], row["id"]) for row in rows if not row["invocation"].startswith(TOOL)],
        )
        return self.back(rows, reason, 0)

    def back(self, rows: list[Row], reason: str, forgiven: int) -> tuple[list[Row], list[Row]]:
        kept = [row for row in rows if row["attempts"] - forgiven < ATTEMPTS_MAX]
        dead = [row for row in rows if row["attempts"] - forgiven >= ATTEMPTS_MAX]
        again = "state = 'queued', seen = 1, attempts = attempts - ?, reason = ?"
        self.db.executemany(
            f"update message set {again} where id = ?",  # noqa: S608
            [(forgiven, reason, row["id"]) for row in kept],
        )
        at = now()
        self.db.executemany(
            "update message set state = 'dead', done_at = ?, reason = ? where id = ?",
            [(at, reason, row["id"]) for row in dead],
        )
        for row in kept:
            self.queued[row["recipient"]] += row["state"] == "leased"
        for row in dead:
            self.undelivered[row["sender"]] -= 1
        return kept, dead

    def read(self, ids: list[int]) -> list[int]:
        query = f"select * from {QUEUED} and recipient = ?"  # noqa: S608
        rows = chosen(self.rows(query, names.OPERATOR), ids)
        at = now()
        update = "update message set state = 'done', done_at = ? where id = ?"
        self.db.executemany(update, [(at, row["id"]) for row in rows])
        for row in rows:
            self.undelivered[row["sender"]] -= 1
            self.queued[names.OPERATOR] -= 1
        return [row["id"] for row in rows]

    def inbox(self, limit: int, *, unread_only: bool) -> list[Row]:
        found: list[Row] = []
        for table in [QUEUED] if unread_only else [QUEUED, ENDED]:
            query = f"select * from {table} and recipient = ? order by id desc limit ?"  # noqa: S608
            found += self.rows(query, names.OPERATOR, limit)
        found.sort(key=lambda row: -row["id"])
        return [as_record(row) for row in found[:limit]]

    def states(self) -> Row:
        """How much is queued and leased for agents, how much is dead, and what the operator is asked."""
        leased = "select count(*) n from message where state = 'leased'"
        dead = "select count(*) n from message where state = 'dead'"
        asked = "select count(*) n from question where state = 'open' and asked = ?"
        return {
            "queued": self.queued.total() - self.queued[names.OPERATOR],
            "leased": self.rows(leased)[0]["n"],
            "dead": self.rows(dead)[0]["n"],
            "questions": self.rows(asked, names.OPERATOR)[0]["n"],
        }

    # agents

    def agents(self) -> list[Row]:
        return self.rows(f"select * from agent where {LIVES} order by name")  # noqa: S608

    def agent(self, name: str) -> Row:
        return self.rows("select * from agent where name = ?", name)[0]

    def leased(self, recipient: str) -> int:
        query = f"select count(*) n from {LEASED} and recipient = ?"  # noqa: S608
        count: int = self.rows(query, recipient)[0]["n"]
        return count

    def agents_with_mail(self) -> list[Row]:
        return [row | {"leased": self.leased(row["name"])} for row in self.agents()]

    def set_status(self, name: str, status: str) -> None:
        self.db.execute("update agent set status = ?, status_at = ? where name = ?", (status, now(), name))

    def count_turn(self, name: str, number: int, outcome: str) -> str | None:
        """Gives the outcome of the turn before."""
        before: str | None = self.agent(name)["last_outcome"]
        update = "update agent set turns = ?, last_turn_at = ?, last_outcome = ? where name = ?"
        self.db.execute(update, (number, now(), outcome, name))
        return before

    def report_turn(self, record: Row) -> None:
        self.db.execute("insert into reported(record) values (?)", (wire.ENCODER.encode(record),))

    def forget_turns(self, last: int | None) -> None:
        """Those that are in stats.db; None: it cannot be written, and only the newest are kept."""
        if last is None:
            (last,) = self.db.execute("select max(id) - ? from reported", (REPORTED_MAX,)).fetchone()
        self.db.execute("delete from reported where id <= ?", (last,))

    def register(self, agent: Row) -> None:
        Database(self.db, execute_plugins=False)["agent"].insert(agent, replace=False)  # type: ignore[union-attr]
