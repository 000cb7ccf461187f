"""A hive in the tests' box, as its operator sees it: requests, and events as they come."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hyperhive.client import Client, Connection

Event = dict[str, Any]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
WAIT = 30  # seconds of silence after which a test has failed

ALLOW = '["Read", "Write", "Edit", "Bash"]'

DONE = 'text = "."\nsay = "done"'
# The model calls a tool and mails what it gave to the operator.
PROBE = """
text = "probe"
[[rule.steps]]
call = [{{ name = "{tool}", input = {input} }}]
[[rule.steps]]
call = [{{ name = "mcp__hive__send", input = {{ to = "operator", body = "{{tool_result}}" }} }}]
[[rule.steps]]
say = "probed"
"""


class Crew:
    def __init__(self, run: Run, pid: int, port: int) -> None:
        self.run = run
        self.port = port  # of the page, in the box and out here; Datasette is on the next
        # The box's root as the kernel sees it from here: its sockets are ours to connect to.
        self.root = Path(f"/proc/{pid}/root")
        self.inside = ["nsenter", f"--target={pid}", "--all", "--"]
        self.client = Client(f"{self.root}/run/hyperhive/operator.sock", patience=20)
        self.rules_file = self.root / "etc/hyperhive/rehearsal.toml"

    def call(self, op: str, **fields: Any) -> Event:
        return self.client.call(op, **fields)

    def spawn(
        self, name: str, *, linger: int = 300, turn_timeout: int = 600, extra: str = "", allow: str = ALLOW
    ) -> int:
        top = f"linger = {linger}\nturn_timeout = {turn_timeout}\n{extra}\n"
        base: int = self.call("spawn", agent=name, toml=f"{top}[tools]\nallow = {allow}\n")["uid_base"]
        return base

    def spawn_asleep(self, name: str, allow: str = ALLOW) -> None:
        """One whose next run is not the trial of its birth."""
        watch = self.watch()
        self.spawn(name, allow=allow)
        watch.until("asleep", agent=name)
        watch.connection.close()

    def send(self, to: str, body: str) -> int:
        number: int = self.call("send", to=to, body=body)["ids"][0]
        return number

    def rules(self, *rules: str) -> None:
        """What the model answers from now on; the rehearsal model reads a changed file again."""
        self.rules_file.write_text("\n".join(f"[[rule]]\n{rule}\n" for rule in rules))

    def watch(self) -> "Watch":
        return Watch(Client(self.client.path, patience=20).subscribe())

    def state(self, number: int) -> str:
        shown = self.call("mail", limit=1, before=number + 1)["messages"][0]
        return f"{shown['state']} {shown['attempts']}"

    def property(self, unit: str, name: str) -> str:
        """Asked often, and so without the unit that `hive-box run` has systemd start for it."""
        show = ["systemctl", "show", "--value", f"--property={name}", unit]
        done = subprocess.run([*self.inside, *show], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def until_other(self, unit: str, invocation: str) -> None:
        """Until another run of a unit is up."""
        while self.property(unit, "InvocationID") in ("", invocation) or self.state_of(unit) != "active":
            assert self.state_of(unit) != "failed", f"{unit} has failed"

    def state_of(self, unit: str) -> str:
        return self.property(unit, "ActiveState")

    def processes(self, name: str) -> dict[int, str]:
        """By pid in the box: the command line of all that runs for an agent."""
        listed = self.run(
            "systemd-cgls", "--unit", f"hive-agent@{name}.service", "--full", check=False
        ).stdout
        found = re.findall(r"[├└]─\s*(\d+) (.*)", listed)
        return {int(pid): line for pid, line in found}

    def process(self, name: str, part: str) -> int:
        return next(pid for pid, line in self.processes(name).items() if part in line)

    def bash(self, name: str, script: str) -> str:
        """What a script prints that the agent runs with its Bash tool."""
        (self.root / f"var/lib/hyperhive/agents/{name}/state/probe.sh").write_text(script)
        return self.tool(name, "Bash", '{ command = "sh /state/probe.sh 2>&1", description = "Probe" }')

    def tool(self, name: str, tool: str, arguments: str) -> str:
        """What a tool gives when the agent's model calls it with these arguments (TOML)."""
        self.rules(PROBE.format(tool=tool, input=arguments))
        watch = self.watch()
        self.send(name, "probe")
        said: str = watch.until("mail", to="operator", **{"from": name})["body"]
        watch.until("turn", agent=name, outcome="ok")
        watch.connection.close()
        return said

    def journal(self, *matches: str) -> list[Event]:
        out = self.run("journalctl", "--output=json", "--all", *matches).stdout
        return [json.loads(line) for line in out.splitlines()]


class Watch:
    """The events since it was made."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.seen: list[Event] = []

    def until(self, event: str, **fields: Any) -> Event:
        while True:
            came = self.connection.next_event(WAIT)
            assert came, f"no '{event}' {fields} within {WAIT} s; seen: {self.brief()}"
            self.seen.append(came)
            if came["event"] == event and all(came.get(key) == value for key, value in fields.items()):
                return came

    def brief(self) -> list[Event]:
        return [{key: event[key] for key in event if key not in ("seq", "at")} for event in self.seen]
