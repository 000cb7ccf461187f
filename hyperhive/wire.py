"""One JSON object per line; every field is checked where it comes in. See hyperhive-wire(7)."""

import json
from datetime import UTC, datetime
from typing import Any, TypeVar

from hyperhive.problem import Problem

T = TypeVar("T")
Message = dict[str, Any]

VERSION = 1
RELEASE = "0.1.0"  # of the hive
BODY_MAX = 64 * 1024  # bytes of UTF-8
LINE_MAX = 512 * 1024  # a body of control characters is six times as long in JSON
RECV_WAIT_MAX = 180  # seconds
RECV_COUNT_MAX = 100
ID_MAX = 2**63 - 1

# json.loads and json.dumps look at their options each time, which takes as long as the work itself
DECODER = json.JSONDecoder()
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def decode(line: bytes) -> Message:
    try:
        message = DECODER.decode(line.decode())
    except (ValueError, RecursionError) as e:
        raise Problem("bad-request", f"not JSON: {e}") from e
    if not isinstance(message, dict):
        raise Problem("bad-request", "not a JSON object")
    return message


def encode(message: Message) -> bytes:
    return ENCODER.encode(message).encode() + b"\n"


def failure(problem: Problem) -> Message:
    text = f"{problem} ({problem.hint})" if problem.hint else str(problem)
    return {"ok": False, "error": problem.code, "message": text}


def get(message: Message, key: str, kind: type[T], default: T | None = None) -> T:
    value = message.get(key, default)
    # JSON's true is Python's 1
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Problem("bad-request", f"'{key}' must be {kind.__name__}")
    return value


def get_int(message: Message, key: str, low: int, high: int, default: int | None = None) -> int:
    value = get(message, key, int, default)
    if not low <= value <= high:
        raise Problem("bad-request", f"'{key}' must be from {low} to {high}")
    return value


def get_number(message: Message, key: str) -> float:
    value = message.get(key)
    if (
        not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e12
    ):  # json.loads takes NaN and Infinity
        raise Problem("bad-request", f"'{key}' must be a number that is not negative")
    return float(value)


def get_text(message: Message, key: str, limit: int, default: str | None = None) -> str:
    """At most `limit` bytes of UTF-8, without lone surrogates (JSON can spell them, UTF-8 cannot)."""
    value = get(message, key, str, default)
    try:
        size = len(value.encode())
    except UnicodeEncodeError as e:
        raise Problem("bad-request", f"'{key}' is not valid Unicode: {e.reason}") from e
    if size > limit:
        raise Problem("too-large", f"'{key}' is {size} bytes long", hint=f"send at most {limit}")
    return value


def get_ids(message: Message, key: str) -> list[int]:
    values = get(message, key, list)
    if len(values) > 10_000 or not all(type(v) is int and 0 < v <= ID_MAX for v in values):
        raise Problem("bad-request", f"'{key}' must be a list of at most 10000 message ids")
    return values


def death(crash: Message) -> str:
    """What a container_crash says that it died of, in a word or two."""
    if crash["result"] not in ("exit-code", "signal"):
        return str(crash["result"])
    return str(crash["signal"] or f"exit status {crash['exit_status']}")


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
