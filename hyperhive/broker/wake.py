"""Wake a sleeping agent: one byte into the FIFO that its socket unit owns."""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

IN_ATTRIB, IN_OPEN, IN_CREATE = 0x4, 0x20, 0x100
HEAD = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, len
libc = ctypes.CDLL(None, use_errno=True)


def poke(fifo: Path) -> bool:
    """False when nobody would hear it: the socket unit is stopped or failed."""
    try:
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as e:
        # no FIFO, one without a reader, or one that systemd has made and not given to our group yet
        if e.errno not in (errno.ENOENT, errno.ENXIO, errno.EACCES):
            raise
        return False
    try:
        os.write(fd, b"\n")
    except BlockingIOError:
        pass  # full of bytes nobody took: it is awake already
    finally:
        os.close(fd)
    return True


def watch(folder: Path, events: int = IN_ATTRIB | IN_OPEN | IN_CREATE) -> int:
    """An fd that is readable when a FIFO appears in the folder: that is how a start of a socket is heard."""
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(folder), events) < 0:
        raise OSError(ctypes.get_errno(), f"Cannot watch {folder}")
    return fd


def seen(fd: int) -> Iterator[tuple[str, bool]]:
    """The FIFO's name, and whether it is new. systemd makes it, opens it, and gives it to our group."""
    events = os.read(fd, 64 * 1024)
    at = 0
    while at < len(events):
        _, mask, _, length = HEAD.unpack_from(events, at)
        at += HEAD.size
        yield events[at : at + length].rstrip(b"\0").decode(), bool(mask & IN_CREATE)
        at += length
