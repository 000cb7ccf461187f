"""The queue of hive-apply: one request after the other, each carried out or undone, and the broker told."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pystemd.dbusexc import DBusBaseError

from hyperhive import wire
from hyperhive.apply import life, tree
from hyperhive.apply.apply import Places, Request, read_request
from hyperhive.apply.deploy import Work, begin, deploy, finish, undo
from hyperhive.client import Client
from hyperhive.control import Units
from hyperhive.problem import EX_TEMPFAIL, Problem

PATIENCE = 30  # seconds for a broker that is being restarted
MESSAGE_MAX = 4000  # bytes
OPERATIONS: dict[str, Callable[[Work, Request], wire.Message]] = {
    "draft": life.draft,
    "deploy": deploy,
    "revive": deploy,
    "destroy": life.destroy,
    "purge": life.purge,
}

log = logging.getLogger("hive-apply")


def waiting(queue: Path) -> list[Path]:
    return sorted(queue.glob("*.json"), key=lambda path: (len(path.stem), path.stem))


def carry_out(places: Places, path: Path) -> None:
    """The request's file goes last: a run that was cut short finds it again."""
    with Client(os.fspath(places.system_socket), patience=PATIENCE) as broker, Units() as units:
        try:
            attempt(Work(places, units, broker), path)
        except Problem as e:
            if e.exit_status == EX_TEMPFAIL:
                raise  # the broker is away: the request is still there
            log.error("Request %s: %s", path.stem, e)
            if path.stem.isdecimal():
                text = str(e).encode(errors="replace")[:MESSAGE_MAX].decode(errors="ignore")
                wanted(broker, "apply_failed", request=int(path.stem), message=text)
    take_away(path)


def wanted(broker: Client, op: str, **fields: Any) -> bool:
    """False when no such request is under way: a run that was cut short here has ended it."""
    try:
        broker.call(op, **fields)
    except Problem as e:
        if e.code not in ("not-approved", "unknown-request"):
            raise
        log.warning("%s, ignoring", e)
        return False
    return True


def attempt(work: Work, path: Path) -> None:
    request = read_request(path)
    operation = OPERATIONS.get(request.op)
    if not operation:
        raise Problem("unknown-op", f"there is no operation '{request.op}'")
    about: wire.Message = {"agent": begin(work.places, request)} if operation is deploy else {}
    if not wanted(work.broker, "applying", request=request.number, **about):
        finish(work.places, request)
        return
    try:
        result = operation(work, request)
    except (Problem, OSError, DBusBaseError) as e:
        if isinstance(e, Problem) and e.exit_status == EX_TEMPFAIL:
            raise
        said = undo(work, request)
        raise Problem("failed", f"{e}; its last run said:\n{said}" if said else str(e)) from e
    work.broker.call("applied", request=request.number, **about, **result)
    finish(work.places, request)


def take_away(path: Path) -> None:
    try:
        path.unlink()
    except IsADirectoryError:
        tree.remove(path)
