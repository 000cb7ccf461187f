"""All that is measured in the box itself."""

from dataclasses import asdict
from pathlib import Path

from hyperhive.bench import bench, cage, change, gate, mail, rules, stats, web
from hyperhive.wire import Message

PARTS = (mail, web, stats, gate, rules, cage, change)
STATE = Path("/var/lib/hyperhive")


def run() -> list[Message]:
    return [asdict(each) for part in PARTS for each in part.run(STATE)] + bench.run()
