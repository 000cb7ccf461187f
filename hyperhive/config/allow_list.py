"""agent.toml with more in [tools] allow or [egress] allow, and otherwise as it was written.

No edit is trusted to be right: what comes of it is parsed, and taken only if it says exactly what is wanted.
"""

import re
import tomllib
from collections.abc import Iterator

from hyperhive.config import agent_toml
from hyperhive.problem import Problem

FULL = 1000  # characters in a line
TRIES = 50  # lists called allow that are looked at
LIST = re.compile(r"\ballow[\"']?[ \t]*=[ \t]*\[")
# What a list of texts consists of: blanks and comments, a text, a comma, the end.
TOKEN = re.compile(
    r"(?P<blank>[ \t\r\n]+|#[^\n]*)"
    r"|(?P<text>\"\"\".*?\"\"\"|'''.*?'''|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*')"
    r"|(?P<comma>,)|(?P<end>\])",
    re.S,
)


def added(source: str, table: str, rules: list[str]) -> str:
    """The source with those rules in the table's list, too, that it does not have yet."""
    document = tomllib.loads(source)
    allowed = list(document.get(table, {}).get("allow", []))
    new = [each for each in dict.fromkeys(rules) if each not in allowed]
    if not new:
        return source
    wanted = document | {table: document.get(table, {}) | {"allow": allowed + new}}
    for text in candidates(source, table, [quoted(each) for each in new]):
        if says(text, wanted):
            return text
    text = f"{agent_toml.FILE}: cannot add to [{table}] allow as it is written"
    raise Problem("bad-config", text, hint="have the manager change it")


def quoted(rule: str) -> str:
    """As a TOML text; that all of it can be printed is checked before."""
    return '"' + rule.replace("\\", "\\\\").replace('"', '\\"') + '"'


def says(text: str, wanted: dict[str, object]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except ValueError:
        return False


def candidates(source: str, table: str, new: list[str]) -> Iterator[str]:
    """Edits that may be right: in each list of this name, below [TABLE], and in a table of its own."""
    for number, found in enumerate(LIST.finditer(source)):
        if number < TRIES and (text := in_list(source, found.end(), new)):
            yield text
    line = f"allow = [{', '.join(new)}]\n"
    if header := re.search(rf"^[ \t]*\[[ \t]*{table}[ \t]*\][^\n]*(\n|\Z)", source, re.M):
        head = source[: header.end()]
        yield head + "\n" * (not head.endswith("\n")) + line + source[header.end() :]
    blank = "" if not source or source.endswith("\n\n") else "\n" if source.endswith("\n") else "\n\n"
    yield f"{source}{blank}[{table}]\n{line}"


def in_list(source: str, begin: int, new: list[str]) -> str:
    """'' where there is more in it than texts."""
    last, comma, at = None, 0, begin
    while (token := TOKEN.match(source, at)) and token.lastgroup != "end":
        if token.lastgroup == "text":
            last, comma = token, 0
        elif token.lastgroup == "comma":
            comma = at
        at = token.end()
    if not token:
        return ""
    if not last:
        return source[:begin] + ", ".join(new) + source[begin:]
    indent = source[source.rfind("\n", 0, last.start()) + 1 : last.start()]
    line_end = source.find("\n", last.end(), token.start())
    if indent.strip() or line_end < 0 or comma > line_end:
        full = last.end() - source.rfind("\n", 0, last.end()) + sum(map(len, new)) > FULL
        glue = ",\n    " if full else ", "
        return source[: last.end()] + "".join(glue + each for each in new) + source[last.end() :]
    # Each on a line of its own, and what is said behind the last one stays there.
    rest = source[last.end() : line_end]
    lines = f",\n{indent}".join(new) + "," * bool(comma)
    return f"{source[: last.end()]}{',' * (not comma)}{rest}\n{indent}{lines}{source[line_end:]}"
