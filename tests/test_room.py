"""How full the hive's disk is."""

import subprocess
from pathlib import Path

from hyperhive.broker import room


def test_a_disk_that_is_nearly_full_is_told(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", tmp_path], check=True)
    try:
        before = room.check(tmp_path)
        (tmp_path / "fill").write_bytes(bytes(1_000_000))
        after = room.check(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert (before["ok"], before["wrong"], before["size"], before["quota"]) == (True, [], 2**20, False)
    assert after["free"] < before["free"] - 1_000_000
    assert after["wrong"] == [f"less than 5% of the file system of {tmp_path} is free"]
