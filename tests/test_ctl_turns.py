"""hivectl model, cancel, compact and new-session, with the real broker and a harness played by hand."""

from typing import Any

import pytest

from tests.hive import Hive
from tests.hivectl import load, run
from tests.test_broker import RECORD


def test_a_model_is_queued_then_active_then_reset(here: Hive) -> None:
    ada = here.agent("ada")
    said = run(here, "model", "ada", "opus", "--until", "2026-12-24 08:00").stdout
    assert said.startswith("model    opus (set by operator ") and "until 2026-12-24 08:00)\n" in said
    assert "state    queued: from the next turn on\nnow      -\n" in said
    assert ada.ask("recv")["models"] == {"override": "opus", "last": None, "refused": None}
    assert ada.ask("turn", **RECORD | {"model": "claude-opus-5", "asked": "opus"})["ok"]
    shown = load(here, "model", "ada")
    assert (shown["now"], shown["next"], shown["state"]) == ("claude-opus-5", "opus", "active")
    assert "(the hive's default)\nstate    queued" in run(here, "model", "ada", "--reset").stdout


def test_a_refused_model_is_named(here: Hive) -> None:
    ada = here.agent("ada")
    assert ada.ask("turn", **RECORD | {"asked": "sonnet"})["ok"]
    run(here, "model", "ada", "nosuch")
    choice = ada.ask("model_refused", model="nosuch", error="Model 'nosuch' not found\x1b[31m")["models"]
    assert choice == {"override": None, "last": "sonnet", "refused": "nosuch"}
    said = run(here, "model", "ada").stdout
    assert "model    sonnet (the hive's default)\nstate    active\n" in said
    assert "refused  nosuch, 0 s ago: Model 'nosuch' not found\\x1b[31m\n" in said
    assert "refuses nosuch to ada, which goes on with sonnet" in run(here, "inbox").stdout


def test_a_turn_is_cancelled(here: Hive) -> None:
    assert "ada runs no turn" in run(here, "cancel", "ada", status=1).stderr
    ada, ear = here.agent("ada"), here.agent("ada", "tool")
    run(here, "send", "ada", "hello")
    (mail,) = ada.ask("recv", wait_seconds=5)["messages"]
    assert ear.ask("listen", number=1) == {"id": 2, "ok": True, "cancel": False}
    said = run(here, "cancel", "ada").stdout
    assert said == "turn 1 of ada is being stopped, and who sent its mail hears of it\n"
    assert ear.read() == {"event": "cancel", "number": 1}
    assert ada.ask("turn", **RECORD | {"outcome": "cancelled"})["ok"]
    assert f"ada gave up message {mail['id']}: operator stopped the turn" in run(here, "inbox").stdout
    assert ada.ask("recv")["messages"] == []


@pytest.mark.parametrize("command", ["compact", "new-session"])
def test_what_is_done_between_turns(here: Hive, command: str) -> None:
    ada = here.agent("ada")
    number = ada.write("recv", wait_seconds=20)
    assert ada.ask("whoami")["ok"]
    assert run(here, command, "ada").stdout.startswith("ada ")
    (given,) = ada.answer(number)["commands"]
    assert given["command"] == command
    assert ada.ask("asleep")["sleep"] is False  # it is not done yet
    assert ada.ask("command_done", command=given["id"])["ok"]
    assert ada.ask("asleep")["sleep"] is True


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["model", "nobody"], 1, "no agent is called 'nobody'"),
        (["model", "ada", "x", "--reset"], 2, "either NAME or --reset"),
        (["model", "ada", "--until", "08:00"], 2, "either NAME or --reset"),
        (["model", "ada", "a b"], 1, "'a b' cannot be a model's name"),
        (["model", "ada", "x", "--until", "2001-01-01"], 1, "is over"),
        (["compact", "nobody"], 1, "no agent is called 'nobody'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_errors(here: Hive, words: list[str], status: int, text: str) -> None:
    done: Any = run(here, *words, status=status)
    assert done.stdout == "" and text in done.stderr and "Traceback" not in done.stderr
