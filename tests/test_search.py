"""Mail is found by who wrote it to whom, by state and by words, however much of it there is."""

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hyperhive.operations.operations import STATES
from hyperhive.store import search
from tests.hive import Hive, Peer, hive
from tests.hivectl import load, run

BODIES = ["Tea is ready.", "tea, 100% green", "under_score", "a^b", "Grüße", "TEA and cake", "cake"]
WORDS = ["", "tea", "TEA cake", "100%", "%", "_", "^", "grüße", "bob", "operator tea", "nothing"]
MANY = search.STEP * search.STEPS_MAX


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    with hive(tmp_path_factory.mktemp("search")) as it:
        it.add("ada", "bob")
        senders = {"ada": it.agent("ada"), "bob": it.agent("bob"), "operator": it.operator()}
        for sender, to in itertools.permutations(senders, 2):
            for body in BODIES:
                assert senders[sender].ask("send", to=to, body=body)["ok"]
        senders["ada"].ask("recv", max=9)
        senders["ada"].ask("ack")
        senders["ada"].ask("recv", max=2)
        yield it


def found(operator: Peer, **wanted: Any) -> list[int]:
    answer = operator.ask("mail", **{key: value for key, value in wanted.items() if value})
    assert answer["ok"] and answer["next"] is None, answer
    return [message["id"] for message in answer["messages"]]


def holds(message: dict[str, Any], text: str) -> bool:
    places = [message[key].encode().lower() for key in ("body", "from", "to")]  # of ASCII letters only
    return all(any(word.encode().lower() in place for place in places) for word in text.split())


@pytest.mark.parametrize("text", WORDS)
def test_what_is_found_is_what_is_wanted(here: Hive, text: str) -> None:
    operator = here.operator()
    everything = operator.ask("mail", limit=1000)["messages"]
    assert {message["state"] for message in everything} >= {"queued", "leased", "done"}
    agents = (None, "ada")
    for agent, sender, to, state in itertools.product(agents, agents, ("", "ada", "bob"), (None, *STATES)):
        wanted = [
            message["id"]
            for message in everything
            if (agent in (None, message["from"], message["to"]))
            and sender in (None, message["from"])
            and to in ("", message["to"])
            and state in (None, message["state"])
            and holds(message, text)
        ]
        about = {"agent": agent, "from": sender, "to": to, "state": state, "text": text}
        assert found(operator, limit=1000, **about) == wanted, about


def test_one_goes_on_where_the_last_answer_ended(here: Hive) -> None:
    operator = here.operator()
    whole, seen, before = found(operator, text="tea", limit=1000), list[int](), 2**50
    while before:
        answer = operator.ask("mail", text="tea", limit=4, before=before)
        seen += [message["id"] for message in answer["messages"]]
        assert answer["next"] in (None, seen[-1])
        before = answer["next"]
    assert seen == whole and len(whole) % 4 == 2


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"from": "No Name"}, "bad-name"),
        ({"to": "No Name"}, "bad-name"),
        ({"text": "x" * 201}, "too-large"),
        ({"text": "x " * 11}, "too-large"),
        ({"text": 1}, "bad-request"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(here: Hive, wrong: dict[str, Any], error: str) -> None:
    assert here.operator().ask("mail", **wrong)["error"] == error


def test_hivectl_finds_it_too(here: Hive) -> None:
    bodies = [each["body"] for each in load(here, "mail", "--from", "ada", "--to", "bob", "--text", "tea")]
    assert bodies == ["TEA and cake", "tea, 100% green", "Tea is ready."]
    assert "No mail." in run(here, "mail", "--text", "nothing like it").stderr


def fill(path: Path) -> None:
    """One word in the oldest message, and all the others from somebody else."""
    names = itertools.chain(["ada"], itertools.repeat("bob", MANY))
    rows = [(name, "operator", "x" if n else "a needle", "2026-01-01") for n, name in enumerate(names)]
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany("insert into message(sender, recipient, body, sent_at) values (?, ?, ?, ?)", rows)
        db.execute("update message set state = 'done', done_at = sent_at")


def test_a_search_has_an_end_and_one_can_go_on(tmp_path: Path) -> None:
    with hive(tmp_path) as here:
        here.operator().ask("status")  # it makes the tables
        here.kill()
        fill(here.state / "db/hive.db")
        here.start()
        operator = here.operator()
        answer = operator.ask("mail", text="needle")
        assert (answer["messages"], answer["next"]) == ([], 2)
        assert found(operator, text="needle", before=2) == [1]
        assert found(operator, **{"from": "ada"}) == [1], "by its index"
        assert found(operator, **{"from": "ada", "text": "needle"}) == [1]
        assert "older" in run(here, "mail", "--text", "needle").stderr
