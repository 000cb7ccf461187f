"""What a request to the Messages interface asks, as far as a rule can look at it."""

import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from typing import Any

from hyperhive.problem import Problem

REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
ROLES = ("user", "assistant", "system")  # the CLI also puts system turns between the others

Block = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    agent: str
    model: str
    system: str
    text: str  # the last thing the user said, without the CLI's reminders
    step: int  # how many times the model has called tools since
    tool_result: str
    after_tool: str  # the tool whose result came last, "" when the user spoke last
    turn: str  # the same for all steps that follow one text
    digest: str
    stream: bool
    max_tokens: int
    schema: dict[str, Any] | None  # the answer must be JSON of this form
    cached_chars: int
    new_chars: int


@dataclass(frozen=True)
class Said:
    """The end of a conversation: the last text, and what followed it."""

    text: str
    index: int
    step: int
    tool_result: str
    after_tool: str


def _refuse(message: str) -> Problem:
    return Problem("invalid_request_error", message)


def blocks(content: Any, where: str) -> list[Block]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(b, dict) for b in content):
        raise _refuse(f"{where}.content: Input should be a valid list")
    return content


def text_of(content: Any, where: str) -> str:
    texts = [b["text"] for b in blocks(content, where) if isinstance(b.get("text"), str)]
    return "\n".join(texts)


def _last_text(parts: list[Block]) -> str:
    """The last block that says something: an interrupted turn leaves its own texts before it."""
    for part in reversed(parts):
        text = part.get("text")
        if part.get("type") == "text" and isinstance(text, str):
            bare = REMINDER.sub("", text).strip()
            if bare:
                return bare
    return ""


def _messages(body: dict[str, Any]) -> list[tuple[str, list[Block]]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _refuse("messages: at least one message is required")
    read = []
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise _refuse(f"{where}.role: Input should be 'user' or 'assistant'")
        read.append((message["role"], blocks(message.get("content"), where)))
    return read


def said(messages: list[tuple[str, list[Block]]]) -> Said:
    spoken = (
        i for i in reversed(range(len(messages))) if messages[i][0] == "user" and _last_text(messages[i][1])
    )
    index = next(spoken, 0)
    after = messages[index:]
    names = {b.get("id"): b.get("name") for _, parts in after for b in parts if b.get("type") == "tool_use"}
    results = [b for role, parts in after if role == "user" for b in parts if b.get("type") == "tool_result"]
    # the CLI may send parallel calls as several assistant messages: a step is a change of speaker
    speakers = [role for role, _ in after if role != "system"]
    steps = sum(1 for a, b in itertools.pairwise(speakers) if (a, b) == ("assistant", "user"))
    last = results[-1] if steps and results else {}
    return Said(
        text=_last_text(messages[index][1]),
        index=index,
        step=steps,
        tool_result=text_of(last.get("content", ""), "tool_result"),
        after_tool=str(names.get(last.get("tool_use_id")) or ""),
    )


def _chars(messages: list[Any]) -> int:
    return len(json.dumps(messages, ensure_ascii=False))


def read(body: dict[str, Any], agent: str, session: str) -> Ask:
    messages = _messages(body)
    if not isinstance(body.get("model"), str):
        raise _refuse("model: Field required")
    end = said(messages)
    roles = [role for role, _ in messages]
    answered = len(roles) - roles[::-1].index("assistant") - 1 if "assistant" in roles else 0
    cached = _chars([body.get("system"), body.get("tools"), *body["messages"][:answered]]) if answered else 0
    whole = _chars([body.get("system"), body.get("tools"), *body["messages"]])
    config = body.get("output_config")
    form = config.get("format") if isinstance(config, dict) else None
    max_tokens = body.get("max_tokens", 0)
    return Ask(
        agent=agent,
        model=body["model"],
        system=text_of(body.get("system", ""), "system"),
        text=end.text,
        step=end.step,
        tool_result=end.tool_result,
        after_tool=end.after_tool,
        turn=f"{session}/{end.index}/{end.text}",
        digest=hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()[:24],
        stream=body.get("stream") is True,
        max_tokens=max_tokens if isinstance(max_tokens, int) else 0,
        schema=form.get("schema") if isinstance(form, dict) else None,
        cached_chars=cached,
        new_chars=whole - cached,
    )
