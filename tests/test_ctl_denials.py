"""hivectl's verbs for what agents were not let do."""

import pytest

from tests.changing import as_deployed, spawned
from tests.hive import Hive, Peer
from tests.hivectl import load, run

TOML = '[tools]\nallow = ["Read", "Bash(git *)"]\n'
ODD = "make \x1b[31mred\ngit push"


@pytest.fixture
def eve(here: Hive) -> Peer:
    spawned(here, "eve", TOML)
    as_deployed(here, "eve")
    return here.agent("eve", "tool")


def deny(eve: Peer, command: str, part: str, nearest: str = "") -> None:
    rule = "no rule allows it"
    assert eve.ask("denied", tool="Bash", command=command, part=part, rule=rule, nearest=nearest)["ok"]


def test_seen_allowed_and_dismissed(here: Hive, eve: Peer) -> None:
    assert "No command was denied." in run(here, "denials", "eve").stderr
    deny(eve, ODD, "make red", "Bash(git *)")
    deny(eve, "echo a(b)", "echo a(b)")
    deny(eve, "echo a(b)", "echo a(b)")
    shown = run(here, "denials").stdout
    assert shown.startswith("-- 1 eve, 1 time, ")
    assert " ago: open --\nmake \\x1b[31mred\ngit push\n  not allowed: make red\n" in shown
    assert "  why:         no rule allows it\n  nearest:     Bash(git *)\n" in shown
    assert "  hivectl allow eve --denial 1   # adds Bash(make red)\n" in shown
    assert "-- 2 eve, 2 times" in shown and "no rule can be made of it as it is" in shown
    newest = "denied   2 commands, the newest: echo a(b) (hivectl denials eve)\n"
    assert newest in run(here, "show", "eve").stdout
    assert run(here, "denials", "--dismiss", "2").stdout == "dismissed 1 denial\n"
    assert [row["id"] for row in load(here, "denials", "eve")] == [1]
    asked = run(here, "allow", "eve", "--denial", "1", "--note", "why not").stdout
    assert "note: allow Bash(make red): why not\nrisk: HIGHER than with deployed/1\n" in asked
    assert "  may now run: make red\nhivectl approve 2, or deny 2 REASON\n" in asked
    assert " ago: request 2 asks for it --" in run(here, "denials").stdout
    more = run(here, "allow", "eve", "Bash(make *)", "Edit").stdout
    assert "It takes the place of request 2, and asks for that, too.\nhivectl approve 3" in more
    assert load(here, "allow", "eve", "Write")["superseded"] == [3]


def test_what_is_wrong_is_said(here: Hive, eve: Peer) -> None:
    assert "'patterns' or 'hosts' must name one" in run(here, "allow", "eve", status=1).stderr
    assert "'Bash(' is no tool" in run(here, "allow", "eve", "Bash(", status=1).stderr
    assert "eve may do that already" in run(here, "allow", "eve", "Read", status=1).stderr
    assert "no denial 7" in run(here, "allow", "eve", "--denial", "7", status=1).stderr
    assert "no denial" in run(here, "denials", "--dismiss", "7", status=1).stderr
    assert "no agent is called" in run(here, "denials", "nobody", status=1).stderr
