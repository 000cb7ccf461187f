"""The units as an admin sees them."""

import re

import pytest

from hyperhive import facts
from tests.box.conftest import ROOT
from tests.box.crew import Crew, Run

PAGE = (ROOT / "man/hyperhive.7.rst").read_text()
UNITS = sorted(
    path.name
    for path in (ROOT / "units").iterdir()
    if path.suffix[1:] in ("service", "socket", "target", "slice", "path", "timer", "mount")
)
SERVICES = sorted(path.stem.replace("@", "@1") for path in (ROOT / "units").glob("*.service"))
CAGE = "hive-agent@1"  # it starts nspawn as root: hyperhive(7) says what is left, and why


def test_all_is_well_after_some_work(crew: Crew) -> None:
    assert crew.bash("ada", "echo fine") == "fine"
    crew.run("systemctl", "reset-failed")
    listed = crew.run(
        "systemctl", "list-units", "--all", "--plain", "--no-legend", "hive-*", "hyperhive*"
    ).stdout
    states = {line.split()[0]: line.split()[2] for line in listed.splitlines()}
    wanted = (
        "hyperhive.target",
        "hive-broker.service",
        "hive-broker.socket",
        "hive-gate.socket",
        "hive-apply.path",
        "hive-agent@ada.service",
    )
    assert {name: states.get(name) for name in wanted} == dict.fromkeys(wanted, "active")
    assert "failed" not in states.values()
    assert crew.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_about_a_unit(crew: Crew, unit: str) -> None:
    # an instance, since a template alone cannot be verified
    done = crew.run("systemd-analyze", "verify", "--recursive-errors=no", unit.replace("@.", "@ada."))
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("unit", SERVICES)
def test_the_exposure_of_a_service_is_ok(crew: Crew, unit: str) -> None:
    said = re.search(r"but \*hive-agent@\.service\*, which has (\d)\.(\d)", PAGE)
    assert said
    threshold = f"{said[1]}{said[2]}" if unit == CAGE else "20"
    crew.run("systemd-analyze", "security", f"--threshold={threshold}", "--no-pager", f"{unit}.service")


def test_the_journal_knows_an_agent_by_its_fields(crew: Crew) -> None:
    crew.bash("ada", "echo fine")
    crew.run("journalctl", "--sync")
    turn = crew.journal("HIVE_AGENT=ada", "HIVE_EVENT=turn")[-1]
    assert (turn["HIVE_OUTCOME"], turn["SYSLOG_IDENTIFIER"]) == ("ok", "hive-broker")
    assert int(turn["HIVE_TURN"]) > 0
    assert len(turn["MESSAGE_ID"]) == 32


def test_every_message_id_has_a_catalog_entry(crew: Crew) -> None:
    entries = crew.run("journalctl", "--dump-catalog").stdout
    missing = [event for event, number in facts.IDS.items() if number not in entries]
    assert missing == []


def test_admins_tools_know_an_agent(crew: Crew) -> None:
    crew.bash("ada", "echo fine")
    assert "h-ada" in crew.run("machinectl", "list", "--no-legend").stdout
    assert "turn " in crew.property("hive-agent@ada.service", "StatusText")
    assert crew.property("hive-agent@ada.service", "Slice") == "hyperhive-agents.slice"


def test_limits_come_from_agent_toml(crew: Crew) -> None:
    limits = '[limits]\nMemoryMax = "1G"\nCPUQuota = "50%"\nTasksMax = 99\n'
    crew.call("spawn", agent="gil", toml=f'description = "100% small"\n{limits}')
    assert crew.property("hive-agent@gil.service", "MemoryMax") == str(2**30)
    assert crew.property("hive-agent@gil.service", "TasksMax") == "99"
    assert crew.property("hive-agent@gil.service", "CPUQuotaPerSecUSec") == "500ms"
    assert crew.property("hive-agent@gil.service", "Description") == "Agent gil: 100% small"


def test_the_target_starts_and_stops_the_whole(crew: Crew) -> None:
    crew.bash("ada", "echo fine")
    crew.run("systemctl", "stop", "hyperhive.target")
    patterns = ("hive-agent@*", "hive-broker*", "hive-gate*", "hive-rehearsal*", "hive-apply*")
    listed = crew.run(
        "systemctl", "list-units", "--state=active", "--plain", "--no-legend", *patterns
    ).stdout
    assert listed == ""
    crew.run("systemctl", "start", "hyperhive.target")
    assert crew.bash("ada", "echo again") == "again"


def test_the_broker_goes_before_agents_and_analysts(crew: Crew) -> None:
    """Where cgroups have a share of the processors by weight, that decides; else sessions have theirs."""
    crew.run("systemctl", "start", "hive-explore.service")
    for unit, nice in (("hive-broker", -10), ("hive-explore", 10)):
        about = f"cd /proc/$(systemctl show --value --property=MainPID {unit}.service)"
        assert int(crew.run("sh", "-c", f"{about} && cut -d' ' -f19 stat").stdout) == nice
        group = crew.run("sh", "-c", f"{about} && [ ! -e autogroup ] || cat autogroup").stdout
        assert group == "" or group.split()[-1] == str(nice)


def test_agents_sockets_do_not_wait_for_what_waits_for_them(run: Run) -> None:
    """At boot: there, systemd leaves out a unit of a circle, and would leave an agent paused."""
    show = ("systemctl", "show", "--value")
    before = run(*show, "--property=Before", "hive-agent@ada.socket").stdout.split()
    after = run(*show, "--property=After", "hive-renew.service").stdout.split()
    assert "hyperhive.target" in before and "basic.target" in after
    assert not {"sockets.target", "basic.target"} & {*before}
