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


def test_the_operator_sees_what_an_agent_has_noted(crew: Crew) -> None:
    """A plain file, and what a hostile agent may put in its place."""
    crew.bash("ada", "echo remember > /state/notes.md")
    shown = crew.call("show", agent="ada")["notes"]
    assert (shown["text"], shown["bytes"]) == ("remember\n", 9)
    crew.bash("ada", "cd /state; rm notes.md; ln -s /dev/zero notes.md")
    assert crew.call("show", agent="ada")["notes"]["text"] == ""
    crew.bash("ada", "cd /state; rm notes.md; mkfifo notes.md")
    assert crew.call("show", agent="ada")["notes"]["text"] == ""
    crew.bash("ada", "cd /state; rm notes.md; head --bytes=9000000 /dev/urandom > notes.md")
    shown = crew.call("show", agent="ada")["notes"]
    assert (len(shown["text"].encode()) <= 32 * 1024, shown["bytes"]) == (True, 9_000_000)
    crew.bash("ada", "rm /state/notes.md")
