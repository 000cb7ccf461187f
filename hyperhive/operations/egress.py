"""The operations of hyperhive-wire(7) about connections to the outside."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from hyperhive import names, wire
from hyperhive.operations import watch
from hyperhive.problem import Problem
from hyperhive.stats import ways

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection

FACTS_MAX = 256
CURSOR_MAX = 300  # bytes
COUNT_MAX = 2**53
ENDS = "closed unresolved unreachable failed idle time bytes revoked denied".split()


# of the system


async def gate_facts(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    after = wire.get_text(message, "after", CURSOR_MAX) if message.get("after") is not None else None
    cursor = wire.get_text(message, "cursor", CURSOR_MAX)
    told = [fact(each) for each in wire.get(message, "facts", list)]
    if len(told) > FACTS_MAX:
        raise Problem("bad-request", f"'facts' has more than {FACTS_MAX} entries")
    taken = await broker.telemetry.egress(after, cursor, [list(each.values()) for each in told])
    if taken:
        publish(broker, told)
    return {"taken": taken, "read_to": broker.telemetry.read_to}


def fact(said: wire.Message) -> dict[str, str | int]:
    """In the order of ways_sql.FIELDS."""
    if not isinstance(said, dict):
        raise Problem("bad-request", "'facts' must be objects")
    found: dict[str, str | int] = {
        "agent": names.check(wire.get_text(said, "agent", 64)),
        "at": watch.time_in(said, "at"),
        "host": wire.get_text(said, "host", 253),
        "port": wire.get_int(said, "port", 0, 65535),
        "address": wire.get_text(said, "address", 60),
        "rule": wire.get_text(said, "rule", 300),
        "end": wire.get_text(said, "end", 20),
        "count": wire.get_int(said, "count", 1, COUNT_MAX),
        "sent": wire.get_int(said, "sent", 0, COUNT_MAX),
        "received": wire.get_int(said, "received", 0, COUNT_MAX),
        "ms": wire.get_int(said, "ms", 0, COUNT_MAX),
    }
    if found["end"] not in ENDS:
        raise Problem("bad-request", "'end' must be one of " + ", ".join(ENDS))
    return found


def publish(broker: Broker, told: list[dict[str, str | int]]) -> None:
    """One event for an agent, however many connections it is about."""
    counts: Counter[tuple[str, bool]] = Counter()
    for each in told:
        counts[str(each["agent"]), each["end"] == ways.DENIED] += int(each["count"])
    for name in {agent for agent, _ in counts} & broker.agents.keys():
        broker.publish("egress", agent=name, reached=counts[name, False], refused=counts[name, True])


# of the operator


async def egress(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = names.check(wire.get_text(message, "agent", 64)) if "agent" in message else None
    if name and name not in broker.agents:
        raise Problem("unknown-agent", f"no agent is called '{name}'", hint="hivectl list")
    await broker.telemetry.flush()
    loop, reader = asyncio.get_running_loop(), broker.telemetry.reader
    reached, refused = await loop.run_in_executor(reader, ways.read, broker.stats.path, name)
    known = await broker.writer.do(lambda: ways.configs(broker.store, refused))
    left = await loop.run_in_executor(reader, ways.to_decide, refused, known)
    return {"reached": reached, "refused": left}


SYSTEM = {"gate_facts": gate_facts}
OPERATOR = {"egress": egress}
