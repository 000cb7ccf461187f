"""Folders are made, exchanged and removed whole; what an agent has planted in its own leads nowhere."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperhive.apply import tree

DEEP = 3000


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """What must be there afterwards, as it was."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("precious")
    yield folder
    assert (folder / "file").read_text() == "precious"
    assert folder.stat().st_mode & 0o7777 == 0o755


def test_links_are_removed_and_not_followed(tmp_path: Path, outside: Path) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "to-file").symlink_to(outside / "file")
    (folder / "to-folder").symlink_to(outside)
    (folder / "to-nowhere").symlink_to("nowhere")
    os.link(outside / "file", folder / "hard")
    os.mkfifo(folder / "fifo")
    tree.remove(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_a_link_in_the_folders_place_is_removed_itself(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "agent").symlink_to(outside)
    tree.remove(tmp_path / "agent")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_no_depth_is_too_deep_and_no_name_too_odd(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    for name in ("1", "2", ".1.gone", "\n", "\udcff", "-rf", "x" * 255):
        (folder / name).mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    tree.remove(folder)
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_that_was_cut_short_left_is_removed_too(tmp_path: Path) -> None:
    (tmp_path / ".agent.gone/3/inner").mkdir(parents=True)
    (tmp_path / ".agent.gone/file").touch()
    (tmp_path / "agent/inner").mkdir(parents=True)
    tree.remove(tmp_path / "agent")
    assert list(tmp_path.iterdir()) == []


def test_no_mount_is_entered(tmp_path: Path, outside: Path) -> None:
    """Neither another file system nor a bind mount of the same one."""
    (tmp_path / "agent/state/mnt").mkdir(parents=True)
    (tmp_path / "agent/state/a").touch()
    script = """
        mount --bind "$1/outside" "$1/agent/state/mnt"
        exec "$2" -c '
import sys
from pathlib import Path
from hyperhive.apply import tree
folder = Path(sys.argv[1])
assert tree.mounts_below(folder / "agent") == [str(folder / "agent/state/mnt")]
assert tree.size(folder / "agent") < 4096
try:
    tree.remove(folder / "agent")
except OSError as e:
    print(e.strerror)
' "$1"
    """
    python = Path(os.environ.get("VIRTUAL_ENV", Path(__file__).parent.parent / ".venv")) / "bin/python"
    command = ["unshare", "--mount", "sh", "-euc", script, "sh", os.fspath(tmp_path), os.fspath(python)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "Device or resource busy\n"


def test_an_exchange_is_one_step(tmp_path: Path) -> None:
    tree.make(tmp_path / "old", {"file": "old"}, ())
    tree.make(tmp_path / "new", {"file": "new", "bin/x": "#!"}, {"bin/x"})
    tree.exchange(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "old/file").read_text() == "new"
    assert (tmp_path / "new/file").read_text() == "old"
    assert (tmp_path / "old/bin/x").stat().st_mode & 0o777 == 0o755


def test_a_folder_is_its_owners_from_the_moment_it_is_there(tmp_path: Path) -> None:
    (tmp_path / ".state.new").mkdir()  # of a run that was cut short
    tree.own_folder(tmp_path / "state", 70_000)
    assert (tmp_path / "state").stat().st_uid == 70_000
    (tmp_path / "state").chmod(0o711)
    tree.own_folder(tmp_path / "state", 80_000)
    assert (tmp_path / "state").stat().st_uid == 70_000


def test_a_folder_is_not_opened_through_a_link(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "link").symlink_to(outside)
    with (
        tree.opened(tmp_path) as fd,
        pytest.raises(NotADirectoryError),
        tree.opened("link", fd),
    ):
        pass
