"""A gate whose names and journal are the test's: what it looks up is decided here, what it says is heard."""

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import endpoints
from tests.endpoints import Gate
from tests.scripted_model import BASE

Fact = dict[str, str]
# A mount namespace of its own: hosts instead of a name server, and the test hears what goes to the journal.
INSIDE = """
mount --bind "$1/hosts" /etc/hosts
mount -t tmpfs tmpfs /run
mkdir /run/systemd
ln -s "$1/journal" /run/systemd/journal
shift
exec "$@"
"""


@dataclass
class Outside:
    folder: Path
    gate: Gate
    url: str  # ada's side
    journal: socket.socket

    def allow(self, *rules: str, agent: str = "ada") -> None:
        """As hive-apply does it: another folder in the place of the old one."""
        new = self.folder / "deployed" / f".{agent}.new"
        new.mkdir()
        listed = ", ".join(f'"{rule}"' for rule in rules)
        (new / "agent.toml").write_text(f"[egress]\nallow = [{listed}]\n")
        here = self.folder / "deployed" / agent
        if here.exists():
            here.rename(self.folder / "deployed" / f".{agent}.{os.urandom(4).hex()}")
        new.rename(here)

    def hosts(self, *lines: str) -> None:
        (self.folder / "hosts").write_text("".join(f"{line}\n" for line in lines))

    def fact(self, event: str) -> Fact:
        """The next one."""
        while True:
            found = parse(self.journal.recv(65536))
            if found.get("HIVE_EVENT") == event:
                return found

    def connect(self, to: str) -> socket.socket:
        """Through a tunnel, or the refusal."""
        s = endpoints.connect(self.url)
        s.sendall(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())
        head = endpoints.until(s, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return s

    def refused(self, request: str) -> tuple[int, str, Fact]:
        """Status, reason and fact."""
        head = endpoints.talk(self.url, request.encode("latin-1")).partition(b"\r\n")[0].decode()
        _, status, reason = head.split(" ", 2)
        return int(status), reason, self.fact("egress_denied")


def parse(entry: bytes) -> Fact:
    """The journal's own format, as long as no value has a line break."""
    lines = entry.decode().splitlines()
    return dict(line.partition("=")[::2] for line in lines)


@contextlib.contextmanager
def outside(folder: Path, config: str = "", *arguments: str | Path, **setenv: str) -> Iterator[Outside]:
    folder.chmod(0o755)
    endpoints.agent(folder, "ada", BASE)
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    (folder / "journal").mkdir()
    inside = ("unshare", "--mount", "bash", "-euc", INSIDE, "inside", os.fspath(folder))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(os.fspath(folder / "journal/socket"))
        journal.settimeout(endpoints.PATIENCE)
        with (
            endpoints.gate(folder, config, *arguments, inside=inside, **setenv) as gate,
            endpoints.relay(gate.path, BASE) as url,
        ):
            yield Outside(folder, gate, url, journal)


@dataclass
class Server:
    """Somebody on loopback, each of whose connections `behave` has in a thread."""

    behave: Callable[[socket.socket], None]
    address: str = "127.0.0.1"
    seen: "queue.Queue[bytes]" = field(default_factory=queue.Queue)
    port: int = 0

    def __enter__(self) -> "Server":
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self.listener = socket.create_server((self.address, 0), family=family)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                s = self.listener.accept()[0]
                threading.Thread(target=self.handle, args=(s,), daemon=True).start()

    def handle(self, s: socket.socket) -> None:
        s.settimeout(endpoints.PATIENCE)
        with s, contextlib.suppress(OSError):
            self.behave(s)

    def __exit__(self, *error: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def echo(s: socket.socket) -> None:
    while data := s.recv(65536):
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)
