"""The operator's word on turns and models, in the box: hivectl, the real cage, the real CLI."""

import time

from tests.box.crew import DONE, Crew, Watch

WAIT = """
text = "wait long"
[[rule.steps]]
call = [{ name = "Bash", input = { command = "while :; do sleep 1 & wait; done" } }]
"""


def test_a_turn_is_cancelled_and_the_next_uses_another_model(crew: Crew, watch: Watch) -> None:
    crew.rules(WAIT, DONE)
    number = crew.send("ada", "wait long")
    watch.until("turn_event", agent="ada", kind="tool", tool="Bash")
    began = time.monotonic()
    crew.call("command", agent="ada", command="cancel")
    first = watch.until("turn", agent="ada")
    assert first["outcome"] == "cancelled" and time.monotonic() - began < 2
    watch.until("done", id=number)
    assert "queued" in crew.run("hivectl", "model", "ada", "opus").stdout
    crew.send("ada", "go on")
    second = watch.until("turn", agent="ada")
    assert second["outcome"] == "ok" and second["model"].startswith("claude-opus")
    assert second["session"] == first["session"]
    assert "active" in crew.run("hivectl", "model", "ada").stdout
    crew.run("hivectl", "model", "ada", "--reset")
