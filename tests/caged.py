"""The real harness in a pid namespace, with a claude that misbehaves (tests/doubles/)."""

import json
import os
import queue
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.hive import INVOCATION, ROOT, Hive, Peer

DOUBLES = ROOT / "tests/doubles"


class Cage:
    """ada, for whom the test does what systemd does: it holds the FIFO, and starts the harness."""

    def __init__(
        self,
        here: Hive,
        linger: int = 60,
        turn_timeout: int = 20,
        claude: Path = DOUBLES / "claude",
        model: str = "http://127.0.0.1:9",
        **limits: float,
    ) -> None:
        self.hive = here
        self.settings = [str(linger), str(turn_timeout), json.dumps(limits), model]
        self.claude = claude
        self.folder = here.folder
        self.home = self.folder / "home"
        self.uid = here.bases["ada"]
        self.make_folders()
        self.fifo = here.fifo("ada")
        self.notices: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(os.fspath(self.folder / "notify"))
        (self.folder / "notify").chmod(0o666)
        self.reader = threading.Thread(target=self.take_notices)
        self.reader.start()
        self.operator = here.operator()
        self.events: Peer = here.operator()
        assert self.events.ask("subscribe")["ok"]
        self.seen: list[Any] = []
        self.invocation = ""
        self.process: subprocess.Popen[bytes] | None = None

    def make_folders(self) -> None:
        self.folder.chmod(0o711)
        for name in ("config", "prompts", "home"):
            (self.folder / name).mkdir()
        os.chown(self.home, self.uid, self.uid)
        (self.folder / "config/agent.toml").write_text('[tools]\nallow = ["Bash(git *)", "Read"]\n')
        (self.folder / "prompts/agent.md").write_text("You are a double.\n")
        if self.claude.parent == DOUBLES:
            shutil.copy(self.claude, self.folder)
        else:
            (self.folder / "claude").symlink_to(self.claude)

    # systemd's part

    def start(self) -> None:
        self.invocation = f"{next(INVOCATION):032x}"
        cage = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        program = [sys.executable, os.fspath(DOUBLES / "cage.py"), os.fspath(self.folder), "ada"]
        env = {
            "PYTHONPATH": os.fspath(ROOT),
            "INVOCATION_ID": self.invocation,
            "NOTIFY_SOCKET": "/mnt/notify",
        }
        self.process = subprocess.Popen(
            [*cage, *program, str(self.uid), str(self.fifo), *self.settings],
            env=os.environ | env,
            pass_fds=[self.fifo],
            stderr=(self.folder / "stderr").open("ab"),
        )

    @contextmanager
    def supervised(self) -> Iterator[None]:
        """Whatever comes through the FIFO starts the harness, unless it runs."""
        stop, end = os.pipe()

        def supervise() -> None:
            while stop not in select.select([self.fifo, stop], [], [])[0]:
                self.start()
                self.exited()

        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(supervise)
            try:
                yield
            finally:
                os.close(end)
                running.result()
                os.close(stop)

    def take_notices(self) -> None:
        """As they come: some kernels hold ten of them, and who sends the next one waits."""
        while text := self.notified.recv(4096).decode():
            self.notices.put(text)

    @property
    def pid(self) -> int:
        """The harness's; unshare only waits for it."""
        assert self.process
        while not (found := children(self.process.pid)):
            assert self.process.poll() is None, self.stderr()
            time.sleep(0.01)  # no event says it; it fails when the process is gone
        return found[0]

    def exited(self) -> int:
        assert self.process
        return self.process.wait(20)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.fifo)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", os.fspath(self.folder / "notify"))  # the last notice
        self.reader.join()
        self.notified.close()

    def poked(self) -> bool:
        return bool(select.select([self.fifo], [], [], 0)[0])

    # what one can see

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def wait_for_status(self, text: str) -> None:
        """What systemd is told next that says this."""
        while text not in self.notices.get(timeout=20):
            pass

    def send(self, body: str) -> int:
        sent = self.operator.ask("send", to="ada", body=body)
        number: int = sent["ids"][0]
        return number

    def wait_for(self, event: str, **about: Any) -> Any:
        """The next event of this kind that says this."""
        while True:
            message = self.events.read()
            assert message is not None, "the broker hung up"
            self.seen.append(message)
            if message["event"] == event and about.items() <= message.items():
                return message

    def mail(self, number: int) -> Any:
        rows = self.operator.ask("mail", agent="ada", limit=1000)["messages"]
        return next(row for row in rows if row["id"] == number)

    def turns(self) -> list[Any]:
        """Oldest first."""
        shown: list[Any] = self.operator.ask("show", agent="ada")["recent_turns"]
        return shown[::-1]

    def log(self) -> list[Any]:
        path = self.home / "double.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def starts(self) -> list[Any]:
        return [entry for entry in self.log() if "start" in entry]

    def inside(self) -> dict[int, str]:
        """What runs in the cage besides the harness, by its pid there; a zombie's state is Z."""
        found = {}
        parents = [self.pid]  # orphans come to it
        while parents:
            for child in children(parents.pop()):
                try:
                    text = Path(f"/proc/{child}/status").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                status = dict(line.split(":\t", 1) for line in text.splitlines())
                found[int(status["NSpid"].split()[-1])] = status["State"][0]
                parents.append(child)
        return found


def children(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


@contextmanager
def caged(here: Hive, **settings: Any) -> Iterator[Cage]:
    it = Cage(here, **settings)
    try:
        yield it
    finally:
        it.close()
