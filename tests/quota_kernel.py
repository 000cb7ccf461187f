"""The first program of a kernel that has quotas: the agents ada, held to 64 MB, and bob fill its disk."""

import ctypes
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hyperhive.apply import apply, quota
from hyperhive.apply import deploy as apply_deploy
from hyperhive.ctl import disk
from tests.hive import ROOT

SIZE = 64 * 2**20
DISK = Path("/mnt/disk")
PLACES = apply.Places(DISK / "state", DISK / "etc", DISK / "share", DISK / "system.sock")
HELD = '[limits]\ndisk = "64M"\n'
FINIT_MODULE = 313  # x86_64
CLONE_NEWUSER = 0x10000000
POWER_OFF = 0x4321FEDC

libc = ctypes.CDLL(None, use_errno=True)


def prepare() -> None:
    for kind, where in (("proc", "/proc"), ("tmpfs", "/mnt")):
        subprocess.run(["mount", "-t", kind, kind, where], check=True)
    DISK.mkdir()
    os.mknod("/mnt/device", 0o60600, os.makedev(98, 16))
    for name in ("quota/quota_tree", "quota/quota_v2", "overlayfs/overlay"):
        [module] = Path("/usr/lib/uml/modules").glob(f"*/kernel/fs/{name}.ko")
        with module.open("rb") as file:
            if libc.syscall(FINIT_MODULE, file.fileno(), b"", 0) < 0:
                raise OSError(ctypes.get_errno(), name)
    mount("usrquota")


def folders() -> None:
    for folder in ("state/agents", "state/homes", "etc/ssl/certs", "etc/hyperhive/agents", "share/cage"):
        (DISK / folder).mkdir(parents=True)
    (DISK / "share/cage/etc").symlink_to(ROOT / "units/cage/etc")


def mount(options: str) -> None:
    subprocess.run(["mount", "-t", "ext4", "-o", options, "/mnt/device", DISK], check=True)


def deploy(name: str, number: int, toml: str) -> str:
    """All of it but what systemd does. Gives what the operator is told."""
    files = {"agent.toml": toml}
    request = apply.Request(number, "deploy", name, files, frozenset(), "", "c0ffee", 1)
    apply_deploy.begin(PLACES, request)
    apply_deploy.put(PLACES, request)
    apply_deploy.describe(PLACES, name)
    return apply_deploy.limit_disk(PLACES, name)


def as_agent(name: str, does: Callable[[Path], Iterator[int]]) -> list[Any]:
    """How far it came, and what stopped it, as a cage's root: the agent's uid in a namespace of its own."""
    read, write = os.pipe()
    if not os.fork():
        base, count, said = PLACES.state_of(name).stat().st_uid, 0, ""
        os.setresgid(base, base, base)
        os.setresuid(base, base, base)
        if libc.unshare(CLONE_NEWUSER) < 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            for step in does(PLACES.state_of(name)):
                count = step
        except OSError as e:
            said = os.strerror(e.errno or 0)
        os.write(write, json.dumps([count, said]).encode())
        os._exit(0)
    os.wait()
    result: list[Any] = json.loads(os.read(read, 1000))
    return result


def fill(folder: Path) -> Iterator[int]:
    with (folder / "fill").open("wb", buffering=0) as file:
        while file.tell() < SIZE + 2**20:
            file.write(bytes(2**16))
            yield file.tell()


def litter(folder: Path) -> Iterator[int]:
    (folder / "fill").unlink()
    for count in range(SIZE // quota.PER_FILE + 10):
        (folder / f"{count}").touch()
        yield count


def story() -> dict[str, Any]:
    folders()
    found: dict[str, Any] = {"told": [deploy("ada", 1, HELD), deploy("bob", 2, "")]}
    found["ada fills"] = as_agent("ada", fill)
    found["bob fills"] = as_agent("bob", fill)
    found["doctor"] = disk.check(PLACES.state, PLACES.etc / "hyperhive/agents")
    found["ada litters"] = as_agent("ada", litter)
    found["lifted"] = [deploy("ada", 3, ""), as_agent("ada", fill)]
    deploy("ada", 4, HELD)
    apply_deploy.lift_disk(PLACES, "ada")
    found["destroyed"] = quota.use(PLACES.state, PLACES.state_of("ada").stat().st_uid).limit
    subprocess.run(["umount", DISK], check=True)
    mount("defaults")
    found["counted only"] = deploy("ada", 5, HELD)
    found["doctor then"] = disk.check(PLACES.state, PLACES.etc / "hyperhive/agents")
    return found


def in_a_box() -> str:
    """The whole of it, in a box whose agents write to that disk. Gives what was to be seen."""
    Path("/dev/shm").mkdir()
    more = [("sysfs", "/sys"), ("cgroup2", "/sys/fs/cgroup")]
    for kind, where in [*more, *(("tmpfs", each) for each in ("/dev/shm", "/run", "/tmp"))]:
        subprocess.run(["mount", "-t", kind, kind, where], check=True)
    Path("/dev/pts").mkdir()
    subprocess.run(["mount", "-t", "devpts", "devpts", "/dev/pts"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    box, how = [sys.executable, f"{ROOT}/bin/hive-box"], os.environ | {"HIVE_BOX": f"{DISK}/box"}
    subprocess.run([*box, "up"], env=how, check=True)
    script = (ROOT / "tests/quota_box.sh").read_text()
    command = [*box, "run", "--", "bash", "-c", script]
    done = subprocess.run(
        command,
        env=how,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


if __name__ == "__main__":
    try:
        prepare()
        said = in_a_box() if sys.argv[1:] == ["box"] else story()
        print(f"FOUND {json.dumps(said)}", flush=True)
    except Exception:
        traceback.print_exc(file=sys.stdout)
    sys.stdout.flush()
    libc.reboot(POWER_OFF)
