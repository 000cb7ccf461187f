"""What hive-apply has PID 1 do with an agent's units."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pystemd.dbusexc import DBusNoSuchUnitError
from pystemd.systemd1 import Manager, Unit
from systemd import journal

from hyperhive import logs
from hyperhive.control import Units, service, wake_up
from hyperhive.problem import Problem

TARGET = "hyperhive.target"
JOURNAL = "/run/systemd/journal/io.systemd.journal"
WAITING = (b"start", b"waiting")
LAST_WORDS = 20  # lines
LAST_WORDS_MAX = 3000  # characters
UNFINISHED = ("active", "activating", "reloading", "deactivating")


@contextmanager
def shown(units: Units, unit: str) -> Iterator[Unit]:
    with Unit(unit.encode(), bus=units.bus) as it:
        yield it


def active(units: Units, unit: str) -> str:
    with shown(units, unit) as it:
        state: str = it.Unit.ActiveState.decode()
        return state


def runs(units: Units, name: str) -> bool:
    return active(units, service(name)) in UNFINISHED


def paused(units: Units, name: str) -> bool:
    """By an admin or the manager: stopped, neither failed nor about to start."""
    with shown(units, wake_up(name)) as it:
        return it.Unit.ActiveState == b"inactive" and not it.Unit.Job[0]


def enable(units: Units, name: str) -> None:
    units.manager.Manager.EnableUnitFiles([wake_up(name).encode()], False, True)


def disable(units: Units, name: str) -> None:
    units.manager.Manager.DisableUnitFiles([wake_up(name).encode()], False)


def reload(units: Units, name: str, *, wanted: bool) -> None:
    """Only where systemd does not know yet what the files say: it takes longer than all the rest."""
    with shown(units, wake_up(name)) as it:
        known = (TARGET.encode() in it.Unit.WantedBy) == wanted and not it.Unit.NeedDaemonReload
    with shown(units, service(name)) as it:
        known = known and not it.Unit.NeedDaemonReload
    if not known:
        units.manager.Manager.Reload()


def reload_all(manager: Manager) -> None:
    """In the middle of a boot. At times it loses the jobs that wait for us to end (systemd 252)."""
    waiting = [unit for _, unit, verb, state, *_ in manager.Manager.ListJobs() if (verb, state) == WAITING]
    manager.Manager.Reload()
    for unit in waiting:
        manager.Manager.StartUnit(unit, b"fail")


def forget_failures(units: Units, unit: str) -> None:
    """Also the starts that count towards quarantine: those to come are ours."""
    with suppress(DBusNoSuchUnitError):  # not loaded, so there is nothing to forget
        units.manager.Manager.ResetFailedUnit(unit.encode())


def last_words(units: Units, name: str) -> str:
    """What the last run of an agent left in the journal."""
    with shown(units, service(name)) as it:
        invocation = bytes(it.Unit.InvocationID).hex()
    synchronize()
    with journal.Reader() as reader:
        for field in ("_SYSTEMD_INVOCATION_ID", "INVOCATION_ID"):  # of its cage; of systemd about it
            reader.add_match(**{field: invocation})
            reader.add_disjunction()
        reader.seek_tail()
        found = [logs.text(e) for _ in range(LAST_WORDS) if (e := reader.get_previous())]
    text = "\n".join(found[::-1])
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)[-LAST_WORDS_MAX:]


def synchronize() -> None:
    """Until the journal has on disk what was said so far."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(JOURNAL)
        s.sendall(b'{"method":"io.systemd.Journal.Synchronize"}\0')
        if not s.recv(4096):
            raise Problem("no-answer", "the journal does not answer")
