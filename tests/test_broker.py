import json
import os
import select

from hyperhive import wire
from tests.hive import NEVER, Hive


def bodies(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    return [message["body"] for message in answer["messages"]]


def states(here: Hive) -> dict[int, str]:
    return {m["id"]: m["state"] for m in here.operator().ask("mail", limit=1000)["messages"]}


def test_mail_goes_round(here: Hive) -> None:
    ada, bob = here.agent("ada"), here.agent("bob")
    sent = ada.ask("send", to="bob", body="hello \U0001f41d")
    assert sent["ahead"] == 0
    got = bob.ask("recv")
    (message,) = got["messages"]
    assert message == {
        "id": sent["ids"][0],
        "from": "ada",
        "to": "bob",
        "body": "hello \U0001f41d",
        "sent_at": message["sent_at"],
        "in_reply_to": None,
        "attempts": 1,
        "redelivered": False,
        "reason": None,
    }
    assert bob.ask("ack")["acked"] == 1
    assert states(here)[message["id"]] == "done"
    assert bodies(bob.ask("recv")) == []


def test_a_parked_recv_wakes_on_mail(here: Hive) -> None:
    bob = here.agent("bob")
    waiting = bob.write("recv", wait_seconds=180)
    assert bob.ask("whoami")["agent"] == "bob"  # the line is not held up
    here.operator().ask("send", to="bob", body="now")
    assert bodies(bob.answer(waiting)) == ["now"]


def test_a_wait_that_ends_without_mail(here: Hive) -> None:
    assert bodies(here.agent("bob").ask("recv", wait_seconds=1)) == []


def test_order_and_max(here: Hive) -> None:
    operator, bob = here.operator(), here.agent("bob")
    aheads = [operator.ask("send", to="bob", body=str(n))["ahead"] for n in range(5)]
    assert aheads == [0, 1, 2, 3, 4]
    first = bob.ask("recv", max=2)
    assert (bodies(first), first["waiting"]) == (["0", "1"], 3)
    assert bodies(bob.ask("recv", max=100)) == ["2", "3", "4"]


def test_much_mail_comes_in_bites(here: Hive) -> None:
    operator, bob = here.operator(), here.agent("bob")
    for _ in range(6):
        operator.ask("send", to="bob", body="x" * wire.BODY_MAX)
    assert len(bob.ask("recv", max=100)["messages"]) == 4


def test_all_is_every_other_agent(here: Hive) -> None:
    sent = here.agent("ada").ask("send", to="all", body="hear")
    assert len(sent["ids"]) == 2
    assert bodies(here.agent("bob").ask("recv")) == ["hear"]


def test_a_key_sends_once(here: Hive) -> None:
    ada = here.agent("ada")
    first = ada.ask("send", to="all", body="b", key="k")
    assert ada.ask("send", to="all", body="b", key="k")["ids"] == first["ids"]
    assert ada.ask("send", to="all", body="other", key="k")["error"] == "conflict"
    assert len(states(here)) == 4  # and two 'spawned' to the manager


def test_end_of_the_connection_requeues_marked(here: Hive) -> None:
    here.operator().ask("send", to="bob", body="twice")
    bob = here.agent("bob")
    assert not bob.ask("recv")["messages"][0]["redelivered"]
    bob.close()
    (message,) = here.agent("bob").ask("recv", wait_seconds=10)["messages"]
    assert (message["redelivered"], message["attempts"]) == (True, 2)


def test_a_failed_turn_requeues_and_the_fifth_is_the_last(here: Hive) -> None:
    here.operator().ask("send", to="bob", body="poison")
    bob = here.agent("bob")
    for attempt in range(1, 6):
        assert bob.ask("recv")["messages"][0]["attempts"] == attempt
        failed = bob.ask("fail", reason="crashed")
    assert failed == {"id": failed["id"], "ok": True, "requeued": 0, "dead": 1}
    assert bodies(bob.ask("recv")) == []
    letters = [m["body"] for m in here.agent("manager").ask("recv")["messages"] if m["from"] == "system"]
    assert '"event": "dead_letter"' in letters[-1]


def test_a_failure_that_is_not_the_mails_fault_does_not_count(here: Hive) -> None:
    here.operator().ask("send", to="bob", body="patience")
    bob = here.agent("bob")
    for _ in range(8):
        assert bob.ask("recv")["messages"][0]["attempts"] == 1
        assert bob.ask("fail", reason="rate-limited", count=False)["requeued"] == 1


def test_broker_killed_in_mid_turn(here: Hive) -> None:
    here.operator().ask("send", to="bob", body="kept")
    here.agent("bob").ask("recv")
    here.kill()
    here.start()
    here.operator().ask("status")  # activates it
    (message,) = here.agent("bob").ask("recv", wait_seconds=10)["messages"]
    assert (message["body"], message["redelivered"]) == ("kept", True)


def test_the_run_that_held_it_may_still_finish_it(here: Hive) -> None:
    here.operator().ask("send", to="bob", body="once")
    run = "ab" * 16
    here.agent("bob", invocation=run).ask("recv")
    here.kill()
    here.start()
    here.operator().ask("status")
    bob = here.agent("bob", invocation=run)
    assert bob.ask("ack")["acked"] == 1
    assert bodies(bob.ask("recv")) == []


def test_the_tool_takes_mail_for_the_harness(here: Hive) -> None:
    tool = here.agent("bob", role="tool", invocation="ab" * 16)
    assert tool.ask("recv")["error"] == "no-harness"
    harness = here.agent("bob", invocation="ab" * 16)
    (number,) = here.operator().ask("send", to="bob", body="mid-turn")["ids"]
    assert bodies(tool.ask("recv")) == ["mid-turn"]
    for op in ("ack", "fail", "asleep", "turn"):
        assert tool.ask(op)["error"] == "forbidden"
    assert harness.ask("whoami")["leased"] == 1
    assert harness.ask("ack")["acked"] == 0
    assert tool.ask("shown", ids=[number, 99])["shown"] == 1
    tool.close()
    assert harness.ask("ack")["acked"] == 1


def test_what_a_tool_has_not_shown_is_not_acked_and_goes_back_when_it_ends(here: Hive) -> None:
    run = "ab" * 16
    harness = here.agent("bob", invocation=run)
    tool, other = (here.agent("bob", role="tool", invocation=run) for _ in range(2))
    (first, second) = (here.operator().ask("send", to="bob", body=text)["ids"][0] for text in "ab")
    tool.ask("recv", max=1)
    other.ask("recv", max=1)
    assert other.ask("shown", ids=[first, second])["shown"] == 1  # the first is not its own
    assert harness.ask("ack", ids=[first])["acked"] == 0
    waits = harness.write("recv", wait_seconds=20)
    tool.close()
    (message,) = harness.answer(waits)["messages"]
    assert (message["id"], message["redelivered"], message["attempts"]) == (first, True, 2)
    other.close()
    assert harness.ask("ack")["acked"] == 2
    assert harness.ask("recv")["messages"] == []


def test_what_was_shown_while_the_broker_was_away_is_the_runs(here: Hive) -> None:
    run = "ab" * 16
    here.agent("bob", invocation=run)
    ids = here.operator().ask("send", to="bob", body="mid-turn")["ids"]
    assert here.agent("bob", role="tool", invocation=run).ask("recv")["messages"]
    here.kill()
    here.start()
    here.operator().ask("status")
    harness = here.agent("bob", invocation=run)
    assert harness.ask("ack")["acked"] == 0
    assert here.agent("bob", role="tool", invocation=run).ask("shown", ids=ids)["shown"] == 1
    assert harness.ask("ack")["acked"] == 1
    assert harness.ask("recv")["messages"] == []


def test_a_failure_of_the_endpoint_is_forgiven_also_after_a_restart(here: Hive) -> None:
    run = "ab" * 16
    here.operator().ask("send", to="bob", body="x")
    here.agent("bob", invocation=run).ask("recv")
    here.kill()
    here.start()
    here.operator().ask("status")
    bob = here.agent("bob", invocation=run)
    assert bob.ask("fail", reason="rate-limited", count=False)["requeued"] == 1
    assert bob.ask("fail", reason="rate-limited", count=False)["requeued"] == 0
    (message,) = bob.ask("recv")["messages"]
    assert (message["attempts"], message["redelivered"]) == (1, True)


def test_mail_for_a_receiver_that_hung_up_is_not_a_delivery(here: Hive) -> None:
    harness, tool = here.agent("bob"), here.agent("bob", role="tool")
    tool.write("recv", wait_seconds=180)
    tool.ask("whoami")
    tool.close()
    here.operator().ask("send", to="bob", body="for whom")
    (message,) = harness.ask("recv", wait_seconds=10)["messages"]
    assert not message["redelivered"]


def test_a_byte_wakes_a_sleeper_and_nobody_else(here: Hive) -> None:
    fifo = here.fifo("bob")
    operator = here.operator()
    operator.ask("send", to="bob", body="1")
    assert select.select([fifo], [], [], 10)[0]
    operator.ask("send", to="bob", body="2")
    assert os.read(fifo, 100) == b"\n"  # one wake for both
    bob = here.agent("bob")
    assert bob.ask("asleep") == {"id": 2, "ok": True, "sleep": False}
    assert bodies(bob.ask("recv")) == ["1", "2"]
    bob.ask("ack")
    operator.ask("send", to="bob", body="3")
    assert not select.select([fifo], [], [], 0)[0]
    assert bodies(bob.ask("recv")) == ["3"]
    bob.ask("ack")
    assert bob.ask("asleep")["sleep"] is True
    operator.ask("send", to="bob", body="4")
    assert select.select([fifo], [], [], 10)[0]
    os.close(fifo)


def test_a_crashed_run_with_mail_left_is_woken(here: Hive) -> None:
    fifo = here.fifo("bob")
    bob = here.agent("bob")
    here.operator().ask("send", to="bob", body="again")
    bob.ask("recv")
    bob.close()
    assert select.select([fifo], [], [], 10)[0]
    os.close(fifo)


def test_mail_to_a_paused_agent_wakes_it_when_it_is_resumed(here: Hive) -> None:
    here.operator().ask("send", to="bob", body="later")
    fifo = here.fifo("bob")
    assert select.select([fifo], [], [], 10)[0]
    os.close(fifo)


COUNTS = "tool_calls tokens_in tokens_out tokens_cache_read tokens_cache_write messages duration_ms".split()
TEXTS = {"started_at": "2026-11-22T10:00:00.000Z", "model": "sonnet", "woken_by": "mail", "session": "s"}
RECORD: dict[str, object] = {**dict.fromkeys(COUNTS, 3), **TEXTS}
RECORD |= {"number": 1, "outcome": "ok", "cost_usd": 0.25, "tools": {"Bash": 3}}


def test_turns_are_recorded(here: Hive) -> None:
    bob = here.agent("bob")
    assert bob.ask("turn", **RECORD)["ok"]
    shown = here.operator().ask("show", agent="bob")
    assert shown["agent"]["turns"] == 1
    assert shown["agent"]["last_outcome"] == "ok"
    turn = shown["recent_turns"][0]
    assert (turn["tools"], turn["cost_usd"], turn["tokens_out"]) == ({"Bash": 3}, 0.25, 3)
    assert bob.ask("turn", **RECORD | {"outcome": "splendid"})["error"] == "bad-request"
    assert bob.ask("turn", **RECORD | {"cost_usd": float("nan")})["error"] == "bad-request"


def test_the_manager_hears_once_of_trouble_with_the_model(here: Hive) -> None:
    bob, manager = here.agent("bob"), here.agent("manager")
    manager.ask("recv")
    numbers = iter(range(1, 9))
    for outcome in ("ok", "auth-failed", "auth-failed", "ok", "rate-limited"):
        assert bob.ask("turn", **RECORD | {"number": next(numbers), "outcome": outcome, "error": "no"})["ok"]
    events = [json.loads(body)["event"] for body in bodies(manager.ask("recv"))]
    assert events == ["needs_login", "rate_limited"]


def test_subscribers_see_the_flow(here: Hive) -> None:
    watcher = here.operator()
    assert watcher.ask("subscribe")["ok"]
    bob = here.agent("bob")
    here.operator().ask("send", to="bob", body="seen")
    bob.ask("recv")
    bob.ask("progress", number=1, text="Bash: ls")
    bob.ask("set_status", status="busy")
    bob.ask("ack")
    bob.close()
    events: list[dict[str, str]] = []
    while not events or events[-1]["event"] != "asleep":
        events.append(watcher.read())
    names = [event["event"] for event in events]
    assert names == ["awake", "mail", "delivered", "progress", "status", "done", "asleep"]
    assert events[1]["body"] == "seen"
    assert [e["seq"] for e in events] == sorted(e["seq"] for e in events)


def test_a_subscriber_that_never_reads_is_cut_off_and_harms_nobody(here: Hive) -> None:
    sleeper = here.operator()
    sleeper.ask("subscribe")
    operator, bob = here.operator(), here.agent("bob")
    for _ in range(200):
        operator.ask("send", to="bob", body="x" * wire.BODY_MAX)
    assert len(bob.ask("recv")["messages"]) == 4
    while (line := sleeper.file.readline()).endswith(b"\n"):
        pass
    assert len(line) < wire.LINE_MAX


def test_queue_full(here: Hive) -> None:
    ada = here.agent("ada")
    for _ in range(100):
        numbers = [ada.write("send", to="bob", body="x") for _ in range(100)]
        assert all(ada.answer(n)["ok"] for n in numbers)
    assert ada.ask("send", to="bob", body="x")["error"] == "queue-full"
    assert here.operator().ask("send", to="bob", body="x")["ok"]
    bob = here.agent("bob")
    bob.ask("recv", max=1)
    bob.ask("ack")
    assert ada.ask("send", to="bob", body="x")["ok"]


def test_inbox(here: Hive) -> None:
    ada, operator = here.agent("ada"), here.operator()
    ada.ask("send", to="operator", body="done")
    inbox = operator.ask("inbox", unread=True)
    assert (bodies(inbox), inbox["unread"]) == (["done"], 1)
    assert operator.ask("read", ids=[inbox["messages"][0]["id"]])["read"] == 1
    assert operator.ask("inbox", unread=True)["messages"] == []
    assert bodies(operator.ask("inbox")) == ["done"]


def test_an_agent_writes_only_to_whom_it_may(here: Hive) -> None:
    here.bases["eve"] = 1_400_000_000
    eve = {"name": "eve", "role": "agent", "description": "", "uid_base": 1_400_000_000, "send_to": ["bob"]}
    assert here.system().ask("applied", request=NEVER, agent=eve)["ok"]
    for restart in (False, True):
        if restart:
            here.kill()
            here.start()
            assert here.operator().ask("status")["ok"]
        peer = here.agent("eve")
        assert peer.ask("whoami")["peers"] == ["bob"]
        for to in ("bob", "eve"):
            assert peer.ask("send", to=to, body="hello")["ok"]
        for to in ("ada", "operator", "all", "nobody"):
            refused = peer.ask("send", to=to, body="hello")
            assert refused["error"] == "forbidden"
            text = f"eve may not write to '{to}' (its agent.toml lets it write to: bob)"
            assert refused["message"] == text
        assert peer.ask("ask", to="ada", question="may I?")["error"] == "forbidden"
        assert peer.ask("ask", question="may I?")["error"] == "forbidden"  # the operator, by default
        asked = here.agent("ada").ask("ask", to="eve", question="well?")["question"]
        assert peer.ask("answer", question=asked, answer=["yes"])["ok"]
    assert {m["to"] for m in here.operator().ask("mail", agent="eve")["messages"] if m["from"] == "eve"} == {
        "bob",
        "eve",
    }
    shown = {row["name"]: row["send_to"] for row in here.operator().ask("agents")["agents"]}
    assert (shown["eve"], shown["ada"]) == (["bob"], ["all"])
