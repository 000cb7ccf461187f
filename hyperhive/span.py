"""Spans of time as people write and read them: 90s, 10min, 2h, 1d; and back in words."""

import re

from hyperhive.problem import Problem

UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86_400, "w": 604_800}
PART = r"(\d{1,9}) ?([a-z]+)"


def words(seconds: float) -> str:
    whole = max(0, int(seconds))
    for size, unit, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 0, "")):
        if whole >= size:
            rest = whole % size // part if part else 0
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def seconds(text: str) -> int:
    """As in systemd.time(7), as far as hives need it: '1h 30min'; a bare number is seconds."""
    wanted = text.strip()
    if wanted.isdecimal() and wanted.isascii():
        wanted += "s"
    parts = re.findall(PART, wanted) if re.fullmatch(rf"({PART} ?)+", wanted, re.ASCII) else []
    if not parts or any(unit not in UNITS for _, unit in parts):
        raise Problem("usage", f"{text!r} is no span of time", hint="write it as 90s, 10min, 2h or 1d")
    return sum(int(count) * UNITS[unit] for count, unit in parts)
