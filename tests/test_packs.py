"""Git's packs, damaged or made to do harm; that good ones are read is in test_repository.py."""

import os
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperhive.config import repository
from hyperhive.config.objects import Objects
from hyperhive.problem import Problem
from tests.proposed import TOML, Proposed, refused


@pytest.fixture
def proposed(tmp_path: Path) -> Proposed:
    return Proposed(tmp_path / "config")


def test_packs_that_are_links_and_fifos(proposed: Proposed, tmp_path: Path) -> None:
    number = proposed.commit({"agent.toml": TOML})
    proposed.git("gc", "--quiet")
    for path in (proposed.dot_git / "objects/pack").glob("pack-*.*"):
        if path.suffix in (".idx", ".pack"):
            path.rename(tmp_path / path.name)
            path.symlink_to(tmp_path / path.name)
            refused(proposed, number, "bad-repository", f"{path.name} cannot be read: is a symbolic link")
            path.unlink()
            os.mkfifo(path)
            refused(proposed, number, "bad-repository", f"{path.name} is not a plain file")
            path.unlink()
            (tmp_path / path.name).rename(path)
    assert repository.examine(proposed.folder, number).number == number
    pack = proposed.dot_git / "objects/pack"
    pack.rename(tmp_path / "pack")
    pack.symlink_to(tmp_path / "pack")
    refused(proposed, number, "bad-repository", "objects/pack cannot be read: ")


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_damaged_packs_give_the_truth_or_a_problem(proposed: Proposed, data: st.DataObject) -> None:
    packs = proposed.dot_git / "objects/pack"
    if not any(packs.glob("*.pack")):
        text = "".join(f"{number * 7919 % 1000}\n" for number in range(3000))
        for number in range(5):
            proposed.commit({"agent.toml": TOML, "prompt.md": text.replace(f"\n{number}\n", "\nx\n")})
        proposed.git("gc", "--quiet")
    wanted = proposed.git("rev-parse", "HEAD")
    path = data.draw(
        st.sampled_from(sorted(each for each in packs.iterdir() if each.suffix in (".idx", ".pack")))
    )
    good = path.read_bytes()
    bad = bytearray(good[: data.draw(st.integers(0, len(good)))] if data.draw(st.booleans()) else good)
    for at in data.draw(st.lists(st.integers(0, max(0, len(bad) - 1)), max_size=5)) if bad else ():
        bad[at] = data.draw(st.integers(0, 255))
    path.chmod(0o600)
    path.write_bytes(bad)
    try:
        commit = repository.examine(proposed.folder, wanted)
    except Problem:
        pass
    else:
        assert commit.files["agent.toml"].text == TOML
    finally:
        path.write_bytes(good)


def test_time_is_limited(proposed: Proposed) -> None:
    number = proposed.commit({"agent.toml": TOML})
    proposed.git("gc", "--quiet")
    with Objects(proposed.dot_git) as objects:
        objects.end = time.monotonic()
        with pytest.raises(Problem, match="takes too long to read"):
            objects.read(number, "commit")


def test_a_delta_that_grows(proposed: Proposed) -> None:
    """A few bytes in a pack that ask for gigabytes, and deltas that are their own bases."""
    number = proposed.commit({"agent.toml": TOML})
    grow = delta_pack(b"\xff\xff\xff\xff\x7f" + b"\xff\xff\xff\xff\x7f" + b"\x80" * 1000)
    small = delta_pack(b"\x01\x01\x90\x01")
    for content in (grow, small):
        pack, blob = content
        name = "pack-" + "a" * 40
        (proposed.dot_git / f"objects/pack/{name}.pack").write_bytes(pack)
        (proposed.dot_git / f"objects/pack/{name}.idx").write_bytes(index(blob, 12))
        with pytest.raises(Problem):
            repository.examine(proposed.folder, proposed.with_entries(("100644", "prompt.md", blob)))
    assert repository.examine(proposed.folder, number).number == number


def delta_pack(delta: bytes) -> tuple[bytes, str]:
    """A pack whose one object is a delta upon itself."""
    blob = "ab" * 20
    size = len(delta)
    header = bytes([0x80 | 7 << 4 | size & 15, size >> 4]) if size < 2048 else b""
    return b"PACK\0\0\0\2\0\0\0\1" + header + bytes.fromhex(blob) + zlib.compress(delta), blob


def index(blob: str, offset: int) -> bytes:
    fanout = b"".join((1 if byte >= int(blob[:2], 16) else 0).to_bytes(4, "big") for byte in range(256))
    return b"\377tOc\0\0\0\2" + fanout + bytes.fromhex(blob) + b"\0" * 4 + offset.to_bytes(4, "big")
