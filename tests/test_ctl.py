"""hivectl as people and scripts run it: with the real broker."""

import contextlib
import json
import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hive import Hive, hive
from tests.hivectl import HIVECTL, environment, load, run
from tests.scripted import Scripted


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hive]:
    with hive(tmp_path) as it:
        it.add("manager", "ada", "bob")
        yield it


def lines(here: Hive, *words: str) -> list[list[str]]:
    return [line.split() for line in run(here, *words).stdout.splitlines()]


# the verbs


def test_status_says_how_the_hive_is(here: Hive) -> None:
    here.agent("ada").ask("progress", number=1, text="Bash: make")
    run(here, "send", "bob", "one")
    run(here, "send", "bob", "two")
    text = run(here, "status").stdout
    assert re.search(r"^agents   3: 1 working, 2 asleep$", text, re.M)
    assert re.search(r"^mail     \d+ queued, 0 in a turn, 0 dead$", text, re.M)
    assert re.search(r"^2 messages wait for bob \(asleep\)$", text, re.M)
    about = load(here, "status")
    assert (about["agents"], about["awake"]) == (3, 1)
    assert about["states"] == {"working": 1, "asleep": 2}


def test_list_shows_state_mail_and_work(here: Hive) -> None:
    ada = here.agent("ada")
    ada.ask("set_status", status="reading the tests")
    run(here, "send", "bob", "one")
    table = lines(here, "list")
    assert table[0] == ["AGENT", "STATE", "MAIL", "TURNS", "LAST", "TURN", "DOES"]
    assert ["ada", "awake", "0", "0", "-", "reading", "the", "tests"] in table
    assert ["bob", "asleep", "1", "0", "-"] in table
    assert {(a["name"], a["state"]) for a in load(here, "list")} == {
        ("manager", "asleep"),
        ("ada", "awake"),
        ("bob", "asleep"),
    }


def test_show_shows_turns_and_mail_the_newest_last(here: Hive) -> None:
    ada = here.agent("ada")
    record: dict[str, Any] = dict.fromkeys(
        "messages tool_calls tokens_in tokens_out tokens_cache_read tokens_cache_write cost_usd".split(), 0
    )
    record |= {
        "started_at": "2026-11-22T10:00:00.000Z",
        "model": "m",
        "woken_by": "mail",
        "session": "s",
        "tools": {},
    }
    for number, outcome in ((1, "ok"), (2, "rate-limited")):
        ada.ask("turn", number=number, outcome=outcome, duration_ms=1500, error="try later", **record)
    ada.ask("send", to="bob", body="first")
    ada.ask("send", to="bob", body="second")
    unit, at = "hive-agent@ada.service", "2026-11-22T10:00:00.000Z"
    system = here.system()
    for number in (1, 2):
        system.ask("event", event="started", unit=unit, invocation=f"{number:032x}", at=at)
    crash = {"result": "signal", "signal": "SIGKILL", "restarts": 0, "restarted": True, "log": []}
    later = at.replace("00.000", "12.345")
    system.ask("event", event="container_crash", unit=unit, invocation=f"{1:032x}", at=later, **crash)
    text = run(here, "show", "ada").stdout
    assert re.search(
        r"^0{8}  .*  12\.3 s  crashed: SIGKILL \(journalctl .*=0{31}1\)\n0{8} .* runs$", text, re.M
    )
    assert text.startswith("agent    ada (agent)\nstate    awake\n")
    assert re.search(r"^ +1 .* 1\.5 s  ok .*\n +2 .* 1\.5 s  rate-limited .* try later$", text, re.M)
    assert text.index("first") < text.index("second")
    assert {*load(here, "show", "ada")} == {"agent", "recent_runs", "recent_turns", "messages", "notes"}


def test_the_inbox_says_what_died_and_what_to_do(here: Hive) -> None:
    system, at = here.system(), "2026-11-22T10:00:00.000Z"
    died = {"result": "exit-code", "exit_status": 78, "restarts": 0, "restarted": True, "log": []}
    for kind, unit, number, fields in (
        ("container_crash", "hive-agent@manager.service", 1, died),
        ("quarantined", "hive-agent@manager.socket", 2, {"result": "service-start-limit-hit"}),
        ("started", "hive-agent@manager.socket", 3, {}),
        ("stopped", "hive-agent@manager.socket", 3, {}),
    ):
        assert system.ask("event", event=kind, unit=unit, invocation=f"{number:032x}", at=at, **fields)[
            "new"
        ]
    text = run(here, "inbox").stdout
    for said in (
        "hive-agent@manager.service crashed: exit status 78; systemd starts it again.\n(journalctl _SYSTEMD",
        "manager is in quarantine: it crashed again and again, and its mail waits.\n(systemctl reset-failed",
        "manager is out of quarantine.\n",
        "hive-agent@manager.socket was stopped.\n",
    ):
        assert said in text


def test_top_without_a_terminal_shows_it_once(here: Hive) -> None:
    for number in range(3):
        run(here, "send", "bob", f"{number}")
    headline, _titles, first, *_ = run(here, "top").stdout.splitlines()
    assert headline.startswith("3 agents (3 asleep), 5 queued")
    assert first.split()[0] == "bob"  # who has most mail
    assert {*load(here, "top")} == {"status", "agents"}


def test_send_tells_the_id_and_how_many_are_ahead(here: Hive) -> None:
    first = load(here, "send", "bob", "one")
    assert first["ahead"] == 0
    assert run(here, "send", "bob", "two").stdout == f"sent {first['ids'][0] + 1}, 1 message ahead\n"
    assert len(load(here, "send", "all", "three")["ids"]) == 3


@pytest.mark.parametrize("words", [["send", "bob"], ["send", "bob", "-"]])
def test_send_reads_the_text_from_stdin(here: Hive, words: list[str]) -> None:
    run(here, *words, stdin="grüße\n\nlast\n".encode())
    assert load(here, "mail", "bob")[0]["body"] == "grüße\n\nlast"


def test_send_with_a_key_sends_once(here: Hive) -> None:
    first = load(here, "send", "bob", "x", "--key", "k")
    assert load(here, "send", "bob", "x", "--key", "k")["ids"] == first["ids"]
    assert "key 'k'" in run(here, "send", "bob", "y", "--key", "k", status=1).stderr


def test_send_in_reply(here: Hive) -> None:
    run(here, "send", "bob", "x", "--reply-to", "1")
    assert load(here, "mail", "bob")[0]["in_reply_to"] == 1


def test_inbox_shows_what_is_unread_in_full_the_newest_last(here: Hive) -> None:
    ada = here.agent("ada")
    ids = [ada.ask("send", to="operator", body=body)["ids"][0] for body in ("one\ntwo", "three", "four")]
    text = run(here, "inbox").stdout
    assert re.search(rf"^-- {ids[0]} from ada, \S+, unread --\none\ntwo\n\n-- {ids[1]} ", text, re.M)
    run(here, "inbox", "--read", str(ids[0]), str(ids[1]))
    assert [m["body"] for m in load(here, "inbox")] == ["four"]
    assert [m["body"] for m in load(here, "inbox", "--all", "--limit", "2")] == ["four", "three"]
    assert "four" in run(here, "inbox", "--mark-read").stdout
    done = run(here, "inbox")
    assert (done.stdout, done.stderr) == ("", "Nothing new. (--all shows what you have read)\n")


def test_inbox_does_not_mark_as_read_what_nobody_could_see(here: Hive) -> None:
    here.agent("ada").ask("send", to="operator", body="x" * 60_000)
    process = subprocess.Popen(
        [*HIVECTL, "inbox", "--mark-read"], env=environment(here.run / "operator.sock"), stdout=-1, stderr=-1
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert (process.wait(20), process.stderr.read()) == (1, b"")
    process.stderr.close()
    assert len(load(here, "inbox")) == 1


def test_mail_shows_the_flow_and_can_be_narrowed(here: Hive) -> None:
    ada, bob = here.agent("ada"), here.agent("bob")
    ada.ask("send", to="bob", body="a line\nand another")
    bob.ask("recv")
    bob.ask("ack")
    bob.ask("send", to="ada", body="yes")
    shown = [line.split(maxsplit=5) for line in run(here, "mail", "bob").stdout.splitlines()]
    assert [line[2:] for line in shown[1:]] == [
        ["ada", "bob", "done", "a line and another"],
        ["bob", "ada", "queued", "yes"],
    ]
    assert [m["body"] for m in load(here, "mail", "ada", "--state", "queued")] == ["yes"]
    assert len(load(here, "mail", "--limit", "1")) == 1


@contextlib.contextmanager
def following(here: Hive | Scripted, *words: str) -> Iterator[subprocess.Popen[str]]:
    socket = here.run / "operator.sock" if isinstance(here, Hive) else here.socket
    command = [*HIVECTL, "mail", "--follow", *words]
    with subprocess.Popen(command, env=environment(socket), stdout=-1, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(20)
        assert status == 130


def test_mail_follow_shows_each_message_once(here: Hive) -> None:
    run(here, "send", "bob", "before")
    with following(here, "bob") as process:
        assert process.stdout
        assert process.stdout.readline().endswith("operator -> bob: before\n")
        run(here, "send", "ada", "not for bob")
        run(here, "send", "bob", "after\nwards", "--reply-to", "1")
        assert process.stdout.readline().endswith("operator -> bob (to 1): after wards\n")


def test_mail_follow_outlives_a_restart_and_shows_what_was_sent_meanwhile(here: Hive) -> None:
    with following(here, "bob", "--json") as process:
        assert process.stdout
        run(here, "send", "bob", "before")
        assert json.loads(process.stdout.readline())["body"] == "before"
        here.kill()
        here.start()
        run(here, "send", "bob", "meanwhile")
        assert json.loads(process.stdout.readline())["body"] == "meanwhile"


QUOTED = 'a "quoted" \\ line\x7f, grüße \U0001f41d'


@pytest.mark.parametrize(
    ("options", "toml"),
    [
        ([], {}),
        (
            ["--description", 'a "quoted" \\ line\x7f ümlaut \U0001f41d'],
            {"description": 'a "quoted" \\ line\x7f ümlaut \U0001f41d'},
        ),
        (["--model", "opus"], {"model": "opus"}),
    ],
    ids=["plain", "description", "model"],
)
def test_spawn_makes_an_agent_toml(tmp_path: Path, options: list[str], toml: dict[str, str]) -> None:
    broker = Scripted(tmp_path)
    broker.start(spawn=[{"agent": "eve", "uid_base": 1}])
    run(broker, "spawn", "eve", *options)
    broker.stop()
    (request,) = broker.requests("spawn")
    assert request["agent"] == "eve" and "prompt" not in request
    made = tomllib.loads(request["toml"])
    assert "Bash" in made.pop("tools")["allow"] and made == toml


def test_spawn_passes_files_on(tmp_path: Path) -> None:
    broker = Scripted(tmp_path)
    broker.start(spawn=[{"agent": "eve", "uid_base": 1}])
    (tmp_path / "a.toml").write_text('description = "x"\n')
    (tmp_path / "p.md").write_text("Be kind.\n")
    born = load(broker, "spawn", "eve", "--toml", f"{tmp_path}/a.toml", "--prompt", f"{tmp_path}/p.md")
    broker.stop()
    assert born == {"agent": "eve", "uid_base": 1}
    (request,) = broker.requests("spawn")
    assert (request["toml"], request["prompt"]) == ('description = "x"\n', "Be kind.\n")


# what goes wrong


def test_without_a_broker_it_says_so_in_one_line_and_names_the_way_out(tmp_path: Path) -> None:
    away = Scripted(tmp_path)
    for words, status in ((["status"], 1), (["list"], 75)):
        done = run(away, *words, status=status)
        assert done.stdout == "" and len(done.stderr.splitlines()) == 2
        assert "No such file" in done.stderr and "systemctl start hyperhive.target" in done.stderr


def test_who_may_not_connect_is_told_of_the_group(here: Hive) -> None:
    (here.run / "operator.sock").chmod(0o660)
    search = "+dac_read_search"
    become = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        f"--inh-caps={search}",
        f"--ambient-caps={search}",
    ]
    done = subprocess.run(
        [*become, *HIVECTL, "list"],
        env=environment(here.run / "operator.sock"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("only members of the group hive-admin may do this\n(usermod --append")


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["send", "nobody", "x"], 1, "no agent is called 'nobody'"),
        (["send", "bob", ""], 1, "the message is empty"),
        (["send", "bob", "é" * 40_000], 1, "'body' is 80000 bytes long"),
        (["show", "nobody"], 1, "no agent is called 'nobody'"),
        (["spawn", "Eve"], 1, "'Eve' cannot be an agent's name"),
        (["spawn", "bob"], 1, "there is an agent 'bob' already"),
        (["spawn", "eve", "--model", "no such"], 78, "agent.toml:1: 'model' must be a model's name"),
        (["spawn", "eve", "--toml", "/nowhere"], 1, "/nowhere: No such file or directory"),
        (["mail", "--limit", "2000"], 1, "'limit' must be from 1 to 1000"),
        (["mail", "--state", "lost"], 2, "invalid choice: 'lost'"),
        (["mail", "--state", "dead", "--follow"], 2, "not allowed with"),
        (["spawn", "eve", "--toml", "x", "--model", "y"], 2, "--toml says it all"),
        (["send", "bob", "x", "--reply-to", "0"], 2, "invalid number value: '0'"),
        (["send", "bob", "\udcff"], 2, "an argument is not UTF-8"),
        (["nap"], 2, "invalid choice: 'nap'"),
        ([], 2, "required: VERB"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_errors_have_a_text_and_a_status(here: Hive, words: list[str], status: int, text: str) -> None:
    done = run(here, *words, status=status)
    assert done.stdout == "" and text in done.stderr and "Traceback" not in done.stderr


def test_a_text_that_is_not_utf_8_is_not_sent(here: Hive) -> None:
    assert "not UTF-8 at byte 1" in run(here, "send", "bob", stdin=b"x\xff", status=1).stderr


def test_a_broker_that_dies_while_it_spawns_is_asked_again_under_the_same_key(tmp_path: Path) -> None:
    broker = Scripted(tmp_path)
    broker.start(spawn=["hangup", {"agent": "eve", "uid_base": 1}])
    assert run(broker, "spawn", "eve").stdout.startswith("eve is there")
    first, second = broker.requests("spawn")
    assert first["key"] == second["key"]
    broker.stop()
