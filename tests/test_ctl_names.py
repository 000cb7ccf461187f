"""Every verb of hivectl that takes an agent's name, with names that are none."""

import argparse
import contextlib
import io
import os
import re
from collections.abc import Iterator

import pytest

from hyperhive.ctl import ctl
from hyperhive.problem import Problem
from tests.hive import Hive, hive
from tests.hivectl import run

NAMES = {"AGENT", "NAME", "TO"}  # as a verb calls an argument that is a name
OTHERS = {"NAME-AGAIN": "", "ID": "1", "N": "1", "FILE": "/nowhere/x"}
OTHERS |= dict.fromkeys(["PATTERN", "REASON", "BODY", "QUESTION", "TEXT", "MESSAGE"], "text")
WANTED = {"remind": ["--in", "2h"]}
ALLOWED = {("mail", "system")}  # it writes mail
HOSTILE = [
    *(
        "",
        " ",
        ".",
        "..",
        "../x",
        "/etc",
        "ada/../bob",
        "ada/",
        "a.git",
        "a",
        "-x",
        "--json",
        "--",
        "-",
        "%s",
        "*",
    ),
    *(
        "Ada",
        "ADA",
        "\u0430da",
        "ada\u200b",
        "\uff41da",
        "ada\u202e",
        "\u0131da",
        "a b",
        "ada\n",
        "a\nb",
        "\tada",
        "ada\r",
    ),
    *(
        "\x1b[31m",
        "\x7f",
        "ada;id",
        "$(id)",
        "x" * 33,
        "x" * 5000,
        "\u044f" * 3000,
        "system",
        "ada-",
        "-ada",
        "0ad",
    ),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    """One for all of them: none leaves a trace."""
    with hive(tmp_path_factory.mktemp("names")) as it:
        it.add("manager", "ada", "bob")
        yield it


def verbs() -> dict[str, list[argparse.Action]]:
    """With their arguments, read from the parser: a new one is here by itself."""
    (subparsers,) = (a for a in ctl.parser()._actions if isinstance(a, argparse._SubParsersAction))
    found = {name: [a for a in p._actions if not a.option_strings] for name, p in subparsers.choices.items()}
    unknown = {str(a.metavar) for each in found.values() for a in each} - NAMES - OTHERS.keys()
    assert not unknown, f"say here whether it is a name: {unknown}"
    return {name: each for name, each in found.items() if NAMES & {str(a.metavar) for a in each}}


VERBS = verbs()


def words(verb: str, name: str) -> list[str]:
    given = [name if str(a.metavar) in NAMES else OTHERS[str(a.metavar)] or name for a in VERBS[verb]]
    return [verb, *WANTED.get(verb, []), "--", *given]


def said(verb: str, name: str) -> str:
    """The error, as bin/hivectl shows it."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            args = ctl.parser().parse_args(words(verb, name))
            status = args.run(args)
    except Problem as e:
        shown = ctl.explained(e)
        assert shown.exit_status in (1, 2), (verb, name, shown.exit_status)
        return f"{shown} ({shown.hint})"
    except SystemExit as e:
        assert e.code == 2, (verb, name, e.code)
        return complaint.getvalue()
    raise AssertionError(f"{verb} takes {name[:50]!r}, status {status}")


def left(here: Hive) -> list[object]:
    """All that a name could have led to."""
    operator = here.operator()
    lists = [operator.ask(op)[key] for op, key in (("agents", "agents"), ("approvals", "approvals"))]
    ends = operator.ask("loose_ends")["loose_ends"]
    paths = [*here.folder.parent.iterdir(), *here.folder.rglob("*")]
    files = sorted(str(path) for path in paths if path.suffix not in (".db-wal", ".db-shm", ".db-journal"))
    found = [lists, ends, operator.ask("mail")["messages"], files]
    operator.close()
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_a_name_that_is_none(here: Hive, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setenv("HIVE_OPERATOR_SOCKET", os.fspath(here.run / "operator.sock"))
    before = left(here)
    for name in HOSTILE:
        if (verb, name) in ALLOWED:
            continue
        text = said(verb, name)
        assert re.search("agent|name|'to'|TO", text), (name, text)
        assert text.replace("\n", "").isprintable(), (name, text)
        assert len(text) < 1000, (name, text)
    done = run(here, *words(verb, "../x\x1b[31m"), status=1)
    assert "Traceback" not in done.stderr and "\x1b" not in done.stderr and done.stdout == ""
    assert left(here) == before


def test_an_option_is_not_a_name(here: Hive) -> None:
    required = [verb for verb, arguments in VERBS.items() if arguments[0].nargs != "?"]
    for verb in required[:3]:
        assert "usage: hivectl" in run(here, verb, "-x", status=2).stderr
        assert "usage: hivectl" in run(here, verb, "--json", status=2).stderr
