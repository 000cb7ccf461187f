"""Folders that hive-apply makes, exchanges and removes. Where agents may write, nothing is followed."""

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from hyperhive.disk import sync
from hyperhive.problem import Problem

RENAME_EXCHANGE = 2
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DEPTH_MAX = 100  # and so many descriptors
TRIES = 100  # at a folder in which somebody goes on writing
# struct posix_acl_xattr_entry: the tags of <linux/posix_acl.h>
USER_OBJ, USER, GROUP_OBJ, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
ACL_VERSION, ANYONE = 2, 0xFFFFFFFF
RWX = 7

libc = ctypes.CDLL(None, use_errno=True)


def failed(path: object) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path))


@contextlib.contextmanager
def opened(name: str | Path, below: int | None = None) -> Iterator[int]:
    """A folder; with `below`, by its name there, and not where something is mounted."""
    fd = os.open(name, FOLDER, dir_fd=below)
    try:
        # Not openat2(RESOLVE_NO_XDEV): RestrictSUIDSGID= does without that call.
        if below is not None and mount_of(fd) != mount_of(below):
            raise OSError(errno.EXDEV, "something is mounted there", str(name))
        yield fd
    finally:
        os.close(fd)


def mount_of(fd: int) -> str:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))


def there(path: Path) -> bool:
    return os.path.lexists(path)


def write(path: Path, text: str, mode: int = 0o644) -> bool:
    """Whole or not at all, also over a power cut. False when it says that already."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == text:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    new.replace(path)
    sync(path.parent)
    return True


def make(folder: Path, files: Mapping[str, str], executable: Container[str]) -> None:
    """A new folder of root's."""
    remove(folder)
    folder.mkdir()
    for name, text in files.items():
        write(folder / name, text, 0o755 if name in executable else 0o644)
    sync(folder)


def exchange(one: Path, other: Path) -> None:
    at = [-100, os.fsencode(one), -100, os.fsencode(other)]  # AT_FDCWD
    if libc.renameat2(*at, RENAME_EXCHANGE) < 0:
        raise failed(one)
    sync(one.parent)


def move(old: Path, new: Path) -> None:
    old.rename(new)
    sync(new.parent)


def remove(path: Path) -> None:
    """For good, whatever it holds: no link is followed, no mount is entered, no depth is too deep."""
    trash = path.with_name(f".{path.name}.gone")
    with contextlib.suppress(FileExistsError):
        trash.mkdir(mode=0o700)
    with opened(trash) as fd, opened(path.parent) as parent:
        taken = Numbers(fd)
        with contextlib.suppress(FileNotFoundError):
            os.rename(path.name, taken.next(), src_dir_fd=parent, dst_dir_fd=fd)
        while names := entries(fd):
            for name in names:
                remove_flat(fd, name, taken)
        os.rmdir(trash.name, dir_fd=parent)
        os.fsync(parent)


def entries(fd: int) -> list[str]:
    with os.scandir(fd) as found:
        return [entry.name for entry in found]


class Numbers:
    """Names that are not taken in a folder of numbers, also in one that an earlier run has left behind."""

    def __init__(self, fd: int) -> None:
        self.last = max((int(name) for name in entries(fd) if name.isdecimal()), default=0)

    def next(self) -> str:
        self.last += 1
        return str(self.last)


def remove_flat(trash: int, name: str, taken: Numbers) -> None:
    """Folders in it are moved up beside it first, so that none of them is deep."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=trash).st_mode):
        os.unlink(name, dir_fd=trash)
        return
    for _ in range(TRIES):
        with opened(name, trash) as fd:
            for entry in entries(fd):
                take_out(fd, entry, trash, taken)
        try:
            os.rmdir(name, dir_fd=trash)
            return
        except OSError as e:
            if e.errno != errno.ENOTEMPTY:
                raise
    raise Problem("busy", "a folder to be removed does not get empty", hint="stop whoever writes there")


def take_out(fd: int, entry: str, trash: int, taken: Numbers) -> None:
    with contextlib.suppress(FileNotFoundError):  # whoever has it open may still rename in it
        if stat.S_ISDIR(os.lstat(entry, dir_fd=fd).st_mode):
            os.rename(entry, taken.next(), src_dir_fd=fd, dst_dir_fd=trash)
        else:
            os.unlink(entry, dir_fd=fd)


def size(folder: Path) -> int:
    """Bytes of the files in it; what is deeper than anybody would put it is left out."""
    with opened(folder) as fd:
        return size_of(fd, DEPTH_MAX)


def size_of(fd: int, depth: int) -> int:
    total = 0
    with os.scandir(fd) as found:
        for entry in found:
            with contextlib.suppress(OSError):  # gone meanwhile, or another file system
                if not entry.is_dir(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
                elif depth:
                    with opened(entry.name, fd) as inner:
                        total += size_of(inner, depth - 1)
    return total


def holds(folder: Path, inner: str, name: str) -> bool:
    """A file two levels below, without following a link."""
    try:
        with opened(folder) as fd, opened(inner, fd) as below:
            return stat.S_ISREG(os.lstat(name, dir_fd=below).st_mode)
    except OSError:
        return False


def mounts_below(path: Path) -> list[str]:
    """Mount points at or below it."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in points if Path(point).is_relative_to(path)]


def own_folder(path: Path, uid: int, *others: int) -> None:
    """A folder that belongs to a cage from the moment it is there: its owner records the cage's range.

    The other uids may write in it too, and so may all of them in whatever is made below.
    """
    if there(path):
        return
    new = path.with_name(f".{path.name}.new")
    remove(new)
    new.mkdir(mode=0o700)
    with opened(new) as fd:
        share(fd, uid, *others)
        os.fchown(fd, uid, uid)
        os.fsync(fd)
    move(new, path)


def share(fd: int, owner: int, *others: int) -> None:
    if others:
        os.setxattr(fd, "system.posix_acl_access", acl(*others))
        os.setxattr(fd, "system.posix_acl_default", acl(owner, *others))


def acl(*uids: int) -> bytes:
    """rwx for the owner and each of them, nothing for the rest."""
    users = [(USER, RWX, uid) for uid in sorted(uids)]
    entries = [(USER_OBJ, RWX, ANYONE), *users, (GROUP_OBJ, 0, ANYONE), (MASK, RWX, ANYONE)]
    entries.append((OTHER, 0, ANYONE))
    return struct.pack("<I", ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def give(folder: Path, uid: int) -> None:
    """A folder that root alone has written, with all in it."""
    for path in (*folder.rglob("*"), folder):
        os.chown(path, uid, uid, follow_symlinks=False)
