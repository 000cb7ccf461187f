"""Why a run of a unit ended, from what systemd itself wrote into the journal."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from systemd import journal

from hyperhive import facts, logs, wire

# systemd's own catalog ids, the same since v188: journalctl --dump-catalog
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
STOPPED = "9d1aaa27d60140bd96365438aad20286"
EXITED = "98e322203f7a4ed290d09fe03c09fe15"  # only where the status is a failure
FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
SUCCEEDED = "7ad2d189f7e94e70a38c781354912448"
OF_INTEREST = frozenset({STOPPING, STOPPED, EXITED, FAILED, SUCCEEDED})

SUPPRESSED = "a596d6fe7bfa4994828e72309e95d61e"  # journald's own: a unit wrote more than is kept

LINES = 20
LINE_MAX = 500  # characters of a line that is handed on
ASKED_BEFORE = 60.0  # seconds: longer than a stop takes
LATE = 10.0  # seconds that journald may take, on a busy machine, to write down what D-Bus says already

Entry = dict[str, Any]


@dataclass(frozen=True)
class End:
    kind: str  # 'crashed', 'stopped', 'restarted' or 'finished'
    at: float
    result: str = ""  # systemd's word, or '' while it has not said it
    exit_status: int | None = None
    signal: int | None = None
    dumped: bool = False  # and left a core

    def likely(self) -> str:
        """The result that systemd gives to such an exit, unless it knows more."""
        if self.signal:
            return "core-dump" if self.dumped else "signal"
        return "unknown" if self.exit_status is None else "exit-code"


def mid(entry: Entry) -> str:
    return entry["MESSAGE_ID"].hex if "MESSAGE_ID" in entry else ""


def end_of(entries: list[Entry], unit: str) -> End | None:
    """How a run ended, from systemd's entries about it, oldest first; None while they do not say.

    The first word counts: after a stop was asked for, any exit is the stop's; after a start that hit
    the start limit, systemd writes another failure under the invocation of the run before it.
    """
    found = [entry for entry in entries if mid(entry) in OF_INTEREST]
    if not found:
        return None
    first = found[0]
    at = first["__REALTIME_TIMESTAMP"].timestamp()
    if mid(first) in (EXITED, FAILED):
        return crash(found, at)
    # What ends a stop says whether it was the first half of a restart.
    job = next((entry["JOB_TYPE"] for entry in found if mid(entry) == STOPPED), None)
    if mid(first) == SUCCEEDED and not unit.endswith(".socket"):
        return End("finished", at)
    if job is None:
        return None
    return End("restarted" if job == "restart" else "stopped", at)


def crash(found: list[Entry], at: float) -> End:
    exited = next((entry for entry in found if mid(entry) == EXITED), None)
    failed = next((entry for entry in found if mid(entry) == FAILED), None)
    result = failed["UNIT_RESULT"] if failed else ""
    if not exited:
        return End("crashed", at, result)
    status = int(exited["EXIT_STATUS"])
    if exited["EXIT_CODE"] == "exited":
        return End("crashed", at, result, exit_status=status)
    return End("crashed", at, result, signal=status, dumped=exited["EXIT_CODE"] == "dumped")


def await_end(unit: str, invocation: str, patience: float) -> tuple[End | None, float | None]:
    """How a run ended and when it began. The end is None when journald lost it, or it was rotated away."""
    with journal.Reader() as reader:
        reader.add_match("_PID=1", f"UNIT={unit}", f"INVOCATION_ID={invocation}")
        deadline = time.monotonic() + patience
        entries: list[Entry] = []
        while True:
            entries += list(reader)
            began = entries[0]["__REALTIME_TIMESTAMP"].timestamp() if entries else None
            end = end_of(entries, unit)
            left = deadline - time.monotonic()
            if end or left <= 0:
                return end, began
            reader.wait(left)
            reader.process()


def asked_by_manager(agent: str, began: float | None, at: float) -> bool:
    """Whether hive-control(8) has asked to stop this run of the agent, not long before it stopped."""
    with journal.Reader() as reader:
        reader.add_match(f"MESSAGE_ID={facts.IDS['control']}", "SYSLOG_IDENTIFIER=hive-control")
        reader.add_match(f"HIVE_AGENT={agent}", "HIVE_VERB=stop", "HIVE_VERB=restart")
        reader.seek_realtime(at)
        entry = reader.get_previous()
        return bool(entry) and entry["__REALTIME_TIMESTAMP"].timestamp() > max(at - ASKED_BEFORE, began or 0)


def last_words(invocation: str) -> list[str]:
    """The last lines that the run itself wrote."""
    with journal.Reader() as reader:
        reader.add_match(_SYSTEMD_INVOCATION_ID=invocation)
        reader.seek_tail()
        newest_first = [text(entry) for _ in range(LINES) if (entry := reader.get_previous())]
        return newest_first[::-1]


def text(entry: Entry) -> str:
    return logs.text(entry)[:LINE_MAX].encode(errors="replace").decode()


def ended_since(seconds: float) -> Iterator[tuple[str, str]]:
    """Unit and invocation of each run that systemd has seen ending since then."""
    with journal.Reader() as reader:
        reader.add_match("_PID=1")
        for number in (FAILED, SUCCEEDED):
            reader.add_match(f"MESSAGE_ID={number}")
        reader.seek_realtime(seconds)
        for entry in reader:
            if "UNIT" in entry and "INVOCATION_ID" in entry:
                yield entry["UNIT"], invocation_in(entry)


def drops() -> journal.Reader:
    """What journald says, from now on, of units that write more than it takes. It is journald's, as no other
    can be a driver; and said when the unit writes again, after its LogRateLimitIntervalSec=."""
    reader = journal.Reader()
    reader.add_match("_TRANSPORT=driver", f"MESSAGE_ID={SUPPRESSED}")
    reader.seek_realtime(time.time())
    return reader


def dropped(reader: journal.Reader) -> Iterator[tuple[str, int]]:
    """Of which agent how many lines, since it was asked last."""
    reader.process()
    for entry in reader:
        said = re.fullmatch(r"Suppressed (\d+) messages from hive-agent@(.+)\.service", text(entry))
        if said:
            yield said[2], int(said[1])


def invocation_in(entry: Entry) -> str:
    value = entry["INVOCATION_ID"]
    return value if isinstance(value, str) else value.hex


def closes(lines: list[str]) -> list[str]:
    """As many of the last lines as fit into a message."""
    kept: list[str] = []
    room = wire.BODY_MAX // 4
    for line in reversed(lines):
        room -= len(line.encode())
        if room < 0:
            break
        kept.insert(0, line)
    return kept
