from pathlib import Path

import pytest

from hyperhive import settings
from hyperhive.problem import Problem

GOOD = """
description = "writes"
model = "opus"
linger = 5
turn_timeout = 60

[tools]
allow = ["Read", "Bash(git *)", "mcp__x__y"]

[limits]
MemoryMax = "2G"
CPUQuota = "150%"
TasksMax = 200
"""


def test_every_key_arrives() -> None:
    agent = settings.agent_from(GOOD)
    limits = {"MemoryMax": "2G", "CPUQuota": "150%", "TasksMax": "200"}
    allow = ("Read", "Bash(git *)", "mcp__x__y")
    assert agent == settings.Agent("writes", "opus", 5, 60, allow, limits)


@pytest.mark.parametrize(
    ("source", "line", "key"),
    [
        ("linger = -1", 1, "linger"),
        ("\nlinger = true", 2, "linger"),
        ("linger = 1.5", 1, "linger"),
        ("colour = 'red'", 1, "colour"),
        ("[tools]\n\nallow = 'Read'", 3, "tools.allow"),
        ("[tools]\nallow = ['Read', \"Bash(x\\ny)\"]", 2, "tools.allow"),
        ("[tools]\nallow = ['Read,Bash']", 2, "tools.allow"),
        ("model = 'x'\n[limits]\nTasksMax = 1", 3, "limits.TasksMax"),
        ("[limits]\nMemoryMax = '2G ExecStart=/bin/sh'", 2, "limits.MemoryMax"),
        ("[limits]\nCPUQuota = '50'", 2, "limits.CPUQuota"),
        ("[limits]\nBindPaths = '/'", 2, "limits.BindPaths"),
        ("tools = 3", 1, "tools"),
        ('description = "a\\nb"', 1, "description"),
        ("model = '--dangerously'\n\nextra = 1", 1, "model"),
        ("[bind]\nx = 1", 1, "bind"),
    ],
)
def test_a_bad_key_is_named_with_its_line(source: str, line: int, key: str) -> None:
    with pytest.raises(Problem) as caught:
        settings.agent_from(source, "ada/agent.toml")
    assert str(caught.value).startswith(f"ada/agent.toml:{line}: '{key}' ")
    assert caught.value.code == "bad-config"


def test_broken_toml_names_file_and_line() -> None:
    with pytest.raises(Problem, match=r"^ada/agent.toml: .*line 2"):
        settings.agent_from("linger = 3\nmodel =", "ada/agent.toml")


def test_hive_toml(tmp_path: Path) -> None:
    path = tmp_path / "hive.toml"
    assert settings.hive(path) == settings.Hive("rehearsal", "sonnet")
    path.write_text('[model]\nendpoint = "https://api.example:443"\nname = "opus"\n')
    assert settings.hive(path) == settings.Hive("https://api.example:443", "opus")
    path.write_text('[model]\nendpoint = "file:///etc/passwd"\n')
    with pytest.raises(Problem, match=rf"^{path}:2: 'model.endpoint' must be"):
        settings.hive(path)
    path.write_bytes(b"\xff")
    with pytest.raises(Problem, match="not UTF-8 at byte 0"):
        settings.hive(path)
