"""What hive-gate writes into the journal of ways out of cages, handed on to the broker as it comes."""

import logging
import time
from typing import Any

from systemd import journal

from hyperhive import facts, wire
from hyperhive.client import Client
from hyperhive.problem import Problem

log = logging.getLogger(__name__)

UNIT = "hive-gate.service"
AT_ONCE = 256  # facts in one request
LATER = 60.0  # seconds until it is tried again, when the broker cannot take them


class Gate:
    """The broker keeps the cursor with the facts, so that none is lost or told twice, whoever is killed."""

    def __init__(self, broker: Client) -> None:
        self.broker = broker
        self.next = 0.0  # not before
        self.cursor: str | None = None
        self.reader = journal.Reader()
        self.reader.add_match(f"_SYSTEMD_UNIT={UNIT}")
        for event in ("egress", "egress_denied"):
            self.reader.add_match(f"MESSAGE_ID={facts.IDS[event]}")

    def look(self) -> bool:
        """Hand on some of what there is. Is there more? Without an end it would keep us from D-Bus."""
        if time.monotonic() < self.next:
            return False
        self.reader.process()
        entries = [entry for _ in range(AT_ONCE) if (entry := self.reader.get_next())]
        more = len(entries) == AT_ONCE
        if entries and entries[0]["__CURSOR"] == self.cursor:
            del entries[0]  # where we were
        return bool(entries) and self.tell(entries) and more

    def tell(self, entries: list[dict[str, Any]]) -> bool:
        """False: not before a while."""
        cursor, told = entries[-1]["__CURSOR"], [fact(entry) for entry in entries]
        try:
            answer = self.broker.call("gate_facts", after=self.cursor, cursor=cursor, facts=told)
        except Problem as e:
            if e.code == "unreachable":
                raise
            log.error("Cannot hand on what %s wrote: %s; trying again in %.0f s", UNIT, e, LATER)
            self.resume(self.cursor)
            self.next = time.monotonic() + LATER
            return False
        held_up = answer["read_to"] == self.cursor  # by somebody who reads stats.db
        if answer["taken"]:
            self.cursor = cursor
        else:
            self.resume(answer["read_to"])
        return not held_up

    def resume(self, cursor: str | None) -> None:
        self.cursor = cursor
        if not cursor:
            self.reader.seek_head()
            return
        try:
            self.reader.seek_cursor(cursor)  # lands on it, or on what follows where it is gone
        except ValueError as e:
            log.warning("%r is no place in the journal, beginning at its head: %s", cursor, e)
            self.reader.seek_head()


def fact(entry: dict[str, Any]) -> wire.Message:
    refused = entry["HIVE_EVENT"] == "egress_denied"

    def number(name: str, default: int = 0) -> int:
        return int(entry.get(f"HIVE_{name}", default))

    return {
        "agent": entry["HIVE_AGENT"],
        "at": wire.stamp(entry["__REALTIME_TIMESTAMP"].timestamp()),
        "host": entry.get("HIVE_HOST", ""),
        "port": number("PORT"),
        "address": entry.get("HIVE_ADDRESS", ""),
        "rule": entry["HIVE_RULE"],
        "end": "denied" if refused else entry["HIVE_END"],
        "count": number("COUNT", 1),
        "sent": number("BYTES_IN"),
        "received": number("BYTES_OUT"),
        "ms": number("DURATION_MS"),
    }
