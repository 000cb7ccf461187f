"""The series of stats.db: what each is called, what its points are, in which unit."""

from typing import NamedTuple

# What the points of one step of a chart become. sum: they are added up. last: the newest counts, and the
# greatest. mean: one point per turn. spread: one point per turn or wake, told as p50 and p95.
KINDS = ("sum", "last", "mean", "spread")
HOUR = 3_600_000  # ms: a row of stats_hour, and of stats_spread
SIX_HOURS = 6 * HOUR  # a row of stats_spread_6h
PER_DOUBLING = 4  # steps of stats_spread: a value is known to within 9 %


class Series(NamedTuple):
    kind: str
    unit: str
    about: str


ALL = {
    "turns": Series("sum", "turns", "turns that ended"),
    "outcome.*": Series("sum", "turns", "turns by how they ended: outcome.ok, outcome.crashed"),
    "turn_ms": Series("spread", "ms", "how long a turn took"),
    "idle_ms": Series("spread", "ms", "from the end of the turn before to the start of this one"),
    "tool_calls": Series("mean", "calls", "tool calls of a turn"),
    "tool.*": Series("sum", "calls", "calls of one tool: tool.Bash, tool.send"),
    "mail_handled": Series("mean", "messages", "mail that a turn was given"),
    "tokens_in": Series("sum", "tokens", "input tokens, without those of the cache"),
    "tokens_out": Series("sum", "tokens", "output tokens"),
    "tokens_cache_read": Series("sum", "tokens", "tokens read from the prompt cache"),
    "tokens_cache_write": Series("sum", "tokens", "tokens written to the prompt cache"),
    "cost_usd": Series("sum", "USD", "cost, as claude reckons it"),
    "context_tokens": Series(
        "last", "tokens", "size of the context: all input of the turn's last inference"
    ),
    "notes_bytes": Series("last", "bytes", "size of /state/notes.md at the end of the turn"),
    "sent.*": Series("sum", "messages", "mail that it sent, to: peer, operator, manager"),
    "received.*": Series("sum", "messages", "mail to it, from: peer, operator, manager, system"),
    "inbox_depth": Series("last", "messages", "mail that waits in its inbox"),
    "dead": Series("sum", "messages", "mail to it that was given up"),
    "wake_ms": Series("spread", "ms", "from the byte in the FIFO to the harness's hello"),
    "crashes": Series("sum", "crashes", "crashes of its unit; of the hive as a whole, all crashes"),
    "commands_denied": Series("sum", "commands", "commands that its rules did not allow"),
    "egress": Series("sum", "connections", "connections that it had to the outside, the model left out"),
    "egress_denied": Series("sum", "connections", "connections to the outside that it was refused"),
    "egress_sent_bytes": Series("sum", "bytes", "what it sent on connections to the outside"),
    "egress_received_bytes": Series("sum", "bytes", "what it received on connections to the outside"),
    "denials": Series("sum", "requests", "requests that the operator denied"),
    "approvals_pending": Series("last", "requests", "requests that wait for the operator"),
    "approvals_oldest_ms": Series("last", "ms", "age of the request that waits longest"),
    "agents_awake": Series("last", "agents", "agents with a run"),
    "agents_asleep": Series("last", "agents", "agents without one"),
}


def find(key: str) -> Series:
    return ALL.get(key) or ALL[f"{key.partition('.')[0]}.*"]
