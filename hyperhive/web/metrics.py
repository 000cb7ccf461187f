"""What Prometheus reads: the series of stats.db in OpenMetrics form, counted since the hive began."""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.openmetrics import exposition

from hyperhive.stats import series
from hyperhive.wire import Message

KIND = exposition.CONTENT_TYPE_LATEST
# Of each series its name here, which ends in its unit, and the label for what stands behind its point.
NAMES = {
    "turns": ("turns", ""),
    "outcome.*": ("turn_outcomes", "outcome"),
    "turn_ms": ("turn_duration_seconds", ""),
    "idle_ms": ("idle_seconds", ""),
    "tool_calls": ("turn_tool_calls", ""),
    "tool.*": ("tool_calls", "tool"),
    "mail_handled": ("turn_messages", ""),
    "tokens_in": ("input_tokens", ""),
    "tokens_out": ("output_tokens", ""),
    "tokens_cache_read": ("cache_read_tokens", ""),
    "tokens_cache_write": ("cache_write_tokens", ""),
    "cost_usd": ("cost_usd", ""),
    "context_tokens": ("context_tokens", ""),
    "notes_bytes": ("notes_bytes", ""),
    "sent.*": ("sent_messages", "to"),
    "received.*": ("received_messages", "from"),
    "inbox_depth": ("inbox_messages", ""),
    "dead": ("dead_messages", ""),
    "wake_ms": ("wake_seconds", ""),
    "crashes": ("crashes", ""),
    "commands_denied": ("denied_commands", ""),
    "egress": ("egress_connections", ""),
    "egress_denied": ("egress_denied_connections", ""),
    "egress_sent_bytes": ("egress_sent_bytes", ""),
    "egress_received_bytes": ("egress_received_bytes", ""),
    "denials": ("denials", ""),
    "approvals_pending": ("approvals_pending", ""),
    "approvals_oldest_ms": ("approvals_oldest_seconds", ""),
    "agents_awake": ("agents_awake", ""),
    "agents_asleep": ("agents_asleep", ""),
}
ALL_CRASHES = "unit_crashes"  # of the hive as a whole: in one sum with the agents' each would count twice
UNITS = ("seconds", "bytes", "usd", "tokens", "messages")
FAMILIES = {"sum": CounterMetricFamily, "last": GaugeMetricFamily, "mean": SummaryMetricFamily}
FAMILIES["spread"] = HistogramMetricFamily
# Steps of stats_total, from 32 ms to 70 min, each twice the one before; each reaches half way to the next.
BOUNDS = range(5 * series.PER_DOUBLING, 22 * series.PER_DOUBLING + 1, series.PER_DOUBLING)


def text(found: Iterable[Message]) -> bytes:
    families: dict[str, Any] = {}
    for each in found:
        family = of(each)
        add(families.setdefault(family.name, family), each)
    page: bytes = exposition.generate_latest(Collected(families.values()))  # type: ignore[no-untyped-call]
    return page


class Collected:
    """All that the library wants of a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterator[Metric]:
        yield from self.families


def of(each: Message) -> Any:
    """Its family, still without a point."""
    about = series.find(each["key"])
    name, label = NAMES.get(each["key"]) or NAMES[f"{each['key'].partition('.')[0]}.*"]
    if each["key"] == "crashes" and not each["agent"]:
        name = ALL_CRASHES
    labels = [*(["agent"] if each["agent"] else []), *([label] if label else [])]
    unit = next((unit for unit in UNITS if name.endswith(f"_{unit}")), "")
    return FAMILIES[each["kind"]](f"hyperhive_{name}", f"{about.about}.", labels=labels, unit=unit)


def add(family: Any, each: Message) -> None:
    _, dot, what = each["key"].partition(".")
    labels = [*([each["agent"]] if each["agent"] else []), *([label(what)] if dot else [])]
    size = 1000 if each["unit"] == "ms" else 1
    if each["kind"] == "spread":
        family.add_metric(labels, buckets(each["steps"], size), each["sum"] / size)
    elif each["kind"] == "mean":
        family.add_metric(labels, each["count"], each["sum"])
    elif each["kind"] == "sum":
        family.add_metric(labels, each["sum"])
    elif each["last"] is not None:
        family.add_metric(labels, each["last"] / size)


def label(name: str) -> str:
    """An agent may say what it likes of its tools; two names stay two."""
    return name if name.isprintable() and "\\" not in name else name.encode("unicode_escape").decode()


def buckets(steps: list[tuple[int, int]], size: int) -> list[tuple[str, float]]:
    found = []
    for bound in BOUNDS:
        most = 2 ** ((bound + 0.5) / series.PER_DOUBLING) / size
        found.append((f"{most:.4g}", sum(count for step, count in steps if step <= bound)))
    return [*found, ("+Inf", sum(count for _, count in steps))]
