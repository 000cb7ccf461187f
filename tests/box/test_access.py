"""hyperhive(7) says who may open what: here it is compared with a hive that runs."""

import re

import pytest

from tests.box.conftest import ROOT
from tests.box.crew import Crew

PAGE = (ROOT / "man/hyperhive.7.rst").read_text()


def rows(first: str) -> list[list[str]]:
    """Of the table whose first column has this title."""
    body = re.search(rf"^{first}  .*\n=[= ]+\n((?:.+\n)+?)=[= ]+\n", PAGE, re.M)
    assert body
    return [re.split(r" {2,}", line) for line in body[1].splitlines()]


def test_the_sockets_are_as_the_page_says(crew: Crew) -> None:
    crew.bash("ada", "echo awake")
    crew.run("systemctl", "start", "hive-rehearsal.socket", "hive-web.socket", "hive-explore.socket")
    not_below = ("-path", "/run/hyperhive/cages", "-prune", "-o")  # the agents' own
    kinds = ("(", "-type", "s", "-o", "-type", "p", ")", "-printf", "%p 0%m %u %g\\n")
    found = crew.run("find", "/run/hyperhive", *not_below, *kinds, check=False).stdout
    named = re.sub(r"(agents|wake)/[a-z0-9-]+", r"\1/NAME", found)
    documented = {" ".join(row[:3]) for row in rows("path") if row[0].startswith("/")}
    assert {*named.splitlines()} == documented


def test_nothing_else_listens_for_tcp(crew: Crew) -> None:
    units = " ".join(path.read_text() for path in (ROOT / "units").glob("*.socket"))
    documented = {row[0] for row in rows("path") if not row[0].startswith("/")}
    assert {*re.findall(r"ListenStream=([\d.:]+)", units)} == documented
    said = [crew.property(f"{name}.socket", "Listen") for name in ("hive-web", "hive-explore")]
    own = {*re.findall(r"[\d.]+:\d+", " ".join(said))}  # a box takes others where those are taken
    listening = crew.run("ss", "--listening", "--tcp", "--no-header", "--numeric").stdout
    assert {line.split()[3] for line in listening.splitlines()} == own
    assert len(own) == len(documented)


def test_the_folder_of_agents_sockets_is_the_broker_s(crew: Crew) -> None:
    said = crew.run("stat", "--format=%a %U", "/run/hyperhive/agents").stdout
    assert said == "750 hive\n"


@pytest.mark.parametrize(("unit", "user"), [row[:2] for row in rows("service")])
def test_a_service_runs_as_the_page_says(crew: Crew, unit: str, user: str) -> None:
    name = unit.replace("NAME", "ada").replace("@.", "@1.")
    has = crew.property(name, "User") or "root"
    if unit.startswith("hive-agent@"):  # root starts the cage
        crew.bash("ada", "echo awake")
        pid = crew.process("ada", "hive-harness")
        uid = int(crew.run("stat", "--format=%u", f"/proc/{pid}").stdout)
        assert uid == crew.call("show", agent="ada")["agent"]["uid_base"]
    else:
        assert has == user


def test_every_service_is_in_the_table() -> None:
    units = {path.name for path in (ROOT / "units").glob("*.service")}
    assert {row[0].replace("@NAME.", "@.") for row in rows("service")} == units


def test_nobody_is_in_a_group_that_the_page_does_not_name(crew: Crew) -> None:
    """hive-web and hive-control have theirs from their units."""
    users = sorted({row[1] for row in rows("service")} - {"root", "its own uids"})
    groups = {user: {*crew.run("id", "--name", "--groups", user).stdout.split()} - {user} for user in users}
    assert {user: names for user, names in groups.items() if names} == {"hive-watch": {"systemd-journal"}}
    for unit, extra in (("hive-web", "hive-admin"), ("hive-control@1", "systemd-journal")):
        assert crew.property(f"{unit}.service", "SupplementaryGroups") == extra
    assert crew.run("getent", "group", "hive-admin").stdout.split(":")[-1] == "\n"
