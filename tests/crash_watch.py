"""What hive-watch tells, step by step, for tests/crash_scenarios.py."""

import json
from typing import Any

from hyperhive.store.store import now
from tests.crash_world import Step, World

AGENT, SOCKET = "hive-agent@bob.service", "hive-agent@bob.socket"
CRASH = {"result": "signal", "signal": "SIGKILL", "restarts": 0, "restarted": True, "log": ["argh"]}


def told(w: World, kind: str, unit: str, number: int, **fields: Any) -> None:
    """As hive-watch does it: again until it is answered."""
    at = "2026-11-22T10:00:00.000Z"
    answer = w.ok("system", "event", event=kind, unit=unit, invocation=f"{number:032x}", at=at, **fields)
    assert answer["new"] or w.deaths


def ends_of_runs(w: World) -> None:
    w.send("operator", "bob", "in flight")
    (number,) = w.recv("bob")
    run = int(w.runs["bob"], 16)
    told(w, "started", AGENT, run)
    w.leave("bob")
    w.look_at_fifos()
    told(w, "container_crash", AGENT, run, **CRASH)
    assert w.ok("system", "runs")["open"] == []
    w.ok("system", "suppressed", agent="bob", lines=9)
    told(w, "container_crash", AGENT, 1, **CRASH)  # a run that was never seen alive
    told(w, "stopped", AGENT, 2)
    told(w, "started", SOCKET, 3)
    told(w, "quarantined", SOCKET, 3, result="service-start-limit-hit")
    told(w, "started", SOCKET, 4)
    w.ack("manager", w.recv("manager"))
    events = [json.loads(text) for text in w.book.seen.values() if '"unit"' in text]
    assert [(e["event"], e.get("in_flight")) for e in events] == [
        ("container_crash", [number]),
        ("container_crash", []),
        ("stopped", None),
        ("quarantined", None),
        ("recovered", None),
    ]


WAY = {"agent": "bob", "host": "a.org", "port": 443, "address": "9.9.9.9", "rule": "a.org:443", "ms": 3}
WAYS = [
    WAY | {"end": "closed", "count": 1, "sent": 10, "received": 20},
    WAY | {"end": "denied", "count": 1, "sent": 0, "received": 0, "rule": "allow"},
    WAY | {"end": "closed", "count": 1, "sent": 100, "received": 200},
]


def hand_on(w: World, journal: list[dict[str, Any]], read: int) -> int:
    """As hive-watch does it: one after the other, from where the broker says that it is."""
    while read < len(journal):
        after = f"i={read}" if read else None
        fact = journal[read] | {"at": now()}
        answer = w.ok("system", "gate_facts", after=after, cursor=f"i={read + 1}", facts=[fact])
        read = int((answer["read_to"] or "i=0").removeprefix("i="))
    return read


def ways_out(w: World) -> None:
    hand_on(w, WAYS, hand_on(w, WAYS[:2], 0))
    deaths = -1
    while deaths != w.deaths:  # one that dies while it is asked may have lost the last second
        deaths = w.deaths
        found = w.ok("operator", "egress", agent="bob")
        hand_on(w, WAYS, 2)
    (reached,) = found["reached"]
    assert (reached["count"], reached["bytes_sent"], reached["bytes_received"]) == (2, 110, 220)
    assert [each["count"] for each in found["refused"]] == [1]


SCENARIOS: dict[str, list[Step]] = {"watch": [ends_of_runs, ways_out]}
