"""Turn this process into the PID 1 of a box: namespaces and a root of its own, then systemd."""

import ctypes
import os
import shutil
import stat
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from hyperhive.box import ports
from hyperhive.problem import EX_CONFIG, Problem, run_main

NETS = ("private", "host")
SYSTEMD = "/usr/lib/systemd/systemd"
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWPID, NEWNET = 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC = 1, 2, 4, 32, 4096, 16384
PRIVATE, SHARED = 1 << 18, 1 << 20
MNT_DETACH = 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
PR_CAPBSET_DROP = 24
# CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME, CAP_WAKE_ALARM: kernel and clock are the machine's
LOST = (16, 17, 25, 35)

# What the host's /usr would start and what makes no sense, or writes to the host's kernel, in here.
MASKED = """
apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer
motd-news.timer console-getty.service getty.target getty-static.service dev-hugepages.mount
proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount sys-fs-fuse-connections.mount
sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount var-lib-machines.mount
kmod-static-nodes.service modprobe@.service systemd-modules-load.service systemd-tmpfiles-setup-dev.service
systemd-tmpfiles-setup-dev-early.service systemd-sysctl.service systemd-binfmt.service
systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
systemd-udev-settle.service systemd-udev-load-credentials.service systemd-hwdb-update.service
systemd-journald-audit.socket systemd-pstore.service systemd-random-seed.service
systemd-boot-random-seed.service systemd-firstboot.service systemd-machine-id-commit.service
systemd-repart.service systemd-remount-fs.service systemd-pcrphase.service systemd-pcrphase-sysinit.service
systemd-pcrmachine.service systemd-pcrextend.socket systemd-tpm2-setup.service
systemd-tpm2-setup-early.service systemd-networkd.service systemd-networkd.socket
systemd-networkd-wait-online.service systemd-network-generator.service systemd-resolved.service
systemd-timesyncd.service systemd-oomd.service systemd-oomd.socket systemd-update-utmp.service
systemd-ask-password-console.path systemd-ask-password-wall.path systemd-sysext.service
systemd-confext.service ldconfig.service lvm2-monitor.service lvm2-lvmpolld.socket dm-event.socket
multipathd.socket iscsid.socket apparmor.service setvtrgb.service keyboard-setup.service
console-setup.service
""".split()

TARGET = """\
[Unit]
Description=Hyperhive in a Box
Documentation=man:hive-box(8)
Requires=basic.target
Wants=hyperhive.target dbus.socket systemd-user-sessions.service
After=basic.target hyperhive.target dbus.socket systemd-user-sessions.service
AllowIsolate=yes
"""

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Place:
    state: Path  # of this box, and of no other
    disk: Path  # what survives `down`: the same, or a file system in a file where that lies on overlayfs
    lower: Path | None  # what `make install` made; None when hyperhive is installed on this very machine
    checkout: Path | None
    program: Path
    name: str  # of the control group, and of the scope that holds it where systemd runs


def call(what: str, result: int, code: str, hint: str) -> None:
    if result < 0:
        text = f"cannot {what}: {os.strerror(ctypes.get_errno())}"
        raise Problem(code, text, hint=hint, exit_status=EX_CONFIG)


def unshare(flags: int) -> None:
    hint = "be root; in a container, be privileged (docker run --privileged)"
    call("make namespaces", libc.unshare(flags), "no-namespaces", hint)


def mount(source: str | Path, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount; without a kind, bind."""
    flags = flags if kind else flags | BIND
    args = (os.fspath(source).encode(), os.fspath(target).encode(), kind.encode(), flags, data.encode())
    hint = f"the kernel must have {kind}" if kind else "be root; in a container, be privileged"
    call(f"mount {kind or source} on {target}", libc.mount(*args), f"no-{kind or 'bind'}", hint)


def bind_read_only(source: str | Path, target: Path) -> None:
    mount(source, target)
    mount(source, target, "", RDONLY | REMOUNT)


def private_mounts() -> None:
    """A mount namespace whose changes stay in it. Also below a chroot, whose / is no mount."""
    unshare(NEWNS)
    root, here = os.open("/", os.O_PATH), os.open(".", os.O_PATH)
    leave_chroot()
    mount("none", "/", "none", REC | PRIVATE)
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(here)
    for fd in (root, here):
        os.close(fd)


def leave_chroot() -> None:
    me = os.pidfd_open(os.getpid())
    call("leave the chroot", libc.setns(me, NEWNS), "no-namespaces", "be root")
    os.close(me)


def overlay(target: Path, lower: list[Path], upper: Path, work: Path) -> None:
    layers = ":".join(map(str, lower))
    mount("overlay", target, "overlay", 0, f"lowerdir={layers},upperdir={upper},workdir={work}")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def hiding_layer(place: Place, etc: Path) -> None:
    """What lies between the box's own /etc and the machine's: its units, hive and identity are not ours."""
    for hidden in ("systemd/system", "systemd/nspawn", "hyperhive"):
        (etc / hidden).mkdir(parents=True)
        os.setxattr(etc / hidden, "trusted.overlay.opaque", b"y")
    settings = Path("/etc/hyperhive/hive.toml")
    if place.lower is None and settings.exists():
        shutil.copy(settings, etc / "hyperhive")
    write(etc / "machine-id", (place.disk / "machine-id").read_text())
    write(etc / "hostname", "hyperhive\n")
    write(etc / "fstab", "")
    # often a bind mount or a link into /run: neither is in the overlay
    for name in ("hosts", "resolv.conf"):
        source = Path("/etc", name)
        write(etc / name, source.read_text() if source.exists() else "")
    with (etc / "hosts").open("a") as hosts:
        hosts.write("127.0.1.1 hyperhive\n")


def mount_root(place: Place, top: Path, root: Path) -> None:
    for name in ("upper", "work", "usr", "usr.work", "hide", "root"):
        (top / name).mkdir()
    overlay(root, [Path("/")], top / "upper", top / "work")
    # Not one overlay with two layers: the checkout lies below /, and layers must not overlap.
    installed = [place.lower] if place.lower else []
    overlay(root / "usr", [*(p / "usr" for p in installed), Path("/usr")], top / "usr", top / "usr.work")
    hiding_layer(place, top / "hide")
    etcs = [*(p / "etc" for p in installed), top / "hide", Path("/etc")]
    overlay(root / "etc", etcs, place.disk / "etc", place.disk / "etc.work")
    for name in ("opt", "nix"):
        if os.path.ismount(f"/{name}"):
            bind_read_only(f"/{name}", root / name)


def mount_api(root: Path) -> None:
    for name, mode in {"dev": "755", "run": "755", "tmp": "1777", "var/tmp": "1777"}.items():
        mount("tmpfs", root / name, "tmpfs", NOSUID, f"mode={mode}")
    mount("proc", root / "proc", "proc", NOSUID | NODEV)
    # journalctl --boot means this boot of the box, not the machine's
    host = root / "run/host"
    write(host / "boot_id", f"{uuid.uuid4()}\n")
    bind_read_only(host / "boot_id", root / "proc/sys/kernel/random/boot_id")
    # and as that covers a part of /proc: the kernel lets a cage mount its own only if one is whole
    (host / "proc").mkdir()
    mount("proc", host / "proc", "proc", NOSUID | NODEV)
    host.chmod(0o700)
    mount("sysfs", root / "sys", "sysfs", NOSUID | NODEV)
    mount("sysfs", root / "sys", "", RDONLY | REMOUNT | NOSUID | NODEV)
    mount("cgroup2", root / "sys/fs/cgroup", "cgroup2", NOSUID | NODEV)
    make_devices(root / "dev")


def make_devices(dev: Path) -> None:
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        os.mknod(dev / name, stat.S_IFCHR, Path("/dev", name).stat().st_rdev)
        (dev / name).chmod(0o666)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    mount("devpts", dev / "pts", "devpts", NOSUID, "newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", dev / "shm", "tmpfs", NOSUID | NODEV, "mode=1777")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, to in links.items():
        (dev / name).symlink_to(to)


def mount_state(place: Place, root: Path, port: int) -> None:
    for name, to in {"lib": "var/lib/hyperhive", "journal": "var/log/journal"}.items():
        (root / to).mkdir(parents=True, exist_ok=True)
        mount(place.disk / name, root / to)
    if place.checkout:
        (root / "srv/hyperhive").mkdir(parents=True, exist_ok=True)
        bind_read_only(place.checkout, root / "srv/hyperhive")
    (root / "run/host/notify").touch()
    mount(place.state / "notify", root / "run/host/notify")
    units = root / "run/systemd/system"
    units.mkdir(parents=True)
    for unit in MASKED:
        (units / unit).symlink_to("/dev/null")
    write(units / "hive-box.target", TARGET)
    ports.write_units(units, port)


def enter(root: Path) -> None:
    """Make root the namespace's own: a mere chroot could not make user namespaces."""
    here = os.open(root, os.O_PATH)
    leave_chroot()
    os.fchdir(here)
    os.close(here)
    number = SYS_PIVOT_ROOT[os.uname().machine]
    call("change the root", libc.syscall(number, b".", b"."), "no-root", "not possible from an initramfs")
    call("drop the old root", libc.umount2(b".", MNT_DETACH), "no-root", "")
    os.chdir("/")
    mount("none", "/", "none", REC | SHARED)  # as nspawn does; without it LoadCredential= comes up empty


def start(place: Place, port: int, ready: int) -> None:
    os.setsid()
    os.umask(0o022)
    top = place.state / "root"
    mount("tmpfs", top, "tmpfs", 0, "mode=755")
    root = top / "root"
    mount_root(place, top, root)
    mount_api(root)
    mount_state(place, root, port)
    enter(root)
    for capability in LOST:
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    null = os.open("/dev/null", os.O_RDWR)
    os.write(ready, b"1")
    for fd in range(3):
        os.dup2(null, fd)
    words = ["--system", "--unit=hive-box.target", "--log-target=journal", "--show-status=no"]
    environment = {"container": "hive-box", "NOTIFY_SOCKET": "/run/host/notify", "LANG": "C.UTF-8"}
    # sysusers and the like wait for an update of /usr otherwise
    os.execve(SYSTEMD, [SYSTEMD, *words, "systemd.condition-needs-update=yes"], environment)  # noqa: S606


def boot(place: Place, net: str, port: int) -> int:
    """Start the box's PID 1 in this process's control group; return its pid."""
    ours, theirs = os.pipe()
    private_mounts()
    unshare(NEWCGROUP | NEWUTS | NEWIPC | NEWPID | (NEWNET if net == "private" else 0))
    pid = os.fork()
    if pid == 0:
        run_main(lambda: start(place, port, theirs))
    os.close(theirs)
    if os.read(ours, 1) != b"1":
        _pid, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    return pid
