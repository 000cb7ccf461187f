"""What hive-apply reads from the broker's folder, and what it makes of it. The whole runs in tests/box."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hyperhive import apply
from hyperhive.problem import Problem
from tests.hive import ROOT

REQUEST = {"id": 7, "op": "spawn", "agent": "ada", "toml": "linger = 9\n", "prompt": "be kind"}


@pytest.fixture
def places(tmp_path: Path) -> apply.Places:
    for folder in ("state/agents", "state/homes", "state/apply", "etc/ssl/certs", "share/cage"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "share/cage/etc").symlink_to(ROOT / "units/cage/etc")
    return apply.Places(tmp_path / "state", tmp_path / "etc", tmp_path / "share", tmp_path / "system.sock")


def queue(places: apply.Places, name: str = "7.json", **changed: Any) -> Path:
    path = places.state / "apply" / name
    path.write_text(json.dumps(REQUEST | changed))
    return path


def spawned(places: apply.Places, name: str) -> dict[str, Any]:
    return apply.deploy(places, apply.read_request(queue(places, agent=name)))


def test_an_agent_has_folders_of_its_own_and_a_cage(places: apply.Places) -> None:
    about = spawned(places, "ada")
    assert about == {
        "name": "ada",
        "role": "agent",
        "uid_base": apply.UID_FIRST,
        "model": None,
        "description": "",
        "send_to": ("all",),
    }
    for folder in ("agents/ada/state", "homes/ada"):
        made = (places.state / folder).stat()
        assert (made.st_uid, made.st_gid, made.st_mode & 0o7777) == (apply.UID_FIRST, apply.UID_FIRST, 0o700)
    assert (places.etc / "hyperhive/agents/ada/agent.toml").read_text() == "linger = 9\n"
    assert (places.etc / "hyperhive/agents/ada/prompt.md").read_text() == "be kind"
    cage = (places.etc / "systemd/nspawn/h-ada.nspawn").read_text().splitlines()
    assert f"PrivateUsers={apply.UID_FIRST}:65536" in cage
    assert f"BindReadOnly={places.etc}/ssl/certs:/etc/ssl/certs" in cage
    assert not any("shadow" in line for line in cage)


def test_ranges_are_apart_and_stay(places: apply.Places) -> None:
    bases = [spawned(places, name)["uid_base"] for name in ("ada", "bob", "cy", "bob")]
    assert [base - apply.UID_FIRST for base in bases] == [0, 65536, 131072, 65536]


def test_a_range_in_which_the_host_has_a_user_is_left_out(places: apply.Places) -> None:
    users = {0, 1000, apply.UID_FIRST + 5}
    assert apply.uid_base(places.state / "agents", "ada", users) == apply.UID_FIRST + 65536


def test_the_last_range_is_the_last(places: apply.Places) -> None:
    spawned(places, "ada")
    os.chown(places.state / "agents/ada/state", apply.UID_LAST, apply.UID_LAST)
    with pytest.raises(Problem, match="no uid range is left"):
        spawned(places, "bob")


def test_doing_it_again_changes_nothing(places: apply.Places) -> None:
    first = spawned(places, "ada")
    (places.state / "agents/ada/state/notes.md").write_text("mine")
    (places.etc / "hyperhive/agents/ada/.agent.toml.new").write_text("cut off")
    assert spawned(places, "ada") == first
    assert (places.state / "agents/ada/state/notes.md").read_text() == "mine"


def test_a_drop_in_holds_limits_and_watchdog_and_nothing_else(places: apply.Places) -> None:
    toml = 'description = "50% [Service] ExecStart=/bin/sh"\n[limits]\nMemoryMax = "1G"\nTasksMax = 50\n'
    apply.deploy(places, apply.read_request(queue(places, toml=toml)))
    text = (places.etc / "systemd/system/hive-agent@ada.service.d/50-hive-apply.conf").read_text()
    wanted = ["[Unit]", "Description=Agent ada: 50%% [Service] ExecStart=/bin/sh"]
    wanted += ["[Service]", "WatchdogSec=1860s"]
    assert text.splitlines()[1:] == [*wanted, "MemoryMax=1G", "TasksMax=50"]


@pytest.mark.parametrize(("turn_timeout", "watchdog"), [(10, "240s"), (3600, "3660s")])
def test_the_watchdog_outlasts_a_turn_and_a_wait_for_mail(
    places: apply.Places, turn_timeout: int, watchdog: str
) -> None:
    apply.deploy(places, apply.read_request(queue(places, toml=f"turn_timeout = {turn_timeout}\n")))
    text = (places.etc / "systemd/system/hive-agent@ada.service.d/50-hive-apply.conf").read_text()
    assert f"\nWatchdogSec={watchdog}\n" in text


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"agent": "../etc"}, "bad-name"),
        ({"agent": "operator"}, "bad-name"),
        ({"agent": 3}, "bad-request"),
        ({"op": "purge"}, "unknown-op"),
        ({"id": -1}, "bad-request"),
        ({"toml": "x" * 70_000}, "too-large"),
        ({"toml": "x" * 2_000_000}, "too-large"),
    ],
)
def test_a_bad_request_is_refused(places: apply.Places, changed: dict[str, Any], code: str) -> None:
    with pytest.raises(Problem) as caught:
        apply.read_request(queue(places, **changed))
    assert caught.value.code == code


def test_a_bad_agent_toml_leaves_nothing_behind(places: apply.Places) -> None:
    with pytest.raises(Problem, match="'colour' is not a key here"):
        apply.deploy(places, apply.read_request(queue(places, toml="colour = 1")))
    assert list((places.state / "agents").iterdir()) == []


def test_only_plain_files_of_the_broker_are_read(places: apply.Places) -> None:
    folder = places.state / "apply"
    queue(places, "1.json")
    (folder / "2.json").symlink_to("1.json")
    os.mkfifo(folder / "3.json")
    os.chown(queue(places, "4.json"), 12345, -1)
    for name in ("2.json", "3.json", "4.json"):
        with pytest.raises(Problem, match=f"{name} is not a file of the broker"):
            apply.read_request(folder / name)


def test_requests_are_taken_in_order(places: apply.Places) -> None:
    for name in ("10.json", "9.json", ".11.new", "notes.txt"):
        queue(places, name)
    assert [path.name for path in apply.waiting(places.state / "apply")] == ["9.json", "10.json"]
