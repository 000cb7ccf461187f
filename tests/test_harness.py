"""The harness against a claude that misbehaves, with the real broker. Its acts: tests/doubles/claude."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.caged import Cage, caged
from tests.hive import ROOT, Hive, hive
from tests.scripted import wait_until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hive]:
    with hive(tmp_path) as it:
        it.add("manager", "ada")
        yield it


@pytest.fixture
def cage(here: Hive) -> Iterator[Cage]:
    with caged(here, line=200_000, turn=2_000_000, interrupt=0.5) as it:
        yield it


@pytest.fixture
def hasty(here: Hive) -> Iterator[Cage]:
    """It gives a silent claude one second."""
    with caged(here, turn_timeout=1, interrupt=0.5) as it:
        yield it


def test_a_turn_goes_well(cage: Cage) -> None:
    number = cage.send("hello")
    cage.start()
    record = cage.wait_for("turn")
    assert (record["outcome"], record["messages"], record["woken_by"]) == ("ok", 1, "operator")
    assert (record["tokens_in"], record["tokens_out"], record["tokens_cache_read"]) == (10, 20, 30)
    cage.wait_for("done", id=number)
    assert cage.mail(number)["attempts"] == 1
    second = cage.send("again")
    assert cage.wait_for("turn")["number"] == 2
    cage.wait_for("done", id=second)
    (start,) = cage.starts()  # one process for both
    assert "--tools=Bash,Read" in start["start"] and start["start"][-2:] == ["Bash(git *)", "Read"]
    assert [turn["cost_usd"] for turn in cage.turns()] == [0.25, 0.25]  # the CLI's figure is a sum
    cage.wait_for_status("READY=1\nSTATUS=awake")


def test_a_turn_feeds_the_watchdog(hasty: Cage) -> None:
    hasty.send("hello")
    hasty.start()
    hasty.wait_for_status("READY=1")
    hasty.wait_for_status("WATCHDOG=1")
    hasty.wait_for("turn", outcome="ok")


def test_a_program_of_the_config_runs_the_turns(cage: Cage) -> None:
    config = cage.folder / "config"
    (config / "bin").mkdir()
    (cage.folder / "claude").rename(config / "bin/mine")
    (config / "agent.toml").write_text('runner = "exec:mine"\n')
    cage.send("hello")
    cage.start()
    assert cage.wait_for("turn")["outcome"] == "ok"


# act, outcome, what the error says
COUNTED = [
    ("exit", "crashed", "it ended (exit status 3)"),
    ("half", "crashed", "it ended in the middle of a line (exit status 0)"),
    ("heirs", "crashed", "it ended (exit status 3)"),
    ("flood_line", "crashed", "it flooded its output: one line has no end (exit status -9)"),
    ("flood_lines", "crashed", "it flooded its output (exit status -9)"),
    ("400", "crashed", "API Error: Request rejected (400)"),
    ("refuses", "refused", "API Error"),
    ("long", "prompt-too-long", "API Error: Request rejected (400)"),
]


@pytest.mark.parametrize(("act", "outcome", "error"), COUNTED)
def test_what_counts_as_an_attempt(cage: Cage, act: str, outcome: str, error: str) -> None:
    number = cage.send(f"{act} once")
    cage.start()
    record = cage.wait_for("turn")
    assert record["outcome"] == outcome and error in record["error"], record
    assert cage.wait_for("requeued", id=number)["reason"].startswith(f"{outcome}: ")
    assert cage.wait_for("turn")["outcome"] == "ok"
    cage.wait_for("done", id=number)
    assert (cage.mail(number)["attempts"], cage.mail(number)["redelivered"]) == (2, True)
    text = [entry["text"] for entry in cage.log() if "text" in entry][-1]
    assert 'redelivered="1"' in text and "did not finish" in text
    last = cage.starts()[-1]["pid"]
    assert set(cage.inside()) == {last}  # of the first claude and what it left nothing runs


# act, and how often claude was started until the second turn was done
TIMED_OUT = [("silent", 1), ("frozen", 2), ("chatty", 2)]


@pytest.mark.parametrize(("act", "starts"), TIMED_OUT)
def test_silence_is_interrupted(hasty: Cage, act: str, starts: int) -> None:
    number = hasty.send(f"{act} once")
    hasty.start()
    record = hasty.wait_for("turn")
    assert (record["outcome"], record["error"]) == ("timed-out", "silent for 1 s")
    assert hasty.wait_for("turn")["outcome"] == "ok"
    hasty.wait_for("done", id=number)
    assert hasty.mail(number)["attempts"] == 2
    assert len(hasty.starts()) == starts
    assert set(hasty.inside()) == {hasty.starts()[-1]["pid"]}


@pytest.mark.parametrize("size", [10, 60_000])
def test_a_deaf_claude_is_replaced(hasty: Cage, size: int) -> None:
    hasty.send("deaf once")
    hasty.start()
    assert hasty.wait_for("turn")["outcome"] == "ok"
    numbers = [hasty.send("x" * size) for _ in range(4)]  # together more than a pipe takes, or not
    assert hasty.wait_for("turn")["outcome"] == "timed-out"
    for number in numbers:
        hasty.wait_for("done", id=number)
    assert len(hasty.starts()) == 2


FORGIVEN = {
    "429": "rate-limited",
    "529": "rate-limited",
    "401": "auth-failed",
    "403": "auth-failed",
    "500": "crashed",
    "lost": "crashed",
    "wordy": "crashed",
}


@pytest.mark.parametrize("act", FORGIVEN)
def test_what_is_the_endpoints_doing(cage: Cage, act: str) -> None:
    number = cage.send(f"{act} once")
    cage.start()
    assert cage.wait_for("turn")["outcome"] == FORGIVEN[act]
    cage.wait_for("requeued", id=number)
    assert (cage.mail(number)["state"], cage.mail(number)["attempts"]) == ("queued", 0)
    cage.wait_for_status("trying again in 5 s")
    cage.terminate()  # a stop does not wait for the endpoint either
    assert cage.exited() == 0
    cage.start()
    cage.wait_for("done", id=number)
    assert cage.mail(number)["attempts"] == 1


def test_the_endpoint_is_tried_again(cage: Cage) -> None:
    number = cage.send("429 once")
    cage.start()
    assert cage.wait_for("turn")["outcome"] == "rate-limited"
    assert cage.wait_for("turn")["outcome"] == "ok"
    cage.wait_for("done", id=number)
    assert len(cage.starts()) == 1


def test_a_long_wait_that_the_endpoint_asks_for_is_not_sat_out_by_claude(cage: Cage) -> None:
    number = cage.send("waits once")
    cage.start()
    record = cage.wait_for("turn")
    assert (record["outcome"], record["error"]) == ("rate-limited", "the endpoint asks for a longer wait")
    cage.wait_for("requeued", id=number)
    assert cage.mail(number)["attempts"] == 0
    cage.wait_for_status("trying again in 60 s")


def test_compacted_is_done(cage: Cage) -> None:
    number = cage.send("compacts")
    cage.start()
    assert cage.wait_for("turn")["outcome"] == "compacted"
    cage.wait_for("done", id=number)


def test_garbage_between_good_lines(cage: Cage) -> None:
    number = cage.send("garbage")
    cage.start()
    doing = [cage.wait_for("progress")["text"] for _ in range(4)]
    record = cage.wait_for("turn")
    assert record["outcome"] == "ok"
    assert all(text.isprintable() and len(text) <= 200 for text in [*doing, *record["tools"]])
    assert (record["tokens_in"], record["tokens_out"], record["tokens_cache_read"]) == (0, 1, 0)
    cage.wait_for("done", id=number)
    assert "what is not JSON, ignoring" in cage.stderr()


def test_one_that_never_says_a_word_ends_the_harness_too(cage: Cage) -> None:
    number = cage.send("mute once")
    cage.start()
    assert cage.exited() == 1
    assert "claude: it ended (exit status 4)" in cage.stderr()
    assert cage.wait_for("requeued", id=number)["reason"] == "claude: it ended (exit status 4)"
    cage.wait_for("asleep", orderly=False)
    cage.wait_for("woken")
    assert cage.poked()  # systemd tries again, up to its limit
    assert cage.mail(number)["attempts"] == 0
    cage.start()
    cage.wait_for("done", id=number)


def test_a_session_that_is_gone_is_replaced(cage: Cage) -> None:
    cage.send("gone")
    cage.start()
    cage.wait_for("turn")
    number = cage.send("who are you?")
    record = cage.wait_for("turn")
    assert record["outcome"] == "ok"
    cage.wait_for("done", id=number)
    assert cage.mail(number)["attempts"] == 1
    assert [start["session"] is not None for start in cage.starts()] == [False, True, False]
    assert len(cage.turns()) == 2


@pytest.mark.parametrize("content", [b"", b"--help", b"\xff\n", b"x y", b"a\n--model=x", b"y" * 1000])
def test_a_session_file_that_cannot_be_one(cage: Cage, content: bytes) -> None:
    (cage.home / ".hyperhive-session").write_bytes(content)
    number = cage.send("hello")
    cage.start()
    cage.wait_for("done", id=number)
    assert cage.starts()[0]["session"] is None


def test_a_session_file_that_cannot_be_written(cage: Cage) -> None:
    (cage.home / ".hyperhive-session").mkdir()
    number = cage.send("hello")
    cage.start()
    cage.wait_for("done", id=number)
    assert "Cannot keep the session's id, ignoring" in cage.stderr()


def test_the_session_is_resumed_by_the_next_run(cage: Cage) -> None:
    for _ in range(2):
        number = cage.send("hello")
        cage.start()
        cage.wait_for("done", id=number)
        cage.terminate()
        cage.exited()
    assert [bool(start["session"]) for start in cage.starts()] == [False, True]


def test_a_turn_of_the_clis_own_is_not_taken_for_ours(cage: Cage) -> None:
    cage.send("later")
    cage.start()
    assert cage.wait_for("turn")["outcome"] == "ok"
    number = cage.send("exit once")
    assert cage.wait_for("turn")["outcome"] == "crashed"
    assert cage.wait_for("turn")["outcome"] == "ok"
    cage.wait_for("done", id=number)
    assert cage.mail(number)["attempts"] == 2


def test_a_cli_that_does_not_say_whose_turn_a_result_ends(cage: Cage) -> None:
    number = cage.send("ancient")
    cage.start()
    assert cage.wait_for("turn")["outcome"] == "ok"
    cage.wait_for("done", id=number)


def test_claude_that_dies_between_turns_costs_the_next_mail_nothing(cage: Cage) -> None:
    cage.send("dies")
    cage.start()
    assert cage.wait_for("turn")["outcome"] == "ok"
    assert cage.process
    wait_until(lambda: set(cage.inside().values()) <= {"Z"}, cage.process)
    number = cage.send("hello")
    assert cage.wait_for("turn")["outcome"] == "ok"
    cage.wait_for("done", id=number)
    assert cage.mail(number)["attempts"] == 1


def left(cage: Cage) -> set[int]:
    return {entry["left"] for entry in cage.log() if "left" in entry}


def command_lines(uid: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == uid:
                found.append((path / "cmdline").read_text().rstrip("\0"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_nothing_outlives_claude(cage: Cage) -> None:
    cage.send("children")
    cage.start()
    cage.wait_for("turn")
    assert len(left(cage)) == 3 and left(cage) <= set(cage.inside())
    number = cage.send("exit once")
    cage.wait_for("done", id=number)
    assert set(cage.inside()) == {cage.starts()[-1]["pid"]}


def test_nothing_outlives_the_harness(here: Hive) -> None:
    with caged(here, linger=1) as cage:
        cage.send("children")
        cage.start()
        cage.wait_for("turn")
        assert cage.exited() == 0
        assert cage.wait_for("asleep")["orderly"]
        # the kernel ends a pid namespace with its first process
        for line in ("sleep\0001001", "sleep\0001002", "sleep\0001003"):
            assert line not in command_lines(cage.uid)


def test_orphans_are_reaped_while_claude_works(cage: Cage) -> None:
    cage.send("orphans")
    cage.start()
    cage.wait_for("turn")
    assert set(cage.inside()) == {cage.starts()[-1]["pid"]}


def test_the_poison_dies_alone(cage: Cage) -> None:
    before, poison, after = cage.send("hello"), cage.send("exit"), cage.send("how are you?")
    cage.start()
    assert cage.wait_for("dead")["id"] == poison
    cage.wait_for("done", id=after)
    states = [(cage.mail(number)["state"], cage.mail(number)["attempts"]) for number in (before, after)]
    assert states == [("done", 2), ("done", 3)]
    assert cage.mail(poison)["state"] == "dead"


def test_a_stop_in_mid_turn(cage: Cage) -> None:
    number = cage.send("pauses")
    cage.start()
    cage.wait_for("progress", text="Bash wait")
    cage.terminate()
    assert cage.exited() == 0
    assert cage.wait_for("requeued", id=number)["reason"] == "the harness's connection ended"
    (cage.home / "go").touch()
    cage.wait_for("woken")
    assert cage.poked()
    cage.start()
    cage.wait_for("done", id=number)
    assert cage.mail(number)["attempts"] == 2


def test_the_broker_is_replaced_in_mid_turn(here: Hive) -> None:
    with caged(here, linger=1) as cage:
        number = cage.send("pauses")
        cage.start()
        cage.wait_for("progress", text="Bash wait")
        here.kill()
        here.start()
        cage.operator, cage.events = here.operator(), here.operator()
        assert cage.events.ask("subscribe")["ok"]
        assert cage.mail(number)["state"] == "queued"
        assert cage.process
        # Back before the turn has ended: a tool that asks for mail in it must find its harness.
        wait_until(lambda: cage.operator.ask("show", agent="ada")["agent"]["awake"], cage.process)
        (cage.home / "go").touch()
        cage.wait_for("done", id=number)
        second = cage.send("hello")
        cage.wait_for("done", id=second)
        assert [turn["outcome"] for turn in cage.turns()] == ["ok", "ok"]
        texts = [entry["text"] for entry in cage.log() if "text" in entry]
        assert len(texts) == 2 and f'<mail id="{number}"' not in texts[1]  # it was given once
        assert len(cage.starts()) == 1
        assert cage.exited() == 0
        assert not cage.poked()  # what the new broker wrote wakes nobody a second time


def test_without_a_cage_it_says_so() -> None:
    run = subprocess.run([sys.executable, ROOT / "bin/hive-harness"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (78, "must be the first process of a cage\n")


def test_outside_of_a_user_namespace_it_covers_nothing() -> None:
    """Though it is the first process: it would be /proc and /sys of the machine."""
    alone = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]  # if it did, then here only
    run = subprocess.run([*alone, sys.executable, ROOT / "bin/hive-harness"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (78, "must be in a user namespace of its own\n")


def test_no_mail_is_stuck_at_the_edge_of_sleep(here: Hive) -> None:
    with caged(here, linger=0) as cage:
        with cage.supervised():
            for step in range(80):
                number = cage.send("hello")
                cage.wait_for("done", id=number)
                # The next one comes at once, or as the harness asks whether it may sleep, or as it goes.
                time.sleep(step % 20 / 500)
            cage.wait_for("asleep")
        rows = cage.operator.ask("mail", agent="ada", limit=1000)["messages"]
        assert {(row["state"], row["attempts"]) for row in rows if row["to"] == "ada"} == {("done", 1)}
        assert not cage.poked()
        story = [e["event"] for e in cage.seen if e["event"] in ("awake", "delivered", "asleep")]
        runs = " ".join(story).split("awake")[1:]
        assert len(runs) > 20
        assert all("delivered" in run for run in runs)  # none was woken for nothing
        assert all(e["orderly"] for e in cage.seen if e["event"] == "asleep")
