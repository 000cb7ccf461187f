"""An agent gone wild: the limits that it has run into, for the operator to see until that is over."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperhive import facts
from hyperhive.broker import room
from hyperhive.store.store import UNDELIVERED_MAX, Row, now

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.live import Agent

CALLS_MAX = 1000  # of tools in one turn, that are nothing to speak of
EASED = 0.9  # of what a sender may have undelivered: below it, its flood of mail is over
LOOK = 5.0  # seconds from one look at the disk to the next
CALM = 600.0  # seconds in which no line was dropped, after which a flood of the log is over
TEXTS = {
    "mail_flood": "{agent} has {count:,} undelivered messages out and is refused more",
    "log_flood": "{agent} floods the journal: {count:,} of its lines were dropped",
    "many_calls": "{agent} has called {count:,} tools in turn {turn}, which goes on",
}


@dataclass
class Flag:
    since: str
    count: int
    turn: int | None
    last: float  # by the monotonic clock

    def calm(self, at: float) -> bool:
        return at >= self.last + CALM


def flag(broker: Broker, agent: Agent, kind: str, count: int, turn: int | None = None) -> None:
    at = time.monotonic()
    if known := standing(broker, agent, kind):
        known.count, known.last = count, at
        broker.telemetry.wild(agent.name, kind, known.since, count, turn)
        return
    agent.wild[kind] = Flag(now(), count, turn, at)
    broker.telemetry.wild(agent.name, kind, agent.wild[kind].since, count, turn)
    text = text_of(agent, kind)
    broker.publish("wild", agent=agent.name, kind=kind, text=text, over=False)
    if agent.wild_facts.take(1):
        facts.log(kind, text, agent=agent.name, notice=True, HIVE_TURN=turn, HIVE_COUNT=count)
    if kind == "log_flood":
        asyncio.get_running_loop().call_later(CALM, ease, broker, agent, agent.wild[kind])


def standing(broker: Broker, agent: Agent, kind: str) -> Flag | None:
    """The flag, unless it is over."""
    if not (found := agent.wild.get(kind)):
        return None
    match kind:
        case "mail_flood":
            over = broker.store.undelivered[agent.name] < EASED * UNDELIVERED_MAX
        case "log_flood":
            over = found.calm(time.monotonic())
        case _:
            over = agent.turn != found.turn
    return None if over else found


def ease(broker: Broker, agent: Agent, last: Flag) -> None:
    """Nothing else happens when a log goes quiet, by which a page would look again."""
    if agent.wild.get("log_flood") is not last or broker.agents.get(agent.name) is not agent:
        return
    left = last.last + CALM - time.monotonic()
    if left > 0:
        asyncio.get_running_loop().call_later(left, ease, broker, agent, last)
    else:
        text = text_of(agent, "log_flood")
        broker.publish("wild", agent=agent.name, kind="log_flood", text=text, over=True)


def text_of(agent: Agent, kind: str) -> str:
    found = agent.wild[kind]
    return TEXTS[kind].format(agent=agent.name, count=found.count, turn=found.turn)


def of_agent(broker: Broker, agent: Agent) -> list[Row]:
    return [
        {"kind": kind, "since": found.since, "text": text_of(agent, kind), "do": stop(agent.name)}
        for kind in TEXTS
        if (found := standing(broker, agent, kind))
    ]


def stop(name: str) -> str:
    return f"systemctl stop hive-agent@{name}.socket hive-agent@{name}.service"


def watch_disk(broker: Broker) -> None:
    """A disk that fills gives no sign."""
    disk(broker)
    asyncio.get_running_loop().call_later(LOOK, watch_disk, broker)


def disk(broker: Broker) -> list[Row]:
    """As it is found now."""
    folder, low = broker.store.path.parent, broker.disk_low
    margin = 0.01 if low else 0.0  # so that it does not come and go
    text = room.scarce(folder, room.LEAST + margin)
    if low and not text:
        broker.disk_low = None
        say_of_disk(broker, low, over=True)
    if text and not low:
        do = f"du --one-file-system --human-readable --max-depth=2 {folder.parent}"
        broker.disk_low = {"kind": "disk_low", "since": now(), "text": text, "do": do}
        say_of_disk(broker, broker.disk_low, over=False)
        if broker.disk_facts.take(1):
            facts.log("disk_low", text, agent="", notice=True)
    return [broker.disk_low] if broker.disk_low else []


def say_of_disk(broker: Broker, low: Row, *, over: bool) -> None:
    broker.publish("wild", agent="", kind=low["kind"], text=low["text"], over=over)
    broker.telemetry.wild("", low["kind"], low["since"], None, None)
