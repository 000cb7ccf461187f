"""A backup is a tar file of the three databases, the registries and, last, a manifest; see hivectl(1)."""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import IO

from hyperhive import wire
from hyperhive.broker import registries
from hyperhive.disk import sync
from hyperhive.problem import Problem
from hyperhive.store.database import BESIDE, RESTORING
from hyperhive.wire import Message

MANIFEST = "manifest.json"
MANIFEST_MAX = 64 * 1024
# A table by which each is known to be what its name says.
TABLES = {"hive.db": "message", "stats.db": "turns", "events.db": "turn_events"}
REGISTRIES = "registry.tar"
FORMAT = 3
# By format. A hive whose backup is of the first had no registries; the second has events in stats.db.
HOLDS = {1: {"hive.db", "stats.db"}, 2: {"hive.db", "stats.db", REGISTRIES}, FORMAT: {*TABLES, REGISTRIES}}
REGISTRY = "registry"  # the folder, beside that of the databases
CHUNK = 1024 * 1024

Ask = Callable[[str, int], bytes]  # (name, offset): what the broker gives next, nothing at the end


# make one


class Incoming:
    """A database on its way from the broker, as a file to read."""

    def __init__(self, ask: Ask, name: str) -> None:
        self.ask, self.name = ask, name
        self.offset = 0
        self.buffer = b""
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        while len(self.buffer) < size and (data := self.ask(self.name, self.offset)):
            self.offset += len(data)
            self.digest.update(data)
            self.buffer += data
        part, self.buffer = self.buffer[:size], self.buffer[size:]
        return part


def write(path: Path, snapshot: Message, ask: Ask, version: str) -> None:
    """The file is there when all of it is on disk, and only its owner can read it."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".hive-backup-") as folder:
        new = Path(folder) / "new"
        new.touch(mode=0o600)
        with tarfile.open(new, "w", format=tarfile.PAX_FORMAT) as tar:
            files = {about["name"]: add(tar, about, ask) for about in snapshot["files"]}
            manifest = {"format": FORMAT, "version": version, "at": snapshot["at"], "files": files}
            text = json.dumps(manifest, indent=2).encode()
            tar.addfile(entry(MANIFEST, len(text)), BytesIO(text))
        sync(new)
        new.rename(path)
    sync(path.parent)


def add(tar: tarfile.TarFile, about: Message, ask: Ask) -> Message:
    incoming = Incoming(ask, about["name"])
    tar.addfile(entry(about["name"], about["bytes"]), incoming)  # type: ignore[arg-type]
    return {"bytes": about["bytes"], "sha256": incoming.digest.hexdigest()}


def entry(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    return info


# take one back


def restore(path: Path, folder: Path) -> Path:
    """Put a backup in the place of the databases in a folder, and of the registries beside it; gives where
    those are now."""
    new = folder / RESTORING
    shutil.rmtree(new, ignore_errors=True)  # of a restore that was cut short
    new.mkdir(mode=0o700)
    ready = False
    try:
        unpack(path, new)
        for database in new.glob("*.db"):
            check(path, database, TABLES[database.name])
        take_registries(path, new)
        own(new, folder)
        ready = True
        return swap(new, folder)
    finally:
        if not ready:
            shutil.rmtree(new)


def unpack(path: Path, new: Path) -> None:
    found: dict[str, Message] = {}
    manifest: Message = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                source = tar.extractfile(checked(path, member, {*found, *manifest}))
                assert source  # it is a regular file
                if member.name == MANIFEST:
                    manifest[MANIFEST] = manifest_of(path, source)
                else:
                    found[member.name] = save(source, new / member.name)
    except (tarfile.TarError, EOFError) as e:
        raise no_backup(path, str(e)) from e
    about = manifest.get(MANIFEST, {"format": FORMAT})
    known = about.get("format")
    holds = HOLDS.get(known) if type(known) is int else None
    if holds is None:
        raise no_backup(path, f"{MANIFEST} says a format that this release does not know")
    if found.keys() != holds or not manifest:
        raise no_backup(path, "it is not complete")
    if about.get("files") != found:
        raise no_backup(path, f"what it holds is not what {MANIFEST} says")


def manifest_of(path: Path, source: IO[bytes]) -> Message:
    try:
        return wire.decode(source.read(MANIFEST_MAX))
    except Problem as e:
        raise no_backup(path, f"{MANIFEST} is {e}") from e


def checked(path: Path, member: tarfile.TarInfo, seen: set[str]) -> tarfile.TarInfo:
    """One of these names, once, and a plain file; what a name could do as a path, it cannot."""
    wanted = {MANIFEST, REGISTRIES, *TABLES} - seen
    if member.name not in wanted or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse:
        raise no_backup(path, f"{member.name[:100]!r} does not belong there")
    return member


def save(source: IO[bytes], target: Path) -> Message:
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        while data := source.read(CHUNK):
            file.write(data)
            digest.update(data)
            size += len(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}


def take_registries(path: Path, new: Path) -> None:
    if not (new / REGISTRIES).exists():
        (new / REGISTRY).mkdir(mode=0o700)
        return
    try:
        unpack_registries(path, new / REGISTRIES, new / REGISTRY)
    except (tarfile.TarError, EOFError, FileExistsError) as e:
        raise no_backup(path, f"{REGISTRIES}: {e}") from e
    (new / REGISTRIES).unlink()


def unpack_registries(path: Path, packed: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    with tarfile.open(packed, "r:") as tar:
        for member in tar:
            source = tar.extractfile(member) if member.type == tarfile.REGTYPE else None
            if not source or member.sparse or not re.fullmatch(registries.PATH, member.name):
                raise no_backup(path, f"{member.name[:100]!r} does not belong in {REGISTRIES}")
            (folder / member.name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            save(source, folder / member.name)
    for registry in folder.iterdir():
        for each in ("objects", "refs"):  # git looks for them, whatever is in them
            (registry / each).mkdir(exist_ok=True)


def check(path: Path, database: Path, table: str) -> None:
    """A whole check, with the indexes. Nothing that stands in the file is run."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?immutable=1", uri=True)) as db:
            db.execute("pragma trusted_schema = off")
            (said,) = db.execute("pragma integrity_check(1)").fetchone()
            known = db.execute("select 1 from sqlite_master where type = 'table' and name = ?", (table,))
            said = said if said != "ok" or known.fetchone() else f"it has no table '{table}'"
    except sqlite3.Error as e:
        said = str(e)
    if said != "ok":
        raise no_backup(path, f"the database is damaged: {said}")


def own(new: Path, folder: Path) -> None:
    """Whoever owns the folder of the databases, the broker, owns them too."""
    about = folder.stat()
    for path in (*new.rglob("*"), new):
        os.chown(path, about.st_uid, about.st_gid)
    for database in new.glob("*.db"):
        database.chmod(0o600)
    for path in (each for each in (*new.rglob("*"), new) if each.is_dir()):
        sync(path)


def swap(new: Path, folder: Path) -> Path:
    """While the folder `restoring` is there, no broker starts: it never sees one half."""
    aside = folder / time.strftime("before-%Y%m%dT%H%M%SZ", time.gmtime())
    aside.mkdir(mode=0o700)
    for name in TABLES:
        for old in (folder / f"{name}{suffix}" for suffix in ("", *BESIDE)):
            if old.exists():
                old.rename(aside / old.name)
    registry = folder.with_name(REGISTRY)
    if registry.exists():
        registry.rename(aside / REGISTRY)
    sync(aside)
    (new / REGISTRY).rename(registry)
    for database in new.glob("*.db"):
        database.rename(folder / database.name)
    sync(folder)
    sync(folder.parent)
    new.rmdir()
    return aside


def no_backup(path: Path, text: str) -> Problem:
    return Problem("no-backup", f"{path} is no good backup: {text}", hint="nothing was changed")
