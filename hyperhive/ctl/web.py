"""hivectl's verbs for the page: url, sessions."""

import argparse
from pathlib import Path

from hyperhive import settings
from hyperhive.ctl import terminal, units
from hyperhive.ctl.terminal import Column, age, clock, line
from hyperhive.ctl.verb import Verb, connect, number
from hyperhive.wire import Message

CONFIG = Path("/etc/hyperhive/hive.toml")
LOCAL = "127.0.0.1:7000"
SESSIONS = (
    Column("ID", right=True),
    Column("SIGNED IN"),
    Column("SEEN", right=True),
    Column("MAY"),
    Column("BROWSER", fill=True),
)

MAY = {"page": "all", "metrics": "read metrics"}


def add(verb: Verb) -> None:
    p = verb("url", url, "print a link that signs a browser in to the page")
    p.add_argument(
        "--metrics", action="store_true", help="a token for GET /metrics instead, which may do no more"
    )
    p = verb("sessions", sessions, "show who is signed in to the page")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--revoke", type=number, metavar="ID", help="end this session instead")
    what.add_argument("--revoke-all", action="store_true", help="end all sessions and links instead")


def url(args: argparse.Namespace) -> int:
    origin = settings.hive(CONFIG).public_origin or f"http://{units.page() or LOCAL}"
    with connect() as client:
        made = client.call("url")
        if args.metrics:
            begun = client.call("sign_in", code=made["code"], agent="metrics", scope="metrics")
            print_token(begun, as_json=args.json)
            return 0
    link = f"{origin}/sign-in?code={made['code']}"
    if args.json:
        terminal.print_json({"url": link, "expires_at": made["expires_at"]})
    else:
        print(link)
    return 0


def print_token(begun: Message, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(begun)
    else:
        print(begun["token"])


def sessions(args: argparse.Namespace) -> int:
    with connect() as client:
        if args.revoke or args.revoke_all:
            which = {"all": True} if args.revoke_all else {"session": args.revoke}
            ended = client.call("sign_out", **which)
            print_ended(ended["ended"], as_json=args.json)
            return 0
        found = client.call("sessions")["sessions"]
    nothing = "Nobody is signed in. (hivectl url)"
    terminal.print_list(found, SESSIONS, session_row, nothing, as_json=args.json)
    return 0


def session_row(session: Message) -> list[str]:
    begun, seen = clock(session["created_at"]), age(session["seen_at"])
    may = MAY[session["scope"]]
    return [str(session["id"]), begun, seen, may, line(session["agent"])]


def print_ended(count: int, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json({"ended": count})
    else:
        print(f"{terminal.counted(count, 'session')} ended")
