"""What happens in a hive, step by step; a broker may die in any of them, and the step is gone on with."""

import contextlib
import json
import resource
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests import crash_changes
from tests.crash_world import BASES, Gone, World, answer_to, write
from tests.test_broker import RECORD

Step = Callable[[World], None]
COMMIT = "before commit.Writer.commit: store.db.execute('commit')"


def start(w: World) -> None:
    w.start()


# agents


def request(w: World, name: str) -> dict[str, Any] | None:
    files = sorted((w.folder / "state/apply").glob("*.json"))
    return next((found for file in files if (found := json.loads(file.read_text()))["agent"] == name), None)


def wish(name: str) -> dict[str, str]:
    return {"agent": name, "toml": 'description = "one of us"\n', "key": f"key of {name}"}


def ask_for(w: World, name: str) -> int:
    """Gives the request's number, as hive-apply finds it."""

    def deed() -> dict[str, Any]:
        write(w.peer("operator"), "spawn", **wish(name))
        w.wait_until(lambda: request(w, name) is not None)
        return request(w, name) or {}

    number: int = w.through(deed)["id"]
    return number


def requests(w: World, name: str) -> int:
    with contextlib.closing(sqlite3.connect(w.folder / "state/db/hive.db")) as db:
        (count,) = db.execute("select count(*) from request where agent = ?", (name,)).fetchone()
    assert isinstance(count, int)
    return count


def spawn(name: str) -> Step:
    def step(w: World) -> None:
        number = ask_for(w, name)
        about = {"name": name, "role": "manager" if name == "manager" else "agent", "description": ""}
        w.ok("system", "applied", request=number, agent=about | {"uid_base": BASES[name]})
        (w.folder / f"state/apply/{number}.json").unlink()
        assert w.ok("operator", "spawn", **wish(name))["uid_base"] == BASES[name]
        assert name in w.names() and requests(w, name) == 1
        w.ok(f"{name}/tool", "whoami")

    step.__name__ = f"spawn_{name}"
    return step


def spawn_in_vain(w: World) -> None:
    number = ask_for(w, "eve")
    w.ok("system", "apply_failed", request=number, message="no")
    assert w.call("operator", "spawn", **wish("eve"))["error"] == "apply-failed"
    assert requests(w, "eve") == 1
    (w.folder / f"state/apply/{number}.json").unlink()


def uid_taken(w: World) -> None:
    about = {"name": "eve", "role": "agent", "description": ""} | UID
    assert w.call("system", "applied", request=99, agent=about)["error"] == "storage"
    assert "eve" not in w.names()


def nothing_is_asked_for_again(w: World) -> None:
    w.through(lambda: kill(w))
    assert list((w.folder / "state/apply").glob("*.json")) == []
    assert w.ok(
        "system", "applied", request=1, agent={"name": "ada", "role": "agent", "description": ""} | UID
    )["ok"]


UID = {"uid_base": BASES["ada"]}


def kill(w: World) -> dict[str, Any]:
    w.zygote.kill(w.pid)
    w.reborn()
    return {}


def socket_vanishes(w: World) -> None:
    """A cleaner of /run, say: nobody can connect until the broker is started again."""

    def deed() -> dict[str, Any]:
        (w.folder / "run/agents/ada/hive.sock").unlink(missing_ok=True)
        w.leave("ada/tool")
        return kill(w)

    w.through(deed)
    w.ok("ada/tool", "whoami")


# mail


def sends(w: World) -> None:
    w.send("operator", "bob", "one")
    w.send("ada", "all", "two")
    w.send("ada", "operator", "three")
    assert w.call("ada", "send", to="bob", body="other", key="key of two")["error"] == "conflict"


def recv_and_ack(w: World) -> None:
    first = w.recv("bob", max=1)
    rest = w.recv("bob")
    w.ack("bob", first)
    w.ack("bob", rest)


def parked(w: World) -> None:
    def deed() -> dict[str, Any]:
        w.peer("bob")
        tool = w.peer("bob/tool")
        number = write(tool, "recv", wait_seconds=20)
        answer_to(tool, write(tool, "whoami"))
        w.send("operator", "bob", "for a parked one")
        return answer_to(tool, number)

    show_and_ack(w, w.came("bob", w.through(deed)))


def show_and_ack(w: World, ids: list[int]) -> None:
    """By a tool, and by the harness when the turn is over."""
    w.ok("bob/tool", "shown", ids=ids)
    w.ack("bob", ids)


def tools(w: World) -> None:
    w.send("operator", "bob", "shown")

    def deed() -> dict[str, Any]:
        w.peer("bob")
        there = w.peer("bob/tool")
        return answer_to(there, write(there, "recv"))

    ids = w.came("bob/tool", w.through(deed))
    show_and_ack(w, ids)
    w.send("operator", "bob", "not shown")
    ids = w.came("bob/tool", w.through(deed))
    w.ok("bob", "ack")
    w.leave("bob/tool")
    assert w.recv("bob", wait_seconds=20) == ids
    w.ack("bob", ids)


def failures(w: World) -> None:
    w.send("operator", "bob", "again and again")
    w.fail("bob", w.recv("bob"))
    w.fail("bob", w.recv("bob"), count=False)
    w.ack("bob", w.recv("bob"))


def asleep(w: World) -> None:
    assert w.ok("bob", "asleep")["sleep"] is True
    w.leave("bob")


def wakes(w: World) -> None:
    """The first commit here is the message's: a broker that dies after it owes the byte."""
    w.send("operator", "bob", "wake up")
    w.look_at_fifos()


def poison(how: str) -> Step:
    def step(w: World) -> None:
        w.send("operator", "bob", f"poison, {how}")
        while ids := w.recv("bob"):
            if how == "fail":
                w.ok("bob", "fail", reason=how, ids=ids)
            else:
                w.leave("bob")
        dead = w.book.sent[f"poison, {how}"][0]
        w.book.dead.add(dead)
        (row,) = w.ok("operator", "mail", state="dead", limit=1)["messages"]
        assert (row["id"], row["attempts"]) == (dead, 5)
        hears(w, "dead_letter", dead)

    step.__name__ = f"poison_{how}"
    return step


def hears(w: World, event: str, number: int | None = None) -> None:
    """The manager takes its mail, and this is in it."""
    w.ack("manager", w.recv("manager"))
    events = [json.loads(text) for text in w.book.seen.values() if text.startswith("{")]
    assert [e for e in events if e["event"] == event and number in (None, e.get("id"))], f"no {event}"


def dead_letters(w: World) -> None:
    numbers = sorted(w.book.dead)
    for _ in range(2):
        assert w.ok("operator", "retry", ids=numbers[:1], key="key of retry")["requeued"] == 1
    w.ack("bob", w.recv("bob"))
    for _ in range(2):
        assert w.ok("operator", "drop", ids=numbers[1:], key="key of drop")["dropped"] == 1
    w.book.dead -= {numbers[0]}


def runs(w: World) -> None:
    w.send("operator", "bob", "for two runs")
    w.recv("bob")
    w.leave("bob")
    w.look_at_fifos()
    ids = w.recv("bob")
    w.through(lambda: kill(w))
    w.ack("bob", ids)


def nobody_to_answer_for_it(w: World) -> None:
    def deed() -> dict[str, Any]:
        w.peer("bob")
        tool = w.peer("bob/tool")
        number = write(tool, "recv", wait_seconds=20)
        answer_to(tool, write(tool, "whoami"))
        w.leave("bob")
        return answer_to(tool, number)

    assert w.through(deed)["error"] == "no-harness"


def a_wait_that_ends(w: World) -> None:
    assert w.recv("bob", wait_seconds=1) == []


# those who hang up while the disk is busy


def held(w: World, deed: Callable[[], object]) -> None:
    """While the next commit waits, and the broker with it, the tool hangs up."""
    w.hold_at(COMMIT)
    deed()
    w.wait_until(w.held)
    w.leave("bob/tool")
    w.release()


def hung_up_when_parked(w: World) -> None:
    def deed() -> dict[str, Any]:
        w.peer("bob")
        tool = w.peer("bob/tool")
        write(tool, "recv", wait_seconds=20)
        answer_to(tool, write(tool, "whoami"))
        system = w.peer("operator/other")
        held(w, lambda: write(system, "send", to="bob", body="for whom", key="key of for whom"))
        return {}

    w.through(deed)
    w.send("operator", "bob", "for whom")
    finds_unseen(w)


def hung_up_when_asking(w: World) -> None:
    def deed() -> dict[str, Any]:
        w.peer("bob")
        w.send("operator", "bob", "for nobody")
        tool = w.peer("bob/tool")
        held(w, lambda: write(tool, "recv"))
        return {}

    w.through(deed)
    finds_unseen(w)


def finds_unseen(w: World) -> None:
    """It went back without a mark: nobody had seen it."""
    answer = w.ok("bob", "recv", wait_seconds=5)
    before = w.deaths
    assert [m["redelivered"] for m in answer["messages"]] == [False] or before
    w.ack("bob", w.came("bob", answer))


# questions, reminders and mail that wants an answer; each said twice under one key


def twice(w: World, who: str, op: str, **fields: Any) -> dict[str, Any]:
    first = w.ok(who, op, key=f"key of {op} {fields}", **fields)
    again = w.ok(who, op, key=f"key of {op} {fields}", **fields)
    assert {**first, "id": 0} == {**again, "id": 0}
    return first


def questions(w: World) -> None:
    first = twice(w, "ada", "ask", question="which?")["question"]
    second = twice(w, "ada", "ask", question="why?", to="bob")["question"]
    assert len(w.ok("operator", "questions")["questions"]) == 2
    twice(w, "operator", "answer", question=first, answer=["this"])
    twice(w, "ada", "cancel_loose_end", kind="question", number=second)
    assert w.ok("operator", "questions")["questions"] == []
    w.ack("ada", w.recv("ada"))
    w.ack("bob", w.recv("bob"))
    told = [text for text in w.book.seen.values() if '"question_answered"' in text]
    assert len(told) == 2


def reminders(w: World) -> None:
    never = twice(w, "ada", "remind", message="never", delay=1000)["reminder"]
    assert [end["text"] for end in w.ok("ada", "loose_ends")["loose_ends"]] == ["never"]
    twice(w, "ada", "cancel_loose_end", kind="reminder", number=never)
    at = datetime.fromtimestamp(time.time() + 0.2, UTC).isoformat()
    twice(w, "ada", "remind", message="now", at=at)
    w.ack("ada", w.recv("ada", wait_seconds=5))
    twice(w, "ada", "remind", message="now", at=at)  # which is over now
    assert len([m for m in all_mail(w) if '"reminder"' in m["body"]]) == 1


def unanswered(w: World, name: str) -> list[str]:
    ends = w.ok(name, "loose_ends")["loose_ends"]
    return [end["text"] for end in ends if end["kind"] == "unanswered mail"]


def answers(w: World) -> None:
    """To mail that was taken, and that waits."""
    for text in ("first", "second", "third"):
        w.send("ada", "bob", text)
    ids = w.recv("bob", max=2)
    w.ack("bob", ids[:1])
    assert unanswered(w, "bob") == ["first", "second", "third"]
    w.ok("bob", "send", to="ada", body="to the second", in_reply_to=ids[1], key="key of second")
    assert unanswered(w, "bob") == ["first", "third"]
    w.send("bob", "ada", "to all of them")
    w.ack("bob", ids[1:])
    assert unanswered(w, "bob") == []
    assert unanswered(w, "ada") == ["to all of them"]
    twice(w, "ada", "cancel_loose_end", kind="mail", number=w.book.sent["to all of them"][0])
    assert unanswered(w, "ada") == []


def all_mail(w: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = w.ok("operator", "mail", limit=1000)["messages"]
    return found


# what hive-watch tells

AGENT, SOCKET = "hive-agent@bob.service", "hive-agent@bob.socket"
CRASH = {"result": "signal", "signal": "SIGKILL", "restarts": 0, "restarted": True, "log": ["argh"]}


def told(w: World, kind: str, unit: str, number: int, **fields: Any) -> None:
    """As hive-watch does it: again until it is answered."""
    at = "2026-11-22T10:00:00.000Z"
    answer = w.ok("system", "event", event=kind, unit=unit, invocation=f"{number:032x}", at=at, **fields)
    assert answer["new"] or w.deaths


def ends_of_runs(w: World) -> None:
    w.send("operator", "bob", "in flight")
    (number,) = w.recv("bob")
    run = int(w.runs["bob"], 16)
    told(w, "started", AGENT, run)
    w.leave("bob")
    w.look_at_fifos()
    told(w, "container_crash", AGENT, run, **CRASH)
    assert w.ok("system", "runs")["open"] == []
    told(w, "container_crash", AGENT, 1, **CRASH)  # a run that was never seen alive
    told(w, "stopped", AGENT, 2)
    told(w, "started", SOCKET, 3)
    told(w, "quarantined", SOCKET, 3, result="service-start-limit-hit")
    told(w, "started", SOCKET, 4)
    w.ack("manager", w.recv("manager"))
    events = [json.loads(text) for text in w.book.seen.values() if '"unit"' in text]
    assert [(e["event"], e.get("in_flight")) for e in events] == [
        ("container_crash", [number]),
        ("container_crash", []),
        ("stopped", None),
        ("quarantined", None),
        ("recovered", None),
    ]


# all the rest


def looks(w: World) -> None:
    w.ok("operator/watcher", "subscribe")
    w.send("ada", "operator", "hello")
    for op in ("status", "agents", "inbox", "questions", "loose_ends", "mail"):
        w.ok("operator", op)
    w.ok("operator", "show", agent="bob")
    for _ in range(2):
        assert w.ok("operator", "read", ids=w.book.sent["hello"], key="key of read")["read"] == 1
    w.book.done |= {*w.book.sent["hello"]}
    w.ok("bob", "whoami")
    w.ok("bob", "set_status", status="busy")
    w.ok("bob", "progress", number=1, text="reading")
    with contextlib.closing(sqlite3.connect(w.folder / "state/db/hive.db", isolation_level=None)) as db:
        db.execute("update reply set at = '2001'")
    w.ok("system", "prune", days=1)
    assert w.call("operator", "read", ids=w.book.sent["hello"], key="key of read")["read"] == 0 or w.deaths

    def deed() -> dict[str, Any]:
        there = w.peer("operator")
        answer_to(there, write(there, "backup"))
        return answer_to(there, write(there, "backup_read", name="hive.db", offset=0))

    assert w.through(deed)["data"]


def leftovers(w: World) -> None:
    """A backup that a crash cut short, and telemetry that nobody can read."""
    (w.folder / "state/db/.backup-hive.db").write_bytes(b"")
    (w.folder / "state/db/stats.db").write_bytes(b"garbage" * 999)


def turns(w: World) -> None:
    w.ok("bob", "turn", **RECORD)
    w.ok("bob", "turn", **RECORD | {"number": 2, "outcome": "auth-failed", "error": "no"})
    hears(w, "needs_login")
    w.ok("operator", "show", agent="bob")  # comes after the records, on the same thread


def refused(w: World) -> None:
    def deed() -> dict[str, Any]:
        peer = w.connect(w.folder / "run/agents/ada/hive.sock", BASES["bob"])
        try:
            answer = peer.read()
        finally:
            peer.close()
        if answer is None:
            raise Gone
        return {"error": answer["error"]}

    assert w.through(deed)["error"] == "forbidden"


def full_disk(w: World) -> None:
    """Whoever asks again after a crash finds a broker without the limit."""
    w.send("ada", "bob", "before the disk was full")
    w.peer("operator")
    resource.prlimit(w.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    answer = w.call("operator", "send", to="bob", body="there is room", key="key of there is room")
    assert answer["ok"] or answer["error"] == "storage"
    assert not answer["ok"] or w.deaths
    resource.prlimit(w.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    w.send("operator", "bob", "there is room")


BIRTH = [
    start,
    spawn("manager"),
    spawn("ada"),
    spawn("bob"),
    spawn_in_vain,
    uid_taken,
    nothing_is_asked_for_again,
    socket_vanishes,
]
SCENARIOS: dict[str, list[Step]] = {
    "birth": BIRTH,
    # before the others, which are shorter: where several get to a point, it dies in the last
    **{name: [start, *steps] for name, steps in crash_changes.SCENARIOS.items()},
    "mail": [start, sends, recv_and_ack, parked, tools, failures, asleep, wakes],
    "death": [start, poison("fail"), poison("end"), dead_letters],
    "runs": [start, runs, nobody_to_answer_for_it, hung_up_when_parked, hung_up_when_asking],
    "ends": [start, questions, reminders, answers],
    "watch": [start, ends_of_runs],
    "rest": [leftovers, start, looks, turns, refused, full_disk],
    "wait": [start, a_wait_that_ends],
}
