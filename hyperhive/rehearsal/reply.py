"""An answer of the Messages interface: one JSON object, or the same as server-sent events."""

import json
from collections.abc import Iterator
from typing import Any

from hyperhive.rehearsal.ask import Ask
from hyperhive.rehearsal.rules import Action, Failure, Match, Rules

Object = dict[str, Any]

PIECE = 64  # characters per delta
FLOOD_PIECE = 16 * 1024
COMPACT = "Your task is to create a detailed summary of"
SUMMARY = "<analysis>Rehearsed.</analysis>\n<summary>The conversation so far was a rehearsal.</summary>"


def example(schema: Object) -> Any:
    """The simplest value of a JSON schema, for the CLI's side questions (a title, a topic)."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {key: example(inner) for key, inner in schema.get("properties", {}).items()}
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number":
            return 0
        case _:
            return "Rehearsal"


def built_in(ask: Ask) -> Action | None:
    """What the CLI asks on its own account; no rule sees it."""
    if ask.schema is not None:
        return Action(say=json.dumps(example(ask.schema)))
    if ask.text.startswith(COMPACT) or "\n" + COMPACT in ask.text:
        return Action(say=SUMMARY)
    return None


def no_rule(ask: Ask) -> Action:
    if ask.max_tokens == 1:
        return Action(say="#")
    if ask.step:
        return Action(say="Done.")
    line = ask.text.splitlines()[0][:80] if ask.text else ""
    return Action(say=f"This is the rehearsal model. No rule matches {line!r}.")


def choose(rules: Rules, ask: Ask) -> tuple[Action, Match | None]:
    if action := built_in(ask):
        return action, None
    match = rules.match(ask)
    return (match.action if match else no_rule(ask)), match


def tokens(chars: int) -> int:
    return max(1, chars // 4)


def usage(ask: Ask, output_chars: int) -> Object:
    return {
        "input_tokens": 3,
        "cache_creation_input_tokens": tokens(ask.new_chars),
        "cache_read_input_tokens": tokens(ask.cached_chars) if ask.cached_chars else 0,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens(ask.new_chars),
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": tokens(output_chars),
        "service_tier": "standard",
    }


def content(ask: Ask, action: Action) -> list[Object]:
    texts = [action.say] if action.say else []
    parts: list[Object] = [{"type": "text", "text": text} for text in texts]
    for number, call in enumerate(action.calls):
        name = f"toolu_{ask.digest[:20]}{number:04}"
        parts.append({"type": "tool_use", "id": name, "name": call.name, "input": call.input})
    return parts


def message(ask: Ask, action: Action) -> Object:
    parts = content(ask, action)
    if action.flood_bytes:
        parts.append({"type": "text", "text": "x" * action.flood_bytes})
    return {
        "id": f"msg_{ask.digest}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": parts,
        "stop_reason": "tool_use" if action.calls else "end_turn",
        "stop_sequence": None,
        "usage": usage(ask, _chars(action)),
    }


def _chars(action: Action) -> int:
    inputs = sum(len(json.dumps(call.input)) + len(call.name) for call in action.calls)
    return len(action.say) + inputs + action.flood_bytes


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def start(ask: Ask) -> bytes:
    empty = {**message(ask, Action()), "content": [], "stop_reason": None, "usage": usage(ask, 0)}
    return event("message_start", message=empty)


def _pieces(text: str, size: int = PIECE) -> Iterator[str]:
    return (text[i : i + size] for i in range(0, len(text), size))


def _block(index: int, part: Object) -> Iterator[bytes]:
    if part["type"] == "text":
        yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(part["text"])]
    else:
        yield event("content_block_start", index=index, content_block={**part, "input": {}})
        text = json.dumps(part["input"], ensure_ascii=False)
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *_pieces(text))]
    for delta in deltas:
        yield event("content_block_delta", index=index, delta=delta)
    yield event("content_block_stop", index=index)


def _flood(index: int, size: int) -> Iterator[bytes]:
    yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
    for begin in range(0, size, FLOOD_PIECE):
        text = "x" * min(FLOOD_PIECE, size - begin)
        yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": text})
    yield event("content_block_stop", index=index)


def stream(ask: Ask, action: Action) -> Iterator[bytes]:
    yield start(ask) + event("ping")
    parts = content(ask, action)
    for index, part in enumerate(parts):
        yield from _block(index, part)
    if action.flood_bytes:
        yield from _flood(len(parts), action.flood_bytes)
    reason = "tool_use" if action.calls else "end_turn"
    total = usage(ask, _chars(action))
    yield event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=total)
    yield event("message_stop")


def half_a_stream(ask: Ask) -> bytes:
    begun = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    return start(ask) + begun + b'event: content_block_delta\ndata: {"type":"content_block_del'


def error(failure: Failure) -> Object:
    return {"type": "error", "error": {"type": failure.type, "message": failure.message}}
