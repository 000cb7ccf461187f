"""How an agent is changed in the tests' box: the manager commits and asks, the operator approves."""

import json
from typing import Any

from tests.box.crew import Crew
from tests.hive import Peer

COMMIT = """
import json, os, subprocess, sys
name, uid, files = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
os.chdir(f"/var/lib/hyperhive/agents/{name}/config")
for path, text in files.items():
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o755 if path.startswith("bin/") else 0o644)
git = ["git", "-c", "user.name=manager", "-c", "user.email=manager@hive"]
subprocess.run([*git, "add", "--all"], check=True)
subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=A change"], check=True)
"""
WAIT = 60  # seconds for hive-apply


def propose(crew: Crew, name: str, files: dict[str, str]) -> None:
    """As the manager's cage: with its uid, in the agent's repository."""
    uid = base(crew, "manager")
    crew.run("env", "HOME=/", "/usr/bin/python3", "-I", "-c", COMMIT, name, str(uid), json.dumps(files))


def base(crew: Crew, name: str) -> int:
    found: int = crew.call("show", agent=name)["agent"]["uid_base"]
    return found


def ask(crew: Crew, op: str, **fields: Any) -> int:
    """The manager's request, as hive-mcp makes it. Gives its number."""
    peer = Peer(crew.root / "run/hyperhive/agents/manager/hive.sock", base(crew, "manager"))
    assert peer.ask("hello", role="tool", invocation="0" * 32)["ok"]
    answer = peer.ask(op, **fields)
    peer.close()
    assert answer["ok"], answer
    number: int = answer["request"]
    return number


def outcome(crew: Crew, number: int) -> dict[str, Any]:
    found: dict[str, Any] = crew.call("approval", request=number, wait_seconds=WAIT)["approval"]
    return found


def approved(crew: Crew, name: str, files: dict[str, str]) -> int:
    """A change on its way. Gives the request's number."""
    propose(crew, name, files)
    number = ask(crew, "request_apply_commit", agent=name, commit_ref="HEAD")
    crew.call("approve", request=number)
    return number


def change(crew: Crew, name: str, files: dict[str, str]) -> dict[str, Any]:
    return outcome(crew, approved(crew, name, files))


def do(crew: Crew, op: str, **fields: Any) -> dict[str, Any]:
    """What the operator may have done without asking."""
    return outcome(crew, crew.call(op, **fields)["request"])
