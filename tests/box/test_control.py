"""The manager acts on the units of the others, through a door that opens for nothing else."""

import json
import subprocess

import pytest

from tests.box.crew import Crew, Watch

BOB = '{ agent = "bob" }'
SERVICE, SOCKET = "hive-agent@bob.service", "hive-agent@bob.socket"
SPEAK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/run/hyperhive/control/control.sock")
try:
    s.sendall(sys.argv[1].encode() + b"\\n")
    print(s.recv(1 << 20).decode())
except (BrokenPipeError, ConnectionResetError):
    print("")
"""


def speak(crew: Crew, uid: str, line: str) -> str:
    """What the door answers to somebody with that uid; nothing when it hangs up."""
    who = ("setpriv", f"--reuid={uid}", "--regid=65534", "--clear-groups")
    return crew.run(*who, "/usr/bin/python3", "-I", "-c", SPEAK, line).stdout.strip()


def owner(crew: Crew, agent: str) -> str:
    return str((crew.root / f"var/lib/hyperhive/agents/{agent}/state").stat().st_uid)


def act(crew: Crew, tool: str, arguments: str = BOB) -> str:
    return crew.tool("manager", f"mcp__hive__{tool}", arguments)


def test_the_manager_stops_an_agent_and_its_mail_waits_until_it_starts_it(crew: Crew, watch: Watch) -> None:
    assert act(crew, "stop").startswith("Stopped: stopped: mail waits")
    assert [crew.state_of(unit) for unit in (SERVICE, SOCKET)] == ["inactive", "inactive"]
    assert watch.until("stopped", unit=SOCKET)["by"] == "manager"
    number = crew.send("bob", "wait for me")
    assert "bob: stopped" in act(crew, "list_agents", "{}")
    assert crew.state(number) == "queued 0"
    assert act(crew, "start").startswith("Started: ")
    watch.until("done", id=number)


def test_a_restart_is_another_run(crew: Crew, watch: Watch) -> None:
    number = crew.send("bob", "wake up")
    watch.until("done", id=number)
    before = crew.property(SERVICE, "InvocationID")
    assert act(crew, "restart").startswith("Restarted: awake")
    assert crew.property(SERVICE, "InvocationID") != before


def test_a_quarantined_agent_is_named_so_and_started_again(crew: Crew, watch: Watch) -> None:
    harness = crew.root / "etc/systemd/system/hive-agent@bob.service.d/90-broken.conf"
    harness.write_text("[Service]\nExecStart=\nExecStart=/bin/false\n")
    crew.run("systemctl", "daemon-reload")
    crew.run("systemctl", "stop", SERVICE)
    number = crew.send("bob", "too much")
    while crew.state_of(SOCKET) != "failed":
        pass  # asks systemd each time
    assert "bob: quarantined" in act(crew, "list_agents", "{}")
    harness.unlink()
    crew.run("systemctl", "daemon-reload")
    act(crew, "start")
    watch.until("done", id=number)


def test_logs_are_of_that_agent_only_and_no_more_than_asked(crew: Crew, watch: Watch) -> None:
    for agent in ("ada", "bob"):
        crew.bash(agent, f"echo noise of {agent} > /dev/null")
    crew.run("journalctl", "--sync")
    lines = act(crew, "get_logs", '{ agent = "bob", lines = 40 }').splitlines()
    assert 0 < len(lines) <= 40
    assert any("Turn " in line and "of bob ended: ok" in line for line in lines)
    assert not any("ada" in line for line in lines)


def test_what_the_tools_do_is_a_fact_in_the_journal(crew: Crew, watch: Watch) -> None:
    act(crew, "restart")
    crew.run("journalctl", "--sync")
    fact = crew.journal("HIVE_EVENT=control", "HIVE_AGENT=bob")[-1]
    assert (fact["HIVE_VERB"], fact["MESSAGE"]) == ("restart", "The manager asks to restart bob")
    assert fact["_SYSTEMD_SLICE"] == "hyperhive.slice"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"id":1,"op":"stop","agent":"manager"}', "forbidden"),
        ('{"id":1,"op":"stop","agent":"nobody-here"}', "unknown-agent"),
        ('{"id":1,"op":"stop","agent":"../manager"}', "bad-name"),
        ('{"id":1,"op":"stop","agent":"bob.service hive-broker"}', "bad-name"),
        ('{"id":1,"op":"stop"}', "bad-request"),
        ('{"id":1,"op":"kill","agent":"bob"}', "unknown-op"),
        ('{"id":1,"op":"get_logs","agent":"bob","lines":501}', "bad-request"),
        ('{"id":1,"op":"get_logs","agent":"manager"}', "forbidden"),
        ("stop bob", "bad-request"),
    ],
)
def test_a_bad_request_is_refused(crew: Crew, line: str, code: str) -> None:
    answer = json.loads(speak(crew, owner(crew, "manager"), line))
    assert (answer["ok"], answer["error"]) == (False, code)


def test_only_the_manager_gets_in(crew: Crew) -> None:
    line = '{"id":1,"op":"list_units"}'
    assert json.loads(speak(crew, owner(crew, "manager"), line))["ok"]
    assert [speak(crew, uid, line) for uid in (owner(crew, "ada"), "65534", "0")] == ["", "", ""]
    assert "control" not in crew.bash("ada", "ls /run/hyperhive /run/hive")


@pytest.mark.parametrize(
    "words",
    [
        "stop hive-broker.service",
        "restart hive-agent@manager.service",
        "stop hive-agent@manager.socket",
        "kill hive-agent@bob.service",
        "set-property hive-agent@bob.service MemoryMax=1G",
        "disable hive-agent@bob.socket",
        "daemon-reload",
        "poweroff --force",
    ],
)
def test_polkit_lets_it_do_nothing_else(crew: Crew, words: str) -> None:
    done = as_control(crew, words)
    assert done.returncode != 0
    assert "denied" in done.stderr.lower() or "authentication" in done.stderr.lower()


def test_polkit_lets_it_restart_an_agent(crew: Crew) -> None:
    assert as_control(crew, f"restart {SERVICE}").returncode == 0


def as_control(crew: Crew, words: str) -> "subprocess.CompletedProcess[str]":
    who = ("setpriv", "--reuid=hive-control", "--regid=hive-control", "--clear-groups")
    return crew.run(*who, "systemctl", "--no-ask-password", *words.split(), check=False)
