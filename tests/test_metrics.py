"""GET /metrics: what it says, as the client library's own parser reads it, and who may read it."""

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from hyperhive.stats import series
from hyperhive.web import metrics
from tests.hive import Hive
from tests.hivectl import load, run
from tests.test_telemetry import work
from tests.web import Answer, Web


@pytest.fixture(scope="module")
def worked(site: Web) -> Iterator[Hive]:
    work(site.hive)
    yield site.hive


def read(it: Web, token: str) -> Answer:
    return it.ask("GET", "/metrics", headers={"Cookie": None, "Authorization": f"Bearer {token}"})


def families(text: str) -> dict[str, Any]:
    found = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {family.name: family for family in found}


def value(found: dict[str, Any], name: str, sample: str = "", **labels: str) -> float:
    (only,) = [
        each.value
        for each in found[f"hyperhive_{name}"].samples
        if each.name == f"hyperhive_{name}{sample}" and each.labels == labels
    ]
    return float(only)


def test_what_happened_is_counted_with_types_and_units(site: Web, worked: Hive) -> None:
    answer = read(site, run(worked, "url", "--metrics").stdout.strip())
    assert answer.headers["content-type"] == metrics.KIND and answer.text.endswith("# EOF\n")
    found = families(answer.text)
    assert {found[f"hyperhive_{name}"].type for name in ("turns", "cost_usd", "crashes")} == {"counter"}
    assert (found["hyperhive_cost_usd"].unit, found["hyperhive_notes_bytes"].unit) == ("usd", "bytes")
    assert value(found, "turns", "_total", agent="ada") == 2
    assert value(found, "turn_outcomes", "_total", agent="ada", outcome="crashed") == 1
    assert value(found, "tool_calls", "_total", agent="ada", tool="Bash") == 4
    assert value(found, "received_messages", "_total", agent="ada", **{"from": "operator"}) == 1
    assert value(found, "turn_tool_calls", "_sum", agent="ada") == 6
    assert value(found, "context_tokens", agent="ada") == 125
    assert value(found, "crashes", "_total", agent="ada") == value(found, "unit_crashes", "_total") == 1
    assert (value(found, "agents_awake"), value(found, "agents_asleep")) == (2, 1)
    # two turns of 3 ms: both are in the lowest bucket
    assert found["hyperhive_turn_duration_seconds"].type == "histogram"
    assert value(found, "turn_duration_seconds", "_sum", agent="ada") == 0.006
    assert value(found, "turn_duration_seconds", "_bucket", agent="ada", le="0.0349") == 2
    assert value(found, "turn_duration_seconds", "_count", agent="ada") == 2


def test_every_series_has_a_name_and_says_what_it_is(site: Web, worked: Hive) -> None:
    assert metrics.NAMES.keys() == series.ALL.keys()
    for name, family in families(site.get("/metrics").text).items():
        said = {about.about for about in series.ALL.values()}
        assert family.documentation.rstrip(".") in said, name


def test_the_oldest_request_grows_older_while_nothing_happens(site: Web, worked: Hive) -> None:
    assert worked.agent("manager").ask("request_spawn", agent="eve")["ok"]
    first, second = (value(families(site.get("/metrics").text), "approvals_oldest_seconds") for _ in "ab")
    assert 0 < first < second < 60


def test_names_of_tools_are_told_apart_however_strange() -> None:
    names = ["Bash", "a\nb", "a\\nb", "a\x00b", 'a"b', "ä", "a\\\\nb"]
    about: dict[str, Any] = {
        "agent": "ada",
        "kind": "sum",
        "unit": "calls",
        "last": None,
        "count": 1,
        "sum": 1,
        "steps": [],
    }
    text = metrics.text({"key": f"tool.{name}", **about} for name in names).decode()
    found = families(text)["hyperhive_tool_calls"].samples
    assert len({each.labels["tool"] for each in found}) == len(names)
    assert text.isprintable() or text.replace("\n", "").isprintable()


def test_a_token_is_no_cookie_and_a_cookie_no_token(site: Web, worked: Hive) -> None:
    token = load(worked, "url", "--metrics")["token"]
    assert read(site, token).status == 200
    assert site.ask("GET", "/metrics", headers={"Cookie": f"{site.name}={token}"}).status == 401
    assert read(site, site.token).status == 401  # nor is the page's a token for programs
    assert site.get("/metrics").status == 200


@pytest.mark.parametrize(
    "said", ["", "Bearer", "Bearer x", "Basic eDp5", "bearer \xe4", "Bearer " + "x" * 200]
)
def test_without_a_token_nobody_reads(site: Web, said: str) -> None:
    assert site.ask("GET", "/metrics", headers={"Cookie": None, "Authorization": said}).status == 401


def test_a_token_is_listed_and_revoked(site: Web, worked: Hive) -> None:
    begun = load(worked, "url", "--metrics")
    assert any(line.split()[-3:] == ["read", "metrics", "metrics"] for line in table(worked))
    assert read(site, begun["token"]).status == 200
    run(worked, "sessions", "--revoke", str(begun["session"]))
    assert read(site, begun["token"]).status == 401


def table(here: Hive) -> list[str]:
    return run(here, "sessions").stdout.splitlines()
