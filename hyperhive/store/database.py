"""Before a database is opened: it is there and sound, or made whole, or left alone and said so."""

import os
import sqlite3
from pathlib import Path

from sqlite_utils import Database, Migrations

from hyperhive.disk import sync
from hyperhive.problem import EX_CONFIG, Problem

RESTORING = "restoring"  # the folder, beside the databases, of a restore that is under way
BESIDE = ("-wal", "-shm", "-journal")


def prepare(path: Path, migrations: Migrations, *, mode: str) -> None:
    """With mode "ro" not even a WAL that a crash left is taken in before the check."""
    if (path.parent / RESTORING).exists():
        raise bad(path, "a restore was begun and has not ended", "run hivectl restore again")
    try:
        if not path.exists():
            make(path, migrations)
        check(path, mode)
    except (OSError, sqlite3.Error) as e:
        raise bad(path, f"cannot be opened: {e}", advice(path)) from e


def check(path: Path, mode: str) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        about = path.stat()
        owner = f"it belongs to uid {about.st_uid} with mode {about.st_mode & 0o7777:04o}"
        raise bad(path, f"{e.strerror}: {owner}", f"chown hive: {path}") from e
    if not path.stat().st_size:
        # SQLite would take it for a new one, but ours are never empty: see make().
        raise bad(path, "is empty", advice(path))
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)
    try:
        # Reads every page, but does not compare indexes with their tables: 0.4 s for a million messages
        # of 300 bytes, where integrity_check takes 2.2 s.
        (found,) = db.execute("pragma quick_check(1)").fetchone()
        (page,) = db.execute("pragma page_size").fetchone()
    finally:
        db.close()
    wal = path.with_name(f"{path.name}-wal")
    if path.stat().st_size % page and not (wal.exists() and wal.stat().st_size):
        found = "its last page is cut off"  # SQLite reads what is missing as zeros; a WAL may still bring it
    if found != "ok":
        raise bad(path, f"is damaged: {' '.join(found.split())}", advice(path))


def make(path: Path, migrations: Migrations) -> None:
    """It appears whole or not at all, so an empty file is never one that a crash cut short."""
    for suffix in BESIDE:
        if (rest := path.with_name(path.name + suffix)).exists():
            raise bad(path, f"is not there, but {rest.name} is", advice(path))
    new = path.with_name(f".{path.name}.new")
    for suffix in ("", *BESIDE):
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    db = sqlite3.connect(new, isolation_level=None)
    migrations.apply(Database(db, execute_plugins=False))
    db.close()
    new.rename(path)
    sync(path.parent)


def advice(path: Path) -> str:
    return f"hivectl restore FILE puts a backup in its place; {path} is left as it is"


def bad(path: Path, text: str, hint: str) -> Problem:
    return Problem("bad-database", f"{path}: {text}", hint=hint, exit_status=EX_CONFIG)
