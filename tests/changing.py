"""What a test of changes needs: a manager that proposes, and hive-apply played by hand."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

from tests.hive import BASE, Hive, Peer
from tests.proposed import TOML, Proposed


def queued(here: Hive, number: int) -> dict[str, Any]:
    """The file for hive-apply, as soon as it is there."""
    path = here.state / f"apply/{number}.json"
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.01)  # the broker tells nobody; fails at `end`
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def as_deployed(here: Hive, name: str) -> dict[str, Any]:
    base = here.bases.setdefault(name, BASE + len(here.bases) * 65536)
    role = "manager" if name == "manager" else "agent"
    return {"name": name, "role": role, "description": "", "uid_base": base}


def carry_out(here: Hive, number: int, **more: Any) -> None:
    """As hive-apply does; with a `message` it fails."""
    system, file = here.system(), queued(here, number)
    about = {"agent": as_deployed(here, file["agent"])} if "files" in file else {}
    assert system.ask("applying", request=number, **about)["ok"]
    if "message" in more:
        assert system.ask("apply_failed", request=number, **more)["ok"]
    else:
        assert system.ask("applied", request=number, **about, **more)["ok"]
    (here.state / f"apply/{number}.json").unlink()


def draft(here: Hive, name: str, files: dict[str, str] | None = None) -> Proposed:
    """The manager's repository for an agent, with a first commit."""
    it = Proposed(here.state / "agents" / name / "config")
    it.commit(files or {"agent.toml": TOML})
    return it


def events(peer: Peer) -> list[dict[str, Any]]:
    """What system has told it."""
    found = [json.loads(m["body"]) for m in peer.ask("recv", max=100)["messages"] if m["from"] == "system"]
    assert peer.ask("ack")["ok"]
    return found


def spawned(here: Hive, name: str, toml: str = TOML) -> int:
    """An agent that the operator made, through all its states. Gives the request's number."""
    asked = here.operator().write("spawn", agent=name, toml=toml)
    operator = here.peers[-1]
    number = newest(here)
    carry_out(here, number)
    assert operator.answer(asked)["ok"]
    return number


def newest(here: Hive) -> int:
    """The number of the request that waits for hive-apply."""
    end = time.monotonic() + 20
    while not (found := sorted((here.state / "apply").glob("*.json"))):
        assert time.monotonic() < end, "nothing is queued"
        time.sleep(0.01)  # the broker tells nobody; fails at `end`
    return max(int(path.stem) for path in found)


def asked(manager: Peer, name: str = "bob", **fields: Any) -> int:
    answer = manager.ask("request_apply_commit", agent=name, commit_ref="main", **fields)
    assert answer["ok"], answer
    return int(answer["request"])


def trail(operator: Peer, name: str) -> list[tuple[str, str]]:
    """Who did what, oldest first."""
    return [(row["event"], row["who"]) for row in operator.ask("history", agent=name)["history"][::-1]]


def tags(here: Hive, name: str) -> list[str]:
    command = ["git", "-C", f"{here.state}/registry/{name}.git", "for-each-ref", "--format=%(refname:short)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)  # the broker tells nobody; fails at `end`
