"""What an agent reports of its turns, however much and however wrong, and what is kept of it."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from hyperhive.broker.live import EVENTS_BURST
from tests.hive import Hive, Peer

EVENT = {"n": 1, "kind": "text", "tool": None, "id": None, "text": "hello", "bytes": 5}


def report(peer: Peer, number: int, *events: Any) -> Any:
    return peer.ask("turn_events", number=number, events=[*events])


def turns(here: Hive, **fields: Any) -> Any:
    answer = here.operator().ask("turns", agent="ada", **fields)
    assert answer["ok"], answer
    return answer["turns"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"n": 0}, "bad-request"),
        ({"n": 2001}, "bad-request"),
        ({"n": True}, "bad-request"),
        ({"kind": "shout"}, "bad-request"),
        ({"text": "x" * 8193}, "too-large"),
        ({"text": "\ud800"}, "bad-request"),
        ({"tool": ["Bash"]}, "bad-request"),
        ({"bytes": -1}, "bad-request"),
    ],
    ids=str,
)
def test_each_field_is_checked(here: Hive, wrong: dict[str, Any], error: str) -> None:
    ada = here.agent("ada")
    assert report(ada, 1, EVENT, EVENT | wrong)["error"] == error
    assert turns(here) == []


@pytest.mark.parametrize("events", ["x", [1], [None], [[]], [EVENT] * 65], ids=lambda value: str(value)[:20])
def test_what_is_no_list_of_events(here: Hive, events: Any) -> None:
    assert here.agent("ada").ask("turn_events", number=1, events=events)["error"] == "bad-request"


def test_a_report_that_is_repeated_adds_nothing(here: Hive) -> None:
    ada = here.agent("ada")
    for text in ("first", "second"):
        assert report(ada, 1, EVENT | {"text": text})["ok"]
    (turn,) = turns(here)
    assert [event["text"] for event in turn["events"]] == ["first"] and turn["turn"] is None


def test_nothing_in_a_text_is_taken_for_anything_else(here: Hive) -> None:
    nasty = "<script>\x1b]0;x\x07\u202e\x00\n\r'); drop table turns; --"
    assert report(here.agent("ada"), 1, EVENT | {"text": nasty, "tool": nasty[:20], "kind": "tool"})["ok"]
    assert turns(here)[0]["events"][0]["text"] == nasty


def test_a_wild_agent_fills_no_disk(here: Hive) -> None:
    ada, bob = here.agent("ada"), here.agent("bob")
    full = {"text": "x" * 8192, "bytes": 8192}
    sent, answer = 0, report(ada, 1, EVENT)
    while answer["ok"]:
        answer = report(ada, sent + 1, *(EVENT | full | {"n": n} for n in range(1, 41)))
        sent += 1
        assert sent * 40 * 8192 < 2 * EVENTS_BURST
    assert answer["error"] == "too-many"
    assert report(bob, 1, EVENT)["ok"]  # it is ada's doing
    assert ada.ask("send", to="bob", body="hello")["ok"]


def test_of_each_agent_the_newest_are_kept(here: Hive) -> None:
    ada = here.agent("ada")
    for number in range(1, 9):
        for start in range(1, 2001, 50):
            batch = [EVENT | {"n": n, "text": ""} for n in range(start, start + 50)]
            answer = report(ada, number, *batch)
            assert answer["ok"], answer
    with closing(sqlite3.connect(here.state / "db/events.db")) as db:
        ((count, first),) = db.execute("select count(*), min(number) from turn_events")
    assert 10_000 <= count <= 10_500 and first == 4
    assert [turn["number"] for turn in turns(here, limit=3)] == [8, 7, 6]
    assert [turn["number"] for turn in turns(here, before=5)] == [4]


def test_a_run_that_died_in_a_turn_leaves_what_it_did(here: Hive) -> None:
    first = here.agent("ada")
    assert report(first, 1, EVENT | {"text": "before the crash"})["ok"]
    first.close()
    here.peers.remove(first)
    second = here.agent("ada", "tool")
    assert report(second, 1, EVENT | {"text": "after it"})["ok"]
    assert [turn["events"][0]["text"] for turn in turns(here)] == ["after it", "before the crash"]


def test_old_ones_are_pruned(here: Hive) -> None:
    assert report(here.agent("ada"), 1, EVENT)["ok"]
    with closing(sqlite3.connect(here.state / "db/events.db")) as db, db:
        db.execute("update turn_events set at = '2001-01-01T00:00:00.000Z'")
    assert here.system().ask("prune", days=1)["ok"]
    assert turns(here) == []


def test_what_an_earlier_release_left_in_stats_db_is_taken_out_of_it(here: Hive) -> None:
    """Analysts read stats.db: not a byte of what was said stays there."""
    assert report(here.agent("ada"), 1, EVENT)["ok"]
    here.kill()
    stats_db, events_db = here.state / "db/stats.db", here.state / "db/events.db"
    with closing(sqlite3.connect(stats_db)) as db, db:
        (table,) = sqlite3.connect(events_db).execute(
            "select sql from sqlite_schema where name = 'turn_events'"
        )
        db.execute(table[0])
        row = (1, "ada", 7, "r", 1, "2099-01-01T00:00:00.000Z", "text", None, None, "a secret" * 900, 7200)
        db.execute("insert into turn_events values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    assert b"a secret" in stats_db.read_bytes()
    here.start()
    assert [turn["events"][0]["text"][:8] for turn in turns(here)] == ["a secret", "hello"]
    assert b"secret" not in stats_db.read_bytes()
    assert events_db.stat().st_mode & 0o777 == 0o600
