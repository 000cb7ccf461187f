"""The operations of hyperhive-wire(7) about commands that an agent's rules did not allow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hyperhive import facts, names, wire
from hyperhive.config import proposals
from hyperhive.gate import egress
from hyperhive.operations import change as operations_change
from hyperhive.operations import ends
from hyperhive.problem import Problem
from hyperhive.store import approvals, denials, replies
from hyperhive.store.approvals import Effect
from hyperhive.store.store import Row

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection

TEXT_MAX = 64 * 1024  # bytes; less is kept
PATTERNS_MAX = 20
PATTERN_MAX = 600  # bytes
HOST_MAX = 300


# of an agent


async def denied(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = broker.agents[connection.who]
    said = {key: wire.get_text(message, key, TEXT_MAX) for key in denials.SIZES}
    if not agent.denials.take(1):
        raise Problem("too-many", f"{agent.name} reports more denials than are written down")
    row = await broker.writer.do(lambda: denials.keep(broker.store, agent.name, said))
    about = {key: row[key] for key in ("id", "program", "kind", "count")}
    broker.publish("command_denied", agent=agent.name, **about)
    text = f"{agent.name} may not run {row['program'] or 'a command'}: {row['kind']}"
    fields = {"HIVE_TURN": agent.turn, "HIVE_DENIAL": row["id"]}
    fields |= {"HIVE_PROGRAM": row["program"], "HIVE_RULE": row["kind"]}
    facts.log("command_denied", text, agent=agent.name, notice=True, **fields)
    return {"denial": row["id"], "count": row["count"]}


# of the operator


async def list_denials(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = names.check(wire.get_text(message, "agent", 64)) if "agent" in message else None
    everything = wire.get(message, "all", bool, False)
    if name and name not in broker.agents:
        raise Problem("unknown-agent", f"no agent is called '{name}'", hint="hivectl list")
    rows = await broker.writer.do(lambda: denials.listed(broker.store, name, everything=everything))
    return {"denials": [row for row in rows if row["agent"] in broker.agents]}


async def allow(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    """Asks for what runs with more in [tools] allow or [egress] allow: a request like any other."""
    name = operations_change.agent_name(message)
    number = wire.get_int(message, "denial", 1, wire.ID_MAX) if message.get("denial") is not None else None
    patterns, hosts = patterns_of(message), hosts_of(message)
    if not patterns and not hosts and number is None:
        text = "'patterns' or 'hosts' must name one at least, where there is no 'denial'"
        raise Problem("bad-request", text)
    store, note = broker.store, operations_change.optional(message, "note", operations_change.NOTE_MAX)

    def look() -> tuple[Row, Row | None, proposals.Rules] | None:
        if replies.answered(store, connection.who, replies.key_of(message)) is not None:
            return None  # a repeat, of which nothing is looked at twice
        tools = patterns or (denials.patterns_for(store, number, name) if number else [])
        base, waiting = denials.ground(store, name)
        return base, waiting, {"tools": tools, "egress": hosts}

    found = await broker.writer.do(look)
    fields = await proposals.widened(broker, found, connection.who) if found else {}

    def change() -> replies.Done[Effect]:
        effect = Effect()
        if not found or ids(denials.ground(store, name)) != ids(found[:2]):
            raise Problem("busy", f"{name} was changed meanwhile: ask again")
        about = fields | {"note": f"{fields['note']}: {note}" if note else fields["note"]}
        row = approvals.add(store, about, connection.who, approvals.TTL, effect)
        answer = operations_change.waits(row, effect)
        denials.asked(store, row, answer["superseded"], number, found[2]["tools"])
        return answer, effect

    answer, effect = await replies.once(broker, connection, message, change)
    await operations_change.done(broker, effect)
    return answer


def ids(rows: tuple[Row | None, ...]) -> list[int]:
    return [row["id"] if row else 0 for row in rows]


def patterns_of(message: wire.Message) -> list[str]:
    given = ends.texts(message, "patterns", PATTERNS_MAX, PATTERN_MAX, [])
    for each in given:
        if not denials.is_pattern(each):
            text = f'\'patterns\': {each[:100]!r} is no tool such as "Read" or "Bash(git *)"'
            raise Problem("bad-request", text, hint="one pair of parentheses at most")
    return given


def hosts_of(message: wire.Message) -> list[str]:
    given = ends.texts(message, "hosts", PATTERNS_MAX, HOST_MAX, [])
    for each in given:
        if not re.fullmatch(egress.RULE, each, re.ASCII):
            text = f"'hosts': {each[:100]!r} is no HOST:PORT such as example.org:443"
            raise Problem("bad-request", text, hint="*.example.org:443 is all below it")
    return given


async def dismiss(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    ids = wire.get_ids(message, "ids")

    def change() -> replies.Done[list[Row]]:
        rows = denials.dismiss(broker.store, ids)
        return {"dismissed": len(rows)}, rows

    said, rows = await replies.once(broker, connection, message, change)
    for row in rows or ():
        broker.publish("denial_dismissed", id=row["id"], agent=row["agent"])
    return said


AGENT = {"denied": denied}
OPERATOR = {"denials": list_denials, "allow": allow, "dismiss": dismiss}
