"""What hive-watch tells of each way in which a unit can end: one event per run, or rightly none."""

import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.box.crew import DONE, Crew, Event, Watch
from tests.box.test_agent import HANG_ONCE, hold

KINDS = ("container_crash", "stopped", "finished", "quarantined", "recovered")
NUMBERS = itertools.count(1)
FOREIGN = "systemd-nspawn@plain.service"


@pytest.fixture(scope="module")
def crash_crew(crew: Crew) -> Crew:
    """No start limit for ada: these tests kill it more often than five times in 20 seconds."""
    drop_in = crew.root / "run/systemd/system/hive-agent@ada.service.d/90-test.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("[Unit]\nStartLimitIntervalSec=0\n")
    crew.run("systemctl", "daemon-reload")
    return crew


@pytest.fixture
def told(crash_crew: Crew, watch: Watch) -> Iterator["Told"]:
    told = Told(crash_crew, watch)
    yield told
    for file in told.drop_ins:
        file.unlink()
    crash_crew.run("systemctl", "daemon-reload")
    crash_crew.run("systemctl", "start", "hive-watch.service", "hyperhive.target")


class Told:
    def __init__(self, crew: Crew, watch: Watch) -> None:
        self.crew = crew
        self.watch = watch
        self.drop_ins: list[Path] = []

    def wake(self, name: str = "ada") -> str:
        """The invocation of a run that has done a turn and is known to hive-watch."""
        running = self.crew.property(f"hive-agent@{name}.service", "ActiveState") == "active"
        number = self.crew.send(name, "go")
        if not running:
            self.watch.until("started", unit=f"hive-agent@{name}.service")
        self.watch.until("done", id=number)
        return self.crew.property(f"hive-agent@{name}.service", "InvocationID")

    def ends(self, invocation: str) -> list[str]:
        return [
            e["event"] for e in self.watch.seen if e.get("invocation") == invocation and e["event"] in KINDS
        ]

    def drop_in(self, unit: str, *lines: str) -> None:
        file = self.crew.root / f"run/systemd/system/{unit}.d/90-test.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
        self.drop_ins.append(file)
        self.crew.run("systemctl", "daemon-reload")

    def settle(self) -> None:
        """Whatever was to be said of the past has been said once a later run has been told of."""
        unit = f"hive-probe-{next(NUMBERS)}.service"
        self.crew.run("systemd-run", "--quiet", f"--unit={unit}", "true")
        self.watch.until("finished", unit=unit)

    def only(self, invocation: str, kind: str, **fields: Any) -> Event:
        """The one event about this run."""
        came = next(
            (e for e in self.watch.seen if e.get("invocation") == invocation and e["event"] == kind), None
        )
        came = came or self.watch.until(kind, invocation=invocation)
        self.settle()
        assert self.ends(invocation) == [kind]
        assert {key: came[key] for key in fields} == fields
        return came

    def mail(self, invocation: str, to: str = "manager") -> list[Event]:
        rows = self.crew.call("mail", agent=to, limit=100)["messages"]
        bodies = [json.loads(row["body"]) for row in rows if row["from"] == "system"]
        return [body for body in bodies if body.get("invocation") == invocation]


SIGKILL: dict[str, Any] = {"result": "signal", "signal": "SIGKILL", "exit_status": None, "agent": "ada"}


def test_kill_of_nspawn(told: Told) -> None:
    run = told.wake()
    began = told.crew.property("hive-agent@ada.service", "ExecMainStartTimestampMonotonic")
    told.crew.run("kill", "-KILL", str(told.crew.process("ada", "systemd-nspawn")))
    event = told.only(run, "container_crash", **SIGKILL, machine="h-ada", in_flight=[], restarted=False)
    lived = time.monotonic() - int(began) / 1e6
    assert 0 < event["runtime"] < lived + 1
    (mail,) = told.mail(run)
    assert mail["event"] == "container_crash"
    assert (mail["unit"], mail["memory_peak"]) == ("hive-agent@ada.service", None)


def test_kill_of_the_harness_in_mid_turn(told: Told) -> None:
    number = hold(told.crew, told.watch, "ada")
    run = told.crew.property("hive-agent@ada.service", "InvocationID")
    told.crew.run("kill", "-KILL", str(told.crew.process("ada", "bin/hive-harness")))
    event = told.watch.until("container_crash", invocation=run)
    assert (event["result"], event["in_flight"], event["restarted"]) == ("exit-code", [number], True)
    told.watch.until("done", id=number)
    (row,) = told.crew.call("mail", limit=1, before=number + 1)["messages"]
    assert re.fullmatch(r"the run that had it crashed: exit status \d+ after \d+ s", row["reason"]), row
    told.only(run, "container_crash")


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_systemctl_kill(told: Told, signal: str) -> None:
    run = told.wake()
    told.crew.run("systemctl", "kill", f"--signal={signal}", "hive-agent@ada.service")
    # SIGTERM is how one asks a service to end
    told.only(run, "finished" if signal == "TERM" else "container_crash")


def test_stop_is_no_crash(told: Told) -> None:
    run = told.wake()
    told.crew.run("systemctl", "stop", "hive-agent@ada.service")
    told.only(run, "stopped", by=None)
    assert [mail["event"] for mail in told.mail(run)] == ["stopped"]


def test_restart_is_no_crash(told: Told) -> None:
    run = told.wake()
    told.crew.run("systemctl", "restart", "hive-agent@ada.service")
    told.only(run, "finished")
    assert told.mail(run) == []


def test_sleep_is_no_crash(told: Told) -> None:
    run = told.wake("bob")
    told.watch.until("finished", invocation=run)
    told.settle()
    assert told.ends(run) == ["finished"]
    assert told.mail(run) == []


def test_stop_of_the_hive_is_no_crash(told: Told) -> None:
    run = told.wake()
    told.crew.run("systemctl", "stop", "hyperhive.target")
    told.crew.run("systemctl", "start", "hyperhive.target")
    told.watch.connection.close()
    told.watch = told.crew.watch()
    told.settle()
    assert told.mail(run) == []


def test_a_crash_loop_is_told_run_by_run_and_ends_in_quarantine(told: Told) -> None:
    crew = told.crew
    crew.spawn_asleep("kim")
    config = crew.root / "etc/hyperhive/agents/kim/agent.toml"
    good = config.read_text()
    config.write_text("colour = 1\n")
    number = crew.send("kim", "anyone?")
    event = told.watch.until("quarantined", agent="kim")
    assert (event["unit"], event["result"]) == ("hive-agent@kim.socket", "service-start-limit-hit")
    crashes = [e for e in told.watch.seen if e["event"] == "container_crash" and e["agent"] == "kim"]
    assert [(e["exit_status"], e["restarts"]) for e in crashes] == [(78, n) for n in range(5)]
    assert len({e["invocation"] for e in crashes}) == 5
    log = told.mail(crashes[0]["invocation"])[0]["log"]
    assert any("'colour' is not a key here" in line for line in log), log
    crew.run("systemctl", "restart", "hive-broker.service", "hive-watch.service")
    told.watch.connection.close()
    told.watch = crew.watch()
    told.settle()
    assert crew.state_of("hive-agent@kim.socket") == "failed"
    assert crew.state(number) == "queued 0"
    assert len(told.mail(event["invocation"])) == 1
    config.write_text(good)
    crew.run("systemctl", "reset-failed", "hive-agent@kim.socket", "hive-agent@kim.service")
    crew.run("systemctl", "start", "hive-agent@kim.socket")
    told.watch.until("recovered", agent="kim")
    told.watch.until("done", id=number)


SLOW = """
text = "slow"
times = 1
[[rule.steps]]
call = [{ name = "mcp__hive__recv", input = { wait_seconds = 2 } }]
[[rule.steps]]
call = [{ name = "mcp__hive__recv", input = { wait_seconds = 2 } }]
[[rule.steps]]
call = [{ name = "mcp__hive__recv", input = { wait_seconds = 2 } }]
[[rule.steps]]
say = "done"
"""


def test_the_watchdog_ends_a_turn_that_hangs_and_no_other(told: Told) -> None:
    told.drop_in("hive-agent@wim.service", "[Service]", "WatchdogSec=5s")
    told.crew.spawn("wim")
    told.crew.rules(SLOW, HANG_ONCE, DONE)
    slow = told.crew.send("wim", "slow")
    told.watch.until("done", id=slow)
    hung = told.crew.send("wim", "hold")
    run = told.crew.property("hive-agent@wim.service", "InvocationID")
    event = told.watch.until("container_crash", agent="wim")
    assert (event["invocation"], event["result"], event["signal"]) == (run, "watchdog", "SIGKILL")
    assert (event["in_flight"], event["restarted"]) == ([hung], True)
    assert event["runtime"] > 6
    told.watch.until("done", id=hung)
    told.crew.run("systemctl", "stop", "hive-agent@wim.service")


def test_an_agent_that_does_not_start_in_time(told: Told) -> None:
    told.crew.spawn_asleep("tim")
    told.drop_in(
        "hive-agent@tim.service", "[Service]", "ExecStartPre=sleep infinity", "TimeoutStartSec=100ms"
    )
    number = told.crew.send("tim", "anyone?")
    event = told.watch.until("container_crash", agent="tim")
    assert event["result"] == "timeout"
    told.watch.until("quarantined", agent="tim")
    assert told.crew.state(number) == "queued 0"


PROBES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "exit 1": ("", "exit 1", {"result": "exit-code", "exit_status": 1, "signal": None}),
    "exit 0": ("", "exit 0", {}),
    "core": (
        "--property=LimitCORE=infinity --property=WorkingDirectory=/tmp",
        "kill -SEGV $$$$",
        {"result": "core-dump", "signal": "SIGSEGV", "exit_status": None},
    ),
    "start timeout": (
        "--property=Type=notify --property=TimeoutStartSec=200ms --no-block",
        "sleep 1d",
        {"result": "timeout"},
    ),
    "start limit": (
        "--property=Restart=always --property=StartLimitBurst=2 --property=RestartSec=10ms",
        "exit 3",
        {"result": "exit-code", "exit_status": 3},
    ),
}


@pytest.mark.parametrize("probe", PROBES)
def test_the_ways_in_which_a_service_ends(told: Told, probe: str) -> None:
    """The same for any unit: what is short of an agent is quick."""
    options, script, fields = PROBES[probe]
    unit = f"hive-probe-{probe.replace(' ', '-')}.service"
    told.crew.run(
        "systemd-run", f"--unit={unit}", "--quiet", *options.split(), "/bin/sh", "-c", script, check=False
    )
    event = told.watch.until("container_crash" if fields else "finished", unit=unit)
    assert {key: event[key] for key in fields} == fields
    if probe == "start limit":
        # the second run comes and goes while hive-watch still tells of the first
        told.watch.until("container_crash", unit=unit)
    told.settle()
    ends = [e for e in told.watch.seen if e.get("unit") == unit and e["event"] in KINDS]
    assert len({e["invocation"] for e in ends}) == len(ends) == (2 if probe == "start limit" else 1)
    told.crew.run("systemctl", "reset-failed")


def test_an_oom_kill(told: Told) -> None:
    """Where the machine has no memory controller, systemd has nothing to keep MemoryMax= with."""
    controllers = (told.crew.root / "sys/fs/cgroup/cgroup.controllers").read_text().split()
    kind = "container_crash" if "memory" in controllers else "finished"
    greedy = ["--property=MemoryMax=30M", "--property=MemorySwapMax=0", "/usr/bin/python3"]
    told.crew.run("systemd-run", "--unit=hive-probe-oom", "--quiet", *greedy, "-c", "bytearray(200 << 20)")
    event = told.watch.until(kind, unit="hive-probe-oom.service")
    if kind == "container_crash":
        assert (event["result"], event["signal"]) == ("oom-kill", "SIGKILL")
    told.crew.run("systemctl", "reset-failed")


def test_an_apply_is_no_crash(told: Told) -> None:
    run = told.wake()
    told.crew.spawn("una")
    told.settle()
    assert told.ends(run) == []
    crashes = [e["unit"] for e in told.watch.seen if e["event"] == "container_crash"]
    assert crashes == []


def test_the_manager_s_own_crash_goes_to_the_operator(told: Told) -> None:
    run = told.wake("manager")
    told.crew.run("systemctl", "kill", "--signal=KILL", "hive-agent@manager.service")
    told.watch.until("container_crash", invocation=run)
    assert told.mail(run) == []
    assert [mail["event"] for mail in told.mail(run, "operator")] == ["container_crash"]


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
def test_systemd_reloads_in_the_middle_of_a_crash(told: Told, verb: str) -> None:
    watcher = told.crew.property("hive-watch.service", "InvocationID")
    run = told.wake()
    told.crew.run("sh", "-c", f"systemctl kill --signal=KILL hive-agent@ada.service; systemctl {verb}")
    told.only(run, "container_crash", **SIGKILL)
    again = told.wake()
    # not by systemctl, which systemd may not hear just then
    pid = told.crew.process("ada", "systemd-nspawn")
    told.crew.run("sh", "-c", f"systemctl {verb} & kill -KILL {pid}; wait")
    told.only(again, "container_crash", **SIGKILL)
    if verb == "daemon-reload":  # a systemd that is not there just then may cost it its connection
        assert told.crew.property("hive-watch.service", "InvocationID") == watcher


def test_the_bus_is_restarted(told: Told) -> None:
    run = told.wake()
    told.crew.run("sh", "-c", "systemctl restart dbus; systemctl kill --signal=KILL hive-agent@ada.service")
    told.only(run, "container_crash", **SIGKILL)


def test_hive_watch_is_down_during_the_crash(told: Told) -> None:
    run = told.wake()
    told.crew.run("systemctl", "stop", "hive-watch.service")
    told.crew.run("systemctl", "kill", "--signal=KILL", "hive-agent@ada.service")
    short = told.crew.send("ada", "go")  # a run that hive-watch never sees alive
    told.watch.until("done", id=short)
    unseen = told.crew.property("hive-agent@ada.service", "InvocationID")
    told.crew.run("systemctl", "kill", "--signal=KILL", "hive-agent@ada.service")
    told.watch.until("asleep", agent="ada")
    told.watch.until("done", id=told.crew.send("ada", "go"))
    told.crew.run("systemctl", "start", "hive-watch.service")
    told.watch.until("container_crash", invocation=run)
    told.watch.until("container_crash", invocation=unseen)
    told.crew.run("systemctl", "restart", "hive-watch.service")
    told.settle()
    assert (told.ends(run), told.ends(unseen)) == (["container_crash"], ["container_crash"])


def test_hive_watch_is_killed_during_the_crash(told: Told) -> None:
    run = told.wake()
    both = "systemctl kill --signal=KILL hive-agent@ada.service hive-watch.service"
    told.crew.run("sh", "-c", both)
    told.only(run, "container_crash", **SIGKILL)


def test_the_broker_is_down_during_the_crash(told: Told) -> None:
    run = told.wake()
    told.crew.run("systemctl", "kill", "--signal=STOP", "hive-broker.service")
    told.crew.run("systemctl", "kill", "--signal=KILL", "hive-agent@ada.service", "hive-broker.service")
    told.watch.connection.close()
    told.watch = told.crew.watch()
    told.settle()
    assert [mail["event"] for mail in told.mail(run)] == ["container_crash"]


def test_a_service_of_the_hive_dies(told: Told) -> None:
    run = told.crew.property("hive-gate.service", "InvocationID")
    told.crew.run("systemctl", "kill", "--signal=KILL", "hive-gate.service")
    event = told.watch.until("container_crash", unit="hive-gate.service")
    assert (event["agent"], event["machine"], event["restarted"]) == (None, None, True)
    assert event["invocation"] == run


def test_a_container_that_is_not_ours_dies(told: Told) -> None:
    crew = told.crew
    command = (
        "systemd-nspawn --quiet --keep-unit --machine=plain --directory=/ --volatile=yes sleep infinity"
    )
    start = ["ExecStart=", f"ExecStart=/usr/bin/{command}"]
    told.drop_in(FOREIGN, "[Service]", "Type=exec", "WatchdogSec=0", *start)
    crew.run("systemctl", "start", FOREIGN)
    told.watch.until("started", unit=FOREIGN)
    crew.run("systemctl", "kill", "--signal=KILL", FOREIGN)
    event = told.watch.until("container_crash", unit=FOREIGN)
    assert (event["machine"], event["agent"], event["signal"]) == ("plain", None, "SIGKILL")
    crew.run("systemctl", "reset-failed", FOREIGN)


def test_twenty_at_once_are_told_once_each(told: Told) -> None:
    crew = told.crew
    names = [f"many-{n:02}" for n in range(20)]
    units = [f"probe-{name}" for name in names]
    # services of the hive's that cost nothing: agents are the bench's
    started = " ".join(f"systemd-run --quiet --unit=hive-{unit} sleep infinity;" for unit in units)
    crew.run("sh", "-c", started)
    for unit in units:
        if not any(e["event"] == "started" and e["unit"] == f"hive-{unit}.service" for e in told.watch.seen):
            told.watch.until("started", unit=f"hive-{unit}.service")
    crew.run("systemctl", "kill", "--signal=KILL", *[f"hive-{unit}.service" for unit in units])
    told.settle()
    seen = [e["unit"] for e in told.watch.seen if e["event"] == "container_crash"]
    assert sorted(seen) == [f"hive-{unit}.service" for unit in units]
    crew.run("systemctl", "reset-failed")


def test_the_catalog_explains_a_crash_to_an_admin(told: Told) -> None:
    run = told.wake()
    told.crew.run("systemctl", "kill", "--signal=KILL", "hive-agent@ada.service")
    told.only(run, "container_crash")
    told.crew.run("journalctl", "--sync")
    said = told.crew.run(
        "journalctl", "--catalog", "HIVE_EVENT=container_crash", f"HIVE_INVOCATION={run}"
    ).stdout
    assert "hive-agent@ada.service crashed: SIGKILL" in said
    assert f"journalctl _SYSTEMD_INVOCATION_ID={run}" in said
