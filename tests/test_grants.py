"""What the operator is told of a change."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperhive.config import agent_toml, grants
from hyperhive.config.agent_toml import Agent
from hyperhive.config.config_tree import File
from hyperhive.config.grants import LESS, MORE, OTHER


def allow(*rules: str) -> str:
    return f"[tools]\nallow = {json.dumps(rules)}\n"


def to(*names: str) -> str:
    return f"[send]\nto = {json.dumps(names)}\n"


def said(old: str | None, new: str) -> list[tuple[str, str]]:
    before = agent_toml.parse(old) if old is not None else None
    return [(change.text, change.risk) for change in grants.changes(before, agent_toml.parse(new))]


GIT = "Bash(git *)"
SERVER = '[mcp.tickets]\ncommand = "bin/tickets"\nargs = ["--project", "my hive"]\n'
CASES = [
    (allow(GIT), allow(GIT, "Bash(git push)"), [("may now run: git push", MORE)]),
    (allow(GIT, "Read"), allow("Read"), [("may no longer run: git *", LESS)]),
    (allow(GIT), allow(GIT, "Bash"), [("may now run: any command", MORE)]),
    (allow("Bash"), allow("Bash", GIT), []),
    (allow("Bash(*)"), allow("Bash"), []),
    (allow("Bash"), allow(GIT), [("may no longer run: any command, only git *", LESS)]),
    (allow(), allow("WebFetch"), [("may now use WebFetch", MORE)]),
    (allow("Read(/a)"), allow("Read"), [("may now use Read", MORE)]),
    (allow("Read"), allow(), [("may no longer use Read", LESS)]),
    (
        allow("Read(/a)"),
        allow("Read(/b)"),
        [("may now use Read(/b)", MORE), ("may no longer use Read(/a)", LESS)],
    ),
    (to("bob", "operator"), to("operator"), [("may no longer write to bob", LESS)]),
    (to("bob"), to("operator", "bob"), [("may now write to the operator", MORE)]),
    (to("bob"), "", [("may now write to everybody", MORE)]),
    ("", to("bob", "cy"), [("may no longer write to everybody, only bob, cy", LESS)]),
    ("", to(), [("may no longer write to everybody", LESS)]),
    (
        "",
        '[root]\nmachine = "trixie"',
        [("its programs are those of /var/lib/machines/trixie", MORE)],
    ),
    ('[root]\nmachine = "trixie"', "", [("its programs are the host's", LESS)]),
    ("", '[egress]\nallow = ["a.org:1"]', [("may now reach a.org:1", MORE)]),
    ("", SERVER, [("the MCP server tickets runs in its cage: bin/tickets --project 'my hive'", MORE)]),
    (SERVER, "", [("the MCP server tickets no longer runs", LESS)]),
    (SERVER, f'{SERVER}allow = ["a"]', [("may now use a of tickets", MORE)]),
    (
        f'{SERVER}allow = ["a"]',
        f'{SERVER}allow = ["*"]',
        [("may now use all tools of tickets", MORE)],
    ),
    (
        SERVER,
        f'{SERVER}env = {{ A = "1" }}',
        [
            ("the MCP server tickets runs in its cage: A=1 bin/tickets --project 'my hive'", MORE),
        ],
    ),
    ("", "[limits]\nTasksMax = 99", [("TasksMax is 99, was without a limit", LESS)]),
    ("[limits]\nMemoryMax = '1G'", "[limits]\nMemoryMax = '1024M'", []),
    ("[limits]\nMemoryMax = '2G'", "[limits]\nMemoryMax = '1T'", [("MemoryMax is 1T, was 2G", MORE)]),
    ("[limits]\nCPUQuota = '200%'", "[limits]\nCPUQuota = '50%'", [("CPUQuota is 50%, was 200%", LESS)]),
    ("", "[limits]\ndisk = '5G'", [("may use 5G of the disk, was without a limit", LESS)]),
    ("[limits]\ndisk = '5G'", "", [("may use all of the disk, was 5G", MORE)]),
    ("[limits]\ndisk = '1G'", "[limits]\ndisk = '1024M'", []),
    ("", "runner = 'exec:mine'", [("bin/mine runs its turns, which the rules for tools do not bind", MORE)]),
    ("runner = 'exec:mine'", "", [("claude runs its turns", LESS)]),
    (
        "",
        "model = 'opus'\nlinger = 7",
        [("its model is opus", OTHER), ("stays awake without mail for 7 s", OTHER)],
    ),
    (
        "description = 'a'\nturn_timeout = 20",
        "",
        [
            ("is described as nothing", OTHER),
            ("a turn may be silent for 1800 s", OTHER),
        ],
    ),
    (None, allow("Read"), [("may now use Read", MORE), ("may now write to everybody", MORE)]),
    (None, to(), []),
]


@pytest.mark.parametrize(("old", "new", "wanted"), CASES)
def test_words(old: str | None, new: str, wanted: list[tuple[str, str]]) -> None:
    assert said(old, new) == wanted


def test_what_is_granted_weighs_more() -> None:
    more, less, other = (grants.Change("x", each) for each in (MORE, LESS, OTHER))
    assert grants.risk([less, more, other]) == MORE
    assert grants.risk([other, less]) == LESS
    assert grants.risk([other]) == grants.risk([]) == OTHER


def test_files() -> None:
    old = {
        "agent.toml": File("a"),
        "prompt.md": File("a"),
        "bin/x": File("a", executable=True),
        "bin/y": File("a"),
    }
    new = {"agent.toml": File("b"), "CLAUDE.md": File("a"), "bin/x": File("a"), "bin/z": File("a")}
    assert [(change.text, change.risk) for change in grants.files(old, new)] == [
        ("CLAUDE.md is new", OTHER),
        ("bin/x has changed", MORE),
        ("bin/y is gone", OTHER),
        ("bin/z is new", MORE),
        ("prompt.md is gone", OTHER),
    ]
    assert grants.files(new, new) == []


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=4)


def table(value: Any) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(each)}" for key, each in value.items()) + "}"


SERVERS = st.fixed_dictionaries(
    {"command": st.sampled_from(["x", "bin/y"])},
    optional={"args": some("a", "b c", ""), "allow": some("a", "b", "*")},
)
AGENTS = st.builds(
    lambda tools, to, egress, limits, mcp, runner: agent_toml.parse(
        f"tools.allow = {json.dumps(tools)}\nsend.to = {json.dumps(to)}\n"
        f"egress.allow = {json.dumps(egress)}\nlimits = {table(limits)}\nrunner = '{runner}'\n"
        + "".join(f"mcp.{name} = {table(server)}\n" for name, server in mcp.items())
    ),
    some("Bash", "Bash(*)", "Bash(git *)", "Read", "Read(/a)", "Edit(/a)"),
    some("bob", "cy", "operator", "all"),
    some("a.org:1", "b.org:2"),
    st.fixed_dictionaries(
        {}, optional={"TasksMax": st.integers(16, 20), "MemoryMax": st.sampled_from(["1G", "1024M"])}
    ),
    st.dictionaries(st.sampled_from(["tickets", "maps"]), SERVERS),
    st.sampled_from(["claude", "exec:x"]),
)


@given(AGENTS, AGENTS)
@settings(deadline=None)
def test_there_and_back(old: Agent, new: Agent) -> None:
    there, back = grants.changes(old, new), grants.changes(new, old)
    assert grants.changes(old, old) == []
    assert bool(there) == bool(back)
    assert all(change.text.isprintable() for change in there)
    if any(change.risk == LESS for change in there):
        assert any(change.risk == MORE for change in back)


GROWTHS: list[Callable[[Agent], Agent]] = [
    lambda it: agent_with(it, allow=(*it.allow, "Bash(new *)", "New")),
    lambda it: agent_with(it, send_to=(*it.send_to, "dora")),
    lambda it: agent_with(it, egress=(*it.egress, "new.org:1")),
    lambda it: agent_with(it, limits={}),
]


def agent_with(it: Agent, **changed: Any) -> Agent:
    return Agent(**(vars(it) | changed))


@given(AGENTS, st.sampled_from(GROWTHS))
@settings(deadline=None)
def test_who_gets_something_is_told_of_no_loss(old: Agent, grow: Callable[[Agent], Agent]) -> None:
    assert {change.risk for change in grants.changes(old, grow(old))} <= {MORE}
