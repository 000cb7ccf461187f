"""Questions, reminders, loose ends, dead letters: over the real broker's sockets."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hyperhive.operations.operations import STATES
from hyperhive.store import search
from hyperhive.store.ends import loose_ends
from hyperhive.store.store import Store
from tests.hive import Hive, Peer


def events(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(message["body"]) for message in answer["messages"]]


def ends(answer: Any) -> list[tuple[str, str]]:
    return [(end["kind"], end["text"]) for end in answer["loose_ends"]]


def test_a_question_to_the_operator_is_answered_by_mail(here: Hive) -> None:
    ada, operator = here.agent("ada"), here.operator()
    number = ada.ask("ask", question="which?", options=["red", "blue"])["question"]
    (listed,) = operator.ask("questions")["questions"]
    assert (listed["id"], listed["asker"], listed["options"], listed["multi"]) == (
        number,
        "ada",
        ["red", "blue"],
        False,
    )
    wrong = operator.ask("answer", question=number, answer=["green"])
    assert (wrong["error"], "red, blue" in wrong["message"]) == ("bad-request", True)
    assert operator.ask("answer", question=number, answer=["red", "blue"])["error"] == "bad-request"
    assert ada.ask("answer", question=number, answer=["green"], other=True)["error"] == "forbidden"
    assert operator.ask("answer", question=number, answer=["blue"])["ok"]
    (event,) = events(ada.ask("recv", wait_seconds=20))
    wanted = {"event": "question_answered", "id": number, "state": "answered", "by": "operator"}
    assert event == wanted | {"question": "which?", "answer": ["blue"]}
    assert operator.ask("answer", question=number, answer=["red"])["error"] == "closed"
    assert operator.ask("questions")["questions"] == []


def test_a_question_to_a_peer(here: Hive) -> None:
    ada, bob, manager = here.agent("ada"), here.agent("bob"), here.agent("manager")
    number = ada.ask("ask", question="how many?", to="bob", multi=True)["question"]
    (event,) = events(bob.ask("recv", wait_seconds=20))
    assert (event["event"], event["id"], event["from"]) == ("question", number, "ada")
    assert manager.ask("answer", question=number, answer=["1"])["error"] == "forbidden"
    assert ends(bob.ask("loose_ends")) == [("question owed", "how many?")]
    assert ends(ada.ask("loose_ends")) == [("question asked", "how many?")]
    assert bob.ask("answer", question=number, answer=["1", "2"])["ok"]
    assert events(ada.ask("recv", wait_seconds=20))[0]["answer"] == ["1", "2"]
    assert ends(bob.ask("loose_ends")) == ends(ada.ask("loose_ends")) == []


def test_a_question_that_nobody_answers_expires(here: Hive) -> None:
    ada = here.agent("ada")
    ada.ask("ask", question="anyone?", ttl=1)
    (event,) = events(ada.ask("recv", wait_seconds=20))
    assert (event["state"], event["by"], event["answer"]) == ("expired", "system", None)


def test_a_question_is_cancelled(here: Hive) -> None:
    ada, bob, operator = here.agent("ada"), here.agent("bob"), here.operator()
    first = ada.ask("ask", question="one?", to="bob")["question"]
    second = ada.ask("ask", question="two?")["question"]
    assert bob.ask("cancel_loose_end", kind="question", number=first)["error"] == "forbidden"
    assert ada.ask("cancel_loose_end", kind="question", number=first)["ok"]
    asked, cancelled = events(bob.ask("recv", wait_seconds=20))
    assert (asked["event"], cancelled["state"], cancelled["by"]) == ("question", "cancelled", "ada")
    assert operator.ask("cancel_loose_end", kind="question", number=second)["ok"]
    assert events(ada.ask("recv", wait_seconds=20))[0]["state"] == "cancelled"


def test_the_operator_asks_an_agent(here: Hive) -> None:
    operator, ada = here.operator(), here.agent("ada")
    number = operator.ask("ask", question="ready?", to="ada")["question"]
    ada.ask("recv", wait_seconds=20)
    assert ada.ask("answer", question=number, answer=["yes"])["ok"]
    assert events(operator.ask("inbox", unread=True))[0]["answer"] == ["yes"]


def test_a_reminder_comes_once_also_after_a_downtime(here: Hive) -> None:
    ada = here.agent("ada")
    assert ada.ask("remind", message="now", delay=1)["ok"]
    assert events(ada.ask("recv", wait_seconds=20))[0]["message"] == "now"
    ada.ask("ack")
    ada.ask("remind", message="while away", delay=1)
    here.kill()
    here.start()
    here.operator().ask("status")
    ada = here.agent("ada")
    (event,) = events(ada.ask("recv", wait_seconds=20))
    assert (event["event"], event["message"]) == ("reminder", "while away")
    ada.ask("ack")
    assert ada.ask("recv", wait_seconds=1)["messages"] == []
    assert ends(ada.ask("loose_ends")) == []


def test_a_reminder_at_a_time_and_its_cancelling(here: Hive) -> None:
    ada = here.agent("ada")
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    reminder = ada.ask("remind", message="tomorrow", at=at)
    assert reminder["due_at"] == at
    assert ends(ada.ask("loose_ends")) == [("reminder", "tomorrow")]
    assert (
        here.agent("bob").ask("cancel_loose_end", kind="reminder", number=reminder["reminder"])["error"]
        == "unknown-loose-end"
    )
    assert ada.ask("cancel_loose_end", kind="reminder", number=reminder["reminder"])["ok"]
    assert ends(ada.ask("loose_ends")) == []


def test_an_earlier_reminder_goes_before_a_later_one(here: Hive) -> None:
    ada = here.agent("ada")
    ada.ask("remind", message="later", delay=600)
    ada.ask("remind", message="sooner", delay=1)
    assert events(ada.ask("recv", wait_seconds=20))[0]["message"] == "sooner"


def test_unanswered_mail_is_a_loose_end_until_it_is_answered(here: Hive) -> None:
    ada, bob = here.agent("ada"), here.agent("bob")
    (first,) = ada.ask("send", to="bob", body="please look")["ids"]
    ada.ask("send", to="bob", body="and this")
    bob.ask("recv")
    bob.ask("ack")
    assert ends(bob.ask("loose_ends")) == [
        ("unanswered mail", "please look"),
        ("unanswered mail", "and this"),
    ]
    bob.ask("send", to="ada", body="looked", in_reply_to=first)
    assert ends(bob.ask("loose_ends")) == [("unanswered mail", "and this")]
    (left,) = bob.ask("loose_ends")["loose_ends"]
    assert (left["with"], left["age"] >= 0) == ("ada", True)
    assert bob.ask("cancel_loose_end", kind="mail", number=left["id"])["ok"]
    assert ends(bob.ask("loose_ends")) == []
    assert ends(ada.ask("loose_ends")) == []  # a reply wants no reply


def test_only_the_manager_sees_everybodys(here: Hive) -> None:
    here.agent("ada").ask("ask", question="q?")
    assert here.agent("bob").ask("loose_ends", all=True)["error"] == "forbidden"
    hive_wide = here.agent("manager").ask("loose_ends", all=True)["loose_ends"]
    assert {(end["agent"], end["kind"]) for end in hive_wide} == {
        ("ada", "question asked"),
        ("operator", "question owed"),
    }


def bury(here: Hive) -> int:
    (number,) = here.operator().ask("send", to="bob", body="poison")["ids"]
    bob = here.agent("bob")
    for _ in range(5):
        bob.ask("recv", wait_seconds=20)
        bob.ask("fail", reason="crashed")
    bob.close()
    assert isinstance(number, int)
    return number


def test_a_dead_letter_is_tried_again_or_dropped(here: Hive) -> None:
    operator, number = here.operator(), bury(here)
    assert [m["id"] for m in operator.ask("mail", state="dead")["messages"]] == [number]
    assert operator.ask("retry", ids=[number])["requeued"] == 1
    bob = here.agent("bob")
    (message,) = bob.ask("recv", wait_seconds=20)["messages"]
    assert (message["id"], message["attempts"]) == (number, 1)
    assert operator.ask("retry", ids=[number])["error"] == "unknown-message"
    bob.ask("ack")
    bob.close()
    assert operator.ask("drop", ids=[bury(here)])["dropped"] == 1
    assert operator.ask("mail", state="dead")["messages"] == []
    assert len(operator.ask("mail", state="dropped")["messages"]) == 1


def test_prune_takes_what_is_old_and_nothing_else(here: Hive) -> None:
    operator, bob = here.operator(), here.agent("bob")
    operator.ask("send", to="bob", body="done")
    bob.ask("recv")
    bob.ask("ack")
    operator.ask("send", to="bob", body="waits")
    assert here.system().ask("prune", days=1)["pruned"] == 0
    assert len(operator.ask("mail", agent="bob")["messages"]) == 2


BAD = [
    ("ask", {}, "bad-request"),
    ("ask", {"question": " "}, "bad-request"),
    ("ask", {"question": "q", "to": "nobody"}, "unknown-agent"),
    ("ask", {"question": "q", "to": "ada"}, "bad-request"),
    ("ask", {"question": "q", "options": ["x"] * 21}, "bad-request"),
    ("ask", {"question": "q", "options": [1]}, "bad-request"),
    ("ask", {"question": "q" * 9000}, "too-large"),
    ("ask", {"question": "q", "ttl": 0}, "bad-request"),
    ("answer", {"question": 99, "answer": ["x"]}, "unknown-question"),
    ("remind", {"message": "m"}, "bad-request"),
    ("remind", {"message": "m", "delay": 1, "at": "2026-12-24T08:00:00Z"}, "bad-request"),
    ("remind", {"message": "m", "at": "tomorrow"}, "bad-request"),
    ("remind", {"message": "m", "at": "1999-01-01T00:00:00Z"}, "bad-request"),
    ("remind", {"message": "m", "delay": 10**12}, "bad-request"),
    ("cancel_loose_end", {"kind": "mail", "number": 999}, "unknown-loose-end"),
    ("cancel_loose_end", {"kind": "hope", "number": 1}, "bad-request"),
    ("retry", {"ids": [1]}, "unknown-op"),
    ("prune", {"days": 1}, "unknown-op"),
    ("questions", {}, "unknown-op"),
]


@pytest.mark.parametrize(("op", "fields", "code"), BAD)
def test_bad_requests(here: Hive, op: str, fields: dict[str, Any], code: str) -> None:
    assert here.agent("ada").ask(op, **fields)["error"] == code


def fill(peer: Peer, op: str, **fields: Any) -> str:
    numbers = [peer.write(op, **fields) for _ in range(50)] + [peer.write(op, **fields) for _ in range(51)]
    code: str = [peer.answer(number) for number in numbers][-1]["error"]
    return code


def test_there_is_a_limit_to_what_one_may_have_open(here: Hive) -> None:
    ada = here.agent("ada")
    assert fill(ada, "ask", question="q?") == "too-many"
    assert fill(ada, "remind", message="m", delay=600) == "too-many"


def test_an_id_is_not_given_twice_after_a_prune(here: Hive) -> None:
    operator, bob = here.operator(), here.agent("bob")
    (number,) = operator.ask("send", to="bob", body="done")["ids"]
    bob.ask("recv")
    bob.ask("ack")
    with sqlite3.connect(here.state / "db/hive.db", timeout=20) as db:
        db.execute("update message set done_at = '2001-01-01T00:00:00.000Z'")
    here.system().ask("prune", days=1)
    assert operator.ask("send", to="bob", body="next")["ids"][0] > number


def test_old_mail_stays_on_the_list_however_much_comes_after_it(here: Hive) -> None:
    """Taken or not, over a restart, and until its own sender is written to."""
    ada, bob, operator = here.agent("ada"), here.agent("bob"), here.operator()
    ada.ask("send", to="bob", body="taken")
    bob.ask("recv")
    bob.ask("ack")
    ada.ask("send", to="bob", body="waits")
    for start in range(0, 2500, 100):  # at a time: its socket holds so many answers, and not all
        numbers = [operator.write("send", to="bob", body=f"{start + n}") for n in range(100)]
        assert all(operator.answer(number)["ok"] for number in numbers)
    operator.ask("send", to="ada", body="not bob's")
    here.kill()
    here.start()
    here.operator().ask("status")
    manager, bob = here.agent("manager"), here.agent("bob")
    for peer, everybody in ((bob, False), (manager, True)):
        listed = ends(peer.ask("loose_ends", all=everybody))
        assert len(listed) == 200, "of each kind"
        assert [text for _, text in listed[:3]] == ["taken", "waits", "0"]
    assert ends(here.operator().ask("loose_ends", agent="ada")) == [("unanswered mail", "not bob's")]
    bob.ask("send", to="ada", body="that is all")
    assert ends(bob.ask("loose_ends"))[0] == ("unanswered mail", "0")
    bob.ask("send", to="all", body="done")
    assert ends(manager.ask("loose_ends", all=True))[0][1] == "0", "the operator is not one of 'all'"
    bob.ask("send", to="operator", body="done")
    texts = [text for _, text in ends(manager.ask("loose_ends", all=True))]
    assert texts == ["not bob's", "that is all", "done", "done", "done"]


def test_a_dead_letter_is_unanswered_again_when_it_is_tried_again(here: Hive) -> None:
    operator, number = here.operator(), bury(here)
    assert "unanswered mail" not in dict(ends(here.agent("bob").ask("loose_ends")))
    here.operator().ask("retry", ids=[number])
    bob = here.agent("bob", "tool")
    assert ends(bob.ask("loose_ends")) == [("unanswered mail", "poison")]
    bob.ask("send", to="operator", body="now")
    assert ends(bob.ask("loose_ends")) == []
    assert operator.ask("mail", state="queued")["messages"]


def test_what_was_answered_before_an_upgrade_is_no_loose_end(tmp_path: Path) -> None:
    """As a database of the release before has it: nothing is noted of answers."""
    store = Store(tmp_path / "hive.db")
    send = [
        ("ada", "bob", None),
        ("ada", "bob", None),
        ("bob", "ada", 1),
        ("ada", "manager", None),
        ("manager", "ada", None),
        ("bob", "bob", 9),
        ("system", "ada", None),
        ("ada", "system", 7),
        ("bob", "manager", None),
    ]
    for sender, to, in_reply_to in send:
        store.send(sender, [to], "text", in_reply_to, None)
    store.db.executescript("""
        update message set settled = 0, state = 'done';
        drop index message_owed; drop index message_unanswered;
        delete from _sqlite_migrations where name = 'unanswered';
    """)
    store.db.close()
    store = Store(tmp_path / "hive.db")
    assert [end["id"] for end in loose_ends(store, None)] == [2, 5, 9]
    assert [end["id"] for end in loose_ends(store, "bob")] == [2]


def plan(store: Store, query: str) -> list[str]:
    return [row["detail"] for row in store.db.execute(f"explain query plan {query}")]


def test_a_send_asks_nothing_of_whoever_owes_no_answer(tmp_path: Path) -> None:
    store = Store(tmp_path / "hive.db")
    asked: list[str] = []
    store.db.set_trace_callback(asked.append)
    for _ in range(3):
        store.send("ada", ["bob"], "text", None, None)
    assert [query.split()[0] for query in asked] == ["insert"] * 3
    asked.clear()
    store.send("bob", ["ada", "manager"], "text", None, None)
    looked = [query for query in asked if not query.startswith("insert")]
    assert [query.split()[0] for query in looked] == ["update"] * 3
    for query in looked:
        assert not [step for step in plan(store, query) if step.startswith("SCAN message")], query
    store.send("bob", ["ada"], "text", None, None)
    assert len([query for query in asked if query.startswith("insert")]) == 3 == len(asked) - len(looked)


OLDEST = ["SCAN message USING INDEX message_unanswered"]


def test_no_listing_sorts_what_has_ended_or_looks_at_all_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "hive.db")
    for number in range(3):
        store.send("bob", ["ada"], f"{number}", None, None)
        store.send("ada", ["operator"], f"{number}", None, None)
    store.lease("ada", "run", 2)
    store.ack("ada", "run", [1])
    asked: list[str] = []
    store.db.set_trace_callback(asked.append)
    for who in ("ada", None):
        loose_ends(store, who)
        for state in (None, *STATES):
            search.newest(store, search.Wanted(agent=who, state=state), 10)
    store.inbox(10, unread_only=False)
    store.db.set_trace_callback(None)
    queries = [query for query in asked if "from message" in query]
    assert len(queries) > 20
    for query in queries:
        steps = plan(store, query)
        waits = "message_queued" in query or "message_leased" in query  # that much may be sorted
        assert waits or "USE TEMP B-TREE FOR ORDER BY" not in steps, query
        # from one end on, until there are enough
        whole = [step for step in steps if step.startswith("SCAN message")]
        assert waits or not whole or whole == OLDEST or "order by id desc limit" in query, query
