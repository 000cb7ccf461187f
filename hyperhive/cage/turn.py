"""What a turn was: its outcome and its record, from the events of the stream, never from prose."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
Event = dict[str, Any]

OUTCOMES = (
    "ok compacted cancelled prompt-too-long rate-limited auth-failed refused timed-out crashed".split()
)
WELL = ("ok", "compacted", "cancelled")  # the mail is done
# The endpoint's doing, not the messages': they go back without counting an attempt.
NOT_THE_MAILS_FAULT = {"rate-limited", "auth-failed"}
WAIT_MAX = 600.0  # seconds
PROGRESS_MAX = 200
TOOLS_MAX = 100  # names that are counted by themselves


TOKENS = {
    "tokens_in": "input_tokens",
    "tokens_out": "output_tokens",
    "tokens_cache_read": "cache_read_input_tokens",
    "tokens_cache_write": "cache_creation_input_tokens",
}


@dataclass
class Turn:
    number: int
    started_at: str
    messages: int
    woken_by: str
    model: str = ""
    session: str = ""
    outcome: str = ""
    error: str = ""
    endpoint_failed: bool = False
    no_such_model: bool = False
    refused: set[str] = field(default_factory=set)  # models that the endpoint does not know
    retry_after: float = 0.0  # seconds
    compacted: bool = False
    tools: Counter[str] = field(default_factory=Counter)
    usage: Event = field(default_factory=dict)
    total_cost: float = 0.0  # of the process so far
    began: float = field(default_factory=time.monotonic)
    claude_ms: int | None = None  # until claude was ready, until the model's first answer
    answer_ms: int | None = None
    last_usage: Event = field(default_factory=dict)  # of the newest inference alone
    exit_code: int | None = None


def get(event: Event, key: str, kind: type[T]) -> T:
    """What claude says under the key, if it is what it should be."""
    value = event.get(key)
    return value if isinstance(value, kind) else kind()


def number(event: Event, key: str) -> float:
    value = event.get(key)
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e12 else 0.0


def clip(text: str, size: int) -> str:
    """At most so many bytes of it, as UTF-8 can spell it."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")


def tool_name(name: str) -> str:
    return name.removeprefix("mcp__hive__")


def doing(name: str, given: Event) -> str:
    """One line about a tool call: 'Bash git status'."""
    keys = ("command", "file_path", "path", "pattern", "to", "status", "url", "query", "description")
    detail = next((str(given[key]) for key in keys if given.get(key)), "")
    return harmless(f"{name} {detail}")


def harmless(text: str) -> str:
    """One line that a terminal can be shown."""
    line = " ".join(text[: 10 * PROGRESS_MAX].split())
    return "".join(c if c.isprintable() else "?" for c in line)[:PROGRESS_MAX]


def note(turn: Turn, event: Event) -> str:
    """Take an event into the turn; a new thing that it does now is returned for the status line."""
    match event.get("type"), event.get("subtype"):
        case "system", "init":
            turn.session = clip(get(event, "session_id", str), 200)
            turn.model = clip(get(event, "model", str), 200)
            turn.claude_ms = since(turn) if turn.claude_ms is None else turn.claude_ms
        case "system", "compact_boundary":
            turn.compacted = True
        case "system", "api_retry":
            turn.retry_after = number(event, "retry_delay_ms") / 1000
            return harmless(f"waiting for the model: {event.get('error')}")
        case "assistant", _:
            turn.answer_ms = since(turn) if turn.answer_ms is None else turn.answer_ms
            turn.last_usage = get(get(event, "message", dict), "usage", dict) or turn.last_usage
            return note_tools(turn, event)
        case "result", _:
            note_result(turn, event)
    return ""


def since(turn: Turn) -> int:
    return round((time.monotonic() - turn.began) * 1000)


def note_tools(turn: Turn, event: Event) -> str:
    now = ""
    for block in get(get(event, "message", dict), "content", list):
        if isinstance(block, dict) and block.get("type") == "tool_use":
            name = harmless(tool_name(get(block, "name", str)))[:100]
            known = name in turn.tools or len(turn.tools) < TOOLS_MAX
            turn.tools[name if known else "others"] += 1
            now = doing(name, get(block, "input", dict))
    return now


def note_result(turn: Turn, event: Event) -> None:
    turn.endpoint_failed, turn.no_such_model, turn.error = False, False, ""  # it may be done again
    turn.usage = get(event, "usage", dict)
    turn.total_cost = number(event, "total_cost_usd")
    turn.session = clip(get(event, "session_id", str), 200) or turn.session
    turn.outcome = outcome_of(turn, event)
    if event.get("is_error"):
        errors = "; ".join(map(str, get(event, "errors", list)))
        turn.error = clip(get(event, "result", str) or errors, 500)


def outcome_of(turn: Turn, event: Event) -> str:
    status = event.get("api_error_status")
    if event.get("stop_reason") == "refusal":
        return "refused"
    if not event.get("is_error"):
        return "compacted" if turn.compacted else "ok"
    if event.get("terminal_reason") == "prompt_too_long":
        return "prompt-too-long"
    if status in (401, 403):
        return "auth-failed"
    if status in (429, 529):
        return "rate-limited"
    turn.no_such_model = status == 404 and event.get("api_error_type") == "not_found_error"
    # The endpoint is away or answers nonsense; a bad request (400) may well be the messages' doing.
    turn.endpoint_failed = bool(event.get("api_error")) or (isinstance(status, int) and status >= 500)
    return "crashed"


def no_conversation(event: Event) -> bool:
    """The session to be resumed is not there (any more)."""
    return (
        event.get("type") == "result"
        and event.get("subtype") == "error_during_execution"
        and event.get("num_turns") == 0
        and not event.get("terminal_reason")
    )


def hold(turn: Turn, failures: int) -> float:
    """How long to leave the endpoint alone: what it asked for, or longer each time."""
    return min(WAIT_MAX, max(turn.retry_after, 5.0 * float(2 ** min(failures - 1, 7))))


def record(turn: Turn, duration_ms: int, cost: float) -> Event:
    usage = turn.usage
    return {
        "number": turn.number,
        "started_at": turn.started_at,
        "duration_ms": duration_ms,
        "outcome": turn.outcome,
        "model": turn.model,
        "woken_by": turn.woken_by,
        "messages": turn.messages,
        "tool_calls": turn.tools.total(),
        "tools": dict(turn.tools),
        **{ours: int(number(usage, theirs)) for ours, theirs in TOKENS.items()},
        "cost_usd": cost,
        "session": turn.session,
        "error": turn.error,
        "claude_ms": turn.claude_ms,
        "answer_ms": turn.answer_ms,
        "exit_code": turn.exit_code,
    } | {
        f"last_{ours}": int(number(turn.last_usage, theirs)) if turn.last_usage else None
        for ours, theirs in TOKENS.items()
    }


def wake_prompt(blocks: list[str], waiting: int, *, redelivered: bool) -> str:
    count = len(blocks)
    lines = [f"You have {count} new message{'s' if count > 1 else ''}."]
    if waiting:
        lines.append(f"{waiting} more are waiting; you get them with recv or in your next turn.")
    if redelivered:
        lines.append(
            "Those marked redelivered were given to an earlier run of yours that did not finish:"
            " look what was done already before you do it again."
        )
    return "\n".join([*lines, "", "\n\n".join(blocks)])


def mcp_missing(event: Event) -> str:
    """Of a system/init event: what is wrong with the hive's tools, or ''."""
    listed = [server for server in get(event, "mcp_servers", list) if isinstance(server, dict)]
    status = next((server.get("status") for server in listed if server.get("name") == "hive"), "absent")
    return "" if status in ("connected", "pending") else json.dumps(status)
