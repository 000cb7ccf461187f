import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import endpoints

BASE = 700_000_000
RULES = """
[[rule]]
agent = "ada"
text = "run it"
[[rule.steps]]
call = [{ name = "Bash", input = { command = "echo from the shell" } }]
[[rule.steps]]
say = "it said: {tool_result}"

[[rule]]
text = "say (.*)"
say = "{1}, {agent}"
"""
REHEARSAL = '[model]\nendpoint = "rehearsal"\n'


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[tuple[endpoints.Rehearsal, str]]:
    """The rehearsal model, a gate before it, and ada's side of the gate."""
    tmp_path.chmod(0o755)
    endpoints.agent(tmp_path, "ada", BASE)
    socket_path = tmp_path / "rehearsal.sock"
    with (
        endpoints.rehearsal(tmp_path / "model", RULES, f"unix:{socket_path}") as model,
        endpoints.gate(tmp_path, REHEARSAL, "--rehearsal", socket_path) as path,
        endpoints.relay(path, BASE + 1000) as url,
    ):
        yield model, url


def test_the_cli_talks_to_the_rehearsal_through_the_gate(
    tmp_path: Path, hive: tuple[endpoints.Rehearsal, str]
) -> None:
    model, url = hive
    events = endpoints.claude(tmp_path / "home", url, "run it", "--allowedTools", "Bash")
    assert events[-1]["result"] == "it said: from the shell"
    assert [r["agent"] for r in model.requests()] == ["ada", "ada"]
    assert "x-api-key" not in model.requests()[0]["headers"]
