"""What becomes of mail, step by step, for tests/crash_scenarios.py."""

from collections.abc import Callable
from typing import Any

from tests.crash_world import Step, World, answer_to, write

COMMIT = "before store.commit.Writer.commit: store.db.execute('commit')"


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
        w.hears("dead_letter", dead)

    step.__name__ = f"poison_{how}"
    return step


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
    w.through(w.kill)
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


SCENARIOS: dict[str, list[Step]] = {
    "mail": [sends, recv_and_ack, parked, tools, failures, asleep, wakes],
    "death": [poison("fail"), poison("end"), dead_letters],
    "runs": [runs, nobody_to_answer_for_it, hung_up_when_parked, hung_up_when_asking],
    "wait": [a_wait_that_ends],
}
