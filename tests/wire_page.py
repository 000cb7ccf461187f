"""hyperhive-wire(7), read: what it says of each operation, object and event."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).parent.parent / "man/hyperhive-wire.7.rst"
# {name: type, name?: type}, [type], a name such as text(64), and "or null" behind any of them
TOKEN = re.compile(r"or null\b|[a-z_]+\?:|[a-z_]+:|[a-z_]+\([^)]*\)|[a-z_]+|[{}\[\],]")


@dataclass(frozen=True)
class Shape:
    """A type; `fields` of an object ('name' or 'name?'), `item` of a list."""

    kind: str
    null: bool = False
    fields: dict[str, Shape] = field(default_factory=dict)
    item: Shape | None = None

    def __str__(self) -> str:
        text = self.kind
        if self.item:
            text = f"[{self.item}]"
        elif self.kind == "{}":
            text = "{" + ", ".join(f"{name}: {shape}" for name, shape in self.fields.items()) + "}"
        return text + " or null" * self.null


def shape(text: str) -> Shape:
    tokens = TOKEN.findall(text)
    left = TOKEN.sub("", text).strip()
    assert not left, f"hyperhive-wire(7): cannot read {left!r} in {text!r}"
    found = take(tokens)
    assert not tokens, f"hyperhive-wire(7): {tokens} follows the end of {found}"
    return found


def take(tokens: list[str]) -> Shape:
    first = tokens.pop(0)
    fields: dict[str, Shape] = {}
    item = None
    if first == "{":
        while tokens[0] != "}":
            name = tokens.pop(0)
            assert name.endswith(":"), f"hyperhive-wire(7): {name!r} where a field's name should be"
            fields[name[:-1]] = take(tokens)
            if tokens[0] == ",":
                tokens.pop(0)
    elif first == "[":
        item = take(tokens)
    if first in "{[":
        first += tokens.pop(0)
    null = tokens[:1] == ["or null"]
    del tokens[: 1 * null]
    return Shape(first, null, fields, item)


def section(title: str) -> str:
    parts = re.split(r"^(\S.*)\n=+\n", PAGE.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def entries(title: str) -> dict[str, str]:
    """A definition list: term, and the text below it; several terms may share one."""
    parts = re.split(r"^([a-z_]\w*(?:, [a-z_]\w*)*)\n(?=    )", section(title), flags=re.M)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {term: text for terms, text in pairs for term in terms.split(", ")}


def fields(text: str) -> dict[str, str]:
    """':Answer: {…}' and its like; a longer one goes on in lines that are indented further."""
    found = re.findall(r"^    :(\w+): (.*(?:\n {5,}\S.*)*)", text, re.M)
    return {name: " ".join(value.split()) for name, value in found}


def shapes(title: str, name: str) -> dict[str, Shape]:
    """Of each entry that has a field of this name."""
    return {
        term: shape(about[name]) for term, text in entries(title).items() if name in (about := fields(text))
    }


def codes(text: str) -> set[str]:
    return {*re.findall(r"[a-z-]+", text)}
