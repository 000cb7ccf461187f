"""Times as people write and read them: spans as 90s, 10min, 2h, 1d, and back in words; moments as 08:00."""

import re
from datetime import UTC, date, datetime, time, timedelta

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


def moment(text: str) -> str:
    """On this machine's clock, unless it names another; a time alone is the next one, a span begins now."""
    now = datetime.now().astimezone()
    if re.fullmatch(rf"({PART} ?)+", text.strip(), re.ASCII):
        return utc(now + timedelta(seconds=seconds(text)))
    try:
        at = datetime.combine(date.today(), time.fromisoformat(text.strip()))
    except ValueError:
        try:
            return utc(datetime.fromisoformat(text.strip()))
        except ValueError as e:
            hint = "write it as 2h, 08:00 or '2026-12-24 08:00'"
            raise Problem("bad-request", f"{text!r} is no time", hint=hint) from e
    return utc(at + timedelta(days=at.astimezone() <= now))


def utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(text: str) -> int:
    """As in systemd.time(7), as far as hives need it: '1h 30min'; a bare number is seconds."""
    wanted = text.strip()
    if wanted.isdecimal() and wanted.isascii():
        wanted += "s"
    parts = re.findall(PART, wanted) if re.fullmatch(rf"({PART} ?)+", wanted, re.ASCII) else []
    if not parts or any(unit not in UNITS for _, unit in parts):
        raise Problem("usage", f"{text!r} is no span of time", hint="write it as 90s, 10min, 2h or 1d")
    return sum(int(count) * UNITS[unit] for count, unit in parts)
