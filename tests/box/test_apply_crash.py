"""SIGKILL of hive-apply at each of its steps: the next run leaves the old or the new deploy, whole."""

import json

import pytest

from tests.box.changes import change
from tests.box.crew import Crew

PYTHON = "/usr/lib/hyperhive/venv/bin/python"
PROGRAM = "/srv/hyperhive/tests/box/apply_crash.py"
# It speaks the contract of a turn as far as a trial goes, and is up in no time.
RUNNER = '#!/bin/sh\nwhile read -r line; do echo \'{"type":"control_response"}\'; done\n'
TOML = 'runner = "exec:run"\nlinger = 5\n'
FLOOR = {"deploy": 20, "draft": 10, "spawn": 20, "destroy": 10, "revive": 20, "purge": 8}


@pytest.fixture(scope="module")
def zed(crew: Crew) -> None:
    crew.spawn("zed")
    files = {"agent.toml": TOML, "bin/run": RUNNER, "prompt.md": "first"}
    assert change(crew, "zed", files)["state"] == "deployed"
    files["agent.toml"] += "[limits]\nTasksMax = 77\n"
    assert change(crew, "zed", files | {"CLAUDE.md": "second"})["state"] == "deployed"


@pytest.mark.usefixtures("zed")
@pytest.mark.parametrize("op", FLOOR)
def test_a_death_at_any_step_is_made_good_by_the_next_run(crew: Crew, op: str) -> None:
    crew.run("systemctl", "stop", "hive-apply.path")
    try:
        said = crew.run(PYTHON, "-I", PROGRAM, op).stdout
    finally:
        crew.run("systemctl", "start", "hive-apply.path")
    result = json.loads(said.splitlines()[-1])
    assert result["steps"] >= FLOOR[op]
    assert result["missed"] == [], "it did not come by there again"
    print(said)
