"""What /proc and /sys tell of the host is covered, and the capabilities that this takes are given up.

nspawn mounts both after all that it is asked to mount over them, so only the first process can do it.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

PROC_FILES = """
    bootconfig cmdline config.gz consoles diskstats dma interrupts iomem ioports kallsyms key-users keys
    latency_stats locks mdstat misc modules mtrr partitions sched_debug slabinfo softirqs swaps timer_list
    vmallocinfo
""".split()
PROC_FOLDERS = "acpi asound bus driver fs irq scsi tty".split()
# What programs look for: processors and memory, huge pages, the loopback interface, control groups.
KEPT = {"devices": ("system", "virtual/net"), "class": ("net",), "kernel": ("mm",)}

# <linux/mount.h>
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
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
    blanks = Path("/run/veil")
    blanks.mkdir()
    mount("tmpfs", blanks, SILENT, "tmpfs", "size=64k,nr_inodes=64,mode=755")
    mount("", blanks, PRIVATE)  # or what is in it would go from where it is bound to, too, when it goes here
    (blanks / "file").touch(mode=0o444)
    (blanks / "folder").mkdir()
    for name, inside in KEPT.items():
        for each in inside:
            (blanks / name / each).mkdir(parents=True)
            if Path("/sys", name, each).is_dir():
                mount(f"/sys/{name}/{each}", blanks / name / each, BIND | REC)
    mount("", blanks, REMOUNT | RDONLY | SILENT)
    for blank, path in covers():
        mount(blanks / blank, path, BIND | REC)
    call("umount2", os.fsencode(blanks), DETACH)
    blanks.rmdir()
    give_up()


def covers() -> Iterator[tuple[str, Path]]:
    for blank, names in (("file", PROC_FILES), ("folder", PROC_FOLDERS)):
        yield from ((blank, path) for name in names if (path := Path("/proc", name)).exists())
    yield from (
        (path.name if path.name in KEPT else "folder", path)
        for path in Path("/sys").iterdir()
        if path.name != "fs"
    )


def give_up() -> None:
    """All capabilities, also those that could be had again."""
    number = 0
    while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    if ctypes.get_errno() != errno.EINVAL:  # there is none of this number
        raise OSError(ctypes.get_errno(), "cannot give up capabilities")
    call("prctl", PR_CAP_AMBIENT, AMBIENT_CLEAR, 0, 0, 0)
    call("capset", (ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)())
