"""What claude says and does in a turn, as the hive shows and keeps it. Standard library only."""

import json
from collections.abc import Iterator
from typing import Any

from hyperhive.cage.turn import clip, get, number, tool_name

Event = dict[str, Any]

TEXT_MAX = 8 * 1024  # bytes
# A tool's input stays JSON: its strings are cut, first those that are longest.
CUTS = (3000, 1500, 700, 300, 100)


def told(event: Event) -> Iterator[Event]:
    match event.get("type"), event.get("subtype"):
        case "assistant", _:
            yield from said(event)
        case "user", _:
            for block in blocks(event):
                if block.get("type") == "tool_result":
                    yield one("error" if block.get("is_error") else "result", text_of(block), id=block)
        case "system", "api_retry":
            about = f"{event.get('error')} ({event.get('error_status')})"
            yield one("status", f"the model's endpoint: {about}, trying again")
        case "system", "compact_boundary":
            sizes: Event = get(event, "compact_metadata", dict)
            before, after = (int(number(sizes, key)) for key in ("pre_tokens", "post_tokens"))
            yield one("status", f"compacted: {before} tokens before, {after} now")
        case "result", _ if event.get("is_error"):
            errors = "; ".join(map(str, get(event, "errors", list)))
            yield one("error", get(event, "result", str) or errors)


def said(event: Event) -> Iterator[Event]:
    for block in blocks(event):
        kind = block.get("type")
        if kind == "tool_use":
            yield call(block)
        # What the CLI says of an error is told by the result.
        elif kind in ("text", "thinking") and not event.get("error") and get(block, str(kind), str):
            yield one(str(kind), get(block, str(kind), str))


def blocks(event: Event) -> list[Event]:
    content = get(get(event, "message", dict), "content", list)
    return [block for block in content if isinstance(block, dict)]


def one(kind: str, text: str, *, id: Event | None = None) -> Event:
    about: Event = {"kind": kind, "text": clip(text, TEXT_MAX), "bytes": len(text.encode(errors="replace"))}
    if id is not None:
        about["id"] = clip(get(id, "tool_use_id", str), 200)
    return about


def call(block: Event) -> Event:
    given = get(block, "input", dict)
    whole = written(given)
    text = next((cut for cut in shorter(whole, given) if len(cut.encode()) <= TEXT_MAX), "{}")
    name = clip(tool_name(get(block, "name", str)), 200)
    about = {"kind": "tool", "tool": name, "id": clip(get(block, "id", str), 200)}
    return about | {"text": text, "bytes": len(whole.encode())}


def written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()


def shorter(whole: str, given: Event) -> Iterator[str]:
    yield whole
    for most in CUTS:
        yield written(cut(given, most))


def cut(value: object, most: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:most]}…"
    if isinstance(value, dict):
        return {str(key)[:most]: cut(inner, most) for key, inner in list(value.items())[:50]}
    if isinstance(value, list):
        return [cut(inner, most) for inner in value[:50]]
    return value


def text_of(block: Event) -> str:
    """A tool's result: a text, or a list of which the texts are shown."""
    content = block.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "\n".join(get(part, "text", str) or f"[{part.get('type')}]" for part in parts)
