"""What a request would deploy: read or made, kept in the registry, and compared."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hyperhive import names, wire
from hyperhive.config import agent_toml, allow_list, config_tree, grants, repository
from hyperhive.config.config_tree import Commit, File
from hyperhive.config.objects import name_of
from hyperhive.problem import Problem
from hyperhive.store import approvals
from hyperhive.store.store import Row

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker

AGAINST = ("deployed", "approved", "previous")
SUMMARY_MAX = 200  # lines
LINE_MAX = 500  # characters
NOTE_MAX = 1500  # characters
Files = dict[str, File]
Rules = dict[str, list[str]]  # for the lists called allow of these tables: tools, egress


async def proposed(broker: Broker, kind: str, name: str, ref: str) -> Row:
    """A commit of the repository that the manager works in."""
    changes = broker.changes
    old = await broker.writer.do(lambda: approvals.running(broker.store, name))
    return await changes.git(examined, changes.config(name), changes.registry(name), kind, name, ref, old)


async def recorded(broker: Broker, kind: str, name: str, files: dict[str, str], who: str) -> Row:
    """A commit made of these files, for an agent that has no repository yet."""
    registry = broker.changes.registry(name)
    return await broker.changes.git(made, registry, kind, name, files, who)


async def again(broker: Broker, kind: str, row: Row, who: str) -> Row:
    """What was deployed once."""
    name = row["agent"]
    old = await broker.writer.do(lambda: approvals.running(broker.store, name))
    return await broker.changes.git(repeated, broker.changes.registry(name), kind, row, who, old)


async def widened(broker: Broker, ground: tuple[Row, Row | None, Rules], who: str) -> Row:
    """What runs, with more that it allows: these rules, and those that wait already."""
    base, waiting, rules = ground
    registry = broker.changes.registry(base["agent"])
    return await broker.changes.git(allowing, registry, base, waiting, rules, who)


# on the thread for git


def examined(config: Path, registry: Path, kind: str, name: str, ref: str, old: Row | None) -> Row:
    if not config.exists():
        hint = "request_spawn_draft makes one"
        raise Problem("no-draft", f"there is no repository in /agents/{name}/config", hint=hint)
    commit = repository.examine(config, ref)
    hold(registry, commit)
    return fields(kind, name, commit.number, commit.files, old)


def made(registry: Path, kind: str, name: str, files: dict[str, str], who: str) -> Row:
    commit = commit_of({path: File(text) for path, text in files.items()}, who, f"{kind} {name}")
    hold(registry, commit)
    return fields(kind, name, commit.number, commit.files, None)


def allowing(registry: Path, base: Row, waiting: Row | None, rules: Rules, who: str) -> Row:
    name, files = base["agent"], files_of(base)
    source = files[agent_toml.FILE].text
    has, waits = allowed(agent_toml.parse(source)), allowed(agent_of(files_of(waiting)) if waiting else None)
    wanted = {
        table: [each for each in dict.fromkeys([*waits[table], *more]) if each not in has[table]]
        for table, more in rules.items()
    }
    if not any(wanted.values()) or all({*wanted[table], *has[table]} == {*waits[table]} for table in rules):
        text = f"request {waiting['id']} asks for that already" if waiting else f"{name} may do that already"
        raise Problem("exists", text)
    about = f"allow {', '.join(each for listed in wanted.values() for each in listed)}"
    for table, listed in wanted.items():
        files[agent_toml.FILE] = File(allow_list.added(files[agent_toml.FILE].text, table, listed))
    commit = commit_of(files, who, f"{name}: {about}"[:200], number_of(registry, base, names.SYSTEM))
    hold(registry, commit)
    return fields("change", name, commit.number, files, base) | {"note": about[:NOTE_MAX]}


def allowed(agent: agent_toml.Agent | None) -> dict[str, tuple[str, ...]]:
    """By table of agent.toml."""
    return {"tools": agent.allow, "egress": agent.egress} if agent else {"tools": (), "egress": ()}


def repeated(registry: Path, kind: str, row: Row, who: str, old: Row | None) -> Row:
    found = fields(kind, row["agent"], number_of(registry, row, who), files_of(row), old)
    return found | {"back_to": row["back_to"] or row["deploy"]}


def number_of(registry: Path, row: Row, who: str) -> str:
    """Its commit; one from before there were registries gets it now."""
    if row["commit"]:
        return str(row["commit"])
    commit = commit_of(files_of(row), who, f"{row['kind']} {row['agent']}, request {row['id']}")
    hold(registry, commit)
    return commit.number


def hold(registry: Path, commit: Commit) -> None:
    if not (registry / "HEAD").exists():
        repository.create(registry)
    repository.hold(registry, commit)


def commit_of(files: Files, who: str, subject: str, parent: str = "") -> Commit:
    kept = {path: File(config_tree.text(path, f.text.encode()), f.executable) for path, f in files.items()}
    executable = {path: file.executable for path, file in kept.items()}
    agent = agent_toml.check_config(executable, kept[agent_toml.FILE].text)
    objects: list[tuple[str, bytes]] = []
    tree = tree_of(kept, objects)
    person = f"{who} <{who}@hive> {int(time.time())} +0000"
    above = f"parent {parent}\n" if parent else ""
    text = f"tree {tree}\n{above}author {person}\ncommitter {person}\n\n{subject}\n".encode()
    parents = (parent,) if parent else ()
    return Commit(name_of("commit", text), tree, parents, subject, kept, agent, (("commit", text), *objects))


def tree_of(files: Files, objects: list[tuple[str, bytes]]) -> str:
    """Of git: its number; it and all that is in it are added to the objects."""
    entries: dict[str, tuple[bytes, str]] = {}
    for folder in {path.partition("/")[0] for path in files if "/" in path}:
        above = f"{folder}/"
        inner = {path.removeprefix(above): file for path, file in files.items() if path.startswith(above)}
        # in git's order a folder's name has a slash behind it
        entries[above] = config_tree.FOLDER, tree_of(inner, objects)
    for path, file in files.items():
        if "/" not in path:
            mode = config_tree.EXECUTABLE if file.executable else config_tree.PLAIN
            entries[path] = mode, put("blob", file.text.encode(), objects)
    lines = (
        mode + f" {path.rstrip('/')}\0".encode() + bytes.fromhex(number)
        for path, (mode, number) in sorted(entries.items())
    )
    return put("tree", b"".join(lines), objects)


def put(kind: str, data: bytes, objects: list[tuple[str, bytes]]) -> str:
    objects.append((kind, data))
    return name_of(kind, data)


def fields(kind: str, name: str, number: str, files: Files, old: Row | None) -> Row:
    """Of the request, with what it changes of what runs now."""
    summary, risk = summed_up(old, files)
    kept = {path: {"text": file.text, "executable": file.executable} for path, file in files.items()}
    about = {"kind": kind, "agent": name, "commit": number, "risk": risk}
    return about | {"files": json.dumps(kept), "summary": json.dumps(summary, ensure_ascii=False)}


def summed_up(old: Row | None, files: Files) -> tuple[list[str], str]:
    before = files_of(old) if old else {}
    found = [
        *grants.changes(agent_of(before) if before else None, agent_toml.parse(files[agent_toml.FILE].text)),
        *grants.files(before, files),
    ]
    texts = [change.text[:LINE_MAX] for change in found]
    if len(texts) > SUMMARY_MAX:
        texts[SUMMARY_MAX:] = [f"and {len(texts) - SUMMARY_MAX} changes more: read the diff"]
    return texts, grants.risk(found)


def agent_of(files: Files) -> agent_toml.Agent | None:
    try:
        return agent_toml.parse(files[agent_toml.FILE].text)
    except Problem:
        return None  # accepted by an older hive; what is new is then compared with nothing at all


def files_of(row: Row) -> Files:
    found = json.loads(row["files"] or "{}")
    return {path: File(file["text"], file.get("executable", False)) for path, file in found.items()}


# diffs


async def diff(broker: Broker, number: int, against: str) -> wire.Message:
    row, base = await broker.writer.do(lambda: pair(broker, number, against))
    registry = broker.changes.registry(row["agent"])
    return await broker.changes.git(compared, registry, row, base)


def pair(broker: Broker, number: int, against: str) -> tuple[Row, Row | None]:
    """On the writer's side: the request, and what it is compared with."""
    store = broker.store
    row = approvals.get(store, number)
    if not row["files"]:
        raise Problem("no-files", f"request {number} ({row['kind']} of {row['agent']}) changes no files")
    if against == "deployed":
        base = approvals.last(store, row["agent"], "state = 'deployed' and id != ?", number)
    elif against == "approved":
        base = approvals.last(store, row["agent"], "id < ?", number)
    else:
        base = approvals.before(store, row)
    return row, base


def compared(registry: Path, row: Row, base: Row | None) -> wire.Message:
    summary, risk = summed_up(base, files_of(row))
    old = number_of(registry, base, names.SYSTEM) if base else None
    text = repository.diff(registry, old, number_of(registry, row, names.SYSTEM))
    about = {"request": base["id"], "commit": old, "tag": approvals.tag(base)} if base else None
    return {
        "approval": approvals.brief(row),
        "against": about,
        "diff": text,
        "summary": summary,
        "risk": risk,
    }
