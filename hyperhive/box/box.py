"""Boot this machine as a throwaway systemd host, look at it, run commands in it, stop it."""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from hyperhive.box import boot
from hyperhive.box import ports as box_ports
from hyperhive.box.boot import Place
from hyperhive.problem import EX_CONFIG, Problem

log = logging.getLogger(__name__)

UP_MAX = 120  # seconds; units have limits of their own, far below
DOWN_MAX = 20
DISK_SIZE = "8G"  # at most: the file is sparse
TARGET = "hyperhive.target"
NEEDED = {
    "nsenter": "util-linux",
    "dbus-daemon": "dbus",
    "systemctl": "systemd",
    "systemd-run": "systemd",
    "systemd-nspawn": "systemd-container",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED = ("TERM", "COLORTERM", "LANG", "LC_ALL", "TZ", "NO_COLOR", "CI")
# The shell tells death by a signal from success, which systemd does not (SIGTERM is a clean end to it).
# No semicolon: systemd 252 writes it into the unit in a way that it then complains about at each reload.
SHELL = ["/bin/sh", "-c", 'trap : HUP INT TERM && "$@" || exit $?', "sh"]


def refuse(code: str, text: str, hint: str) -> Problem:
    return Problem(code, text, hint=hint, exit_status=EX_CONFIG)


def locate(program: Path) -> Place:
    if os.geteuid() != 0:
        raise refuse("not-root", "only root can boot a box", "sudo hive-box ...")
    top = program.parent.parent
    checkout = top if (top / "Makefile").exists() else None
    usual = top / "build/box" if checkout else "/var/lib/hive-box"
    state = Path(os.environ.get("HIVE_BOX") or usual).absolute()
    for path in (state, top):
        if any(c in ":,\\" or c.isspace() for c in str(path)):
            text = f"{path} has a character in its name that overlayfs options cannot hold"
            raise refuse("bad-path", text, "use another directory")
    state.mkdir(parents=True, exist_ok=True)
    disk = state / "disk" if on_overlayfs(state) else state
    return Place(state, disk, top / "build/root" if checkout else None, checkout, program, scope_name(state))


def scope_name(state: Path) -> str:
    root = Path("/").stat()  # below a chroot the same path is another box, and the cgroups may be the same
    text = f"{root.st_dev}:{root.st_ino}:{state}"
    return f"hive-box-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def check_machine(place: Place) -> None:
    missing = {package for tool, package in NEEDED.items() if not shutil.which(tool, path=PATH)}
    if not Path(boot.SYSTEMD).exists():
        missing.add("systemd")
    if missing:
        hint = f"apt-get install {' '.join(sorted(missing))}"
        raise refuse("no-systemd", "systemd is not installed, or not all of it", hint)
    if place.lower and not (place.lower / "usr/lib/hyperhive").exists():
        raise refuse("not-installed", f"{place.lower} is empty", f"make -C {place.checkout} root")


@contextlib.contextmanager
def locked(place: Place) -> Iterator[None]:
    with (place.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def see_cgroups(place: Place) -> Path:
    """The machine's cgroup2 tree, mounted for this process alone: it need not be mounted elsewhere."""
    top = place.state / "cgroup"
    top.mkdir(exist_ok=True)
    boot.private_mounts()
    boot.mount("cgroup2", top, "cgroup2")
    return top


def has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def cgroup_of(place: Place, top: Path) -> Path:
    return top / "system.slice" / f"{place.name}.scope" if has_systemd() else top / place.name


def pid_of(cgroup: Path) -> int:
    """PID 1 of the box as seen from here; 0 when there is none."""
    with contextlib.suppress(FileNotFoundError, OSError):
        pids = (cgroup / "init.scope/cgroup.procs").read_text().split()
        return int(pids[0]) if pids else 0
    return 0


def inside(pid: int) -> list[str]:
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    return ["nsenter", f"--target={pid}", *namespaces, "--wd=/"]


def ask(pid: int, *command: str) -> str:
    environment = {"PATH": PATH, "SYSTEMD_PAGER": "", "LANG": "C.UTF-8"}
    done = subprocess.run([*inside(pid), *command], env=environment, stdout=subprocess.PIPE, text=True)
    return done.stdout


def page(pid: int) -> str:
    listens = ask(pid, "systemctl", "show", "--property=Listen", "--value", box_ports.PAGE)
    return f"http://{listens.split()[0]}"


def is_active(pid: int) -> bool:
    return ask(pid, "systemctl", "is-active", TARGET).strip() == "active"


@contextlib.contextmanager
def unless_gone() -> Iterator[None]:
    """A systemd outside removes its scope itself: ENOENT for the files, ENODEV for those that are open."""
    try:
        yield
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ENODEV, errno.ESRCH):
            raise


def kill_members(cgroup: Path) -> None:
    for procs in cgroup.rglob("cgroup.procs"):
        with unless_gone():
            for pid in procs.read_text().split():
                with unless_gone():
                    os.kill(int(pid), signal.SIGKILL)


def kill_all(cgroup: Path) -> None:
    """Kill what is in the cgroup, wait for the kernel to say that it is empty, remove it."""
    with unless_gone(), (cgroup / "cgroup.events").open() as events:
        changed = select.poll()
        changed.register(events, select.POLLPRI)
        while "populated 1" in os.pread(events.fileno(), 4096, 0).decode():
            kill_members(cgroup)
            changed.poll()
    for folder, _folders, _files in os.walk(cgroup, topdown=False):
        with unless_gone():
            Path(folder).rmdir()


def clear(place: Place, cgroup: Path) -> None:
    kill_all(cgroup)
    if has_systemd():  # it may not have noticed yet, and would refuse a scope of the same name
        stop = ["systemctl", "stop", "--quiet", f"{place.name}.scope"]
        subprocess.run(stop, stderr=subprocess.DEVNULL)
    shutil.rmtree(place.disk / "etc.work", ignore_errors=True)
    (place.state / "notify").unlink(missing_ok=True)


def on_overlayfs(path: Path) -> bool:
    kind = ["stat", "--file-system", "--format=%T", os.fspath(path)]
    said = subprocess.run(kind, check=True, stdout=subprocess.PIPE, text=True)
    return said.stdout == "overlayfs\n"


def mount_disk(place: Place) -> None:
    """In a container, mostly: overlayfs can neither be an upper layer nor be mounted with mapped ids."""
    image = place.state / "disk.img"
    if not image.exists():
        subprocess.run(["truncate", f"--size={DISK_SIZE}", image], check=True)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
    place.disk.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", image, place.disk], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        text = f"{place.state} lies on overlayfs, and a loop device cannot be had: {done.stderr.strip()}"
        raise refuse("on-overlayfs", text, "set HIVE_BOX to a directory on ext4, xfs, btrfs or tmpfs")


def prepare(place: Place) -> None:
    if place.disk != place.state:
        mount_disk(place)
    for name in ("etc", "etc.work", "lib", "journal"):
        (place.disk / name).mkdir(exist_ok=True)
    (place.state / "root").mkdir(exist_ok=True)
    machine_id = place.disk / "machine-id"
    if not machine_id.exists():
        machine_id.write_text(f"{uuid.uuid4().hex}\n")


def listen(place: Place) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    folder = os.open(place.state, os.O_PATH)
    sock.bind(f"/proc/self/fd/{folder}/notify")  # a socket's path may have 107 bytes only
    os.close(folder)
    return sock


def wait_ready(pid: int, sock: socket.socket) -> bool:
    """Until PID 1 says that it has nothing left to start; false when it died or takes too long."""
    try:
        alive = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    while True:
        readable, _, _ = select.select([sock.fileno(), alive], [], [], UP_MAX)
        if sock.fileno() not in readable:
            return False
        if b"READY=1" in sock.recv(4096).split(b"\n"):
            return True


def start(place: Place, net: str, port: int) -> int:
    scope = [
        "systemd-run",
        "--scope",
        "--quiet",
        "--collect",
        f"--unit={place.name}",
        "--property=Delegate=yes",
    ]
    program = [sys.executable, "-I", os.fspath(place.program), "boot", f"--net={net}", f"--port={port}"]
    environment = os.environ | {"HIVE_BOX": os.fspath(place.state)}
    command = [*scope, *program] if has_systemd() else program
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)
    return int(done.stdout)


def begin(place: Place, net: str, port: int) -> int:
    """The other side of start(): this process becomes the box's first one."""
    if not has_systemd():
        cgroup = cgroup_of(place, place.state / "cgroup")
        cgroup.mkdir()
        (cgroup / "cgroup.procs").write_text("0")
    print(boot.boot(place, net, port))
    return 0


def up(place: Place, net: str, port: int | None) -> int:
    check_machine(place)
    with locked(place):
        cgroup = cgroup_of(place, see_cgroups(place))
        pid = pid_of(cgroup)
        if pid and is_active(pid):
            log.info("the page is at %s (hivectl url)", page(pid))
            log.info("already up, pid %d", pid)
            return 0
        clear(place, cgroup)
        prepare(place)
        ports = box_ports.take(port)
        first = box_ports.port_of(ports[0])
        if net == "host":
            box_ports.close(ports)  # the box's own units listen there
        with listen(place) as sock:
            pid = start(place, net, first)
            ready = wait_ready(pid, sock)
        if ready and net != "host":
            box_ports.forward(inside(pid), ports)
        box_ports.close(ports)
        return report(pid) if ready else explain(place, cgroup)


def report(pid: int) -> int:
    ask(pid, "journalctl", "--update-catalog")
    failed = failed_units(pid)
    if failed:
        log.warning("failed in the box:\n%s", failed.rstrip())
    if is_active(pid):
        log.info("the page is at %s (hivectl url)", page(pid))
        log.info("up, pid %d", pid)
        return 0
    units = [f"--unit={line.split()[0]}" for line in failed.splitlines()]
    last = ask(pid, "journalctl", "--boot", "--lines=40", "--no-hostname", f"--unit={TARGET}", *units)
    text = "%s did not come up; the box is left as it is, to be looked at. Its last words:\n%s"
    log.error(text, TARGET, last)
    return 1


def failed_units(pid: int) -> str:
    return ask(pid, "systemctl", "list-units", "--failed", "--plain", "--no-legend")


def explain(place: Place, cgroup: Path) -> int:
    pid = pid_of(cgroup)
    jobs = ask(pid, "systemctl", "list-jobs", "--no-legend") if pid else "(its PID 1 died)"
    journal = ["journalctl", f"--directory={place.disk}/journal", "--lines=20", "--no-hostname"]
    last = subprocess.run(journal, stdout=subprocess.PIPE, text=True).stdout
    log.error("the box did not come up. Still to start:\n%s\nIts last words:\n%s", jobs, last)
    clear(place, cgroup)
    return 1


def down(place: Place) -> int:
    check_machine(place)
    with locked(place):
        cgroup = cgroup_of(place, see_cgroups(place))
        pid = pid_of(cgroup)
        if pid:
            shut_down(pid)
        clear(place, cgroup)
    log.info("down")
    return 0


def shut_down(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        gone = os.pidfd_open(pid)
        os.kill(pid, signal.SIGRTMIN + 4)  # poweroff.target
        select.select([gone], [], [], DOWN_MAX)


def status(place: Place) -> int:
    check_machine(place)
    pid = pid_of(cgroup_of(place, see_cgroups(place)))
    if not pid:
        print(f"down ({place.state})")
        return 3
    shown = ask(pid, "systemctl", "show", "--property=SystemState", "--property=UserspaceTimestamp")
    facts = dict(line.split("=", 1) for line in shown.splitlines())
    print(f"up since {facts['UserspaceTimestamp']}, pid {pid}, {facts['SystemState']} ({place.state})")
    print(f"page at {page(pid)}")
    print(failed_units(pid), end="")
    return 0


def run(place: Place, command: list[str]) -> int:
    check_machine(place)
    pid = pid_of(cgroup_of(place, see_cgroups(place)))
    if not pid:
        raise Problem("box-down", "the box is not up", hint="start it with 'hive-box up'")
    unit = f"hive-box-run-{secrets.token_hex(4)}.service"
    variables = {"HOME": "/root", "PATH": PATH} | {k: os.environ[k] for k in PASSED if k in os.environ}
    options = [f"--unit={unit}", f"--description={' '.join(command)}", "--working-directory=/root"]
    options += [f"--setenv={k}={v}" for k, v in variables.items()]
    words = [word.replace("$", "$$") for word in [*SHELL, *command]]  # systemd expands variables in them
    start = ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--pty", *options, "--", *words]

    def pass_on(number: int, _frame: FrameType | None) -> None:
        ask(pid, "systemctl", "kill", f"--signal={number}", unit)

    # a Ctrl-C must reach the command, not systemd-run; with --pty it does by itself
    with subprocess.Popen([*inside(pid), *start], start_new_session=not sys.stdin.isatty()) as running:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, pass_on)
        return running.wait()
