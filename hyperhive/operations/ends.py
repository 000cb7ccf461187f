"""The operations of hyperhive-wire(7) on questions, reminders, loose ends and dead letters."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hyperhive import names, wire
from hyperhive.problem import Problem
from hyperhive.store import ends, replies

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection

TEXT_MAX = 8 * 1024
OPTIONS_MAX = 20
OPTION_MAX = 200
YEAR = 366 * 24 * 3600
PRUNE_ROWS = 500  # in one transaction, so that mail need not wait long behind it
STATS_DAYS = 90
KINDS = ("question", "reminder", "mail")


def other(broker: Broker, message: wire.Message, default: str | None = None, key: str = "to") -> str:
    to = wire.get_text(message, key, 64, default)
    if to != names.OPERATOR and to not in broker.agents:
        raise Problem("unknown-agent", f"no agent is called '{to}'")
    return to


def texts(
    message: wire.Message, key: str, most: int, limit: int, default: list[str] | None = None
) -> list[str]:
    values = wire.get(message, key, list, default)
    if len(values) > most:
        raise Problem("bad-request", f"'{key}' has more than {most} entries")
    return [wire.get_text({key: value}, key, limit) for value in values]


async def ask(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    asker = connection.who
    asked = other(broker, message, names.OPERATOR)
    broker.check_may_write(asker, asked)
    text = wire.get_text(message, "question", TEXT_MAX)
    options = texts(message, "options", OPTIONS_MAX, OPTION_MAX, [])
    multi = wire.get(message, "multi", bool, False)
    ttl = wire.get_int(message, "ttl", 1, YEAR) if message.get("ttl") is not None else None
    if asked == asker or not text.strip():
        raise Problem("bad-request", "'to' must be somebody else, and 'question' must say something")

    def change() -> replies.Done[tuple[wire.Message, list[wire.Message]]]:
        expires = wire.stamp(time.time() + ttl) if ttl else None
        row = ends.ask(broker.store, asker, asked, text, options, multi=multi, expires_at=expires)
        keys = ("id", "question", "options", "multi", "expires_at")
        event = {"event": "question", "from": asker} | {key: row[key] for key in keys}
        # the operator has a list of questions; an agent has its mail
        mail = ends.tell(broker.store, asked, event) if asked != names.OPERATOR else []
        return {"question": row["id"], "expires_at": expires}, (row, mail)

    said, new = await replies.once(broker, connection, message, change)
    if new:
        broker.publish("question", **new[0])
        await broker.went_out(new[1])
    return said


async def answer(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    number = wire.get_int(message, "question", 1, wire.ID_MAX)
    said = texts(message, "answer", OPTIONS_MAX, wire.BODY_MAX // 2)
    free = wire.get(message, "other", bool, False)
    if free and connection.who != names.OPERATOR:
        raise Problem("forbidden", "only the operator may answer what is none of the options")

    def change() -> replies.Done[tuple[wire.Message, list[wire.Message]]]:
        row, event = ends.answer(broker.store, number, connection.who, said, other=free)
        return {}, (event, ends.tell(broker.store, row["asker"], event))

    answered, new = await replies.once(broker, connection, message, change)
    if new:
        event, mail = new
        broker.publish("question_answered", **{key: event[key] for key in ("id", "state", "by", "answer")})
        await broker.went_out(mail)
    return answered


async def questions(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    rows = await broker.writer.do(lambda: ends.questions(broker.store, None))
    return {"questions": rows}


async def remind(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    who = other(broker, message, connection.who) if connection.who == names.OPERATOR else connection.who
    text = wire.get_text(message, "message", TEXT_MAX)

    def change() -> replies.Done[bool]:
        due = wire.stamp(due_time(message))  # in here, as at a repeat it may be over
        return {"reminder": ends.remind(broker.store, who, text, due), "due_at": due}, True

    armed, new = await replies.once(broker, connection, message, change)
    if new:
        await broker.went_out([])
    return armed


def due_time(message: wire.Message) -> float:
    if ("delay" in message) == ("at" in message):
        raise Problem("bad-request", "give either 'delay' or 'at'")
    if "delay" in message:
        return time.time() + wire.get_int(message, "delay", 1, YEAR)
    text = wire.get_text(message, "at", 40)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as e:
        hint = "write it as 2026-12-24T08:00:00Z"
        raise Problem("bad-request", f"'at' is not an ISO 8601 time: {text!r}", hint=hint) from e
    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if not 0 < seconds - time.time() < YEAR:
        raise Problem("bad-request", "'at' must be within the next year")
    return seconds


async def loose_ends(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    nobody_named = connection.who == names.OPERATOR and "agent" not in message
    everybody = wire.get(message, "all", bool, nobody_named)
    if everybody and connection.who not in (names.OPERATOR, names.MANAGER):
        raise Problem("forbidden", "only the manager and the operator see what others have")
    one = (
        other(broker, message, names.OPERATOR, "agent")
        if connection.who == names.OPERATOR
        else connection.who
    )
    listed = await broker.writer.do(lambda: ends.loose_ends(broker.store, None if everybody else one))
    there = {names.OPERATOR, *broker.agents}  # nothing waits for one who was destroyed
    found = [end for end in listed if end["agent"] in there]
    age = time.time()
    return {"loose_ends": [end | {"age": max(0, round(age - wire.seconds_of(end["at"])))} for end in found]}


async def cancel(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    kind = wire.get_text(message, "kind", 20)
    number = wire.get_int(message, "number", 1, wire.ID_MAX)
    if kind not in KINDS:
        raise Problem("bad-request", f"'kind' must be one of {', '.join(KINDS)}")

    def change() -> replies.Done[list[wire.Message]]:
        return {}, ends.cancel(broker.store, connection.who, kind, number)

    cancelled, mail = await replies.once(broker, connection, message, change)
    if mail is not None:
        await broker.went_out(mail)
    return cancelled


async def retry(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    ids = wire.get_ids(message, "ids")

    def change() -> replies.Done[list[wire.Message]]:
        rows = ends.revive(broker.store, ids)
        return {"requeued": len(rows)}, rows

    said, rows = await replies.once(broker, connection, message, change)
    for row in rows or ():
        broker.publish("requeued", id=row["id"], agent=row["recipient"], reason="the operator tries again")
        broker.wake_name(row["recipient"])
    return said


async def drop(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    ids = wire.get_ids(message, "ids")

    def change() -> replies.Done[bool]:
        return {"dropped": len(ends.drop(broker.store, ids))}, True

    said, _ = await replies.once(broker, connection, message, change)
    return said


async def prune(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    days = wire.get_int(message, "days", 1, 36_500)
    stats_days = wire.get_int(message, "stats_days", 1, 36_500) if "stats_days" in message else STATS_DAYS
    before = wire.stamp(time.time() - days * 86_400)
    total = 0
    while count := await broker.writer.do(lambda: ends.prune(broker.store, before, PRUNE_ROWS)):
        total += count
    while await broker.writer.do(lambda: replies.prune(broker.store, before, PRUNE_ROWS)):
        pass
    await broker.stats.prune(before)
    await broker.telemetry.prune(stats_days)
    return {"pruned": total}


BOTH = {"ask": ask, "answer": answer, "remind": remind, "loose_ends": loose_ends, "cancel_loose_end": cancel}
OPERATOR = BOTH | {"questions": questions, "retry": retry, "drop": drop}
SYSTEM = {"prune": prune}
