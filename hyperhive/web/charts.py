"""Which charts there are, of an agent and of the hive: what page.js's neighbour charts.js draws."""

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from hyperhive.client import Client
from hyperhive.ctl import stats
from hyperhive.problem import Problem
from hyperhive.stats import series
from hyperhive.wire import Message

WINDOWS = {"1h": 1, "4h": 4, "24h": 24, "3d": 72, "7d": 168, "30d": 720}  # in hours
STEPS = {"1h": 60, "4h": 120, "24h": 900, "3d": 3600, "7d": 7200, "30d": 21600}  # in seconds
USUAL = "24h"


class Chart(NamedTuple):
    """Series in one frame; a key may end in '.*'. `agents`: one key, of all agents."""

    title: str
    keys: list[str]
    agents: bool = False
    a_minute: bool = False  # what a step adds up to is told as so many a minute


AGENT = [
    Chart("Turns", ["turns"], a_minute=True),
    Chart("Turns by outcome", ["outcome.*"]),
    Chart("Time of a turn", ["turn_ms"]),
    Chart("Time between turns", ["idle_ms"]),
    Chart("From waking to its hello", ["wake_ms"]),
    Chart("Tool calls of a turn", ["tool_calls"]),
    Chart("Calls by tool", ["tool.*"]),
    Chart("Mail that waits", ["inbox_depth"]),
    Chart("Mail of a turn", ["mail_handled"]),
    Chart("Mail sent, by to whom", ["sent.*"]),
    Chart("Mail received, by from whom", ["received.*"]),
    Chart("Cost", ["cost_usd"]),
    Chart("Tokens in and out", ["tokens_in", "tokens_out"]),
    Chart("Tokens of the cache", ["tokens_cache_read", "tokens_cache_write"]),
    Chart("Size of the context", ["context_tokens"]),
    Chart("Size of the notes", ["notes_bytes"]),
    Chart("Crashes and dead mail", ["crashes", "dead"]),
    Chart("Commands denied", ["commands_denied"]),
    Chart("Connections to the outside", ["egress", "egress_denied"]),
    Chart("Bytes to and from the outside", ["egress_sent_bytes", "egress_received_bytes"]),
]
HIVE = [
    Chart("Agents awake and asleep", ["agents_awake", "agents_asleep"]),
    Chart("Requests that wait", ["approvals_pending"]),
    Chart("Age of the oldest request", ["approvals_oldest_ms"]),
    Chart("Crashes and denials", ["crashes", "denials"]),
    Chart("Turns by agent", ["turns"], agents=True),
    Chart("Cost by agent", ["cost_usd"], agents=True),
    Chart("Mail that waits at most, by agent", ["inbox_depth"], agents=True),
    Chart("Time of a turn, by agent", ["turn_ms"], agents=True),
]


def hours(window: str) -> int:
    if window not in WINDOWS:
        raise Problem("bad-request", f"'window' must be one of {', '.join(WINDOWS)}")
    return WINDOWS[window]


def read(broker: Client, agent: str, window: str, *, whole: bool = True) -> Message:
    """As GET /api/stats answers: the series of an agent or of the hive; `whole`: and those of all agents."""
    since, step = (datetime.now(UTC) - timedelta(hours=hours(window))).isoformat(), STEPS[window]
    found = broker.call("stats", since=since, step=step, agent=agent)
    for chart in HIVE if whole and not agent else []:
        if chart.agents:
            asked = {"key": chart.keys[0], "until": found["until"]}
            of_all = broker.call("stats", since=since, step=step, **asked)["series"]
            found["series"] += [each for each in of_all if each["agent"]]
    return found


def as_json(charts: list[Chart]) -> str:
    return json.dumps([chart._asdict() for chart in charts])


def inert(found: Message) -> str:
    """As the content of a script element that is no script."""
    return json.dumps(found, separators=(",", ":")).replace("<", "\\u003c")


def figures(found: list[Message], agent: str) -> list[dict[str, str]]:
    """A line of the table for each series in which there is something."""
    own = [each for each in found if each["agent"] == agent]
    return [line(each) for each in own if each["at"] or each["before"] is not None]


def line(each: Message) -> dict[str, str]:
    high, most = each["high"], each["max"]
    return {
        "key": each["key"],
        "about": series.find(each["key"]).about,
        "value": f"{exact(stats.summary(each))} {stats.NEWEST[each['kind']]}",
        "most": exact(max(most)) if most else "",
        "high": exact(max(high)) if high else "",
        "unit": each["unit"],
    }


def exact(value: float) -> str:
    return f"{value:,.4f}".rstrip("0").rstrip(".")
