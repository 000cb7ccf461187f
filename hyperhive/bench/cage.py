"""The figure of `make bench` on the cage: what its walls cost at each start, beside nspawn's own."""

import re
import subprocess
import time
from pathlib import Path

from hyperhive.bench.bench import LIB, RUNS, Figure, figure

UNIT = Path("/usr/lib/systemd/system/hive-agent@.service")
NSPAWN = Path("/etc/systemd/nspawn")
WALLS = """
    CapabilityBoundingSet Environment IPAddress.* LockPersonality NoNewPrivileges Private.* Pro.*
    ReadWritePaths Restrict.* SystemCall.* UMask
""".split()
COMMON = "--quiet --keep-unit --register=no --as-pid2 --private-network --console=pipe --link-journal=no"
PYTHON = ["/usr/bin/python3", "-I", "-c"]
CLOCK = "import time; print(time.monotonic_ns())"
# and what the harness covers then; what it imports for that it would import anyway
VEIL = f"""
import sys, time
began = time.monotonic_ns()
sys.path.insert(0, "{LIB}/..")
from hyperhive.cage import veil
ready = time.monotonic_ns()
veil.draw()
print(began + time.monotonic_ns() - ready)
"""


def started(properties: list[str], options: list[str], program: str) -> float:
    """Milliseconds until a program runs in a cage that systemd was asked for."""
    unit = ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--property=Delegate=yes"]
    unit += [f"--property={each}" for each in properties]
    command = [*unit, "systemd-nspawn", *COMMON.split(), *options, *PYTHON, program]
    began = time.monotonic_ns()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return (int(done.stdout) - began) / 1e6


def settings(name: str) -> tuple[list[str], list[str]]:
    """Of the shipped unit and of an agent's cage, as nspawn is to be started with them."""
    text = UNIT.read_text().replace("\\\n", " ")
    walls = rf"^((?:{'|'.join(WALLS)})=.*)$"
    options = re.findall(
        r" (--(?:directory|read-only|private-users-ownership|no-new|drop|resolv|time)\S*)", text
    )
    return re.findall(walls, text, re.M), [f"--machine={name}", "--settings=override", *options]


def run(_: Path) -> list[Figure]:
    cage = (NSPAWN / "h-ada.nspawn").read_text()  # the demo's
    users = re.search(r"^PrivateUsers=(\S+)$", cage, re.M)
    assert users
    copy = NSPAWN / "bench.nspawn"
    copy.write_text(re.sub(r"^.*/run/hive-agent/.*\n", "", cage, flags=re.M))
    subprocess.run(["systemctl", "start", "run-hyperhive-cages.mount"], check=True)
    bare = ["--directory=/", "--volatile=yes", "--settings=no", "--private-users-ownership=off"]
    bare.append(f"--private-users={users[1]}")
    ours = settings(copy.stem)
    more = []
    for _run in range(RUNS):  # one beside the other, for a machine is never quiet
        before = started([], bare, CLOCK)
        more.append(started(*ours, VEIL) - before)
    copy.unlink()
    return [figure("a cage's start, more than a bare one's of nspawn", "ms", more, 30)]
