"""What hivectl prints: text made harmless, times for humans, tables on a terminal and in a pipe."""

import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from hyperhive import span
from hyperhive.wire import Message

if TYPE_CHECKING:
    # rich takes longer to import than most verbs run (65 ms): only what draws imports it, when it draws
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, invisible formatting (text direction!), odd line ends
JOINER = "\u200d"  # holds together families of emoji
MISSING = "-"

STYLES = {
    "working": "green",
    "awake": "cyan",
    "asleep": "dim",
    "paused": "yellow",
    "quarantined": "bold red",
    "ok": "green",
    "compacted": "green",
    "queued": "yellow",
    "leased": "cyan",
    "done": "dim",
    "dead": "bold red",
    "pending": "yellow",
    "approved": "cyan",
    "applying": "cyan",
    "deployed": "green",
    "denied": "red",
    "failed": "bold red",
    "higher": "bold red",
    "lower": "green",
}


class Column(NamedTuple):
    title: str
    right: bool = False  # for numbers
    fill: bool = False  # takes the rest of the line, and is cut where the terminal ends


def clean(text: str) -> str:
    """The text with everything a terminal would obey made visible; line breaks and tabs stay."""
    text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not hidden(c) else escape(c) for c in text)


def hidden(c: str) -> bool:
    return not c.isprintable() and c != JOINER and unicodedata.category(c) in HIDDEN


def escape(c: str) -> str:
    return c.encode("unicode_escape").decode()


def line(text: str) -> str:
    return clean(" ".join(text.split()))


def parse_time(at: str) -> datetime:
    return datetime.fromisoformat(at)


def clock(at: str) -> str:
    """The moment on this machine's clock: the time of day today, else the date too."""
    moment = parse_time(at).astimezone()
    today = datetime.now().astimezone().date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M")


def age(at: str) -> str:
    return span.words((datetime.now(UTC) - parse_time(at)).total_seconds())


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def on_terminal() -> bool:
    return sys.stdout.isatty()


def console() -> "Console":
    from rich.console import Console

    # Nothing in a text is a command: no markup, no emoji names, no guessed highlights.
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=False)


def styled(cell: str) -> "Text":
    from rich.text import Text

    return Text(cell, style=STYLES.get(cell, ""))


def rich_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", expand=any(c.fill for c in columns))
    for c in columns:
        table.add_column(
            c.title,
            justify="right" if c.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if c.fill else None,
        )
    for row in rows:
        table.add_row(*(styled(cell) for cell in row))
    return table


def plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    cells = [[c.title for c in columns], *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(w) if c.right else cell.ljust(w)
            for cell, w, c in zip(row, widths, columns, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    if on_terminal():
        console().print(rich_table(columns, rows))
    else:
        print(plain_table(columns, rows))


def print_list(
    found: Sequence[Message],
    columns: Sequence[Column],
    row: Callable[[Message], Sequence[str]],
    nothing: str,
    *,
    as_json: bool,
) -> None:
    if as_json:
        print_json(found)
    elif found:
        print_table(columns, [row(each) for each in found])
    else:
        print(nothing, file=sys.stderr)


def print_json(value: Any) -> None:
    # ASCII only: json's escapes are safe on every terminal
    print(json.dumps(value, indent=2 if on_terminal() else None).replace("\x7f", "\\u007f"))
