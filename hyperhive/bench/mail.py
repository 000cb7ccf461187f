"""The figures of `make bench` on the speed of mail: a broker of its own, beside Redis on the same disk."""

import itertools
import json
import os
import resource
import select
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hyperhive.bench.bench import WAIT, Figure, figure, status_kb
from hyperhive.problem import Problem
from hyperhive.store.store import Store, now

PROGRAM = Path(__file__).resolve().parents[2] / "bin/hive-broker"
REDIS = "/usr/bin/redis-check-rdb"  # in redis-tools; by the name that it is called it is the server, too
BODY = "x" * 200
AGENTS = 1000
NAMES = [f"a{number:03}" for number in range(AGENTS)]
BASE, RANGE = 1_200_000_000, 65_536  # uids: the peer's must lie in its agent's range
SENDERS = 50
PAIRS = 7  # of runs, ours and Redis's in turn
ONE, MANY = 1_000, 5_000  # messages in a run: of one client, of all fifty
ROUNDS = 300  # measurements of a latency in a run
SIZES = (1_000, 100_000, 1_000_000)  # messages in the database
IDLE = 10  # seconds
PAGE = b"x" * 4096
BROKERS_NICE = -10  # as hive-broker.service says; Redis has the same

Line = bytes


class Peer:
    """A connection that writes lines made beforehand and looks at no more than the end of what comes."""

    def __init__(self, path: Path, uid: int = 0) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT)
        # The kernel reports who called connect(). The path is short, as that uid may not walk down to it.
        before = Path.cwd()
        os.chdir(path.parent)
        os.seteuid(uid)
        try:
            self.sock.connect(path.name)
        finally:
            os.seteuid(0)
            os.chdir(before)

    def read(self) -> bytes:
        data = self.sock.recv(65536)
        while not data.endswith(b"\n"):
            more = self.sock.recv(65536)
            if not more:
                raise Problem("hung-up", "the server hung up")
            data += more
        return data

    def ask(self, line: Line) -> bytes:
        self.sock.sendall(line)
        return self.read()


def request(op: str, **fields: object) -> Line:
    return json.dumps({"id": 1, "op": op} | fields).encode() + b"\n"


def listening(path: Path, process: subprocess.Popen[bytes]) -> None:
    while True:
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError) as e:
            if process.poll() is not None:
                raise Problem("failed", f"{process.args!r} went away") from e
            time.sleep(0.01)  # no event says that it listens
        else:
            return
        finally:
            probe.close()


@contextmanager
def running(command: list[str], path: Path, program: str | None = None, nice: int = 0) -> Iterator[int]:
    """In a session of its own, as a unit's, with the share of the processors that its Nice= stands for."""
    environment = os.environ | {"PYTHONPATH": os.fspath(PROGRAM.parent.parent)}
    process = subprocess.Popen(
        command,
        env=environment,
        executable=program,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        os.setpriority(os.PRIO_PROCESS, process.pid, nice)
        if (group := Path(f"/proc/{process.pid}/autogroup")).exists():
            group.write_text(str(nice))
        listening(path, process)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def redis(folder: Path) -> Iterator[Path]:
    path = folder / "redis.sock"
    settings = {"port": "0", "unixsocket": os.fspath(path), "dir": os.fspath(folder), "save": ""}
    settings |= {"appendonly": "yes", "appendfsync": "always"}
    command = ["redis-server", *(word for key, value in settings.items() for word in (f"--{key}", value))]
    with running(command, path, REDIS, BROKERS_NICE):
        yield path


class Hive:
    """The real broker on a database that we have filled."""

    def __init__(self, folder: Path, names: Sequence[str] = NAMES) -> None:
        self.folder = folder
        for each in ("db", "apply", "run/agents", "run/wake"):
            (folder / each).mkdir(parents=True)
        self.pid = 0
        self.sink: Peer | None = None
        self.names = list(names)
        self.next_name = itertools.cycle(self.names[:-1])  # the last one gets what nobody reads
        store = Store(folder / "db/hive.db")
        for number, name in enumerate(self.names):
            about = {"role": "agent", "uid_base": BASE + number * RANGE, "description": ""}
            store.register({"name": name, "created_at": now(), "model": None} | about)
        store.db.close()

    def fill(self, count: int) -> None:
        """As if so many had been delivered: each agent has written to its neighbours."""
        path = self.folder / "db/hive.db"
        db = sqlite3.connect(path, isolation_level=None)
        db.executescript("pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -500000")
        db.execute(
            """
            with recursive n(i) as (
                select coalesce(max(id), 0) + 1 from message union all select i + 1 from n where i < ?
            )
            insert into message(sender, recipient, body, sent_at, state, attempts, invocation, done_at)
            select printf('a%03d', i % ?), printf('a%03d', i * 7 % ?), ?, ?, 'done', 1, ?, ? from n
            """,
            (count, len(self.names) - 1, len(self.names) - 1, BODY, now(), "0" * 32, now()),
        )
        db.close()
        with path.open("rb") as file:
            os.fsync(file.fileno())

    @contextmanager
    def broker(self) -> Iterator[None]:
        run = self.folder / "run"
        sockets = [run / "operator.sock", run / "system.sock"]
        for path in sockets:
            path.unlink(missing_ok=True)
        listen = [f"--listen={path}" for path in sockets]
        activate = ["systemd-socket-activate", *listen, "--fdname=operator:system", "--setenv=PYTHONPATH"]
        program = [sys.executable, os.fspath(PROGRAM), f"--state={self.folder}", f"--run={run}"]
        with running(activate + program, sockets[1], nice=BROKERS_NICE) as self.pid:
            if b'"ok":true' not in Peer(sockets[0]).ask(request("status")):  # once it is ready
                raise Problem("failed", "the broker does not answer")
            self.sink = self.agent(self.names[-1], "harness")  # awake, or each message would try to wake it
            yield

    def agent(self, name: str, role: str = "tool") -> Peer:
        uid = BASE + self.names.index(name) * RANGE
        peer = Peer(self.folder / f"run/agents/{name}/hive.sock", uid)
        hello = peer.ask(request("hello", role=role, invocation=f"{uid:032x}"))
        if b'"ok":true' not in hello:
            raise Problem("failed", f"hello: {hello!r}")
        return peer

    def senders(self, count: int) -> list[Peer]:
        """Others each time: a sender may have so many undelivered messages and no more."""
        return [self.agent(next(self.next_name)) for _ in range(count)]


def load(peers: list[Peer], line: Line, count: int, good: bytes) -> float:
    """Lines a second, each sender waiting for its answer before it sends the next."""
    poll = select.epoll()
    socks = {peer.sock.fileno(): peer.sock for peer in peers}
    for fd in socks:
        poll.register(fd, select.EPOLLIN)
    left, done = count - len(socks), 0
    began = time.perf_counter()
    for sock in socks.values():
        sock.send(line)
    while done < count:
        for fd, _ in poll.poll(WAIT):
            if good not in socks[fd].recv(4096):
                raise Problem("failed", "a message was not taken")
            done += 1
            if left:
                left -= 1
                socks[fd].send(line)
    took = time.perf_counter() - began
    poll.close()
    return count / took


def pairs(hive: Hive, other: Path) -> list[Figure]:
    ours = request("send", to=hive.names[-1], body=BODY)
    theirs = f"*3\r\n$5\r\nLPUSH\r\n$1\r\nq\r\n$200\r\n{BODY}\r\n".encode()
    figures = []
    for count, messages, limit in ((1, ONE, 0.8), (SENDERS, MANY, 0.4)):
        rates: list[tuple[float, float]] = []
        for _ in range(PAIRS):
            peers, pushers = hive.senders(count), [Peer(other) for _ in range(count)]
            rates.append((load(peers, ours, messages, b'"ok":true'), load(pushers, theirs, messages, b":")))
        who = "1 client" if count == 1 else f"{count} clients"
        figures += [
            figure(f"durable send, {who}", "/s", [rate for rate, _ in rates], None),
            figure(f"… Redis LPUSH, appendfsync always, {who}", "/s", [rate for _, rate in rates], None),
            figure("… ours to Redis's", "of it", [a / b for a, b in rates], limit, at_least=True),
        ]
    return figures


def rank(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def latency(name: str, runs: list[list[float]], limits: tuple[float, float] | None) -> list[Figure]:
    """Seconds in, milliseconds out: the middle and the worst hundredth of each run."""
    shares = zip((0.5, 0.99), limits or (None, None), strict=True)
    return [
        figure(f"{name}, p{share * 100:.0f}", "ms", [rank(run, share) * 1000 for run in runs], limit)
        for share, limit in shares
    ]


def disk(folder: Path) -> list[float]:
    """What no program can beat: four kilobytes at the end of a file, and onto the disk."""
    times = []
    with (folder / "append").open("ab", buffering=0) as file:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            file.write(PAGE)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return times


def send_times(hive: Hive) -> list[float]:
    (peer,) = hive.senders(1)
    line = request("send", to=hive.names[-1], body=BODY)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        peer.ask(line)
        times.append(time.perf_counter() - began)
    return times


def recv_times(sender: Peer, receivers: dict[str, Peer]) -> list[float]:
    """From the send until the parked recv has returned; then it is acked and the next recv parked."""
    again = request("ack") + request("recv", wait_seconds=180)
    times = []
    for name in itertools.islice(itertools.cycle(receivers), ROUNDS):
        line = request("send", to=name, body=BODY)
        began = time.perf_counter()
        sender.sock.sendall(line)
        mail = receivers[name].read()
        times.append(time.perf_counter() - began)
        acked = receivers[name].ask(again)
        if BODY.encode() not in mail or b'"ok":true' not in sender.read() or b'"acked":1' not in acked:
            raise Problem("failed", "mail was not delivered as it should be")
    return times


def parked(hive: Hive, names: list[str]) -> dict[str, Peer]:
    peers = {name: hive.agent(name, "harness") for name in names}
    for peer in peers.values():
        peer.sock.sendall(request("recv", wait_seconds=180))
    return peers


def recv_figures(hive: Hive, receivers: dict[str, Peer], among: str) -> list[Figure]:
    """The disk in turn with it: no answer can come before the disk has taken the message."""
    (sender,) = hive.senders(1)
    runs = [(disk(hive.folder), recv_times(sender, receivers)) for _ in range(PAIRS)]
    return [
        *latency(f"send → parked recv, {among}", [ours for _, ours in runs], (1, 5)),
        *latency("… the disk meanwhile: append 4 KiB, fdatasync", [bare for bare, _ in runs], None),
    ]


def stored(hive: Hive, size: int) -> list[Figure]:
    """With so many messages in the database."""
    sends = [send_times(hive) for _ in range(PAIRS)]
    return [
        *latency(f"send, {size} messages stored", sends, None),
        *recv_figures(hive, parked(hive, hive.names[:1]), f"{size} stored"),
    ]


def crowd(hive: Hive) -> list[Figure]:
    """All agents connected, and all parked but the one that reads nothing."""
    receivers = parked(hive, hive.names[:-1])
    figures = recv_figures(hive, receivers, f"{SIZES[-1]} stored, {AGENTS} parked")
    before = cpu_seconds(hive.pid)
    time.sleep(IDLE)  # what it does while nothing happens can only be seen over a time
    share = (cpu_seconds(hive.pid) - before) / IDLE * 100
    return [
        *figures,
        figure(f"broker with {AGENTS} agents parked, RSS", "MB", [status_kb(hive.pid, "VmRSS") / 1024], 120),
        figure(f"broker with {AGENTS} agents parked, idle, of a core", "%", [share], 0.5),
    ]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(parent: Path) -> list[Figure]:
    """`parent` is a folder on the disk that is to be measured."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o711)
        figures: list[Figure] = []
        hive = Hive(folder / "hive")
        for size in SIZES:
            hive.fill(size)
            with hive.broker():
                figures += stored(hive, size)
                if size == SIZES[0]:
                    with redis(folder) as other:
                        figures += pairs(hive, other)
                if size == SIZES[-1]:
                    figures += crowd(hive)
    return figures
