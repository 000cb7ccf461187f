"""A gate whose names and journal are the test's: what it looks up is decided here, what it says is heard."""

import contextlib
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hyperhive.apply import tree
from tests import endpoints
from tests.endpoints import Gate, wait_until
from tests.scripted_model import BASE

NAME_SERVER = "127.0.0.153"
Fact = dict[str, str]
# A mount namespace of its own: hosts and a name server of the test's, which hears what goes to the journal.
INSIDE = """
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/resolv.conf" /etc/resolv.conf
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
    facts: "queue.Queue[Fact]"

    def allow(self, *rules: str, agent: str = "ada") -> None:
        """As hive-apply does it: another folder in the place of the old one."""
        new = self.folder / "deployed" / f".{agent}.new"
        new.mkdir()
        listed = ", ".join(f'"{rule}"' for rule in rules)
        (new / "agent.toml").write_text(f"[egress]\nallow = [{listed}]\n")
        here = self.folder / "deployed" / agent
        if here.exists():
            tree.exchange(new, here)
            tree.remove(new)
        else:
            new.rename(here)

    def hosts(self, *lines: str) -> None:
        (self.folder / "hosts").write_text("".join(f"{line}\n" for line in lines))

    def fact(self, event: str, **wanted: object) -> Fact:
        """The next one of which this holds."""
        while True:
            found = self.facts.get(timeout=endpoints.PATIENCE)
            if found.get("HIVE_EVENT") == event and all(found[key] == str(wanted[key]) for key in wanted):
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

    def refuses(self, to: str) -> tuple[int, str, Fact]:
        return self.refused(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")


def hear(journal: socket.socket, facts: "queue.Queue[Fact]") -> None:
    """The journal's own format, as long as no value has a line break."""
    while entry := journal.recv(65536):
        facts.put(dict(line.partition("=")[::2] for line in entry.decode().splitlines()))


@contextlib.contextmanager
def outside(
    folder: Path, config: str = "", *, network: Sequence[str] = (), **setenv: str
) -> Iterator[Outside]:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    endpoints.agent(folder, "ada", BASE)
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    (folder / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n")
    (folder / "journal").mkdir()
    inside = (*network, "unshare", "--mount", "bash", "-euc", INSIDE, "inside", os.fspath(folder))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(os.fspath(folder / "journal/socket"))
        facts: queue.Queue[Fact] = queue.Queue()
        threading.Thread(target=hear, args=(journal, facts), daemon=True).start()
        with (
            endpoints.gate(folder, config, inside=inside, **setenv) as gate,
            endpoints.relay(gate.path, BASE) as url,
        ):
            yield Outside(folder, gate, url, facts)
        journal.shutdown(socket.SHUT_RDWR)


@dataclass
class Server:
    """Somebody on loopback, each of whose connections `behave` has in a thread."""

    behave: Callable[[socket.socket], None]
    address: str = "127.0.0.1"
    port: int = 0
    says: bytes = b""

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


@dataclass
class Names:
    """A name server whose answers change: each address once, the last one from then on."""

    addresses: list[str]
    asked: int = 0

    def __enter__(self) -> "Names":
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((NAME_SERVER, 53))
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = self.sock.recvfrom(512)
                if not question:
                    return
                self.sock.sendto(self.answer(question), client)

    def answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", 12) + 5
        asked, wants_ipv4 = question[12:end], question[end - 4 : end - 2] == b"\0\1"
        head = question[:2] + b"\x81\x80\0\1" + (b"\0\1" if wants_ipv4 else b"\0\0") + b"\0\0\0\0"
        if not wants_ipv4:
            return head + asked
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        self.asked += 1
        return head + asked + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(address)

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # not connected, it says, and wakes the thread all the same
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def is_elsewhere(pid: int) -> bool:
    return not Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net")


@contextlib.contextmanager
def two_hosts(here: str, there: str) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Two networks joined by one cable; the start of a command that is to run in each."""
    with contextlib.ExitStack() as stack:
        holders = [
            stack.enter_context(subprocess.Popen(["unshare", "--net", "cat"], stdin=-1)) for _ in "ab"
        ]
        for holder in holders:
            stack.callback(holder.terminate)
        enter = [("nsenter", f"--net=/proc/{holder.pid}/ns/net") for holder in holders]
        for holder in holders:
            wait_until(partial(is_elsewhere, holder.pid), holder)
        cable = ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns"]
        subprocess.run([*enter[0], *cable, str(holders[1].pid)], check=True)
        for command, address in zip(enter, (here, there), strict=True):
            subprocess.run([*command, "ip", "address", "add", f"{address}/24", "dev", "cable"], check=True)
            subprocess.run([*command, "ip", "link", "set", "cable", "up"], check=True)
        yield enter[0], enter[1]
