"""hunt.py RESULT NEEDLE…: look for needles, each given backwards, in all that a cage's root can read."""

import array
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

PIECE, PAGE = 1 << 20, 4096
NEEDLES = [word[::-1].encode() for word in sys.argv[2:]]
FOUND: dict[str, list[str]] = {word: [] for word in sys.argv[2:]}
LOOKED: Counter[str] = Counter()


def pieces(fd: int, left: int) -> Iterator[bytes]:
    """With the end of the piece before, so that nothing falls between two."""
    end = b""
    while left > 0 and (data := os.read(fd, min(PIECE, left))):
        yield end + data
        end, left = data[-100:], left - len(data)


def look(what: str, where: str, data: Iterator[bytes]) -> None:
    LOOKED[what] += 1
    for piece in data:
        for needle, word in zip(NEEDLES, FOUND, strict=True):
            if needle in piece and where not in FOUND[word]:
                FOUND[word].append(where)


def memory(pid: str) -> None:
    """What is there of it: claude has gigabytes that it never touched."""
    with open(f"/proc/{pid}/mem", "rb", 0) as mem, open(f"/proc/{pid}/pagemap", "rb", 0) as pages:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r.* (/usr/)?", line)
            if not found or found[3] or "[v" in line:  # what the host has in /usr; what is the kernel's
                continue
            for begin, size in present(pages, *(int(found[n], 16) for n in (1, 2))):
                mem.seek(begin)
                look("memory", f"memory of {pid}", pieces(mem.fileno(), size))


def present(pages: FileIO, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Stretches in it that are in memory."""
    pages.seek(begin // PAGE * 8)
    entries = array.array("Q", pages.read((end - begin) // PAGE * 8))
    for there, run in itertools.groupby(range(len(entries)), lambda n: bool(entries[n] >> 62)):
        if there:
            numbers = [*run]
            yield begin + numbers[0] * PAGE, len(numbers) * PAGE


def pids() -> list[str]:
    """Without our own: it has the needles."""
    return [
        path.name
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and path.name != str(os.getpid())
    ]


def processes() -> None:
    for pid in pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            for part in ("environ", "cmdline", "status"):
                look(part, f"{part} of {pid}", iter([Path(f"/proc/{pid}/{part}").read_bytes()]))
            memory(pid)


def files() -> None:
    """All but the host's own; also what processes have open that has no name any more."""
    for top in ("/", *(f"/proc/{pid}/fd" for pid in pids())):
        for folder, inner, names in os.walk(top):
            if folder == "/":
                inner[:] = [name for name in inner if name not in ("proc", "sys", "usr")]
            for path in (f"{folder}/{name}" for name in names):
                if Path(path).is_file() and os.access(path, os.R_OK) and path != sys.argv[1]:
                    fd = os.open(path, os.O_RDONLY)
                    look("file", path, pieces(fd, os.fstat(fd).st_size))
                    os.close(fd)


def main() -> None:
    planted = NEEDLES[-1].decode()  # what the hunt must find, or it proves nothing
    Path("/tmp/planted").write_text(planted)
    with subprocess.Popen(["sleep", "600"], env={"PLANTED": planted}) as holder:
        processes()
        files()
        holder.kill()
    Path(sys.argv[1]).write_text(json.dumps({"found": FOUND, "looked": LOOKED}))


main()
