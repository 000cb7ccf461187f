"""hivectl's verbs by which agents come, change and go: draft, approvals, diff, approve, …, doctor."""

import argparse
import sys
from typing import Any

from hyperhive.client import Client
from hyperhive.config import starter
from hyperhive.ctl import disk, gate, terminal
from hyperhive.ctl.terminal import MISSING, Column, age, clock, counted, line
from hyperhive.ctl.verb import Verb, connect, number, read
from hyperhive.wire import Message

SPAWN_WAIT = 180.0  # seconds that hive-apply may take
LOOK = 60  # seconds in one request; it is made again
STATES = "pending approved applying deployed denied failed expired withdrawn superseded".split()
OPEN = ("pending", "approved", "applying")
DONE = {
    "spawn": "{agent} is there, and sleeps until it has mail. (hivectl send {agent} …)",
    "draft": "the draft of {agent} is there: the manager finds it in /agents/{agent}/config",
    "change": "{agent} runs deploy {deploy} now",
    "rollback": "{agent} runs deploy {deploy} now: {note}",
    "destroy": "{agent} is destroyed; what it had is kept. (hivectl revive {agent}, or purge)",
    "revive": "{agent} is back, as deploy {deploy}",
    "purge": "{agent} is deleted for good; mail from and to it is not",
}
APPROVALS = (
    Column("ID", right=True),
    Column("ASKED"),
    Column("BY"),
    Column("KIND"),
    Column("AGENT"),
    Column("RISK"),
    Column("STATE"),
    Column("NOTE", fill=True),
)
HISTORY = (
    Column("AT"),
    Column("WHO"),
    Column("REQUEST", right=True),
    Column("KIND"),
    Column("STATE"),
    Column("DEPLOY", right=True),
    Column("COMMIT"),
    Column("NOTE", fill=True),
)
DRAFTS = (Column("AGENT"), Column("BY"), Column("SINCE"), Column("FOLDER"), Column("DESCRIPTION", fill=True))
KEPT = (
    Column("AGENT"),
    Column("DESTROYED"),
    Column("SIZE", right=True),
    Column("LOGIN"),
    Column("TURNS", right=True),
    Column("DESCRIPTION", fill=True),
)


def add(verb: Verb) -> None:
    p = verb("spawn", spawn, "create an agent")
    p.add_argument("name", metavar="NAME", help="2 to 32 of a-z, 0-9 and '-'")
    p.add_argument("--toml", metavar="FILE", help="its agent.toml, else a small one is made")
    p.add_argument("--prompt", metavar="FILE", help="what its system prompt says besides")
    made = "for an agent.toml that is made"
    p.add_argument("--description", metavar="TEXT", help=f"its job in one line, {made}")
    p.add_argument("--model", metavar="MODEL", help=f"its model, {made}")
    p = verb("draft", draft, "make the repository of an agent that is to be")
    p.add_argument("name", metavar="NAME", help="2 to 32 of a-z, 0-9 and '-'")
    p.add_argument("--description", metavar="TEXT", help="its job in one line")
    verb("drafts", drafts, "list the drafts that are no agents yet")
    p = verb("approvals", approvals, "list what waits for your approval")
    p.add_argument("agent", metavar="AGENT", nargs="?", help="only of AGENT")
    which = p.add_mutually_exclusive_group()
    text = "those in this state, else those that are pending"
    which.add_argument("--state", choices=STATES, metavar="STATE", default="pending", help=text)
    which.add_argument("--all", action="store_true", help="in every state")
    p.add_argument("--limit", type=number, metavar="N", default=50, help="the newest N, 1 to 1000")
    p = verb("diff", diff, "show what a request would change")
    p.add_argument("id", type=number, metavar="ID")
    against = ("deployed", "approved", "previous")
    text = "compare with what runs now (deployed), was approved last, or was asked for before (previous)"
    p.add_argument("--against", choices=against, metavar="WHICH", default="deployed", help=text)
    p = verb("approve", approve, "approve a request, and wait until it is carried out")
    p.add_argument("id", type=number, metavar="ID")
    p.add_argument("--note", metavar="TEXT", help="why; the manager reads it")
    p = verb("deny", deny, "deny a request")
    p.add_argument("id", type=number, metavar="ID")
    p.add_argument("reason", metavar="REASON", help="why; the manager reads it")
    p = verb("rollback", rollback, "take an agent back to an earlier deploy")
    p.add_argument("agent", metavar="AGENT")
    p.add_argument("deploy", type=number, metavar="N", nargs="?", help="which; else the one before")
    p = verb("history", history, "show what was asked for, decided and done with an agent")
    p.add_argument("agent", metavar="AGENT")
    p.add_argument("--limit", type=number, metavar="N", default=50, help="the newest N, 1 to 1000")
    add_ends(verb)


def add_ends(verb: Verb) -> None:
    p = verb("destroy", destroy, "stop an agent for good; its files are kept")
    p.add_argument("agent", metavar="AGENT")
    verb("kept", kept, "list the destroyed agents whose files are kept")
    p = verb("revive", revive, "bring a destroyed agent back")
    p.add_argument("agent", metavar="AGENT")
    p = verb("purge", purge, "delete the files of a destroyed agent or of a draft; nothing brings them back")
    p.add_argument("agent", metavar="NAME")
    p.add_argument("confirm", metavar="NAME-AGAIN", help="the same name once more")
    verb("doctor", doctor, "check whether what the hive has written down is sound")


# asked for


def spawn(args: argparse.Namespace) -> int:
    toml = read(args.toml) if args.toml else starter.agent_toml(args.description, args.model)
    fields = {"prompt": read(args.prompt)} if args.prompt else {}
    with connect() as client:
        born = client.call("spawn", answer_wait=SPAWN_WAIT, agent=args.name, toml=toml, **fields)
    if args.json:
        terminal.print_json(born)
    else:
        print(DONE["spawn"].format(agent=born["agent"]))
    return 0


def draft(args: argparse.Namespace) -> int:
    fields = {"description": args.description} if args.description else {}
    return have_done(args, "draft", agent=args.name, **fields)


def rollback(args: argparse.Namespace) -> int:
    return have_done(args, "rollback", agent=args.agent, **({"deploy": args.deploy} if args.deploy else {}))


def destroy(args: argparse.Namespace) -> int:
    return have_done(args, "destroy", agent=args.agent)


def revive(args: argparse.Namespace) -> int:
    return have_done(args, "revive", agent=args.agent)


def purge(args: argparse.Namespace) -> int:
    return have_done(args, "purge", agent=args.agent, confirm=args.confirm)


def have_done(args: argparse.Namespace, op: str, **fields: Any) -> int:
    with connect() as client:
        return outcome(args, client, client.call(op, **fields)["request"])


def outcome(args: argparse.Namespace, client: Client, request: int) -> int:
    """Wait until it has ended, and say how."""
    row: Message = {"state": "approved"}
    while row["state"] in OPEN:
        row = client.call("approval", request=request, wait_seconds=LOOK)["approval"]
    if args.json:
        terminal.print_json(row)
    elif row["state"] == "deployed":
        print(line(DONE[row["kind"]].format(**row)))
        if row["message"]:
            print(terminal.clean(row["message"]))
    else:
        print(f"request {request} ({row['kind']} of {row['agent']}) {row['state']}:", file=sys.stderr)
        print(terminal.clean(row["message"] or row["reason"] or "").rstrip("\n"), file=sys.stderr)
    return 0 if row["state"] == "deployed" else 1


# decided


def approve(args: argparse.Namespace) -> int:
    with connect() as client:
        if not args.json:
            summary(client.call("diff", request=args.id))
        client.call("approve", request=args.id, **({"note": args.note} if args.note else {}))
        return outcome(args, client, args.id)


def deny(args: argparse.Namespace) -> int:
    with connect() as client:
        client.call("deny", request=args.id, reason=args.reason)
    if args.json:
        terminal.print_json({"request": args.id, "state": "denied"})
    else:
        print(f"request {args.id} is denied")
    return 0


def diff(args: argparse.Namespace) -> int:
    with connect() as client:
        found = client.call("diff", request=args.id, against=args.against)
    if args.json:
        terminal.print_json(found)
        return 0
    summary(found)
    print()
    for text in terminal.clean(found["diff"]).rstrip("\n").split("\n"):
        show_line(text)
    return 0


def show_line(text: str) -> None:
    style = {"+": "green", "-": "red", "@": "cyan"}.get(text[:1], "")
    if style and terminal.on_terminal():
        terminal.console().print(text, style=style, soft_wrap=True)
    else:
        print(text)


def summary(found: Message) -> None:
    """What a request is and what it grants and takes away, before the diff."""
    row, base = found["approval"], found["against"]
    about = f"{row['kind']} of {row['agent']}, asked by {row['requested_by']} {age(row['requested_at'])} ago"
    print(f"request {row['id']} ({row['state']}): {about}")
    if row["note"]:
        print(f"note: {line(row['note'])}")
    than = f"{base['tag'] or 'request ' + str(base['request'])}" if base else "an agent that may do nothing"
    risk = {"higher": "HIGHER than", "lower": "lower than", "same": "the same as"}[found["risk"]]
    print(f"risk: {risk} with {than}")
    for text in found["summary"]:
        print(f"  {line(text)}")


# lists


def approvals(args: argparse.Namespace) -> int:
    fields = {"agent": args.agent} if args.agent is not None else {}
    fields |= {} if args.all else {"state": args.state}
    with connect() as client:
        found = client.call("approvals", limit=args.limit, **fields)["approvals"]
    nothing = "No requests." if args.all else f"No request is {args.state}."
    terminal.print_list(found, APPROVALS, approval_row, nothing, as_json=args.json)
    return 0


def approval_row(row: Message) -> list[str]:
    note = line(row["note"] or row["description"] or "")
    if why := row["message"] or row["reason"]:
        note = f"{note} ({line(why)})".lstrip()
    who = [str(row["id"]), clock(row["requested_at"]), row["requested_by"]]
    return [*who, row["kind"], row["agent"], row["risk"] or MISSING, row["state"], note]


def history(args: argparse.Namespace) -> int:
    with connect() as client:
        found = client.call("history", agent=args.agent, limit=args.limit)["history"]
    if args.json:
        terminal.print_json(found)
    else:
        terminal.print_table(HISTORY, [history_row(entry) for entry in reversed(found)])
    return 0


def history_row(entry: Message) -> list[str]:
    detail = entry["detail"]
    note = detail.get("message") or detail.get("reason") or detail.get("note") or ""
    deploy = str(detail["deploy"]) if "deploy" in detail else MISSING
    commit = (entry["commit"] or MISSING)[:12]
    who = [clock(entry["at"]), entry["who"], str(entry["request"])]
    return [*who, detail["kind"], entry["event"], deploy, commit, line(note)]


def drafts(args: argparse.Namespace) -> int:
    with connect() as client:
        found = client.call("drafts")["drafts"]
    nothing = "There are no drafts. (hivectl draft NAME)"
    terminal.print_list(found, DRAFTS, draft_row, nothing, as_json=args.json)
    return 0


def draft_row(row: Message) -> list[str]:
    folder = f"/var/lib/hyperhive/agents/{row['agent']}/config"
    return [row["agent"], row["by"], clock(row["at"]), folder, line(row["description"])]


def kept(args: argparse.Namespace) -> int:
    with connect() as client:
        found = client.call("kept")["kept"]
    terminal.print_list(found, KEPT, kept_row, "No destroyed agent is kept.", as_json=args.json)
    return 0


def kept_row(row: Message) -> list[str]:
    login = {True: "yes", False: "no", None: MISSING}[row["login"]]
    ago = f"{age(row['destroyed_at'])} ago"
    return [row["name"], ago, size(row["bytes"]), login, str(row["turns"]), line(row["description"])]


def size(count: int | None) -> str:
    if count is None:
        return MISSING
    unit = next(n for n in range(5) if count < 1000 ** (n + 1) or n == 4)
    return f"{count / 1000**unit:.1f} {' kMGT'[unit]}B" if unit else f"{count} B"


def doctor(args: argparse.Namespace) -> int:
    with connect() as client:
        checks = [*client.call("doctor")["checks"], disk.check(), gate.check()]
    if args.json:
        terminal.print_json(checks)
    for check in () if args.json else checks:
        print(f"{check['name']}: " + ("sound" if check["ok"] else "NOT SOUND") + in_numbers(check))
        for text in (*check["wrong"], *check.get("most", ())):
            print(f"  {line(text)}")
        for use in check.get("uses", ()):
            print(f"  {use['agent']}: {size(use['used'])} of {size(use['limit'])}")
    return 0 if all(check["ok"] for check in checks) else 1


def in_numbers(check: Message) -> str:
    if "refused" in check:
        return f", {counted(check['refused'], 'connection')} refused in 24 hours: {gate.HOW}"
    if "limited" in check:
        return f", {counted(check['limited'], 'agent')} with limits.disk"
    if "free" in check:
        quota = "" if check["quota"] else ", and no quota can keep an agent from all of it"
        return f", {size(check['free'])} of {size(check['size'])} free{quota}"
    return f", {counted(check['entries'], 'request step')}" if check["ok"] else ""
