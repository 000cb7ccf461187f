"""hivectl egress: where agents went lately, and where they were refused."""

import argparse
import sys

from hyperhive.ctl import terminal
from hyperhive.ctl.change import size
from hyperhive.ctl.terminal import age, counted
from hyperhive.ctl.verb import Verb, connect
from hyperhive.gate.egress import REFUSALS
from hyperhive.wire import Message


def add(verb: Verb) -> None:
    p = verb("egress", show, "show where agents went lately, and where they were refused")
    p.add_argument("agent", metavar="AGENT", nargs="?", help="only AGENT")


def show(args: argparse.Namespace) -> int:
    with connect() as client:
        found = client.call("egress", **({"agent": args.agent} if args.agent is not None else {}))
    if args.json:
        terminal.print_json(found)
        return 0
    for way in found["reached"][::-1]:
        print(f"{way['agent']} reached {place(way)}, the last {age(way['last_at'])} ago ({way['end']})")
        moved = f"{size(way['bytes_sent'])} sent, {size(way['bytes_received'])} received"
        print(f"  {counted(way['count'], 'connection')}, {moved}, by the rule {way['rule']}")
    for way in found["refused"][::-1]:
        often = f"{counted(way['count'], 'time')}, the last {age(way['last_at'])} ago"
        print(f"{way['agent']} was refused {place(way)}, {often}: {REFUSALS[way['rule']]}")
        if remedy := remedy_for(way):
            print(f"  {remedy}")
    if not found["reached"] and not found["refused"]:
        print("Nobody has tried to go anywhere in the last 7 days.", file=sys.stderr)
    return 0


def place(way: Message) -> str:
    return f"{way['host']}:{way['port']}" if way["host"] else "somewhere"


def remedy_for(way: Message) -> str:
    if way["request"]:
        return f"request {way['request']} asks for it"
    return f"hivectl allow {way['agent']} --host {way['wanted']}" if way["wanted"] else ""
