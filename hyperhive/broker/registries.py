"""All registries as one tar file, for a backup: what git has stored, and no setting of git's."""

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hyperhive import names

# Without config: it could name programs, and git takes a folder with the rest for a bare repository.
KEPT = "HEAD|shallow|packed-refs|objects/([0-9a-f]{2}|pack)/[0-9a-z-][0-9a-z.-]*|refs/tags/[a-z]+/[0-9]+"
PATH = rf"{names.RULE}\.git/({KEPT})"


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
