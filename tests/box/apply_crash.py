"""Inside the box: hive-apply dies at each of its steps, and the next run finishes or undoes what it began.

A step is a line of hyperhive/apply*.py that leaves a trace, found by a run that is let through.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hyperhive.apply import apply, queue
from hyperhive.client import Client, Connection

OPERATOR = "/run/hyperhive/operator.sock"
PLACES = apply.Places(
    Path("/var/lib/hyperhive"),
    Path("/etc"),
    Path("/usr/share/hyperhive"),
    Path("/run/hyperhive/system.sock"),
)
QUEUE = PLACES.state / "apply"
# What such calls are called: files, the broker, systemd, programs.
TRACES = frozenset(
    "mkdir rename replace unlink rmdir chown fchown chmod fchmod setxattr fsync write sendall fork_exec"
    " job enable disable reload forget_failures exchange".split()
)
# It speaks the contract of a turn as far as a trial goes, and is up in no time.
RUNNER = '#!/bin/sh\nwhile read -r line; do echo \'{"type":"control_response"}\'; done\n'
BAD_FILES = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
TOML = 'linger = 5\nrunner = "exec:run"\n'
client = Client(OPERATOR, patience=10)


class Steps:
    """Those that a run comes by; it dies at the one that is wanted."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.seen: dict[str, None] = {}

    def __call__(self, frame: FrameType | None, event: str, arg: Any) -> None:
        name = (
            arg.__name__ if event == "c_call" else frame.f_code.co_name if event == "call" and frame else ""
        )
        if name in TRACES and (step := line_of(frame)):
            self.seen[step] = None
            if step == self.wanted:
                os.kill(os.getpid(), signal.SIGKILL)


def line_of(frame: FrameType | None) -> str:
    """With the lines that called it: what is done twice is two steps."""
    lines = []
    while frame:
        path = Path(frame.f_code.co_filename)
        if path.parts[-3:-1] == ("hyperhive", "apply"):
            lines.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(lines)


def run(wanted: str) -> list[str]:
    """hive-apply, once, in a process of its own. Gives the steps it came by, nothing when it died."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        steps = Steps(wanted)
        sys.setprofile(steps)
        for path in queue.waiting(QUEUE):
            queue.carry_out(PLACES, path)
        sys.setprofile(None)
        os.write(theirs, json.dumps(list(steps.seen)).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as file:
        said = file.read()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"hive-apply ended with {code}"
    return json.loads(said) if code == 0 else []


def ask(op: str, **fields: Any) -> int:
    number: int = client.call(op, **fields)["request"]
    return number


def ask_for_other(name: str) -> int:
    """Of the changes that it had, one that does not run now."""
    runs = client.call("config", agent=name)["commit"]
    rows = client.call("approvals", agent=name, state="deployed", limit=1000)["approvals"]
    other = next(row["deploy"] for row in rows if row["kind"] == "change" and row["commit"] != runs)
    return ask("rollback", agent=name, deploy=other)


def ask_for_agent(name: str) -> int:
    """In two steps, as the manager does it."""
    manager = PLACES.state_of("manager").lstat().st_uid
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(manager, manager, manager)
        os.setresuid(manager, manager, manager)
        commit(PLACES.config(name))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    return approved("request_spawn_commit", name)


def approved(op: str, name: str) -> int:
    """What the manager has committed, asked for over its socket."""
    os.chdir("/run/hyperhive/agents/manager")
    os.seteuid(PLACES.state_of("manager").lstat().st_uid)
    connection = Connection("hive.sock")
    os.seteuid(0)
    connection.ask({"op": "hello", "role": "tool", "invocation": "0" * 32}, 10)
    number: int = connection.ask({"op": op, "agent": name, "commit_ref": "HEAD"}, 10)["request"]
    connection.close()
    client.call("approve", request=number)
    return number


def commit(repository: Path) -> None:
    (repository / "bin").mkdir()
    (repository / "bin/run").write_text(RUNNER)
    (repository / "bin/run").chmod(0o755)
    (repository / "agent.toml").write_text(TOML)
    for words in (["add", "--all"], ["commit", "--quiet", "--message=It"]):
        git = ["git", "-c", "user.name=manager", "-c", "user.email=manager@hive", *words]
        subprocess.run(git, cwd=repository, env={"PATH": "/usr/bin:/bin", "HOME": "/"}, check=True)


def outcome(number: int) -> str:
    state: str = client.call("approval", request=number, wait_seconds=10)["approval"]["state"]
    return state


# what must hold


def folder(path: Path) -> dict[str, str]:
    return {str(f.relative_to(path)): f.read_text() for f in path.rglob("*") if f.is_file()}


def deployed(name: str) -> dict[str, str]:
    found = folder(PLACES.deployed(name)) if PLACES.deployed(name).exists() else {}
    found.pop("deploy.json", None)
    return found


def show(unit: str) -> dict[str, str]:
    fields = "ActiveState,UnitFileState,NeedDaemonReload,TasksMax"
    said = subprocess.run(
        ["systemctl", "show", f"--property={fields}", unit], capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in said.stdout.splitlines())


def no_leftovers(name: str) -> None:
    places = (
        PLACES.deployed("x").parent,
        PLACES.agents,
        PLACES.agents / name,
        PLACES.state / "homes",
        QUEUE,
    )
    left = [path for place in places if place.exists() for path in place.iterdir() if path.name[0] == "."]
    assert left == [], left


def whole(name: str) -> None:
    """There, with units that say what the files say."""
    no_leftovers(name)
    tasks = "TasksMax=77" in PLACES.drop_in(name).read_text()
    assert tasks == ("TasksMax = 77" in deployed(name)["agent.toml"])
    socket, service = show(f"hive-agent@{name}.socket"), show(f"hive-agent@{name}.service")
    assert (socket["ActiveState"], socket["UnitFileState"]) == ("active", "enabled"), socket
    assert service["NeedDaemonReload"] == socket["NeedDaemonReload"] == "no"
    assert (service["TasksMax"] == "77") == tasks, service
    assert service["ActiveState"] != "failed"
    assert PLACES.nspawn(name).exists()


def gone(name: str) -> None:
    no_leftovers(name)
    assert deployed(name) == {}
    socket, service = show(f"hive-agent@{name}.socket"), show(f"hive-agent@{name}.service")
    assert (socket["ActiveState"], service["ActiveState"]) == ("inactive", "inactive")
    assert socket["UnitFileState"] == "disabled"
    assert not PLACES.nspawn(name).exists() and not PLACES.drop_in(name).exists()


def drafted(name: str) -> None:
    no_leftovers(name)
    assert deployed(name) == {}
    subprocess.run(
        ["git", "-c", "safe.directory=*", "fsck", "--strict"],
        cwd=PLACES.config(name),
        check=True,
        capture_output=True,
    )
    owner = PLACES.state_of("manager").lstat().st_uid
    assert {path.lstat().st_uid for path in PLACES.config(name).rglob("*")} == {owner}


def purged(name: str) -> None:
    gone(name)
    assert not (PLACES.agents / name).exists() and not PLACES.home(name).exists()


# the crashes


@dataclass(frozen=True)
class Act:
    op: str
    agent: str
    ask: Callable[[], int]
    holds: Callable[[str], None]
    ends: str = "deployed"


# What the manager has committed for it last does not come up.
BAD = [Act("failure", "zed", lambda: approved("request_apply_commit", "zed"), whole, "failed")]
ZED = [Act("deploy", "zed", lambda: ask_for_other("zed"), whole)]
# One life after the other, and in each a death of every act. To revive is to deploy, where nothing was.
YAN = [
    Act("draft", "yan", lambda: ask("draft", agent="yan"), drafted),
    Act("spawn", "yan", lambda: ask_for_agent("yan"), whole),
    Act("destroy", "yan", lambda: ask("destroy", agent="yan"), gone),
    Act("purge", "yan", lambda: ask("purge", agent="yan", confirm="yan"), purged),
]


def go_through(act: Act, step: str) -> list[str]:
    """One death, or none; whoever looks in between finds a deploy that is whole, or none."""
    before = deployed(act.agent)
    number = act.ask()
    steps = run(step)
    between = deployed(act.agent)
    run("")
    state = outcome(number)
    assert state == act.ends, f"{act.op} at {step}: {state}"
    known = (before, deployed(act.agent)) if act.ends == "deployed" else (before, BAD_FILES)
    assert between in known, f"half a deploy at {step}: {between}"
    assert act.ends == "deployed" or deployed(act.agent) == before
    try:
        act.holds(act.agent)
    except AssertionError as e:
        e.add_note(f"{act.op} at {step}")
        raise
    assert not (step and steps), f"{act.op}: it did not come by {step} again"
    return steps


def main() -> None:
    acts = {"zed": ZED, "bad": BAD, "yan": YAN}[sys.argv[1]]
    steps = {act.op: go_through(act, "") for act in acts}
    if acts == BAD:  # until then it is a deploy like any other
        steps = {"failure": [step for step in steps["failure"] if "undo:" in step or "wanted:" in step]}
    for deaths in itertools.zip_longest(*steps.values(), fillvalue=""):
        for act, step in zip(acts, deaths, strict=True):
            go_through(act, step)
    print(json.dumps({op: len(found) for op, found in steps.items()}))


main()
