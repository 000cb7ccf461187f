"""What a request would deploy: read or made, kept in the registry, and compared."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hyperhive import agent_toml, approvals, config_tree, grants, names, repository, wire
from hyperhive.config_tree import Commit, File
from hyperhive.objects import name_of
from hyperhive.problem import Problem
from hyperhive.store import Row

if TYPE_CHECKING:
    from hyperhive.broker import Broker

AGAINST = ("deployed", "approved", "previous")
SUMMARY_MAX = 200  # lines
LINE_MAX = 500  # characters
Files = dict[str, File]


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


# on the thread for git


def examined(config: Path, registry: Path, kind: str, name: str, ref: str, old: Row | None) -> Row:
    if not config.exists():
        hint = "request_spawn_draft makes one"
        raise Problem("no-draft", f"there is no repository in /agents/{name}/config", hint=hint)
    commit = repository.examine(config, ref)
    hold(registry, commit)
    return fields(kind, name, commit.number, commit.files, old)


def made(registry: Path, kind: str, name: str, files: dict[str, str], who: str) -> Row:
    commit = commit_of(files, who, f"{kind} {name}")
    hold(registry, commit)
    return fields(kind, name, commit.number, commit.files, None)


def repeated(registry: Path, kind: str, row: Row, who: str, old: Row | None) -> Row:
    found = fields(kind, row["agent"], number_of(registry, row, who), files_of(row), old)
    return found | {"back_to": row["back_to"] or row["deploy"]}


def number_of(registry: Path, row: Row, who: str) -> str:
    """Its commit; one from before there were registries gets it now."""
    if row["commit"]:
        return str(row["commit"])
    texts = {path: file.text for path, file in files_of(row).items()}
    commit = commit_of(texts, who, f"{row['kind']} {row['agent']}, request {row['id']}")
    hold(registry, commit)
    return commit.number


def hold(registry: Path, commit: Commit) -> None:
    if not (registry / "HEAD").exists():
        repository.create(registry)
    repository.hold(registry, commit)


def commit_of(files: dict[str, str], who: str, subject: str) -> Commit:
    """Without bin/: programs come from a proposed repository."""
    blobs = {path: text.encode() for path, text in sorted(files.items())}
    kept = {path: File(config_tree.text(path, data)) for path, data in blobs.items()}
    agent = agent_toml.check_config({}, files[agent_toml.FILE])
    entries = (
        f"100644 {path}\0".encode() + bytes.fromhex(name_of("blob", data)) for path, data in blobs.items()
    )
    tree = b"".join(entries)
    person = f"{who} <{who}@hive> {int(time.time())} +0000"
    text = f"tree {name_of('tree', tree)}\nauthor {person}\ncommitter {person}\n\n{subject}\n".encode()
    objects = [("commit", text), ("tree", tree), *(("blob", data) for data in blobs.values())]
    number = name_of("commit", text)
    return Commit(number, name_of("tree", tree), (), subject, kept, agent, tuple(objects))


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
