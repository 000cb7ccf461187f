"""The files of an agent's config in a commit: what may be there, and that people can read all of it."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from hyperhive import settings
from hyperhive.config import agent_toml
from hyperhive.config.objects import Objects
from hyperhive.config.packs import corrupt
from hyperhive.problem import Problem

TOP = {agent_toml.FILE, *agent_toml.PROMPTS}
PROGRAMS_MAX = 32
TOTAL_MAX = 512 * 1024
COMMIT_MAX = 64 * 1024
PLAIN, EXECUTABLE, FOLDER = b"100644", b"100755", b"40000"
WHAT = {b"120000": "a symbolic link", b"160000": "a submodule", FOLDER: "a folder"}
PERSON = rb"[^\n\0<>]+ <[^\n\0<>]*> (0|[1-9][0-9]{0,9}) [+-][0-9]{4}"
COMMIT = re.compile(
    rb"tree (?P<tree>[0-9a-f]{40})\n(?P<parents>(parent [0-9a-f]{40}\n){0,16})"
    rb"author " + PERSON + rb"\ncommitter " + PERSON + rb"\n([^\n\0]+\n)*\n(?P<message>[^\0]*)"
)
ENTRY = re.compile(rb"([0-7]{5,6}) ([^/\0]{1,255})\0(.{20})", re.S)
JOINERS = "\u200c\u200d"  # parts of words and of emoji


@dataclass(frozen=True)
class File:
    text: str
    executable: bool = False


@dataclass(frozen=True)
class Commit:
    number: str
    tree: str
    parents: tuple[str, ...]
    subject: str
    files: dict[str, File]
    agent: agent_toml.Agent  # what its agent.toml says
    objects: tuple[tuple[str, bytes], ...]  # all of it, as (kind, content)


def read(repository: Objects, number: str) -> Commit:
    found = repository.read(number, "commit")
    parts = COMMIT.fullmatch(found) if len(found) <= COMMIT_MAX else None
    if not parts:
        raise Problem("bad-config", f"commit {number} is not one that git makes", hint="commit it again")
    tree = parts["tree"].decode()
    objects = [("commit", found)]
    files: dict[str, File] = {}
    for path, executable, data in walk(repository, tree, "", objects):
        files[path] = File(text(path, data), executable)
    if agent_toml.FILE not in files:
        raise Problem("bad-config", f"there is no {agent_toml.FILE} in commit {number}")
    if sum(len(data) for kind, data in objects if kind == "blob") > TOTAL_MAX:
        raise Problem("too-large", f"the files of commit {number} are over {TOTAL_MAX} bytes together")
    modes = {path: file.executable for path, file in files.items()}
    agent = agent_toml.check_config(modes, files[agent_toml.FILE].text)
    parents = tuple(each.decode() for each in re.findall(rb"^parent (\w+)$", parts["parents"], re.M))
    lines = parts["message"].decode(errors="replace").splitlines() or [""]
    subject = "".join(c if c.isprintable() else "?" for c in lines[0][:200])
    return Commit(number, tree, parents, subject, files, agent, tuple(objects))


def walk(
    repository: Objects, tree: str, above: str, objects: list[tuple[str, bytes]]
) -> Iterator[tuple[str, bool, bytes]]:
    data = repository.read(tree, "tree")
    objects.append(("tree", data))
    for mode, name, number in entries(tree, data):
        path = above + name
        check_entry(path, mode)
        if mode == FOLDER:
            yield from walk(repository, number, f"{path}/", objects)
        else:
            content = repository.read(number, "blob")
            objects.append(("blob", content))
            yield path, mode == EXECUTABLE, content


def entries(tree: str, data: bytes) -> list[tuple[bytes, str, str]]:
    found: list[tuple[bytes, str, str]] = []
    at = 0
    while at < len(data):
        if len(found) == PROGRAMS_MAX:
            raise Problem("bad-config", f"a folder of the config has more than {PROGRAMS_MAX} files")
        one = ENTRY.match(data, at)
        if not one:
            raise corrupt(f"tree {tree}")
        found.append((one[1], one[2].decode(errors="backslashreplace"), one[3].hex()))
        at = one.end()
    order = [name + "/" * (mode == FOLDER) for mode, name, _ in found]
    if order != sorted(set(order)):
        raise corrupt(f"tree {tree}")
    return found


def check_entry(path: str, mode: bytes) -> None:
    wanted = {PLAIN} if path in TOP else set()
    if path == "bin":
        wanted = {FOLDER}
    elif re.fullmatch(rf"bin/{agent_toml.PROGRAM}", path, re.ASCII):
        wanted = {PLAIN, EXECUTABLE}
    if not wanted:
        hint = f"it may hold: {', '.join(sorted(TOP))} and bin/PROGRAM"
        raise Problem("bad-config", f"{path[:100]!r} is not a file that a config may hold", hint=hint)
    if mode not in wanted:
        what = WHAT.get(mode, f"of mode {mode.decode()}")
        raise Problem("bad-config", f"{path} is {what}", hint="only plain files; executable ones in bin/")


def text(path: str, data: bytes) -> str:
    """What the operator reads must be what is there, so nothing in it may hide."""
    if len(data) > settings.SIZE_MAX:
        raise Problem("too-large", f"{path} is over {settings.SIZE_MAX} bytes")
    try:
        decoded = data.decode()
    except UnicodeDecodeError as e:
        raise Problem("bad-config", f"{path}: not UTF-8 at byte {e.start}") from e
    hidden = next((at for at, c in enumerate(decoded) if hides(c)), None)
    if hidden is not None:
        line = decoded.count("\n", 0, hidden) + 1
        raise Problem(
            "bad-config", f"{path}:{line}: the character U+{ord(decoded[hidden]):04X} cannot be seen"
        )
    return decoded


def hides(c: str) -> bool:
    """Control and format characters, private ones, and line ends that are not seen as such."""
    if " " <= c <= "~" or c in "\n\t":
        return False
    return unicodedata.category(c) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp") and c not in JOINERS
