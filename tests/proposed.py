"""A repository as the manager's git makes it in its cage, and what a hostile one can hold instead."""

import os
import subprocess
import zlib
from pathlib import Path

import pytest

from hyperhive.config import repository
from hyperhive.config.objects import name_of
from hyperhive.problem import Problem

ENV = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{role}_NAME": "manager" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "manager@hive" for role in ("AUTHOR", "COMMITTER")},
}
TOML = 'description = "reviews"\n[tools]\nallow = ["Read"]\n'
MORE = TOML.replace('["Read"]', '["Read", "Bash(git push)"]')


class Proposed:
    def __init__(self, folder: Path) -> None:
        self.folder, self.dot_git = folder, folder / ".git"
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", ".")

    def git(self, *words: str, data: bytes = b"") -> str:
        command = ["git", *words]
        done = subprocess.run(command, cwd=self.folder, env=ENV, input=data, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def commit(self, files: dict[str, str], message: str = "a change") -> str:
        for path, text in files.items():
            (self.folder / path).parent.mkdir(exist_ok=True)
            (self.folder / path).write_text(text)
            if path.startswith("bin/"):
                (self.folder / path).chmod(0o755)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.git("rev-parse", "HEAD")

    def loose(self, number: str) -> Path:
        return self.dot_git / "objects" / number[:2] / number[2:]

    def plant(self, kind: str, content: bytes) -> str:
        """An object that git itself would not make."""
        number = name_of(kind, content)
        path = self.loose(number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(f"{kind} {len(content)}\0".encode() + content))
        return number

    def blob(self, text: str) -> str:
        return self.plant("blob", text.encode())

    def tree(self, *entries: tuple[str, str, str]) -> str:
        """Of (mode, name, object), in this order."""
        return self.plant("tree", b"".join(entry(*each) for each in entries))

    def commit_of(self, tree: str, head: str = "", message: str = "odd") -> str:
        person = "manager <manager@hive> 1700000000 +0000"
        lines = f"tree {tree}\n{head}author {person}\ncommitter {person}\n\n{message}\n"
        return self.plant("commit", lines.encode())

    def with_entries(self, *entries: tuple[str, str, str]) -> str:
        """A commit whose tree has these beside agent.toml."""
        return self.commit_of(self.tree(("100644", "agent.toml", self.blob(TOML)), *entries))


def entry(mode: str, name: str, number: str) -> bytes:
    return f"{mode} {name}\0".encode() + bytes.fromhex(number)


def everything(folder: Path) -> dict[str, bytes]:
    """The content of all files below a folder."""
    found = (Path(above) / name for above, _, names in os.walk(folder) for name in names)
    return {os.fspath(path.relative_to(folder)): path.read_bytes() for path in found}


def refused(proposed: Proposed, ref: str, code: str, text: str) -> None:
    with pytest.raises(Problem) as caught:
        repository.examine(proposed.folder, ref)
    assert caught.value.code == code, caught.value
    assert text in str(caught.value)
