"""What hive-watch tells of other units than agents, and of many at once."""

from typing import Any

import pytest

from tests.box.told import KINDS, Told

FOREIGN = "systemd-nspawn@plain.service"
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
