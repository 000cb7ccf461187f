"""A request is repeated under its key: done once, and answered as it was the first time."""

from typing import Any

import pytest

from tests.hive import Hive
from tests.test_ends import bury

TOML = 'description = "one of us"'


def test_what_would_be_done_twice_is_done_once(here: Hive) -> None:
    ada, operator = here.agent("ada"), here.operator()

    def twice(peer: Any, op: str, **fields: Any) -> Any:
        first, second = (peer.ask(op, key=f"{op} {fields}", **fields) for _ in range(2))
        assert first["ok"] and first | {"id": second["id"]} == second
        return first

    which = twice(ada, "ask", question="which?", ttl=600)["question"]
    assert len(operator.ask("questions")["questions"]) == operator.ask("status")["questions"] == 1
    twice(operator, "answer", question=which, answer=["this"])
    assert len(ada.ask("recv")["messages"]) == 1
    reminder = twice(ada, "remind", message="later", delay=600)["reminder"]
    twice(ada, "cancel_loose_end", kind="reminder", number=reminder)
    twice(ada, "cancel_loose_end", kind="question", number=ada.ask("ask", question="no?")["question"])
    assert ada.ask("loose_ends")["loose_ends"] == []
    assert twice(operator, "drop", ids=[bury(here)])["dropped"] == 1
    assert twice(operator, "retry", ids=[bury(here)])["requeued"] == 1
    ids = ada.ask("send", to="operator", body="hello")["ids"]
    assert twice(operator, "read", ids=ids)["read"] == 1


def test_a_key_is_one_caller_s_and_for_one_request(here: Hive) -> None:
    ada, bob, operator = here.agent("ada"), here.agent("bob"), here.operator()
    first = ada.ask("ask", question="one?", key="k")["question"]
    assert ada.ask("ask", question="two?", key="k")["error"] == "conflict"
    assert ada.ask("remind", message="one?", delay=1, key="k")["error"] == "conflict"
    assert bob.ask("ask", question="two?", key="k")["question"] == first + 1
    assert ada.ask("send", to="bob", body="one", key="k")["ok"]
    assert len(operator.ask("questions")["questions"]) == 2


def test_what_was_refused_may_be_tried_again_under_its_key(here: Hive) -> None:
    ada, operator = here.agent("ada"), here.operator()
    early = operator.ask("answer", question=1, answer=["yes"], key="k")
    assert early["error"] == "unknown-question"
    ada.ask("ask", question="well?")
    for _ in range(2):
        assert operator.ask("answer", question=1, answer=["yes"], key="k")["ok"]
    assert operator.ask("answer", question=1, answer=["yes"])["error"] == "closed"


@pytest.mark.parametrize("fate", ["applied", "apply_failed"])
def test_an_agent_is_asked_for_once(here: Hive, fate: str) -> None:
    operator, other = here.operator(), here.operator()
    wish = {"agent": "eve", "toml": TOML, "key": "k"}
    numbers = [operator.write("spawn", **wish), operator.write("spawn", **wish)]
    assert operator.ask("spawn", agent="eve", toml=TOML)["error"] == "busy"
    while not (files := list((here.state / "apply").glob("*.json"))):
        assert operator.ask("status")["ok"]
    (queued,) = files
    asked = other.write("spawn", **wish)
    assert other.ask("status")["ok"]
    about = {"name": "eve", "role": "agent", "description": "", "uid_base": 1_300_000_000}
    fields = {"agent": about} if fate == "applied" else {"message": "no room"}
    assert here.system().ask(fate, request=int(queued.stem), **fields)["ok"]
    queued.unlink()
    answers = [*map(operator.answer, numbers), other.answer(asked), other.ask("spawn", **wish)]
    ends = {(a.get("uid_base"), a.get("message")) for a in answers}
    assert ends == {(1_300_000_000, None) if fate == "applied" else (None, "no room")}
    assert list((here.state / "apply").glob("*.json")) == []


@pytest.mark.parametrize(
    ("key", "error"), [(7, "bad-request"), ("k" * 129, "too-large"), ("\ud800", "bad-request")]
)
def test_bad_keys(here: Hive, key: object, error: str) -> None:
    assert here.agent("ada").ask("remind", message="m", delay=1, key=key)["error"] == error


def test_a_request_that_is_nested_deeply_harms_nobody(here: Hive) -> None:
    ada = here.agent("ada")
    for depth in (500, 900, 950, 980, 990, 1000, 20_000):
        nested = b'{"id":%d,"op":"ask","question":"q","key":"k%d","x":' % (depth, depth)
        ada.sock.sendall(nested + b"[" * depth + b"]" * depth + b"}\n")
        answer = ada.read()
        assert answer["ok"] or answer["error"] == "bad-request"
    assert ada.ask("whoami")["ok"]
