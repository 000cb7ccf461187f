"""hivectl's verbs for what waits: ask, questions, answer, remind, loose-ends, dead."""

import argparse
import sys
from typing import Any

from hyperhive import names, span
from hyperhive.client import Client
from hyperhive.ctl import terminal
from hyperhive.ctl.terminal import Column, age, clock, counted, line
from hyperhive.ctl.verb import Verb, connect, number, time_span
from hyperhive.problem import Problem
from hyperhive.wire import Message

ENDS = (
    Column("AGENT"),
    Column("KIND"),
    Column("ID", right=True),
    Column("WITH"),
    Column("AGE", right=True),
    Column("TEXT", fill=True),
)
DEAD = (
    Column("ID", right=True),
    Column("SENT"),
    Column("FROM"),
    Column("TO"),
    Column("TRIED", right=True),
    Column("REASON", fill=True),
    Column("BODY", fill=True),
)
PAGE = 1000  # messages in one answer
ALL = "all"


def add(verb: Verb) -> None:
    p = verb("ask", ask, "put a question to an agent")
    p.add_argument("agent", metavar="AGENT")
    p.add_argument("question", metavar="QUESTION")
    p.add_argument(
        "--option", action="append", metavar="TEXT", help="an answer to choose from, once for each"
    )
    p.add_argument("--multi", action="store_true", help="several answers may be given")
    p.add_argument("--ttl", type=time_span, metavar="TIME", help="when it expires: 90s, 10min, 2h, 1d")
    verb("questions", questions, "show the open questions")
    p = verb("answer", answer, "answer a question")
    p.add_argument("id", type=number, metavar="ID")
    p.add_argument("text", metavar="TEXT", nargs="+", help="the answer, or answers where it may be several")
    p.add_argument("--other", action="store_true", help="it may be none of the options")
    p = verb("remind", remind, "have mail sent later, to yourself or an agent")
    p.add_argument("agent", metavar="AGENT", nargs="?", default=names.OPERATOR)
    p.add_argument("message", metavar="MESSAGE")
    when = p.add_mutually_exclusive_group(required=True)
    when.add_argument("--in", type=time_span, metavar="TIME", dest="delay", help="after 90s, 10min, 2h, 1d")
    when.add_argument("--at", type=moment, metavar="TIME", help="at 08:00, or '2026-12-24 08:00'")
    p = verb("loose-ends", loose_ends, "show what waits for somebody")
    p.add_argument("agent", metavar="AGENT", nargs="?", help="only what waits for AGENT, or operator")
    kinds = "a question, reminder or mail"
    p.add_argument("--cancel", nargs=2, metavar=("KIND", "ID"), help=f"cancel {kinds} instead")
    p = verb("dead", dead, "show the mail that was given up")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--retry", type=chosen, nargs="+", metavar="ID", help="queue these again, or all")
    what.add_argument("--drop", type=chosen, nargs="+", metavar="ID", help="give these up for good, or all")


def moment(text: str) -> str:
    try:
        return span.moment(text)
    except Problem as e:
        raise argparse.ArgumentTypeError(f"{e}: {e.hint}") from e


def chosen(text: str) -> int | str:
    return text if text == ALL else number(text)


def ask(args: argparse.Namespace) -> int:
    fields: dict[str, Any] = {"to": args.agent, "question": args.question, "multi": args.multi}
    if args.option:
        fields["options"] = args.option
    if args.ttl:
        fields["ttl"] = args.ttl
    with connect() as client:
        asked = client.call("ask", **fields)
    if args.json:
        terminal.print_json(asked)
    else:
        print(f"question {asked['question']} is put to {args.agent}; the answer comes into the inbox")
    return 0


def questions(args: argparse.Namespace) -> int:
    with connect() as client:
        asked = client.call("questions")["questions"]
    if args.json:
        terminal.print_json(asked)
    elif not asked:
        print("No open questions.", file=sys.stderr)
    for question in () if args.json else asked:
        show_question(question)
    return 0


def show_question(question: Message) -> None:
    expires = f", expires {clock(question['expires_at'])}" if question["expires_at"] else ""
    to = f"{question['asker']} asks {question['asked']}"
    print(f"-- {question['id']} {to}, {age(question['asked_at'])} ago{expires} --")
    print(terminal.clean(question["question"]).rstrip("\n"))
    for option in question["options"]:
        print(f"  {'+' if question['multi'] else '*'} {line(option)}")
    print()


def answer(args: argparse.Namespace) -> int:
    with connect() as client:
        client.call("answer", question=args.id, answer=args.text, other=args.other)
    if args.json:
        terminal.print_json({"question": args.id})
    return 0


def remind(args: argparse.Namespace) -> int:
    when = {"at": args.at} if args.at else {"delay": args.delay}
    with connect() as client:
        armed = client.call("remind", to=args.agent, message=args.message, **when)
    if args.json:
        terminal.print_json(armed)
    else:
        print(f"reminder {armed['reminder']} comes at {clock(armed['due_at'])}")
    return 0


def loose_ends(args: argparse.Namespace) -> int:
    with connect() as client:
        if args.cancel:
            kind, text = args.cancel
            client.call("cancel_loose_end", kind=kind, number=id_of(text))
            if args.json:
                terminal.print_json({"kind": kind, "number": id_of(text)})
            return 0
        whose = {"agent": args.agent} if args.agent is not None else {}
        ends = client.call("loose_ends", **whose)["loose_ends"]
    terminal.print_list(ends, ENDS, end_row, "Nothing waits.", as_json=args.json)
    return 0


def id_of(text: str) -> int:
    if not text.isdecimal():
        raise Problem(
            "usage", f"{text!r} is no id", hint="it is the second word after --cancel", exit_status=2
        )
    return int(text)


def end_row(end: Message) -> list[str]:
    due = f"due {clock(end['due_at'])}: " if "due_at" in end else ""
    waits = span.words(end["age"])
    return [end["agent"], end["kind"], str(end["id"]), end["with"], waits, due + line(end["text"])]


def dead(args: argparse.Namespace) -> int:
    with connect() as client:
        if args.retry or args.drop:
            op, key = ("retry", "requeued") if args.retry else ("drop", "dropped")
            return end_dead(args, client, op, key)
        letters = all_dead(client)
    terminal.print_list(letters, DEAD, dead_row, "No dead letters.", as_json=args.json)
    return 0


def end_dead(args: argparse.Namespace, client: Client, op: str, key: str) -> int:
    ids = args.retry or args.drop
    if ALL in ids:
        ids = [letter["id"] for letter in all_dead(client)]
    count = sum(client.call(op, ids=ids[i : i + PAGE])[key] for i in range(0, len(ids), PAGE))
    if args.json:
        terminal.print_json({key: count})
    else:
        print(f"{key} {counted(count, 'message')}")
    return 0


def all_dead(client: Client) -> list[Message]:
    """The oldest first."""
    letters: list[Message] = []
    fields: dict[str, Any] = {"state": "dead", "limit": PAGE}
    while found := client.call("mail", **fields)["messages"]:
        letters += found
        fields["before"] = found[-1]["id"]
    return letters[::-1]


def dead_row(letter: Message) -> list[str]:
    tried = str(letter["attempts"])
    reason, body = line(letter["reason"] or ""), line(letter["body"])
    return [str(letter["id"]), clock(letter["sent_at"]), letter["from"], letter["to"], tried, reason, body]
