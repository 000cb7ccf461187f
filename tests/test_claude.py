"""What agent.toml grants, as the real CLI understands it when it is started as the harness starts it."""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from hyperhive.cage import claude, harness
from hyperhive.config import agent_toml
from hyperhive.rules.plain import plain
from tests import endpoints
from tests.endpoints import Rehearsal
from tests.hive import ROOT
from tests.rules_corpus import RULES as EVERY_DAYS_RULES
from tests.rules_corpus import commands

WHO = """
[[rule]]
text = "who"
system = "(?s)You are a double.*I am prompt.md.*I am CLAUDE.md"
say = "a double with two prompts"
"""
CALL = """
[[rule]]
text = "TOOL (?P<input>.*)"
[[rule.steps]]
[[rule.steps.call]]
name = "TOOL"
input = { INPUT }
[[rule.steps]]
say = "{tool_result}"
"""
TOOLS = {
    "Bash": 'command = "{input}", description = "x"',
    "Write": 'file_path = "{input}", content = "x"',
    "mcp__tickets__search": "",
    "mcp__tickets__delete": "",
}
RULES = WHO + "".join(CALL.replace("TOOL", tool).replace("INPUT", given) for tool, given in TOOLS.items())
JUDGE = str(ROOT / "bin/hive-rules")
SERVER = """
[mcp.tickets]
command = "bin/tickets"
args = ["--all"]
env = { LEVEL = "3" }
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    with endpoints.rehearsal(tmp_path_factory.mktemp("model"), RULES) as running:
        yield running


def setup(folder: Path, model: Rehearsal, toml: str) -> claude.Setup:
    config, home, prompts = folder / "config", folder / "home", folder / "prompts"
    for each in (config, home, prompts, config / "bin"):
        each.mkdir(exist_ok=True)
    shutil.copy(ROOT / "tests/doubles/tickets", config / "bin")
    (config / agent_toml.FILE).write_text(toml)
    for name in agent_toml.PROMPTS:
        (config / name).write_text(f"I am {name}.\n")
    (prompts / "agent.md").write_text("You are a double.\n")
    programs = (endpoints.CLAUDE, "/bin/false", JUDGE)
    places = harness.Places(config, home, prompts, "", *programs, model.url, home, "")
    return claude.Setup(
        program=endpoints.CLAUDE,
        model="sonnet",
        agent=agent_toml.parse(toml),
        prompt=harness.prompt(places, "agent"),
        mcp="/bin/false",
        rules=JUDGE,
        role="agent",
        config=config,
        session=None,
        base_url=model.url,
        socket="",
        invocation="",
        folder=folder / "runtime",
        limits=claude.LIMITS,
    )


def said(folder: Path, model: Rehearsal, toml: str, text: str, given: claude.Setup | None = None) -> str:
    """The answer to one message."""
    return str(talked(folder, model, given or setup(folder, model, toml), text)[-1]["result"])


def talked(folder: Path, model: Rehearsal, it: claude.Setup, text: str, **env: str) -> list[claude.Event]:
    claude.write_files(it)
    message = {"type": "user", "message": {"role": "user", "content": [{"type": "text", "text": text}]}}
    done = subprocess.run(
        claude.arguments(it),
        env=endpoints.cli_env(folder / "home", model.url, **claude.judged(it) | env),
        cwd=folder / "home",
        input=json.dumps(message) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=endpoints.PATIENCE,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


GIT = '[tools]\nallow = ["Bash(git *)"]\n'
REFUSED = "has been denied"


@pytest.mark.parametrize(
    ("toml", "call", "wanted"),
    [
        ("", "Bash touch made", "No such tool available: Bash"),
        ('[tools]\nallow = ["Read"]', "Bash touch made", "No such tool available: Bash"),
        ('[tools]\nallow = ["Read"]', "Write {home}/made", "No such tool available: Write"),
        ('[tools]\nallow = ["Bash"]', "Bash touch made; ls", "made"),
        (SERVER, "mcp__tickets__search x", REFUSED),
        (f'{SERVER}allow = ["search"]', "mcp__tickets__search x", "search ['--all'] 3"),
        (f'{SERVER}allow = ["search"]', "mcp__tickets__delete x", REFUSED),
        (f'{SERVER}allow = ["*"]', "mcp__tickets__delete x", "delete ['--all'] 3"),
    ],
)
def test_only_what_is_listed_is_allowed(
    model: Rehearsal, tmp_path: Path, toml: str, call: str, wanted: str
) -> None:
    home = tmp_path / "home"
    assert wanted in said(tmp_path, model, toml, call.format(home=home))
    assert (home / "made").exists() == (wanted == "made")


def answers(folder: Path, it: claude.Setup, texts: Iterable[str], **env: str) -> dict[str, str]:
    """Of each command what its tool said, when the model calls it for all of them at once."""
    calls = [f'{{ name = "Bash", input = {{ command = {json.dumps(text)} }} }}' for text in texts]
    steps = f"[[rule.steps]]\ncall = [{', '.join(calls)}]\n[[rule.steps]]\nsay = 'done'\n"
    with endpoints.rehearsal(folder / "calls", f'[[rule]]\ntext = "go"\n{steps}') as model:
        events = talked(folder, model, dataclasses.replace(it, base_url=model.url), "go", **env)
    spoken = [event["message"]["content"] for event in events if event["type"] in ("assistant", "user")]
    blocks = [block for content in spoken for block in content]
    commands = {each["id"]: each["input"]["command"] for each in blocks if each["type"] == "tool_use"}
    results = [each for each in blocks if each["type"] == "tool_result"]
    return {commands[each["tool_use_id"]]: str(each["content"]) for each in results}


def test_a_command_is_allowed_if_each_part_of_it_is(model: Rehearsal, tmp_path: Path) -> None:
    wanted = {
        "touch made": "Not allowed: touch made",
        "git status; touch made": "Not allowed: touch made",
        "git --version > /etc/made": "Not allowed: > /etc/made",
        "for x in --version; do git $x | cat; done": "Not allowed: cat",
        'for x in --version; do git "$x"; done': "git version",
        "git --version": "git version",
        "cat /etc/passwd": "Not allowed: cat /etc/passwd",
        "echo harmless": "harmless",
    }
    found = answers(tmp_path, setup(tmp_path, model, GIT), wanted)
    assert {text: said for text, said in wanted.items() if said not in found[text]} == {}
    assert not (tmp_path / "home/made").exists()


def test_a_file_of_the_agents_home_gives_no_allowed_command_another_meaning(
    model: Rehearsal, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".claude").mkdir(parents=True)
    for name in (".bashrc", ".profile", ".bash_profile"):
        (home / name).write_text("git() { touch made; }\nshopt -s expand_aliases\nalias git='touch made'\n")
    (home / ".claude/settings.json").write_text('{"disableAllHooks": true}')
    found = answers(tmp_path, setup(tmp_path, model, GIT), ["git --version", "touch made"])
    assert "git version" in found["git --version"]
    assert "Not allowed: touch made" in found["touch made"]
    assert not (home / "made").exists()


def test_where_the_judge_says_nothing_the_rules_hold_as_claude_reads_them(
    model: Rehearsal, tmp_path: Path
) -> None:
    silent = dataclasses.replace(setup(tmp_path, model, GIT), rules="/bin/true")
    found = answers(tmp_path, silent, ["git --version", "touch made"])
    assert "git version" in found["git --version"]
    assert REFUSED in found["touch made"]


def test_what_claude_can_read_its_own_list_has_to_allow_too(model: Rehearsal, tmp_path: Path) -> None:
    """The judge has one rule more than claude was given."""
    more = GIT.replace("*)", '*)", "Bash(touch *)')
    less = dataclasses.replace(setup(tmp_path, model, more), agent=agent_toml.parse(GIT))
    found = answers(tmp_path, less, ["touch made", "touch read && touch $HOME/unread"])
    assert REFUSED in found["touch made"]
    made = {path.name for path in (tmp_path / "home").iterdir()}
    assert made & {"made", "read", "unread"} == {"read", "unread"}


EVERY_DAY = {text: None for name in ("allowed.txt", "heldout.txt") for _, text in commands(name)}


def ran(folder: Path, model: Rehearsal, texts: list[str]) -> dict[str, bool]:
    """Whether claude has these run where the judge says nothing. Its shell only says that it was asked."""
    shell = folder / "bash"
    shell.write_text("#!/bin/sh\necho asked\n")
    shell.chmod(0o755)
    it = setup(folder, model, f"[tools]\nallow = {json.dumps(EVERY_DAYS_RULES)}\n")
    it = dataclasses.replace(it, rules="/bin/true")
    found = answers(folder, it, texts, CLAUDE_CODE_SHELL=str(shell))
    return {text: "asked" in said for text, said in found.items()}


def test_claude_refuses_nothing_that_the_judge_leaves_to_it(model: Rehearsal, tmp_path: Path) -> None:
    """Of each kind some; all of them in check-long."""
    some = [text for text in EVERY_DAY if plain(text, EVERY_DAYS_RULES, str(tmp_path))][::12]
    assert len(some) > 15
    assert ran(tmp_path, model, some) == dict.fromkeys(some, True)


@pytest.mark.long
def test_claude_refuses_nothing_at_all_that_the_judge_leaves_to_it(model: Rehearsal, tmp_path: Path) -> None:
    """README says how many these are."""
    left = [text for text in EVERY_DAY if plain(text, EVERY_DAYS_RULES, str(tmp_path))]
    assert len(left) == 240
    assert ran(tmp_path, model, left) == dict.fromkeys(left, True)


def test_without_its_judge_no_command_is_run(model: Rehearsal, tmp_path: Path) -> None:
    lost = dataclasses.replace(setup(tmp_path, model, GIT), rules="/nowhere/hive-rules")
    assert "no command is allowed" in said(tmp_path, model, GIT, "Bash git --version", lost)


def test_prompt_md_and_claude_md_follow_the_hives_own_prompt(model: Rehearsal, tmp_path: Path) -> None:
    assert said(tmp_path, model, "", "who are you?") == "a double with two prompts"
