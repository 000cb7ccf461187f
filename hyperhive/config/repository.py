"""The repositories of an agent's config: a draft to begin with, what the manager proposes, the registry.

What a cage writes is read by objects.py: git runs only in the registry, which is hive's, and on a new draft.
"""

import os
import re
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from hyperhive import disk
from hyperhive.config import config_tree
from hyperhive.config.config_tree import Commit, File
from hyperhive.config.objects import Objects, name_of
from hyperhive.problem import Problem

TAG = r"(proposal|approved|deployed|failed|denied)/([1-9][0-9]{0,18})"
WHO = r"[a-z][a-z0-9-]{0,31}"
WHY_MAX = 4000
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
SECONDS_MAX = 30
# Git's memory, its time on a processor, and the size of a file that it writes.
LIMITS = ["prlimit", "--as=1073741824", "--cpu=20", "--fsize=268435456", "--core=0", "--"]
OFF = {
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.sshCommand": "false",
    "core.pager": "cat",
    "core.fsync": "all",
    "protocol.allow": "never",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "init.defaultBranch": "main",
}
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
}


@dataclass(frozen=True)
class Tag:
    name: str
    commit: str
    who: str
    at: str
    why: str


def git(folder: Path, *words: str, who: str = "hive", stdin: str = "") -> str:
    """Git itself refuses a folder that is not ours."""
    person = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in name(who)}
    ceiling = {"GIT_CEILING_DIRECTORIES": os.fspath(folder.parent.resolve())}
    line = [*LIMITS, "git", *(part for key, value in OFF.items() for part in ("-c", f"{key}={value}"))]
    try:
        done = subprocess.run(
            [*line, *words],
            cwd=folder,
            env=ENVIRONMENT | person | ceiling,
            input=stdin.encode(),
            capture_output=True,
            timeout=SECONDS_MAX,
        )
    except subprocess.TimeoutExpired as e:
        raise Problem("git-failed", f"git {words[0]} in {folder} took over {SECONDS_MAX} s") from e
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        raise Problem("git-failed", f"git {words[0]} in {folder}: {said[-1][:300]}")
    return done.stdout.decode(errors="replace")


def name(who: str) -> tuple[tuple[str, str], ...]:
    return ("NAME", who), ("EMAIL", f"{who}@hive")


# the registry


def create(registry: Path) -> None:
    """Doing it again changes nothing; the folder above belongs to whoever calls."""
    registry.mkdir(mode=0o700, exist_ok=True)
    unlock(registry / "config", registry / "HEAD")
    git(registry, "init", "--quiet", "--bare", "--template=", ".")


def examine(proposed: Path, ref: str) -> Commit:
    """What the manager proposes, before anybody is asked: a Problem says what is wrong with it."""
    return read(proposed / ".git", ref)


def pin(registry: Path, commit: Commit, tag_name: str, who: str, why: str) -> Tag:
    """From now on the registry has it, whatever becomes of the repository it was in."""
    hold(registry, commit)
    return tag(registry, tag_name, commit.number, who, why)


def hold(registry: Path, commit: Commit) -> None:
    """Nothing is ever thrown away there, so it stays also before there is a tag."""
    if cut := [parent for parent in commit.parents if not has(registry, parent)]:
        cut_off(registry, commit.number, len(cut))
    for kind, data in reversed(commit.objects):  # the commit last
        keep(registry, kind, data)


def has(registry: Path, number: str) -> bool:
    with Objects(registry) as repository:
        return repository.find(number) is not None


def cut_off(registry: Path, number: str, missing: int) -> None:
    """Its history is not taken along: git is told not to look for its parents."""
    path = registry / "shallow"
    known = path.read_text().split() if path.exists() else []
    if number not in known:
        write(registry, path, "".join(f"{each}\n" for each in [*known, number]).encode())


def keep(registry: Path, kind: str, data: bytes) -> None:
    number = name_of(kind, data)
    path = registry / "objects" / number[:2] / number[2:]
    if not path.exists():
        header = f"{kind} {len(data)}\0".encode()
        write(registry, path, zlib.compress(header + data))


def write(registry: Path, path: Path, data: bytes) -> None:
    """It appears whole or not at all, also over a power cut."""
    if not path.parent.exists():
        path.parent.mkdir()
        disk.sync(path.parent.parent)
    new = registry / f"objects/.{path.name}.new"
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    disk.sync(path.parent)


def tag(registry: Path, tag_name: str, commit: str, who: str, why: str) -> Tag:
    """A tag is never moved. Doing it again with the same commit changes nothing."""
    if not re.fullmatch(TAG, tag_name) or not re.fullmatch(WHO, who):
        raise Problem("bad-name", f"{tag_name!r} by {who!r} cannot be a tag of the registry")
    path = registry / "refs/tags" / tag_name
    if not tags(registry, tag_name):
        unlock(path)
        message = "".join("?" if config_tree.hides(c) else c for c in why[:WHY_MAX]).strip()
        words = ("--annotate", "--cleanup=verbatim", "--file=-", tag_name, commit)
        git(registry, "tag", *words, who=who, stdin=f"{message or 'no reason given'}\n")
        disk.sync(path.parent)
        disk.sync(path.parent.parent)
    (there,) = tags(registry, tag_name)
    if there.commit != commit:
        raise Problem("exists", f"{tag_name} is {there.commit} already")
    return there


def unlock(*paths: Path) -> None:
    """Of a git that was killed. Nobody else writes in the registry, so none is at work."""
    for path in paths:
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def tags(registry: Path, only: str = "") -> list[Tag]:
    """Oldest first: all, or those of a name or below it, such as "deployed"."""
    under = f"refs/tags/{only}".removesuffix("/")
    fields = "%(refname:lstrip=2)%00%(*objectname)%00%(taggername)%00%(taggerdate:unix)%00%(contents)%00"
    said = git(registry, "for-each-ref", f"--format={fields}", "--sort=taggerdate", under).split("\0")
    rows = zip(*(said[at::5] for at in range(5)), strict=False)
    return [Tag(row[0].strip(), row[1], row[2], row[3], row[4].strip()) for row in rows]


def read(folder: Path, ref: str) -> Commit:
    """A tag or a commit, of the registry for one, without git: root may call this."""
    with Objects(folder) as repository:
        return config_tree.read(repository, repository.resolve(ref))


def diff(registry: Path, old: str | None, new: str) -> str:
    """Unified, between two commits of the registry. All of it can be printed: see config_tree.text."""
    how = [
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--no-renames",
        "--text",
        "--ignore-submodules=all",
    ]
    words = [*how, "--src-prefix=a/", "--dst-prefix=b/", "--unified=3"]
    return git(registry, "diff", *words, old or EMPTY_TREE, new, "--")


# a draft


def draft(folder: Path, files: dict[str, File], uid: int, who: str) -> None:
    """A repository with a first commit, that belongs to the manager's cage. It appears whole or not at all.

    The folder above is ours alone: nobody else can write there while git runs.
    """
    if folder.exists():
        raise Problem("exists", f"{folder} is there already")
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    for path, file in files.items():
        (new / path).parent.mkdir(exist_ok=True)
        (new / path).write_text(file.text)
        (new / path).chmod(0o755 if file.executable else 0o644)
    git(new, "init", "--quiet", "--template=", ".")
    git(new, "add", "--all")
    git(new, "commit", "--quiet", "--message=A first draft", who=who)
    for each in (new, *new.rglob("*")):
        os.chown(each, uid, uid, follow_symlinks=False)
    new.chmod(0o755)
    new.rename(folder)
    disk.sync(folder.parent)
