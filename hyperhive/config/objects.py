"""A git repository that somebody else writes, read without running git in it: every object is verified.

Nothing that steers git is looked at: no config, hooks, attributes, alternates, grafts or replacements.
"""

import errno
import hashlib
import os
import re
import stat
import time
from contextlib import ExitStack
from pathlib import Path

from hyperhive.config import packs
from hyperhive.config.packs import OBJECT_MAX, Pack, corrupt
from hyperhive.problem import Problem

REF_MAX = 4096  # bytes of a file with a ref in it
PACKED_REFS_MAX = 16 * 1024 * 1024
SECONDS_MAX = 10.0  # for all that is read
HOPS_MAX = 5  # of symbolic refs, and of tags of tags
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: a FIFO has no writer, and a file may be held with a lease.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
REF = r"(?!.*(\.\.|//|/\.|\.lock(/|$)))[A-Za-z0-9_][\w./+@-]{0,198}[\w+@-]|[A-Za-z0-9_]"

Object = tuple[str, bytes]  # its kind and its content


def refused(e: OSError, name: str) -> Problem:
    reason = "is a symbolic link" if e.errno == errno.ELOOP else e.strerror
    return Problem("bad-repository", f"{name} cannot be read: {reason}")


class Objects:
    def __init__(self, folder: Path) -> None:
        """The folder that holds objects/: .git, or a bare repository."""
        with ExitStack() as stack:
            parent = self.opened(stack, os.fspath(folder.parent), FOLDER, None)
            self.top = self.opened(stack, folder.name, FOLDER, parent)
            self.objects = self.opened(stack, "objects", FOLDER, self.top)
            self.stack = stack.pop_all()
        self.end = time.monotonic() + SECONDS_MAX
        self.indexes: list[Pack] | None = None

    def __enter__(self) -> "Objects":
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    @staticmethod
    def opened(stack: ExitStack, name: str, flags: int, folder: int | None) -> int:
        try:
            fd = os.open(name, flags, dir_fd=folder)
        except OSError as e:
            raise refused(e, name) from e
        stack.callback(os.close, fd)
        return fd

    # files

    def file(self, stack: ExitStack, path: str, folder: int) -> int | None:
        """A plain file at a path of plain folders, or None when there is none."""
        *folders, name = path.split("/")
        try:
            for each in folders:
                folder = os.open(each, FOLDER, dir_fd=folder)
                stack.callback(os.close, folder)
            fd = os.open(name, FILE, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as e:
            # What is no folder cannot hold it; O_NOFOLLOW says the same of a symbolic link to one.
            raise refused(e, path) from e
        stack.callback(os.close, fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Problem("bad-repository", f"{path} is not a plain file")
        return fd

    def content(self, path: str, folder: int, limit: int) -> bytes | None:
        with ExitStack() as stack:
            fd = self.file(stack, path, folder)
            if fd is None:
                return None
            data = packs.pread(fd, limit + 1, 0)
        if len(data) > limit:
            raise Problem("too-large", f"{path} is over {limit} bytes")
        return data

    # objects

    def read(self, number: str, kind: str) -> bytes:
        found = self.find(number)
        if found is None:
            raise Problem("no-object", f"{kind} {number} is not in the repository", hint="commit it there")
        if name_of(*found) != number:
            raise corrupt(number)
        if found[0] != kind:
            raise Problem("bad-repository", f"{number} is a {found[0]}, not a {kind}")
        return found[1]

    def find(self, number: str, depth: int = 0) -> Object | None:
        """Not verified."""
        data = self.content(f"{number[:2]}/{number[2:]}", self.objects, 2 * OBJECT_MAX)
        if data is not None:
            return loose(packs.inflate(lambda at: data[at : at + packs.CHUNK], number), number)
        for pack in self.every_pack():
            if (offset := pack.offset(number)) is not None:
                return pack.read(offset, self.find, depth)
        return None

    def every_pack(self) -> list[Pack]:
        if self.indexes is None:
            self.indexes = [self.pack(name) for name in self.pack_names()]
        return self.indexes

    def pack(self, name: str) -> Pack:
        index = self.file(self.stack, f"pack/{name}.idx", self.objects)
        pack = self.file(self.stack, f"pack/{name}.pack", self.objects)
        if index is None or pack is None:
            raise Problem("bad-repository", f"{name} has changed while it was read", hint="try again")
        return Pack(name, index, pack, self.end)

    def pack_names(self) -> list[str]:
        with ExitStack() as stack:
            try:
                folder = os.open("pack", FOLDER, dir_fd=self.objects)
            except FileNotFoundError:
                return []
            except OSError as e:
                raise refused(e, "objects/pack") from e
            stack.callback(os.close, folder)
            return packs.names(folder)

    # refs

    def resolve(self, ref: str) -> str:
        """The commit that a branch, a tag, HEAD or a whole id stands for."""
        if re.fullmatch(r"[0-9a-f]{40}", ref):
            return self.peel(ref, ref)
        if not re.fullmatch(REF, ref, re.ASCII):
            hint = "give a branch, a tag or the 40 digits of a commit"
            raise Problem("bad-ref", f"{ref[:200]!r} cannot be the name of a commit", hint=hint)
        for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", ref):
            if (name.startswith("refs/") or name == "HEAD") and (number := self.ref(name)):
                return self.peel(number, ref)
        hint = "give a branch, a tag or the 40 digits of a commit"
        raise Problem("bad-ref", f"there is no commit called {ref!r}", hint=hint)

    def ref(self, name: str) -> str | None:
        for _ in range(HOPS_MAX):
            data = self.content(name, self.top, REF_MAX)
            if data is None:
                return self.packed(name)
            text = data.decode("ascii", "replace").strip()
            if re.fullmatch(r"[0-9a-f]{40}", text):
                return text
            link = re.fullmatch(rf"ref: (refs/({REF}))", text, re.ASCII)
            if not link:
                raise Problem("bad-repository", f"{name} does not hold a commit's id")
            name = link[1]
        raise Problem("bad-repository", f"{name} is a symbolic ref without an end")

    def packed(self, name: str) -> str | None:
        data = self.content("packed-refs", self.top, PACKED_REFS_MAX) or b""
        found = re.search(rb"^([0-9a-f]{40}) %s$" % re.escape(name.encode()), data, re.M)
        return found[1].decode() if found else None

    def peel(self, number: str, ref: str) -> str:
        for _ in range(HOPS_MAX):
            found = self.find(number)
            if found is None or found[0] not in ("commit", "tag"):
                raise Problem("bad-ref", f"{ref!r} is not a commit of this repository")
            if found[0] == "commit":
                return number
            target = re.match(rb"object ([0-9a-f]{40})\n", self.read(number, "tag"))
            if not target:
                raise corrupt(number)
            number = target[1].decode()
        raise Problem("bad-ref", f"{ref!r} is a tag of too many tags")


def name_of(kind: str, data: bytes) -> str:
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(data), data)).hexdigest()  # noqa: S324


def loose(data: bytes, number: str) -> Object:
    found = re.match(rb"(commit|tree|blob|tag) (0|[1-9][0-9]{0,9})\0", data)
    if not found or len(data) - found.end() != int(found[2]):
        raise corrupt(number)
    return found[1].decode(), data[found.end() :]
