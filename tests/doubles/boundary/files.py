"""Devices, and files that are not the agent's."""

import fcntl
import os
import stat
import struct
from pathlib import Path

from .tries import AT_FDCWD, OPEN, Tries, attempt, call, libc, listed, names, write


@attempt("devices")
def _(tries: Tries) -> None:
    kinds = {"disk": (stat.S_IFBLK, 254, 0), "memory": (stat.S_IFCHR, 1, 1), "tun": (stat.S_IFCHR, 10, 200)}
    for folder in ("/tmp", "/dev", "/state", "/shared"):
        for name, (kind, major, minor) in kinds.items():
            path = f"{folder}/{name}"
            tries(path, os.mknod, path, kind | 0o666, os.makedev(major, minor))
    for name in ("mem", "kvm", "fuse", "net/tun", "vda", "loop0", "loop-control", "console", "ptmx0"):
        tries(f"/dev/{name}", os.open, f"/dev/{name}", os.O_RDWR | os.O_NONBLOCK)
    usual = "fd full null ptmx random shm stderr stdin stdout tty urandom zero mqueue pts char net".split()
    tries.none("others", names("/dev") - {*usual})


@attempt("typing into a terminal (TIOCSTI)")
def _(tries: Tries) -> None:
    for path in ("/dev/tty", "/dev/console", "/proc/1/fd/0", "/proc/1/fd/1", "/proc/1/fd/2"):
        tries(path, lambda path=path: fcntl.ioctl(os.open(path, os.O_RDWR | os.O_NOCTTY), 0x5412, b"x"))
    tries.none("terminals", names("/dev/pts") - {"ptmx"})


@attempt("changing trusted files")
def _(tries: Tries) -> None:
    trusted = ("/usr/bin/env", "/usr/lib/hyperhive/bin/hive-harness", "/config/agent.toml", "/etc/gitconfig")
    for path in trusted:
        tries(path, write, path)
        tries(f"chmod {path}", os.chmod, path, 0o777)
        tries(f"remove {path}", os.unlink, path)
    Path("/tmp/mine").touch()
    for path in ("/config/prompt.md", "/config/agent.toml", "/run/hive/hive.sock", "/etc/passwd", "/usr/x"):
        tries(f"replace {path}", os.rename, "/tmp/mine", path)
        tries(f"link {path}", os.symlink, "/tmp/mine", path)
    for path in ("/config", "/usr", "/run/hive", "/state", "/etc/passwd"):
        tries(f"move {path}", os.rename, path, f"{path}.away")
    for folder in ("/", "/var", "/home", "/config", "/etc/claude-code", "/run/hive", "/usr/local/bin"):
        tries(f"make in {folder}", os.mkdir, f"{folder}/made")


@attempt("secrets and homes of the host")
def _(tries: Tries) -> None:
    for path in ("/etc/shadow", "/etc/hyperhive/credentials/model-key", "/etc/ssh", "/etc/machine-id"):
        tries(path, os.open, path, os.O_RDONLY)
    hidden = "/root /srv /opt /boot /mnt /media /var/lib /var/spool /etc/systemd".split()
    tries.none("folders", listed(*hidden))
    tries.none("homes", names("/home") - {"agent"})


@attempt("files of other agents")
def _(tries: Tries) -> None:
    above = ("/var/lib/hyperhive", "/run/hyperhive/cages", "/run/hyperhive/agents", "/agents")
    tries.none("folders", [path for path in listed(*above) if listed(path) or not Path(path).is_dir()])
    tries.none("other sockets", {*listed("/run/hyperhive")} - {"/run/hyperhive/gate"})
    # the way out of containers that could use handles: the root of each file system has one
    for path in ("/state", "/shared", "/usr"):
        handle = struct.pack("=IiQ", 8, 1, 2)
        tries(f"handle {path}", call, "open_by_handle_at", os.open(path, os.O_RDONLY), handle, 0)


@attempt("setuid programs and devices on what it can write")
def _(tries: Tries) -> None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        _, _, _, _, point, flags, *_, options = line.split()
        if flags.startswith("rw") and os.access(point, os.W_OK) and not point.startswith("/dev"):
            tries.none(point, {"nosuid", "nodev"} - {*flags.split(",")})
            if " - tmpfs " in line and Path(point).is_dir():
                tries.none(f"no size of {point}", [] if "size=" in options else [options])


@attempt("setuid files left for the host")
def _(tries: Tries) -> None:
    for folder in ("/state", "/shared", "/home/agent", "/tmp"):
        path = f"{folder}/left"
        Path(path).write_bytes(Path("/usr/bin/env").read_bytes()[:100])
        for bits in (0o4755, 0o2755, 0o6777):
            tries(f"chmod {bits:o} {path}", os.chmod, path, bits)
            tries(f"fchmodat2 {bits:o} {path}", call, "fchmodat2", AT_FDCWD, path.encode(), bits, 0)
            tries(f"open {bits:o} {path}", os.open, f"{path}.new", os.O_CREAT | os.O_EXCL, bits)
            tries(f"mknod {bits:o} {path}", os.mknod, f"{path}.new", stat.S_IFREG | bits)
        tries(f"mkdir {path}", os.mkdir, f"{path}.folder", 0o2755)
        value = struct.pack("<IIIII", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
        tries(f"capabilities {path}", os.setxattr, path, "security.capability", value)


@attempt("watching the host's files")
def _(tries: Tries) -> None:
    tries("fanotify", call, "fanotify_init", 0, 0)
    watch = libc.inotify_init()
    for path in ("/etc/shadow", "/var/lib/hyperhive", "/run/systemd", "/run/hyperhive/agents", "/var/log"):
        added = libc.inotify_add_watch(watch, path.encode(), 0xFFF)
        tries[path] = OPEN if added >= 0 else "none"


@attempt("SysV and POSIX IPC of the host")
def _(tries: Tries) -> None:
    for name in ("shm", "sem", "msg"):
        tries.none(name, Path(f"/proc/sysvipc/{name}").read_text().splitlines()[1:])
    tries.none("queues", names("/dev/mqueue"))
    tries.none("shared memory", names("/dev/shm"))
