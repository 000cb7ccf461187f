"""hivectl where systemd is real: agents that are paused and in quarantine, and who may ask at all."""

import json
import re
import shlex
from collections.abc import Iterator

import pytest

from tests.box.conftest import Run
from tests.box.crew import Crew, Watch

BROKEN = "/run/systemd/system/hive-agent@eve.service.d"


@pytest.fixture(scope="session")
def eve(crew: Crew) -> Crew:
    watch = crew.watch()
    born = json.loads(crew.run("hivectl", "spawn", "eve", "--description", "tries", "--json").stdout)
    assert born["agent"] == "eve" and born["uid_base"] % 65536 == 0
    watch.until("asleep", agent="eve")
    watch.connection.close()
    return crew


@pytest.fixture
def broken(eve: Crew) -> Iterator[Crew]:
    """An eve whose unit cannot start."""
    drop_in = (
        f"mkdir -p {BROKEN} && printf '[Service]\\nExecStart=\\nExecStart=false\\n' >{BROKEN}/false.conf"
    )
    eve.run("sh", "-c", f"{drop_in} && systemctl daemon-reload")
    yield eve
    eve.run(
        "sh",
        "-c",
        f"rm -rf {BROKEN} && systemctl daemon-reload && systemctl reset-failed 'hive-agent@eve.*'",
    )
    eve.run("systemctl", "start", "hive-agent@eve.socket")


def state(run: Run, name: str) -> str:
    agents = json.loads(run("hivectl", "list", "--json").stdout)
    (found,) = (agent["state"] for agent in agents if agent["name"] == name)
    return str(found)


def test_who_is_paused(eve: Crew, run: Run) -> None:
    run("systemctl", "stop", "hive-agent@eve.service")  # if it is awake
    assert state(run, "eve") == "asleep"
    run("systemctl", "stop", "hive-agent@eve.socket")
    assert state(run, "eve") == "paused"
    run("systemctl", "start", "hive-agent@eve.socket")
    assert state(run, "eve") == "asleep"


def test_status_names_the_way_out_of_quarantine_and_it_is_one(broken: Crew, watch: Watch, run: Run) -> None:
    broken.send("eve", "hello")
    wait = "while systemctl is-active --quiet hive-agent@eve.socket; do sleep 0.1; done"
    run("timeout", "30", "sh", "-c", wait)
    assert state(run, "eve") == "quarantined"
    text = run("hivectl", "status").stdout
    way_out = re.search(r"eve is quarantined: see journalctl .*\n  (systemctl .*)\n", text)
    assert way_out, text
    run("sh", "-c", f"rm -r {shlex.quote(BROKEN)} && systemctl daemon-reload && {way_out[1]}")
    watch.until("turn", agent="eve", outcome="ok")


def test_only_root_and_the_group_may_ask(crew: Crew, run: Run) -> None:
    become = ["setpriv", "--reuid=nobody", "--regid=nogroup"]
    done = run(*become, "--clear-groups", "hivectl", "list", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("only members of the group hive-admin may do this\n")
    assert "ada" in run(*become, "--groups=hive-admin", "hivectl", "list").stdout


def test_it_has_its_man_page_and_its_completion(run: Run) -> None:
    assert run("man", "--where", "1", "hivectl").stdout
    load = "source /usr/share/bash-completion/completions/hivectl; complete -p hivectl"
    assert run("bash", "-c", load).stdout == "complete -F _hivectl hivectl\n"
