"""SIGKILL of hive-apply at each of its steps: the next run leaves the old or the new deploy, whole."""

import json

import pytest

from tests.box.changes import change, propose
from tests.box.crew import Crew

pytestmark = pytest.mark.long

PYTHON = "/usr/lib/hyperhive/venv/bin/python"
PROGRAM = "/srv/hyperhive/tests/box/apply_crash.py"
# It speaks the contract of a turn as far as a trial goes, and is up in no time.
RUNNER = '#!/bin/sh\nwhile read -r line; do echo \'{"type":"control_response"}\'; done\n'
TOML = 'runner = "exec:run"\nlinger = 5\n'
FLOOR = {
    "failure": 15,
    "deploy": 45,
    "draft": 20,
    "spawn": 45,
    "destroy": 14,
    "purge": 9,
}  # steps when this was written


def die(crew: Crew, *words: str) -> None:
    crew.run("systemctl", "stop", "hive-apply.path")
    try:
        said = crew.run(PYTHON, "-I", PROGRAM, *words).stdout
    finally:
        crew.run("systemctl", "start", "hive-apply.path")
    steps = json.loads(said.splitlines()[-1])
    print(steps)
    assert all(count >= FLOOR[op] for op, count in steps.items())


def test_a_change(crew: Crew) -> None:
    crew.spawn("zed")
    files = {"agent.toml": TOML, "bin/run": RUNNER, "prompt.md": "first"}
    assert change(crew, "zed", files)["state"] == "deployed"
    files["agent.toml"] += "[limits]\nTasksMax = 77\n"
    assert change(crew, "zed", files | {"CLAUDE.md": "second"})["state"] == "deployed"
    die(crew, "zed")
    files |= {"bin/run": "#!/bin/sh\nexit 3\n", "prompt.md": "bad"}
    propose(crew, "zed", files)
    die(crew, "bad", json.dumps(files | {"CLAUDE.md": "second"}))


def test_a_life(crew: Crew) -> None:
    die(crew, "yan")
