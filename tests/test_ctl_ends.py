"""hivectl's verbs for what waits: with the real broker."""

import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.hive import Hive
from tests.hivectl import load, run
from tests.test_ends import bury


def test_a_question_of_the_operator(here: Hive) -> None:
    said = run(here, "ask", "ada", "Ship it?", "--option", "yes", "--option", "no", "--ttl", "2h").stdout
    assert said == "question 1 is put to ada; the answer comes into the inbox\n"
    text = run(here, "questions").stdout
    assert re.fullmatch(
        r"-- 1 operator asks ada, \d s ago, expires .* --\nShip it\?\n  \* yes\n  \* no\n\n", text
    )
    ada = here.agent("ada")
    assert ada.ask("answer", question=1, answer=["yes"])["ok"]
    assert "ada answers your question 1 (Ship it?):\nyes\n" in run(here, "inbox").stdout
    assert json.loads(load(here, "inbox")[0]["body"])["event"] == "question_answered"
    done = run(here, "questions")
    assert (done.stdout, done.stderr) == ("", "No open questions.\n")


def test_a_question_to_the_operator_shows_in_the_status_until_it_is_answered(here: Hive) -> None:
    ada = here.agent("ada")
    ada.ask("ask", question="which?", options=["a", "b"], multi=True)
    ada.ask("ask", question="not for you", to="bob")
    assert "asked    1 question open (hivectl questions)\n" in run(here, "status").stdout
    assert "1 ada asks operator" in run(here, "questions").stdout
    assert "is not one of the options" in run(here, "answer", "1", "c", status=1).stderr
    assert run(here, "answer", "1", "a", "b").stdout == ""
    assert load(here, "answer", "2", "x", "--other") == {"question": 2}
    assert load(here, "status")["questions"] == 0
    assert [json.loads(m["body"])["answer"] for m in ada.ask("recv")["messages"]] == [["a", "b"], ["x"]]


def test_remind(here: Hive) -> None:
    assert run(here, "remind", "look", "--in", "1s").stdout.startswith("reminder 1 comes at ")
    ada = here.agent("ada")
    load(here, "remind", "ada", "go", "--in", "1s")
    (mail,) = ada.ask("recv", wait_seconds=20)["messages"]
    assert json.loads(mail["body"])["message"] == "go"
    assert re.search(r"^Reminder 1, due .*: look$", run(here, "inbox").stdout, re.M)
    at = datetime.now().astimezone() + timedelta(hours=2)
    armed = load(here, "remind", "later", "--at", at.strftime("%H:%M"))
    due = datetime.fromisoformat(armed["due_at"])
    assert timedelta(0) <= at - due < timedelta(minutes=1)
    whole = (at + timedelta(days=3)).replace(second=0, microsecond=0)
    armed = load(here, "remind", "later", "--at", whole.strftime("%Y-%m-%d %H:%M"))
    assert datetime.fromisoformat(armed["due_at"]) == whole


def test_loose_ends(here: Hive) -> None:
    ada = here.agent("ada")
    ada.ask("ask", question="which\nway?", to="bob")
    run(here, "remind", "ada", "later", "--in", "1h")
    table = [line.split() for line in run(here, "loose-ends").stdout.splitlines()]
    assert table[0] == ["AGENT", "KIND", "ID", "WITH", "AGE", "TEXT"]
    assert ["bob", "question", "owed", "1", "ada"] in [row[:5] for row in table]
    assert [(end["kind"], end["id"]) for end in load(here, "loose-ends", "ada")] == [
        ("question asked", 1),
        ("reminder", 1),
    ]
    run(here, "loose-ends", "--cancel", "reminder", "1")
    assert load(here, "loose-ends", "--cancel", "question", "1") == {"kind": "question", "number": 1}
    assert load(here, "loose-ends", "ada") == []
    done = run(here, "loose-ends", "ada")
    assert (done.stdout, done.stderr) == ("", "Nothing waits.\n")


def test_the_operator_settles_mail_of_an_agent(here: Hive) -> None:
    (number,) = load(here, "send", "bob", "fyi")["ids"]
    assert [(end["kind"], end["text"]) for end in load(here, "loose-ends", "bob")] == [
        ("unanswered mail", "fyi")
    ]
    run(here, "loose-ends", "--cancel", "mail", str(number))
    assert load(here, "loose-ends", "bob") == []


def test_dead_letters(here: Hive) -> None:
    first, second, third = bury(here), bury(here), bury(here)
    table = [line.split() for line in run(here, "dead").stdout.splitlines()]
    assert [row[0] for row in table] == ["ID", str(first), str(second), str(third)]
    assert table[1][-5:] == ["operator", "bob", "5", "crashed", "poison"]
    assert "3 dead (hivectl dead)" in run(here, "status").stdout
    assert [letter["attempts"] for letter in load(here, "dead")] == [5, 5, 5]
    assert run(here, "dead", "--drop", str(first)).stdout == "dropped 1 message\n"
    assert load(here, "dead", "--retry", "all") == {"requeued": 2}
    assert (load(here, "dead"), len(load(here, "mail", "--state", "dropped"))) == ([], 1)
    assert run(here, "dead", "--retry", "all").stdout == "requeued 0 messages\n"
    assert run(here, "dead").stderr == "No dead letters.\n"


def test_events_in_the_inbox_are_sentences(here: Hive) -> None:
    manager = here.agent("manager")
    number = here.agent("ada").ask("send", to="manager", body="x")["ids"][0]
    for _ in range(5):
        manager.ask("recv", wait_seconds=20)
        manager.ask("fail", reason="crashed")
    text = run(here, "inbox").stdout
    way_out = f"(hivectl dead --retry {number}, or --drop {number})"
    assert f"Message {number} from ada to manager was given up: crashed\n{way_out}\n" in text
    bodies = [json.loads(m["body"]) for m in load(here, "inbox") if m["from"] == "system"]
    assert {"dead_letter"} <= {body["event"] for body in bodies}


def test_what_is_no_mail_from_system_is_shown_as_it_is(here: Hive) -> None:
    body = '{"event": "spawned", "agent": "eve"}'
    here.agent("ada").ask("send", to="operator", body=body)
    assert body in run(here, "inbox").stdout


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["ask", "nobody", "q?"], 1, "no agent is called 'nobody'"),
        (["ask", "ada", ""], 1, "'question' must say something"),
        (["ask", "ada", "q?", "--ttl", "soon"], 2, "'soon' is no span of time: write it as 90s"),
        (["answer", "99", "x"], 1, "there is no question 99"),
        (["answer", "1"], 2, "required: TEXT"),
        (["remind", "x"], 2, "--in --at is required"),
        (["remind", "x", "--at", "noon"], 2, "'noon' is no time: write it as 2h, 08:00"),
        (["remind", "x", "--at", "2001-01-01 08:00"], 1, "'at' must be within the next year"),
        (["remind", "nobody", "x", "--in", "1h"], 1, "no agent is called 'nobody'"),
        (["loose-ends", "nobody"], 1, "no agent is called 'nobody'"),
        (["loose-ends", "--cancel", "hope", "1"], 1, "'kind' must be one of question, reminder, mail"),
        (["loose-ends", "--cancel", "mail", "one"], 2, "'one' is no id"),
        (["loose-ends", "--cancel", "mail", "99"], 1, "operator has no mail 99 that waits"),
        (["dead", "--retry", "99"], 1, "message 99 is not a dead letter"),
        (["dead", "--retry", "1", "--drop", "1"], 2, "not allowed with"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_errors(here: Hive, words: list[str], status: int, text: str) -> None:
    done: Any = run(here, *words, status=status)
    assert done.stdout == "" and text in done.stderr and "Traceback" not in done.stderr
