"""What /proc and /sys tell of the host is covered, and the capabilities that this takes are given up.

nspawn mounts both after all that it is asked to mount over them, so only the first process can do it.
"""

import ctypes
import errno
import os
from pathlib import Path

from hyperhive.problem import EX_CONFIG, Problem

PROC_FILES = """
    bootconfig cmdline config.gz consoles diskstats dma interrupts iomem ioports kallsyms key-users keys
    latency_stats locks mdstat misc modules mtrr partitions sched_debug slabinfo softirqs swaps timer_list
    vmallocinfo
""".split()
PROC_FOLDERS = "acpi asound bus driver fs irq scsi tty".split()
# Where what covers the others is made, before it is covered itself: to unmount it could take 30 ms.
BLANKS = Path("/sys/dev")
# What programs look for: processors and memory, huge pages, the loopback interface.
KEPT = {"devices": ("system", "virtual/net"), "class": ("net",), "kernel": ("mm",)}

# <linux/mount.h>
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC = 1, 2, 4, 8, 32, 4096, 16384
SILENT = NOSUID | NODEV | NOEXEC
PR_CAPBSET_DROP, PR_CAP_AMBIENT, AMBIENT_CLEAR = 24, 47, 4
CAPABILITIES_V3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: object) -> None:
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), f"cannot cover what is the host's: {name}", str(args))


def mount(what: str | Path, where: str | Path, flags: int, kind: str = "", options: str = "") -> None:
    texts = (os.fsencode(each) for each in (what, where, kind))
    call("mount", *texts, ctypes.c_ulong(flags), os.fsencode(options))


def draw() -> None:
    """For good, for this process and all that it starts."""
    if is_hosts():  # whose own /sys it would be
        raise Problem("no-cage", "must be in a user namespace of its own", exit_status=EX_CONFIG)
    mount("tmpfs", BLANKS, SILENT, "tmpfs", "size=64k,nr_inodes=64,mode=755")
    (BLANKS / "file").touch(mode=0o444)
    (BLANKS / "folder").mkdir()
    for name, inside in KEPT.items():
        for each in inside:
            (BLANKS / name / each).mkdir(parents=True)
            if Path("/sys", name, each).is_dir():
                mount(f"/sys/{name}/{each}", BLANKS / name / each, BIND | REC)
    mount("", BLANKS, REMOUNT | RDONLY | SILENT)
    for name in PROC_FILES:
        cover(f"/proc/{name}", "file")
    for name in PROC_FOLDERS:
        cover(f"/proc/{name}", "folder")
    for path in sorted({*Path("/sys").iterdir()} - {Path("/sys/fs")}, key=lambda path: path == BLANKS):
        cover(path, path.name if path.name in KEPT else "folder")
    give_up()


def is_hosts() -> bool:
    """The first user namespace is the one that maps all uids, each to itself: user_namespaces(7)."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def cover(path: str | Path, blank: str) -> None:
    if os.path.lexists(path):
        mount(BLANKS / blank, path, BIND | REC)


def give_up() -> None:
    """All capabilities, also those that could be had again."""
    number = 0
    while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    if ctypes.get_errno() != errno.EINVAL:  # there is none of this number
        raise OSError(ctypes.get_errno(), "cannot give up capabilities")
    call("prctl", PR_CAP_AMBIENT, AMBIENT_CLEAR, 0, 0, 0)
    call("capset", (ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)())
