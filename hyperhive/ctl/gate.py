"""For hivectl doctor: what hive-gate has refused, as far as the journal may be read."""

import time
from collections import Counter

from systemd import journal

from hyperhive.wire import Message

DAY = 86_400
SHOWN = 10
HOW = "journalctl HIVE_EVENT=egress_denied"


def check() -> Message:
    """Nothing of it is wrong; it is where to look when an agent says that a host cannot be reached."""
    found: Counter[str] = Counter()
    with journal.Reader() as reader:
        reader.add_match("_SYSTEMD_UNIT=hive-gate.service", "HIVE_EVENT=egress_denied")
        reader.seek_realtime(time.time() - DAY)
        for entry in reader:
            found[f"{entry['HIVE_AGENT']}: {where(entry)} by the rule '{entry['HIVE_RULE']}'"] += 1
    most = [f"{text}, {count} times" for text, count in found.most_common(SHOWN)]
    return {"name": "way out", "ok": True, "wrong": [], "refused": found.total(), "most": most}


def where(entry: Message) -> str:
    if "HIVE_HOST" not in entry:
        return "a connection"
    return f"{entry['HIVE_HOST']}:{entry['HIVE_PORT']}"
