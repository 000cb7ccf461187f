"""Turn what systemd says over D-Bus into one event per run of a unit, for the broker."""

import fnmatch
import logging
import signal
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pystemd.dbusexc import DBusBaseError
from pystemd.dbuslib import DBus, DbusMessage, path_decode, path_encode
from systemd.daemon import notify

from hyperhive import names
from hyperhive.client import Client
from hyperhive.watch import journal
from hyperhive.watch.gate import Gate
from hyperhive.watch.journal import End
from hyperhive.wire import seconds_of, stamp

log = logging.getLogger(__name__)

BUS = b"org.freedesktop.systemd1"
ROOT = b"/org/freedesktop/systemd1"
UNITS = ROOT + b"/unit"
MANAGER, UNIT, SERVICE = (BUS + part for part in (b".Manager", b".Unit", b".Service"))
PROPERTIES = b"org.freedesktop.DBus.Properties"

PATTERNS = ("hive-*.service", "hive-agent@*.socket", "container@*.service", "systemd-nspawn@*.service")
# What hive-box(8) runs in a box; one for each connection of the manager, who is answered.
NOT_OURS = ("hive-box-*", "hive-control@*")
TARGET = "hyperhive.target"
# How often we look into the journal. It cannot be waited for together with D-Bus: pystemd does not tell
# whether messages are queued, of which the socket knows nothing any more.
WAIT_USEC = 1_000_000
OVER = ("inactive", "failed")
MARGIN = 300  # seconds before the newest event that is on record: some are told later than others


@dataclass(frozen=True)
class Seen:
    """What a unit was when systemd last said something about it."""

    invocation: str
    over: bool


class Changes:
    """What D-Bus brought and we have not looked at yet."""

    def __init__(self) -> None:
        self.units: deque[tuple[str, str, str]] = deque()  # name, ActiveState, InvocationID
        self.failing: dict[str, str] = {}  # Result of units, where it is not success
        self.reloaded = False


# Module-level functions, because pystemd keeps only a bare pointer to them; it passes these two by name.
def properties_changed(msg: DbusMessage, error: None, userdata: Changes) -> None:
    msg.process_reply(True)
    interface, changed, _invalidated = msg.body
    name = path_decode(msg.headers["Path"], UNITS).decode()
    if not watched(name):
        return
    if interface == UNIT:
        state, invocation = changed[b"ActiveState"].decode(), hexadecimal(changed[b"InvocationID"])
        userdata.units.append((name, state, invocation))
    elif b"Result" in changed:
        result = changed[b"Result"].decode()
        userdata.failing[name] = "" if result == "success" else result


def reloading(msg: DbusMessage, error: None, userdata: Changes) -> None:
    """systemd sends it before and after a reload, and after a re-exec."""
    msg.process_reply(False)
    userdata.reloaded |= not msg.body


def watched(unit: str) -> bool:
    return matches(unit, PATTERNS) and not matches(unit, NOT_OURS)


def matches(unit: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(unit, pattern) for pattern in patterns)


def hexadecimal(array: list[int]) -> str:
    return bytes(array).hex()


def machine_of(unit: str) -> str | None:
    prefix, _, instance = unit.removesuffix(".service").partition("@")
    if prefix == "hive-agent":
        return names.machine(instance)
    return instance if prefix in ("container", "systemd-nspawn") else None


class Watcher:
    def __init__(self, bus: DBus, broker: Client) -> None:
        self.bus = bus
        self.broker = broker
        self.seen: dict[str, Seen] = {}
        self.told: deque[str] = deque(maxlen=1000)  # runs that have ended; the broker knows them all
        self.changes = Changes()
        self.drops = journal.drops()
        self.gate = Gate(broker)

    # what systemd says

    def subscribe(self) -> None:
        self.bus.match_signal(BUS, None, PROPERTIES, b"PropertiesChanged", properties_changed, self.changes)
        self.bus.match_signal(BUS, ROOT, MANAGER, b"Reloading", reloading, self.changes)
        self.bus.call_method(BUS, ROOT, MANAGER, b"Subscribe", [])

    def units(self) -> list[tuple[str, str]]:
        """Name and ActiveState of the units that are loaded."""
        words = [(ord("s"), pattern.encode()) for pattern in PATTERNS]
        array, close = (ord("a"), b"s"), (-1, None)
        args = [array, close, array, *words, close]
        reply = self.bus.call_method(BUS, ROOT, MANAGER, b"ListUnitsByPatterns", args)
        listed = [(row[0].decode(), row[3].decode()) for row in reply.body]
        return [(name, state) for name, state in listed if watched(name)]

    def property(self, unit: str, interface: bytes, name: bytes, kind: bytes) -> Any:
        path = path_encode(UNITS, unit.encode())
        return self.bus.get_property(BUS, path, interface, name, kind)

    def state(self, unit: str) -> tuple[str, str]:
        invocation = hexadecimal(self.property(unit, UNIT, b"InvocationID", b"ay"))
        return invocation, self.property(unit, UNIT, b"ActiveState", b"s").decode()

    def run(self) -> None:
        self.subscribe()
        notify("READY=1")  # nothing is missed from here on, and a broker that cannot start holds up nothing
        self.catch_up()
        notify(f"STATUS=watching {len(self.seen)} units")
        while True:
            self.bus.process()
            self.look()
            for agent, lines in journal.dropped(self.drops):
                self.broker.call("suppressed", agent=agent, lines=lines)
            more = self.gate.look()
            self.bus.wait(0 if more else WAIT_USEC)  # returns at once while messages are queued
            notify("WATCHDOG=1")

    def look(self) -> None:
        while self.changes.units:
            self.note(*self.changes.units.popleft())
        if self.changes.reloaded:
            self.changes.reloaded = False
            try:
                self.bus.call_method(BUS, ROOT, MANAGER, b"Subscribe", [])
            except DBusBaseError as e:
                if "AlreadySubscribed" not in str(e):  # systemd has kept it over the reload
                    raise
            self.reconcile()

    # what became of it

    def catch_up(self) -> None:
        """What happened while nobody watched: the broker knows what it was told last."""
        known = self.broker.call("runs")
        booted = self.bus.get_property(BUS, ROOT, MANAGER, b"UserspaceTimestamp", b"t") / 1e6
        for run in known["open"]:
            if seconds_of(run["began_at"]) < booted:
                self.ended(run["unit"], run["invocation"], patience=0, unknown="stopped")  # by the boot
            else:
                self.seen[run["unit"]] = Seen(run["invocation"], over=False)
        self.reconcile()
        newest = seconds_of(known["newest"]) if known["newest"] else time.time()
        for unit, invocation in journal.ended_since(newest - MARGIN):
            if watched(unit):
                self.ended(unit, invocation)

    def reconcile(self) -> None:
        units = dict(self.units())
        for name, state in units.items():
            self.note(name, state, hexadecimal(self.property(name, UNIT, b"InvocationID", b"ay")))
        for name in self.seen.keys() - units.keys():
            if not self.seen[name].over:
                self.note(name, "inactive", self.seen[name].invocation)

    def note(self, unit: str, state: str, invocation: str) -> None:
        """Signals are coalesced: what lies between two of them follows from the invocations."""
        before = self.seen.get(unit, Seen("", over=True))
        if (state in OVER or invocation != before.invocation) and Seen(invocation, over=True) != before:
            # When a run begins, and while systemd reloads, a signal may tell of an id without its
            # state, or of a state that was never there. An answer does not. Without an id it is about
            # a unit that systemd has forgotten since.
            asked = self.state(unit)
            if asked[0] not in ("", invocation) and invocation not in ("", before.invocation, *self.told):
                self.ended(unit, invocation)  # it came and went while we were busy with others
            invocation, state = asked if asked[0] else (invocation, state)
        if not before.over and before.invocation != invocation:
            self.ended(unit, before.invocation)
            before = Seen(before.invocation, over=True)
        if not invocation or (before.over and before.invocation == invocation):
            self.seen[unit] = before
            return
        if before.invocation != invocation and state not in OVER:
            self.tell("started", unit, invocation, time.time())
        # A service that failed is deactivating for a while: what is left is killed, ExecStopPost= runs.
        over = state in OVER or (state == "deactivating" and bool(self.changes.failing.get(unit)))
        if over:
            self.ended(unit, invocation)
        self.seen[unit] = Seen(invocation, over=over)

    def ended(
        self, unit: str, invocation: str, *, patience: float = journal.LATE, unknown: str = "crashed"
    ) -> None:
        self.told.append(invocation)
        notify("WATCHDOG=1")  # many may end at once, and journald be slow
        end, began = journal.await_end(unit, invocation, patience)
        if not end:
            log.warning("The journal does not say how run %s of %s ended", invocation, unit)
            end = End(unknown, began or time.time())
        if unit.endswith(".socket"):
            self.socket_ended(unit, invocation, end, began)
        elif end.kind == "crashed":
            self.crashed(unit, invocation, end, began)
        else:
            self.stopped(unit, invocation, end, began)

    def crashed(self, unit: str, invocation: str, end: End, began: float | None) -> None:
        notify(f"STATUS=watching {len(self.seen)} units; {unit} crashed at {stamp(end.at)}")
        lines = journal.closes(journal.last_words(invocation))
        self.tell(
            "container_crash",
            unit,
            invocation,
            end.at,
            began_at=began and stamp(began),
            machine=machine_of(unit),
            # D-Bus is early, and speaks of the unit's latest run; the journal speaks of this one.
            result=end.result or self.changes.failing.get(unit) or end.likely(),
            exit_status=end.exit_status,
            signal=end.signal and signal.Signals(end.signal).name,
            runtime=began and round(end.at - began, 3),
            restarts=self.restarts(unit),
            memory_peak=None,  # systemd before 255 does not keep it
            restarted=self.restarts_by_itself(unit),
            log=lines,
        )

    def socket_ended(self, unit: str, invocation: str, end: End, began: float | None) -> None:
        if end.kind == "crashed":
            at = began and stamp(began)
            result = end.result or end.likely()
            self.tell("quarantined", unit, invocation, end.at, began_at=at, result=result)
        else:
            self.stopped(unit, invocation, end, began)

    def stopped(self, unit: str, invocation: str, end: End, began: float | None) -> None:
        began_at = began and stamp(began)
        if end.kind != "stopped":
            self.tell("finished", unit, invocation, end.at, began_at=began_at)
            return
        by = self.who_stopped(unit, began, end.at)
        mail = not by and unit.startswith("hive-agent@")
        self.tell("stopped", unit, invocation, end.at, began_at=began_at, by=by, mail=mail)

    def who_stopped(self, unit: str, began: float | None, at: float) -> str | None:
        """systemd does not say; None is some admin."""
        if self.hive_stopped(at):
            return TARGET
        prefix, _, agent = unit.rpartition(".")[0].partition("@")
        asked = prefix == "hive-agent" and journal.asked_by_manager(agent, began, at)
        return names.MANAGER if asked else None

    def hive_stopped(self, at: float) -> bool:
        """Whether the whole hive goes down, or has been started since."""
        active = self.property(TARGET, UNIT, b"ActiveState", b"s") == b"active"
        since = self.property(TARGET, UNIT, b"ActiveEnterTimestamp", b"t") / 1e6
        return not active or since > at

    def restarts(self, unit: str) -> int:
        count: int = self.property(unit, SERVICE, b"NRestarts", b"u")
        return count

    def restarts_by_itself(self, unit: str) -> bool:
        if unit.startswith("hive-agent@"):
            socket = unit.removesuffix(".service") + ".socket"
            return bool(self.property(socket, UNIT, b"ActiveState", b"s") == b"active")
        return bool(self.property(unit, SERVICE, b"Restart", b"s") != b"no")

    def tell(self, event: str, unit: str, invocation: str, at: float, **fields: Any) -> None:
        known = {key: value for key, value in fields.items() if value is not None}
        self.broker.call("event", event=event, unit=unit, invocation=invocation, at=stamp(at), **known)
