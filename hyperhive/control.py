"""Start and stop agents and read their logs for the manager: a line in, a line out. See hive-control(8)."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pystemd.dbusexc import DBusBaseError
from pystemd.dbuslib import DBus, DbusMessage
from pystemd.systemd1 import Manager

from hyperhive import facts, logs, names, peers, wire
from hyperhive.problem import EX_TEMPFAIL, Problem

LINES = 100  # that get_logs gives unless asked for more or less
LINE_MAX = 4096  # bytes of a request
JOB_WAIT = 60  # seconds: more than a start and a stop may take together
WAIT_USEC = 1_000_000

Removed = dict[str, str]  # job → how it ended


def service(agent: str) -> str:
    return f"hive-agent@{agent}.service"


def wake_up(agent: str) -> str:
    return f"hive-agent@{agent}.socket"


# pystemd keeps a bare pointer to it and passes error= and userdata= by name
def job_removed(msg: DbusMessage, error: None, userdata: Removed) -> None:
    msg.process_reply(True)
    _number, job, _unit, result = msg.body
    userdata[job.decode()] = result.decode()


class Units:
    """PID 1, over a connection of our own to the bus; polkit says what it does for us."""

    def __init__(self) -> None:
        self.bus = DBus()
        self.manager = Manager(bus=self.bus)
        self.removed: Removed = {}

    def __enter__(self) -> "Units":
        self.bus.open()
        self.manager.load()
        self.bus.match_signal(
            b"org.freedesktop.systemd1",
            None,
            b"org.freedesktop.systemd1.Manager",
            b"JobRemoved",
            job_removed,
            self.removed,
        )
        self.manager.Manager.Subscribe()
        return self

    def __exit__(self, *_: object) -> None:
        self.bus.close()

    def states(self, pattern: str) -> dict[str, str]:
        """ActiveState and SubState as systemctl shows them, of the units that systemd has loaded."""
        listed = self.manager.Manager.ListUnitsByPatterns([], [pattern.encode()])
        return {unit[0].decode(): f"{unit[3].decode()} ({unit[4].decode()})" for unit in listed}

    def state(self, agent: str) -> wire.Message:
        found = self.states(f"hive-agent@{agent}.*")
        socket_, service_ = (found.get(unit, "inactive (dead)") for unit in (wake_up(agent), service(agent)))
        return {"agent": agent, "service": service_, "socket": socket_}

    def reset_failed(self, agent: str) -> None:
        for unit, state in self.states(f"hive-agent@{agent}.*").items():
            if state.startswith("failed"):
                self.manager.Manager.ResetFailedUnit(unit.encode())

    def job(self, verb: str, unit: str) -> None:
        """Have it done, and wait until it is."""
        ask = getattr(self.manager.Manager, f"{verb.capitalize()}Unit")
        job = ask(unit.encode(), b"replace").decode()
        end = time.monotonic() + JOB_WAIT
        while job not in self.removed and time.monotonic() < end:
            self.bus.wait(WAIT_USEC)  # returns at once while messages are queued
            self.bus.process()  # one message; only now, or we would wait although the job is done
        result = self.removed.get(job, "still under way")
        if result != "done":
            text = f"the {verb} of {unit} ended with: {result}"
            raise Problem("failed", text, hint="get_logs says why")


def known(agents: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(agents) if peers.is_agent(entry))


def agent_of(message: wire.Message, agents: Path) -> str:
    name = names.check(wire.get_text(message, "agent", 64))
    if name == names.MANAGER:
        raise Problem("forbidden", "the manager itself is the operator's", hint="ask the operator")
    if name not in known(agents):
        raise Problem("unknown-agent", f"no agent is called '{name}'", hint="list_agents names them")
    return name


def start(units: Units, agent: str) -> None:
    """From now on mail wakes it; what waits does so at once."""
    units.reset_failed(agent)
    units.job("start", wake_up(agent))


def stop(units: Units, agent: str) -> None:
    """Mail waits from now on. The socket first, or mail would start the service again."""
    units.job("stop", wake_up(agent))
    units.job("stop", service(agent))


def restart(units: Units, agent: str) -> None:
    units.reset_failed(agent)
    units.job("restart", service(agent))


VERBS: dict[str, Callable[[Units, str], None]] = {"start": start, "stop": stop, "restart": restart}


def answer(message: wire.Message, agents: Path) -> wire.Message:
    op = wire.get(message, "op", str)
    if op == "get_logs":
        lines = wire.get_int(message, "lines", 1, logs.LINES_MAX, LINES)
        return {"lines": logs.last(agent_of(message, agents), lines)}
    if op != "list_units" and op not in VERBS:
        raise Problem("unknown-op", f"there is no operation '{op[:40]}' on this socket")
    try:
        with Units() as units:
            if op == "list_units":
                return {"units": [units.state(agent) for agent in known(agents)]}
            agent = agent_of(message, agents)
            facts.log("control", f"The manager asks to {op} {agent}", agent=agent, notice=True, HIVE_VERB=op)
            VERBS[op](units, agent)
            return units.state(agent)
    except DBusBaseError as e:
        raise Problem("failed", f"systemd did not {op} it: {e}", exit_status=EX_TEMPFAIL) from e


def reply(line: bytes, agents: Path) -> wire.Message:
    number: Any = None
    try:
        message = wire.decode(line)
        number = message.get("id")
        return {"id": number, "ok": True} | answer(message, agents)
    except Problem as e:
        return {"id": number} | wire.failure(e)


def serve(connection: socket.socket, agents: Path) -> None:
    if peers.Peers(agents).agent(peers.uid_of(connection)) != names.MANAGER:
        raise Problem("forbidden", "only the manager may connect")
    with connection.makefile("rb") as file:
        while (line := file.readline(LINE_MAX)).endswith(b"\n"):
            connection.sendall(wire.encode(reply(line, agents)))
