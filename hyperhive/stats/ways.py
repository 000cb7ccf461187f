"""Where agents went lately and were refused, from stats.db, and what of that the operator can change."""

import contextlib
import sqlite3
import time
from pathlib import Path

from hyperhive import wire
from hyperhive.config import proposals
from hyperhive.gate import egress
from hyperhive.gate.egress import Target
from hyperhive.problem import Problem
from hyperhive.stats.read import BUSY_MS
from hyperhive.store import approvals
from hyperhive.store.store import Row, Store

LATELY = 7 * 86_400  # seconds
LISTED_MAX = 50  # of each list
DENIED = "denied"
# The bare columns are of the newest row.
SUMMED = """select agent, host, port, rule, end, sum(count) as count, sum(bytes_sent) as bytes_sent,
    sum(bytes_received) as bytes_received, max(last_at) as last_at from egress
    where last_at >= :since and (:agent is null or agent = :agent)"""
ENDED = f"order by max(last_at) desc, host, port limit {LISTED_MAX}"
REACHED = f"{SUMMED} and end != '{DENIED}' group by agent, host, port {ENDED}"
REFUSED = f"{SUMMED} and end = '{DENIED}' group by agent, host, port, rule {ENDED}"
KEPT = ("agent", "host", "port", "rule", "count", "last_at")  # of what was refused


def read(path: Path, agent: str | None) -> tuple[list[Row], list[Row]]:
    """Reached, refused; newest first."""
    given = {"agent": agent, "since": wire.stamp(time.time() - LATELY)}
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.execute(f"pragma busy_timeout = {BUSY_MS}")
            db.row_factory = sqlite3.Row
            reached, refused = ([dict(row) for row in db.execute(q, given)] for q in (REACHED, REFUSED))
            return reached, refused
    except sqlite3.Error as e:
        raise Problem("storage", f"cannot read {path}: {e}") from e


def configs(store: Store, refused: list[Row]) -> dict[str, tuple[Row | None, Row | None]]:
    """What each of these agents runs, and its request that waits. On the writer's thread."""
    pending = "select * from request where agent = ? and state = 'pending' and files is not null"
    return {
        name: (approvals.running(store, name), next(iter(store.rows(pending, name)), None))
        for name in {row["agent"] for row in refused}
    }


def to_decide(refused: list[Row], known: dict[str, tuple[Row | None, Row | None]]) -> list[Row]:
    """What is refused still: of each what would allow it, and the request that does when it is approved."""
    lists = {name: (reachable(run), reachable(asked)) for name, (run, asked) in known.items()}
    found = []
    for row in refused:
        runs, asked = lists[row["agent"]]
        to = Target(row["host"], row["port"])
        wanted = str(to) if row["rule"] == "allow" and row["host"] else ""
        if wanted and egress.rule_for(to, runs):
            continue
        request = known[row["agent"]][1] if wanted and egress.rule_for(to, asked) else None
        about = {"wanted": wanted, "request": request["id"] if request else None}
        found.append({key: row[key] for key in KEPT} | about)
    return found


def reachable(request: Row | None) -> tuple[str, ...]:
    agent = proposals.agent_of(proposals.files_of(request)) if request else None
    return proposals.allowed(agent)["egress"]
