"""hivectl's verbs for commands that agents' rules did not allow: denials, allow."""

import argparse
import sys
from typing import Any

from hyperhive.ctl import change, terminal
from hyperhive.ctl.terminal import age, counted, line
from hyperhive.ctl.verb import Verb, connect, number
from hyperhive.wire import Message


def add(verb: Verb) -> None:
    p = verb("denials", denials, "show commands that agents' rules did not allow")
    p.add_argument("agent", metavar="AGENT", nargs="?", help="only those of AGENT")
    p.add_argument("--all", action="store_true", help="also what is allowed by now, or was dismissed")
    p.add_argument("--dismiss", type=number, nargs="+", metavar="ID", help="show these no more")
    p = verb("allow", allow, "ask for an agent that may use more; approve it then")
    p.add_argument("agent", metavar="AGENT")
    p.add_argument("pattern", metavar="PATTERN", nargs="*", help="for [tools] allow: 'Bash(make check)'")
    p.add_argument("--host", nargs="+", metavar="HOST:PORT", default=[], help="for [egress] allow")
    p.add_argument("--denial", type=number, metavar="ID", help="what was denied; without PATTERN, just that")
    p.add_argument("--note", metavar="TEXT", help="why; the manager reads it")


def denials(args: argparse.Namespace) -> int:
    with connect() as client:
        if args.dismiss:
            return dismissed(args, client.call("dismiss", ids=args.dismiss))
        whose = {"agent": args.agent} if args.agent is not None else {}
        found = client.call("denials", all=args.all, **whose)["denials"]
    if args.json:
        terminal.print_json(found)
    elif not found:
        print("No command was denied.", file=sys.stderr)
    for row in () if args.json else found[::-1]:
        show(row)
    return 0


def dismissed(args: argparse.Namespace, done: Message) -> int:
    if args.json:
        terminal.print_json(done)
    else:
        print(f"dismissed {counted(done['dismissed'], 'denial')}")
    return 0


def show(row: Message) -> None:
    state = f"request {row['request']} asks for it" if row["state"] == "asked" else row["state"]
    often = f"{counted(row['count'], 'time')}, {age(row['last_at'])} ago"
    print(f"-- {row['id']} {row['agent']}, {often}: {state} --")
    print(terminal.clean(row["command"]).rstrip("\n"))
    print(f"  not allowed: {line(row['part'])}")
    print(f"  why:         {line(row['rule'])}")
    if row["nearest"]:
        print(f"  nearest:     {line(row['nearest'])}")
    if row["state"] == "open":
        print(f"  {remedy(row)}")
    print()


def remedy(row: Message) -> str:
    if not row["pattern"]:
        return "no rule can be made of it as it is"
    return f"hivectl allow {row['agent']} --denial {row['id']}   # adds {line(row['pattern'])}"


def allow(args: argparse.Namespace) -> int:
    fields: dict[str, Any] = {"note": args.note} if args.note else {}
    fields |= {"denial": args.denial} if args.denial else {}
    with connect() as client:
        asked = client.call("allow", agent=args.agent, patterns=args.pattern, hosts=args.host, **fields)
        if args.json:
            terminal.print_json(asked)
            return 0
        change.summary(client.call("diff", request=asked["request"]))
    for older in asked["superseded"]:
        print(f"It takes the place of request {older}, and asks for that, too.")
    print(f"hivectl approve {asked['request']}, or deny {asked['request']} REASON")
    return 0
