"""hivectl stats: the series of an agent, or of the hive, one line each."""

import argparse
from datetime import UTC, datetime, timedelta

from hyperhive.ctl import terminal
from hyperhive.ctl.terminal import Column
from hyperhive.ctl.verb import Verb, connect, time_span
from hyperhive.wire import Message

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 30  # steps on a line
BESIDE = 64  # columns of the terminal that the figures take; fewer than FEW are no line
FEW = 8
NEWEST = {"last": "now", "sum": "in all", "mean": "mean", "spread": "p50"}
COLUMNS = [
    Column("SERIES"),
    Column("VALUE", right=True),
    Column("UNIT"),
    Column(""),
    Column("MOST", right=True),
    Column("P95", right=True),
]


def add(verb: Verb) -> None:
    p = verb("stats", stats, "show what an agent, or the hive as a whole, did and took")
    p.add_argument("agent", metavar="AGENT", nargs="?")
    text = "how far back: 90s, 15m, 4h, 7d (default: 24h)"
    p.add_argument("--since", type=time_span, default=86_400, metavar="SPAN", help=text)


def stats(args: argparse.Namespace) -> int:
    since = datetime.now(UTC) - timedelta(seconds=args.since)
    width = room() if terminal.on_terminal() and not args.json else 0
    step = steps(args.since, width or WIDTH)
    with connect() as client:
        if args.agent is not None:
            client.call("show", agent=args.agent)  # refuses a name that nobody has
        found = client.call("stats", since=since.isoformat(), agent=args.agent or "", step=step)
    series = [each for each in found["series"] if each["at"] or each["before"] is not None]
    if args.json:
        terminal.print_json(found)
        return 0
    rows = [line(each, times(found), drawn=bool(width)) for each in series]
    columns = [each for each in COLUMNS if each.title or width]
    terminal.print_list(rows, columns, lambda row: row["cells"], "Nothing happened.", as_json=False)
    return 0


def room() -> int:
    """For bars: the figures come first."""
    width = min(WIDTH, terminal.console().width - BESIDE)
    return width if width >= FEW else 0


def times(found: Message) -> range:
    """When each step of an answer begins."""
    first, last = (round(terminal.parse_time(found[end]).timestamp() * 1000) for end in ("since", "until"))
    return range(first, last, found["step"] * 1000)


def steps(seconds: int, width: int) -> int:
    """The length of one: short windows are read by the second, long ones by the hour."""
    step = -(-seconds // width)
    return step if seconds <= 86_400 else -(-step // 3600) * 3600


def line(series: Message, times: range, *, drawn: bool) -> Message:
    high = max(series["high"], default=None)
    cells = [
        terminal.line(series["key"]),
        f"{number(summary(series))} {NEWEST[series['kind']]}",
        series["unit"],
        *([spark(series, times)] if drawn else []),
        number(max(series["max"], default=series["before"] or 0)),
        "-" if high is None else number(high),
    ]
    return {"cells": cells}


def summary(series: Message) -> float:
    values = series["value"]
    if series["kind"] == "sum":
        return float(sum(values))
    if series["kind"] == "last":
        return float(values[-1] if values else series["before"])
    return float(sorted(values)[len(values) // 2])


def spark(series: Message, times: range) -> str:
    """Gaps are gaps, except of what stays as it was until it changes."""
    values = dict(zip(series["at"], series["value"], strict=True))
    top = max([*values.values(), series["before"] or 0])
    known, drawn = series["before"], ""
    for at in times:
        value = values.get(at)
        if series["kind"] == "last":
            known = value = known if value is None else value
        drawn += " " if value is None else BARS[round(value / top * 7) if top else 0]
    return drawn


def number(value: float) -> str:
    """Three digits, and a letter for thousands."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g} {letter}"
    return f"{value:.4g}"
