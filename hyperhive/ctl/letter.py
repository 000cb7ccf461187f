"""A message as the operator reads it; what the hive itself reports, as a sentence."""

import json
from typing import Any

from hyperhive import names
from hyperhive.ctl import terminal
from hyperhive.ctl.terminal import clock
from hyperhive.wire import Message, death


def show(message: Message) -> None:
    """A message in full."""
    facts = [f"from {message['from']}", clock(message["sent_at"])]
    if message["in_reply_to"]:
        facts.append(f"reply to {message['in_reply_to']}")
    if message["state"] == "queued":
        facts.append("unread")
    head = f"-- {message['id']} " + ", ".join(facts) + " --"
    if terminal.on_terminal():
        terminal.console().print(head, style="bold")
    else:
        print(head)
    print(terminal.clean(text_of(message)).rstrip("\n"))
    print()


def text_of(message: Message) -> str:
    body: str = message["body"]
    if message["from"] != names.SYSTEM:
        return body
    return sentence(json.loads(body)) or body


def sentence(event: Any) -> str:
    """What an event of hyperhive-wire(7) says; "" for one that came with a newer broker."""
    match event:
        case {"event": "question_answered", "id": number, "question": question, "state": "answered"}:
            answer = "\n".join(event["answer"])
            return f"{event['by']} answers your question {number} ({brief(question)}):\n{answer}"
        case {"event": "question_answered", "id": number, "question": question, "state": state, "by": by}:
            end = "has expired" if state == "expired" else f"was {state} by {by}"
            return f"Your question {number} ({brief(question)}) {end}."
        case {"event": "dead_letter", "id": number, "agent": agent, "from": sender, "reason": reason}:
            way_out = f"(hivectl dead --retry {number}, or --drop {number})"
            return f"Message {number} from {sender} to {agent} was given up: {reason}\n{way_out}"
        case {"event": "needs_login", "agent": agent, "error": error}:
            return f"The model's endpoint refuses the hive's credential in a turn of {agent}: {error}"
        case {"event": "rate_limited", "agent": agent, "error": error}:
            return f"The model's endpoint asks {agent} to wait: {error}"
        case {"event": "turn_cancelled", "agent": agent, "ids": ids, "by": by}:
            mail = "message " + ", ".join(map(str, ids))
            return f"{agent} gave up {mail}: {by} stopped the turn that it was in. It is not tried again."
        case {"event": "model_refused", "agent": agent, "model": model, "error": error, "next": other}:
            return f"The model's endpoint refuses {model} to {agent}, which goes on with {other}: {error}"
        case {"event": "container_crash", "unit": unit, "invocation": invocation, "restarted": again}:
            look = f"journalctl _SYSTEMD_INVOCATION_ID={invocation}"
            return f"{unit} crashed: {death(event)}{'; systemd starts it again' * again}.\n({look})"
        case {"event": "quarantined", "agent": agent, "unit": unit}:
            way_out = f"systemctl reset-failed 'hive-agent@{agent}.*'; systemctl start {unit}"
            return f"{agent} is in quarantine: it crashed again and again, and its mail waits.\n({way_out})"
        case {"event": "recovered", "agent": agent}:
            return f"{agent} is out of quarantine."
        case {"event": "stopped", "unit": unit}:
            return f"{unit} was stopped."
        case {"event": "spawned", "agent": agent}:
            return f"{agent} was created."
        case {"event": "applied", "agent": agent, "tag": tag, "note": note}:
            return f"{agent} runs {tag} now" + (f": {note}" if note else ".")
        case {"event": "config_ready", "agent": agent, "path": path}:
            return f"The draft of {agent} is there: the manager finds it in {path}."
        case {"event": "destroyed", "agent": agent}:
            return f"{agent} was destroyed; what it had is kept. (hivectl revive {agent}, or purge)"
        case {"event": "approval_resolved", "id": number, "agent": agent, "state": state, "by": by}:
            reason = f": {event['reason']}" if event["reason"] else ""
            return f"Request {number} for {agent} is {state}, by {by}{reason}"
        case {"event": "reminder", "id": number, "message": message, "due_at": due_at}:
            return f"Reminder {number}, due {clock(due_at)}: {message}"
    return ""


def brief(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:59]}…"
