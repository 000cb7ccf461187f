"""What the judge allows, a real bash runs as the judge has read it, in a root of its own."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperhive.rules.rules import judge
from tests.hive import ROOT
from tests.rules_scripts import Scripts
from tests.rules_writers import PROGRAMS, Lines

DOUBLES = ROOT / "tests/doubles"
ALLOW = ["Bash(ok *)", "Bash(no *)", "Bash(wc *)"]
FREE = {"ok", "no"}
Run = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Of a script: what it ran, and what it wrote where it must not."""
    root = tmp_path_factory.mktemp("root")
    (root / "bin").mkdir()
    stub = root / "bin/ok"
    subprocess.run(["cc", "-O1", "-o", stub, DOUBLES / "stub.c"], check=True)
    for name in ("no", "evil", "unknown"):
        os.link(stub, root / "bin" / name)
    cage = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    with subprocess.Popen(
        [*cage, "/usr/bin/python3", DOUBLES / "bash_cage.py", root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin and stdout

        def ask(script: str) -> dict[str, Any]:
            print(json.dumps(script), file=stdin, flush=True)
            found: dict[str, Any] = json.loads(stdout.readline())
            return found

        yield ask
        stdin.close()


def broken(found: dict[str, Any]) -> list[str]:
    """What was done against the rules."""
    bad = [" ".join(words) for words in found["ran"] if Path(words[0]).name not in FREE]
    return [*bad, *found["wrote"]]


def fuzz(run: Run, seed: int, count: int) -> tuple[list[str], int]:
    """Those that got past the judge, and how many were allowed."""
    scripts, past, allowed = Scripts(seed), [], 0
    while allowed < count:
        script = scripts.script()
        if judge(script, ALLOW) is None:
            allowed += 1
            if bad := broken(run(script)):
                past.append(f"{script!r}: {bad}")
    return past, allowed


def test_the_cage_sees_what_is_run_and_written(run: Run) -> None:
    found = run("ok a; $(echo evil) b; nowhere c; echo > /aside; f() { nowhere d; }; f > ../up")
    assert found["ran"][:2] == [["ok", "a"], ["evil", "b"]]
    assert [words[1:] for words in found["ran"][2:]] == [["nowhere", "c"], ["nowhere", "d"]]
    assert found["wrote"] == ["/aside", "/up"]
    assert run("true") == {"ran": [], "wrote": []}
    changed = run(
        "rm /outside/a; touch /outside/b; chmod 700 /outside/d; cp a.txt /outside/d/a; ln -s x /outside/x"
    )
    assert changed["wrote"] == ["/outside/a", "/outside/b", "/outside/d", "/outside/d/a", "/outside/x"]
    assert run("cp /outside/a /tmp/x; tar xf /outside/t.tar") == {"ran": [], "wrote": []}


def test_nothing_gets_past_the_judge(run: Run) -> None:
    past, _ = fuzz(run, seed=1, count=250)
    assert not past


def written(run: Run, seed: int, count: int) -> list[str]:
    """Command lines that the judge allows, and that write where one may not."""
    lines, past, allowed, rules = Lines(seed), [], 0, [f"Bash({name} *)" for name in PROGRAMS]
    while allowed < count:
        line = lines.line()
        if judge(line, rules) is None:
            allowed += 1
            if wrote := run(line)["wrote"]:
                past.append(f"{line!r}: {wrote}")
    return past


def test_programs_write_where_the_judge_has_read(run: Run) -> None:
    assert not written(run, seed=1, count=200)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200, 204))
def test_programs_write_where_the_judge_has_read_in_a_long_time(run: Run, seed: int) -> None:
    assert not written(run, seed, count=3000)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 104))
def test_nothing_gets_past_the_judge_in_a_long_time(run: Run, seed: int) -> None:
    past, _ = fuzz(run, seed, count=3000)
    assert not past
