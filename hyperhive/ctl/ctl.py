"""hivectl(1): parse, ask, show. Nothing is decided here."""

import argparse
import getpass
import io
import os
import sys
from collections import Counter

from hyperhive.ctl import backups, change, denials, egress, ends, mail, stats, terminal, turns, units, web
from hyperhive.ctl import show as ctl_show
from hyperhive.ctl.verb import Run, connect
from hyperhive.problem import EX_CONFIG, Problem
from hyperhive.wire import Message

UNREACHABLE = "is it running? systemctl start hyperhive.target; in a box: hive-box run -- hivectl …"


def with_states(agents: list[Message]) -> list[Message]:
    active = units.sockets() if agents else {}
    if active is None:
        print("systemd does not answer: who is paused or quarantined is not known", file=sys.stderr)
    return [agent | {"state": units.state(agent, active)} for agent in agents]


def status(args: argparse.Namespace) -> int:
    try:
        with connect() as client:
            about = client.call("status")
            agents = with_states(client.call("agents")["agents"])
    except Problem as e:
        raise Problem(e.code, str(e), hint=e.hint) from e  # 1, not 75: who asks "is it well?" has an answer
    if args.json:
        terminal.print_json(about | {"states": Counter(agent["state"] for agent in agents)})
    else:
        ctl_show.status(about, agents)
    return 0


def list_agents(args: argparse.Namespace) -> int:
    with connect() as client:
        agents = with_states(client.call("agents")["agents"])
    nothing = "There are no agents yet. (hivectl spawn NAME)"
    terminal.print_list(agents, ctl_show.AGENTS, ctl_show.agent_row, nothing, as_json=args.json)
    return 0


def show(args: argparse.Namespace) -> int:
    with connect() as client:
        shown = client.call("show", agent=args.agent)
    (shown["agent"],) = with_states([shown["agent"]])
    if args.json:
        terminal.print_json(shown)
    else:
        ctl_show.agent(shown)
    return 0


def top(args: argparse.Namespace) -> int:
    from hyperhive.ctl import top as ctl_top  # it imports rich, which no other verb needs in a pipe

    with connect() as client:
        view = ctl_top.look(client)
    if args.json:
        terminal.print_json({"status": view.about, "agents": view.agents})
    elif terminal.on_terminal():
        ctl_top.run(connect)
    else:
        print(ctl_show.headline(view.about, view.agents))
        terminal.print_table(ctl_show.AGENTS, [ctl_show.agent_row(agent) for agent in view.agents])
    return 0


def parser() -> argparse.ArgumentParser:
    top_level = argparse.ArgumentParser(prog="hivectl", description="Run a hive of coding agents.")
    verbs = top_level.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        p = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        p.add_argument("--json", action="store_true", help="print JSON")
        p.set_defaults(run=run)
        return p

    verb("status", status, "show whether the hive is well and what waits")
    verb("list", list_agents, "list the agents with their state")
    p = verb("show", show, "show an agent, its last turns and its last mail")
    p.add_argument("agent", metavar="AGENT")
    verb("top", top, "watch the agents, live; q ends it")
    change.add(verb)
    denials.add(verb)
    egress.add(verb)
    mail.add(verb)
    ends.add(verb)
    turns.add(verb)
    backups.add(verb)
    web.add(verb)
    stats.add(verb)
    return top_level


def parse() -> argparse.Namespace:
    try:
        " ".join(sys.argv).encode()
    except UnicodeEncodeError as e:
        raise Problem("usage", "an argument is not UTF-8", exit_status=2) from e
    p = parser()
    args = p.parse_args()
    if args.run is change.spawn and args.toml and (args.description or args.model):
        p.error("--toml says it all: no --description or --model with it")
    if args.run is turns.model and bool(args.model) == args.reset and (args.model or args.until):
        p.error("give either NAME or --reset, and --until only with NAME")
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
    text, hint = terminal.line(str(problem)), problem.hint
    code = EX_CONFIG if problem.code == "bad-config" else problem.exit_status
    if problem.code == "unreachable":
        hint = UNREACHABLE
    if problem.code == "no-permission":
        text = "only members of the group hive-admin may do this"
        hint = f"usermod --append --groups hive-admin {getpass.getuser()}, then log in again; or use sudo"
    return Problem(problem.code, text, hint=hint, exit_status=code)
