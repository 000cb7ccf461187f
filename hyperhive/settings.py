"""hive.toml and agent.toml: what they may say, and errors that name file, line and key."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperhive.problem import EX_CONFIG, Problem

SIZE_MAX = 64 * 1024
REHEARSAL = "rehearsal"

Check = Callable[[Any], str]  # what is wrong with a value, or ""
Schema = dict[str, "Check | Schema"]


@dataclass(frozen=True)
class Hive:
    endpoint: str = REHEARSAL
    model: str = "sonnet"


@dataclass(frozen=True)
class Agent:
    description: str = ""
    model: str | None = None  # None: the hive's default
    linger: int = 300  # seconds
    turn_timeout: int = 1800  # seconds
    allow: tuple[str, ...] = ()
    limits: dict[str, str] = field(default_factory=dict)  # unit settings, as systemd spells them


def text(pattern: str, say: str) -> Check:
    rule = re.compile(pattern)
    return lambda value: "" if isinstance(value, str) and rule.fullmatch(value) else say


def seconds(low: int, high: int) -> Check:
    say = f"must be a number of seconds from {low} to {high}"
    return lambda value: "" if type(value) is int and low <= value <= high else say


def tools(value: Any) -> str:
    # A comma or a line break would smuggle a second rule into the CLI's one argument.
    if isinstance(value, list) and all(
        isinstance(v, str) and re.fullmatch(r"[A-Za-z_][\w-]*(\([^\n\r\0]{1,500}\))?", v) for v in value
    ):
        return ""
    return 'must be a list of tools such as ["Read", "Edit", "Bash(git *)"]'


def count(value: Any) -> str:
    return (
        "" if type(value) is int and 16 <= value <= 100_000 else "must be a whole number from 16 to 100000"
    )


HIVE: Schema = {
    "model": {
        "endpoint": text(
            r"rehearsal|https?://[\w.\[\]:-]+/?", 'must be "rehearsal" or an http(s) URL without a path'
        ),
        "name": text(r"[A-Za-z0-9][\w.:\[\]@/-]{0,99}", "must be a model's name"),
    },
}

AGENT: Schema = {
    "description": text(r"[^\x00-\x1f\x7f]{0,500}", "must be one line of at most 500 characters"),
    "model": text(r"[A-Za-z0-9][\w.:\[\]@/-]{0,99}", "must be a model's name"),
    "linger": seconds(5, 86_400),
    "turn_timeout": seconds(10, 86_400),
    "tools": {"allow": tools},
    "limits": {
        "MemoryMax": text(r"[1-9][0-9]{0,14}[KMGT]?", 'must be a size such as "2G"'),
        "CPUQuota": text(r"[1-9][0-9]{0,5}%", 'must be a share of a core such as "150%"'),
        "TasksMax": count,
    },
}


def line_of(source: str, table: tuple[str, ...], key: str) -> int:
    """The line a key stands on: tomllib keeps no positions. What cannot be found gets its table's line."""
    header = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(map(re.escape, table)) + r"\s*\]") if table else None
    here, inside = 1, not table
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("["):
            inside = bool(header and header.match(line))
            here = number if inside else here
        if (inside and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line)) or (
            line.lstrip().startswith(f"[{'.'.join((*table, key))}]")
        ):
            return number
    return here


def parse(source: str, schema: Schema, where: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as e:
        text = str(e).replace("end of document", f"line {len(source.splitlines())}")
        raise Problem("bad-config", f"{where}: not TOML: {text}", exit_status=EX_CONFIG) from e
    check(document, schema, source, where, ())
    return document


def check(document: dict[str, Any], schema: Schema, source: str, where: str, table: tuple[str, ...]) -> None:
    for key, value in document.items():
        rule = schema.get(key)
        name = ".".join((*table, key))
        if isinstance(rule, dict) and isinstance(value, dict):
            check(value, rule, source, where, (*table, key))
            continue
        if rule is None:
            wrong, hint = "is not a key here", "known: " + ", ".join(schema)
        elif isinstance(rule, dict):
            wrong, hint = "must be a table", f"write [{name}]"
        else:
            wrong, hint = rule(value), ""
        if wrong:
            at = f"{where}:{line_of(source, table, key)}"
            raise Problem("bad-config", f"{at}: '{name}' {wrong}", hint=hint, exit_status=EX_CONFIG)


def agent_from(source: str, where: str = "agent.toml") -> Agent:
    document = parse(source, AGENT, where)
    limits = {key: str(value) for key, value in document.get("limits", {}).items()}
    allow = tuple(document.get("tools", {}).get("allow", ()))
    plain = {key: value for key, value in document.items() if key not in ("tools", "limits")}
    return Agent(**plain, allow=allow, limits=limits)


def agent_in(path: Path) -> Agent:
    return agent_from(read(path), str(path))


def read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
        if len(data) > SIZE_MAX:
            raise Problem("bad-config", f"{path}: over {SIZE_MAX} bytes", exit_status=EX_CONFIG)
        return data.decode()
    except UnicodeDecodeError as e:
        raise Problem("bad-config", f"{path}: not UTF-8 at byte {e.start}", exit_status=EX_CONFIG) from e
    except OSError as e:
        raise Problem("bad-config", f"{path}: {e.strerror}", exit_status=EX_CONFIG) from e


def hive(path: Path) -> Hive:
    """The hive's settings; a hive.toml that is not there means the defaults."""
    if not path.exists():
        return Hive()
    model = parse(read(path), HIVE, str(path)).get("model", {})
    return Hive(endpoint=model.get("endpoint", Hive.endpoint), model=model.get("name", Hive.model))
