"""The beginning and the end of an agent: a draft of one, destroy, and purge for good."""

from hyperhive import wire
from hyperhive.apply import draft as apply_draft
from hyperhive.apply import tree
from hyperhive.apply.apply import Places, Request
from hyperhive.apply.deploy import Work, take_down
from hyperhive.problem import Problem

LOGIN = (".claude", ".credentials.json")  # where the CLI keeps one, in the home


def draft(work: Work, request: Request) -> wire.Message:
    files = apply_draft.template(work.places, request.description)
    apply_draft.folders(work.places, request.agent, files)
    return {}


def destroy(work: Work, request: Request) -> wire.Message:
    take_down(work, request.agent)
    return {"kept": kept(work.places, request.agent)}


def kept(places: Places, name: str) -> wire.Message:
    folders = [folder for folder in (places.home(name), places.agents / name) if tree.there(folder)]
    login = tree.there(places.home(name)) and tree.holds(places.home(name), *LOGIN)
    return {"bytes": sum(map(tree.size, folders)), "login": login}


def purge(work: Work, request: Request) -> wire.Message:
    """What records its uids goes last."""
    places, name = work.places, request.agent
    if tree.there(places.deployed(name)):
        raise Problem("exists", f"{name} is not destroyed", hint="hivectl destroy comes first")
    refuse_mounts(places, name)
    for path in (places.home(name), places.agents / name):
        tree.remove(path)
    return {}


def refuse_mounts(places: Places, name: str) -> None:
    for folder in (places.home(name), places.agents / name):
        if mounts := tree.mounts_below(folder):
            text = f"{mounts[0]} is a mount point, and what is mounted there may be somebody else's"
            raise Problem("mounted", text, hint=f"umount {mounts[0]}")
