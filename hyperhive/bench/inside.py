"""All that is measured in the box itself."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hyperhive.bench import bench, cage, change, gate, ingest, mail, rules, stats, web
from hyperhive.bench.bench import Figure
from hyperhive.wire import Message

STATE = Path("/var/lib/hyperhive")
PARTS: dict[str, Callable[[Path], list[Figure]]] = {
    "mail": mail.run,
    "web": web.run,
    "stats": stats.run,
    "ingest": ingest.run,
    "gate": gate.run,
    "rules": rules.run,
    "cage": cage.run,
    "change": change.run,
}
AGENTS = "agents"  # on the running hive


def run(parts: list[str]) -> list[Message]:
    found: list[dict[str, Any]] = [
        asdict(each) for part in parts if part in PARTS for each in PARTS[part](STATE)
    ]
    return found + (bench.run() if AGENTS in parts else [])
