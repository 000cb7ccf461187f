"""The folders of an agent, and the repository in which the manager proposes what it is to be."""

import json
import os
import pwd
from pathlib import Path

from hyperhive import names
from hyperhive.apply import apply, tree
from hyperhive.apply.apply import Places
from hyperhive.config import agent_toml
from hyperhive.config import repository as repositories
from hyperhive.config.config_tree import File
from hyperhive.problem import Problem

ROOT = 0


def folders(places: Places, name: str, files: dict[str, File]) -> int:
    """Those that are not there yet; gives the first uid of the agent's cage."""
    base = apply.uid_base(places, name, {entry.pw_uid for entry in pwd.getpwall()})
    manager = base if name == names.MANAGER else apply.owner(places.state_of(names.MANAGER)) or ROOT
    (places.agents / name).mkdir(exist_ok=True)
    tree.own_folder(places.state_of(name), base, *({manager} - {base, ROOT}))
    tree.own_folder(places.home(name), base)
    propose(places.config(name), files, manager)
    if name == names.MANAGER:
        for each in places.agents.iterdir():
            if each.name != name and tree.there(each / "state"):
                hand_over(each, manager)
    return base


def template(places: Places, description: str) -> dict[str, File]:
    if len(description) > 500 or not description.isprintable():
        raise Problem("bad-config", "the description must be one line of at most 500 characters")
    texts = {path.name: path.read_text() for path in (places.share / "draft").iterdir()}
    # A JSON string of printable characters is a TOML string too.
    text = json.dumps(description, ensure_ascii=False)
    texts[agent_toml.FILE] = texts[agent_toml.FILE].replace('"DESCRIPTION"', text)
    return {name: File(text) for name, text in texts.items()}


def propose(repository: Path, files: dict[str, File], manager: int) -> None:
    if not tree.there(repository):
        repositories.draft(repository, files, manager, names.SYSTEM)


def hand_over(agent: Path, manager: int) -> None:
    """What was made before there was a manager."""
    with tree.opened(agent / "state") as fd:
        tree.share(fd, os.fstat(fd).st_uid, manager)
    if apply.owner(agent / "config") == ROOT:
        tree.give(agent / "config", manager)
