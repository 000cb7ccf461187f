"""What the operator does on the page, by hive-web: each action, as JSON and as a form."""

from typing import Any

import pytest

from tests.changing import carry_out, draft, newest
from tests.hive import Hive, Peer
from tests.proposed import TOML
from tests.test_broker import RECORD
from tests.web import Answer, Web


@pytest.fixture
def manager(here: Hive) -> Peer:
    return here.agent("manager")


def done(answer: Answer, status: int = 200) -> Any:
    assert answer.status == status, answer.text
    return answer.json


def form(it: Web, action: str, **said: Any) -> Answer:
    answer = it.post(f"/api/{action}", {**said, "csrf": it.csrf_token})
    assert answer.status == 303, answer.text
    return answer


def propose(here: Hive, manager: Peer, name: str = "eve") -> int:
    if not (here.state / "agents" / name).exists():
        draft(here, name)
    return int(manager.ask("request_spawn_commit", agent=name, commit_ref="main")["request"])


def test_mail_is_sent_read_and_answered(own: Web) -> None:
    ada = own.hive.agent("ada")
    number = ada.ask("send", to="operator", body="done?")["ids"][0]
    assert own.get("/api/inbox?unread=1").json["unread"] == 1
    assert done(own.do("send", to="ada", body="yes\n", in_reply_to=number))["ids"]
    form(own, "send", to="ada", body="and\r\nmore", in_reply_to="")
    assert [m["body"] for m in ada.ask("recv")["messages"]] == ["yes\n", "and\nmore"]
    form(own, "read", ids=str(number))
    assert own.get("/api/state").json["inbox"]["unread"] == 0
    assert len(own.get("/api/mail?agent=ada&limit=2").json["messages"]) == 2


def test_a_form_sent_twice_sends_once(own: Web) -> None:
    for _ in range(2):
        form(own, "send", to="ada", body="once", key="one")
    assert [m["body"] for m in own.get("/api/mail?agent=ada").json["messages"]].count("once") == 1


def test_questions_are_answered_with_options_and_with_text(own: Web, manager: Peer) -> None:
    several = manager.ask("ask", question="which?", options=["a", "b", "c"], multi=True)["question"]
    free = manager.ask("ask", question="why?")["question"]
    form(own, "answer", question=several, answer=["a", "c"])
    done(own.do("answer", question=free, answer=["because"]))
    assert done(own.do("answer", question=free, answer=["again"]), 409)["error"] == "closed"
    assert done(own.do("ask", to="manager", question="and you?", options=["x", "y"], ttl=60))["question"]
    bodies = [m["body"] for m in manager.ask("recv", max=100)["messages"]]
    assert any('["a", "c"]' in body for body in bodies) and any("because" in body for body in bodies)


def test_what_waits_is_cancelled_and_reminders_are_set(own: Web, manager: Peer) -> None:
    number = manager.ask("ask", question="never mind")["question"]
    form(own, "cancel", kind="question", number=number)
    done(own.do("remind", message="look", delay=1000, to="ada"))
    assert [end["kind"] for end in own.get("/api/loose-ends?agent=ada").json["loose_ends"]] == ["reminder"]


def test_a_request_is_approved_with_its_diff_and_denied_with_a_reason(own: Web, manager: Peer) -> None:
    number = propose(own.hive, manager)
    assert own.get(f"/api/requests/{number}").json["approval"]["risk"] == "higher"
    assert "agent.toml" in own.get(f"/api/requests/{number}/diff").json["diff"]
    assert "agent.toml" in own.get(f"/request/{number}").text
    assert done(own.do("deny", request=number, reason=" "), 400)["error"] == "bad-request"
    form(own, "deny", request=number, reason="what for?")
    assert done(own.do("approve", request=number), 409)["error"] == "not-pending"
    number = propose(own.hive, manager)
    assert done(own.do("approve", request=number, note="well"))["state"] == "approved"
    carry_out(own.hive, number)
    assert "eve" in [agent["name"] for agent in own.get("/api/state").json["agents"]]
    entries = own.get("/api/changes?agent=eve").json["history"]
    assert entries[0]["event"] == "deployed"


def test_from_a_draft_to_the_end(own: Web) -> None:
    form(own, "draft", agent="flo", description="writes")
    carry_out(own.hive, newest(own.hive))
    assert own.get("/api/drafts").json["drafts"][0]["agent"] == "flo"
    assert done(own.do("purge", agent="flo", confirm="fl"), 400)["error"] == "bad-request"
    form(own, "purge", agent="flo", confirm="flo")
    carry_out(own.hive, newest(own.hive))
    assert own.get("/api/state").json["drafts"] == []


def test_an_agent_is_spawned_rolled_back_destroyed_and_revived(own: Web) -> None:
    """What is carried out later says so, and is seen in the state when it is."""
    waiting = own.do("spawn", agent="gus", toml=TOML)
    assert done(waiting, 202)["waiting"] == "it is being carried out"
    carry_out(own.hive, newest(own.hive))
    assert done(own.do("rollback", agent="gus"), 404)["error"] == "unknown-deploy"
    form(own, "destroy", agent="gus")
    carry_out(own.hive, newest(own.hive), kept={"bytes": 5, "login": False})
    assert [each["name"] for each in own.get("/api/state").json["kept"]] == ["gus"]
    assert done(own.do("revive", agent="gus"))["state"] == "approved"
    carry_out(own.hive, newest(own.hive))
    assert own.get("/agent/gus").status == 200
    assert done(own.do("spawn", agent="hal", toml="wrong = 1"), 400)["error"] == "bad-config"


def test_dead_mail_is_tried_again_and_dropped(own: Web) -> None:
    number = done(own.do("send", to="ada", body="poison"))["ids"][0]
    for action in ("retry", "drop"):
        ada = own.hive.agent("ada")
        while ada.ask("recv")["messages"]:
            ada.ask("fail", reason="crashed")
        assert [m["id"] for m in own.get("/api/state").json["dead"]] == [number]
        form(own, action, ids=number)
        ada.close()
        while own.hive.operator().ask("show", agent="ada")["agent"]["awake"]:
            assert own.process.poll() is None
    assert own.get("/api/state").json["dead"] == []


def test_a_model_is_switched_and_taken_back(own: Web) -> None:
    switched = done(own.do("model", agent="ada", model="haiku", until="2100-01-01T00:00:00Z"))
    assert (switched["next"], switched["from"], switched["state"]) == ("haiku", "override", "queued")
    (ada,) = [each for each in own.get("/api/state").json["agents"] if each["name"] == "ada"]
    assert (ada["model_status"]["next"], ada["model_status"]["set_by"]) == ("haiku", "operator")
    assert "haiku" in own.get("/agent/ada").text
    form(own, "model", agent="ada", model="")
    (ada,) = [each for each in own.get("/api/state").json["agents"] if each["name"] == "ada"]
    assert ada["model_status"]["from"] == "hive"
    assert done(own.do("model", agent="ada", model="no blanks"), 400)["error"] == "bad-request"


def test_turns_are_seen_and_commanded(own: Web) -> None:
    ada = own.hive.agent("ada")
    assert done(own.do("cancel-turn", agent="ada"), 409)["error"] == "not-running"
    ada.ask("progress", number=1, text="Bash ls")
    happened = [{"n": 1, "kind": "text", "text": "<b>I look</b>", "bytes": 13}]
    assert ada.ask("turn_events", number=1, events=happened)["ok"]
    assert "&lt;b&gt;I look" in own.get("/agent/ada").text
    assert done(own.do("cancel-turn", agent="ada"))["turn"] == 1
    for action in ("compact", "new-session"):
        form(own, action, agent="bob")
    assert ada.ask("turn", **RECORD)["ok"]
    (turn,) = own.get("/api/history?agent=ada&limit=5").json["turns"]
    assert (turn["number"], turn["events"][0]["text"]) == (1, "<b>I look</b>")
    assert own.get("/agent/ada?before=1").status == 200
