"""An agent is held to its limits.disk: in User Mode Linux, as few kernels of test machines have quotas."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hyperhive.apply import quota
from tests.hive import ROOT

WHY = "User Mode Linux is there for x86 only, and this is where a limit of the disk is tried"
pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason=WHY)
UNKEPT = quota.unkept("ada")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    story: dict[str, Any] = boot(tmp_path_factory.mktemp("kernel"), memory=256, timeout=120)
    return story


def boot(folder: Path, *arguments: str, memory: int, timeout: int) -> Any:
    """A kernel, its disk and its first program. Gives what that has found."""
    with (folder / "disk").open("wb") as disk:
        disk.truncate(2**30)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-O", "quota", folder / "disk"], check=True)
    first = folder / "init"
    program = f"{sys.executable} -m tests.quota_kernel {' '.join(arguments)}"
    first.write_text(f"#!/bin/sh\ncd {ROOT}\nPATH={os.environ['PATH']} exec {program}\n")
    first.chmod(0o755)
    kernel = ["linux.uml", f"mem={memory}M", "quiet", "root=/dev/root", "rootfstype=hostfs", "ro"]
    devices = [f"init={first}", f"ubdb={folder}/disk", "con=null", "con0=null,fd:1", f"uml_dir={folder}"]
    ran = subprocess.run(
        [*kernel, *devices], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, ran.stdout
    return json.loads(lines[0].removeprefix("FOUND "))


def test_an_agent_is_stopped_at_its_limit_and_another_goes_on(found: dict[str, Any]) -> None:
    size = 64 * 2**20
    assert found["told"] == ["", ""]
    written, said = found["ada fills"]
    assert said == "Disk quota exceeded"
    assert size - 2**18 < written <= size  # its folder and its link are counted, too
    assert found["bob fills"] == [size + 2**20, ""]


def test_files_are_counted_too(found: dict[str, Any]) -> None:
    count, said = found["ada litters"]
    assert said == "Disk quota exceeded"
    assert 4000 < count < 4096


def test_a_config_without_the_limit_lifts_it_as_does_destroy(found: dict[str, Any]) -> None:
    assert found["lifted"] == ["", [65 * 2**20, ""]]
    assert found["destroyed"] == 0


def test_doctor_says_who_uses_how_much(found: dict[str, Any]) -> None:
    [use] = found["doctor"].pop("uses")
    assert found["doctor"] == {"name": "disk limits", "ok": True, "wrong": [], "limited": 1}
    assert (use["agent"], use["limit"]) == ("ada", 64 * 2**20)
    assert use["limit"] - 2**18 < use["used"] <= use["limit"]


def test_a_file_system_that_only_counts_keeps_nobody_to_a_limit(found: dict[str, Any]) -> None:
    assert found["counted only"] == UNKEPT
    about = {"name": "disk limits", "ok": False, "limited": 1, "wrong": [UNKEPT], "uses": []}
    assert found["doctor then"] == about


@pytest.mark.long
def test_in_a_box_a_cage_is_held_to_it_and_others_are_not(tmp_path: Path) -> None:
    said = boot(tmp_path, "box", memory=2000, timeout=500)
    print(said)
    assert "Disk quota exceeded" in said
    [size] = re.findall(r"^ada has (\d+)", said, re.M)
    assert 60 * 2**20 < int(size) <= 64 * 2**20
    for line in (f"bob has {70 * 2**20}", "ada shares", "bob shares", "renewed"):
        assert f"\n{line}\n" in said
    assert said.count("disk limits: sound, 1 agent with limits.disk\n  ada: 67.1 MB of 67.1 MB\n") == 2
