"""Each series of hyperhive-stats.db(5), of a real agent: mail, failures, a compaction, a crash, a denial."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from hyperhive.stats.series import ALL
from hyperhive.store.store import ATTEMPTS_MAX
from tests.box.changes import ask, propose
from tests.box.crew import DONE, WAIT, Crew, Event, Watch

NOTE = 'call = [{ name = "Bash", input = { command = "printf remember >> /state/notes.md" } }]'
WORK = rf"""
agent = "sue"
text = 'from="operator"[^>]*>\s*work'
[[rule.steps]]
{NOTE}
[[rule.steps]]
call = [{{ name = "mcp__hive__send", input = {{ to = "bob", body = "hello from sue" }} }}]
[[rule.steps]]
call = [{{ name = "mcp__hive__send", input = {{ to = "manager", body = "hello from sue" }} }}]
[[rule.steps]]
call = [{{ name = "mcp__hive__send", input = {{ to = "operator", body = "hello from sue" }} }}]
[[rule.steps]]
say = "worked"
"""
ANSWER = """
text = "hello from sue"
[[rule.steps]]
call = [{ name = "mcp__hive__send", input = { to = "sue", body = "hello back" } }]
[[rule.steps]]
say = "answered"
"""
HOLD = """
text = "hold"
[[rule.steps]]
call = [{ name = "Bash", input = { command = "while :; do sleep 1 & wait; done", description = "Hold" } }]
"""
TOO_LONG = """
text = "grow"
times = 1
[rule.error]
status = 400
type = "invalid_request_error"
message = "prompt is too long: 9 tokens > 8 maximum"
"""
POISON = """
text = "poison"
[rule.error]
status = 400
type = "invalid_request_error"
message = "what is that"
"""
MAKE = """
text = "make"
[[rule.steps]]
call = [{ name = "Bash", input = { command = "make --version", description = "Look" } }]
[[rule.steps]]
say = "I may not"
"""
MAY = '["Bash(printf *)", "Bash(sleep *)"]'
TEXT = f"text = 'note more'\n[[rule.steps]]\n{NOTE}\n[[rule.steps]]\nsay = 'noted'"
SHORT, LONG = (
    10,
    30_000,
)  # ms, in which a turn of the rehearsal model ends, and an agent wakes, on a busy machine


def until_all(watch: Watch, *wanted: Event) -> None:
    """Until each of these events came, in whatever order."""
    left = [*wanted]
    while left:
        came = watch.connection.next_event(WAIT)
        assert came, f"missing: {left}"
        left = [each for each in left if not each.items() <= came.items()]


def hold(crew: Crew, watch: Watch) -> int:
    crew.rules(HOLD, DONE)
    number = crew.send("sue", "hold")
    watch.until("turn_event", agent="sue", kind="tool", tool="Bash")
    return number


def works(crew: Crew, watch: Watch) -> None:
    crew.rules(WORK, ANSWER, DONE)
    crew.send("sue", "work")
    peers = ("bob", "manager")
    until_all(
        watch,
        *({"event": "mail", "from": "sue", "to": name} for name in (*peers, "operator")),
        *({"event": "mail", "from": name, "to": "sue"} for name in peers),
    )
    crew.rules(TEXT, DONE)
    number = crew.send("sue", "note more")
    until_all(watch, {"event": "done", "id": number})


def fails(crew: Crew, watch: Watch) -> None:
    hold(crew, watch)
    waiting = [crew.send("sue", "one more") for _ in range(2)]
    crew.rules(DONE)
    crew.call("command", agent="sue", command="cancel")
    until_all(
        watch, {"event": "turn", "outcome": "cancelled"}, *({"event": "done", "id": n} for n in waiting)
    )
    crew.rules(TOO_LONG, DONE)
    number = crew.send("sue", "grow")
    until_all(
        watch, {"event": "turn", "agent": "sue", "outcome": "compacted"}, {"event": "done", "id": number}
    )
    for victim, outcome in (("bin/claude", "turn"), ("bin/hive-harness", "container_crash")):
        number = hold(crew, watch)
        crew.rules(DONE)
        crew.run("kill", "-KILL", str(crew.process("sue", victim)))
        until_all(watch, {"event": outcome, "agent": "sue"}, {"event": "done", "id": number})


def gives_up(crew: Crew, watch: Watch) -> None:
    """What it may not run, and mail that no turn does."""
    crew.rules(MAKE, POISON)
    crew.send("sue", "poison")
    watch.until("dead", agent="sue")
    number = crew.send("sue", "make")
    until_all(watch, {"event": "command_denied", "agent": "sue"}, {"event": "done", "id": number})


def is_denied(crew: Crew) -> None:
    propose(crew, "sue", {"agent.toml": 'description = "another"\n'})
    number = ask(crew, "request_apply_commit", agent="sue", commit_ref="HEAD")
    crew.call("stats", since=datetime.now(UTC).isoformat())  # so that the one that waits is seen to wait
    crew.call("deny", request=number, reason="no")


def read(crew: Crew, since: str, agent: str) -> dict[str, Event]:
    found = crew.call("stats", since=since, agent=agent, step=1)["series"]
    return {each["key"]: each for each in found if each["at"]}


def records(crew: Crew) -> list[Event]:
    """Of turns, oldest first; a run that died in a turn left none."""
    found = crew.call("turns", agent="sue", limit=30)["turns"]
    return [each["turn"] for each in found if each["turn"]][::-1]


def expected(turns: list[Event]) -> dict[str, tuple[str, Any]]:
    """Of each series: which figure of its points, and what that is, or between which two."""
    outcomes = Counter(turn["outcome"] for turn in turns)
    tools = sum((Counter(turn["tools"]) for turn in turns), Counter[str]())
    last = turns[-1]
    context = sum(last[f"last_tokens_{what}"] for what in ("in", "cache_read", "cache_write"))
    spent = ("tokens_in", "tokens_out", "tokens_cache_read", "tokens_cache_write", "cost_usd")
    return {
        "turns": ("sum", len(turns)),
        "outcome.ok": ("sum", outcomes["ok"]),
        **{f"outcome.{how}": ("sum", 1) for how in ("cancelled", "compacted")},
        "outcome.crashed": ("sum", 1 + ATTEMPTS_MAX),
        "turn_ms": ("p95", (SHORT, LONG)),
        "idle_ms": ("p95", (1, LONG)),
        "tool_calls": ("max", 4),  # of the first turn, of which one is Bash's
        "tool.Bash": ("sum", tools["Bash"]),
        "tool.send": ("sum", 3),
        "mail_handled": ("max", 2),  # what waited while a turn was running
        **{each: ("sum", pytest.approx(sum(turn[each] for turn in turns))) for each in spent},
        "context_tokens": ("last", context),
        "notes_bytes": ("grown", len("remember")),
        "sent.peer": ("sum", 1),
        "sent.manager": ("sum", 1),
        "sent.operator": ("sum", 1),
        "received.peer": ("sum", 1),
        "received.manager": ("sum", 1),
        "received.operator": ("sum", 10),
        "inbox_depth": ("max", 2),
        "wake_ms": ("p95", (SHORT, LONG)),
        "crashes": ("sum", 1),
        "dead": ("sum", 1),
        "commands_denied": ("sum", 1),
    }


HIVE = {
    "crashes": ("sum", 1),
    "denials": ("sum", 1),
    "approvals_pending": ("max", (1, 9)),  # other tests of this box may have left some
    "approvals_oldest_ms": ("max", (1, 3_600_000)),
    "agents_awake": ("max", (2, 100)),
    "agents_asleep": ("max", (1, 100)),
}
# These take hosts: see test_gate.py.
ELSEWHERE = {
    "egress",
    "egress_denied",
    "egress_sent_bytes",
    "egress_received_bytes",
}
FIGURES: dict[str, Callable[[Event], float]] = {
    "sum": lambda each: sum(each["value"]),
    "max": lambda each: max(each["max"]),
    "last": lambda each: each["value"][-1],
    "grown": lambda each: each["value"][-1] - each["value"][0],
    "p95": lambda each: max(each["high"]),
}


def compare(found: dict[str, Event], wanted: dict[str, tuple[str, Any]]) -> None:
    figures = {key: FIGURES[which](found[key]) for key, (which, _) in wanted.items()}
    wrong = {
        key: (figures[key], value)
        for key, (_, value) in wanted.items()
        if not (value[0] <= figures[key] <= value[1] if isinstance(value, tuple) else figures[key] == value)
    }
    assert wrong == {}


def test_each_series_of_a_run(crew: Crew) -> None:
    crew.run("systemctl", "reset-failed")
    crew.rules(DONE)
    crew.spawn_asleep("sue", MAY)
    watch, since = crew.watch(), datetime.now(UTC).isoformat()
    works(crew, watch)
    fails(crew, watch)
    gives_up(crew, watch)
    is_denied(crew)
    watch.connection.close()
    wanted, sue = expected(records(crew)), read(crew, since, "sue")
    compare(sue, wanted)
    assert sue.keys() == wanted.keys()
    compare(read(crew, since, ""), HIVE)
    manager = read(crew, since, "manager")
    compare(
        manager, {"received.peer": ("sum", 1), "received.system": ("sum", (1, 9)), "sent.peer": ("sum", 1)}
    )
    seen = {each if each in ALL else f"{each.partition('.')[0]}.*" for each in wanted.keys() | HIVE.keys()}
    assert seen == ALL.keys() - ELSEWHERE
