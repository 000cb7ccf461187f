"""What the templates of hyperhive/page say of agents, mail, requests and turns: words, no markup."""

import difflib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hyperhive import names, span, wire
from hyperhive.ctl import letter
from hyperhive.ctl.change import size
from hyperhive.ctl.egress import place
from hyperhive.ctl.terminal import counted
from hyperhive.gate.egress import REFUSALS
from hyperhive.web import charts
from hyperhive.wire import Message

__all__ = ["REFUSALS", "counted", "place", "size"]

DIFF = {"+": "add", "-": "del", "@": "hunk"}
SOURCES = {
    "override": "the operator's word",
    "agent.toml": "from agent.toml",
    "hive": "the hive's default",
    "before": "as before, because another was refused",
}
RISKS = {"higher": "higher risk", "lower": "lower risk", "same": "same risk"}
# What a word for a state looks like; the word itself always stands beside the colour.
LOOKS = {
    "good": "working awake done ok deployed compacted lower",
    "busy": "leased applying approved draining",
    "wait": "pending queued paused expired denied withdrawn superseded cancelled",
    "bad": "quarantined dead failed crashed higher refused timed-out rate-limited auth-failed "
    "prompt-too-long",
}
ALIASES = ("haiku", "opus", "sonnet")  # of claude's, for the newest of each kind
STATES = ("queued", "leased", "done", "dead", "dropped")  # of mail
WINDOW = charts.USUAL
# Questions that are ready in Datasette, by what they stand below.
ASKS = {
    "agent": [
        ("cost_per_agent_and_day", "what it cost by day"),
        ("turns_per_day", "turns by day"),
        ("tools_by_share", "tools by share"),
        ("slowest_wakes", "slowest wakes"),
        ("context_before_compaction", "context before compactions"),
        ("busiest_hours", "busiest hours"),
    ],
    "hive": [
        ("cost_per_agent_and_day", "cost by agent and day"),
        ("who_talks_to_whom", "who talks to whom"),
        ("stuck_agents", "stuck agents"),
        ("mail_waits", "how long mail waits"),
        ("dead_letters", "dead letters"),
        ("crashes_by_cause", "crashes by cause"),
        ("outcomes_by_agent", "outcomes by agent"),
    ],
    "turns": [
        ("slowest_turns", "slowest turns"),
        ("dearest_turns", "dearest turns"),
        ("failed_turns", "failed turns, and why"),
        ("what_wakes_whom", "what wakes it"),
    ],
    "crashes": [("crashes", "all crashes and quarantines"), ("gone_wild", "limits that it ran into")],
    "egress": [
        ("who_goes_where", "all hosts"),
        ("refused_hosts", "hosts refused most"),
        ("bytes_out_per_agent_and_day", "bytes by day"),
    ],
    "approvals": [
        ("approvals_by_time_to_decision", "how long decisions took"),
        ("approvals_by_outcome", "what became of requests"),
        ("approvals_that_wait", "what waits"),
    ],
}
LOOK = {word: look for look, words in LOOKS.items() for word in words.split()}
FLOW_MAX = 250  # characters of a message in the flow
LINES_MAX = 400  # of a diff that a turn made


def look(word: str | None) -> str:
    return LOOK.get(word or "", "calm")


def text_of(message: Message) -> str:
    """Mail as it reads; what the hive reports, as a sentence, unless the page has only a part of it."""
    try:
        return letter.text_of(message)
    except ValueError:
        return str(message["body"])


def writers(state: Message) -> list[str]:
    """Whose mail there may be."""
    return [names.OPERATOR, names.SYSTEM, *(each["name"] for each in (*state["agents"], *state["kept"]))]


def log_of(message: Message) -> list[str]:
    """The last words of a run whose crash a message reports."""
    if message["from"] != names.SYSTEM or message.get("clipped"):
        return []
    found = json.loads(message["body"])
    return list(found.get("log") or [])


def title(message: Message) -> str:
    """The first line, for a list."""
    return " ".join(text_of(message).split())[:200]


def until(at: str) -> str:
    left = wire.seconds_of(at) - datetime.now(UTC).timestamp()
    return f"in {span.words(left)}" if left > 0 else "now"


def clock(at: str) -> str:
    """Of UTC: the page does not know where its reader is; page.js does."""
    return f"{at[:10]} {at[11:19]} UTC"


def diff(text: str) -> list[tuple[str, str]]:
    """The lines of a unified diff, each with what it is."""
    found = []
    for line in text.rstrip("\n").split("\n"):
        head = line.startswith(("diff --git ", "--- ", "+++ ", "new file", "deleted file", "index "))
        found.append(("file" if head else DIFF.get(line[:1], "same"), line))
    return found


def edit(old: str, new: str) -> list[tuple[str, str]]:
    """What a turn changed in a file, as far as one wants to read it."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2)
    found = [(DIFF.get(line[:1], "same"), line) for line in list(lines)[2:] if not line.startswith("@@")]
    rest = len(found) - LINES_MAX
    return [*found[:LINES_MAX], ("hunk", f"… {rest} lines more")] if rest > 0 else found


def death(run: Message) -> str:
    """How a run ended."""
    if not run["ended_at"]:
        return "runs"
    if run["event"] == "container_crash":
        return f"crashed: {wire.death(run)}"
    if run["event"] == "quarantined":
        return f"quarantined: {run['result']}"
    return str(run["event"])


def lasted(run: Message) -> str:
    if not run["ended_at"]:
        return ""
    return span.words(wire.seconds_of(run["ended_at"]) - wire.seconds_of(run["began_at"]))


def crashes(runs: list[Message]) -> list[Message]:
    return [run for run in runs if run["event"] in ("container_crash", "quarantined")]


def queued(status: Message) -> bool:
    """Whether its next turn will use another model than it did, or than it was told."""
    return bool(status["state"] == "queued" and (status["now"] or status["set_by"]))


def models(state: Message) -> list[list[str]]:
    """Names that one may want to switch to, and who uses them."""
    users: dict[str, list[str]] = {alias: [] for alias in ALIASES}
    for agent in state["agents"]:
        status = agent["model_status"]
        for name in {status["next"], status["now"], agent["model"]} - {None}:
            users.setdefault(name, []).append(agent["name"])
    return [[name, f"used by {few(them)}" if them else ""] for name, them in sorted(users.items())]


def few(words: list[str]) -> str:
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def as_json(value: Any) -> str:
    return json.dumps(value)


def waits(waiting: list[Message]) -> str:
    """For page.js: a name for each, which stays, and what a notification says of it."""
    return json.dumps(
        [[f"{w['kind']} {w['agent']} {w['id']}", f"{w['kind']}: {w['title']}"] for w in waiting]
    )


def anchor(waits: Message) -> str:
    """Where on the page one does something about what waits."""
    kind = waits["kind"]
    if kind in ("approval", "question"):
        return f"/#{kind}-{waits['id']}"
    if kind in ("mail", "dead"):
        return f"/#{'inbox' if kind == 'mail' else 'dead'}"
    if waits["do"]:
        return f"/agent/{waits['agent']}" if waits["agent"] else "/#waiting"
    return f"/agent/{waits['agent']}#crashes"


def calls(tools: Message) -> str:
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in tools.items())


# turns


def parsed(text: str) -> Any:
    """What a tool was given, when it came whole."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def brief(event: Message) -> str:
    """A call of a tool in one line: what matters of it."""
    given = parsed(event["text"])
    if not isinstance(given, dict):
        return str(event["text"])[:200]
    for key in ("command", "file_path", "path", "pattern", "url", "to", "query", "description"):
        if isinstance(given.get(key), str):
            return " ".join(given[key].split())[:200]
    return " ".join(f"{key}={value}" for key, value in given.items())[:200]


def denied(event: Message) -> str:
    """What hive-rules(8) told the model, without what the CLI puts before it."""
    found = re.fullmatch(r"(PreToolUse:\w+ hook error: )?(Not allowed: .*)", event["text"], re.DOTALL)
    return found[2] if found and event["kind"] == "error" else ""


def changed(event: Message) -> list[tuple[str, str]]:
    """The lines that a call of Edit or Write changes."""
    given = parsed(event["text"])
    if event.get("tool") not in ("Edit", "MultiEdit", "Write") or not isinstance(given, dict):
        return []
    edits = given.get("edits")
    return list(lines_of(edits if isinstance(edits, list) else [given]))


def lines_of(edits: list[Any]) -> Iterator[tuple[str, str]]:
    for each in edits:
        each = each if isinstance(each, dict) else {}
        old, new = each.get("old_string", ""), each.get("new_string", each.get("content", ""))
        if isinstance(old, str) and isinstance(new, str):
            yield from edit(old, new)
