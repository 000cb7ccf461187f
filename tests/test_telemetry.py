"""stats.db with the real broker: each series of the issue, from what peers say and do."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from hyperhive.broker.broker import Broker
from hyperhive.stats import series
from hyperhive.stats.telemetry import SERIES_A_BATCH, Telemetry
from tests.hive import Hive, hive
from tests.hivectl import load, on_terminal, run
from tests.page.scene import death
from tests.test_broker import RECORD

MEASURED = {"last_tokens_in": 5, "last_tokens_out": 7, "last_tokens_cache_read": 100}
MEASURED |= {"last_tokens_cache_write": 20, "notes_bytes": 64, "claude_ms": 3, "answer_ms": 9}
SPENT: dict[str, Any] = {key: value for key, value in RECORD.items() if key.startswith(("tokens_", "cost_"))}
CRASH = {"result": "signal", "signal": "SIGKILL", "restarts": 0, "restarted": True, "log": ["argh"]}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hive]:
    with hive(tmp_path) as it:
        it.add("manager", "ada", "bob")
        yield it


def stats(here: Hive, days: float = 1, **wanted: Any) -> dict[tuple[str, str], Any]:
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    found = here.operator().ask("stats", since=since, **wanted)
    assert found["ok"], found
    return {(each["agent"], each["key"]): each for each in found["series"]}


def rows(here: Hive, query: str) -> list[Any]:
    with closing(sqlite3.connect(here.state / "db/stats.db", timeout=20)) as db:
        return db.execute(query).fetchall()


def work(here: Hive) -> None:
    """Mail in all directions, two turns and a crash of ada's."""
    ada, operator = here.agent("ada", invocation="a" * 32), here.operator()
    operator.ask("send", to="ada", body="hello")
    bob = here.agent("bob")
    bob.ask("send", to="ada", body="hällo")
    while ada.ask("recv")["messages"]:
        pass
    for to in ("bob", "operator", "manager"):
        ada.ask("send", to=to, body="well")
    tools = {"tools": {"Bash": 2, "send": 1}, "tool_calls": 3}
    for number, outcome in enumerate(("ok", "crashed"), 1):
        ended = {"number": number, "outcome": outcome, "exit_code": 0 if outcome == "ok" else 3}
        assert ada.ask("turn", **RECORD | MEASURED | tools | ended)["ok"]
        time.sleep(0.002)  # two turns of an agent do not end in one millisecond
    ada.ask("ack")
    told = {"event": "container_crash", "unit": "hive-agent@ada.service", "invocation": "a" * 32}
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    assert here.system().ask("event", at=at, **told | CRASH)["ok"]


def test_every_series_is_there_with_what_happened(here: Hive) -> None:
    work(here)
    found = stats(here, agent="ada")
    sums = {key: sum(each["value"]) for (_, key), each in found.items() if each["kind"] == "sum"}
    assert sums == {
        "turns": 2,
        "outcome.ok": 1,
        "outcome.crashed": 1,
        "tool.Bash": 4,
        "tool.send": 2,
        "received.operator": 1,
        "received.peer": 1,
        "sent.peer": 1,
        "sent.operator": 1,
        "sent.manager": 1,
        "crashes": 1,
        **{key: 2 * value for key, value in SPENT.items()},
    }
    newest = {key: each["value"][-1] for (_, key), each in found.items() if each["kind"] == "last"}
    assert newest == {"context_tokens": 125, "notes_bytes": 64, "inbox_depth": 0}
    assert found["ada", "inbox_depth"]["max"] == [2]
    assert found["ada", "tool_calls"]["value"] == [3]
    assert found["ada", "turn_ms"]["value"] == found["ada", "turn_ms"]["high"] == [RECORD["duration_ms"]]
    whole = {key: each["value"][-1] for (_, key), each in stats(here).items()}
    assert whole == {
        "agents_awake": 2,
        "agents_asleep": 1,
        "approvals_pending": 0,
        "approvals_oldest_ms": 0,
    } | {"crashes": 1}


def test_series_are_of_the_kinds_and_units_that_the_list_says(here: Hive) -> None:
    work(here)
    for (_, key), each in {**stats(here), **stats(here, agent="ada"), **stats(here, agent="bob")}.items():
        assert (each["kind"], each["unit"]) == series.find(key)[:2], key


def test_records_have_no_bodies_but_all_else(here: Hive) -> None:
    work(here)
    stats(here)
    assert rows(
        here, "select sender, recipient, bytes, state, attempts from messages where sender = 'bob'"
    ) == [("bob", "ada", 6, "done", 1)]
    assert rows(here, "select count(*) from messages where first_delivered_at < sent_at") == [(0,)]
    assert rows(here, "select agent, event, signal, result, restarted from crashes") == [
        ("ada", "container_crash", "SIGKILL", "signal", 0)
    ]
    assert rows(here, "select claude_ms, answer_ms, mail_ms >= 0 from starts where agent = 'ada'") == [
        (3, 9, 1)
    ]
    turns = rows(here, "select outcome, exit_code, ended_at > started_at from turns order by number")
    assert turns == [("ok", 0, 1), ("crashed", 3, 1)]


def test_hours_say_what_the_points_say(here: Hive) -> None:
    work(here)
    short, long = stats(here, agent="ada"), stats(here, days=30, agent="ada")
    assert short.keys() == long.keys()
    for key, each in long.items():
        assert [sum(each["value"]), max(each["max"])] == pytest.approx(
            [sum(short[key]["value"]), max(short[key]["max"])], rel=0.1, abs=1.5
        ), key


def test_how_old_a_request_became_is_told_when_it_is_decided(here: Hive) -> None:
    manager, operator = here.agent("manager"), here.operator()
    first, _ = (manager.ask("request_spawn", agent=name)["request"] for name in ("eve", "fay"))
    stats(here)
    assert operator.ask("deny", request=first, reason="no")["ok"]
    stats(here)
    (about,) = rows(here, f"select requested_at, decided_at from approvals where id = {first}")  # noqa: S608
    asked, decided = (round(datetime.fromisoformat(at).timestamp() * 1000) for at in about)
    ages = rows(here, "select value from stats where key = 'approvals_oldest_ms'")  # the other waits on
    assert decided > asked and (decided - asked,) in ages
    assert stats(here)["", "approvals_pending"]["value"][-1] == 1


def test_what_a_broker_left_out_when_it_died_is_made_good(here: Hive) -> None:
    operator = here.operator()
    operator.ask("send", to="ada", body="hello")
    here.kill()
    here.start()
    assert sum(stats(here, agent="ada")["ada", "received.operator"]["value"]) == 1
    assert rows(here, "select sender, recipient, state from messages where recipient = 'ada'") == [
        ("operator", "ada", "queued")
    ]


def test_a_turn_whose_report_was_answered_outlives_the_broker(here: Hive) -> None:
    ada = here.agent("ada")
    assert ada.ask("turn", **RECORD | {"tools": {"Bash": 2}, "error": "ärger"})["ok"]
    here.kill()
    here.start()
    (turn,) = here.operator().ask("show", agent="ada")["recent_turns"]
    assert turn == turn | RECORD | {"tools": {"Bash": 2}, "error": "ärger", "exit_code": None}
    assert sum(stats(here, agent="ada")["ada", "tool.Bash"]["value"]) == 2
    with closing(sqlite3.connect(here.state / "db/hive.db")) as db:
        while db.execute("select count(*) from reported").fetchone() != (0,):
            assert here.broker and here.broker.poll() is None


def test_who_has_waited_longest_has_its_points_first() -> None:
    telemetry = Telemetry(cast(Broker, None))  # which it asks nothing for this
    tools = {f"tool{n}": 1 for n in range(SERIES_A_BATCH // 2)}
    for number in (1, 2):
        for agent in ("ada", "bob", "eve"):
            telemetry.turn({"agent": agent, "number": number, "tools": tools})
    assert telemetry.longest_waiting() == [("ada", 1), ("ada", 2), ("bob", 1), ("bob", 2)]
    telemetry.turn({"agent": "ada", "number": 3, "tools": {}})
    assert telemetry.longest_waiting() == [("eve", 1), ("eve", 2), ("ada", 3)]
    assert telemetry.longest_waiting() == []


def test_agents_of_many_series_take_turns_and_nothing_is_lost(here: Hive) -> None:
    names = ["manager", "ada", "bob"]
    tools = {f"tool{n}": 1 for n in range(SERIES_A_BATCH // 2)}
    for agent in [here.agent(name) for name in names]:
        for part in range(2):  # a turn has at most 200 tools
            used = {"tools": dict([*tools.items()][part * 180 :][:180]), "number": part + 1}
            assert agent.ask("turn", **RECORD | used)["ok"]
    assert all(here.operator().ask("show", agent=name)["recent_turns"] for name in names)
    counts = "select agent, count(*) from stats where key like 'tool.%' group by 1"
    while len(found := rows(here, counts)) < len(names):
        assert here.broker and here.broker.poll() is None
    assert {*found} == {(name, len(tools)) for name in names}


def test_a_turn_that_is_told_twice_counts_once(here: Hive) -> None:
    ada = here.agent("ada")
    for _ in range(2):
        ada.ask("turn", **RECORD)
    assert sum(stats(here, agent="ada")["ada", "turns"]["value"]) == 1


def test_a_model_that_invents_tools_does_not_invent_series_without_end(here: Hive) -> None:
    ada = here.agent("ada")
    for number in range(1, 5):
        tools = {f"tool{number}-{n}": 1 for n in range(200)}
        assert ada.ask("turn", **RECORD | {"number": number, "tools": tools})["ok"]
        stats(here)
    assert len(stats(here, agent="ada")) < 450


def test_a_reader_holds_up_no_mail_and_loses_nothing(here: Hive) -> None:
    stats(here)
    with closing(sqlite3.connect(here.state / "db/stats.db", isolation_level=None)) as db:
        db.execute("begin")
        db.execute("select count(*) from stats").fetchone()
        operator = here.operator()
        for _ in range(20):  # who waited for the reader would wait for ever
            assert operator.ask("send", to="ada", body="hello")["ok"]
        db.execute("rollback")
    while sum(stats(here, agent="ada")["ada", "received.operator"]["value"]) < 20:
        assert here.broker and here.broker.poll() is None


def test_mail_that_was_given_up_is_counted_once(here: Hive) -> None:
    death(here, "bob")
    for _ in range(2):
        assert sum(stats(here, agent="bob")["bob", "dead"]["value"]) == 1


def test_old_points_go_and_their_hours_stay(here: Hive) -> None:
    work(here)
    stats(here)
    with closing(sqlite3.connect(here.state / "db/stats.db", timeout=20, isolation_level=None)) as db:
        db.execute("update stats set ts = ts - 864000000")
        db.execute("update turns set ended_at = '2001'")
    assert here.system().ask("prune", days=30, stats_days=9)["ok"]
    assert rows(here, "select (select count(*) from stats), (select count(*) from turns)") == [(0, 0)]
    assert sum(stats(here, days=30, agent="ada")["ada", "turns"]["value"]) == 2


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"since": "yesterday"}, "not an ISO 8601 time: 'yesterday'"),
        ({"since": "2026-01-02", "until": "2026-01-01"}, "'since' must be before 'until'"),
        ({"since": "2026-01-01", "until": "2026-01-02", "step": 1}, "'step' makes more than 1000 steps"),
        ({"since": "2026-01-01", "until": "2026-01-03", "step": 1800}, "must be whole hours"),
    ],
)
def test_what_is_refused(here: Hive, wanted: dict[str, Any], text: str) -> None:
    answer = here.operator().ask("stats", **wanted)
    assert answer["error"] == "bad-request" and text in answer["message"]


def test_hivectl_shows_it(here: Hive) -> None:
    assert "approvals_pending" in run(here, "stats").stdout
    work(here)
    plain = run(here, "stats", "ada", "--since=4h").stdout
    assert "turns" in plain and "2 in all" in plain and "█" not in plain
    drawn = on_terminal(here, "stats", "ada", columns=110)
    assert "█" in drawn and "tool.Bash" in drawn
    narrow = on_terminal(here, "stats", "ada", columns=66)  # the figures come first
    assert "2 in all" in narrow and "tokens_cache_write" in narrow and not {"█", "…"} & {*narrow}
    assert {each["agent"] for each in load(here, "stats", "ada")["series"]} == {"ada"}
    assert "no agent is called" in run(here, "stats", "eve", status=1).stderr
