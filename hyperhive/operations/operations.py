"""The operations of hyperhive-wire(7): check what came in, call the broker, shape the answer."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from hyperhive import names, peers, wire
from hyperhive.broker import drain, snapshot, wild
from hyperhive.operations import change as operations_change
from hyperhive.operations import denials, egress, ends, stats, turns, watch, web
from hyperhive.problem import Problem
from hyperhive.store import approvals, models, notes, orders, overview, replies, runs, search
from hyperhive.store.search import Wanted
from hyperhive.store.store import TOOL, Row, as_mail

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection
    from hyperhive.broker.live import Agent

Operation = Callable[["Broker", "Connection", wire.Message], Awaitable[wire.Message]]

STATUS_MAX = 200
TEXT_MAX, WORDS_MAX = 200, 10  # bytes and words that mail is searched for
STATES = ("queued", "leased", "done", "dead", "dropped")


def answer(broker: Broker, connection: Connection, message: wire.Message) -> Awaitable[wire.Message]:
    op = wire.get(message, "op", str)
    operation = operation_of(broker, connection, op)
    if not operation:
        raise Problem("unknown-op", f"there is no operation '{op[:40]}' on this socket")
    if connection.who in broker.agents:
        if not connection.role and op != "hello":
            raise Problem("forbidden", "say hello first")
        if op in HARNESS and connection.role != "harness":
            raise Problem("forbidden", f"'{op}' is the harness's")
    if connection.who == names.SYSTEM and op in ROOTS and not is_root(connection):
        raise Problem("forbidden", f"'{op}' is for root")
    return operation(broker, connection, message)


def is_root(connection: Connection) -> bool:
    """Or the broker's own user, who can write the databases without asking."""
    assert connection.transport
    return peers.uid_of(connection.transport.get_extra_info("socket")) in (0, os.getuid())


def operation_of(broker: Broker, connection: Connection, op: str) -> Operation | None:
    if connection.who in broker.agents:
        manager = MANAGER if broker.agents[connection.who].role == names.MANAGER else {}
        return AGENT.get(op) or HARNESS.get(op) or manager.get(op)
    return {names.SYSTEM: SYSTEM, names.EXPLORE: EXPLORE}.get(connection.who, OPERATOR).get(op)


def agent_of(broker: Broker, connection: Connection) -> Agent:
    return broker.agents[connection.who]


# of an agent


async def hello(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = agent_of(broker, connection)
    role = wire.get(message, "role", str)
    invocation = wire.get_text(message, "invocation", 32)
    if role not in ("harness", "tool") or connection.role:
        raise Problem("bad-request", "'role' must be 'harness' or 'tool', once")
    if not re.fullmatch("[0-9a-f]{32}", invocation):
        raise Problem("bad-request", "'invocation' must be 32 hex digits")
    if role == "harness":
        await broker.begin_run(agent, connection, invocation)
    connection.role, connection.invocation = role, invocation
    connection.holder = invocation if role == "harness" else f"{TOOL}{next(broker.tools)}"
    if role == "harness":
        await turns.run_over(broker, agent.name, invocation)
    row, choice = await broker.writer.do(
        lambda: (broker.store.agent(agent.name), models.for_harness(broker.store, agent.name))
    )
    waiting = broker.store.queued[agent.name]
    return {
        "agent": agent.name,
        "role": agent.role,
        "waiting": waiting,
        "turns": row["turns"],
        "model": broker.default_model,
        "models": choice,
        "trial": agent.kept_back,
        "brief": agent.kept_back and agent.brief,
    }


async def send(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    to = wire.get_text(message, "to", 64)
    body = wire.get_text(message, "body", wire.BODY_MAX)
    in_reply_to = (
        wire.get_int(message, "in_reply_to", 1, wire.ID_MAX) if message.get("in_reply_to") else None
    )
    key = wire.get_text(message, "key", replies.KEY_MAX) if "key" in message else None
    recipients = addressees(broker, connection.who, to)
    try:
        ids, ahead = await broker.send(connection.who, recipients, body, in_reply_to, key)
    except Problem as e:
        if e.code == "queue-full" and (agent := broker.agents.get(connection.who)):
            wild.flag(broker, agent, "mail_flood", broker.store.undelivered[agent.name])
        raise
    return {"ids": ids, "ahead": ahead}


def addressees(broker: Broker, sender: str, to: str) -> list[str]:
    broker.check_may_write(sender, to)
    if to == names.ALL:
        return sorted(name for name in broker.agents if name != sender)
    if to != names.OPERATOR and to not in broker.agents:
        hint = "known: " + ", ".join(sorted([*broker.agents, names.OPERATOR])[:50])
        raise Problem("unknown-agent", f"no agent is called '{to}'", hint=hint)
    return [to]


async def recv(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = agent_of(broker, connection)
    wait = wire.get_int(message, "wait_seconds", 0, wire.RECV_WAIT_MAX, 0)
    limit = wire.get_int(message, "max", 1, wire.RECV_COUNT_MAX, 20)
    rows = await broker.receive(agent, connection, wait, limit)
    mail = {"messages": [as_mail(row) for row in rows], "waiting": broker.store.queued[agent.name]}
    return mail | (await turns.for_harness(broker, agent, connection) if agent.run is connection else {})


async def shown(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    ids = wire.get_ids(message, "ids")
    who, holder, invocation = connection.who, connection.holder, connection.invocation
    return {"shown": await broker.writer.do(lambda: broker.store.shown(who, holder, invocation, ids))}


async def ack(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    ids = wire.get_ids(message, "ids") if "ids" in message else None
    who, invocation = connection.who, connection.invocation
    rows = await broker.writer.do(lambda: broker.store.ack(who, invocation, ids))
    drain.settle(agent_of(broker, connection))
    for row in rows:
        broker.publish("done", id=row["id"], agent=who)
    return {"acked": len(rows)}


async def fail(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = agent_of(broker, connection)
    reason = wire.get_text(message, "reason", 500)
    ids = wire.get_ids(message, "ids") if "ids" in message else None
    count = wire.get(message, "count", bool, True)
    invocation = connection.invocation
    kept, dead, mail = await broker.writer.do(
        lambda: broker.fail(agent, invocation, reason, ids, count=count)
    )
    drain.settle(agent)
    broker.returned(agent, kept, dead, mail, reason)
    return {"requeued": len(kept), "dead": len(dead)}


async def asleep(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = agent_of(broker, connection)
    queued = await broker.writer.do(lambda: broker.store.queued[agent.name])
    undone = orders.undone(broker.store, agent.name, connection.invocation)
    agent.leaving = not (queued or undone) or agent.kept_back
    return {"sleep": agent.leaving}


async def whoami(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = agent_of(broker, connection)
    row, leased = await broker.writer.do(
        lambda: (broker.store.agent(agent.name), broker.store.leased(agent.name))
    )
    others = {names.OPERATOR, *broker.agents} - {agent.name}
    peers = sorted(name for name in others if broker.may_write(agent.name, name))
    about = {"agent": agent.name, "role": agent.role, "status": row["status"]}
    return about | {"waiting": broker.store.queued[agent.name], "leased": leased, "peers": peers}


async def set_status(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    status = wire.get_text(message, "status", STATUS_MAX)
    if not status.isprintable():
        raise Problem("bad-request", "'status' must be one line of text")
    await broker.writer.do(lambda: broker.store.set_status(connection.who, status))
    broker.publish("status", agent=connection.who, status=status)
    return {}


# of the operator


async def status(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    counts, pending = await broker.writer.do(
        lambda: (broker.store.states(), approvals.count(broker.store, "pending"))
    )
    about = {"version": wire.RELEASE, "pid": os.getpid(), "started_at": broker.started_at}
    awake = sum(agent.run is not None for agent in broker.agents.values())
    inbox = broker.store.queued[names.OPERATOR]
    seen = [each for agent in broker.agents.values() for each in wild.of_agent(broker, agent)]
    about |= {"agents": len(broker.agents), "awake": awake, "inbox": inbox, "pending": pending}
    return about | counts | {"wild": wild.disk(broker) + seen}


async def agents(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    rows = await broker.writer.do(broker.store.agents_with_mail)
    return {"agents": [overview.agent(broker, row) for row in rows if row["name"] in broker.agents]}


async def show(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = wire.get_text(message, "agent", 64)
    if name not in broker.agents:
        raise Problem("unknown-agent", f"no agent is called '{name}'", hint="hivectl list")
    rows = await broker.writer.do(broker.store.agents_with_mail)
    mail_rows = await broker.writer.do(lambda: search.newest(broker.store, Wanted(agent=name), 10))
    run_rows = await broker.writer.do(lambda: runs.recent(broker.store, name, 10))
    noted = await broker.writer.do(lambda: notes.look(broker.store, name))
    await broker.telemetry.records()
    return {
        "agent": next(overview.agent(broker, row) for row in rows if row["name"] == name),
        "recent_runs": run_rows,
        "recent_turns": await broker.stats.recent_turns(name, 10),
        "messages": mail_rows,
        "notes": noted,
    }


async def mail(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    wanted = wanted_of(message)
    before = wire.get_int(message, "before", 1, wire.ID_MAX, wire.ID_MAX)
    limit = wire.get_int(message, "limit", 1, 1000, 50)
    found: list[Row] = []
    for _ in range(search.STEPS_MAX):
        # one more: is there anything older?
        step = functools.partial(search.step, broker.store, wanted, before, limit + 1 - len(found))
        rows, before = await broker.writer.do(step)  # between two steps, mail has its turn
        found += rows
        if not before or len(found) > limit:
            break
    following = found[limit - 1]["id"] if len(found) > limit else before
    return {"messages": found[:limit], "next": following or None}


def wanted_of(message: wire.Message) -> Wanted:
    agent = names.check_who(wire.get_text(message, "agent", 64)) if "agent" in message else None
    sender = names.check_who(wire.get_text(message, "from", 64)) if "from" in message else None
    recipient = names.check_who(wire.get_text(message, "to", 64)) if "to" in message else None
    state = wire.get_text(message, "state", 10) if "state" in message else None
    if state not in (None, *STATES):
        raise Problem("bad-request", f"'state' must be one of {', '.join(STATES)}")
    words = wire.get_text(message, "text", TEXT_MAX).split() if "text" in message else []
    if len(words) > WORDS_MAX:
        raise Problem("too-large", f"'text' has {len(words)} words", hint=f"send at most {WORDS_MAX}")
    return Wanted(agent, sender, recipient, state, tuple(words))


async def inbox(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    limit = wire.get_int(message, "limit", 1, 1000, 50)
    unread = wire.get(message, "unread", bool, False)
    rows = await broker.writer.do(lambda: broker.store.inbox(limit, unread_only=unread))
    return {"messages": rows, "unread": broker.store.queued[names.OPERATOR]}


async def read(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    ids = wire.get_ids(message, "ids")

    def change() -> replies.Done[list[int]]:
        done = broker.store.read(ids)
        return {"read": len(done)}, done

    said, done = await replies.once(broker, connection, message, change)
    for number in done or ():
        broker.publish("done", id=number, agent=names.OPERATOR)
    return said


async def subscribe(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    broker.subscribers.add(connection)
    return {"seq": next(broker.sequence), "epoch": broker.epoch}


AGENT: dict[str, Operation] = {
    "hello": hello,
    "send": send,
    "recv": recv,
    "shown": shown,
    "whoami": whoami,
    "set_status": set_status,
    **ends.BOTH,
    **turns.AGENT,
    **denials.AGENT,
}
HARNESS: dict[str, Operation] = {
    "ack": ack,
    "fail": fail,
    "asleep": asleep,
    **turns.HARNESS,
}
MANAGER: dict[str, Operation] = {"agents": agents, **operations_change.MANAGER}
OPERATOR: dict[str, Operation] = {
    "send": send,
    "status": status,
    "agents": agents,
    "show": show,
    "mail": mail,
    "inbox": inbox,
    "read": read,
    "subscribe": subscribe,
    **operations_change.OPERATOR,
    **ends.OPERATOR,
    **web.OPERATOR,
    **turns.OPERATOR,
    **stats.OPERATOR,
    **denials.OPERATOR,
    **egress.OPERATOR,
    **snapshot.OPERATOR,
}
ROOTS: dict[str, Operation] = {
    **operations_change.SYSTEM,
    **ends.SYSTEM,
}
SYSTEM: dict[str, Operation] = ROOTS | watch.SYSTEM | egress.SYSTEM
EXPLORE: dict[str, Operation] = {"session": web.session}  # hive-explore asks who is signed in
