"""The model's credential: its endpoint gets it; it is nowhere in the cage, nor in what is kept or logged."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.box.conftest import ROOT
from tests.box.crew import Crew

CREDENTIAL = "sk-canary-5f0c2d9be41a"
PLANTED = "planted-77ab03"
PORT = 8123
KEY = "etc/hyperhive/credentials/model-key"


@pytest.fixture(scope="module")
def endpoint(crew: Crew) -> Iterator[str]:
    """The rehearsal model, set up as if it were somebody's endpoint. Gives the file of what it is asked."""
    log = "/root/endpoint.log"
    model = ("/usr/lib/hyperhive/bin/hive-rehearsal", f"--listen=127.0.0.1:{PORT}", f"--log={log}")
    crew.rules("text = 'x'\nsay = 'x'")
    crew.run("systemd-run", "--quiet", "--unit=endpoint", *model, "--rules=/etc/hyperhive/rehearsal.toml")
    settings = crew.root / "etc/hyperhive/hive.toml"
    before = settings.read_text()
    settings.write_text(before.replace('"rehearsal"', f'"http://127.0.0.1:{PORT}"'))
    # by no command: the box's journal has those
    for path in (KEY, "root/needle"):
        (crew.root / path).write_text(f"{CREDENTIAL}\n")
    crew.run("systemctl", "restart", "hive-gate.service")
    yield log
    settings.write_text(before)
    (crew.root / KEY).unlink()
    crew.run("systemctl", "restart", "hive-gate.service")
    crew.run("systemctl", "stop", "endpoint.service")


@pytest.fixture(scope="module")
def hunted(crew: Crew, endpoint: str) -> dict[str, Any]:
    state = crew.root / "var/lib/hyperhive/agents/ada/state"
    shutil.copy(ROOT / "tests/doubles/hunt.py", state)
    assert crew.bash("ada", "echo a turn before") == "a turn before"
    command = f"python3 /state/hunt.py /state/hunted.json {CREDENTIAL[::-1]} {PLANTED[::-1]} && echo hunted"
    assert crew.bash("ada", command) == "hunted"
    found: dict[str, Any] = json.loads((state / "hunted.json").read_text())
    return found


def test_the_endpoint_gets_the_credential(crew: Crew, hunted: dict[str, Any], endpoint: str) -> None:
    asked = [json.loads(line) for line in (crew.root / endpoint.lstrip("/")).read_text().splitlines()]
    assert len(asked) >= 6  # of two turns
    assert {request["headers"].get("x-api-key") for request in asked} == {CREDENTIAL}


def test_the_hunt_finds_what_is_there(hunted: dict[str, Any]) -> None:
    places = hunted["found"][PLANTED[::-1]]
    assert {"/tmp/planted"} < {*places}
    assert {place.split(" of ")[0] for place in places} > {"environ", "memory"}
    # the harness, claude, hive-mcp, shells
    assert hunted["looked"]["environ"] >= 4
    assert hunted["looked"]["memory"] > 100
    assert hunted["looked"]["file"] > 100


def test_the_credential_is_nowhere_in_the_cage(hunted: dict[str, Any]) -> None:
    assert hunted["found"][CREDENTIAL[::-1]] == []


def test_it_is_not_in_what_is_kept_or_logged(crew: Crew, hunted: dict[str, Any]) -> None:
    crew.run("journalctl", "--sync")
    kept = ("/var/lib/hyperhive", "/var/log", "/run/hyperhive", "/run/log", "/etc/systemd", "/tmp")
    found = crew.run("grep", "-rlaF", "--file=/root/needle", *kept, check=False)
    assert (found.returncode, found.stdout) == (1, "")
    words = [str(entry.get("MESSAGE")) for entry in crew.journal("_COMM=hive-gate")]
    assert any("POST /v1/messages" in text for text in words)
    assert not any(CREDENTIAL in str(entry) for entry in crew.journal())
