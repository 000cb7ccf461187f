"""What the journal holds about an agent: its own output, what systemd said of its unit, the hive's facts."""

from datetime import UTC
from typing import Any

from systemd import journal

LINES_MAX = 500
LINE_MAX = 1000  # characters
TEXT_MAX = 64 * 1024  # characters in all: it is put before a model


def last(agent: str, count: int) -> list[str]:
    """The newest, oldest first."""
    unit = f"hive-agent@{agent}.service"
    with journal.Reader() as reader:
        # what came out of its cage; what the hive or systemd says of it
        for matches in ({"_SYSTEMD_UNIT": unit}, {"HIVE_AGENT": agent}, {"_PID": "1", "UNIT": unit}):
            reader.add_match(**matches)
            reader.add_disjunction()
        reader.seek_tail()
        found: list[str] = []
        size = 0
        while len(found) < count and (entry := reader.get_previous()):
            found.append(line(entry))
            size += len(found[-1])
            if size > TEXT_MAX:
                found[-1] = "(earlier lines are left out: too much text)"
                break
    return found[::-1]


def line(entry: dict[str, Any]) -> str:
    at = entry["__REALTIME_TIMESTAMP"].astimezone(UTC).isoformat(timespec="milliseconds")
    # whatever a cage prints: no terminal or model is to take it for anything but text on a line
    shown = "".join(c if c.isprintable() else " " for c in text(entry)[:LINE_MAX])
    return f"{at.replace('+00:00', 'Z')} {entry.get('SYSLOG_IDENTIFIER', '?')}: {shown}"


def text(entry: dict[str, Any]) -> str:
    """What is no UTF-8 comes from the journal as bytes."""
    message = entry.get("MESSAGE", "")
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
