"""What the kernel refuses to all in a cage beside what nspawn and the unit have it refuse: namespaces.

Of its own user namespace a process is root with all capabilities: it could mount, and reach parts of the
kernel that are meant for root. Neither nspawn nor systemd can take away just that.
"""

import ctypes
import errno
import os
import struct

NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
# AUDIT_ARCH_*, then the numbers of clone, unshare, setns, clone3
MACHINES = {"x86_64": (0xC000003E, 56, 272, 308, 435), "aarch64": (0xC00000B7, 220, 97, 268, 435)}

# <linux/bpf_common.h>: load a word, jump if equal, jump if any bit is set, return
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # in struct seccomp_data, on a little-endian machine
ALLOW, ERROR = 0x7FFF0000, 0x00050000
PR_SET_SECCOMP, FILTER = 22, 2


def program(machine: str) -> bytes:
    architecture, clone, unshare, setns, clone3 = MACHINES[machine]
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 0, 5, architecture),  # to: no such call
        (LOAD, 0, 0, NUMBER),
        (EQUAL, 3, 0, clone3),  # to: no such call. A filter cannot see its flags; C falls back to clone
        (EQUAL, 5, 0, setns),  # to: not permitted
        (EQUAL, 2, 0, clone),  # to: its flags
        (EQUAL, 1, 4, unshare),  # to: its flags, or allow
        (RETURN, 0, 0, ERROR | errno.ENOSYS),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (ANY_BIT, 0, 1, NAMESPACES),
        (RETURN, 0, 0, ERROR | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def seal() -> None:
    """For good, for this process and all that it starts. It can gain no privileges, or this would fail."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = program(os.uname().machine)
    filters = Program(len(steps) // 8, steps)
    if libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(filters), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "cannot close the cage to new namespaces")
