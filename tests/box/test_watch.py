"""What hive-watch tells of each way in which an agent can end: one event per run, or rightly none."""

import re
import time

import pytest

from tests.box.crew import DONE
from tests.box.test_agent import HANG_ONCE, hold
from tests.box.told import SIGKILL, Told


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
