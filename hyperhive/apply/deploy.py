"""Deploy: new files take the place of the old at once; the agent comes up with them, or all is as before."""

import json
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hyperhive import names, wire
from hyperhive.apply import apply, draft, quota, tree
from hyperhive.apply import units as apply_units
from hyperhive.apply.apply import Places, Request
from hyperhive.client import Client
from hyperhive.config import agent_toml
from hyperhive.config.config_tree import File
from hyperhive.control import Units, service, wake_up
from hyperhive.problem import Problem

log = logging.getLogger("hive-apply")

RECORD = "deploy.json"  # which request has put these files there


@dataclass(frozen=True)
class Work:
    places: Places
    units: Units
    broker: Client


def begin(places: Places, request: Request) -> wire.Message:
    """The agent as it is to be; its folders are there, and nothing is changed yet."""
    agent = apply.checked(request)
    apply.check_root(places, agent)
    files = {path: File(text, path in request.executable) for path, text in request.files.items()}
    return {
        "name": request.agent,
        "role": names.MANAGER if request.agent == names.MANAGER else "agent",
        "uid_base": draft.folders(places, request.agent, files),
        "model": agent.model,
        "description": agent.description,
        "send_to": agent.send_to,
    }


def deploy(work: Work, request: Request) -> wire.Message:
    """Every step can be done again: a run that was cut short is finished by the next one, or undone."""
    put(work.places, request)
    unkept = bring_in_line(work, request.agent)
    note = come_up(work, request.agent, new=is_new(work.places, request.agent))
    said = "; ".join(filter(None, (note, unkept)))
    return {"note": said} if said else {}


def put(places: Places, request: Request) -> None:
    here = places.deployed(request.agent)
    beside, old = sibling(here, "new"), sibling(here, "old")
    if not is_of(here, request.number):
        tree.remove(old)
        record = {"request": request.number, "commit": request.commit, "deploy": request.deploy}
        tree.make(beside, request.files | {RECORD: json.dumps(record) + "\n"}, request.executable)
        if tree.there(here):
            tree.exchange(beside, here)
        else:
            tree.move(beside, here)
    if tree.there(beside):
        tree.move(beside, old)  # by the exchange it holds what was there before


def sibling(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def is_of(folder: Path, number: int) -> bool:
    try:
        said: object = json.loads((folder / RECORD).read_text())["request"]
    except FileNotFoundError:
        return False
    return said == number


def is_new(places: Places, name: str) -> bool:
    return not tree.there(sibling(places.deployed(name), "old"))


def finish(places: Places, request: Request) -> None:
    here = places.deployed(request.agent)
    if is_of(here, request.number):
        tree.remove(sibling(here, "old"))


def describe(places: Places, name: str) -> bool:
    """Cage and limits are as the deployed files say. False when they were already."""
    base = places.state_of(name).lstat().st_uid
    agent = apply.agent_in(places.deployed(name))
    cage = tree.write(places.nspawn(name), apply.nspawn(places, name, base, agent))
    limits = tree.write(places.drop_in(name), apply.drop_in(name, agent))
    return cage or limits


def limit_disk(places: Places, name: str) -> str:
    """As the deployed files say. Gives what the operator is to know of it."""
    wanted = apply.agent_in(places.deployed(name)).disk
    # What an administrator has set is left alone where neither config says anything.
    if not wanted and not was_limited(sibling(places.deployed(name), "old")):
        return ""
    base = places.state_of(name).lstat().st_uid
    kept = quota.limit(places.state, base, agent_toml.in_bytes(wanted) if wanted else 0)
    return "" if kept or not wanted else quota.unkept(name)


def was_limited(old: Path) -> bool:
    """What an administrator has broken may have said so, and can be put right by a deploy."""
    try:
        return tree.there(old) and bool(apply.agent_in(old).disk)
    except (Problem, FileNotFoundError):
        return True


def lift_disk(places: Places, name: str) -> None:
    """Before its uids can be another's."""
    if (base := apply.owner(places.state_of(name))) is not None:
        quota.limit(places.state, base, 0)


def renew(places: Places) -> list[str]:
    """What an earlier release wrote for its agents becomes what this one writes. Gives whose it was."""
    found = sorted(path.name for path in (places.etc / "hyperhive/agents").iterdir())
    renewed = []
    for name in (each for each in found if re.fullmatch(names.RULE, each)):
        try:
            renewed += [name] if describe(places, name) else []
            if unkept := limit_disk(places, name):
                log.warning("%s, ignoring", unkept)
        except (Problem, FileNotFoundError) as e:
            log.error("Cannot renew the units of %s: %s, ignoring", name, e)
    return renewed


def bring_in_line(work: Work, name: str) -> str:
    """Gives what of it this host cannot do."""
    describe(work.places, name)
    unkept = limit_disk(work.places, name)
    apply_units.enable(work.units, name)
    apply_units.reload(work.units, name, wanted=True)
    return unkept


def come_up(work: Work, name: str, *, new: bool) -> str:
    """Its turn is over, and the broker keeps its mail back. An agent that slept sleeps again soon."""
    units = work.units
    if not new and apply_units.paused(units, name):
        return "it is stopped, and was not started: it has the new files when it is"
    wake_again(units, name)
    units.job("restart", service(name))
    apply_units.forget_failures(units, service(name))  # this start was ours, too
    return ""


def wake_again(units: Units, name: str) -> None:
    """Its mail wakes it. The socket's failures are left for the start: without them it would look paused."""
    apply_units.forget_failures(units, service(name))
    if not apply_units.runs(units, name):
        units.job("start", wake_up(name))


def undo(work: Work, request: Request) -> str:
    """As if it had not been asked for. Gives what the last run said."""
    places, name, units = work.places, request.agent, work.units
    here, old = places.deployed(name), sibling(places.deployed(name), "old")
    if not is_of(here, request.number):
        return ""
    said = apply_units.last_words(units, name)
    if is_new(places, name):
        take_down(work, name)
        return said
    tree.exchange(here, old)
    bring_in_line(work, name)
    if not apply_units.paused(units, name):
        wake_again(units, name)
    tree.remove(old)
    return said


def take_down(work: Work, name: str) -> None:
    """What it has written stays."""
    places, units = work.places, work.units
    for unit in (wake_up(name), service(name)):  # the socket first, or mail would start the service again
        units.job("stop", unit)
        apply_units.forget_failures(units, unit)
    apply_units.disable(units, name)
    for path in (places.nspawn(name), places.drop_in(name)):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # an admin has drop-ins of their own there
        places.drop_in(name).parent.rmdir()
    apply_units.reload(units, name, wanted=False)
    lift_disk(places, name)
    for folder in (sibling(places.deployed(name), "old"), places.deployed(name)):
        tree.remove(folder)
