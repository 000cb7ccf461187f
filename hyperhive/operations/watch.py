"""The operations of hyperhive-wire(7) by which hive-watch tells what became of a unit's run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hyperhive import facts, wire
from hyperhive.broker import drain, wild
from hyperhive.problem import Problem
from hyperhive.store import runs

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection

UNIT_MAX = 255
LOG_MAX = 20
ENDS = ("container_crash", "quarantined", "stopped", "finished")
TEXTS = {
    "started": "{unit} has started",
    "recovered": "{agent} is out of quarantine",
    "finished": "{unit} has ended well",
    "stopped": "{unit} was stopped",
    "quarantined": "{agent} is in quarantine: {unit} failed ({result})",
    "container_crash": "{unit} crashed: {how}",
}


async def event(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    said = checked(message)
    found = re.fullmatch(r"hive-agent@(.+)\.(?:service|socket)", said["unit"])
    agent = found[1] if found and found[1] in broker.agents else None
    said["agent"] = agent
    told, mail = await broker.writer.do(lambda: runs.record(broker.store, agent, said))
    if told:
        tell(broker, told)
        broker.sent(mail)
        if agent in broker.agents:
            drain.settle(broker.agents[agent])  # what it had in its turn is nobody's now
    return {"new": told is not None}


def checked(message: wire.Message) -> dict[str, Any]:
    kind = wire.get_text(message, "event", 20)
    if kind not in ("started", *ENDS):
        raise Problem("bad-request", f"'event' must be started, {', '.join(ENDS)}")
    invocation = wire.get_text(message, "invocation", 32)
    if not re.fullmatch("[0-9a-f]{32}", invocation):
        raise Problem("bad-request", "'invocation' must be 32 hex digits")
    said: dict[str, Any] = {
        "event": kind,
        "unit": wire.get_text(message, "unit", UNIT_MAX),
        "invocation": invocation,
    }
    said |= {"at": time_in(message, "at")}
    if kind in ENDS:
        said["began_at"] = time_in(message, "began_at") if message.get("began_at") else None
    if kind in ("container_crash", "quarantined"):
        said["result"] = wire.get_text(message, "result", 50)
    if kind == "container_crash":
        said |= crash(message)
    if kind == "stopped":
        said["by"] = wire.get_text(message, "by", UNIT_MAX) if message.get("by") else None
        said["mail"] = wire.get(message, "mail", bool, True)
    return said


def crash(message: wire.Message) -> dict[str, Any]:
    def text(key: str, limit: int) -> str | None:
        return wire.get_text(message, key, limit) if message.get(key) is not None else None

    def number(key: str, limit: int) -> int | None:
        return wire.get_int(message, key, 0, limit) if message.get(key) is not None else None

    log = wire.get(message, "log", list)
    if len(log) > LOG_MAX:
        raise Problem("bad-request", f"'log' has more than {LOG_MAX} lines")
    return {
        "machine": text("machine", 64),
        "exit_status": number("exit_status", 255),
        "signal": text("signal", 20),
        "runtime": wire.get_number(message, "runtime") if message.get("runtime") is not None else None,
        "restarts": wire.get_int(message, "restarts", 0, 2**32),
        "memory_peak": number("memory_peak", wire.ID_MAX),
        "restarted": wire.get(message, "restarted", bool),
        "log": [wire.get_text({"log": line}, "log", 4000) for line in log],
    }


def time_in(message: wire.Message, key: str) -> str:
    try:
        return wire.stamp(wire.seconds_of(wire.get_text(message, key, 40)))
    except ValueError as e:
        raise Problem("bad-request", f"'{key}' is not an ISO 8601 time") from e


def tell(broker: Broker, told: dict[str, Any]) -> None:
    kind, unit, agent = told["event"], told["unit"], told["agent"]
    how = wire.death(told) if kind == "container_crash" else None
    text = TEXTS[kind].format(unit=unit, agent=agent or unit, result=told.get("result"), how=how)
    broker.publish(kind, **{key: value for key, value in told.items() if key not in ("event", "at", "log")})
    fields = {"HIVE_UNIT": unit, "HIVE_INVOCATION": told["invocation"], "HIVE_RESULT": told.get("result")}
    notice = kind in ("container_crash", "quarantined", "recovered")
    facts.log(kind, text, agent=agent or "", notice=notice, HIVE_HOW=how, **fields)


async def runs_open(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    return await broker.writer.do(lambda: runs.open_runs(broker.store))


async def suppressed(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    agent = broker.agents.get(wire.get_text(message, "agent", 64))
    lines = wire.get_int(message, "lines", 1, 2**53)
    if agent:
        before = wild.standing(broker, agent, "log_flood")
        wild.flag(broker, agent, "log_flood", lines + (before.count if before else 0))
    return {}


SYSTEM = {"event": event, "runs": runs_open, "suppressed": suppressed}
