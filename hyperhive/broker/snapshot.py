"""A copy of databases and registries for whoever makes a backup: on other threads, so that mail goes on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from hyperhive import wire
from hyperhive.broker import registries
from hyperhive.problem import Problem
from hyperhive.store.store import now

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection

REGISTRIES = "registry.tar"
NAMES = ("hive.db", "stats.db", "events.db", REGISTRIES)
CHUNK = 256 * 1024
PREFIX = ".backup-"


class Snapshots:
    """One at a time; it belongs to the connection that asked for it and ends with it."""

    def __init__(self, state: Path, git: ThreadPoolExecutor) -> None:
        self.folder = state / "db"
        self.registries = state / "registry"
        self.git = git
        self.owner: Connection | None = None
        self.fds: dict[str, int] = {}  # of files without a name: nothing is left of them after a crash
        self.thread = ThreadPoolExecutor(1, "snapshot")  # the fds are its own
        for left in self.folder.glob(f"{PREFIX}*"):
            left.unlink()

    async def take(self, connection: Connection) -> list[wire.Message]:
        if self.owner not in (None, connection):
            raise Problem("busy", "another backup is being made", hint="try again when it has ended")
        self.owner = connection
        return await asyncio.get_running_loop().run_in_executor(self.thread, self.copy_all)

    async def read(self, connection: Connection, name: str, offset: int) -> str:
        if self.owner is not connection:
            raise Problem("no-backup", "this connection has no backup", hint="ask for one with backup")
        return await asyncio.get_running_loop().run_in_executor(self.thread, self.part, name, offset)

    def lost(self, connection: Connection) -> None:
        if self.owner is connection:
            self.owner = None
            self.thread.submit(self.close)

    # on the thread

    def copy_all(self) -> list[wire.Message]:
        self.close()
        for name in ("stats.db", "events.db"):
            self.fds[name] = copy(self.folder / name)
        # While git has nothing to do, the registries hold what the database says, no less and no more.
        self.git.submit(self.copy_requests).result()
        return [{"name": name, "bytes": os.fstat(fd).st_size} for name, fd in self.fds.items()]

    def copy_requests(self) -> None:
        self.fds["hive.db"] = copy(self.folder / "hive.db")
        self.fds[REGISTRIES] = packed(self.registries, self.folder)

    def part(self, name: str, offset: int) -> str:
        if name not in self.fds:
            raise Problem("bad-request", f"'name' must be one of {', '.join(NAMES)}")
        return base64.b64encode(os.pread(self.fds[name], CHUNK, offset)).decode()

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.popitem()[1])


def copy(path: Path) -> int:
    """A file without a name, with what is committed now; a WAL's reader holds up no writer."""
    target = path.with_name(PREFIX + path.name)
    try:
        fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            vacuum(path, target)
        except sqlite3.Error:
            os.close(fd)
            raise
        finally:
            target.unlink()
    except (OSError, sqlite3.Error) as e:
        hint = "is there room for a copy of the databases?"
        raise Problem("storage", f"cannot copy {path.name}: {e}", hint=hint) from e
    return fd


def packed(registries_: Path, folder: Path) -> int:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            registries.pack(registries_, file)
            return os.dup(file.fileno())
    except OSError as e:
        hint = "is there room for a copy of the registries?"
        raise Problem("storage", f"cannot copy the registries: {e}", hint=hint) from e


def vacuum(path: Path, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        db.execute("pragma busy_timeout = 60000")
        db.execute("pragma synchronous = off")  # a flush of the whole copy would hold up the mail's
        db.execute("vacuum into ?", (os.fspath(target),))


# operations


async def backup(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    return {"at": now(), "files": await broker.snapshots.take(connection)}


async def backup_read(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    name = wire.get_text(message, "name", 64)
    offset = wire.get_int(message, "offset", 0, wire.ID_MAX)
    return {"data": await broker.snapshots.read(connection, name, offset)}


OPERATOR = {"backup": backup, "backup_read": backup_read}
