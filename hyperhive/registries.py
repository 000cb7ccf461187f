"""All registries as one tar file, for a backup, and back: what git has stored, and no setting of git's."""

import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hyperhive import names
from hyperhive.disk import sync
from hyperhive.problem import Problem

# Without config: it could name programs, and git takes a folder with the rest for a bare repository.
KEPT = "HEAD|shallow|packed-refs|objects/([0-9a-f]{2}|pack)/[0-9a-z-][0-9a-z.-]*|refs/tags/[a-z]+/[0-9]+"
PATH = rf"{names.RULE}\.git/({KEPT})"
FOLDERS = ("objects", "refs")  # git looks for them, whatever is in them


def pack(folder: Path, file: IO[bytes]) -> None:
    """While nobody writes in them."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in files(folder):
            info = tarfile.TarInfo(os.fspath(path.relative_to(folder)))
            info.size = path.stat().st_size
            with path.open("rb") as source:
                tar.addfile(info, source)


def files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("*.git/**/*")):
        if re.fullmatch(PATH, os.fspath(path.relative_to(folder))) and path.is_file():
            yield path


def unpack(packed: Path, folder: Path) -> None:
    """A Problem says what does not belong there; the file may be anybody's."""
    folder.mkdir(mode=0o700)
    try:
        with tarfile.open(packed, "r:") as tar:
            for member in tar:
                source = tar.extractfile(member) if member.type == tarfile.REGTYPE else None
                if not source or member.sparse or not re.fullmatch(PATH, member.name):
                    raise Problem("no-backup", f"{member.name[:100]!r} does not belong there")
                save(source, folder / member.name)
    except (tarfile.TarError, EOFError, FileExistsError) as e:
        raise Problem("no-backup", str(e)) from e
    for registry in folder.iterdir():
        for each in FOLDERS:
            (registry / each).mkdir(exist_ok=True)


def save(source: IO[bytes], path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)
