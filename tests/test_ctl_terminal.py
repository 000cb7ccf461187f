"""What hivectl's users see on a terminal, and what they type."""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.ctl import ctl, terminal, units
from tests.hive import ROOT, Hive, hive
from tests.hivectl import environment, on_terminal, run
from tests.test_broker import RECORD

EVIL = "\x1b]0;owned\x07\x1b[31mred \x9b2J [bold]b[/bold] \u202egnp.exe \r:smile: \x7f"


# controls but line ends and ESC, text direction, and the ESC sequences of EVIL (rich has its own)
OBEYED = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1a\\x1c-\\x1f\\x7f-\\x9f\u202e]|\\x1b\\]|\\x1b\\[31m"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hive]:
    with hive(tmp_path) as it:
        it.add("manager", "ada", "bob")
        yield it


@pytest.mark.parametrize("verb", [["list"], ["show", "ada"], ["mail"], ["inbox"], ["status"]], ids=str)
def test_text_of_agents_is_not_obeyed_by_the_terminal(here: Hive, verb: list[str]) -> None:
    ada = here.agent("ada")
    ada.ask("progress", number=1, text=EVIL)
    ada.ask("send", to="operator", body=EVIL)
    for text in (run(here, *verb).stdout, on_terminal(here, *verb, columns=200)):
        assert not re.search(OBEYED, text)
        if verb != ["status"]:
            assert r"\x1b]0;owned\x07\x1b[31mred \x9b2J [bold]b[/bold] \u202egnp.exe" in text
            assert ":smile:" in text


def test_json_is_ascii(here: Hive) -> None:
    here.agent("ada").ask("send", to="operator", body=EVIL)
    done = run(here, "inbox", "--json").stdout
    assert done.rstrip("\n").isascii() and done.rstrip("\n").isprintable()
    assert json.loads(done)[0]["body"] == EVIL


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(here: Hive, columns: int) -> None:
    ada = here.agent("ada")
    ada.ask("progress", number=1, text="word " * 40)
    ada.ask("send", to="operator", body="word " * 100)
    for verb in (["list"], ["mail"]):
        text = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(here, *verb, columns=columns))
        assert max(map(len, text.splitlines())) == columns and "…" in text


def test_top_is_redrawn_as_mail_is_sent_and_ends_on_q(here: Hive) -> None:
    send = ["send", "ada", EVIL + "look here"]
    seen = on_terminal(here, "top", columns=200, do=lambda: run(here, *send), until=b"look here")
    assert "3 agents (3 asleep)" in seen
    assert r"operator -> ada: \x1b]0;owned" in seen and not re.search(OBEYED, seen)
    assert seen.index("\x1b[?1049h") < seen.index("look here") < seen.index("\x1b[?1049l")


def test_top_shows_what_stats_tells(here: Hive) -> None:
    ada = here.agent("ada")
    for number in (1, 2):
        assert ada.ask("turn", **RECORD | {"number": number})["ok"]
    seen = on_terminal(here, "top", columns=140, do=lambda: None, until=b"q: quit")
    row = next(line for line in seen.splitlines() if "ada" in line)
    assert "█" in row and "$0.50" in row


def test_top_waits_for_a_broker_that_was_restarted(here: Hive) -> None:
    def restart() -> None:
        here.kill()
        here.start()
        run(here, "send", "ada", "meanwhile")

    seen = on_terminal(here, "top", do=restart, until=b"3 queued")
    assert seen.index("2 queued") < seen.index("the broker is away") < seen.index("3 queued")


# pieces


@given(st.text())
def test_clean_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    clean = terminal.clean(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", clean)
    assert text.isprintable() is False or clean == text


@pytest.mark.parametrize("text", ["grüße", "日本語", "\U0001f468\u200d\U0001f469", "a\n\tb", "\u00a0"])
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert terminal.clean(text) == text


@pytest.mark.parametrize(
    ("active", "awake", "doing", "state"),
    [
        ({"ada": "active"}, False, None, "asleep"),
        ({"ada": "active"}, True, None, "awake"),
        ({"ada": "active"}, True, "", "working"),
        ({"ada": "inactive"}, False, None, "paused"),
        ({"ada": "inactive"}, True, "x", "working"),
        ({"ada": "failed"}, False, None, "quarantined"),
        ({}, False, None, "paused"),
        (None, False, None, "asleep"),
    ],
)
def test_an_agent_s_state_in_a_word(
    active: dict[str, str] | None, awake: bool, doing: str | None, state: str
) -> None:
    assert units.state({"name": "ada", "awake": awake, "doing": doing}, active) == state


def ctl_verbs() -> dict[str, set[str]]:
    """The options of each verb."""
    (verbs,) = (a for a in ctl.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {
        name: {o for a in p._actions for o in a.option_strings if o.startswith("--")}
        for name, p in verbs.choices.items()
    }


COMPLETE = """
source {root}/bin/completion/hivectl.bash
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_hivectl
echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["s"], "status show stats spawn send sessions"),
        (["send", ""], "ada bob manager operator all"),
        (["send", "a"], "ada all"),
        (["send", "ada", ""], ""),
        (["show", "b"], "bob"),
        (["mail", "--state", ""], "queued leased done dead dropped"),
        (["loose-ends", "--cancel", ""], "question reminder mail"),
        (["dead", "--"], "--json --help --retry --drop"),
        (["ask", ""], "ada bob manager"),
        (["mail", "--fo"], "--follow"),
        (["mail", "--from", "a"], "ada"),
        (["mail", "--to", "o"], "operator"),
        (["spawn", "eve", "--model", ""], ""),
    ],
    ids=str,
)
def test_bash_completes(here: Hive, tmp_path: Path, line: list[str], offered: str) -> None:
    program = tmp_path / "hivectl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/bin/hivectl "$@"\n')
    program.chmod(0o755)
    env = environment(here.run / "operator.sock", PATH=f"{tmp_path}:{os.environ['PATH']}")
    command = ["bash", "-c", COMPLETE.format(root=ROOT), "bash", "hivectl", *line]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (offered, "")


@pytest.mark.parametrize("verb", ["", *ctl_verbs()])
def test_bash_completes_what_the_parser_takes(verb: str, tmp_path: Path) -> None:
    line = ["hivectl", verb, "--"] if verb else ["hivectl", ""]
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", COMPLETE.format(root=ROOT), "bash", *line], env=env, capture_output=True, text=True
    )
    assert {*done.stdout.split()} == ({*ctl_verbs(), "--help"} if not verb else ctl_verbs()[verb])
