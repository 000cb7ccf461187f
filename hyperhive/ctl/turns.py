"""hivectl's verbs for what an agent's turns use and do: model, cancel, compact, new-session."""

import argparse
from typing import Any

from hyperhive.ctl import terminal
from hyperhive.ctl.ends import moment
from hyperhive.ctl.show import print_pairs
from hyperhive.ctl.terminal import MISSING, age, clock, line
from hyperhive.ctl.verb import Verb, connect
from hyperhive.wire import Message

WHO = {
    "agent.toml": "its agent.toml",
    "hive": "the hive's default",
    "before": "as before: what should be used was refused",
}
SAYS = {
    "cancel": "turn {turn} of {agent} is being stopped, and who sent its mail hears of it",
    "compact": "{agent} compacts its session before its next turn",
    "new-session": "{agent} begins a new session before its next turn",
}


def add(verb: Verb) -> None:
    p = verb("model", model, "show or set the model that an agent uses")
    p.add_argument("agent", metavar="AGENT")
    p.add_argument("model", metavar="NAME", nargs="?", help="use this one from the next turn on")
    p.add_argument("--until", type=moment, metavar="TIME", help="until 08:00, or '2026-12-24 08:00'")
    p.add_argument("--reset", action="store_true", help="use again what agent.toml or the hive says")
    for name, text in (
        ("cancel", "stop the turn that an agent runs"),
        ("compact", "have an agent compact its session"),
        ("new-session", "have an agent begin a new session"),
    ):
        p = verb(name, command, text)
        p.add_argument("agent", metavar="AGENT")
        p.set_defaults(command=name)


def model(args: argparse.Namespace) -> int:
    fields: dict[str, Any] = {}
    if args.model or args.reset:
        fields["model"] = args.model
    if args.until:
        fields["until"] = args.until
    with connect() as client:
        said = client.call("model", agent=args.agent, **fields)
    if args.json:
        terminal.print_json(said)
    else:
        show(said)
    return 0


def show(said: Message) -> None:
    who = WHO.get(said["from"], "")
    if said["from"] == "override":
        who = f"set by {said['set_by']} {age(said['set_at'])} ago"
        who += f", until {clock(said['until'])}" if said["until"] else ""
    state = "queued: from the next turn on" if said["state"] == "queued" else said["state"]
    rows = [
        ("model", f"{line(said['next'])} ({who})"),
        ("state", state),
        ("now", f"{line(said['now'] or MISSING)}"),
    ]
    if refused := said["refused"]:
        error = f"{line(refused['model'])}, {age(refused['at'])} ago: {line(refused['error'])}"
        rows.append(("refused", error))
    print_pairs(rows)


def command(args: argparse.Namespace) -> int:
    with connect() as client:
        said = client.call("command", agent=args.agent, command=args.command)
    if args.json:
        terminal.print_json(said)
    else:
        print(SAYS[args.command].format(agent=args.agent, turn=said["turn"]))
    return 0
