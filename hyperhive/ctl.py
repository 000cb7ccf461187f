"""hivectl(1): parse, ask, show. Nothing is decided here."""

import argparse
import getpass
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hyperhive import ctl_show, ctl_text, ctl_units
from hyperhive.client import Client, Lost
from hyperhive.problem import EX_CONFIG, Problem
from hyperhive.wire import Message

SOCKET = "/run/hyperhive/operator.sock"
PATIENCE = 2.0  # seconds: longer than a restart of the broker takes
FOLLOW_PATIENCE = 60.0
SPAWN_WAIT = 180.0  # seconds that hive-apply may take
TOOLS = ["Read", "Edit", "Write", "Glob", "Grep", "Bash"]
UNREACHABLE = "is it running? systemctl start hyperhive.target; in a box: hive-box run -- hivectl …"


def connect(patience: float = PATIENCE) -> Client:
    return Client(os.environ.get("HIVE_OPERATOR_SOCKET", SOCKET), patience=patience)


def with_states(agents: list[Message]) -> list[Message]:
    active = ctl_units.sockets() if agents else {}
    if active is None:
        print("systemd does not answer: who is paused or quarantined is not known", file=sys.stderr)
    return [agent | {"state": ctl_units.state(agent, active)} for agent in agents]


def status(args: argparse.Namespace) -> int:
    try:
        with connect() as client:
            about = client.call("status")
            agents = with_states(client.call("agents")["agents"])
    except Problem as e:
        raise Problem(e.code, str(e), hint=e.hint) from e  # 1, not 75: who asks "is it well?" has an answer
    if args.json:
        ctl_text.print_json(about | {"states": Counter(agent["state"] for agent in agents)})
    else:
        ctl_show.status(about, agents)
    return 0


def list_agents(args: argparse.Namespace) -> int:
    with connect() as client:
        agents = with_states(client.call("agents")["agents"])
    if args.json:
        ctl_text.print_json(agents)
    elif agents:
        ctl_text.print_table(ctl_show.AGENTS, [ctl_show.agent_row(agent) for agent in agents])
    else:
        print("There are no agents yet. (hivectl spawn NAME)", file=sys.stderr)
    return 0


def show(args: argparse.Namespace) -> int:
    with connect() as client:
        shown = client.call("show", agent=args.agent)
    (shown["agent"],) = with_states([shown["agent"]])
    if args.json:
        ctl_text.print_json(shown)
    else:
        ctl_show.agent(shown)
    return 0


def top(args: argparse.Namespace) -> int:
    from hyperhive import ctl_top  # it imports rich, which no other verb needs in a pipe

    with connect() as client:
        view = ctl_top.look(client)
    if args.json:
        ctl_text.print_json({"status": view.about, "agents": view.agents})
    elif ctl_text.on_terminal():
        ctl_top.run(connect)
    else:
        print(ctl_show.headline(view.about, view.agents))
        ctl_text.print_table(ctl_show.AGENTS, [ctl_show.agent_row(agent) for agent in view.agents])
    return 0


def spawn(args: argparse.Namespace) -> int:
    toml = read(args.toml) if args.toml else agent_toml(args.description, args.model)
    fields = {"prompt": read(args.prompt)} if args.prompt else {}
    with connect() as client:
        born = client.call("spawn", answer_wait=SPAWN_WAIT, agent=args.name, toml=toml, **fields)
    if args.json:
        ctl_text.print_json(born)
    else:
        print(f"{born['agent']} is there, and sleeps until it has mail. (hivectl send {born['agent']} …)")
    return 0


def agent_toml(description: str | None, model: str | None) -> str:
    lines = [f"description = {toml_string(description)}"] if description else []
    lines += [f"model = {toml_string(model)}"] if model else []
    tools = ", ".join(toml_string(tool) for tool in TOOLS)
    return "\n".join([*lines, "", "[tools]", f"allow = [{tools}]", ""])


def toml_string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as e:
        raise Problem("no-file", f"{path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise Problem("no-file", f"{path}: not UTF-8 at byte {e.start}") from e


def send(args: argparse.Namespace) -> int:
    fields: dict[str, Any] = {"to": args.to, "body": body(args.body)}
    if args.reply_to is not None:
        fields["in_reply_to"] = args.reply_to
    if args.key is not None:
        fields["key"] = args.key
    with connect() as client:
        sent = client.call("send", **fields)
    if args.json:
        ctl_text.print_json(sent)
    elif not sent["ids"]:
        print("There is nobody to send it to.", file=sys.stderr)
    else:
        ahead = f", {ctl_text.counted(sent['ahead'], 'message')} ahead" if sent["ahead"] else ""
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
            ctl_text.print_json(messages)
        for message in () if args.json else reversed(messages):
            ctl_show.letter(message)
        if not messages and not args.json:
            print("Nothing new. (--all shows what you have read)", file=sys.stderr)
        sys.stdout.flush()  # what could not be shown is not read
        unread = [message["id"] for message in messages if message["state"] == "queued"]
        if args.mark_read and unread:
            client.call("read", ids=unread)
    return 0


def mail(args: argparse.Namespace) -> int:
    fields: dict[str, Any] = {"limit": args.limit}
    if args.agent:
        fields["agent"] = args.agent
    if args.follow:
        return follow(fields, as_json=args.json)
    if args.state:
        fields["state"] = args.state
    with connect() as client:
        messages = client.call("mail", **fields)["messages"]
    if args.json:
        ctl_text.print_json(messages)
    elif messages:
        ctl_show.mail(reversed(messages))
    else:
        print("No mail.", file=sys.stderr)
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
    print(json.dumps(shown) if as_json else ctl_show.flow(shown), flush=True)
    return int(message["id"])


def number(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def parser() -> argparse.ArgumentParser:
    top_level = argparse.ArgumentParser(prog="hivectl", description="Run a hive of coding agents.")
    verbs = top_level.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        p = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        p.add_argument("--json", action="store_true", help="print JSON")
        p.set_defaults(run=run)
        return p

    verb("status", status, "show whether the hive is well and what waits")
    verb("list", list_agents, "list the agents with their state")
    p = verb("show", show, "show an agent, its last turns and its last mail")
    p.add_argument("agent", metavar="AGENT")
    verb("top", top, "watch the agents, live; q ends it")
    p = verb("spawn", spawn, "create an agent")
    p.add_argument("name", metavar="NAME", help="2 to 32 of a-z, 0-9 and '-'")
    p.add_argument("--toml", type=Path, metavar="FILE", help="its agent.toml, else a small one is made")
    p.add_argument("--prompt", type=Path, metavar="FILE", help="what its system prompt says besides")
    p.add_argument(
        "--description", metavar="TEXT", help="its job in one line, for an agent.toml that is made"
    )
    p.add_argument("--model", metavar="MODEL", help="its model, for an agent.toml that is made")
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
    which = p.add_mutually_exclusive_group()
    which.add_argument("--state", choices=("queued", "leased", "done", "dead"), help="only in this state")
    which.add_argument("--follow", action="store_true", help="go on as mail is sent, until Ctrl-C")
    return top_level


def parse() -> argparse.Namespace:
    try:
        " ".join(sys.argv).encode()
    except UnicodeEncodeError as e:
        raise Problem("usage", "an argument is not UTF-8", exit_status=2) from e
    p = parser()
    args = p.parse_args()
    if args.run is spawn and args.toml and (args.description or args.model):
        p.error("--toml says it all: no --description or --model with it")
    return args


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 shows escapes
    try:
        args = parse()
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains when it flushes
        return 1
    except Problem as e:
        raise explained(e) from e
    return status


def explained(problem: Problem) -> Problem:
    """The same, with the way out where hivectl knows more than the broker, and harmless on a terminal."""
    text, hint = ctl_text.line(str(problem)), problem.hint
    code = EX_CONFIG if problem.code == "bad-config" else problem.exit_status
    if problem.code == "unreachable":
        hint = UNREACHABLE
    if problem.code == "no-permission":
        text = "only members of the group hive-admin may do this"
        hint = f"usermod --append --groups hive-admin {getpass.getuser()}, then log in again; or use sudo"
    return Problem(problem.code, text, hint=hint, exit_status=code)
