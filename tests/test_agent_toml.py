"""agent.toml: what arrives, and what is refused with its line."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperhive.config import agent_toml
from hyperhive.config.agent_toml import Server
from hyperhive.problem import Problem

GOOD = """
description = "writes"
runner = "exec:mine"
model = "opus"
linger = 5
turn_timeout = 60

[tools]
allow = ["Read", "Bash(git *)"]

[send]
to = ["bob", "operator"]

[limits]
MemoryMax = "2G"
CPUQuota = "150%"
disk = "5G"
TasksMax = 200

[mcp.tickets]
command = "bin/tickets"
args = ["--all", ""]
env = { LEVEL = "3" }
allow = ["search"]

[mcp.maps]
command = "maps"

[egress]
allow = ["example.org:443", "10.0.0.1:1"]

[root]
machine = "trixie"
"""


def test_every_key_arrives() -> None:
    assert agent_toml.parse(GOOD) == agent_toml.Agent(
        description="writes",
        runner="exec:mine",
        model="opus",
        linger=5,
        turn_timeout=60,
        allow=("Read", "Bash(git *)"),
        send_to=("bob", "operator"),
        limits={"MemoryMax": "2G", "CPUQuota": "150%", "TasksMax": "200"},
        disk="5G",
        mcp={
            "tickets": Server("bin/tickets", ("--all", ""), {"LEVEL": "3"}, ("search",)),
            "maps": Server("maps", (), {}, ()),
        },
        egress=("example.org:443", "10.0.0.1:1"),
        root="trixie",
    )


def test_an_empty_file_is_an_agent_that_may_do_little() -> None:
    agent = agent_toml.parse("")
    assert (agent.runner, agent.program, agent.linger, agent.turn_timeout) == ("claude", None, 300, 1800)
    assert (agent.allow, agent.mcp, agent.limits, agent.egress, agent.send_to) == ((), {}, {}, (), ("all",))


MCP = "[mcp.xy]\ncommand = 'x'\n"
BAD = [
    ("linger = -1", 1, "linger"),
    ("\nlinger = true", 2, "linger"),
    ("linger = 1.5", 1, "linger"),
    ("turn_timeout = 9", 1, "turn_timeout"),
    ("colour = 'red'", 1, "colour"),
    ("runner = 'exec:/usr/bin/sh'", 1, "runner"),
    ("runner = 'exec:../x'", 1, "runner"),
    ("runner = 'exec:'", 1, "runner"),
    ("runner = 'bash'", 1, "runner"),
    ("[tools]\n\nallow = 'Read'", 3, "tools.allow"),
    ("[tools]\nallow = ['Read', \"Bash(x\\ny)\"]", 2, "tools.allow"),
    ("[tools]\nallow = ['Read,Bash']", 2, "tools.allow"),
    ("[tools]\nallow = ['Bash(git *) Bash(rm *)']", 2, "tools.allow"),
    ("[tools]\nallow = ['Bash(git *),Edit(x)']", 2, "tools.allow"),
    ("[tools]\nallow = ['mcp__hive__send']", 2, "tools.allow"),
    ('[tools]\nallow = ["Bash(a\\u202eb)"]', 2, "tools.allow"),
    ('[tools]\nallow = ["Re\\u0430d"]', 2, "tools.allow"),
    ('model = "s\\u043ennet"', 1, "model"),
    ("[tools]\nallow = ['--dangerously-skip-permissions']", 2, "tools.allow"),
    ("tools.allow = ['*']", 1, "tools.allow"),
    ("[send]\nto = 'bob'", 2, "send.to"),
    ("[send]\nto = ['bob', 'system']", 2, "send.to"),
    ("[send]\nto = ['../bob']", 2, "send.to"),
    ("model = 'x'\n[limits]\nTasksMax = 1", 3, "limits.TasksMax"),
    ("[limits]\nMemoryMax = '2G ExecStart=/bin/sh'", 2, "limits.MemoryMax"),
    ("[limits]\nMemoryMax = '1M'", 2, "limits.MemoryMax"),
    ("[limits]\nMemoryMax = '2T'", 2, "limits.MemoryMax"),
    ("[limits]\nCPUQuota = '50'", 2, "limits.CPUQuota"),
    ("[limits]\ndisk = '63M'", 2, "limits.disk"),
    ("[limits]\ndisk = 5", 2, "limits.disk"),
    ("[limits]\nBindPaths = '/'", 2, "limits.BindPaths"),
    ("x = 1\nlimits = { BindPaths = '/' }", 1, "x"),
    ("linger = 5\nlimits = { BindPaths = '/' }", 2, "limits.BindPaths"),
    ("linger = 5\n\"limits\" . 'BindPaths' = '/'", 2, "limits.BindPaths"),
    ("tools = 3", 1, "tools"),
    ("linger = 5\n[[tools]]\nallow = []", 2, "tools"),
    ('description = "a\\nb"', 1, "description"),
    ('description = "a\\u202eb"', 1, "description"),
    ("model = '--dangerously'\n\nextra = 1", 1, "model"),
    ("[bind]\nx = 1", 1, "bind"),
    ("mcp = 1", 1, "mcp"),
    ("linger = 5\n[mcp.hive]\ncommand = 'x'", 2, "mcp.hive"),
    ("[mcp.a__b]\ncommand = 'x'", 1, "mcp.a__b"),
    ("\n[mcp.xy]\nargs = []", 2, "mcp.xy"),
    ("[mcp.xy]\ncommand = '/usr/bin/x'", 2, "mcp.xy.command"),
    ("[mcp.xy]\ncommand = 'bin/../x'", 2, "mcp.xy.command"),
    ("[mcp.xy]\ncommand = ['x']", 2, "mcp.xy.command"),
    (f"{MCP}args = ['${{HOME}}']", 3, "mcp.xy.args"),
    (f"{MCP}args = [1]", 3, "mcp.xy.args"),
    (f"{MCP}env = {{ 'A=B' = 'x' }}", 3, "mcp.xy.env"),
    (f"{MCP}allow = ['a b']", 3, "mcp.xy.allow"),
    (f"{MCP}url = 'http://x'", 3, "mcp.xy.url"),
    (f"{MCP}[mcp.yy]\ncommand = 'y'\nurl = 'http://x'", 5, "mcp.yy.url"),
    (f"{MCP}[mcp.xy.env]\nA = 1", 3, "mcp.xy.env"),
    ("\n".join(f"[mcp.xy{n}]\ncommand = 'x'" for n in range(17)), 1, "mcp"),
    ("[root]\nmachine = '../../etc'", 2, "root.machine"),
    ("[root]\nmachine = '/'", 2, "root.machine"),
    ("[root]\nmachine = '.hidden'", 2, "root.machine"),
    ("[root]\nmachine = 'a:b'", 2, "root.machine"),
    ("[root]\npath = '/'", 2, "root.path"),
    ("[egress]\nallow = ['example.org']", 2, "egress.allow"),
    ("[egress]\nallow = ['example.org:65536']", 2, "egress.allow"),
    ("[egress]\nallow = ['*:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['a.*.org:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['*.0.0.1:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['127.1:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['2130706433:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['0x7f.1:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['127.0.0.0x1:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['127.0.0.01:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['example.org.:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['[::1]:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['exämple.org:443']", 2, "egress.allow"),
    ("[egress]\nallow = ['https://example.org:443']", 2, "egress.allow"),
]


@pytest.mark.parametrize(("source", "line", "key"), BAD)
def test_a_bad_key_is_named_with_its_line(source: str, line: int, key: str) -> None:
    with pytest.raises(Problem) as caught:
        agent_toml.parse(source, "ada/agent.toml")
    assert str(caught.value).startswith(f"ada/agent.toml:{line}: '{key}' "), str(caught.value)
    assert caught.value.code == "bad-config"


def test_broken_toml_names_file_and_line() -> None:
    with pytest.raises(Problem, match=r"^ada/agent.toml: .*line 2"):
        agent_toml.parse("linger = 3\nmodel =", "ada/agent.toml")


def test_what_is_meant_to_take_long() -> None:
    deep = "a" + ".x" * 990
    for source in (
        "x = " + "[" * 1900,
        "x = " + "9" * 1900,
        "x" + ".x" * 30_000 + "=1",
        "\n".join(f"k{number} = 1" for number in range(1001)),
        f"[{deep}]\n" + "\n".join(f"k{number} = 1" for number in range(999)),
        "x = " + "{a=" * 600 + "1" + "}" * 600,
    ):
        with pytest.raises(Problem, match=r"^agent.toml:"):
            agent_toml.parse(source)
    spaces = "\n".join(" " * 1900 for _ in range(30))
    with pytest.raises(Problem, match=r"^agent.toml:1: 'description'"):
        agent_toml.parse(f'description = """{spaces}"""')


def test_a_program_that_is_named_must_be_in_the_config() -> None:
    agent_toml.check_config({"bin/mine": True, "bin/tickets": True}, GOOD)
    with pytest.raises(
        Problem, match=r"^agent.toml:21: 'mcp.tickets.command' names bin/tickets, which is not in"
    ):
        agent_toml.check_config({"bin/mine": True}, GOOD)
    with pytest.raises(Problem, match=r"^agent.toml:3: 'runner' names bin/mine, which is not executable"):
        agent_toml.check_config({"bin/mine": False, "bin/tickets": True}, GOOD)


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.text(string.printable, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abhilmn", max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
PATHS = st.sampled_from(
    "description runner model linger tools tools.allow send.to limits limits.TasksMax mcp mcp.ab mcp.ab.env "
    "mcp.ab.args egress.allow root.machine colour limits.ExecStart".split()
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


@given(PATHS, VALUES)
@settings(deadline=None)
def test_whatever_it_says_it_is_an_agent_or_a_problem_with_a_line(path: str, value: object) -> None:
    try:
        agent = agent_toml.parse(f"\n{path} = {toml(value)}\n")
    except Problem as e:
        assert str(e).startswith("agent.toml:2: '"), str(e)
    else:
        assert not isinstance(value, bool)
        assert agent.limits.keys() <= {"MemoryMax", "CPUQuota", "TasksMax"}
        assert all("\n" not in text for text in (agent.description, *agent.allow, *agent.limits.values()))
