"""The figures of changes: from the operator's click to an agent that runs with what was approved."""

import os
import subprocess
import time
from pathlib import Path

from hyperhive.bench.bench import OPERATOR, TOML, WAIT, Figure, figure, model
from hyperhive.client import Client, Connection
from hyperhive.problem import Problem
from hyperhive.wire import Message

RUNS = 10
AGENTS = Path("/var/lib/hyperhive/agents")
GIT = ["git", "-c", "user.name=manager", "-c", "user.email=manager@hive"]


class Manager:
    """What it does over its socket and in its repositories, with the uid of its cage."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.uid = (AGENTS / "manager/state").stat().st_uid
        os.chdir("/run/hyperhive/agents/manager")  # its cage may not walk there
        os.seteuid(self.uid)
        self.connection = Connection("hive.sock")
        os.seteuid(0)
        self.connection.ask({"op": "hello", "role": "tool", "invocation": "0" * 32}, WAIT)

    def commit(self, agent: str, files: dict[str, str]) -> None:
        folder = AGENTS / agent / "config"
        for name, text in files.items():
            (folder / name).write_text(text)
            os.chown(folder / name, self.uid, self.uid)
        for words in (["add", "--all"], ["commit", "--quiet", "--allow-empty", "--message=A change"]):
            environment = {"PATH": "/usr/bin:/bin", "HOME": "/"}
            subprocess.run(
                [*GIT, *words], cwd=folder, env=environment, user=self.uid, group=self.uid, check=True
            )

    def ask(self, op: str, agent: str) -> int:
        number: int = self.connection.ask({"op": op, "agent": agent, "commit_ref": "HEAD"}, WAIT)["request"]
        return number


def until(events: Connection, wanted: str, **fields: object) -> Message:
    while (came := events.next_event(WAIT)) is not None:
        if came["event"] == wanted and all(came.get(key) == value for key, value in fields.items()):
            return came
        if came["event"] == "approval" and came["state"] == "failed":
            raise Problem("failed", f"request {came['id']} has failed", hint="hivectl history")
    raise Problem("silence", f"no '{wanted}' {fields} within {WAIT} s", hint="journalctl --unit='hive-*'")


def carried_out(client: Client, events: Connection, op: str, agent: str) -> None:
    number = client.call(op, agent=agent)["request"]
    until(events, "approval", id=number, state="deployed")


def birth(client: Client, events: Connection, manager: Manager, agent: str) -> float:
    """Seconds from 'approve' to the answer to the agent's first mail, which comes as soon as it exists."""
    carried_out(client, events, "draft", agent)
    manager.commit(agent, {"agent.toml": TOML})
    number = manager.ask("request_spawn_commit", agent)
    began = time.monotonic()
    client.call("approve", request=number)
    until(events, "approval", id=number, state="deployed")
    client.call("send", to=agent, body="answer me")
    until(events, "mail", to="operator", **{"from": agent})
    took = time.monotonic() - began
    carried_out(client, events, "destroy", agent)
    return took


def change(client: Client, events: Connection, manager: Manager, agent: str, run: int) -> float:
    manager.commit(agent, {"prompt.md": f"This is change {run}.\n"})
    number = manager.ask("request_apply_commit", agent)
    began = time.monotonic()
    client.call("approve", request=number)
    until(events, "approval", id=number, state="deployed")
    return time.monotonic() - began


def run(_: Path) -> list[Figure]:
    with model(), Client(OPERATOR, patience=10) as client, Client(OPERATOR, patience=10) as watcher:
        return changing(client, watcher.subscribe())


def changing(client: Client, events: Connection) -> list[Figure]:
    client.call("spawn", agent="manager", toml=TOML)
    manager = Manager(client)
    births = [birth(client, events, manager, f"new-{run}") for run in range(RUNS)]
    client.call("spawn", agent="changed", toml=TOML)
    asleep = []
    for run in range(RUNS):
        until(events, "asleep", agent="changed")
        asleep.append(change(client, events, manager, "changed", run))
    client.call("send", to="changed", body="wake up")
    until(events, "done")
    awake = [change(client, events, manager, "changed", RUNS + run) for run in range(RUNS)]
    return [
        figure("approve → a new agent has answered its first mail", "s", births, 2.5),
        figure("approve → a changed agent, awake and idle, runs with it", "s", awake, 1.5),
        figure("approve → a changed agent that slept has come up with it", "s", asleep, 1.5),
    ]
