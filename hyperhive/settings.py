"""A TOML file against a schema, with errors that name file, line and key; and hive.toml."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from operator import and_, eq
from pathlib import Path
from typing import Any

from hyperhive.problem import EX_CONFIG, Problem

SIZE_MAX = 64 * 1024
LINES_MAX, LINE_MAX = 1000, 2000
REHEARSAL = "rehearsal"
REQUIRED = object()


@dataclass(frozen=True)
class Rule:
    """What a value must be: in words, which the error and the man page share, and as a test."""

    what: str
    holds: Callable[[Any], bool]
    default: Any = None


@dataclass(frozen=True)
class Each:
    """A table of tables, one for each name."""

    name: Rule
    most: int
    table: "Schema"


Schema = dict[str, "Rule | Each | Schema"]


@dataclass(frozen=True)
class Hive:
    endpoint: str = REHEARSAL
    model: str = "sonnet"
    public_origin: str | None = None
    private: tuple[str, ...] = ()
    bytes_per_hour: str = "16G"
    connection_seconds: int = 3600


def text(pattern: str, what: str, default: Any = None) -> Rule:
    rule = re.compile(pattern, re.ASCII)
    return Rule(what, lambda value: isinstance(value, str) and bool(rule.fullmatch(value)), default)


def whole(low: int, high: int, what: str, default: Any = None) -> Rule:
    # JSON's and TOML's true is Python's 1
    return Rule(f"{what} from {low} to {high}", lambda v: type(v) is int and low <= v <= high, default)


def listing(most: int, pattern: str, what: str, default: Any = ()) -> Rule:
    rule = re.compile(pattern, re.ASCII)

    def holds(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) <= most
            and all(isinstance(v, str) and v.isprintable() and rule.fullmatch(v) for v in value)
        )

    return Rule(f"a list of at most {most} {what}", holds, default)


MODEL = r"[A-Za-z0-9][\w.:\[\]@/-]{0,99}"

HIVE: Schema = {
    "model": {
        "endpoint": text(
            r"rehearsal|https?://[\w.\[\]:-]+/?",
            '"rehearsal" or an http(s) URL without a path',
            Hive.endpoint,
        ),
        "name": text(MODEL, "a model's name", Hive.model),
    },
    "web": {
        "public_origin": text(
            r"https?://[a-z0-9.\[\]:-]+",
            "an http(s) URL in small letters without a path",
            Hive.public_origin,
        ),
    },
    "egress": {
        "private": listing(100, r"[0-9a-f.:/\[\]]+", 'ADDRESS[/BITS]:PORT such as "192.168.1.7:443"'),
        "bytes_per_hour": text(
            r"[1-9][0-9]{0,5}[MGT]", 'a size such as "500M", "16G" or "1T"', Hive.bytes_per_hour
        ),
        "connection_seconds": whole(10, 604_800, "a whole number of seconds", Hive.connection_seconds),
    },
}


def line_of(source: str, path: tuple[str, ...]) -> int:
    """The line a key stands on: tomllib keeps no positions. What cannot be found gets its table's line."""
    table: tuple[str, ...] = ()
    best, line = 0, 1
    for number, text in enumerate(map(str.strip, source.splitlines()), 1):
        if header := re.match(r"\[\[?([^\[\]]*)\]", text):
            found = table = parts(header[1])
        elif key := re.match(r"([\w.\"' \t-]+)=", text):
            found = table + parts(key[1])
        else:
            continue
        shared = sum(accumulate(map(eq, found, path), and_))  # how many of the first parts are the same
        if shared > best:
            best, line = shared, number
    return line


def parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[\w-]+", dotted))


def parse(source: str, schema: Schema, where: str) -> dict[str, Any]:
    # tomllib takes 17 s for a key of 30,000 parts, and 4 s for 8000 lines below one of 1000.
    lines = source.split("\n")
    number = next((n for n, line in enumerate(lines, 1) if len(line) > LINE_MAX or n > LINES_MAX), None)
    if number:
        text = f"{where}:{number}: over {LINE_MAX} characters in a line, or over {LINES_MAX} lines"
        raise Problem("bad-config", text, exit_status=EX_CONFIG)
    try:
        document = tomllib.loads(source)
    except (ValueError, RecursionError) as e:  # also of a number with thousands of digits
        text = str(e).replace("end of document", f"line {len(source.splitlines())}")
        raise Problem("bad-config", f"{where}: not TOML: {text}", exit_status=EX_CONFIG) from e
    check(document, schema, source, where, ())
    return document


def check(document: dict[str, Any], schema: Schema, source: str, where: str, table: tuple[str, ...]) -> None:
    for key, value in document.items():
        rule, path = schema.get(key), (*table, key)
        if isinstance(rule, Rule):
            wrong, hint = "" if rule.holds(value) else f"must be {rule.what}", ""
        elif rule is None:
            wrong, hint = "is not a key here", "known: " + ", ".join(schema)
        elif not isinstance(value, dict):
            wrong, hint = "must be a table", f"write [{'.'.join(path)}]"
        elif isinstance(rule, Each):
            wrong, hint = check_each(value, rule, source, where, path), ""
        else:
            wrong, hint = missing(value, rule), ""
            check(value, rule, source, where, path)
        if wrong:
            raise bad(source, where, path, wrong, hint)


def check_each(tables: dict[str, Any], rule: Each, source: str, where: str, path: tuple[str, ...]) -> str:
    for name in tables:
        if not rule.name.holds(name):
            raise bad(source, where, (*path, name), f"must be called {rule.name.what}", "")
    check(tables, dict.fromkeys(tables, rule.table), source, where, path)
    return "" if len(tables) <= rule.most else f"must be at most {rule.most} tables"


def missing(table: dict[str, Any], schema: Schema) -> str:
    required = (key for key, rule in schema.items() if isinstance(rule, Rule) and rule.default is REQUIRED)
    absent = next((key for key in required if key not in table), None)
    return f"must have the key '{absent}'" if absent else ""


def bad(source: str, where: str, path: tuple[str, ...], wrong: str, hint: str) -> Problem:
    text = f"{where}:{line_of(source, path)}: {'.'.join(path)!r} {wrong}"
    return Problem("bad-config", text, hint=hint, exit_status=EX_CONFIG)


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
    said = parse(read(path), HIVE, str(path))
    model, web, egress = (said.get(table, {}) for table in ("model", "web", "egress"))
    return Hive(
        endpoint=model.get("endpoint", Hive.endpoint),
        model=model.get("name", Hive.model),
        public_origin=web.get("public_origin", Hive.public_origin),
        private=tuple(egress.get("private", Hive.private)),
        bytes_per_hour=egress.get("bytes_per_hour", Hive.bytes_per_hour),
        connection_seconds=egress.get("connection_seconds", Hive.connection_seconds),
    )
