"""What hive-watch tells of the runs of units."""

import itertools
import json
from pathlib import Path
from typing import Any

from tests.box.crew import Crew, Event, Watch

KINDS = ("container_crash", "stopped", "finished", "quarantined", "recovered")
NUMBERS = itertools.count(1)
SIGKILL: dict[str, Any] = {"result": "signal", "signal": "SIGKILL", "exit_status": None, "agent": "ada"}


class Told:
    def __init__(self, crew: Crew, watch: Watch) -> None:
        self.crew = crew
        self.watch = watch
        self.drop_ins: list[Path] = []

    def wake(self, name: str = "ada") -> str:
        """The invocation of a run that has done a turn and is known to hive-watch."""
        running = self.crew.property(f"hive-agent@{name}.service", "ActiveState") == "active"
        number = self.crew.send(name, "go")
        if not running:
            self.watch.until("started", unit=f"hive-agent@{name}.service")
        self.watch.until("done", id=number)
        return self.crew.property(f"hive-agent@{name}.service", "InvocationID")

    def ends(self, invocation: str) -> list[str]:
        return [
            e["event"] for e in self.watch.seen if e.get("invocation") == invocation and e["event"] in KINDS
        ]

    def drop_in(self, unit: str, *lines: str) -> None:
        file = self.crew.root / f"run/systemd/system/{unit}.d/90-test.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
        self.drop_ins.append(file)
        self.crew.run("systemctl", "daemon-reload")

    def settle(self) -> None:
        """Whatever was to be said of the past has been said once a later run has been told of."""
        unit = f"hive-probe-{next(NUMBERS)}.service"
        self.crew.run("systemd-run", "--quiet", f"--unit={unit}", "true")
        self.watch.until("finished", unit=unit)

    def only(self, invocation: str, kind: str, **fields: Any) -> Event:
        """The one event about this run."""
        came = next(
            (e for e in self.watch.seen if e.get("invocation") == invocation and e["event"] == kind), None
        )
        came = came or self.watch.until(kind, invocation=invocation)
        self.settle()
        assert self.ends(invocation) == [kind]
        assert {key: came[key] for key in fields} == fields
        return came

    def mail(self, invocation: str, to: str = "manager") -> list[Event]:
        rows = self.crew.call("mail", agent=to, limit=100)["messages"]
        bodies = [json.loads(row["body"]) for row in rows if row["from"] == "system"]
        return [body for body in bodies if body.get("invocation") == invocation]
