"""The operations of hyperhive-wire(7) on turns: how they go, what stops them, which model they use."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from hyperhive import facts, names, wire
from hyperhive.broker import drain, wild
from hyperhive.problem import Problem
from hyperhive.settings import MODEL
from hyperhive.stats.stats import EVENTS_MAX
from hyperhive.store import ends, models, notes, orders, replies
from hyperhive.store.store import Row, now

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection
    from hyperhive.broker.live import Agent

# What the manager hears of, once until another turn ends otherwise.
TROUBLE = {"auth-failed": "needs_login", "rate-limited": "rate_limited"}
OUTCOMES = (
    "ok compacted cancelled prompt-too-long rate-limited auth-failed refused timed-out crashed".split()
)
EVENT_KINDS = ("text", "thinking", "tool", "result", "error", "status")
PATIENCE = 0.002  # seconds that the end of a turn waits to share the commit of mail, which else waits for it
EVENTS_BATCH = 64
EVENT_TEXT_MAX = 8 * 1024


def agent_named(broker: Broker, message: wire.Message) -> Agent:
    name = wire.get_text(message, "agent", 64)
    if name not in broker.agents:
        raise Problem("unknown-agent", f"no agent is called '{name}'", hint="hivectl list")
    return broker.agents[name]


# of an agent


async def turn(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = broker.agents[connection.who]
    record = turn_record(message) | {"agent": agent.name, "invocation": connection.invocation}
    asked = wire.get_text(message, "asked", 200) if message.get("asked") else None
    noted = wire.get_text(message, "notes", notes.TEXT_MAX) if message.get("notes") is not None else None
    number, outcome = record["number"], record["outcome"]
    agent.doing = None

    def change() -> tuple[list[Row], list[Row], list[Row], bool]:
        agent.turn = None
        if noted is not None:
            notes.keep(broker.store, agent.name, noted, record["notes_bytes"] or 0)
        before = broker.store.count_turn(agent.name, number, outcome)
        broker.store.report_turn(record)
        stopped = orders.turn_ended(
            broker.store, agent.name, connection.invocation, number, cancelled=outcome == "cancelled"
        )
        done, mail = give_up(broker, agent, connection, stopped) if outcome == "cancelled" else ([], [])
        if outcome in TROUBLE and outcome != before:
            event = {"event": TROUBLE[outcome], "agent": agent.name, "error": record["error"]}
            mail.append(broker.tell_manager(event))
        return mail, done, stopped, models.used(broker.store, agent.name, record["model"], asked, outcome)

    mail, done, stopped, switched = await broker.writer.do(change, patience=PATIENCE)
    drain.settle(agent)
    broker.publish("turn", **record)
    for row in done:
        broker.publish("done", id=row["id"], agent=agent.name)
    tell_orders(broker, stopped)
    broker.sent(mail)
    if switched:
        await tell_model(broker, agent)
    text = f"Turn {number} of {agent.name} ended: {outcome}, {record['duration_ms']} ms"
    fields = {"HIVE_TURN": number, "HIVE_OUTCOME": outcome, "HIVE_DURATION_MS": record["duration_ms"]}
    facts.log("turn", text, agent=agent.name, notice=outcome not in ("ok", "compacted"), **fields)
    return {}


def give_up(
    broker: Broker, agent: Agent, connection: Connection, stopped: list[Row]
) -> tuple[list[Row], list[Row]]:
    """The mail of a turn that was cancelled is done, and who sent it hears of that, in one change."""
    done = broker.store.ack(agent.name, connection.invocation, None)
    by = next((row["asked_by"] for row in stopped if row["state"] == "done"), agent.name)
    senders: defaultdict[str, list[int]] = defaultdict(list)
    for row in done:
        senders[row["sender"]].append(row["id"])
    event = {"event": "turn_cancelled", "agent": agent.name, "by": by}
    there = {names.OPERATOR, *broker.agents} - {agent.name}
    mail = [
        told
        for sender, ids in senders.items()
        if sender in there
        for told in ends.tell(broker.store, sender, event | {"ids": ids})
    ]
    return done, mail


def turn_record(message: wire.Message) -> dict[str, Any]:
    counts = (
        "tool_calls tokens_in tokens_out tokens_cache_read tokens_cache_write messages duration_ms".split()
    )
    record: dict[str, Any] = {key: wire.get_int(message, key, 0, 2**53) for key in counts}
    record |= {
        key: wire.get_text(message, key, 200) for key in ("started_at", "model", "woken_by", "session")
    }
    record["number"] = wire.get_int(message, "number", 1, 2**53)
    record["outcome"] = wire.get_text(message, "outcome", 50)
    if record["outcome"] not in OUTCOMES:
        raise Problem("bad-request", "'outcome' must be one of " + ", ".join(OUTCOMES))
    record["cost_usd"] = wire.get_number(message, "cost_usd")
    tools = wire.get(message, "tools", dict)
    if len(tools) > 200 or not all(len(k) <= 200 and type(v) is int for k, v in tools.items()):
        raise Problem("bad-request", "'tools' must map at most 200 names to counts")
    record["tools"] = tools
    record |= measured(message) | {"ended_at": now()}
    record["error"] = wire.get_text(message, "error", 2000) if message.get("error") else None
    return record


def measured(message: wire.Message) -> dict[str, Any]:
    """What is not known of every turn."""
    counts = (
        "last_tokens_in last_tokens_out last_tokens_cache_read last_tokens_cache_write notes_bytes exit_code"
        " claude_ms answer_ms"
    ).split()
    return {
        key: wire.get_int(message, key, 0, 2**53) if message.get(key) is not None else None for key in counts
    }


async def progress(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = broker.agents[connection.who]
    number = wire.get_int(message, "number", 1, 2**53)
    agent.doing = wire.get_text(message, "text", 800)[:200]
    model = wire.get_text(message, "model", 200) if message.get("model") else None
    calls = wire.get_int(message, "tool_calls", 0, 2**53, 0)
    if agent.run:
        agent.turn = number
        if calls > wild.CALLS_MAX:
            wild.flag(broker, agent, "many_calls", calls, number)
    broker.publish("progress", agent=agent.name, number=number, text=agent.doing)
    if model and model != agent.using:
        agent.using = model
        await tell_model(broker, agent)
    return {}


async def listen(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = broker.agents[connection.who]
    number = wire.get_int(message, "number", 1, 2**53)

    def look() -> list[Row]:
        # Said late, it may be about a turn that has ended.
        if agent.run and number > broker.store.agent(agent.name)["turns"]:
            agent.turn = number
        return orders.cancels(broker.store, agent.name, connection.invocation, number)

    agent.ears.add(connection)
    found = await broker.writer.do(look)
    return {"cancel": any(row["turn"] == number for row in found)}


def whisper(agent: Agent, event: str, **fields: object) -> None:
    """To its harness, in mid-turn."""
    for connection in tuple(agent.ears):
        connection.event(wire.encode({"event": event} | fields))


async def turn_events(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = broker.agents[connection.who]
    number = wire.get_int(message, "number", 1, 2**53)
    events = [turn_event(each) for each in wire.get(message, "events", list)]
    if len(events) > EVENTS_BATCH:
        raise Problem("bad-request", f"'events' has more than {EVENTS_BATCH} entries")
    if not agent.budget.take(sum(200 + len(each["text"]) for each in events)):
        raise Problem("too-many", f"{agent.name} reports more than is kept")
    about = {"agent": agent.name, "number": number, "invocation": connection.invocation, "at": now()}
    rows = [about | each for each in events]
    for row in rows:
        broker.publish("turn_event", **row)
    # The answer paces who reports: it waits for the disk, the mail does not.
    await broker.stats.add_events(agent.name, rows)
    return {}


def turn_event(event: wire.Message) -> dict[str, Any]:
    if not isinstance(event, dict):
        raise Problem("bad-request", "'events' must be objects")
    found = {
        "n": wire.get_int(event, "n", 1, EVENTS_MAX),
        "kind": wire.get_text(event, "kind", 20),
        "tool": wire.get_text(event, "tool", 200) if event.get("tool") is not None else None,
        "id": wire.get_text(event, "id", 200) if event.get("id") is not None else None,
        "text": wire.get_text(event, "text", EVENT_TEXT_MAX),
        "bytes": wire.get_int(event, "bytes", 0, 2**53),
    }
    if found["kind"] not in EVENT_KINDS:
        raise Problem("bad-request", "'kind' must be one of " + ", ".join(EVENT_KINDS))
    return found


async def model_refused(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = broker.agents[connection.who]
    model = wire.get_text(message, "model", 200)
    error = wire.get_text(message, "error", 2000)

    def change() -> tuple[list[Row], Row]:
        mail = models.refused(broker.store, agent.name, model, error, broker.default_model)
        return mail, models.for_harness(broker.store, agent.name)

    mail, choice = await broker.writer.do(change)
    agent.using = None
    await tell_model(broker, agent)
    await broker.went_out(mail)
    return {"models": choice}


async def command_done(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name, invocation = connection.who, connection.invocation
    number = wire.get_int(message, "command", 1, wire.ID_MAX)
    error = wire.get_text(message, "error", 2000) if message.get("error") else None
    rows = await broker.writer.do(lambda: orders.done(broker.store, name, invocation, number, error))
    tell_orders(broker, rows)
    return {}


def ordered(broker: Broker, agent: Agent, connection: Connection) -> bool:
    """It is a harness that has something to do before it takes mail."""
    if connection is not agent.run or agent.kept_back:
        return False
    return bool(orders.undone(broker.store, agent.name, connection.invocation))


def hurry(broker: Broker, agent: Agent) -> None:
    """There is something to do that is no mail."""
    for waiter in [each for each in agent.waiters if each.connection is agent.run]:
        broker.time_over(agent, waiter)
    broker.wake(agent)


async def for_harness(broker: Broker, agent: Agent, connection: Connection) -> wire.Message:
    """What a harness has to know before its next turn, and to do."""
    given: list[Row] = []
    if ordered(broker, agent, connection):
        given = await broker.writer.do(lambda: orders.give(broker.store, agent.name, connection.invocation))
        tell_orders(broker, given)
    about = [{"id": row["id"], "command": row["command"]} for row in given]
    return {"models": models.for_harness(broker.store, agent.name), "commands": about}


async def run_over(broker: Broker, agent: str, current: str | None) -> None:
    """No other run is to do what was meant for this one."""
    if orders.others(broker.store, agent, current):
        ended = await broker.surely(lambda: orders.over(broker.store, agent, current))
        tell_orders(broker, ended)


# of the operator


async def model(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = agent_named(broker, message)
    name = wire.get_text(message, "model", 100) if message.get("model") is not None else None
    until = time_in(message)
    if name is not None and not re.fullmatch(MODEL, name):
        raise Problem("bad-request", f"{name!r} cannot be a model's name")
    if until and not name:
        raise Problem("bad-request", "'until' goes with a 'model'")
    if "model" not in message:
        return await broker.writer.do(lambda: status(broker, agent))

    def change() -> replies.Done[bool]:
        if until and until <= now():
            raise Problem("bad-request", f"'until' is over: {until}")
        models.put(broker.store, agent.name, name, connection.who, until)
        return status(broker, agent), True

    said, new = await replies.once(broker, connection, message, change)
    if new:
        await switched(broker, agent.name)
        await broker.went_out([])  # it may be what ends next
    return said


def time_in(message: wire.Message) -> str | None:
    if message.get("until") is None:
        return None
    try:
        return wire.stamp(wire.seconds_of(wire.get_text(message, "until", 40)))
    except (ValueError, OverflowError) as e:
        raise Problem("bad-request", "'until' is not an ISO 8601 time") from e


def status(broker: Broker, agent: Agent) -> Row:
    return models.status(broker.store, agent.name, broker.default_model, agent.using)


async def switched(broker: Broker, name: str) -> None:
    if agent := broker.agents.get(name):
        whisper(agent, "model")  # it may be waiting for the endpoint of the other one
        await tell_model(broker, agent)


async def tell_model(broker: Broker, agent: Agent) -> None:
    about = await broker.writer.do(lambda: status(broker, agent))
    broker.publish("model", **about)
    text = f"{agent.name} is to use {about['next']} ({about['from']}): {about['state']}"
    fields = {"HIVE_MODEL": about["next"], "HIVE_FROM": about["from"], "HIVE_STATE": about["state"]}
    facts.log("model", text, agent=agent.name, HIVE_BY=about["set_by"], **fields)


async def command(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = agent_named(broker, message)
    what = wire.get_text(message, "command", 20)
    if what not in orders.KINDS:
        raise Problem("bad-request", f"'command' must be one of {', '.join(orders.KINDS)}")

    def change() -> replies.Done[Row]:
        running = what == "cancel"
        if running and not (agent.run and agent.turn):
            raise Problem("not-running", f"{agent.name} runs no turn")
        turn = agent.turn if running else None
        invocation = agent.run.invocation if running and agent.run else None
        row, _new = orders.ask(broker.store, agent.name, what, connection.who, turn, invocation)
        return {"command": row["id"], "state": row["state"], "turn": row["turn"]}, row

    said, row = await replies.once(broker, connection, message, change)
    if row:
        tell_orders(broker, [row])
        if row["turn"]:
            whisper(agent, "cancel", number=row["turn"])
        else:
            hurry(broker, agent)
    return said


def tell_orders(broker: Broker, rows: list[Row]) -> None:
    for row in rows:
        broker.publish("command", **orders.public(row))
        text = f"{row['command']} of {row['agent']}: {row['state']}"
        text += f": {row['error']}" if row["error"] else ""
        fields = {"HIVE_COMMAND": row["command"], "HIVE_STATE": row["state"], "HIVE_BY": row["asked_by"]}
        facts.log("command", text, agent=row["agent"], HIVE_TURN=row["turn"], **fields)


async def turns(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = agent_named(broker, message)
    before = wire.get_int(message, "before", 1, 2**53, 2**53)
    limit = wire.get_int(message, "limit", 1, 50, 20)
    events_before = wire.get_int(message, "events_before", 1, EVENTS_MAX + 1, EVENTS_MAX + 1)
    await broker.telemetry.records()
    return {"turns": await broker.stats.history(agent.name, before, limit, events_before)}


AGENT = {"progress": progress, "listen": listen, "turn_events": turn_events}
HARNESS = {"turn": turn, "model_refused": model_refused, "command_done": command_done}
OPERATOR = {"model": model, "command": command, "turns": turns}
