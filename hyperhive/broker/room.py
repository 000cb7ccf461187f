"""Room on the disk: what agents write has no limit but the file system's, and a quota's where it has one."""

import os
from pathlib import Path

from hyperhive import wire

LEAST = 0.05  # of the file system, that is to be free
QUOTAS = frozenset("quota usrquota uquota".split())


def check(folder: Path) -> wire.Message:
    size, free = measure(folder)
    wrong = [text] if (text := scarce(folder, LEAST)) else []
    found = {"name": "room on the disk", "ok": not wrong, "wrong": wrong}
    return found | {"size": size, "free": free, "quota": has_quota(folder)}


def measure(folder: Path) -> tuple[int, int]:
    about = os.statvfs(folder)
    return about.f_blocks * about.f_frsize, about.f_bavail * about.f_frsize


def scarce(folder: Path, least: float) -> str:
    """What is wrong, or ''."""
    size, free = measure(folder)
    return "" if free >= least * size else f"less than {least:.0%} of the file system of {folder} is free"


def has_quota(folder: Path) -> bool:
    """Whether the file system can hold a user to a limit, as its mount options say."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return any(QUOTAS & {*words[-1].split(",")} for words in lines if words[2] == number)
