"""Other processes, and what only the host's root may ask of the kernel."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

from .tries import (
    ABOUT,
    AT_FDCWD,
    NAMESPACES,
    OPEN,
    Tries,
    alone,
    attempt,
    call,
    listed,
    names,
    processes,
    writable,
    write,
)


@attempt("processes of the host and of other cages")
def _(tries: Tries) -> None:
    for pid in ABOUT["pids"]:
        tries(f"signal {pid}", os.kill, pid, 0)
    lines = []
    for pid in processes():
        with contextlib.suppress(OSError):  # it has just ended
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    tries.none("seen", [line for line in lines if b"hive-broker" in line or b"systemd" in line])


@attempt("ptrace")
def _(tries: Tries) -> None:
    tries("attach to the harness", call, "ptrace", 16, 1, 0, 0)
    tries("seize", call, "ptrace", 0x4206, 1, 0, 0)
    tries("be traced", alone, call, "ptrace", 0, 0, 0, 0)
    tries("its files", call, "pidfd_getfd", os.pidfd_open(1), 0, 0)


@attempt("escape by /proc/*/root, /proc/*/cwd and ..")
def _(tries: Tries) -> None:
    own = Path("/").stat()
    for link in ("root", "cwd"):
        found = {}
        for pid in processes():
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/{link}/../../../../../../..").stat()
        tries.none(link, [pid for pid, at in found.items() if not os.path.samestat(at, own)])
    for folder in ("/state", "/shared", "/home/agent", "/config", "/run/hive", "/sys/fs/cgroup"):
        above = os.open(f"{folder}/../../../../..", os.O_PATH)
        tries.none(folder, names(f"/proc/self/fd/{above}") ^ names("/"))


@attempt("control groups above its own")
def _(tries: Tries) -> None:
    top = "/sys/fs/cgroup"
    tries.none("seen", [line for line in Path("/proc/self/cgroup").read_text().split() if "/.." in line])
    for name in ("memory.max", "pids.max", "cpu.max", "memory.oom.group"):
        tries(name, write, f"{top}/{name}", "max")
    tries("above", write, f"{top}/../cgroup.procs", str(os.getpid()))


@attempt("writing in /proc and /sys")
def _(tries: Tries) -> None:
    found = []
    for top in ("/proc", "/sys"):
        for folder, inner, files in os.walk(top):
            if folder == "/proc":
                inner[:] = [name for name in inner if not name.isdigit() and "self" not in name]
            if folder == "/sys/fs":
                inner.remove("cgroup")  # has a try of its own
            found += [path for path in (f"{folder}/{name}" for name in files) if writable(path)]
    # a FIFO of nspawn's, and what anybody may ask to be told of
    tries.none("files", [path for path in found if not path.startswith(("/proc/kmsg", "/proc/pressure/"))])
    for name in ("core_pattern", "sysrq", "modprobe", "hostname", "ns_last_pid"):
        tries(name, write, f"/proc/sys/kernel/{name}")
    tries("sysrq-trigger", write, "/proc/sysrq-trigger", "h")


@attempt("the host's command line, disks, hardware and drivers in /proc and /sys")
def _(tries: Tries) -> None:
    files = "cmdline partitions diskstats swaps modules interrupts iomem ioports locks misc mdstat keys"
    files += " config.gz consoles kallsyms key-users dma timer_list slabinfo"
    for name in files.split():
        path = Path("/proc", name)
        tries.none(str(path), path.read_bytes().splitlines()[:3] if path.exists() else ())
    for folder in (
        "/proc/acpi",
        "/proc/bus",
        "/proc/driver",
        "/proc/fs",
        "/proc/irq",
        "/proc/scsi",
        "/proc/tty",
    ):
        tries.none(folder, listed(folder))
    hidden = "block bus dev firmware module power hypervisor class/block class/dmi devices/virtual/dmi"
    for folder in f"{hidden} devices/virtual/block kernel/debug".split():
        tries.none(f"/sys/{folder}", listed(f"/sys/{folder}"))
    tries.none("/sys", names("/sys") - {"block", "bus", "class", "dev", "devices", "fs", "kernel"})
    tries.none("/sys/devices", names("/sys/devices") - {"system", "virtual"})
    tries.none("/sys/devices/virtual", names("/sys/devices/virtual") - {"net"})
    tries.none("/sys/class", names("/sys/class") - {"net"})
    tries.none("/sys/kernel", names("/sys/kernel") - {"mm"})
    disks = [word for word in ABOUT["disks"] if any(word in str(inner) for inner in os.walk("/sys"))]
    tries.none("names of disks in /sys", disks)
    tries("uncover", call, "umount2", b"/proc/cmdline", 2)


@attempt("mounting and unmounting")
def _(tries: Tries) -> None:
    tries("tmpfs", call, "mount", b"none", b"/tmp", b"tmpfs", 0, 0)
    tries("proc", call, "mount", b"none", b"/tmp", b"proc", 0, 0)
    tries("bind", call, "mount", b"/usr", b"/tmp", b"", 4096, 0)
    tries("/usr writable", call, "mount", b"", b"/usr", b"", 32 | 4096, 0)
    tries("umount", call, "umount2", b"/config", 2)
    tries("fsopen", call, "fsopen", b"tmpfs", 0)
    tries("open_tree", call, "open_tree", AT_FDCWD, b"/", 1)
    tries("mount_setattr", call, "mount_setattr", AT_FDCWD, b"/usr", 0, bytes(32), 32)
    tries("pivot_root", call, "pivot_root", b"/tmp", b"/tmp")
    tries("chroot", alone, os.chroot, "/tmp")
    done = subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "none", "/tmp"], capture_output=True)
    tries["a setuid program"] = "refused" if done.returncode else OPEN


@attempt("new namespaces, and those of others")
def _(tries: Tries) -> None:
    for name, flag in NAMESPACES.items():
        tries(name, alone, call, "unshare", flag)
    tries("clone", alone, call, "clone", NAMESPACES["user"] | signal.SIGCHLD, 0, 0, 0, 0)
    flags = struct.pack("=11Q", NAMESPACES["user"], 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    tries("clone3", alone, call, "clone3", flags, len(flags))
    for name in ("user", "mnt", "net"):
        tries(f"setns {name}", alone, call, "setns", os.open(f"/proc/1/ns/{name}", os.O_RDONLY), 0)


@attempt("capabilities and other uids")
def _(tries: Tries) -> None:
    everything = struct.pack("=6I", *(0xFFFFFFFF,) * 6)
    tries("capset", call, "capset", struct.pack("=Ii", 0x20080522, 0), everything)
    tries("setuid", alone, os.setuid, 1)
    tries("setgid", alone, os.setgid, 1)
    tries("setgroups", alone, os.setgroups, [1])
    Path("/tmp/own").touch()
    for uid in (1, 65534, *ABOUT["uids"]):
        tries(f"chown {uid}", os.chown, "/tmp/own", uid, uid)
    tries("real time", alone, os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))
    tries("nice", alone, os.setpriority, os.PRIO_PROCESS, 0, -5)


@attempt("kernel keyrings")
def _(tries: Tries) -> None:
    tries("session", call, "keyctl", 0, -3, 1)
    tries("add", call, "add_key", b"user", b"canary", b"x", 1, -3)
    tries("request", call, "request_key", b"user", b"canary", 0, 0)
    tries.none("seen", Path("/proc/keys").read_text().splitlines())


@attempt("eBPF, io_uring, userfaultfd, performance counters, other architectures")
def _(tries: Tries) -> None:
    tries("bpf", call, "bpf", 0, bytes(128), 64)
    tries("io_uring", call, "io_uring_setup", 4, bytes(256))
    tries("userfaultfd", call, "userfaultfd", 1)
    tries("perf_event_open", call, "perf_event_open", bytes(128), 0, -1, -1, 0)
    tries("personality", alone, call, "personality", 0x0040000)


@attempt("clock, reboot, modules, swap, kexec")
def _(tries: Tries) -> None:
    tries("settimeofday", call, "settimeofday", 0, bytes(8))
    tries("reboot", call, "reboot", 0xFEE1DEAD, 672274793, 0, 0)  # only: Ctrl-Alt-Del off
    tries("init_module", call, "init_module", 0, 0, b"")
    tries("kexec_load", call, "kexec_load", 0, 0, 0, 0)
    tries("swapon", call, "swapon", b"/tmp/own", 0)
    tries("sethostname", socket.sethostname, "x")


@attempt("the kernel's log and addresses")
def _(tries: Tries) -> None:
    tries("syslog", call, "syslog", 3, bytes(100), 100)
    tries("/dev/kmsg", os.open, "/dev/kmsg", os.O_RDONLY)
    tries("/proc/kcore", os.open, "/proc/kcore", os.O_RDONLY)
    tries("/proc/kmsg", os.read, os.open("/proc/kmsg", os.O_RDONLY | os.O_NONBLOCK), 10)
    path = Path("/proc/kallsyms")
    symbols = path.read_text().splitlines() if path.exists() else []
    tries.none("addresses", [line for line in symbols if int(line.split()[0], 16)])
