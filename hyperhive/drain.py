"""Keep an agent's mail back while hive-apply changes the agent, which it is to do between two turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hyperhive import wire
from hyperhive.problem import Problem

if TYPE_CHECKING:
    from hyperhive.broker import Agent, Broker
    from hyperhive.connection import Connection


async def drain(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = wire.get_text(message, "agent", 64)
    wait = wire.get_int(message, "wait_seconds", 0, wire.RECV_WAIT_MAX, 0)
    agent = broker.agents.get(name)
    if not agent:
        raise Problem("unknown-agent", f"no agent is called '{name}'")
    if agent.drained not in (None, connection):
        raise Problem("busy", f"the mail of {name} is kept back for another connection")
    if agent.drained is None:
        agent.drained, agent.brief = connection, agent.run is None
    return {"idle": await idle(broker, agent, wait)}


async def idle(broker: Broker, agent: Agent, wait: int) -> bool:
    """No message is leased to its run: a turn begins with one, and ends when it is done or goes back."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait
    while True:
        settled: asyncio.Future[None] = loop.create_future()
        agent.settling.append(settled)  # before we look, or what happens meanwhile would be missed
        if not await broker.writer.do(lambda: broker.store.leased(agent.name)):
            return True
        if loop.time() >= end:
            return False
        timer = loop.call_at(end, settle, agent)
        await settled
        timer.cancel()


def settle(agent: Agent) -> None:
    """Less may be leased to it now."""
    waiting, agent.settling = agent.settling, []
    for each in waiting:
        each.set_result(None)


def over(broker: Broker, connection: Connection) -> None:
    """The connection that kept mail back has ended."""
    for agent in broker.agents.values():
        if agent.drained is connection:
            agent.drained = None
            broker.writer.look(agent.name)
            broker.wake(agent)
