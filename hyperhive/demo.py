"""The demo, inside the box: three agents, one task, and the flow as it happens."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hyperhive.client import Client
from hyperhive.ctl.terminal import clean
from hyperhive.problem import Problem
from hyperhive.wire import Message

ALLOW = 'allow = ["Read", "Write", "Edit", "Bash"]'
CREW = {"manager": "shares out the work", "ada": "writes", "bob": "checks"}
TASK = (
    "Please have a haiku about sleeping agents written: ada writes it to /state/haiku.txt in her cage"
    " with a Bash command, bob checks it, and you send me the text when both are done."
)
ANSWER_MAX = 300  # seconds of silence after which something is wrong

console = Console(highlight=False)


def line(began: float, who: str, text: str) -> None:
    row = Table.grid(padding=(0, 2))
    for width in (9, 8, None):
        row.add_column(width=width)
    took = f"{time.monotonic() - began:7.2f} s"
    row.add_row(Text(took, style="dim"), Text(who, style="bold"), Text(clean(" ".join(text.split()))))
    console.print(row)


def show(began: float, event: Message) -> None:
    match event["event"]:
        case "woken":
            line(began, event["agent"], "is woken: one byte into the FIFO of its socket unit")
        case "awake":
            took = f", {event['wake_ms']} ms after the byte" if event["wake_ms"] is not None else ""
            line(began, event["agent"], f"is awake in its cage{took}")
        case "mail":
            line(began, event["from"], f"→ {event['to']}: {event['body']}")
        case "progress":
            line(began, event["agent"], f"turn {event['number']}: {event['text']}")
        case "turn":
            about = f"{event['outcome']}, {event['duration_ms']} ms, {event['tool_calls']} tool calls"
            line(began, event["agent"], f"turn {event['number']} ended: {about}")
        case "requeued" | "dead":
            line(began, event["agent"], f"message {event['id']} {event['event']}: {event['reason']}")


def create_crew(client: Client, began: float) -> None:
    there = {agent["name"] for agent in client.call("agents")["agents"]}
    for name, description in CREW.items():
        if name not in there:
            toml = f'description = "{description}"\n\n[tools]\n{ALLOW}\n'
            base = client.call("spawn", agent=name, toml=toml)["uid_base"]
            line(began, name, f"exists now; its cage has the uids from {base}")


def run(socket: Path) -> int:
    began = time.monotonic()
    with Client(str(socket), patience=10) as client, Client(str(socket), patience=10) as watcher:
        create_crew(client, began)
        events = watcher.subscribe()
        client.call("send", to="manager", body=TASK)
        while True:
            event = events.next_event(ANSWER_MAX)
            if event is None:
                raise Problem("silence", "nothing happened for minutes", hint="journalctl --unit='hive-*'")
            show(began, event)
            if event["event"] == "mail" and event["to"] == "operator" and event["from"] == "manager":
                break
    console.print(f"\nThe operator has the answer, {time.monotonic() - began:.1f} s after the start.\n")
    return 0
