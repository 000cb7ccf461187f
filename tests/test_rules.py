"""What a command may be, by the lists of tests/rules and in the words of a denial."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_bash

from hyperhive.rules import grammar, writes
from hyperhive.rules.plain import plain
from hyperhive.rules.rules import Denial, judge
from hyperhive.rules.tree import Simple
from hyperhive.rules.values import walk
from tests.rules_corpus import RULES, commands

DENIED, ALLOWED = [*commands("denied.txt")], [*commands("allowed.txt")]


def test_the_lists_are_long_and_name_nothing_twice() -> None:
    texts = [text for _, text in (*DENIED, *ALLOWED)]
    assert len(DENIED) >= 500 and len(ALLOWED) >= 300
    assert len({*texts}) == len(texts)


@pytest.mark.parametrize("group", sorted({group for group, _ in DENIED}))
def test_what_must_be_denied_is(group: str) -> None:
    assert not [text for each, text in DENIED if each == group and judge(text, RULES) is None]


@pytest.mark.parametrize("group", sorted({group for group, _ in ALLOWED}))
def test_what_is_done_every_day_is_allowed(group: str) -> None:
    found = {text: judge(text, RULES) for each, text in ALLOWED if each == group}
    assert not {text: denial for text, denial in found.items() if denial}


def test_what_is_done_every_day_needs_its_rules() -> None:
    """The lists prove nothing about a judge that lets everything pass."""
    free = [text for _, text in ALLOWED if judge(text, []) is None]
    assert len(free) < len(ALLOWED) / 6


NEAR = ["Bash(git *)", "Bash(make check)", "Bash(npm run test:*)", "Bash(nix build .*)"]


@pytest.mark.parametrize(
    ("command", "part", "rule", "nearest"),
    [
        ("git log | sh", "sh", "no rule allows it", ""),
        ("ls; make install", "ls", "no rule allows it", ""),
        ("make install", "make install", "no rule allows it", "Bash(make check)"),
        ("npm run deploy", "npm run deploy", "no rule allows it", "Bash(npm run test:*)"),
        ("git log > /etc/x", "> /etc/x", "it would write outside /state, /home/agent, /shared and /tmp", ""),
        ("PATH=/x git log", "PATH=/x", "setting PATH can change what runs", ""),
        ("timeout 5 rm 'a b'", "rm 'a b'", "no rule allows it", ""),
        ("$x y", "$x y", "which command this is cannot be told", ""),
        (
            "git -c core.pager=x log",
            "git -c core.pager=x log",
            "it could run or write more than it shows, by: -c core.pager",
            "Bash(git *)",
        ),
    ],
)
def test_a_denial_names_the_part_the_rule_and_the_nearest_allowed_form(
    command: str, part: str, rule: str, nearest: str
) -> None:
    assert judge(command, NEAR) == Denial(part, rule, nearest)


def test_a_denial_is_short_and_can_be_shown() -> None:
    denial = judge("rm " + "é" * 1000 + "\n\t", NEAR)
    assert denial and len(denial.part) == 300 and denial.part.isprintable() and denial.part.endswith("…")


@pytest.mark.parametrize(
    ("rule", "allowed", "denied"),
    [
        ("git *", ["git", "git log", "git log 'a b'"], ["gitk", "git-x"]),
        ("git*", ["git", "gitk", "git log"], ["gi"]),
        ("git:*", ["git", "git log"], ["gitk"]),
        (
            "npm run test:*",
            ["npm run test", "npm run test -x"],
            ["npm run testx", "npm run", "npm run test:x"],
        ),
        ("make check", ["make check", "make  check", "make 'check'"], ["make check x", "'make check'"]),
        ("ls * x", ["ls a x", "ls a b x"], ["ls x", "ls a"]),
        ("ls 'a b'", ["ls 'a b'", "ls a\\ b"], ["ls a b"]),
        ("ls \\*", ["ls '*'"], ["ls a", "ls *"]),
        ("git -c core.pager=less log", ["git -c core.pager=less log"], ["git -c core.pager=sh log"]),
        ("git -c core.pager *", [], ["git -c core.pagerx=y log"]),
        ("rsync --exclude=x *", ["rsync --exclude=x a b"], ["rsync --exclude=x -e sh a b"]),
        ("find * -delete", ["find . -delete"], ["find . -exec rm {} +"]),
        ("PYTHONPATH=. pytest *", ["PYTHONPATH=. pytest x"], ["PYTHONPATH=/ pytest x", "pytest x"]),
        ("bash *", ["bash x.sh", "bash -c 'rm x'", "bash"], ["sh x.sh"]),
        ("xargs *", [], ["xargs rm", "xargs -n1 rm"]),
        ("source venv/bin/activate", ["source venv/bin/activate"], ["source x"]),
        ("sudo apt-get update", ["sudo apt-get update"], ["sudo apt-get", "sudo rm x"]),
    ],
)
def test_a_rule_is_read_as_the_cli_reads_it(rule: str, allowed: list[str], denied: list[str]) -> None:
    rules = [f"Bash({rule})"]
    assert not {text: found for text in allowed if (found := judge(text, rules))}
    assert not [text for text in denied if judge(text, rules) is None]


@pytest.mark.parametrize("rule", ["Bash", "Bash(*)", "Bash(:*)"])
def test_any_command_may_be_allowed(rule: str) -> None:
    assert judge("rm -rf / ; $(", ["Read", rule]) is None


def test_a_path_is_judged_from_where_the_command_runs() -> None:
    rules = ["Bash(ls *)"]
    assert judge("ls > x", rules, "/state/a") is None
    assert judge("ls > ../x", rules, "/state/a") is None
    assert judge("ls > ../../x", rules, "/state/a")
    assert judge("ls > x", rules, "/etc")
    assert judge("cd /tmp && ls > x", rules, "/etc")


def test_a_link_is_followed(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("links")  # below /tmp, where one may write
    (folder / "out").symlink_to("/etc")
    (folder / "in").symlink_to(folder)
    rules = ["Bash(ls *)"]
    assert judge("ls > in/x", rules, str(folder)) is None
    assert judge("ls > out/x", rules, str(folder))
    assert judge("cd in/out && ls > x", rules, str(folder))
    assert judge("cd in; cd out; ls > x", rules, str(folder))
    assert judge(f"ls > {folder}/out/x", rules)


def test_a_command_that_takes_long_to_read_is_refused_soon() -> None:
    for text in (
        "$(" * 5000,
        "(" * 5000,
        "a" * 100_000,
        "if " * 3000,
        "ls " + "${x:-" * 3000,
        "x=$x;" * 9000 + "rm x",
    ):
        assert judge(text, ["Bash(ls *)"]), text[:20]


def test_of_a_list_that_nobody_looked_at_little_is_denied_without_need() -> None:
    """README says how much; what merely has no rule is not counted."""
    denied = [
        text
        for _, text in commands("heldout.txt")
        if (denial := judge(text, RULES)) and denial.rule != "no rule allows it"
    ]
    assert len(denied) <= 5, denied


def named(node: tree_sitter.Node) -> Iterator[str]:
    """Each command's name, as tree-sitter's grammar has it."""
    if node.type == "command_name":
        yield (node.text or b"").decode()
    for child in node.children:
        yield from named(child)


def test_another_parser_finds_no_command_that_ours_does_not() -> None:
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))
    for _, text in (*ALLOWED, *commands("heldout.txt")):
        nodes = walk(grammar.read(text))
        ours = {node.words[0].source for node in nodes if isinstance(node, Simple) and node.words}
        assert {*named(parser.parse(text.encode()).root_node)} <= ours | {"time"}, text


WRITES = [*commands("writes.txt")]
# "wc" and "ls", and all that can say where it writes
WRITERS = [f"Bash({name} *)" for name in (*writes.CHECKS, "tee", "find", "ls", "wc")]


def test_what_would_write_elsewhere_is_denied_and_for_that() -> None:
    said = {text: judge(text, WRITERS) for group, text in WRITES if group == "elsewhere"}
    reasons = ("it would write", "a path that goes up", "where it would write")
    assert not {text: why for text, why in said.items() if not why or not why.rule.startswith(reasons)}


def test_what_writes_within_is_allowed() -> None:
    said = {text: judge(text, WRITERS) for group, text in WRITES if group == "within"}
    assert not {text: why for text, why in said.items() if why}


def test_every_program_that_says_where_it_writes_is_tried() -> None:
    for wanted in ("elsewhere", "within"):
        tried = {word for group, text in WRITES if group == wanted for word in text.split()}
        assert {*writes.CHECKS} - {*writes.PACKERS[3:]} <= tried, wanted


ALSO = [*RULES, "Bash(timeout *)"]


@pytest.mark.parametrize(
    "text",
    [
        "git status",
        "make check",
        "git log -3 2>/dev/null | head -5 && git show HEAD~1; npm run test unit",
        "git commit -m 'It is (nearly) done' -m \"so far\"",
        "curl -sS https://example.org/a/b.git",
        "git diff main...HEAD --stat 2>&1",
        "cat link/a within",
    ],
)
def test_a_plain_command_is_left_to_claude_as_well(text: str, tmp_path: Path) -> None:
    (tmp_path / "within").symlink_to(tmp_path / "a")
    assert judge(text, ALSO) is None
    assert plain(text, ALSO, str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "git log $x",
        "git log `x`",
        "git log > x",
        "git log < x",
        "git log &",
        "git log\ngit log",
        "(git log)",
        "A=1 git log",
        "/usr/bin/git log",
        "echo x",
        "git log && echo x",
        "make 'check'",
        "make check x",
        "makecheck",
        "ls *.py",
        "ls {a,b}",
        "ls ~",
        "cat /etc/passwd",
        "cat ../x",
        "cat a/../../x",
        "cat .env",
        "cat a/.git/config",
        "grep --file=/etc/passwd x",
        "timeout 5 git log",
        "find . -name x -exec wc {} +",
        "find . -name x -exec wc -l -- x",
        "sed -n 'a\\\nb' x",
        " && ".join(["git log"] * 11),
        "cat leads/x",
    ],
)
def test_what_claude_might_read_otherwise_is_not(text: str, tmp_path: Path) -> None:
    (tmp_path / "leads").symlink_to("/etc")
    assert not plain(text, ALSO, str(tmp_path))
