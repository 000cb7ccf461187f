"""hivectl's verbs by which agents come, change and go: with the real broker, and a double of hive-apply."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.changing import as_deployed, draft
from tests.hive import ROOT, Hive, Peer
from tests.hivectl import environment, load, run
from tests.proposed import TOML

MORE = TOML.replace('["Read"]', '["Read", "Bash(git push)"]')


@contextmanager
def applying(here: Hive, **more: Any) -> Iterator[None]:
    """Something like hive-apply carries out what comes."""
    for name in ("eve", "flo"):
        as_deployed(here, name)
    fields = [str(here.run / "system.sock"), str(here.state / "apply"), repr(here.bases), repr(more)]
    program = subprocess.Popen([sys.executable, f"{ROOT}/tests/doubles/applies", *fields])
    yield
    program.kill()
    program.wait()


def toml(here: Hive) -> str:
    path = here.folder / "agent.toml"
    path.write_text(TOML)
    return str(path)


@pytest.fixture
def manager(here: Hive) -> Peer:
    return here.agent("manager")


def propose(here: Hive, manager: Peer, toml: str = MORE) -> int:
    folder = here.state / "agents/eve/config"
    if folder.exists():
        subprocess.run(["rm", "-r", folder], check=True)
    draft(here, "eve", {"agent.toml": toml})
    note = "it has to\npush \x1b[31m"
    asked = manager.ask("request_apply_commit", agent="eve", commit_ref="main", note=note)
    return int(asked["request"])


def test_from_a_draft_to_the_end(here: Hive, manager: Peer) -> None:
    with applying(here):
        said = run(here, "draft", "eve", "--description", "reviews").stdout
        assert said == "the draft of eve is there: the manager finds it in /agents/eve/config\n"
        table = run(here, "drafts").stdout.splitlines()
        assert table[1].split()[:2] == ["eve", "operator"] and table[1].endswith("reviews")
        assert run(here, "approvals").stderr == "No request is pending.\n"
        said = run(here, "spawn", "eve", "--toml", toml(here)).stdout
        assert said == "eve is there, and sleeps until it has mail. (hivectl send eve …)\n"
        assert run(here, "drafts").stderr == "There are no drafts. (hivectl draft NAME)\n"
        number = propose(here, manager)
        assert "waits    1 request for your approval (hivectl approvals)\n" in run(here, "status").stdout
        row = run(here, "approvals").stdout.splitlines()[1]
        assert "change  eve    higher  pending  it has to push \\x1b[31m" in row
        shown = run(here, "diff", str(number)).stdout
        assert f"request {number} (pending): change of eve, asked by manager" in shown
        assert "risk: HIGHER than with deployed/1\n" in shown and "  may now run: git push\n" in shown
        assert '\n+allow = ["Read", "Bash(git push)"]\n' in shown and "\x1b" not in shown
        said = run(here, "approve", str(number), "--note", "go on").stdout
        assert said.endswith("\neve runs deploy 2 now\n") and "  may now run: git push\n" in said
        late = run(here, "approve", str(number), status=1)
        assert "is deployed already: operator decided at" in late.stderr
        assert run(here, "rollback", "eve").stdout == "eve runs deploy 3 now: back to deploy 1\n"
        assert "eve has no deploy 9" in run(here, "rollback", "eve", "9", status=1).stderr
        steps = [line.split() for line in run(here, "history", "eve").stdout.splitlines()]
        assert steps[0] == ["AT", "WHO", "REQUEST", "KIND", "STATE", "DEPLOY", "COMMIT", "NOTE"]
        assert steps[-1][1:6] == ["system", "4", "rollback", "deployed", "3"]
        assert "kept" in run(here, "destroy", "eve").stdout
        words = run(here, "kept").stdout.splitlines()[1].split()
        assert words[0] == "eve" and "12.3" in words and "yes" in words
        assert run(here, "revive", "eve").stdout == "eve is back, as deploy 4\n"
        run(here, "destroy", "eve")
        assert "'confirm' must be 'eve' again" in run(here, "purge", "eve", "flo", status=1).stderr
        assert "deleted for good" in run(here, "purge", "eve", "eve").stdout
        assert run(here, "kept").stderr == "No destroyed agent is kept.\n"
        assert run(here, "doctor").stdout.startswith("audit log: sound, ")


def test_a_change_that_fails(here: Hive, manager: Peer) -> None:
    with applying(here):
        run(here, "spawn", "eve")
    number = propose(here, manager)
    with applying(here, message="it did not come up:\nTraceback \x1b[2J"):
        done = run(here, "approve", str(number), status=1)
    assert (
        done.stderr == f"request {number} (change of eve) failed:\nit did not come up:\nTraceback \\x1b[2J\n"
    )
    assert "it did not come up" in run(here, "approvals", "--state", "failed").stdout


def test_deny(here: Hive, manager: Peer) -> None:
    with applying(here):
        run(here, "spawn", "eve")
    number = propose(here, manager)
    assert run(here, "deny", str(number), "not now").stdout == f"request {number} is denied\n"
    assert run(here, "approvals", "eve", "--state", "denied").stdout.rstrip().endswith("(not now)")
    again = propose(here, manager)
    assert load(here, "deny", str(again), "no") == {"request": again, "state": "denied"}


def test_json(here: Hive, manager: Peer) -> None:
    with applying(here):
        assert load(here, "spawn", "eve", "--toml", toml(here))["agent"] == "eve"
        assert load(here, "draft", "flo")["state"] == "deployed"
        assert [each["agent"] for each in load(here, "drafts")] == ["flo"]
        number = propose(here, manager)
        assert [each["id"] for each in load(here, "approvals")] == [number]
        assert load(here, "diff", str(number), "--against", "previous")["risk"] == "higher"
        done = load(here, "approve", str(number))
        assert (done["id"], done["state"], done["tag"]) == (number, "deployed", "deployed/2")
        assert load(here, "rollback", "eve", "1")["deploy"] == 3
        assert load(here, "history", "eve")[0]["event"] == "deployed"
        assert load(here, "destroy", "eve")["kind"] == "destroy"
        assert load(here, "kept")[0]["bytes"] == 12_345
        assert load(here, "revive", "eve")["state"] == "deployed"
        assert load(here, "purge", "flo", "flo")["state"] == "deployed"
        assert load(here, "doctor")[0]["ok"] is True
        assert len(load(here, "approvals", "--all", "--limit", "3")) == 3


def test_what_the_manager_hears_is_a_sentence_where_there_is_none(here: Hive, manager: Peer) -> None:
    with applying(here):
        run(here, "spawn", "eve")
        run(here, "destroy", "eve")
    manager.close()
    with applying(here):
        run(here, "destroy", "manager")
        run(here, "revive", "eve")
        run(here, "rollback", "eve", status=1)
    text = run(here, "inbox").stdout
    assert "manager was destroyed; what it had is kept. (hivectl revive manager, or purge)\n" in text
    assert "eve was created.\n" in text


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["approve", "9"], 1, "there is no request 9"),
        (["approve", "x"], 2, "invalid number value"),
        (["deny", "9", ""], 1, "'reason' must say something"),
        (["diff", "1", "--against", "tomorrow"], 2, "invalid choice"),
        (["approvals", "--all", "--state", "denied"], 2, "not allowed with"),
        (["rollback", "bob"], 1, "bob has no deploy to go back to"),
        (["history", "nobody"], 1, "nothing is known of 'nobody'"),
        (["destroy", "nobody"], 1, "no agent is called 'nobody'"),
        (["revive", "bob"], 1, "bob is not destroyed (hivectl destroy bob)"),
        (["purge", "bob"], 2, "required: NAME-AGAIN"),
        (["draft", "bob"], 1, "there is an agent 'bob' already"),
        (["draft", "../x"], 1, "cannot be an agent's name"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_errors(here: Hive, words: list[str], status: int, text: str) -> None:
    done: Any = run(here, *words, status=status)
    assert done.stdout == "" and text in done.stderr and "Traceback" not in done.stderr


def test_agents_and_requests_are_completed(here: Hive, manager: Peer) -> None:
    with applying(here):
        run(here, "spawn", "eve")
    number = propose(here, manager)
    env = environment(here.run / "operator.sock", PATH=f"{ROOT}/bin:/usr/bin:/bin")
    hivectl = f'hivectl() {{ {sys.executable} {ROOT}/bin/hivectl "$@"; }}'
    script = f"source {ROOT}/bin/completion/hivectl.bash; {hivectl}"
    for words, offered in ((["approve", ""], str(number)), (["destroy", "e"], "eve")):
        ask = f'{script}; COMP_WORDS=(hivectl "$@"); COMP_CWORD=$#; _hivectl; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", ask, "bash", *words], env=env, capture_output=True, text=True)
        assert (done.stdout.strip(), done.stderr) == (offered, "")
