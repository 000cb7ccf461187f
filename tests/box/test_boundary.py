"""The boundary, from inside: tests/doubles/boundary tries every door of a cage as its root."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.box.changes import base, do
from tests.box.conftest import ROOT
from tests.box.crew import Crew
from tests.doubles.boundary import files, kernel, sockets  # noqa: F401
from tests.doubles.boundary.tries import ATTEMPTS

CANARY = "canary-9f86d081"
# It only has to be there; the test ends it.
HOLD = "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('\\0{}'); s.listen(); time.sleep(600)"


# of which the tests below try what needs more than one cage
TOGETHER = {
    "an open connection passed to another agent",
    "an open folder passed to another agent",
    "links, FIFOs and deep folders left for *destroy* and *purge*",
}


def test_the_readme_lists_what_is_tried() -> None:
    section = (ROOT / "README.md").read_text().split("## What a cage keeps in\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| (.*?) \| \S", section, re.M)
    assert {*listed} == {"tried from inside", *ATTEMPTS} | TOGETHER


def about(crew: Crew) -> dict[str, Any]:
    found = crew.run("find", "/run", "-type", "s", check=False).stdout.split()  # folders come and go there
    own = re.compile(r"/run/hyperhive/(gate/gate|agents/ada/hive)\.sock")
    addresses = crew.run("hostname", "--all-ip-addresses").stdout.split()
    pids = crew.run("pgrep", "hive-broker|dbus-daemon|systemd").stdout.split()
    listening = crew.run("ss", "--listening", "--tcp", "--no-header", "--numeric").stdout
    return {
        "ports": [int(line.split()[3].rpartition(":")[2]) for line in listening.splitlines()],
        "canary": CANARY,
        "abstract": CANARY,
        "sockets": [path for path in found if not own.fullmatch(path)],
        "addresses": addresses,
        "disks": crew.run("ls", "/sys/block").stdout.split(),
        "pids": [max(map(int, pids))],
        "uids": [agent["uid_base"] for agent in crew.call("agents")["agents"] if agent["name"] != "ada"],
    }


@pytest.fixture(scope="module")
def tried(crew: Crew) -> Iterator[dict[str, dict[str, str]]]:
    crew.run("sh", "-c", "umask 077; echo sk-secret-of-the-host > /etc/hyperhive/credentials/model-key")
    hold = ("/usr/bin/python3", "-c", HOLD.format(CANARY))
    crew.run("systemd-run", "--quiet", "--collect", "--unit=canary", *hold)
    state = crew.root / "var/lib/hyperhive/agents/ada/state"
    shutil.copytree(ROOT / "tests/doubles/boundary", state / "boundary", dirs_exist_ok=True)
    (state / "about.json").write_text(json.dumps(about(crew)))
    said = crew.bash("ada", "cd /state && python3 -m boundary about.json tried.json && echo tried")
    assert said == "tried"
    yield json.loads((state / "tried.json").read_text())
    crew.run("systemctl", "stop", "canary.service")


@pytest.mark.parametrize("title", ATTEMPTS)
def test_a_door_is_closed(tried: dict[str, dict[str, str]], title: str) -> None:
    assert tried[title], "nothing was tried"
    assert {what: said for what, said in tried[title].items() if said.startswith("OPEN")} == {}


def test_an_open_door_would_be_seen(tried: dict[str, dict[str, str]]) -> None:
    assert {said[:4] for said in tried["control"].values()} == {"OPEN"}


def test_systemd_heard_nothing_of_it(crew: Crew, tried: dict[str, dict[str, str]]) -> None:
    assert tried["systemd's notify socket"]["nspawn's"] == "sent"
    assert CANARY not in crew.property("hive-agent@ada.service", "StatusText")
    pid = crew.property("hive-agent@ada.service", "MainPID")
    assert crew.run("cat", f"/proc/{pid}/comm").stdout == "systemd-nspawn\n"


def test_nothing_was_left_for_the_host(crew: Crew, tried: dict[str, dict[str, str]]) -> None:
    kinds = ("-perm", "/6000", "-not", "-type", "d", "-o", "-type", "b", "-o", "-type", "c")
    assert crew.run("find", "/var/lib/hyperhive", *kinds).stdout == ""
    assert crew.run("getcap", "-r", "/var/lib/hyperhive").stdout == ""


GIVE = """
import array, json, os, socket
s = socket.socket(socket.AF_UNIX)
s.bind("/shared/meet")
s.listen()
if os.fork() == 0:
    os.setsid()
    mine = socket.socket(socket.AF_UNIX)
    mine.connect("/run/hive/hive.sock")
    with s.accept()[0] as other:
        folders = [os.open(path, os.O_PATH) for path in ("/", "/proc/1")]
        socket.send_fds(other, [b"x"], [mine.fileno(), *folders])
        other.recv(1)
    os._exit(0)
print("offered")
"""
TAKE = """
import os, socket
s = socket.socket(socket.AF_UNIX)
s.connect("/shared/meet")
_, (theirs, root, process), *_ = socket.recv_fds(s, 1, 3)
for path in ("state/notes.md", "state", "home/agent/x", "run/hive-harness/mcp.json", "tmp/../state/x"):
    try:
        os.open(path, os.O_RDWR if "." in path else os.O_RDONLY, dir_fd=root)
        print("OPEN", path)
    except OSError:
        pass
for path in ("root", "mem", "environ", "fd"):
    try:
        os.open(path, os.O_RDONLY, dir_fd=process)
        print("OPEN", path)
    except OSError:
        pass
s.close()
theirs = socket.socket(fileno=theirs)
theirs.settimeout(10)
print("after the giver is gone:", theirs.recv(10))
"""


def test_what_one_agent_passes_to_another(crew: Crew) -> None:
    """A connection lasts as long as the process that made it; a folder gives no right to what is in it."""
    lib = crew.root / "var/lib/hyperhive/agents"
    (lib / "ada/state/notes.md").write_text("ada's")
    for name, script in (("ada", GIVE), ("bob", TAKE)):
        (lib / name / "state/pass.py").write_text(script)
    give = "rm -f /shared/meet; python3 /state/pass.py >/state/out 2>&1; cat /state/out"
    assert crew.bash("ada", give) == "offered"
    assert crew.bash("bob", "python3 /state/pass.py; rm /shared/meet") == "after the giver is gone: b''"


PLANT = """
import os, socket
os.chdir("/state")
for number, to in enumerate(("/", "../../bob", "/var/lib/hyperhive/agents/bob/state", "/etc/hyperhive")):
    os.symlink(to, f"link{number}")
for path in ("notes.md", "/home/agent/link", "/shared/from-mallory"):
    os.symlink("/root/precious", path)
for path in ("/usr/bin/env", "/config/agent.toml", "/shared/precious"):
    for to in ("/state/hard", "/home/agent/hard", "/shared/hard"):
        try:
            os.link(path, to)
        except OSError:
            continue
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("sock")
os.makedirs("/".join("deep" for _ in range(500)))
print("planted")
"""


def test_links_lead_neither_destroy_nor_purge_astray(crew: Crew) -> None:
    """And the uids of a destroyed agent are nobody else's before it is purged."""
    lib, precious = crew.root / "var/lib/hyperhive", crew.root / "root/precious"
    for path in (precious, lib / "agents/bob/state/precious", lib / "shared/precious"):
        path.write_text("kept")
    crew.spawn("mallory")
    (lib / "agents/mallory/state/plant.py").write_text(PLANT)
    assert crew.bash("mallory", "python3 /state/plant.py") == "planted"
    uid = base(crew, "mallory")
    assert do(crew, "destroy", agent="mallory")["state"] == "deployed"
    assert crew.spawn("nell") != uid
    assert do(crew, "revive", agent="mallory")["state"] == "deployed"
    assert do(crew, "destroy", agent="mallory")["state"] == "deployed"
    assert do(crew, "purge", agent="mallory", confirm="mallory")["state"] == "deployed"
    for path in (precious, lib / "agents/bob/state/precious", lib / "shared/precious"):
        assert (path.read_text(), path.stat().st_nlink) == ("kept", 1)
    assert (crew.root / "usr/bin/env").stat().st_nlink == 1
    owned = ("(", "-uid", f"+{uid - 1}", "-uid", f"-{uid + 65536}", ")")
    assert crew.run("find", "/var/lib/hyperhive", "/tmp", *owned).stdout == ""
