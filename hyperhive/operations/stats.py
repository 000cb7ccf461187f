"""The operation of hyperhive-wire(7) that reads telemetry."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING

from hyperhive import wire
from hyperhive.problem import Problem
from hyperhive.stats import read

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection

KEY_MAX = 200
TIME_MAX = 40
STEP_MAX = 366 * 86_400  # seconds


async def stats(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    since = moment(wire.get_text(message, "since", TIME_MAX))
    end = wire.get_text(message, "until", TIME_MAX) if "until" in message else ""
    await broker.telemetry.flush()
    until = moment(end) if end else time.time_ns() // 1_000_000 + 1
    step = wire.get_int(message, "step", 1, STEP_MAX) * 1000 if "step" in message else None
    key = wire.get_text(message, "key", KEY_MAX) if "key" in message else None
    agent = wire.get_text(message, "agent", 64) if "agent" in message else None
    if key is None and agent is None:
        agent = ""  # the hive as a whole
    window = read.window(since, until, step)
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        broker.telemetry.reader, read.read, broker.stats.path, window, key, agent
    )
    about = {"since": wire.stamp(window.since / 1000), "until": wire.stamp(until / 1000)}
    return about | {"step": window.step // 1000, "series": found}


async def metrics(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    await broker.telemetry.flush()
    agents, now = frozenset(["", *broker.agents]), time.time_ns() // 1_000_000
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(broker.telemetry.reader, read.totals, broker.stats.path, agents, now)
    return {"series": await work}


def moment(text: str) -> int:
    """Unix time in milliseconds."""
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError) as e:
        raise Problem("bad-request", f"not an ISO 8601 time: '{text}'") from e


OPERATOR = {"stats": stats, "metrics": metrics}
