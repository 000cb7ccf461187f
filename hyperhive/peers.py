"""Which agent a uid belongs to: the owner of an agent's state folder is the base of its range."""

import os
import re
import socket
import struct
from pathlib import Path

from hyperhive import names

UID_FIRST = 0x40000000  # systemd leaves 524288 to 1879048191 to containers; this is its upper part
RANGE = 65536  # the width of a cage's user namespace
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def uid_of(sock: socket.socket) -> int:
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(data)[1])


class Peers:
    """The ranges as last seen on disk, read again when a uid is in none of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bases: dict[int, str] = {}

    def agent(self, uid: int) -> str | None:
        base = self._base(uid)
        # agents come and go while we run, and a range may be given to another
        if base is None or owner(self.folder / self.bases[base]) != base:
            self.bases = self._scan()
            base = self._base(uid)
        return None if base is None else self.bases[base]

    def _base(self, uid: int) -> int | None:
        return next((base for base in self.bases if base <= uid < base + RANGE), None)

    def _scan(self) -> dict[int, str]:
        found = {owner(Path(entry)): entry.name for entry in os.scandir(self.folder) if is_agent(entry)}
        # a folder that still belongs to the host's root or to a user of the host is nobody's cage
        return {base: name for base, name in found.items() if base >= RANGE}


def is_agent(entry: os.DirEntry[str]) -> bool:
    return bool(re.fullmatch(names.RULE, entry.name)) and entry.is_dir(follow_symlinks=False)


def owner(folder: Path) -> int:
    """-1 when the agent is gone."""
    try:
        return (folder / "state").lstat().st_uid
    except FileNotFoundError:
        return -1
