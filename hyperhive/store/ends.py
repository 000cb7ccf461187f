"""In hive.db: questions, reminders, and all else that waits. On the writer's thread, like store.py."""

import json
from collections.abc import Iterator

from hyperhive import names
from hyperhive.problem import Problem
from hyperhive.store.store import LEASED, OWED, QUEUED, UNANSWERED, WANTS, Row, Store, now
from hyperhive.wire import ID_MAX

QUESTIONS_MAX = 100  # open ones, per asker
REMINDERS_MAX = 100  # armed ones, per agent
LISTED_MAX = 200  # of each kind


# questions


def ask(
    store: Store,
    asker: str,
    asked: str,
    text: str,
    options: list[str],
    *,
    multi: bool,
    expires_at: str | None,
) -> Row:
    (count,) = store.rows("select count(*) n from question where asker = ? and state = 'open'", asker)
    if count["n"] >= QUESTIONS_MAX:
        hint = "cancel some with cancel_loose_end"
        raise Problem("too-many", f"{asker} has {QUESTIONS_MAX} open questions", hint=hint)
    columns = "asker, asked, question, options, multi, asked_at, expires_at"
    values = (asker, asked, text, json.dumps(options, ensure_ascii=False), multi, now(), expires_at)
    statement = f"insert into question({columns}) values (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    rowid = store.db.execute(statement, values).lastrowid
    assert rowid is not None
    return question(store, rowid)


def question(store: Store, number: int) -> Row:
    found = store.rows("select * from question where id = ?", number)
    if not found:
        raise Problem("unknown-question", f"there is no question {number}", hint="look it up in loose_ends")
    return shown(found[0])


def shown(row: Row) -> Row:
    answer = json.loads(row["answer"]) if row["answer"] else None
    return row | {"options": json.loads(row["options"]), "multi": bool(row["multi"]), "answer": answer}


def open_question(store: Store, number: int) -> Row:
    row = question(store, number)
    if row["state"] != "open":
        raise Problem("closed", f"question {number} is {row['state']} already")
    return row


def close(store: Store, row: Row, state: str, by: str, answer: list[str] | None) -> Row:
    """The end of a question, and the mail to whoever asked."""
    text = json.dumps(answer, ensure_ascii=False) if answer is not None else None
    statement = "update question set state = ?, answer = ?, answered_by = ?, answered_at = ? where id = ?"
    store.db.execute(statement, (state, text, by, now(), row["id"]))
    event = {"event": "question_answered", "id": row["id"], "state": state, "by": by}
    return event | {"question": row["question"], "answer": answer}


def answer(store: Store, number: int, by: str, said: list[str], *, other: bool) -> tuple[Row, Row]:
    row = open_question(store, number)
    if by not in (row["asked"], names.OPERATOR):
        raise Problem("forbidden", f"question {number} was put to {row['asked']}")
    if row["options"] and not other and (wrong := [text for text in said if text not in row["options"]]):
        hint = "choose from: " + ", ".join(row["options"])
        raise Problem("bad-request", f"{wrong[0][:100]!r} is not one of the options", hint=hint)
    if not said or (len(said) > 1 and not row["multi"]):
        raise Problem("bad-request", f"question {number} takes one answer")
    return row, close(store, row, "answered", by, said)


def questions(store: Store, who: str | None) -> list[Row]:
    """The open ones, oldest first: all, or those that somebody asked or owes."""
    where = "state = 'open'" + (" and ? in (asker, asked)" if who else "")
    query = f"select * from question where {where} order by id limit {LISTED_MAX}"  # noqa: S608
    return [shown(row) for row in store.rows(query, *([who] if who else []))]


# reminders


def remind(store: Store, agent: str, message: str, due_at: str) -> int:
    (count,) = store.rows("select count(*) n from reminder where agent = ? and state = 'armed'", agent)
    if count["n"] >= REMINDERS_MAX:
        hint = "cancel some with cancel_loose_end"
        raise Problem("too-many", f"{agent} has {REMINDERS_MAX} reminders", hint=hint)
    statement = "insert into reminder(agent, message, due_at, created_at) values (?, ?, ?, ?)"
    rowid = store.db.execute(statement, (agent, message, due_at, now())).lastrowid
    assert rowid is not None
    return rowid


def next_due(store: Store) -> str | None:
    query = """
        select min(at) at from (select min(due_at) at from reminder where state = 'armed'
        union all select min(expires_at) from question where state = 'open')
    """
    at: str | None = store.rows(query)[0]["at"]
    return at


def fire(store: Store) -> list[Row]:
    """What is due: the mail that it becomes, in the transaction that says that it has fired."""
    at = now()
    sent: list[Row] = []
    for row in store.rows(
        "select * from reminder where state = 'armed' and due_at <= ? order by due_at, id", at
    ):
        store.db.execute("update reminder set state = 'fired' where id = ?", (row["id"],))
        event = {"event": "reminder", "id": row["id"], "message": row["message"], "due_at": row["due_at"]}
        sent += tell(store, row["agent"], event)
    for row in store.rows("select * from question where state = 'open' and expires_at <= ?", at):
        sent += tell(store, row["asker"], close(store, shown(row), "expired", names.SYSTEM, None))
    return sent


def tell(store: Store, to: str, event: Row) -> list[Row]:
    body = json.dumps(event, ensure_ascii=False)
    rows, _ahead, _new = store.send(names.SYSTEM, [to], body, None, None)
    return rows


def tell_manager(store: Store, event: Row) -> Row:
    """In the change that it is about."""
    there = store.rows("select 1 from agent where name = ? and destroyed_at is null", names.MANAGER)
    about_manager = event.get("agent") == names.MANAGER or not there
    (mail,) = tell(store, names.OPERATOR if about_manager else names.MANAGER, event)
    return mail


# loose ends


def loose_ends(store: Store, who: str | None) -> list[Row]:
    """What waits for an agent or by it, or for anybody, oldest first: {kind, id, agent, with, at, text}."""
    ends = []
    for row in questions(store, who):
        about = (row["asked_at"], row["question"])
        if who in (None, row["asker"]):
            ends.append(end("question asked", row["id"], row["asker"], row["asked"], *about))
        if who in (None, row["asked"]):
            ends.append(end("question owed", row["id"], row["asked"], row["asker"], *about))
    armed = "reminder indexed by reminder_armed where state = 'armed'"
    query = f"select * from {armed} and ifnull(agent = ?, true) order by id limit ?"  # noqa: S608
    for row in store.rows(query, who, LISTED_MAX):
        reminder = end("reminder", row["id"], row["agent"], row["agent"], row["created_at"], row["message"])
        ends.append(reminder | {"due_at": row["due_at"]})
    for row in unanswered(store, who):
        ends.append(
            end("unanswered mail", row["id"], row["recipient"], row["sender"], row["sent_at"], row["body"])
        )
    return sorted(ends, key=lambda each: (str(each["at"]), each["id"]))


def unanswered(store: Store, who: str | None) -> list[Row]:
    """The oldest mail of one agent, or of all, that is no reply and whose recipient has not answered it."""
    found: list[int] = []
    for source, *parameters in unanswered_in(store, who):
        before = found[-1] if len(found) == LISTED_MAX else ID_MAX
        query = f"select id from {source} and id < ? order by id limit {LISTED_MAX}"  # noqa: S608
        rows = store.db.execute(query, (*parameters, before))
        found = sorted([*found, *(number for (number,) in rows)])[:LISTED_MAX]
    query = "select * from message where id in (select value from json_each(?))"
    return store.rows(query, json.dumps(found))


def unanswered_in(store: Store, who: str | None) -> Iterator[tuple[str, ...]]:
    """Walks along an index, oldest first: with a few of each we have the oldest of all, and sort no more."""
    if who is None:
        yield (UNANSWERED,)
        yield (f"{LEASED} and {WANTS}",)
    else:
        for sender in store.owed[who]:
            yield f"{OWED} and recipient = ? and sender = ?", who, sender
        yield f"{LEASED} and {WANTS} and recipient = ?", who
    for name in [name for name, count in store.queued.items() if count and who in (None, name)]:
        yield f"{QUEUED} and {WANTS} and recipient = ?", name


def end(kind: str, number: int, who: str, other: str, at: str, text: str) -> Row:
    return {"kind": kind, "id": number, "agent": who, "with": other, "at": at, "text": text[:500]}


def cancel(store: Store, who: str, kind: str, number: int) -> list[Row]:
    """Gives the mail that follows: both sides of a question hear of it, but for the one who did it."""
    if kind == "question":
        row = open_question(store, number)
        if who not in (row["asker"], names.OPERATOR):
            raise Problem("forbidden", f"question {number} is {row['asker']}'s", hint="answer it instead")
        event = close(store, row, "cancelled", who, None)
        told = {row["asker"], row["asked"]} - {who, names.OPERATOR}
        return [mail for name in sorted(told) for mail in tell(store, name, event)]
    if kind == "reminder":
        change = "update reminder set state = 'cancelled'"
        where = "state = 'armed' and ? in (agent, 'operator')"
    else:
        change = "update message set settled = 1"
        where = "settled = 0 and ? in (recipient, 'operator')"
    if not store.db.execute(f"{change} where {where} and id = ?", (who, number)).rowcount:
        raise Problem("unknown-loose-end", f"{who} has no {kind} {number} that waits", hint="see loose_ends")
    return []


# dead letters


def revive(store: Store, ids: list[int]) -> list[Row]:
    """Dead messages, queued again as if new."""
    rows = dead(store, ids)
    for row in rows:
        statement = (
            "update message set state = 'queued', attempts = 0, done_at = null, reason = null where id = ?"
        )
        store.db.execute(statement, (row["id"],))
        store.queued[row["recipient"]] += 1
        store.undelivered[row["sender"]] += 1
        store.owed[row["recipient"]].add(row["sender"])
    return rows


def drop(store: Store, ids: list[int]) -> list[Row]:
    rows = dead(store, ids)
    for row in rows:
        store.db.execute(
            "update message set state = 'dropped', done_at = ? where id = ?", (now(), row["id"])
        )
    return rows


def dead(store: Store, ids: list[int]) -> list[Row]:
    rows = [
        row
        for number in ids
        for row in store.rows("select * from message where id = ? and state = 'dead'", number)
    ]
    if missing := {*ids} - {row["id"] for row in rows}:
        hint = "see hivectl dead"
        raise Problem("unknown-message", f"message {min(missing)} is not a dead letter", hint=hint)
    return rows


# retention


def prune(store: Store, before: str, limit: int) -> int:
    """Delete what ended before a time, at most so many rows of each kind in one transaction."""
    old = {
        # not the newest: the next id would be its own again
        "message": "state in ('done', 'dropped') and done_at < ? and id < (select max(id) from message)",
        "question": "state != 'open' and answered_at < ?",
        "reminder": "state != 'armed' and due_at < ?",
        "command": "ended_at < ?",
        "denial": "last_at < ?",
        "run": "ended_at < ? and event != 'quarantined'",  # the next start is a recovery
    }
    count = 0
    for table, where in old.items():
        chosen = f"select rowid from {table} where {where} limit ?"  # noqa: S608
        statement = f"delete from {table} where rowid in ({chosen})"  # noqa: S608
        count += store.db.execute(statement, (before, limit)).rowcount
    return count
