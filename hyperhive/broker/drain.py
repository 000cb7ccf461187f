"""Keep an agent's mail back while a change of it is carried out, which begins between two turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hyperhive.store import approvals
from hyperhive.store.store import QUEUED, Store

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.live import Agent

BETWEEN_TURNS = ("change", "rollback")
# The run of a birth is a trial, too; whatever waits is given to the one that comes up.
TRIED = (*BETWEEN_TURNS, "spawn", "revive")


def resume(broker: Broker) -> None:
    """What the last broker kept back, before anybody can ask this one for it."""
    for row in approvals.to_carry_out(broker.store):
        if row["kind"] in TRIED:
            keep_back(broker, row["agent"])


def keep_back(broker: Broker, name: str) -> None:
    """From the approval to its outcome: no turn begins with what is to be replaced."""
    agent = broker.agents.get(name)
    if agent and not agent.kept_back:
        agent.kept_back, agent.brief = True, agent.run is None


def over(broker: Broker, name: str) -> None:
    agent = broker.agents.get(name)
    if agent and agent.kept_back:
        agent.kept_back = False
        broker.writer.look(name)
        broker.wake(agent)


def in_turn(store: Store, name: str) -> bool:
    """A turn begins with a leased message, and ends when it is done or goes back. What went back because the
    broker was restarted is still the turn's, as long as its run lasts."""
    open_runs = "select invocation from run where unit = ? and ended_at is null"
    query = f"select 1 from {QUEUED} and recipient = ? and invocation in ({open_runs}) limit 1"  # noqa: S608
    return bool(store.leased(name) or store.rows(query, name, f"hive-agent@{name}.service"))


async def turn_over(broker: Broker, agent: Agent, patience: int) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        settled: asyncio.Future[None] = loop.create_future()
        agent.settling.append(settled)  # before we look, or what happens meanwhile would be missed
        if not await broker.surely(lambda: in_turn(broker.store, agent.name)) or loop.time() >= end:
            return
        timer = loop.call_at(end, settle, agent)
        await settled
        timer.cancel()


def settle(agent: Agent) -> None:
    """Less may be leased to it now."""
    waiting, agent.settling = agent.settling, []
    for each in waiting:
        each.set_result(None)
