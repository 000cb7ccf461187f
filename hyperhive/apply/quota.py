"""What a user may have on a file system. quotactl_fd(2) names it by a folder: no device node is needed."""

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import NamedTuple

QUOTACTL_FD = 443  # on all architectures that systemd and Debian share; the C library has no name for it
GET, SET, STATE = 0x800007, 0x800008, (ord("X") << 8) + 5  # Q_GETQUOTA, Q_SETQUOTA, Q_XGETQSTAT
DQBLK = struct.Struct("=QQQQQQQQI4x")  # struct if_dqblk
HARD = 0b101  # QIF_BLIMITS, QIF_ILIMITS: which fields of it are to be set
BLOCK = 1024  # bytes, of its limits
QSTAT = struct.Struct("=bxH76x")  # struct fs_quota_stat, of which the flags tell
ENFORCED = 2  # FS_QUOTA_UDQ_ENFD. ext4 with -O quota counts, and holds nobody to a limit without usrquota.
PER_FILE = 16 * 1024  # bytes; ext4 makes an inode for so many
NONE_HERE = (errno.ENOSYS, errno.ESRCH)  # the file system, or the kernel, counts nobody's

libc = ctypes.CDLL(None, use_errno=True)


class Use(NamedTuple):
    used: int  # bytes
    limit: int  # bytes; 0: none


def call(folder: Path, what: int, uid: int, data: bytes) -> bytes:
    room = ctypes.create_string_buffer(data, len(data))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syscall(QUOTACTL_FD, fd, ctypes.c_uint(what << 8), ctypes.c_uint(uid), room) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(folder))
    finally:
        os.close(fd)
    return room.raw


def kept(folder: Path) -> bool:
    """Whether users are held to their limits there. Anybody may ask."""
    try:
        _, flags = QSTAT.unpack(call(folder, STATE, 0, bytes(QSTAT.size)))
    except OSError as e:
        if e.errno not in NONE_HERE:
            raise
        return False
    return bool(flags & ENFORCED)


def limit(folder: Path, uid: int, size: int) -> bool:
    """In bytes; 0: none. False where nobody is held to it."""
    if not kept(folder):
        return False
    blocks, files = size // BLOCK, size // PER_FILE
    call(folder, SET, uid, DQBLK.pack(blocks, 0, 0, files, 0, 0, 0, 0, HARD))
    return True


def unkept(name: str) -> str:
    how = "mount it with usrquota, an ext4 after tune2fs -O quota"
    return f"limits.disk of {name} cannot be kept: the file system of /var/lib/hyperhive has no quota; {how}"


def use(folder: Path, uid: int) -> Use:
    blocks, _, used, *_ = DQBLK.unpack(call(folder, GET, uid, bytes(DQBLK.size)))
    return Use(used, blocks * BLOCK)
