"""The operations of hyperhive-wire(7) by which agents come, change and go."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from hyperhive import names, settings, wire
from hyperhive.broker import drain, room
from hyperhive.config import proposals, starter
from hyperhive.operations import ends
from hyperhive.problem import Problem
from hyperhive.store import approvals, audit, outcomes, replies
from hyperhive.store.approvals import Effect
from hyperhive.store.store import Row, now

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection

NOTE_MAX = 2000  # bytes
MESSAGE_MAX = 4000
DESCRIPTION_MAX = 2000
YEAR = 366 * 24 * 3600
PAGE = 1000  # rows in one answer


def agent_name(message: wire.Message) -> str:
    return names.check(wire.get_text(message, "agent", 64))


def request_id(message: wire.Message) -> int:
    return wire.get_int(message, "request", 1, wire.ID_MAX)


def optional(message: wire.Message, key: str, limit: int) -> str | None:
    return (wire.get_text(message, key, limit) or None) if message.get(key) is not None else None


async def done(broker: Broker, effect: Effect | None) -> None:
    if effect:  # else it is a repeat
        await broker.changes.happened(effect)


# asked for


async def ask(
    broker: Broker, connection: Connection, message: wire.Message, fields: Row, ttl: int | None
) -> wire.Message:
    """Store a request; with a time to live it waits for the operator."""

    def change() -> replies.Done[Effect]:
        effect = Effect()
        row = approvals.add(broker.store, fields, connection.who, ttl, effect)
        if ttl is not None:
            return waits(row, effect), effect
        return {"request": row["id"]} | {
            key: row[key] for key in ("state", "commit", "risk", "deploy")
        }, effect

    answer, effect = await replies.once(broker, connection, message, change)
    await done(broker, effect)
    return answer


def waits(row: Row, effect: Effect) -> wire.Message:
    """The answer where it is for the operator to decide."""
    older = [each["id"] for each in effect.requests if each["state"] == "superseded"]
    about = {key: row[key] for key in ("state", "commit", "risk", "expires_at")}
    return {"request": row["id"]} | about | {"superseded": older}


async def request_spawn(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name, description = agent_name(message), optional(message, "description", DESCRIPTION_MAX)
    files = {"agent.toml": starter.agent_toml(description)}
    fields = await proposals.recorded(broker, "spawn", name, files, connection.who)
    return await ask(broker, connection, message, fields | noted(message), ttl(message))


async def request_spawn_draft(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    """It grants nothing, so nobody need approve it. The operator's 'draft', too."""
    fields: Row = {"kind": "draft", "agent": agent_name(message)}
    fields |= {"description": optional(message, "description", DESCRIPTION_MAX)}
    return await ask(broker, connection, message, fields, None)


async def request_spawn_commit(
    broker: Broker, connection: Connection, message: wire.Message
) -> wire.Message:
    return await request_commit(broker, connection, message, "spawn")


async def request_apply_commit(
    broker: Broker, connection: Connection, message: wire.Message
) -> wire.Message:
    return await request_commit(broker, connection, message, "change")


async def request_commit(
    broker: Broker, connection: Connection, message: wire.Message, kind: str
) -> wire.Message:
    name, ref = agent_name(message), wire.get_text(message, "commit_ref", 200)
    fields = await proposals.proposed(broker, kind, name, ref)
    return await ask(broker, connection, message, fields | noted(message), ttl(message))


def noted(message: wire.Message) -> Row:
    return {"note": optional(message, "note", NOTE_MAX)}


def ttl(message: wire.Message) -> int:
    return wire.get_int(message, "ttl", 1, YEAR, approvals.TTL)


async def withdraw(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    number = request_id(message)

    def change() -> replies.Done[Effect]:
        effect = Effect()
        row = approvals.withdraw(broker.store, number, connection.who, effect)
        return {"state": row["state"]}, effect

    answer, effect = await replies.once(broker, connection, message, change)
    await done(broker, effect)
    return answer


# decided


async def approve(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    number, note = request_id(message), optional(message, "note", NOTE_MAX)

    def change() -> replies.Done[Effect]:
        effect = Effect()
        row = approvals.approve(broker.store, number, connection.who, note, effect)
        return {"state": row["state"], "deploy": row["deploy"]}, effect

    answer, effect = await replies.once(broker, connection, message, change)
    await done(broker, effect)
    return answer


async def deny(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    number, reason = request_id(message), wire.get_text(message, "reason", NOTE_MAX)
    if not reason.strip():
        raise Problem("bad-request", "'reason' must say something")

    def change() -> replies.Done[Effect]:
        effect = Effect()
        row = approvals.end(broker.store, number, "denied", connection.who, reason, effect)
        return {"state": row["state"]}, effect

    answer, effect = await replies.once(broker, connection, message, change)
    await done(broker, effect)
    return answer


# by the operator, without asking


async def spawn(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    """Answers when the agent is there."""
    name = agent_name(message)
    files = {"agent.toml": wire.get_text(message, "toml", settings.SIZE_MAX)}
    if prompt := optional(message, "prompt", settings.SIZE_MAX):
        files["prompt.md"] = prompt
    fields = await proposals.recorded(broker, "spawn", name, files, connection.who)
    asked = await ask(broker, connection, message, fields, None)
    row = await broker.changes.outcome(asked["request"], None)
    if row["state"] == "failed":
        raise Problem("apply-failed", row["message"])
    base = broker.agents[name].uid_base if name in broker.agents else None
    return {"request": row["id"], "agent": name, "uid_base": base}


async def rollback(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = agent_name(message)
    deploy = wire.get_int(message, "deploy", 1, wire.ID_MAX) if message.get("deploy") is not None else None
    store = broker.store
    target = await broker.writer.do(lambda: approvals.to_go_back_to(store, name, deploy))
    fields = await proposals.again(broker, "rollback", target, connection.who)
    fields["note"] = f"back to deploy {fields['back_to']}"
    return await ask(broker, connection, message, fields, None)


async def destroy(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    fields = {"kind": "destroy", "agent": agent_name(message)}
    return await ask(broker, connection, message, fields, None)


async def revive(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = agent_name(message)

    def look() -> Row | None:
        approvals.check(broker.store, "revive", name)
        return approvals.running(broker.store, name)

    target = await broker.writer.do(look)
    if not target:
        raise Problem("unknown-deploy", f"{name} has no deploy to come back with")
    fields = await proposals.again(broker, "revive", target, connection.who)
    return await ask(broker, connection, message, fields, None)


async def purge(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = agent_name(message)
    if wire.get_text(message, "confirm", 64) != name:
        raise Problem("bad-request", f"'confirm' must be '{name}' again: nothing brings it back")
    return await ask(broker, connection, message, {"kind": "purge", "agent": name}, None)


# lists


async def approval(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    wait = wire.get_int(message, "wait_seconds", 0, wire.RECV_WAIT_MAX, 0)
    row = await broker.changes.outcome(request_id(message), wait)
    return {"approval": approvals.brief(row), "summary": json.loads(row["summary"])}


async def list_approvals(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    state = wire.get_text(message, "state", 12) if "state" in message else None
    if state not in (None, *approvals.STATES):
        raise Problem("bad-request", f"'state' must be one of {', '.join(approvals.STATES)}")
    name = names.check(wire.get_text(message, "agent", 64)) if "agent" in message else None
    before, limit = page(message)
    rows = await broker.writer.do(lambda: approvals.listed(broker.store, state, name, before, limit))
    return {"approvals": rows}


def page(message: wire.Message) -> tuple[int, int]:
    before = wire.get_int(message, "before", 1, wire.ID_MAX, wire.ID_MAX)
    return before, wire.get_int(message, "limit", 1, PAGE, 50)


async def history(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = agent_name(message)
    before, limit = page(message)
    rows = await broker.writer.do(lambda: approvals.history(broker.store, name, before, limit))
    if not rows and before == wire.ID_MAX and name not in broker.agents:
        raise Problem("unknown-agent", f"nothing is known of '{name}'", hint="hivectl list, or kept")
    return {"history": rows}


async def config(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = agent_name(message)
    row = await broker.writer.do(lambda: approvals.running(broker.store, name))
    if not row:
        raise Problem("unknown-deploy", f"nothing was deployed for '{name}'", hint=f"hivectl history {name}")
    files = [
        {"path": path, "text": file.text, "executable": file.executable}
        for path, file in sorted(proposals.files_of(row).items())
    ]
    return {"request": row["id"], "deploy": row["deploy"], "commit": row["commit"], "files": files}


async def diff(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    against = wire.get_text(message, "against", 10, "deployed")
    if against not in proposals.AGAINST:
        raise Problem("bad-request", f"'against' must be one of {', '.join(proposals.AGAINST)}")
    return await proposals.diff(broker, request_id(message), against)


async def drafts(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    return {"drafts": await broker.writer.do(lambda: approvals.drafts(broker.store))}


async def kept(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    return {"kept": await broker.writer.do(lambda: outcomes.kept(broker.store))}


async def doctor(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    # not on the loop, nor on the writer's connection: it may have read for a while
    count, wrong = await asyncio.to_thread(audit.verify, broker.store.path)
    log = {"name": "audit log", "ok": not wrong, "entries": count, "wrong": wrong}
    return {"checks": [log, room.check(broker.store.path.parent)]}


# of the system


async def applying(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    number, about = request_id(message), agent_row(message)
    effect = await broker.writer.do(lambda: outcomes.begins(broker.store, number, about))
    if about:
        await broker.open_for(about)
        drain.keep_back(broker, about["name"])
    await broker.changes.happened(effect)
    return {}


async def applied(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    number, about = request_id(message), agent_row(message)
    note, kept_ = optional(message, "note", NOTE_MAX), kept_state(message)
    await broker.changes.purge_registry(number)
    effect = await broker.writer.do(lambda: outcomes.carried_out(broker.store, number, about, note, kept_))
    if about:
        await broker.open_for(about)
        broker.agents[about["name"]].send_to = frozenset(json.loads(about["send_to"]))
    await broker.changes.happened(effect)
    return {}


async def apply_failed(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    number, text = request_id(message), wire.get_text(message, "message", MESSAGE_MAX)
    effect = await broker.writer.do(lambda: outcomes.failed(broker.store, number, text))
    await broker.changes.happened(effect)
    return {}


def agent_row(message: wire.Message) -> Row | None:
    """An agent as hive-apply has deployed it."""
    if message.get("agent") is None:
        return None
    agent = wire.get(message, "agent", dict)
    return {
        "name": names.check(wire.get_text(agent, "name", 64)),
        "role": wire.get_text(agent, "role", 10),
        "uid_base": wire.get_int(agent, "uid_base", 1, 2**32 - 1),
        "model": wire.get_text(agent, "model", 200) if agent.get("model") else None,
        "description": wire.get_text(agent, "description", 2000),
        "send_to": json.dumps(ends.texts(agent, "send_to", 100, 64, [names.ALL])),
        "created_at": now(),
    }


def kept_state(message: wire.Message) -> Row | None:
    if message.get("kept") is None:
        return None
    about = wire.get(message, "kept", dict)
    return {"bytes": wire.get_int(about, "bytes", 0, 2**53), "login": wire.get(about, "login", bool)}


MANAGER = {
    "request_spawn": request_spawn,
    "request_spawn_draft": request_spawn_draft,
    "request_spawn_commit": request_spawn_commit,
    "request_apply_commit": request_apply_commit,
    "withdraw": withdraw,
}
OPERATOR = {
    "spawn": spawn,
    "draft": request_spawn_draft,
    "drafts": drafts,
    "approvals": list_approvals,
    "approval": approval,
    "diff": diff,
    "approve": approve,
    "deny": deny,
    "rollback": rollback,
    "history": history,
    "config": config,
    "destroy": destroy,
    "kept": kept,
    "revive": revive,
    "purge": purge,
    "doctor": doctor,
}
SYSTEM = {"applying": applying, "applied": applied, "apply_failed": apply_failed}
