"""Repositories that a cage wrote to do harm: nothing runs, nothing escapes, and the answer is a Problem."""

import os
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperhive.config import repository
from hyperhive.config.packs import OBJECT_MAX
from hyperhive.problem import Problem
from tests.proposed import TOML, Proposed, everything, refused


@pytest.fixture
def proposed(tmp_path: Path) -> Proposed:
    return Proposed(tmp_path / "config")


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    repository.create(tmp_path / "registry")
    return tmp_path / "registry"


COMMANDS = """
[core]
    fsmonitor = COMMAND
    sshCommand = COMMAND
    hooksPath = HOOKS
    pager = COMMAND
    editor = COMMAND
    askPass = COMMAND
    gitProxy = COMMAND
    worktree = /
    attributesFile = ATTRIBUTES
    repositoryFormatVersion = 1
[extensions]
    partialClone = origin
[remote "origin"]
    url = ext::COMMAND
    uploadpack = COMMAND
    promisor = true
[uploadpack]
    packObjectsHook = COMMAND
[diff]
    external = COMMAND
[diff "x"]
    textconv = COMMAND
[filter "x"]
    clean = COMMAND
    smudge = COMMAND
    process = COMMAND
    required = true
[gpg]
    program = COMMAND
[tag]
    gpgSign = true
[alias]
    diff = !COMMAND
    tag = !COMMAND
[include]
    path = INCLUDED
"""
HOOKS = "post-index-change reference-transaction post-checkout pre-push update fsmonitor-watchman".split()


def test_nothing_that_it_names_is_run(proposed: Proposed, registry: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    number = proposed.commit({"agent.toml": TOML})
    for name in HOOKS:
        (proposed.dot_git / f"hooks/{name}").write_bytes(trap.read_bytes())
        (proposed.dot_git / f"hooks/{name}").chmod(0o755)
    (proposed.dot_git / "info/attributes").write_text("* diff=x filter=x\n")
    (tmp_path / "included").write_text(f"[core]\n    fsmonitor = {trap}\n")
    text = COMMANDS.replace("COMMAND", str(trap)).replace("HOOKS", f"{proposed.dot_git}/hooks")
    text = text.replace("ATTRIBUTES", f"{proposed.dot_git}/info/attributes")
    text = text.replace("INCLUDED", f"{tmp_path}/included")
    (proposed.dot_git / "config").write_text(text)
    commit = repository.examine(proposed.folder, "main")
    repository.pin(registry, commit, "proposal/1", "manager", "")
    assert "reviews" in repository.diff(registry, None, number)
    assert not (tmp_path / "sprung").exists()
    subprocess.run(["git", "status"], cwd=proposed.folder, capture_output=True)  # it is a trap indeed
    assert (tmp_path / "sprung").exists()


def test_objects_elsewhere_are_not_looked_for(proposed: Proposed, tmp_path: Path) -> None:
    other = Proposed(tmp_path / "secret")
    number = other.commit({"agent.toml": TOML})
    (proposed.dot_git / "objects/info/alternates").write_text(f"{other.dot_git}/objects\n")
    assert proposed.git("cat-file", "-t", number) == "commit"
    refused(proposed, number, "bad-ref", "is not a commit of this repository")
    with_it = proposed.commit_of(other.git("rev-parse", f"{number}^{{tree}}"))
    refused(proposed, with_it, "no-object", "is not in the repository")


def test_replaced_objects_and_grafts_are_what_they_were(proposed: Proposed) -> None:
    good = proposed.commit({"agent.toml": TOML})
    bad = proposed.commit({"agent.toml": "linger = 7\n"})
    proposed.git("replace", good, bad)
    assert repository.examine(proposed.folder, good).agent.linger == 300


BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # the empty one
ENTRIES = [
    (("120000", "prompt.md", BLOB), "prompt.md is a symbolic link"),
    (("160000", "bin", BLOB), "bin is a submodule"),
    (("160000", "sub", BLOB), "'sub' is not a file"),
    (("100644", ".gitattributes", BLOB), "'.gitattributes' is not a file"),
    (("100644", ".gitmodules", BLOB), "'.gitmodules' is not a file"),
    (("40000", ".git", BLOB), "'.git' is not a file"),
    (("100644", "..", BLOB), "'..' is not a file"),
    (("100644", "AGENT.TOML", BLOB), "'AGENT.TOML' is not a file"),
    (("100755", "prompt.md", BLOB), "prompt.md is of mode 100755"),
    (("100664", "prompt.md", BLOB), "prompt.md is of mode 100664"),
    (("40000", "prompt.md", BLOB), "prompt.md is a folder"),
    (("100644", "prompt.md\n", BLOB), r"'prompt.md\n' is not a file"),
    (("100644", "pröm\x1b", BLOB), "is not a file"),
    (("100644", "bin", BLOB), "bin is of mode 100644"),
]


@pytest.mark.parametrize(("entry", "text"), ENTRIES)
def test_only_plain_files_of_known_names(proposed: Proposed, entry: tuple[str, str, str], text: str) -> None:
    entries = sorted(
        [("100644", "agent.toml", proposed.blob(TOML)), entry], key=lambda each: each[1].encode()
    )
    refused(proposed, proposed.commit_of(proposed.tree(*entries)), "bad-config", text)


@pytest.mark.parametrize("mode", ["120000", "160000", "40000"])
def test_only_plain_files_in_bin(proposed: Proposed, mode: str) -> None:
    inside = proposed.tree((mode, "mine", BLOB))
    refused(proposed, proposed.with_entries(("40000", "bin", inside)), "bad-config", "bin/mine is a")


def test_a_tree_that_git_would_not_make(proposed: Proposed) -> None:
    toml = ("100644", "agent.toml", proposed.blob(TOML))
    prompt = ("100644", "prompt.md", proposed.blob("x"))
    for entries in ([toml, toml], [prompt, toml]):
        refused(proposed, proposed.commit_of(proposed.tree(*entries)), "bad-repository", "is damaged")
    for content in (b"x", b"100644 agent.toml\0short", b"100644 \0" + b"x" * 20, b"1 a/b\0" + b"x" * 20):
        refused(
            proposed, proposed.commit_of(proposed.plant("tree", content)), "bad-repository", "is damaged"
        )
    empty = proposed.plant("tree", b"")
    refused(proposed, proposed.commit_of(empty), "bad-config", "there is no agent.toml")


def test_a_tree_that_takes_long_to_parse(proposed: Proposed) -> None:
    for content in (b"10000 " * 170_000, b"10000 " + b"x" * 1_000_000, b"1" * 1_000_000):
        refused(
            proposed, proposed.commit_of(proposed.plant("tree", content)), "bad-repository", "is damaged"
        )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"tree TREE\n",
        b"tree TREE\nauthor x\ncommitter x\n\n",
        b"author A <> 1 +0000\ntree TREE\ncommitter A <> 1 +0000\n\n",
        b"tree TREE\nauthor A <> 1 +0000\ncommitter A <> 1 +0000\n\nx\0y",
        b"tree TREE\nauthor A <> 1 +0000\ncommitter A <> 1 +0000\n\n" + b"x" * 100_000,
    ],
)
def test_a_commit_that_git_would_not_make(proposed: Proposed, content: bytes) -> None:
    tree = proposed.tree(("100644", "agent.toml", proposed.blob(TOML)))
    number = proposed.plant("commit", content.replace(b"TREE", tree.encode()))
    refused(proposed, number, "bad-config", "is not one that git makes")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"\xff", "prompt.md: not UTF-8 at byte 0"),
        (b"fine\nnot\x1b[2J", "prompt.md:2: the character U+001B cannot be seen"),
        ("a\u202eb".encode(), "prompt.md:1: the character U+202E cannot be seen"),
        (b"a\r\n", "prompt.md:1: the character U+000D cannot be seen"),
        (b"\0", "prompt.md:1: the character U+0000 cannot be seen"),
        ("\U000e0041".encode(), "the character U+E0041 cannot be seen"),
    ],
)
def test_what_the_operator_could_not_read(proposed: Proposed, text: bytes, wanted: str) -> None:
    number = proposed.with_entries(("100644", "prompt.md", proposed.plant("blob", text)))
    refused(proposed, number, "bad-config", wanted)


def test_large_things(proposed: Proposed) -> None:
    for size in (65_537, OBJECT_MAX + 1, 50_000_000):
        blob = proposed.plant("blob", b"x" * size)  # 50 MB of it are 48 KB on disk
        refused(proposed, proposed.with_entries(("100644", "prompt.md", blob)), "too-large", " is over ")
    blob = proposed.plant("blob", os.urandom(3 * OBJECT_MAX))  # does not compress
    refused(proposed, proposed.with_entries(("100644", "prompt.md", blob)), "too-large", " is over ")
    text = proposed.blob("x" * 60_000)
    programs = [("100755", f"p{number:02}", text) for number in range(33)]
    for count, code in ((33, "bad-config"), (32, "too-large")):
        inside = proposed.tree(*programs[:count])
        refused(proposed, proposed.with_entries(("40000", "bin", inside)), code, "")


def test_a_blob_that_lies_about_its_size(proposed: Proposed) -> None:
    blob = proposed.blob("small")
    for header in (b"blob 4\0", b"blob 6\0", b"blob 99999999999\0", b"blob -1\0", b"blob\0", b"tree 5\0"):
        proposed.loose(blob).write_bytes(zlib.compress(header + b"small"))
        number = proposed.with_entries(("100644", "prompt.md", blob))
        refused(proposed, number, "bad-repository", "")


def test_a_stream_that_never_ends_and_gives_nothing(proposed: Proposed) -> None:
    blob = proposed.blob("small")
    proposed.loose(blob).write_bytes(b"\x78\x9c" + b"\0\0\0\xff\xff" * 500_000)  # empty stored blocks
    refused(proposed, proposed.with_entries(("100644", "prompt.md", blob)), "too-large", "")
    proposed.loose(blob).write_bytes(b"\x78\x9c" + b"\0\0\0\xff\xff" * 300_000)
    refused(proposed, proposed.with_entries(("100644", "prompt.md", blob)), "bad-repository", "is damaged")


def test_a_hundred_thousand_files_and_refs(proposed: Proposed) -> None:
    number = proposed.commit({"agent.toml": TOML})
    entries = [("100644", f"f{count:06}", BLOB) for count in range(100_000)]
    refused(proposed, proposed.with_entries(*entries), "too-large", "")
    refused(proposed, proposed.with_entries(*entries[:2000]), "bad-config", "has more than 32 files")
    lines = (f"{number} refs/heads/b{count}\n" for count in range(100_000))
    (proposed.dot_git / "packed-refs").write_text("".join(lines))
    assert repository.examine(proposed.folder, "b99999").number == number
    packs = proposed.dot_git / "objects/pack"
    for count in range(10_001):
        (packs / f"pack-{count:040}.idx").touch()
    refused(proposed, "0" * 40, "too-large", "too many packs")


ODD_REFS = [
    *("", "-x", "--upload-pack=x", "../secret", "main/../../../../secret", "main~1", "main^{tree}", "@{-1}"),
    *(
        ":/a",
        "a..b",
        ".git",
        "refs//heads/main",
        "main.lock",
        "x" * 300,
        "m\u00e4in",
        "main\n",
        "a b",
        "config",
    ),
    *("config", "index", "HEAD/", "refs/heads/main:x", "\0", "objects", "FETCH_HEAD"),
]


def test_odd_names_of_refs(proposed: Proposed) -> None:
    number = proposed.commit({"agent.toml": TOML})
    secret = proposed.folder.parent / "secret"
    secret.write_text(f"{number}\n")
    for ref in (*ODD_REFS, number[:39], f"{proposed.folder}/secret"):
        refused(proposed, ref, "bad-ref", "")
    (proposed.dot_git / "refs/heads/odd").write_text("ref: ../../secret\n")
    refused(proposed, "odd", "bad-repository", "does not hold a commit's id")
    (proposed.dot_git / "refs/heads/odd").write_text("ref: refs/heads/odd\n")
    refused(proposed, "odd", "bad-repository", "without an end")
    (proposed.dot_git / "refs/heads/odd").write_text("x" * 10_000)
    refused(proposed, "odd", "too-large", "")
    (proposed.dot_git / "refs/heads/tree").write_text(proposed.git("rev-parse", "HEAD^{tree}"))
    refused(proposed, "tree", "bad-ref", "is not a commit")


@given(st.text(max_size=60))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_of_a_ref_is_a_commit_or_a_problem(proposed: Proposed, ref: str) -> None:
    with pytest.raises(Problem) as caught:
        repository.examine(proposed.folder, ref)
    assert caught.value.code == "bad-ref"


PLACES: list[Callable[[Proposed, str], Path]] = [
    lambda it, number: it.dot_git,
    lambda it, number: it.dot_git / "objects",
    lambda it, number: it.loose(number).parent,
    lambda it, number: it.loose(number),
    lambda it, number: it.dot_git / "refs",
    lambda it, number: it.dot_git / "refs/heads",
    lambda it, number: it.dot_git / "refs/heads/main",
    lambda it, number: it.dot_git / "HEAD",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", ["link", "fifo", "socket", "folder", "gitfile", "nothing"])
def test_other_things_than_plain_files_and_folders(
    proposed: Proposed, place: Callable[[Proposed, str], Path], what: str, tmp_path: Path
) -> None:
    number = proposed.commit({"agent.toml": TOML})
    path = place(proposed, number)
    away = tmp_path / "away"
    path.rename(away)
    if what == "link":
        path.symlink_to(away)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(f"/proc/self/fd/{os.open(path.parent, os.O_PATH)}/{path.name}")
    elif what == "gitfile":
        path.write_text(f"gitdir: {away}\n")
    elif what == "folder":
        path.mkdir()
    with pytest.raises(Problem) as caught:
        repository.examine(proposed.folder, "HEAD")
    assert caught.value.code in ("bad-repository", "bad-ref")


LEASE = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(os.open(sys.argv[1], os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_WRLCK)
print(flush=True)
sys.stdin.read()
"""


def test_a_file_that_is_held_with_a_lease(proposed: Proposed) -> None:
    """Whoever opens it would wait for 45 s, and the cage can do it again."""
    number = proposed.commit({"agent.toml": TOML})
    command = [sys.executable, "-c", LEASE, os.fspath(proposed.loose(number))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"\n"
        refused(proposed, number, "bad-repository", "cannot be read: Resource temporarily unavailable")
        holder.communicate()


def test_a_repository_that_changes_while_it_is_read(proposed: Proposed, registry: Path) -> None:
    wanted = {proposed.commit({"agent.toml": f"linger = {count + 5}\n"}): count + 5 for count in range(3)}
    stop, before = threading.Event(), everything(registry)

    def churn() -> None:
        while not stop.is_set():
            for number in wanted:
                proposed.git("update-ref", "refs/heads/main", number)
                proposed.git("repack", "-adq")
                proposed.git("unpack-objects", "-q", data=pack_of(proposed))

    thread = threading.Thread(target=churn)
    thread.start()
    seen = 0
    try:
        while seen < 300:
            seen += 1
            try:
                commit = repository.examine(proposed.folder, "main")
            except Problem as e:
                assert e.code in ("bad-repository", "bad-ref", "no-object"), e
            else:
                assert wanted[commit.number] == commit.agent.linger
    finally:
        stop.set()
        thread.join()
    assert everything(registry) == before


def pack_of(proposed: Proposed) -> bytes:
    return next((proposed.dot_git / "objects/pack").glob("*.pack")).read_bytes()
