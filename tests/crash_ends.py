"""Questions, reminders and mail that wants an answer, each said twice, for tests/crash_scenarios.py."""

import time
from datetime import UTC, datetime
from typing import Any

from tests.crash_world import Step, World


def twice(w: World, who: str, op: str, **fields: Any) -> dict[str, Any]:
    first = w.ok(who, op, key=f"key of {op} {fields}", **fields)
    again = w.ok(who, op, key=f"key of {op} {fields}", **fields)
    assert {**first, "id": 0} == {**again, "id": 0}
    return first


def questions(w: World) -> None:
    first = twice(w, "ada", "ask", question="which?")["question"]
    second = twice(w, "ada", "ask", question="why?", to="bob")["question"]
    assert len(w.ok("operator", "questions")["questions"]) == 2
    twice(w, "operator", "answer", question=first, answer=["this"])
    twice(w, "ada", "cancel_loose_end", kind="question", number=second)
    assert w.ok("operator", "questions")["questions"] == []
    w.ack("ada", w.recv("ada"))
    w.ack("bob", w.recv("bob"))
    told = [text for text in w.book.seen.values() if '"question_answered"' in text]
    assert len(told) == 2


def reminders(w: World) -> None:
    never = twice(w, "ada", "remind", message="never", delay=1000)["reminder"]
    assert [end["text"] for end in w.ok("ada", "loose_ends")["loose_ends"]] == ["never"]
    twice(w, "ada", "cancel_loose_end", kind="reminder", number=never)
    at = datetime.fromtimestamp(time.time() + 0.2, UTC).isoformat()
    twice(w, "ada", "remind", message="now", at=at)
    w.ack("ada", w.recv("ada", wait_seconds=5))
    twice(w, "ada", "remind", message="now", at=at)  # which is over now
    assert len([m for m in all_mail(w) if '"reminder"' in m["body"]]) == 1


def unanswered(w: World, name: str) -> list[str]:
    ends = w.ok(name, "loose_ends")["loose_ends"]
    return [end["text"] for end in ends if end["kind"] == "unanswered mail"]


def answers(w: World) -> None:
    """To mail that was taken, and that waits."""
    for text in ("first", "second", "third"):
        w.send("ada", "bob", text)
    ids = w.recv("bob", max=2)
    w.ack("bob", ids[:1])
    assert unanswered(w, "bob") == ["first", "second", "third"]
    w.ok("bob", "send", to="ada", body="to the second", in_reply_to=ids[1], key="key of second")
    assert unanswered(w, "bob") == ["first", "third"]
    w.send("bob", "ada", "to all of them")
    w.ack("bob", ids[1:])
    assert unanswered(w, "bob") == []
    assert unanswered(w, "ada") == ["to all of them"]
    twice(w, "ada", "cancel_loose_end", kind="mail", number=w.book.sent["to all of them"][0])
    assert unanswered(w, "ada") == []


def all_mail(w: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = w.ok("operator", "mail", limit=1000)["messages"]
    return found


SCENARIOS: dict[str, list[Step]] = {"ends": [questions, reminders, answers]}
