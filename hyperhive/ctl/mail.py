"""hivectl's verbs for mail: send, inbox, mail."""

import argparse
import json
import sys
from typing import Any

from hyperhive.client import Lost
from hyperhive.ctl import letter, show, terminal
from hyperhive.ctl.verb import Verb, connect, number
from hyperhive.problem import Problem
from hyperhive.wire import Message

FOLLOW_PATIENCE = 60.0


def add(verb: Verb) -> None:
    p = verb("send", send, "send mail")
    p.add_argument("to", metavar="TO", help="an agent, manager, operator or all")
    p.add_argument("body", metavar="BODY", nargs="?", default="-", help="the text; '-' or none: from stdin")
    p.add_argument("--reply-to", type=number, metavar="ID", help="the message that this one answers")
    p.add_argument("--key", metavar="KEY", help="send it once only, however often this is run with the KEY")
    p = verb("inbox", inbox, "read the operator's mail")
    p.add_argument("--all", action="store_true", help="also what was read before")
    p.add_argument("--limit", type=number, default=50, metavar="N", help="the newest N (default: 50)")
    marks = p.add_mutually_exclusive_group()
    marks.add_argument(
        "--read", type=number, nargs="+", metavar="ID", help="mark these as read, show nothing"
    )
    marks.add_argument("--mark-read", action="store_true", help="mark as read what is shown")
    p = verb("mail", mail, "show the flow of mail")
    p.add_argument("agent", metavar="AGENT", nargs="?", help="only from or to AGENT")
    p.add_argument("--limit", type=number, default=20, metavar="N", help="the newest N (default: 20)")
    p.add_argument("--from", dest="sender", metavar="NAME", help="only from NAME")
    p.add_argument("--to", metavar="NAME", help="only to NAME")
    p.add_argument("--text", metavar="WORDS", help="only with each of these words in it")
    p.add_argument("--before", type=number, metavar="ID", help="only older than message ID")
    which = p.add_mutually_exclusive_group()
    which.add_argument(
        "--state", choices=("queued", "leased", "done", "dead", "dropped"), help="only in this state"
    )
    which.add_argument("--follow", action="store_true", help="go on as mail is sent, until Ctrl-C")


def send(args: argparse.Namespace) -> int:
    fields: dict[str, Any] = {"to": args.to, "body": body(args.body)}
    if args.reply_to is not None:
        fields["in_reply_to"] = args.reply_to
    if args.key is not None:
        fields["key"] = args.key
    with connect() as client:
        sent = client.call("send", **fields)
    if args.json:
        terminal.print_json(sent)
    elif not sent["ids"]:
        print("There is nobody to send it to.", file=sys.stderr)
    else:
        ahead = f", {terminal.counted(sent['ahead'], 'message')} ahead" if sent["ahead"] else ""
        print(f"sent {' '.join(map(str, sent['ids']))}{ahead}")
    return 0


def body(argument: str) -> str:
    text = argument if argument != "-" else from_stdin()
    if not text:
        raise Problem("bad-request", "the message is empty, so it was not sent")
    return text


def from_stdin() -> str:
    if sys.stdin.isatty():
        print("Write the message; Ctrl-D on a line of its own sends it, Ctrl-C does not.", file=sys.stderr)
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError as e:
        raise Problem("bad-request", f"the message is not UTF-8 at byte {e.start}") from e


def inbox(args: argparse.Namespace) -> int:
    with connect() as client:
        if args.read:
            client.call("read", ids=args.read)
            return 0
        messages = client.call("inbox", limit=args.limit, unread=not args.all)["messages"]
        if args.json:
            terminal.print_json(messages)
        for message in () if args.json else reversed(messages):
            letter.show(message)
        if not messages and not args.json:
            print("Nothing new. (--all shows what you have read)", file=sys.stderr)
        sys.stdout.flush()  # what could not be shown is not read
        unread = [message["id"] for message in messages if message["state"] == "queued"]
        if args.mark_read and unread:
            client.call("read", ids=unread)
    return 0


def mail(args: argparse.Namespace) -> int:
    said = {"agent": args.agent, "from": args.sender, "to": args.to, "state": args.state, "text": args.text}
    said |= {"before": args.before, "limit": args.limit}
    fields = {key: value for key, value in said.items() if value is not None}
    if args.follow:
        if fields.keys() - {"agent", "limit"}:
            raise Problem("usage", "--follow follows all mail, or one agent's", exit_status=2)
        return follow(fields, as_json=args.json)
    with connect() as client:
        found = client.call("mail", **fields)
    if args.json:
        terminal.print_json(found["messages"])
        return 0
    if found["messages"]:
        show.mail(reversed(found["messages"]))
    else:
        print("No mail.", file=sys.stderr)
    if found["next"] and fields.keys() - {"agent", "limit"}:
        print(f"(there may be older ones: --before {found['next']})", file=sys.stderr)
    return 0


def follow(fields: dict[str, Any], *, as_json: bool) -> int:
    """What was sent last and what is sent from now on, each once, also over a restart of the broker."""
    last_id = 0
    with connect(FOLLOW_PATIENCE) as client, connect(FOLLOW_PATIENCE) as asking:
        while True:
            try:
                events = client.subscribe()  # before asking, so that nothing falls between the two
                for message in reversed(asking.call("mail", **fields)["messages"]):
                    last_id = put(message, last_id, as_json=as_json)
                while event := events.next_event(None):
                    wanted = fields.get("agent") in (None, event.get("from"), event.get("to"))
                    if event["event"] == "mail" and wanted:
                        last_id = put(event | {"sent_at": event["at"]}, last_id, as_json=as_json)
            except Lost:
                client.drop()
                fields["limit"] = 1000  # what came while we were away


def put(message: Message, last_id: int, *, as_json: bool) -> int:
    if message["id"] <= last_id:
        return last_id
    keys = ("id", "from", "to", "body", "sent_at", "in_reply_to")
    shown = {key: message[key] for key in keys}
    print(json.dumps(shown) if as_json else show.flow(shown), flush=True)
    return int(message["id"])
