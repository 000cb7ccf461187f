"""The figures of `make bench`, measured inside the box on the running hive."""

import json
import os
import platform
import select
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hyperhive.client import Client, Connection
from hyperhive.problem import Problem
from hyperhive.wire import Message

RUNS = 20
SLEEPERS = 100
CRASHES = 50
IDLE = 20
LIB = "/usr/lib/hyperhive/bin"
OPERATOR = "/run/hyperhive/operator.sock"
WAIT = 30  # seconds of silence after which something is wrong
TOML = 'linger = 300\n[tools]\nallow = ["Bash"]\n'
RULES = """
[[rule]]
text = "answer me"
[[rule.steps]]
call = [{ name = "mcp__hive__send", input = { to = "operator", body = "here I am" } }]
[[rule.steps]]
say = "done"
[[rule]]
text = "."
say = "done"
"""


@dataclass(frozen=True)
class Figure:
    name: str
    unit: str
    median: float
    low: float
    high: float
    runs: int
    limit: float | None  # None: only for comparison
    at_least: bool = False  # else the limit is the most it may be

    @property
    def reached(self) -> bool:
        if self.limit is None:
            return True
        return self.median >= self.limit if self.at_least else self.median <= self.limit


def figure(
    name: str, unit: str, values: list[float], limit: float | None, *, at_least: bool = False
) -> Figure:
    middle = statistics.median(values)
    return Figure(name, unit, middle, min(values), max(values), len(values), limit, at_least)


class Model:
    """A rehearsal model of the bench's own: it tells to the nanosecond when a request came."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "requests.jsonl"
        rules = folder / "rules.toml"
        rules.write_text(RULES)
        command = [f"{LIB}/hive-rehearsal", "--listen=127.0.0.1:0", f"--rules={rules}", f"--log={self.log}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = f"http://{self.process.stdout.readline().strip()}"

    def requests(self) -> list[Message]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextmanager
def model() -> Iterator[Model]:
    with tempfile.TemporaryDirectory() as folder:
        it = Model(Path(folder))
        Path("/etc/hyperhive/hive.toml").write_text(f'[model]\nendpoint = "{it.url}"\n')
        systemctl("restart", "hive-gate.service")
        try:
            yield it
        finally:
            it.close()


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", "--quiet", *words], check=True, stderr=subprocess.DEVNULL)


def until(events: Connection, event: str, agent: str) -> Message:
    while (came := events.next_event(WAIT)) is not None:
        if came["event"] == event and came.get("agent") == agent:
            return came
    raise Problem("silence", f"no '{event}' of {agent} within {WAIT} s", hint="journalctl --unit='hive-*'")


def sleep(name: str) -> None:
    systemctl("stop", f"hive-agent@{name}.service")
    systemctl("reset-failed", f"hive-agent@{name}.service")  # so many starts in a row are a crash loop else


def turn(client: Client, events: Connection, endpoint: Model, name: str) -> dict[str, float]:
    """One message and its turn: milliseconds from the moment that the broker took it."""
    before = len(endpoint.requests())
    client.call("send", to=name, body="go")
    accepted = time.monotonic_ns()
    times: dict[str, float] = {}
    while "turn" not in times:
        came = events.next_event(WAIT)
        if came is None:
            raise Problem("silence", f"no turn of {name} within {WAIT} s")
        if came.get("agent") == name:
            times.setdefault(came["event"], (time.monotonic_ns() - accepted) / 1e6)
            if came["event"] == "awake":
                times["wake"] = came["wake_ms"]
    first = endpoint.requests()[before]
    times["request"] = (first["mono_ns"] - accepted) / 1e6
    return times


def bare(endpoint: Model, home: str) -> float:
    """Milliseconds from exec to the first request of a plain `claude --print` in an empty home."""
    before = len(endpoint.requests())
    quiet = ("DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC")
    environment = {"HOME": home, "PATH": os.environ["PATH"]} | dict.fromkeys(quiet, "1")
    environment |= {"ANTHROPIC_BASE_URL": endpoint.url, "ANTHROPIC_API_KEY": "none"}
    began = time.monotonic_ns()
    command = [f"{LIB}/claude", "--print", "go"]
    subprocess.run(
        command, env=environment, cwd=home, check=True, stdin=subprocess.DEVNULL, capture_output=True
    )
    first = endpoint.requests()[before]
    return float(first["mono_ns"] - began) / 1e6


def waking(client: Client, events: Connection, endpoint: Model) -> list[Figure]:
    client.call("spawn", agent="sleeper", toml=TOML)
    awake, request, plain = [], [], []
    with tempfile.TemporaryDirectory() as home:
        bare(endpoint, home)  # the first one of all writes its settings
        turn(client, events, endpoint, "sleeper")
        for _ in range(RUNS):
            sleep("sleeper")
            times = turn(client, events, endpoint, "sleeper")
            awake.append(times["wake"])
            request.append(times["request"])
            plain.append(bare(endpoint, home))
    more = [ours - theirs for ours, theirs in zip(request, plain, strict=True)]
    return [
        figure("asleep → harness in the cage says hello", "ms", awake, 200),
        figure("asleep → first request at the model", "ms", request, None),
        figure("bare claude --print → first request", "ms", plain, None),
        figure("… the hive's wake takes more by", "ms", more, 250),
    ]


def warm(client: Client, events: Connection, endpoint: Model) -> list[Figure]:
    client.call("spawn", agent="warm", toml=TOML)
    turn(client, events, endpoint, "warm")
    runs = [turn(client, events, endpoint, "warm") for _ in range(RUNS)]
    return [
        figure("warm: send accepted → request at the model", "ms", [run["request"] for run in runs], 60),
        # the harness says so just before it writes the prompt
        figure("warm: … of that, until claude has the prompt", "ms", [run["progress"] for run in runs], 10),
    ]


def status_kb(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def processes(name: str) -> dict[int, str]:
    group = f"/sys/fs/cgroup/hyperhive.slice/hyperhive-agents.slice/hive-agent@{name}.service"
    pids = [int(pid) for file in Path(group).rglob("cgroup.procs") for pid in file.read_text().split()]
    return {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in pids}


def memory(client: Client) -> list[Figure]:
    own = {pid: line for pid, line in processes("warm").items() if "bin/claude " not in line}
    rss = sum(status_kb(pid, "VmRSS") for pid in own) / 1024
    before = status_kb(1, "VmRSS")
    for number in range(SLEEPERS):
        client.call("spawn", agent=f"idle-{number:03}", toml=TOML)
    each = (status_kb(1, "VmRSS") - before) / SLEEPERS
    running = sum(
        len(list(Path("/sys/fs/cgroup").rglob(f"hive-agent@idle-{n:03}.service"))) for n in range(SLEEPERS)
    )
    return [
        figure("an awake agent's processes but claude, RSS", "MB", [rss], 45),
        figure(f"a sleeping agent in PID 1 (of {SLEEPERS})", "KB", [each], 20),
        figure(f"processes of {SLEEPERS} sleeping agents", "", [running], 0),
    ]


def main_pid(unit: str) -> int:
    command = ["systemctl", "show", "--value", "--property=MainPID", unit]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def told(events: Connection, names: list[str], began: float) -> list[float]:
    """Milliseconds until the mail about each one's crash is in the manager's inbox."""
    times: dict[str, float] = {}
    while len(times) < len(names):
        came = events.next_event(WAIT)
        if came is None:
            raise Problem("silence", f"{len(times)} of {len(names)} crashes were told", hint="hive-watch(8)")
        if came["event"] == "mail" and came["from"] == "system" and came["to"] in ("manager", "operator"):
            body = json.loads(came["body"])
            if body["event"] == "container_crash" and body["agent"] in names:
                if body["agent"] in times:
                    raise Problem("twice", f"the crash of {body['agent']} was told twice")
                times[body["agent"]] = (time.monotonic() - began) * 1000
    return [*times.values()]


def crashes(client: Client, events: Connection) -> list[Figure]:
    """50 agents with claude would not fit a small machine, so these run something that costs nothing."""
    drop_in = Path("/run/systemd/system/hive-agent@.service.d/bench.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    start = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=exec\nExecStart=\nExecStart=sleep infinity\n"
    drop_in.write_text(start)
    systemctl("daemon-reload")
    single: list[float] = []
    names = [f"idle-{number:03}" for number in range(CRASHES)]
    for name in names:
        systemctl("start", f"hive-agent@{name}.service")
        until(events, "started", name)
        pid = main_pid(f"hive-agent@{name}.service")
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        single += told(events, [name], began)
    systemctl("start", *[f"hive-agent@{name}.service" for name in names])
    pids = [main_pid(f"hive-agent@{name}.service") for name in names]
    began = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    together = max(told(events, names, began))
    drop_in.unlink()
    systemctl("daemon-reload")
    systemctl("reset-failed")
    return [
        figure("SIGKILL of an agent → mail for the manager", "ms", single, 50),
        figure("… its 99th percentile", "ms", [statistics.quantiles(single, n=100)[98]], 250),
        figure(f"{CRASHES} agents killed at once: all told", "ms", [together], 2000),
    ]


def watching() -> list[Figure]:
    """Idle for IDLE seconds: once in 10 seconds it feeds its watchdog."""
    pid = main_pid("hive-watch.service")
    threading.Event().wait(IDLE)  # what went before leads to events of its own
    before = status_kb(pid, "voluntary_ctxt_switches")
    threading.Event().wait(IDLE)  # the figure is about time
    woken = status_kb(pid, "voluntary_ctxt_switches") - before
    return [
        figure("hive-watch, RSS", "MB", [status_kb(pid, "VmRSS") / 1024], 25),
        figure(f"hive-watch wakes up in {IDLE} idle seconds", "", [woken], IDLE // 10 + 1),
    ]


def initialize() -> float:
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "b", "version": "1"},
    }
    request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    began = time.monotonic()
    with subprocess.Popen([f"{LIB}/hive-mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin and server.stdout
        server.stdin.write(json.dumps(request).encode() + b"\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], WAIT)[0]:
            raise Problem("silence", "hive-mcp does not answer")
        took = (time.monotonic() - began) * 1000
        server.stdin.close()
    return took


def run() -> list[dict[str, Any]]:
    with (
        model() as endpoint,
        Client(OPERATOR, patience=10) as client,
        Client(OPERATOR, patience=10) as watcher,
    ):
        events = watcher.subscribe()
        figures = waking(client, events, endpoint) + warm(client, events, endpoint) + memory(client)
        figures += crashes(client, events) + watching()
    figures.append(
        figure("hive-mcp: start → answer to initialize", "ms", [initialize() for _ in range(RUNS)], 60)
    )
    return [asdict(each) for each in figures]


def seconds(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, systemd {said.split()[1]}"


def digits(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def show(figures: list[Figure]) -> None:
    """A table on stderr, JSON on stdout."""
    table = Table("figure", "median", "min", "max", "runs", "limit", "", box=None, title=machine())
    for each in figures:
        numbers = [f"{digits(value)} {each.unit}" for value in (each.median, each.low, each.high)]
        limit = "" if each.limit is None else f"{'≥' if each.at_least else '≤'} {each.limit:g} {each.unit}"
        table.add_row(each.name, *numbers, str(each.runs), limit, "reached" if each.reached else "MISSED")
    Console(width=130, stderr=True).print(table)
    print(json.dumps({"machine": machine(), "figures": [asdict(each) for each in figures]}))
