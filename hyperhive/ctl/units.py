"""What systemd knows of the agents' units: who is paused, who is in quarantine."""

import re
from collections.abc import Iterable
from typing import Any

from hyperhive import names

PATTERN = b"hive-agent@*.socket"


def sockets() -> dict[str, str] | None:
    """The ActiveState of each agent's socket unit; None when the bus cannot be reached."""
    # here, as it takes 70 ms and most verbs do not need it
    from pystemd.dbusexc import DBusBaseError
    from pystemd.dbuslib import DBus
    from pystemd.systemd1 import Manager

    try:
        with DBus() as bus, Manager(bus=bus) as manager:
            units: list[tuple[Any, ...]] = manager.Manager.ListUnitsByPatterns([], [PATTERN])
    except DBusBaseError:
        return None
    found = {}
    for name, _description, _load, active, *_ in units:
        match = re.fullmatch(rf"hive-agent@({names.RULE})\.socket", name.decode())
        if match:
            found[match[1]] = active.decode()
    return found


def active(units: Iterable[str]) -> list[str] | None:
    """Those of the units that run or are about to; None when the bus cannot be reached."""
    from pystemd.dbusexc import DBusBaseError
    from pystemd.dbuslib import DBus
    from pystemd.systemd1 import Manager

    try:
        with DBus() as bus, Manager(bus=bus) as manager:
            found = manager.Manager.ListUnitsByPatterns([], [unit.encode() for unit in units])
    except DBusBaseError:
        return None
    return [name.decode() for name, _, _, state, *_ in found if state not in (b"inactive", b"failed")]


def page() -> str | None:
    """Where hive-web.socket listens; None when the bus cannot be reached."""
    from pystemd.dbusexc import DBusBaseError
    from pystemd.systemd1 import Unit

    try:
        with Unit(b"hive-web.socket") as unit:
            listens: list[tuple[bytes, bytes]] = unit.Socket.Listen
    except DBusBaseError:
        return None
    return next(at.decode() for kind, at in listens if kind == b"Stream" and not at.startswith(b"/"))


def state(agent: dict[str, Any], active: dict[str, str] | None) -> str:
    socket = active.get(agent["name"], "inactive") if active is not None else "active"
    if socket == "failed":
        return "quarantined"
    if agent["awake"]:
        return "working" if agent["doing"] is not None else "awake"
    return "asleep" if socket in ("active", "activating", "reloading") else "paused"
