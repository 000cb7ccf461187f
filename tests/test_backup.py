"""hivectl backup from the real broker, and what restore takes back and what not."""

import hashlib
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hyperhive import backup
from hyperhive.problem import Problem
from tests.hive import Hive
from tests.hivectl import load, run

FILES = ["stats.db", "events.db", "hive.db", "registry.tar"]


def fill(here: Hive, count: int) -> None:
    operator = here.operator()
    for number in range(count):
        operator.ask("send", to="bob", body=f"{number} " + "x" * 1000)


@pytest.fixture
def saved(here: Hive) -> Path:
    """A backup of a hive with 600 messages: more than one part."""
    fill(here, 600)
    path = here.folder / "hive.tar"
    run(here, "backup", str(path))
    return path


def bodies(path: Path) -> list[str]:
    with sqlite3.connect(path) as db:
        return [body for (body,) in db.execute("select body from message where sender = 'operator'")]


def test_a_backup_is_whole_private_and_leaves_nothing_behind(here: Hive, saved: Path) -> None:
    with tarfile.open(saved) as tar:
        assert tar.getnames() == [*FILES, "manifest.json"]
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        assert {name: about["bytes"] for name, about in manifest["files"].items()} == {
            name: tar.getmember(name).size for name in FILES
        }
    assert saved.stat().st_mode & 0o777 == 0o600
    again = load(here, "backup", str(saved))  # replaces it
    assert (again["file"], again["bytes"]) == (str(saved), saved.stat().st_size)
    assert {each.name for each in here.folder.iterdir()} == {"hive.tar", "run", "state"}
    assert not [*(here.state / "db").glob(".backup*")]


def test_a_backup_has_what_was_acknowledged_before_and_mail_goes_on_meanwhile(here: Hive) -> None:
    fill(here, 300)
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(fill, here, 300)
        for number in range(5):
            run(here, "backup", f"{here.folder}/{number}.tar")
        sending.result()
    counts = []
    for number in range(5):
        with tarfile.open(f"{here.folder}/{number}.tar") as tar:
            tar.extract("hive.db", here.folder)
        counts.append(len(bodies(here.folder / "hive.db")))
    assert counts == sorted(counts) and 300 <= counts[0] <= counts[-1] <= 600


def test_one_backup_at_a_time_and_it_ends_with_its_connection(here: Hive) -> None:
    first, second = here.operator(), here.operator()
    assert first.ask("backup")["ok"]
    assert second.ask("backup")["error"] == "busy"
    assert second.ask("backup_read", name="hive.db", offset=0)["error"] == "no-backup"
    assert first.ask("backup_read", name="../hive.db", offset=0)["error"] == "bad-request"
    assert first.ask("backup_read", name="hive.db", offset=10**12)["data"] == ""
    first.close()
    while second.ask("backup").get("error") == "busy":
        pass
    for name in FILES:
        assert second.ask("backup_read", name=name, offset=0)["data"]
    assert here.agent("ada").ask("backup")["error"] == "unknown-op"


def test_what_a_crash_left_of_a_backup_is_gone_after_the_start(here: Hive) -> None:
    left = here.state / "db/.backup-hive.db"
    left.write_text("half a copy")
    here.kill()
    here.start()
    assert here.operator().ask("backup")["ok"]
    assert not left.exists()


@pytest.mark.parametrize("where", ["/nowhere/hive.tar", "/proc/hive.tar", "."])
def test_a_backup_that_cannot_be_written(here: Hive, where: str) -> None:
    done = run(here, "backup", where, status=1)
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_restore_brings_the_mail_back_and_keeps_what_was_there(
    here: Hive, saved: Path, tmp_path: Path
) -> None:
    fill(here, 5)
    here.kill()
    folder = here.state / "db"
    os.chown(folder, 4321, 4321)
    aside = backup.restore(saved, folder)
    assert len(bodies(aside / "hive.db")) == 605
    for name in (names := ("hive.db", "stats.db", "events.db")):
        about = (folder / name).stat()
        assert (about.st_uid, about.st_gid, about.st_mode & 0o777) == (4321, 4321, 0o600)
    assert {each.name for each in folder.iterdir()} == {*names, aside.name}
    assert (aside / "registry").is_dir() and (here.state / "registry").stat().st_uid == 4321
    for path in (here.state / "registry", folder):
        os.chown(path, 0, 0)
    here.start()
    assert len(here.operator().ask("mail", agent="bob", limit=1000)["messages"]) == 600


def test_restore_again_after_one_that_was_cut_short(here: Hive, saved: Path) -> None:
    here.kill()
    folder = here.state / "db"
    (folder / "restoring").mkdir()
    (folder / "restoring/hive.db").write_text("half")
    backup.restore(saved, folder)
    assert len(bodies(folder / "hive.db")) == 600


def test_restore_of_a_new_machine(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    backup.restore(saved, folder)
    assert len(bodies(folder / "hive.db")) == 600


Members = dict[str, bytes]


def wrong_byte(members: Members) -> None:
    members["hive.db"] = members["hive.db"].replace(b"599 xx", b"599 xy")


def no_stats(members: Members) -> None:
    del members["stats.db"]


def no_manifest(members: Members) -> None:
    del members["manifest.json"]


def bad_manifest(members: Members) -> None:
    members["manifest.json"] = b"[" * 100


def other_format(members: Members) -> None:
    members["manifest.json"] = members["manifest.json"].replace(b'"format": 3', b'"format": 4')


def damaged(members: Members) -> None:
    resign(members, "hive.db", members["hive.db"][:8192] + os.urandom(8192) + members["hive.db"][16384:])


def swapped(members: Members) -> None:
    resign(members, "hive.db", members["stats.db"])


def no_database(members: Members) -> None:
    resign(members, "stats.db", b"not a database, but long enough to look at" * 100)


def resign(members: Members, name: str, data: bytes) -> None:
    """As who makes the manifest fit."""
    manifest = json.loads(members["manifest.json"])
    members[name] = data
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    members["manifest.json"] = json.dumps(manifest).encode()


def climbing(members: Members) -> None:
    members["../../escaped"] = b"x"


def one_more(members: Members) -> None:
    members["extra"] = b"x"


def no_registries(members: Members) -> None:
    del members["registry.tar"]


def programs(members: Members) -> None:
    resign(members, "registry.tar", packed("eve.git/config", b"[core]\n\tsshCommand = false\n"))


def climbing_registry(members: Members) -> None:
    resign(members, "registry.tar", packed("eve.git/objects/ab/../../../../escaped", b"x"))


def packed(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def no_format(members: Members) -> None:
    members["manifest.json"] = members["manifest.json"].replace(b'"format": 3', b'"format": []')


REGISTRIES = [no_registries, programs, climbing_registry]
TAMPERING = [
    wrong_byte,
    no_stats,
    no_manifest,
    bad_manifest,
    other_format,
    no_format,
    damaged,
    swapped,
    no_database,
]


@pytest.mark.parametrize("tamper", [*TAMPERING, *REGISTRIES, climbing, one_more])
def test_a_bad_backup_changes_nothing(
    saved: Path, tmp_path: Path, tamper: Callable[[Members], None]
) -> None:
    members = unpacked(saved)
    tamper(members)
    pack(tmp_path / "bad.tar", members)
    refused(tmp_path / "bad.tar", tmp_path / "db")
    assert not (tmp_path.parent / "escaped").exists()


def unpacked(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def pack(path: Path, members: Members) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(("format_", "without"), [(1, ["events.db", "registry.tar"]), (2, ["events.db"])])
def test_a_backup_of_an_earlier_release(
    here: Hive, saved: Path, tmp_path: Path, format_: int, without: list[str]
) -> None:
    here.kill()
    members = unpacked(saved)
    manifest = json.loads(members["manifest.json"])
    for name in without:
        del members[name], manifest["files"][name]
    members["manifest.json"] = json.dumps(manifest | {"format": format_}).encode()
    pack(tmp_path / "old.tar", members)
    (here.state / "registry/eve.git").mkdir(parents=True)
    aside = backup.restore(tmp_path / "old.tar", here.state / "db")
    assert len(bodies(here.state / "db/hive.db")) == 600
    assert (aside / "registry/eve.git").is_dir() and (aside / "events.db").exists()
    assert list((here.state / "registry").iterdir()) == []
    here.start()
    assert here.operator().ask("turns", agent="ada")["turns"] == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_only_plain_files_are_taken(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        info = tarfile.TarInfo("hive.db")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    refused(tmp_path / "bad.tar", tmp_path / "db")


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("hive.db"))
        tar.addfile(tarfile.TarInfo("hive.db"))
    refused(tmp_path / "bad.tar", tmp_path / "db")


@pytest.mark.parametrize("size", [0, 100, 20_000, 300_000])
def test_a_part_of_a_backup_is_refused(saved: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "bad.tar").write_bytes(saved.read_bytes()[:size])
    refused(tmp_path / "bad.tar", tmp_path / "db")


def refused(path: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "hive.db").write_text("as it was")
    with pytest.raises(Problem) as raised:
        backup.restore(path, folder)
    assert raised.value.code == "no-backup"
    assert [(each.name, each.read_text()) for each in folder.iterdir()] == [("hive.db", "as it was")]
