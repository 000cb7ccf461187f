"""An agent is held to its limits.disk: in User Mode Linux, as few kernels of test machines have quotas."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from hyperhive import quota
from tests.hive import ROOT

UNKEPT = quota.unkept("ada")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("kernel")
    with (folder / "disk").open("wb") as disk:
        disk.truncate(256 * 2**20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-O", "quota", folder / "disk"], check=True)
    first = folder / "init"
    first.write_text(
        f"#!/bin/sh\ncd {ROOT}\nPATH={os.environ['PATH']} exec {sys.executable} -m tests.quota_kernel\n"
    )
    first.chmod(0o755)
    kernel = ["linux.uml", "mem=256M", "quiet", "root=/dev/root", "rootfstype=hostfs", "ro", f"init={first}"]
    devices = [f"ubdb={folder}/disk", "con=null", "con0=null,fd:1", f"uml_dir={folder}"]
    ran = subprocess.run(
        [*kernel, *devices], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, ran.stdout
    story: dict[str, Any] = json.loads(lines[0].removeprefix("FOUND "))
    return story


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
    assert found["doctor then"] == {"name": "disk limits", "ok": False, "wrong": [UNKEPT], "limited": 1}
