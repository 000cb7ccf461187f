"""systemd's part for a broker that dies at a point of its code: sockets, fd store, and a quick start.

Commands come as JSON lines on stdin: {"do": "open" | "start" | "close", "folder": …}, with one answer each.
A broker is a fork of this process, which has imported everything; what it runs is bin/hive-broker.
"""

import fcntl
import gc
import importlib
import json
import mmap
import os
import runpy
import select
import signal
import socket
import sys
import time
from pathlib import Path

from tests import crash_points

ROOT = Path(__file__).parent.parent
POINTS = crash_points.points()
NUMBER = {name: n for n, name in enumerate(POINTS)}
# Cells of the shared memory; a point is its number + 1 in the first four.
# From WHEN on: for each point, when it was passed last.
DIE, DIED, HOLD, HELD, CLOCK, WHEN = range(6)
SIZE = 4 * (WHEN + len(POINTS))
FIRST_FD = 3  # SD_LISTEN_FDS_START
READY_WAIT = 20


def cells(folder: Path) -> memoryview:
    """Shared by the test, this process and the broker."""
    with (folder / "points").open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), SIZE)).cast("I")


class Service:
    """One broker, as its unit would have it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid = 0
        self.store: dict[str, int] = {}  # listening fds, by name
        for name in ("operator", "system"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(os.fspath(folder / f"run/{name}.sock"))
            listener.listen(128)
            self.store[name] = listener.detach()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.fspath(folder / "notify"))

    def start(self) -> bool:
        """False when it died before it was ready."""
        self.end()
        self.pid = os.fork()
        if not self.pid:
            self.become_broker()
        pidfd = os.pidfd_open(self.pid)
        try:
            while True:
                ready, _, _ = select.select([self.notify.fileno(), pidfd], [], [], READY_WAIT)
                assert ready, "the broker is neither ready nor dead"
                if self.notify.fileno() in ready and self.take_notice():
                    return True
                if ready == [pidfd]:
                    return False
        finally:
            os.close(pidfd)

    def take_notice(self) -> bool:
        """Keep what it hands over; true when it is ready."""
        text, fds, _, _ = socket.recv_fds(self.notify, 4096, 16)
        fields = dict(line.split("=", 1) for line in text.decode().splitlines())
        if "FDSTOREREMOVE" in fields and fields["FDNAME"] in self.store:
            os.close(self.store.pop(fields["FDNAME"]))
        for fd in fds:
            assert fields["FDNAME"] not in self.store, "a second fd of that name would never be used"
            self.store[fields["FDNAME"]] = fd
        return "READY" in fields

    def end(self) -> None:
        """A client whose call was cut by another's death takes the new broker for dead, too: so be it."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        while select.select([self.notify], [], [], 0)[0]:
            self.take_notice()

    def become_broker(self) -> None:
        os.dup2(os.open(self.folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY), 2)
        os.dup2(2, 1)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 200) for fd in self.store.values()]
        os.closerange(FIRST_FD, 200)
        for n, fd in enumerate(high):
            os.dup2(fd, FIRST_FD + n)
            os.close(fd)
        os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(high))}
        os.environ |= {"LISTEN_FDNAMES": ":".join(self.store), "NOTIFY_SOCKET": f"{self.folder}/notify"}
        sys.argv = ["hive-broker", f"--state={self.folder}/state", f"--run={self.folder}/run"]
        sys.argv += [f"--config={self.folder}/hive.toml"]
        shared.append(cells(self.folder))
        try:
            runpy.run_path(os.fspath(ROOT / "bin/hive-broker"), run_name="__main__")
        finally:
            os.kill(
                os.getpid(), signal.SIGKILL
            )  # never back into the loop of the process it was forked from

    def close(self) -> None:
        self.end()
        for fd in self.store.values():
            os.close(fd)
        self.notify.close()


shared: list[memoryview] = []  # in a broker: its cells


def point(name: str, value: object = None) -> object:
    if not shared:
        return value
    memory, number = shared[0], NUMBER[name]
    memory[CLOCK] += 1
    memory[WHEN + number] = memory[CLOCK]
    if memory[DIE] == number + 1:
        memory[DIED] = number + 1
        memory[DIE] = 0
        os.kill(os.getpid(), signal.SIGKILL)
    if memory[HOLD] == number + 1:
        memory[HELD], memory[HOLD] = number + 1, 0
        while memory[HELD]:  # the test keeps this thread here until it has done something elsewhere
            time.sleep(0.001)
    return value


def command_line(services: dict[str, Service]) -> str:
    """The next, empty at the end. Some kernels hold ten notices, and a broker that sends one more waits."""
    while True:
        ready, _, _ = select.select([sys.stdin, *(each.notify for each in services.values())], [], [])
        for each in services.values():
            if each.notify in ready:
                each.take_notice()
        if sys.stdin in ready:
            return sys.stdin.readline()


def main() -> None:
    crash_points.install(point)
    importlib.import_module("hyperhive.broker.serving")  # and all that it needs, once
    gc.freeze()  # a fork that does not look through it does not copy it
    services: dict[str, Service] = {}
    while line := command_line(services):
        command = json.loads(line)
        folder = command["folder"]
        done = True
        if command["do"] == "open":
            services[folder] = Service(Path(folder))
        elif command["do"] == "start":
            done = services[folder].start()
        else:
            services.pop(folder).close()
        print(
            json.dumps({"done": done, "pid": services[folder].pid if folder in services else 0}), flush=True
        )
    for service in services.values():  # the test has died
        service.close()


if __name__ == "__main__":
    main()
