"""What a turn was: its outcome and its record, from the events of the stream, never from prose."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]

OUTCOMES = "ok compacted prompt-too-long rate-limited auth-failed refused timed-out crashed".split()
# The endpoint's doing, not the messages': they go back without counting an attempt.
NOT_THE_MAILS_FAULT = {"rate-limited", "auth-failed"}
WAIT_MAX = 600.0  # seconds
PROGRESS_MAX = 200


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
    retry_after: float = 0.0  # seconds
    compacted: bool = False
    tools: Counter[str] = field(default_factory=Counter)
    usage: Event = field(default_factory=dict)
    total_cost: float = 0.0  # of the process so far


def tool_name(name: str) -> str:
    return name.removeprefix("mcp__hive__")


def doing(name: str, given: Event) -> str:
    """One line about a tool call: 'Bash git status'."""
    keys = ("command", "file_path", "path", "pattern", "to", "status", "url", "query", "description")
    detail = next((str(given[key]) for key in keys if given.get(key)), "")
    line = " ".join(f"{tool_name(name)} {detail}".split())
    return "".join(c if c.isprintable() else "?" for c in line)[:PROGRESS_MAX]


def note(turn: Turn, event: Event) -> str:
    """Take an event into the turn; a new thing that it does now is returned for the status line."""
    match event.get("type"), event.get("subtype"):
        case "system", "init":
            turn.session = str(event.get("session_id", ""))
            turn.model = str(event.get("model", ""))
        case "system", "compact_boundary":
            turn.compacted = True
        case "system", "api_retry":
            turn.retry_after = float(event.get("retry_delay_ms") or 0) / 1000
            return f"waiting for the model: {event.get('error')}"
        case "assistant", _:
            return note_tools(turn, event)
        case "result", _:
            note_result(turn, event)
    return ""


def note_tools(turn: Turn, event: Event) -> str:
    now = ""
    for block in event.get("message", {}).get("content", []):
        if isinstance(block, dict) and block.get("type") == "tool_use":
            name = str(block.get("name"))[:100]
            turn.tools[tool_name(name)] += 1
            now = doing(name, block.get("input") or {})
    return now


def note_result(turn: Turn, event: Event) -> None:
    turn.usage = event.get("usage") or {}
    turn.total_cost = float(event.get("total_cost_usd") or 0)
    turn.session = str(event.get("session_id") or turn.session)
    turn.outcome = outcome_of(turn, event)
    if event.get("is_error"):
        turn.error = str(event.get("result") or "; ".join(map(str, event.get("errors", []))))[:500]


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
        "tools": dict(turn.tools.most_common(100)),
        "tokens_in": usage.get("input_tokens") or 0,
        "tokens_out": usage.get("output_tokens") or 0,
        "tokens_cache_read": usage.get("cache_read_input_tokens") or 0,
        "tokens_cache_write": usage.get("cache_creation_input_tokens") or 0,
        "cost_usd": cost,
        "session": turn.session,
        "error": turn.error,
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
    servers = {server.get("name"): server.get("status") for server in event.get("mcp_servers", [])}
    status = servers.get("hive", "absent")
    return "" if status in ("connected", "pending") else json.dumps(status)
