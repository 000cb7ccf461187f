"""Signing in to the page, at the broker and by hivectl; and the state that the page shows."""

import contextlib
import sqlite3
import time
from typing import Any

from hyperhive import wire
from hyperhive.store import sessions
from hyperhive.store.store import now
from tests.changing import carry_out, draft, spawned
from tests.hive import Hive, Peer
from tests.hivectl import load, run


def begin(peer: Peer, agent: str = "Firefox") -> dict[str, Any]:
    answer: dict[str, Any] = peer.ask("sign_in", code=peer.ask("url")["code"], agent=agent)
    return answer


def change(here: Hive, statement: str, *values: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(here.state / "db/hive.db", isolation_level=None)) as db:
        return db.execute(statement, values).fetchall()


def seconds(at: str) -> float:
    return wire.seconds_of(at) - time.time()


def test_a_code_lasts_five_minutes_and_the_newest_twenty_can_be_used(here: Hive) -> None:
    peer = here.operator()
    made = peer.ask("url")
    assert 290 < seconds(made["expires_at"]) <= 300
    change(here, "update sign_in_code set expires_at = '2001-01-01T00:00:00.000Z'")
    assert peer.ask("sign_in", code=made["code"], agent="")["error"] == "wrong-code"
    codes = [peer.ask("url")["code"] for _ in range(sessions.CODES_MAX + 1)]
    assert peer.ask("sign_in", code=codes[-1], agent="")["ok"]
    change(here, "delete from sign_in_code where expires_at = (select min(expires_at) from sign_in_code)")
    assert change(here, "select count(*) from sign_in_code")[0][0] < sessions.CODES_MAX


def test_the_database_has_neither_codes_nor_tokens(here: Hive) -> None:
    peer = here.operator()
    code, token = peer.ask("url")["code"], begin(peer)["token"]
    for path in (here.state / "db").iterdir():
        data = path.read_bytes()
        assert code.encode() not in data and token.encode() not in data, path


def test_a_session_is_prolonged_by_being_used(here: Hive) -> None:
    peer = here.operator()
    token = begin(peer)["token"]
    month = 30 * 86_400
    change(here, "update session set seen_at = ?, expires_at = '2100'", wire.stamp(time.time() - 7200))
    looked = peer.ask("session", token=token)["session"]
    assert abs(seconds(looked["seen_at"])) < 5 and abs(seconds(looked["expires_at"]) - month) < 5
    change(here, "update session set expires_at = ?", wire.stamp(time.time() - 1))
    assert peer.ask("session", token=token)["error"] == "signed-out"
    assert peer.ask("sessions")["sessions"] == []


def test_there_is_a_most_of_sessions_and_a_code_is_not_lost_by_it(here: Hive) -> None:
    peer = here.operator()
    for number in range(sessions.SESSIONS_MAX):
        assert begin(peer, f"browser {number}")["ok"]
    code = peer.ask("url")["code"]
    assert peer.ask("sign_in", code=code, agent="one more")["error"] == "too-many"
    assert peer.ask("sign_out", session=peer.ask("sessions")["sessions"][0]["id"])["ok"]
    assert peer.ask("sign_in", code=code, agent="one more")["ok"]


def test_sessions_and_codes_outlive_the_broker(here: Hive) -> None:
    peer = here.operator()
    token, code = begin(peer)["token"], peer.ask("url")["code"]
    here.kill()
    here.start()
    peer = here.operator()
    assert peer.ask("session", token=token)["ok"] and peer.ask("sign_in", code=code, agent="")["ok"]


def test_all_are_signed_out_and_links_are_useless_then(here: Hive) -> None:
    peer = here.operator()
    token, code = begin(peer)["token"], peer.ask("url")["code"]
    assert peer.ask("sign_out", all=True)["ended"] == 1
    assert peer.ask("session", token=token)["error"] == "signed-out"
    assert peer.ask("sign_in", code=code, agent="")["error"] == "wrong-code"
    assert peer.ask("sign_out", session=1)["error"] == "unknown-session"
    assert peer.ask("sign_out")["error"] == "bad-request"
    assert peer.ask("sign_out", session=1, all=True)["error"] == "bad-request"


def test_agents_cannot_ask_for_any_of_it(here: Hive) -> None:
    ada = here.agent("ada")
    for op in ("url", "sign_in", "session", "sessions", "sign_out", "state"):
        assert ada.ask(op)["error"] == "unknown-op", op
        assert here.system().ask(op)["error"] == "unknown-op", op


# hivectl


def test_hivectl_prints_a_link_that_signs_in(here: Hive) -> None:
    link = run(here, "url").stdout.strip()
    place, _, code = link.partition("/sign-in?code=")
    assert place == "http://127.0.0.1:7000"
    assert here.operator().ask("sign_in", code=code, agent="")["ok"]
    shown = load(here, "url")
    assert shown["url"].startswith(place) and seconds(shown["expires_at"]) > 290


def test_hivectl_shows_and_ends_sessions(here: Hive) -> None:
    assert run(here, "sessions").stderr == "Nobody is signed in. (hivectl url)\n"
    peer = here.operator()
    for browser in ("Firefox \x1b[31m", "Chromium", "w3m"):
        begin(peer, browser)
    table = run(here, "sessions").stdout.splitlines()
    assert table[0].split() == ["ID", "SIGNED", "IN", "SEEN", "MAY", "BROWSER"]
    assert [line.split()[-1] for line in table[1:]] == ["w3m", "Chromium", "\\x1b[31m"]
    assert run(here, "sessions", "--revoke", "2").stdout == "1 session ended\n"
    assert [each["id"] for each in load(here, "sessions")] == [3, 1]
    assert "there is no session 2" in run(here, "sessions", "--revoke", "2", status=1).stderr
    assert load(here, "sessions", "--revoke-all") == {"ended": 2}


# the state


def kinds(state: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["kind"], each["agent"]) for each in state["waiting"]]


def later() -> None:
    """Times are kept to the millisecond."""
    before = now()
    while now() == before:
        pass


def test_all_that_waits_for_a_person_is_listed_oldest_first(here: Hive) -> None:
    operator, ada, manager = here.operator(), here.agent("ada"), here.agent("manager")
    assert operator.ask("state")["waiting"] == []
    ada.ask("send", to="operator", body="first")
    later()
    ada.ask("ask", question="Which\nbranch?", options=["a", "b"])
    later()
    draft(here, "eve")
    number = manager.ask("request_spawn_commit", agent="eve", commit_ref="main")["request"]
    ada.ask("send", to="operator", body="second")
    manager.ask("ask", question="and you?", to="ada")  # for an agent
    state = operator.ask("state")
    assert kinds(state) == [("mail", "ada"), ("question", "ada"), ("approval", "eve")]
    assert [each["title"] for each in state["waiting"]] == [
        "2 unread from ada",
        "Which branch?",
        "spawn of eve",
    ]
    assert state["approvals"][0]["id"] == number and state["approvals"][0]["summary"]
    assert [each["question"] for each in state["questions"]] == ["Which\nbranch?"]
    operator.ask("read", ids=[m["id"] for m in state["inbox"]["messages"]])
    operator.ask("deny", request=number, reason="no")
    operator.ask("answer", question=state["questions"][0]["id"], answer=["a"])
    assert operator.ask("state")["waiting"] == []


def told(here: Hive, event: str, unit: str, number: int, **more: Any) -> None:
    at = "2026-11-22T10:00:00.000Z"
    about = {"event": event, "unit": unit, "invocation": f"{number:032x}", "at": at}
    assert here.system().ask("event", **about, **more)["ok"]


def state_of(here: Hive, name: str) -> str:
    (word,) = [each["state"] for each in here.operator().ask("state")["agents"] if each["name"] == name]
    return str(word)


def test_what_an_agent_does_in_one_word(here: Hive) -> None:
    assert state_of(here, "ada") == "asleep"
    ada = here.agent("ada")
    assert state_of(here, "ada") == "awake"
    ada.ask("progress", number=1, text="Bash ls")
    assert state_of(here, "ada") == "working"
    ada.close()
    while state_of(here, "ada") != "asleep":
        assert here.broker and here.broker.poll() is None
    socket = "hive-agent@ada.socket"
    told(here, "started", socket, 1)
    told(here, "stopped", socket, 1)
    assert state_of(here, "ada") == "paused"
    told(here, "started", socket, 2)
    assert state_of(here, "ada") == "asleep"
    told(here, "quarantined", socket, 2, result="service-start-limit-hit")
    assert state_of(here, "ada") == "quarantined"
    assert ("quarantined", "ada") in kinds(here.operator().ask("state"))


def test_an_agent_whose_change_is_under_way(here: Hive) -> None:
    spawned(here, "eve")
    number = here.operator().ask("rollback", agent="eve", deploy=1)["request"]
    assert state_of(here, "eve") == "draining"
    carry_out(here, number)
    assert state_of(here, "eve") == "asleep"


def test_events_after_a_state_have_later_numbers_and_no_other(here: Hive) -> None:
    watcher, operator = here.operator(), here.operator()
    epoch = watcher.ask("subscribe")["epoch"]
    before = operator.ask("send", to="ada", body="before")["ids"]
    state = operator.ask("state")
    after = operator.ask("send", to="ada", body="after")["ids"]
    assert state["epoch"] == epoch and [m["id"] for m in state["mail"]][:1] == before
    came = [watcher.read() for _ in range(2)]
    assert [event["id"] for event in came if event["seq"] > state["seq"]] == after
    here.kill()
    here.start()
    assert here.operator().ask("state")["epoch"] != epoch


def test_a_state_is_small_whatever_is_in_it(here: Hive) -> None:
    spawned(here, "eve")
    ada, operator = here.agent("ada"), here.operator()
    for _ in range(60):
        ada.ask("send", to="operator", body="\U0001f41d" * 16_000)
    ada.ask("ask", question="?" * 8192)
    state = operator.ask("state")
    assert len(str(state)) < 120_000
    assert len(state["mail"]) == 50 and all(m["clipped"] for m in state["inbox"]["messages"])
    assert state["inbox"]["unread"] == 60
