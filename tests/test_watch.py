"""How a run ended, read from systemd's entries about it; and what the broker makes of being told."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from hyperhive.store import runs
from hyperhive.watch import journal, watch
from hyperhive.watch.journal import EXITED, FAILED, STOPPED, STOPPING, SUCCEEDED, End, end_of
from tests.hive import Hive, Peer

UNIT = "hive-agent@ada.service"
AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
RUN = f"{7:032x}"
CRASH: dict[str, Any] = {
    "result": "signal",
    "signal": "SIGKILL",
    "restarts": 0,
    "restarted": True,
    "log": ["last words"],
}


def entry(number: str, **fields: str) -> dict[str, Any]:
    return {"MESSAGE_ID": uuid.UUID(number), "__REALTIME_TIMESTAMP": AT} | fields


KILLED = entry(EXITED, EXIT_CODE="killed", EXIT_STATUS="9")
EXIT_1 = entry(EXITED, EXIT_CODE="exited", EXIT_STATUS="1")
NEXT = entry(FAILED, UNIT_RESULT="start-limit-hit")


@pytest.mark.parametrize(
    ("entries", "kind", "result"),
    [
        ([KILLED], "crashed", ""),
        ([KILLED, entry(FAILED, UNIT_RESULT="oom-kill")], "crashed", "oom-kill"),
        ([EXIT_1, entry(STOPPING, JOB_TYPE="stop")], "crashed", ""),
        ([entry(FAILED, UNIT_RESULT="resources")], "crashed", "resources"),
        ([entry(SUCCEEDED), NEXT], "finished", ""),
        ([entry(STOPPING), EXIT_1, NEXT, entry(STOPPED, JOB_TYPE="stop")], "stopped", ""),
        ([entry(STOPPING), entry(SUCCEEDED), entry(STOPPED, JOB_TYPE="restart")], "restarted", ""),
    ],
)
def test_the_first_word_about_an_end_counts(entries: list[dict[str, Any]], kind: str, result: str) -> None:
    end = end_of(entries, UNIT)
    assert end
    assert (end.kind, end.result) == (kind, result)


def test_nothing_is_concluded_too_early() -> None:
    started = {"MESSAGE_ID": uuid.uuid4(), "__REALTIME_TIMESTAMP": AT}
    assert end_of([], UNIT) is None
    assert end_of([started], UNIT) is None
    assert end_of([entry(STOPPING), entry(SUCCEEDED)], UNIT) is None, "stop or restart?"


def test_a_socket_does_not_end_by_itself() -> None:
    unit = "hive-agent@ada.socket"
    assert end_of([entry(SUCCEEDED)], unit) is None
    assert end_of([entry(SUCCEEDED), entry(STOPPED, JOB_TYPE="stop")], unit) == End(
        "stopped", AT.timestamp()
    )


def test_only_some_units_are_watched() -> None:
    yes = (
        "hive-agent@ada.service",
        "hive-agent@ada.socket",
        "hive-gate.service",
        "systemd-nspawn@x.service",
    )
    no = (
        "hive-gate.socket",
        "ssh.service",
        "hive-box-run-1.service",
        "hive-control@1-2.service",
        "systemd-nspawn.service",
    )
    assert [unit for unit in (*yes, *no) if watch.watched(unit)] == [*yes]


def test_last_words_fit_into_a_message() -> None:
    kept = journal.closes(["é" * 8000, "b" * 8000, "c"])
    assert [line[0] for line in kept] == ["b", "c"]


def told(peer: Peer) -> list[dict[str, Any]]:
    """The events in the inbox, but for those of the agents' birth."""
    bodies = [json.loads(message["body"]) for message in peer.ask("recv", wait_seconds=20)["messages"]]
    return [body for body in bodies if body["event"] != "spawned"]


def event(hive: Hive, kind: str, unit: str = UNIT, invocation: str = RUN, **fields: Any) -> Any:
    at = "2026-11-22T10:00:00.000Z"
    return hive.system().ask("event", event=kind, unit=unit, invocation=invocation, at=at, **fields)


def test_a_run_ends_once(here: Hive) -> None:
    manager = here.agent("manager")
    assert event(here, "started")["new"] is True
    assert here.system().ask("runs")["open"][0]["invocation"] == RUN
    assert event(here, "container_crash", **CRASH)["new"] is True
    assert event(here, "container_crash", **CRASH)["new"] is False
    assert event(here, "finished")["new"] is False
    assert event(here, "started")["new"] is False
    assert here.system().ask("runs")["open"] == []
    (mail,) = told(manager)
    assert (mail["event"], mail["agent"], mail["signal"], mail["log"]) == (
        "container_crash",
        "ada",
        "SIGKILL",
        ["last words"],
    )


def test_a_crash_tells_which_mail_was_in_flight(here: Hive) -> None:
    ada = here.agent("ada", invocation=RUN)
    (number,) = here.operator().ask("send", to="ada", body="work")["ids"]
    assert ada.ask("recv", wait_seconds=20)["messages"]
    ada.close()
    again = here.agent("ada")
    assert again.ask("recv", wait_seconds=20)["messages"][0]["redelivered"]
    assert event(here, "container_crash", **CRASH)["new"]
    (mail,) = told(here.agent("manager"))
    assert mail["in_flight"] == [number]


REASON = "the run that had it crashed: SIGKILL after 12 s"


@pytest.mark.parametrize("first", ["connection", "event"])
def test_the_mail_tells_the_next_run_how_the_last_one_ended(here: Hive, first: str) -> None:
    ada, watcher = here.agent("ada", invocation=RUN), here.operator()
    watcher.ask("subscribe")
    here.operator().ask("send", to="ada", body="work")
    assert ada.ask("recv", wait_seconds=20)["messages"]
    if first == "event":
        assert event(here, "container_crash", runtime=12.3, **CRASH)["new"]
    ada.close()
    while watcher.read()["event"] != "requeued":
        pass
    if first == "connection":
        assert event(here, "container_crash", runtime=12.3, **CRASH)["new"]
    (message,) = here.agent("ada").ask("recv")["messages"]
    assert (message["redelivered"], message["reason"]) == (True, REASON)


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ({"event": "stopped"}, "the run that had it was stopped"),
        ({"event": "finished"}, "the run that had it was restarted"),
        (
            {
                "event": "container_crash",
                "signal": None,
                "exit_status": 3,
                "result": "exit-code",
                "runtime": 0.6,
            },
            "the run that had it crashed: exit status 3 after 1 s",
        ),
        (
            {"event": "container_crash", "signal": "SIGKILL", "result": "watchdog", "runtime": None},
            "the run that had it crashed: watchdog",
        ),
    ],
)
def test_an_end_in_words(end: dict[str, Any], text: str) -> None:
    assert runs.how(end) == text


def test_quarantine_and_recovery(here: Hive) -> None:
    manager, socket = here.agent("manager"), "hive-agent@ada.socket"
    event(here, "started", socket)
    event(here, "quarantined", socket, result="service-start-limit-hit")
    event(here, "started", socket, f"{8:032x}")
    assert [mail["event"] for mail in told(manager)] == ["quarantined", "recovered"]


def test_what_is_about_the_manager_goes_to_the_operator(here: Hive) -> None:
    event(here, "container_crash", "hive-agent@manager.service", **CRASH)
    (mail,) = here.operator().ask("inbox")["messages"]
    assert json.loads(mail["body"])["agent"] == "manager"


def test_a_bad_event_is_refused(here: Hive) -> None:
    assert event(here, "exploded")["error"] == "bad-request"
    assert event(here, "started", invocation="x")["error"] == "bad-request"
    assert event(here, "container_crash")["error"] == "bad-request"
    too_many = CRASH | {"log": ["."] * 21}
    assert event(here, "container_crash", **too_many)["error"] == "bad-request"


def test_only_root_may_say_what_is_hive_apply_s(here: Hive) -> None:
    (here.run / "system.sock").chmod(0o666)
    guest = here.connect(here.run / "system.sock", uid=12345)
    for op in ("applied", "apply_failed", "prune"):
        assert guest.ask(op)["error"] == "forbidden"
    assert guest.ask("runs")["ok"]
