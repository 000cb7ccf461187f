"""The rules that a rehearsal goes by: read strictly from TOML, matched in order."""

import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hyperhive.problem import EX_CONFIG, Problem
from hyperhive.rehearsal.ask import Ask

T = TypeVar("T")
Table = dict[str, Any]
Pattern = re.Pattern[str]

FLOOD_MAX = 1 << 30
DELAY_MAX = 600_000
PATTERNS = ("agent", "model", "after_tool", "text", "tool_result", "system")
ACTIONS = ("say", "call", "error", "malformed", "hang", "delay_ms", "flood_bytes")


@dataclass(frozen=True)
class Call:
    name: str
    input: Table


@dataclass(frozen=True)
class Failure:
    status: int
    type: str
    message: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Action:
    say: str = ""
    calls: tuple[Call, ...] = ()
    error: Failure | None = None
    malformed: bool = False
    hang: bool = False
    delay_ms: int = 0
    flood_bytes: int = 0


@dataclass(frozen=True)
class Rule:
    number: int
    patterns: dict[str, Pattern]
    times: int | None
    actions: tuple[Action, ...]

    @property
    def answers_tools(self) -> bool:
        return "after_tool" in self.patterns or "tool_result" in self.patterns


@dataclass(frozen=True)
class Match:
    rule: Rule
    action: Action


@dataclass
class Rules:
    """The rules of one reading of the file, and how often each was used since."""

    path: Path
    rules: tuple[Rule, ...]
    models: tuple[Pattern, ...] = ()  # those there are; none: any
    used: dict[tuple[int, str], int] = field(default_factory=dict)
    turns: dict[tuple[int, str], str] = field(default_factory=dict)

    def knows(self, model: str) -> bool:
        return not self.models or any(pattern.fullmatch(model) for pattern in self.models)

    def match(self, ask: Ask) -> Match | None:
        for rule in self.rules:
            step = 0 if rule.answers_tools else ask.step
            if ask.max_tokens == 1 and not ("model" in rule.patterns and rule.actions[0].error):
                continue  # the CLI's probe of a model's name: only a rule about models answers it
            if step < len(rule.actions) and (words := _words(rule, ask)) and self._may(rule, ask, step):
                return Match(rule, _fill_action(rule.actions[step], words))
        return None

    def _may(self, rule: Rule, ask: Ask, step: int) -> bool:
        """Count one more use; a turn that has begun by a rule goes on by it."""
        if rule.times is None:
            return True
        key = (rule.number, ask.agent)
        if step > 0:
            return self.turns.get(key) == ask.turn
        if self.used.get(key, 0) >= rule.times:
            return False
        self.used[key] = self.used.get(key, 0) + 1
        self.turns[key] = ask.turn
        return True


def _words(rule: Rule, ask: Ask) -> dict[str, str] | None:
    """What `{…}` stands for in the rule's answer, or None when the rule does not match."""
    words = {"agent": ask.agent, "text": ask.text, "tool_result": ask.tool_result}
    if rule.answers_tools and not ask.after_tool:
        return None
    for key, pattern in rule.patterns.items():
        subject = getattr(ask, key)
        whole = key in ("agent", "model", "after_tool")
        found = pattern.fullmatch(subject) if whole else pattern.search(subject)
        if not found:
            return None
        if not whole:
            words |= {name: value or "" for name, value in found.groupdict().items()}
            words |= {
                str(n): value or "" for n, value in enumerate(found.groups(), 1) if str(n) not in words
            }
    return words


def fill(value: Any, words: dict[str, str]) -> Any:
    """Put words in for `{name}`; any other brace stays, as shell and JSON are full of them."""
    if isinstance(value, str):
        if (number := re.fullmatch(r"\{(\w+):int\}", value)) and words.get(number[1], "").isdecimal():
            return int(words[number[1]])
        return re.sub(r"\{(\w+)\}", lambda found: words.get(found[1], found[0]), value)
    if isinstance(value, dict):
        return {key: fill(inner, words) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, words) for inner in value]
    return value


def _fill_action(action: Action, words: dict[str, str]) -> Action:
    calls = tuple(Call(c.name, fill(c.input, words)) for c in action.calls)
    return Action(
        say=fill(action.say, words),
        calls=calls,
        error=action.error,
        malformed=action.malformed,
        hang=action.hang,
        delay_ms=action.delay_ms,
        flood_bytes=action.flood_bytes,
    )


def _bad(where: str, what: str) -> Problem:
    return Problem("bad-config", f"{where}: {what}", hint="see hive-rehearsal(8)", exit_status=EX_CONFIG)


def _take(table: Table, where: str, key: str, kind: type[T], default: T | None = None) -> T:
    value = table.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        missing = "is missing" if value is None else f"must be {kind.__name__}, not {type(value).__name__}"
        raise _bad(where, f"'{key}' {missing}")
    return value


def _take_int(table: Table, where: str, key: str, low: int, high: int, default: int | None = None) -> int:
    value = _take(table, where, key, int, default)
    if value != default and not low <= value <= high:
        raise _bad(where, f"'{key}' must be from {low} to {high}")
    return value


def _take_list(table: Table, where: str, key: str, read: Callable[[Table, str], T]) -> tuple[T, ...]:
    tables = []
    for number, item in enumerate(_take(table, where, key, list, []), 1):
        if not isinstance(item, dict):
            raise _bad(where, f"'{key}' must be a list of tables")
        tables.append(read(item, f"{where}: {key} {number}"))
    return tuple(tables)


def _check_keys(table: Table, where: str, known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise _bad(where, f"'{key}' is not a key here (known: {', '.join(known)})")


def _pattern(table: Table, where: str, key: str) -> Pattern:
    try:
        return re.compile(_take(table, where, key, str))
    except re.error as e:
        raise _bad(where, f"'{key}' is not a regular expression: {e}") from e


def _call(table: Table, where: str) -> Call:
    _check_keys(table, where, ("name", "input"))
    return Call(_take(table, where, "name", str), _take(table, where, "input", dict, {}))


def _failure(table: Table, where: str) -> Failure:
    _check_keys(table, where, ("status", "type", "message", "headers"))
    headers = _take(table, where, "headers", dict, {})
    for name, value in headers.items():
        if not re.fullmatch(r"[a-z0-9-]+", name) or not re.fullmatch(r"[ -~]*", str(value)):
            raise _bad(where, f"header '{name}' needs a lower-case name and a printable value")
    return Failure(
        status=_take_int(table, where, "status", 400, 599),
        type=_take(table, where, "type", str),
        message=_take(table, where, "message", str),
        headers={name: str(value) for name, value in headers.items()},
    )


def _action(table: Table, where: str) -> Action:
    _check_keys(table, where, ACTIONS)
    error = _take(table, where, "error", dict, {})
    action = Action(
        say=_take(table, where, "say", str, ""),
        calls=_take_list(table, where, "call", _call),
        error=_failure(error, f"{where}: error") if error else None,
        malformed=_take(table, where, "malformed", bool, False),
        hang=_take(table, where, "hang", bool, False),
        delay_ms=_take_int(table, where, "delay_ms", 0, DELAY_MAX, 0),
        flood_bytes=_take_int(table, where, "flood_bytes", 1, FLOOD_MAX, 0),
    )
    answers = bool(action.say or action.calls or action.flood_bytes)
    if answers + bool(action.error) + action.malformed + action.hang != 1:
        raise _bad(where, "give one of: say and call, flood_bytes, error, malformed, hang")
    return action


def _rule(table: Table, where: str) -> Rule:
    _check_keys(table, where, (*PATTERNS, "times", "steps", *ACTIONS))
    single = {key: value for key, value in table.items() if key in ACTIONS}
    if single and "steps" in table:
        raise _bad(where, f"'{next(iter(single))}' and 'steps' exclude each other")
    rule = Rule(
        number=int(where.rsplit(" ", 1)[1]),
        patterns={key: _pattern(table, where, key) for key in PATTERNS if key in table},
        times=_take_int(table, where, "times", 1, 1_000_000) if "times" in table else None,
        actions=_take_list(table, where, "steps", _action) or (_action(single, where),),
    )
    if "steps" in table and rule.answers_tools:
        raise _bad(where, "'steps' cannot go with 'after_tool' or 'tool_result'")
    return rule


def load(path: Path) -> Rules:
    where = os.fspath(path)
    try:
        source = path.read_text(encoding="utf-8")
        table = tomllib.loads(source)
    except OSError as e:
        raise _bad(where, f"cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise _bad(where, f"not UTF-8 at byte {e.start}") from e
    except tomllib.TOMLDecodeError as e:
        text = str(e).replace("end of document", f"line {len(source.splitlines())}")
        raise _bad(where, f"not TOML: {text}") from e
    _check_keys(table, where, ("rule", "models"))
    models = _take(table, where, "models", list, [])
    patterns = tuple(_pattern({"models": model}, where, "models") for model in models)
    return Rules(path, _take_list(table, where, "rule", _rule), patterns)
