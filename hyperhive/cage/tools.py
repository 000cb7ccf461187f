"""The tools that an agent has: what the model reads about each, and what each asks of the broker."""

from collections.abc import Callable
from typing import NamedTuple

from hyperhive import span, wire
from hyperhive.cage import mail
from hyperhive.client import Client
from hyperhive.problem import Problem
from hyperhive.wire import Message


# Not dataclasses: their module imports inspect, 2 MB in every cage.
class Call(NamedTuple):
    client: Client
    arguments: Message
    taken: list[Message]  # the mail that this call hands to the model


class Tool(NamedTuple):
    name: str
    description: str
    properties: Message
    required: tuple[str, ...]
    run: Callable[[Call], str]

    def schema(self) -> Message:
        shape = {"type": "object", "properties": self.properties, "additionalProperties": False}
        if self.required:
            shape["required"] = list(self.required)
        return {"name": self.name, "description": self.description, "inputSchema": shape}


def run(tool: Tool, call: Call) -> str:
    for name in call.arguments:
        if name not in tool.properties:
            hint = f"it takes: {', '.join(tool.properties) or 'none'}"
            raise Problem("bad-request", f"{tool.name} has no argument {name[:64]!r}", hint=hint)
    for name in tool.required:
        if name not in call.arguments:
            raise Problem("bad-request", f"'{name}' is missing")
    return tool.run(call)


def recv(call: Call) -> str:
    asked = wire.get_int(call.arguments, "wait_seconds", 0, wire.ID_MAX, default=0)
    most = wire.get_int(call.arguments, "max", 1, wire.RECV_COUNT_MAX, default=20)
    wait = min(asked, wire.RECV_WAIT_MAX)
    answer = call.client.call("recv", wait_seconds=wait, max=most)
    call.taken.extend(answer["messages"])
    parts = [mail.block(message) for message in call.taken]
    if not parts:
        parts.append("No mail came." if wait else "No mail.")
    if answer["waiting"]:
        parts.append(f"({answer['waiting']} more waiting: call recv again.)")
    if asked > wait:
        parts.append(f"(wait_seconds was brought down from {asked} to {wait}, the longest that recv waits.)")
    return "\n\n".join(parts)


def send(call: Call) -> str:
    fields: Message = {
        "to": wire.get_text(call.arguments, "to", 64),
        "body": wire.get_text(call.arguments, "body", wire.BODY_MAX),
    }
    if "in_reply_to" in call.arguments:
        fields["in_reply_to"] = wire.get_int(call.arguments, "in_reply_to", 1, wire.ID_MAX)
    answer = call.client.call("send", **fields)
    ids = ", ".join(str(id_) for id_ in answer["ids"])
    ahead = f" ({answer['ahead']} ahead of it in the queue)" if answer["ahead"] else ""
    return f"Sent to {fields['to']} as message {ids}{ahead}."


def whoami(call: Call) -> str:
    me = call.client.call("whoami")
    return "\n".join(
        [
            f"You are {me['agent']}, role {me['role']}.",
            f"Your status: {me['status'] or '(none set)'}",
            f"Mail: {me['waiting']} waiting in the queue, {me['leased']} handed to you in this turn.",
            f"You can write to: {', '.join(me['peers'])}",
        ]
    )


def set_status(call: Call) -> str:
    call.client.call("set_status", status=wire.get_text(call.arguments, "status", 200))
    return "Status set."


def request_next_turn(call: Call) -> str:
    note = wire.get_text(call.arguments, "note", wire.BODY_MAX - 100, default="")
    body = "You asked yourself for another turn." + (f" Your note:\n{note}" if note else "")
    name = call.client.call("whoami")["agent"]
    call.client.call("send", to=name, body=body)
    return "You get another turn after this one: a message to yourself is in your queue."


def ask(call: Call) -> str:
    given = call.arguments
    fields: Message = {
        "question": wire.get_text(given, "question", wire.BODY_MAX),
        "to": wire.get_text(given, "to", 64, "operator"),
    }
    for name, kind in (("options", list), ("multi", bool), ("ttl", int)):
        if name in given:
            fields[name] = wire.get(given, name, kind)
    answer = call.client.call("ask", **fields)
    until = f" It expires in {span.words(fields['ttl'])}." if "ttl" in fields else ""
    said = f"Question {answer['question']} is put to {fields['to']}.{until}"
    return f"{said} What comes of it reaches you as mail from system: do not wait for it."


def answer(call: Call) -> str:
    number = wire.get_int(call.arguments, "question", 1, wire.ID_MAX)
    said = call.arguments["answer"]
    said = [said] if isinstance(said, str) else wire.get(call.arguments, "answer", list)
    call.client.call("answer", question=number, answer=said)
    return f"Question {number} is answered."


def remind(call: Call) -> str:
    fields: Message = {"message": wire.get_text(call.arguments, "message", wire.BODY_MAX)}
    if "delay" in call.arguments:
        fields["delay"] = wire.get_int(call.arguments, "delay", 1, wire.ID_MAX)
    if "at" in call.arguments:
        fields["at"] = wire.get_text(call.arguments, "at", 64)
    answer = call.client.call("remind", **fields)
    in_words = f"in {span.words(fields['delay'])}, " if "delay" in fields else ""
    return f"Reminder {answer['reminder']} comes {in_words}at {answer['due_at']}, as mail from system."


def loose_ends(call: Call) -> str:
    everybody = wire.get(call.arguments, "all", bool, False)
    ends = call.client.call("loose_ends", all=everybody)["loose_ends"]
    if not ends:
        return "Nothing waits."
    return "\n".join(loose_end(end, named=everybody) for end in ends)


def loose_end(end: Message, *, named: bool) -> str:
    """One line, such as 'question asked 3, of bob, 5 min ago: which?'."""
    preposition = {"question asked": "of", "question owed": "to", "unanswered mail": "from"}.get(end["kind"])
    other = f", {preposition} {end['with']}" if preposition else f", due {end['due_at']}"
    who = f"{end['agent']}: " if named else ""
    text = " ".join(end["text"].split())
    return f"{who}{end['kind']} {end['id']}{other}, {span.words(end['age'])} ago: {text}"


def cancel_loose_end(call: Call) -> str:
    kind = wire.get_text(call.arguments, "kind", 20)
    number = wire.get_int(call.arguments, "number", 1, wire.ID_MAX)
    call.client.call("cancel_loose_end", kind=kind, number=number)
    return f"Mail {number} needs no answer." if kind == "mail" else f"The {kind} {number} is cancelled."


def text(description: str) -> Message:
    return {"type": "string", "description": description}


def integer(description: str, **bounds: int) -> Message:
    return {"type": "integer", "description": description, **bounds}


def texts(description: str) -> Message:
    return {"type": "array", "items": {"type": "string"}, "description": description}


ALL = [
    Tool(
        "recv",
        "Take the mail that waits, oldest first. The mail you were woken with is in your prompt already, "
        "this gives what came since. Each message is a <mail> block with its id, sender and time. "
        "With wait_seconds the call parks until mail comes, and returns the instant it does. "
        "With nothing useful to do, call recv(wait_seconds=180) or end your turn (new mail wakes you). "
        "Never wait with `sleep` in Bash.",
        {
            # no maximum here: a client that checks the schema would refuse what we bring down
            "wait_seconds": integer(
                "How long to wait when there is no mail: 0 to 180 seconds. More is taken as 180.",
                minimum=0,
                default=0,
            ),
            "max": integer("The most messages to take.", minimum=1, maximum=wire.RECV_COUNT_MAX, default=20),
        },
        (),
        recv,
    ),
    Tool(
        "send",
        "Send mail to an agent, to 'manager', to 'operator' (the human) or to 'all' (every other agent: "
        "rarely, as it wakes them all). When it returns, the message is safely stored, and a recipient "
        "that sleeps is woken. An answer comes as mail later, not as the result of this tool.",
        {
            "to": text("An agent's name, 'manager', 'operator' or 'all'. whoami lists the names."),
            "body": text("At most 65536 bytes. For more, write a file in /shared and send its path."),
            "in_reply_to": integer("The id of the message that this one answers.", minimum=1),
        },
        ("to", "body"),
        send,
    ),
    Tool(
        "ask",
        "Put a question to the operator (the human) or to an agent, when you cannot go on well without the "
        "answer. It returns at once with the question's id. The answer comes as mail from system, also when "
        "the question expires or is cancelled. Do something else meanwhile, or end your turn.",
        {
            "question": text("All that one must know to answer, at most 8192 bytes."),
            "options": texts("The answers to choose from, at most 20. Without it the answer is free text."),
            "multi": {"type": "boolean", "description": "Several answers may be given.", "default": False},
            "ttl": integer("Seconds until the question expires. Without it, it does not.", minimum=1),
            "to": text("An agent's name, or 'operator', which is the default."),
        },
        ("question",),
        ask,
    ),
    Tool(
        "answer",
        "Answer a question that was put to you: mail from system with the event 'question'.",
        {
            "question": integer("The id of the question.", minimum=1),
            "answer": {
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
                "description": "The answer, one of its options if it has any; a list where multi is true.",
            },
        },
        ("question", "answer"),
        answer,
    ),
    Tool(
        "remind",
        "Send yourself mail later: it wakes you once at that time, also after a restart. Use it instead of "
        "waiting, whenever you want to look at something again. Give either delay or at.",
        {
            "message": text("What to do then; you may have forgotten the rest. At most 8192 bytes."),
            "delay": integer("In so many seconds, at most a year.", minimum=1),
            "at": text("At this ISO 8601 time, UTC unless it says otherwise: 2026-12-24T08:00:00Z."),
        },
        ("message",),
        remind,
    ),
    Tool(
        "loose_ends",
        "What waits for you or because of you, oldest first: questions you asked or owe an answer to, "
        "reminders, mail that you have not answered. Look here before you end a long piece of work.",
        {"all": {"type": "boolean", "description": "Everybody's; the manager only.", "default": False}},
        (),
        loose_ends,
    ),
    Tool(
        "cancel_loose_end",
        "Take back a question you asked or a reminder, or say that mail to you needs no answer.",
        {
            "kind": {
                "type": "string",
                "enum": ["question", "reminder", "mail"],
                "description": "What it is.",
            },
            "number": integer("Its id, as loose_ends gives it.", minimum=1),
        },
        ("kind", "number"),
        cancel_loose_end,
    ),
    Tool(
        "whoami",
        "Your name and role, your status, how much mail waits, and the names you can write to.",
        {},
        (),
        whoami,
    ),
    Tool(
        "set_status",
        "Set the line that the operator sees beside your name, such as 'reviewing the parser'. "
        "An empty one clears it.",
        {"status": text("One line, at most 200 bytes.")},
        ("status",),
        set_status,
    ),
    Tool(
        "request_next_turn",
        "Ask for another turn after this one: a message from yourself is put in your queue. For work that "
        "should not be done in this turn; not to wait for others, as their mail wakes you by itself.",
        {"note": text("What to go on with; you read it when the next turn begins.")},
        (),
        request_next_turn,
    ),
]
