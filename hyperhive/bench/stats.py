"""Figures of telemetry for `make bench`: how long questions take over a million turns, 19 million points."""

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import yaml

from hyperhive.bench import explore
from hyperhive.bench.bench import Figure, figure
from hyperhive.stats import made, read
from hyperhive.stats.series import HOUR

TURNS = 1_300_000  # on weekends there are fewer
RUNS = 5
MADE = "bench-stats.db"  # is left in the folder, for bench_charts.py
WINDOWS = {"1 h": 1, "4 h": 4, "24 h": 24, "3 d": 72, "7 d": 168, "30 d": 700}
ASKED = {"an agent": (None, "ada"), "all agents' turn_ms": ("turn_ms", None)}
METADATA = Path("/usr/share/hyperhive/datasette/metadata.yaml")


def run(folder: Path, turns: int = TURNS, metadata: Path = METADATA) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        Path(place).chmod(0o711)  # agents connect to sockets below it
        path = Path(place) / "stats.db"
        until = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        made.make(path, seed=1, agents=20, days=30, turns=turns, until=until)
        found = [*windows(path, until), questions(path, metadata), explore.run(Path(place), path)]
        path.rename(folder / MADE)
        return found


def median(work: Callable[[], object]) -> float:
    """Milliseconds."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def windows(path: Path, until: datetime) -> list[Figure]:
    end = round(until.timestamp() * 1000) - 6 * HOUR
    found = []
    for what, (key, agent) in ASKED.items():
        each = [
            median(lambda w=wanted, k=key, a=agent: json.dumps(read.read(path, w, k, a)))  # type: ignore[misc]
            for wanted in (read.window(end - hours * HOUR, end, None) for hours in WINDOWS.values())
        ]
        found.append(
            figure(f"stats of {what}: slowest of the windows {', '.join(WINDOWS)}", "ms", [max(each)], 80)
        )
    return found


def questions(path: Path, metadata: Path) -> Figure:
    ready = yaml.safe_load(metadata.read_text())["databases"]["stats"]["queries"]
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        slowest = max(
            median(lambda q=query: db.execute(q["sql"], dict.fromkeys(q.get("params", []), "")).fetchall())  # type: ignore[misc]
            for query in ready.values()
        )
    return figure(f"the slowest of {len(ready)} questions that are ready", "ms", [slowest], 1000)
