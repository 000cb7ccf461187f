"""The operator's word on turns and models, with the real CLI, the real harness and the real broker."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import endpoints
from tests.caged import Cage
from tests.endpoints import Rehearsal
from tests.hive import Hive, hive

RULES = """
models = ["claude-.*"]

[[rule]]
text = "wait long"
call = [{ name = "Bash", input = { command = "touch began; while :; do sleep 1 & wait; done" } }]
[[rule]]
text = "edit it"
[[rule.steps]]
say = "I edit."
call = [{ name = "Bash", input = { command = "echo one > file" } }]
[[rule.steps]]
call = [{ name = "Read", input = { file_path = "/mnt/home/file" } }]
[[rule.steps]]
call = [{ name = "Edit", input = { file_path = "/mnt/home/file", old_string = "one", new_string = "LONG" } }]
[[rule.steps]]
call = [{ name = "Bash", input = { command = "ls /nowhere" } }]
[[rule.steps]]
say = "edited"
[[rule]]
text = "hang"
hang = true
[[rule]]
text = "."
say = "done"
"""
ALLOW = '[tools]\nallow = ["Bash", "Read", "Edit", "Write"]\n'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    rules = RULES.replace("LONG", "two" * 10_000)
    with endpoints.rehearsal(tmp_path_factory.mktemp("model"), rules) as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hive]:
    with hive(tmp_path) as it:
        it.add("manager", "ada", "bob")
        yield it


@pytest.fixture
def cage(here: Hive, model: Rehearsal) -> Iterator[Cage]:
    it = Cage(here, claude=Path(endpoints.CLAUDE), model=model.url)
    (it.folder / "config/agent.toml").write_text(ALLOW)
    try:
        yield it
    finally:
        it.close()


def turn(cage: Cage, body: str) -> Any:
    number = cage.send(body)
    if not cage.process:
        cage.start()
    record = cage.wait_for("turn")
    cage.wait_for("done", id=number)
    return record


def ask(cage: Cage, op: str, **fields: Any) -> Any:
    answer = cage.operator.ask(op, agent="ada", **fields)
    assert answer["ok"], answer
    return answer


def system_mail(cage: Cage) -> list[Any]:
    rows = cage.operator.ask("inbox")["messages"]
    return [json.loads(row["body"]) for row in rows if row["from"] == "system"]


def claudes(cage: Cage) -> set[int]:
    """Of the claude that goes on: its pid."""
    return {pid for pid, state in cage.inside().items() if state != "Z"}


def test_the_model_is_switched_in_the_warm_process(cage: Cage) -> None:
    first = turn(cage, "hello")
    assert first["model"].startswith("claude-sonnet")
    before = claudes(cage)
    said = ask(cage, "model", model="opus")
    assert (said["next"], said["from"], said["state"], said["set_by"]) == (
        "opus",
        "override",
        "queued",
        "operator",
    )
    second = turn(cage, "again")
    assert second["model"].startswith("claude-opus") and second["session"] == first["session"]
    assert claudes(cage) == before
    said = ask(cage, "model")
    assert (said["now"], said["state"], said["refused"]) == (second["model"], "active", None)
    assert ask(cage, "model", model=None)["from"] == "hive"
    assert turn(cage, "back")["model"] == first["model"]


def test_a_model_that_the_endpoint_does_not_know_is_refused_by_name(cage: Cage) -> None:
    turn(cage, "hello")
    ask(cage, "model", model="opus")
    old = turn(cage, "on opus")
    ask(cage, "model", model="nosuch")
    record = turn(cage, "on what?")
    assert (record["outcome"], record["model"], record["session"]) == ("ok", old["model"], old["session"])
    said = ask(cage, "model")
    assert (said["next"], said["from"], said["state"]) == ("opus", "override", "active")
    assert said["refused"]["model"] == "nosuch" and "not found" in said["refused"]["error"]
    (mail,) = system_mail(cage)
    assert (mail["event"], mail["model"], mail["next"]) == ("model_refused", "nosuch", "opus")
    turn(cage, "it is not tried again")
    assert len(system_mail(cage)) == 1


def test_the_first_turn_with_an_unknown_model_is_done_with_the_hives(cage: Cage) -> None:
    (cage.folder / "config/agent.toml").write_text('model = "nosuch"\n' + ALLOW)
    record = turn(cage, "hello")
    assert record["outcome"] == "ok" and record["model"].startswith("claude-sonnet")
    assert ask(cage, "model")["refused"]["model"] == "nosuch"
    assert turn(cage, "again")["model"] == record["model"]


def test_a_sleeper_wakes_with_its_old_model_when_the_new_one_is_unknown(cage: Cage) -> None:
    first = turn(cage, "hello")
    cage.terminate()
    cage.exited()
    ask(cage, "model", model="nosuch")
    number = cage.send("wake up")
    cage.start()
    record = cage.wait_for("turn")
    cage.wait_for("done", id=number)
    assert (record["outcome"], record["model"], record["session"]) == (
        "ok",
        first["model"],
        first["session"],
    )


def test_an_override_ends_when_its_time_is_over(cage: Cage) -> None:
    first = turn(cage, "hello")
    at = time.time() + 1.5
    until = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03}Z"
    assert ask(cage, "model", model="opus", until=until)["until"] == until
    assert cage.wait_for("model", **{"from": "hive"})["set_by"] is None
    assert turn(cage, "back")["model"] == first["model"]


def test_a_tool_call_is_cancelled_within_two_seconds(cage: Cage) -> None:
    bob = cage.hive.agent("bob")
    mine = bob.ask("send", to="ada", body="wait long")["ids"][0]
    cage.start()
    cage.wait_for("progress", text="Bash touch began; while :; do sleep 1 & wait; done")
    endpoints.wait_until((cage.home / "began").exists, cage.process)  # type: ignore[arg-type]
    began = time.monotonic()
    said = ask(cage, "command", command="cancel")
    record = cage.wait_for("turn")
    took = time.monotonic() - began
    assert (record["outcome"], said["turn"]) == ("cancelled", record["number"])
    assert took < 2, took
    cage.wait_for("done", id=mine)
    (told,) = bob.ask("recv", wait_seconds=5)["messages"]
    event = json.loads(told["body"])
    assert event == {"event": "turn_cancelled", "agent": "ada", "by": "operator", "ids": [mine]}
    assert cage.wait_for("command", state="done")["id"] == said["command"]
    assert turn(cage, "on you go")["outcome"] == "ok"
    assert cage.operator.ask("command", agent="ada", command="cancel")["error"] == "not-running"


def test_a_turn_that_waits_for_the_model_is_cancelled(cage: Cage, model: Rehearsal) -> None:
    cage.send("hang")
    before = len(model.requests())
    cage.start()
    endpoints.wait_until(lambda: len(model.requests()) > before, model.process)
    ask(cage, "command", command="cancel")
    assert cage.wait_for("turn")["outcome"] == "cancelled"
    assert turn(cage, "on you go")["outcome"] == "ok"


def test_the_session_is_compacted_and_begun_anew(cage: Cage) -> None:
    first = turn(cage, "hello")
    turn(cage, "again")
    ask(cage, "command", command="compact")
    assert cage.wait_for("command", state="given")["command"] == "compact"
    cage.wait_for("command", state="done")
    assert turn(cage, "after")["session"] == first["session"]
    ask(cage, "command", command="new-session")
    cage.wait_for("command", state="done")
    assert turn(cage, "anew")["session"] != first["session"]


def test_a_sleeper_is_woken_to_compact(cage: Cage) -> None:
    turn(cage, "hello")
    cage.terminate()
    cage.exited()
    cage.wait_for("asleep")
    ask(cage, "command", command="compact")
    cage.wait_for("woken")
    assert cage.poked()
    cage.start()
    cage.wait_for("command", state="done")


def test_what_happens_in_a_turn_is_kept(cage: Cage) -> None:
    record = turn(cage, "edit it")
    assert record["outcome"] == "ok"
    # The last report may follow the record.
    while (shown := ask(cage, "turns")["turns"][0])["events"][-1]["text"] != "edited":
        assert cage.process and cage.process.poll() is None
    events = shown["events"]
    assert (shown["number"], shown["turn"]["outcome"], shown["more"]) == (1, "ok", False)
    assert [event["n"] for event in events] == [*range(1, len(events) + 1)]
    kinds = [(event["kind"], event["tool"]) for event in events]
    assert kinds == [
        ("status", None),
        ("text", None),
        *(("tool", "Bash"), ("result", None)),
        *(("tool", "Read"), ("result", None)),
        *(("tool", "Edit"), ("result", None)),
        *(("tool", "Bash"), ("error", None)),
        ("text", None),
    ]
    edit = next(event for event in events if event["tool"] == "Edit")
    given = json.loads(edit["text"])
    assert given["old_string"] == "one" and given["new_string"].startswith("twotwo")
    assert len(edit["text"].encode()) <= 8192 < edit["bytes"]
    assert edit["id"] == events[events.index(edit) + 1]["id"]
    live = [event for event in cage.seen if event["event"] == "turn_event"]
    assert {(event["n"], event["text"]) for event in live} <= {
        (event["n"], event["text"]) for event in events
    }
