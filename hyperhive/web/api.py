"""What hive-web does for the operator: the table of actions, each an operation of the broker."""

from dataclasses import dataclass, field
from typing import Any

from hyperhive import span, wire
from hyperhive.problem import Problem

WAIT = 1.0  # seconds: what takes longer is told as under way, and is wrong no more


@dataclass(frozen=True)
class Field:
    kind: str  # text, number, numbers, texts, flag, when
    says: str
    optional: bool = False


@dataclass(frozen=True)
class Action:
    op: str
    says: str
    done: str  # for a form's reader; may name fields of the request and the answer
    fields: dict[str, Field]
    waits: bool = False  # the broker answers when it is carried out
    always: dict[str, str] = field(default_factory=dict)  # fields of the operation


AGENT = Field("text", "an agent's name")
KEY = Field("text", "the same key again is answered as the first time, and not done again", optional=True)
NOTE = Field("text", "why", optional=True)
REQUEST = Field("number", "the number of a request")
IDS = Field("numbers", "numbers of messages")

ACTIONS: dict[str, Action] = {
    "send": Action(
        "send",
        "Send mail to an agent, or to 'all'.",
        "Sent to {to}.",
        {
            "to": Field("text", "an agent's name, or 'all'"),
            "body": Field("text", "at most 65536 bytes"),
            "in_reply_to": Field("number", "the message that it answers", optional=True),
        },
    ),
    "read": Action("read", "Mark mail to the operator as read.", "Marked as read.", {"ids": IDS}),
    "answer": Action(
        "answer",
        "Answer a question.",
        "Question {question} is answered.",
        {
            "question": Field("number", "its number"),
            "answer": Field("texts", "one text, or several where it takes several"),
            "other": Field("flag", "it may be none of the options", optional=True),
        },
    ),
    "ask": Action(
        "ask",
        "Ask an agent.",
        "Asked {to}.",
        {
            "to": AGENT,
            "question": Field("text", "at most 8192 bytes"),
            "options": Field("texts", "what can be answered, at most 20", optional=True),
            "multi": Field("flag", "more than one option may be chosen", optional=True),
            "ttl": Field("number", "seconds until it expires", optional=True),
        },
    ),
    "remind": Action(
        "remind",
        "Have mail sent later.",
        "It will be sent at {due_at}.",
        {
            "message": Field("text", "what it says"),
            "to": Field("text", "an agent's name; the operator by default", optional=True),
            "delay": Field("number", "in so many seconds", optional=True),
            "at": Field("when", "when, in ISO 8601; a form may say 2h or 18:00", optional=True),
        },
    ),
    "cancel": Action(
        "cancel_loose_end",
        "Cancel what waits.",
        "Cancelled.",
        {
            "kind": Field("text", "question, reminder or mail"),
            "number": Field("number", "its number"),
        },
    ),
    "retry": Action("retry", "Queue dead mail again.", "Queued again.", {"ids": IDS}),
    "drop": Action("drop", "Drop dead mail.", "Dropped.", {"ids": IDS}),
    "approve": Action(
        "approve",
        "Approve a request.",
        "Request {request} is approved, and being carried out.",
        {"request": REQUEST, "note": NOTE},
    ),
    "deny": Action(
        "deny",
        "Deny a request.",
        "Request {request} is denied.",
        {"request": REQUEST, "reason": Field("text", "which the manager is told")},
    ),
    "rollback": Action(
        "rollback",
        "Go back to an earlier deploy of an agent.",
        "{agent} goes back: request {request}.",
        {"agent": AGENT, "deploy": Field("number", "which; the one before by default", optional=True)},
    ),
    "allow": Action(
        "allow",
        "Ask for an agent that may use more.",
        "Request {request} waits for your approval.",
        {
            "agent": AGENT,
            "patterns": Field("texts", "for [tools] allow, as Bash(git *); the denial's own", optional=True),
            "hosts": Field("texts", "for [egress] allow, as example.org:443", optional=True),
            "denial": Field("number", "which denial it is about", optional=True),
            "note": NOTE,
        },
    ),
    "dismiss": Action(
        "dismiss",
        "Show these denials no more.",
        "Dismissed.",
        {"ids": Field("numbers", "numbers of denials")},
    ),
    "spawn": Action(
        "spawn",
        "Make an agent; the answer comes when it is there.",
        "{agent} is there.",
        {
            "agent": AGENT,
            "toml": Field("text", "its agent.toml"),
            "prompt": Field("text", "its prompt.md", optional=True),
        },
        waits=True,
    ),
    "draft": Action(
        "draft",
        "Make a draft of an agent, for the manager to fill.",
        "The draft of {agent} is being made: request {request}.",
        {"agent": AGENT, "description": Field("text", "what it is to be", optional=True)},
    ),
    "destroy": Action(
        "destroy",
        "End an agent. What it has is kept.",
        "{agent} is being ended: request {request}.",
        {"agent": AGENT},
    ),
    "revive": Action(
        "revive",
        "Bring an agent back that was destroyed.",
        "{agent} is coming back: request {request}.",
        {"agent": AGENT},
    ),
    "purge": Action(
        "purge",
        "Delete all that is kept of an agent.",
        "What was kept of {agent} is being deleted: request {request}.",
        {"agent": AGENT, "confirm": Field("text", "its name again")},
    ),
    "model": Action(
        "model",
        "Have an agent use another model from its next turn on.",
        "{agent} is to use {next}: {state}.",
        {
            "agent": AGENT,
            "model": Field("text", "which; agent.toml's or the hive's without one", optional=True),
            "until": Field("when", "when that ends, in ISO 8601; a form may say 2h or 18:00", optional=True),
        },
    ),
    "cancel-turn": Action(
        "command",
        "Stop the turn that runs. Its mail is done, and who sent it is told.",
        "Turn {turn} of {agent} is being stopped.",
        {"agent": AGENT},
        always={"command": "cancel"},
    ),
    "compact": Action(
        "command",
        "Compact the session of an agent, before its next turn.",
        "The session of {agent} is compacted before its next turn.",
        {"agent": AGENT},
        always={"command": "compact"},
    ),
    "new-session": Action(
        "command",
        "Have an agent begin a new session with its next turn.",
        "{agent} begins a new session with its next turn.",
        {"agent": AGENT},
        always={"command": "new-session"},
    ),
    "sign-out": Action(
        "sign_out",
        "End a session, or all of them.",
        "Ended.",
        {
            "session": Field("number", "which; your own by default", optional=True),
            "all": Field("flag", "all, and links that were not used yet", optional=True),
        },
    ),
}


def from_json(action: Action, body: bytes) -> wire.Message:
    said = wire.decode(body)
    try:
        wire.encode(said)
    except (UnicodeEncodeError, RecursionError) as e:  # JSON can spell more than can be passed on
        raise Problem("bad-request", f"not valid JSON: {e}") from e
    for name in said:
        if name not in action.fields and name != "key":
            known = ", ".join(action.fields)
            raise Problem("bad-request", f"'{name[:40]}' is not known here", hint=f"known: {known}")
    return said


def from_form(action: Action, form: dict[str, list[str]]) -> wire.Message:
    """A form has only texts; what was left empty was not said."""
    found: dict[str, Any] = {}
    for name, about in {**action.fields, "key": KEY}.items():
        values = [value for value in form.get(name, []) if value.strip()]
        if values:
            found[name] = converted(name, about, values)
    return found


def converted(name: str, field: Field, values: list[str]) -> Any:
    if field.kind == "text":
        return values[0].replace("\r\n", "\n")  # as browsers send line breaks
    if field.kind == "texts":
        return [value.replace("\r\n", "\n") for value in values]
    if field.kind == "when":
        return span.moment(values[0])
    if field.kind == "flag":
        return True
    numbers = [number(name, word) for value in values for word in value.split(",")]
    return numbers if field.kind == "numbers" else numbers[0]


def number(name: str, word: str) -> int:
    if not (word.strip().isdecimal() and len(word) < 30):
        raise Problem("bad-request", f"'{name}' must be a number")
    return int(word)
