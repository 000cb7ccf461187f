"""What hive-apply reads from the broker's folder, and what it makes of it. The whole runs in tests/box."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hyperhive import peers
from hyperhive.apply import apply, deploy, life, tree
from hyperhive.apply import queue as apply_queue
from hyperhive.problem import Problem
from tests.hive import ROOT

FILES = {"agent.toml": "linger = 9\n", "prompt.md": "be kind"}
REQUEST = {"id": 7, "op": "deploy", "agent": "ada", "files": FILES, "commit": "c0ffee", "deploy": 3}


@pytest.fixture
def places(tmp_path: Path) -> apply.Places:
    for folder in ("state/agents", "state/homes", "state/apply", "etc/ssl/certs", "share/cage"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/hyperhive/agents").mkdir(parents=True)
    (tmp_path / "share/cage/etc").symlink_to(ROOT / "units/cage/etc")
    (tmp_path / "share/draft").symlink_to(ROOT / "units/draft")
    return apply.Places(tmp_path / "state", tmp_path / "etc", tmp_path / "share", tmp_path / "system.sock")


def queue(places: apply.Places, number: int = 7, **changed: Any) -> Path:
    path = places.state / f"apply/{number}.json"
    path.write_text(json.dumps(REQUEST | {"id": number} | changed))
    return path


def deployed(places: apply.Places, number: int = 7, **changed: Any) -> dict[str, Any]:
    """All of a deploy but what systemd does."""
    request = apply.read_request(queue(places, number, **changed))
    about = deploy.begin(places, request)
    deploy.put(places, request)
    deploy.describe(places, request.agent)
    return about


def owner(path: Path) -> tuple[int, int, str]:
    about = path.lstat()
    return about.st_uid, about.st_gid, f"{about.st_mode & 0o7777:o}"


def test_an_agent_has_folders_of_its_own_and_a_cage(places: apply.Places) -> None:
    about = deployed(places)
    assert about == {
        "name": "ada",
        "role": "agent",
        "uid_base": peers.UID_FIRST,
        "model": None,
        "description": "",
        "send_to": ("all",),
    }
    for folder in ("agents/ada/state", "homes/ada"):
        assert owner(places.state / folder) == (peers.UID_FIRST, peers.UID_FIRST, "700")
    here = places.etc / "hyperhive/agents/ada"
    assert {path.name: path.read_text() for path in here.iterdir()} == FILES | {
        "deploy.json": '{"request": 7, "commit": "c0ffee", "deploy": 3}\n'
    }
    cage = (places.etc / "systemd/nspawn/h-ada.nspawn").read_text().splitlines()
    assert f"PrivateUsers={peers.UID_FIRST}:65536" in cage
    assert f"BindReadOnly={places.etc}/ssl/certs:/etc/ssl/certs" in cage
    assert not any("shadow" in line or "/agents:" in line for line in cage)


def test_ranges_are_apart_and_stay(places: apply.Places) -> None:
    bases = [deployed(places, agent=name)["uid_base"] for name in ("ada", "bob", "cy", "bob")]
    assert [base - peers.UID_FIRST for base in bases] == [0, 65536, 131072, 65536]


def test_a_range_in_which_the_host_has_a_user_is_left_out(places: apply.Places) -> None:
    users = {0, 1000, peers.UID_FIRST + 5}
    assert apply.uid_base(places, "ada", users) == peers.UID_FIRST + 65536


def test_the_last_range_is_the_last(places: apply.Places) -> None:
    deployed(places)
    os.chown(places.state / "agents/ada/state", apply.UID_LAST, apply.UID_LAST)
    with pytest.raises(Problem, match="no uid range is left"):
        deployed(places, agent="bob")


def test_doing_it_again_changes_nothing(places: apply.Places) -> None:
    first = deployed(places)
    (places.state / "agents/ada/state/notes.md").write_text("mine")
    (places.etc / "hyperhive/agents/.ada.new").mkdir()
    before = {path: path.stat().st_mtime_ns for path in (places.etc / "systemd").rglob("*")}
    assert deployed(places) == first
    assert (places.state / "agents/ada/state/notes.md").read_text() == "mine"
    assert {path: path.stat().st_mtime_ns for path in (places.etc / "systemd").rglob("*")} == before


def test_a_deploy_is_the_whole_of_the_config_and_keeps_the_one_before(places: apply.Places) -> None:
    deployed(places)
    program = {"agent.toml": 'runner = "exec:run"', "bin/run": "#!/bin/sh\n", "CLAUDE.md": "x"}
    deployed(places, 8, files=program, executable=["bin/run"])
    here = places.deployed("ada")
    assert {path.name for path in here.iterdir()} == {"agent.toml", "bin", "CLAUDE.md", "deploy.json"}
    assert owner(here / "bin/run") == (0, 0, "755")
    assert owner(here / "agent.toml") == (0, 0, "644")
    assert (here.with_name(".ada.old") / "prompt.md").read_text() == "be kind"
    assert not deploy.is_new(places, "ada")


def test_a_drop_in_holds_limits_and_watchdog_and_nothing_else(places: apply.Places) -> None:
    toml = 'description = "50% [Service] ExecStart=/bin/sh"\n[limits]\nMemoryMax = "1G"\nTasksMax = 50\n'
    deployed(places, files={"agent.toml": toml})
    text = (places.etc / "systemd/system/hive-agent@ada.service.d/50-hive-apply.conf").read_text()
    wanted = ["[Unit]", "Description=Agent ada: 50%% [Service] ExecStart=/bin/sh"]
    wanted += ["[Service]", "WatchdogSec=1860s"]
    assert text.splitlines()[1:] == [*wanted, "MemoryMax=1G", "TasksMax=50"]


@pytest.mark.parametrize(("turn_timeout", "watchdog"), [(10, "240s"), (3600, "3660s")])
def test_the_watchdog_outlasts_a_turn_and_a_wait_for_mail(
    places: apply.Places, turn_timeout: int, watchdog: str
) -> None:
    deployed(places, files={"agent.toml": f"turn_timeout = {turn_timeout}\n"})
    text = (places.etc / "systemd/system/hive-agent@ada.service.d/50-hive-apply.conf").read_text()
    assert f"\nWatchdogSec={watchdog}\n" in text


# the manager's hand


def test_the_manager_owns_the_proposals_and_may_write_in_every_state(places: apply.Places) -> None:
    early = deployed(places, agent="ada")["uid_base"]  # before there is a manager
    manager = deployed(places, agent="manager")["uid_base"]
    late = deployed(places, agent="bob")["uid_base"]
    for name, base in (("ada", early), ("bob", late)):
        config = places.config(name)
        assert {path.lstat().st_uid for path in (config, *config.rglob("*"))} == {manager}
        said = subprocess.run(["getfacl", "-n", "-p", places.state_of(name)], capture_output=True, text=True)
        rules = said.stdout.splitlines()
        assert {f"user:{manager}:rwx", f"default:user:{manager}:rwx", f"default:user:{base}:rwx"} < {*rules}
        assert {"group::---", "other::---", "default:other::---"} < {*rules}
        assert owner(places.home(name)) == (base, base, "700")
    assert "Bind=/run/hyperhive/cages/agents:/agents" in places.nspawn("manager").read_text()


def test_a_new_manager_takes_over_the_proposals(places: apply.Places) -> None:
    manager = deployed(places, agent="manager")["uid_base"]
    deployed(places, agent="ada")
    tree.remove(places.agents / "manager")
    assert deployed(places, agent="manager")["uid_base"] == manager


def test_a_draft_is_a_repository_with_a_template_and_no_agent(places: apply.Places) -> None:
    request = apply.read_request(queue(places, op="draft", files={}, description='writes "haiku" \\ 50%'))
    life.draft(work(places), request)
    assert apply.agent_in(places.config("ada")).description == 'writes "haiku" \\ 50%'
    log = ["git", "-c", f"safe.directory={places.config('ada')}", "log", "--format=%s"]
    assert subprocess.run(log, cwd=places.config("ada"), capture_output=True).stdout.count(b"\n") == 1
    assert owner(places.state_of("ada"))[0] == peers.UID_FIRST
    assert not places.deployed("ada").exists()
    (places.config("ada") / "prompt.md").write_text("mine")
    life.draft(work(places), request)
    assert (places.config("ada") / "prompt.md").read_text() == "mine"


def work(places: apply.Places) -> deploy.Work:
    """For what needs neither systemd nor the broker."""
    return deploy.Work(places, units=None, broker=None)  # type: ignore[arg-type]


# requests


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"agent": "../etc"}, "bad-name"),
        ({"agent": "operator"}, "bad-name"),
        ({"agent": 3}, "bad-request"),
        ({"id": -1}, "bad-request"),
        ({"id": 8}, "bad-request"),
        ({"files": []}, "bad-request"),
        ({"files": {"agent.toml": 3}}, "bad-request"),
        ({"files": {"../x": ""}}, "bad-config"),
        ({"files": {"bin/../../x": ""}}, "bad-config"),
        ({"files": {"deploy.json": ""}}, "bad-config"),
        ({"files": {"/etc/passwd": ""}}, "bad-config"),
        ({"files": {f"bin/x{n}": "" for n in range(65)}}, "too-large"),
        ({"files": {"agent.toml": "x" * 700_000}}, "too-large"),
        ({"files": {"agent.toml": "x" * 5_000_000}}, "too-large"),
    ],
)
def test_a_bad_request_is_refused(places: apply.Places, changed: dict[str, Any], code: str) -> None:
    path = queue(places)
    path.write_text(json.dumps(REQUEST | changed))
    with pytest.raises(Problem) as caught:
        apply.read_request(path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"agent.toml": "colour = 1"}, "'colour' is not a key here"),
        ({"prompt.md": "x"}, "there is no agent.toml"),
        ({"agent.toml": 'runner = "exec:run"'}, "bin/run, which is not in the config"),
        ({"agent.toml": 'runner = "exec:run"', "bin/run": ""}, "bin/run, which is not executable"),
    ],
)
def test_a_bad_config_leaves_nothing_behind(places: apply.Places, files: dict[str, str], text: str) -> None:
    with pytest.raises(Problem, match=text):
        deployed(places, files=files)
    assert list((places.state / "agents").iterdir()) == []


def test_only_plain_files_of_the_broker_are_read(places: apply.Places) -> None:
    folder = places.state / "apply"
    queue(places, 1)
    (folder / "2.json").symlink_to("1.json")
    os.mkfifo(folder / "3.json")
    os.chown(queue(places, 4), 12345, -1)
    (folder / "5.json").mkdir()
    for name in ("2.json", "3.json", "4.json", "5.json"):
        with pytest.raises(Problem, match=f"{name} is not a file of the broker"):
            apply.read_request(folder / name)
        apply_queue.take_away(folder / name)
    assert [path.name for path in folder.iterdir()] == ["1.json"]


def test_requests_are_taken_in_order(places: apply.Places) -> None:
    for name in ("10.json", "9.json", ".11.new", "notes.txt"):
        (places.state / "apply" / name).touch()
    assert [path.name for path in apply_queue.waiting(places.state / "apply")] == ["9.json", "10.json"]


# the end


def test_a_purge_takes_all_of_the_agent_and_nothing_else(places: apply.Places) -> None:
    deployed(places, agent="manager")
    deployed(places, agent="bob")
    deployed(places, agent="ada")
    (places.state_of("ada") / "others").symlink_to(places.state_of("bob"))
    (places.state_of("bob") / "notes.md").write_text("bob's")
    os.link(places.state_of("bob") / "notes.md", places.state_of("ada") / "linked")
    request = apply.read_request(queue(places, op="purge"))
    with pytest.raises(Problem, match="ada is not destroyed"):
        life.purge(work(places), request)
    tree.remove(places.deployed("ada"))
    life.purge(work(places), request)
    life.purge(work(places), request)
    assert sorted(path.name for path in places.agents.iterdir()) == ["bob", "manager"]
    assert sorted(path.name for path in (places.state / "homes").iterdir()) == ["bob", "manager"]
    assert (places.state_of("bob") / "notes.md").read_text() == "bob's"


def test_kept_state_has_a_size_and_says_whether_a_login_is_there(places: apply.Places) -> None:
    deployed(places)
    before = life.kept(places, "ada")
    assert before["login"] is False
    (places.state_of("ada") / "notes.md").write_bytes(bytes(100_000))
    (places.home("ada") / ".claude").symlink_to(places.state_of("ada"))
    (places.state_of("ada") / ".credentials.json").touch()
    assert life.kept(places, "ada") == {
        "bytes": pytest.approx(before["bytes"] + 100_000, abs=200),
        "login": False,
    }
    (places.home("ada") / ".claude").unlink()
    (places.home("ada") / ".claude").mkdir()
    (places.home("ada") / ".claude/.credentials.json").touch()
    assert life.kept(places, "ada")["login"] is True
