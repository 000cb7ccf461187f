"""Commands that were denied, over the broker's sockets: told by a cage, seen, allowed, dismissed."""

import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from hyperhive.cage import tools_manager
from hyperhive.rules import rules
from hyperhive.store import denials
from tests.changing import asked, carry_out, draft, events, queued, spawned, tags, until
from tests.hive import Hive, Peer

TOML = '# hers\nlinger = 5\n[tools]\nallow = ["Read", "Bash(git *)"] # not much\n'
DENIAL = {
    "tool": "Bash",
    "command": "make check && git push",
    "part": "make check",
    "rule": "no rule allows it",
    "nearest": "Bash(git *)",
}


@pytest.fixture
def eve(here: Hive, manager: Peer) -> Peer:
    spawned(here, "eve", TOML)
    events(manager)
    return here.agent("eve", "tool")


def deny(peer: Peer, **changed: str) -> int:
    answer = peer.ask("denied", **DENIAL | changed)
    assert answer["ok"], answer
    return int(answer["denial"])


def listed(here: Hive, **fields: Any) -> list[dict[str, Any]]:
    return list(here.operator().ask("denials", **fields)["denials"])


def test_the_same_is_counted(here: Hive, eve: Peer) -> None:
    watcher = here.operator()
    watcher.ask("subscribe")
    first = deny(eve)
    assert deny(eve) == first != deny(eve, command="make check")
    newest, oldest = listed(here, agent="eve")
    assert oldest.items() >= (DENIAL | {"count": 2, "state": "open", "pattern": "Bash(make check)"}).items()
    assert newest["count"] == 1 and oldest["first_at"] < oldest["last_at"] <= newest["last_at"]
    assert [watcher.read()["event"] for _ in range(3)] == ["command_denied"] * 3
    assert here.operator().ask("state")["denials"] == [newest, oldest]
    (about,) = (row for row in here.operator().ask("agents")["agents"] if row["name"] == "eve")
    assert (about["denied"]["commands"], about["denied"]["part"]) == (2, "make check")


def test_the_manager_sees_it_in_its_list(here: Hive, manager: Peer, eve: Peer) -> None:
    deny(eve, part="make it")
    deny(eve)
    (about,) = (row for row in manager.ask("agents")["agents"] if row["name"] == "eve")
    said = tools_manager.about(about, {"service": "inactive (dead)", "socket": "active (listening)"})
    line = "  commands that its rules denied: 2, the newest: make check (no rule allows it), at 20"
    assert line in said
    assert events(manager) == [], "no mail for each"


def test_analysts_hear_of_it_without_the_command(here: Hive, eve: Peer) -> None:
    private = "hunter-2"
    for _ in range(2):
        deny(eve, command=f"curl {private} x.org", part=f"curl {private} x.org")
    deny(eve, command=f"git log > /{private}", part=f"> /{private}", rule="it would write outside /state")
    deny(eve, part=private, rule=private)
    since = {"since": "2026-01-01T00:00:00.000Z"}
    series = here.operator().ask("stats", agent="eve", key="commands_denied", **since)["series"]
    assert [sum(each["value"]) for each in series] == [4]
    with closing(sqlite3.connect(here.state / "db/stats.db", timeout=20)) as db:
        query = "select agent, program, rule, count, first_at <= last_at from commands_denied order by id"
        wanted = [("eve", "curl", "no-rule", 2, 1), ("eve", "", "write", 1, 1), ("eve", "", "other", 1, 1)]
        assert db.execute(query).fetchall() == wanted
        assert not [line for line in db.iterdump() if private in line]


def test_what_a_cage_says_has_its_limits(here: Hive, eve: Peer) -> None:
    operator = here.operator()
    assert eve.ask("denied", **DENIAL | {"command": "x" * 65537})["error"] == "too-large"
    assert eve.ask("denied", **DENIAL | {"part": 7})["error"] == "bad-request"
    assert eve.ask("denied", **DENIAL | {"rule": "\ud800"})["error"] == "bad-request"
    assert operator.ask("denied", **DENIAL)["error"] == "unknown-op"
    deny(eve, command="x" * 60000, part="y" * 60000, rule="z" * 60000, nearest="n" * 60000, tool="t" * 9000)
    (row,) = listed(here)
    sizes = [len(row[key]) for key in ("command", "part", "rule", "nearest", "tool")]
    assert sizes == [4000, 1000, 200, 600, 64]
    assert row["pattern"] == ""


def test_a_loop_does_not_fill_the_database(here: Hive, eve: Peer) -> None:
    numbers = [eve.write("denied", **DENIAL | {"command": f"make {n}"}) for n in range(400)]
    codes = [eve.answer(number).get("error") for number in numbers]
    assert codes[:30] == [None] * 30
    assert 350 < codes.count("too-many") <= 370
    assert len(listed(here)) == codes.count(None)


def test_it_becomes_a_request(here: Hive, manager: Peer, eve: Peer) -> None:
    operator = here.operator()
    number = deny(eve)
    wish = operator.ask("allow", agent="eve", denial=number, note="she may test", key="once")
    assert operator.ask("allow", agent="eve", denial=number, note="she may test", key="once") == {
        **wish,
        "id": wish["id"] + 1,
    }
    assert (wish["state"], wish["risk"], wish["superseded"]) == ("pending", "higher", [])
    shown = operator.ask("diff", request=wish["request"])
    assert shown["summary"] == ["may now run: make check"]
    assert '+allow = ["Read", "Bash(git *)", "Bash(make check)"] # not much' in shown["diff"].splitlines()
    (row,) = listed(here)
    assert (row["state"], row["request"]) == ("asked", wish["request"])
    assert operator.ask("approve", request=wish["request"])["ok"]
    assert queued(here, wish["request"])["files"] == {
        "agent.toml": TOML.replace(' "Bash(git *)"', ' "Bash(git *)", "Bash(make check)"')
    }
    carry_out(here, wish["request"])
    (applied,) = events(manager)
    note = "allow Bash(make check): she may test"
    assert (applied["event"], applied["note"], applied["tag"]) == ("applied", note, "deployed/2")
    assert listed(here) == []
    assert [row["state"] for row in listed(here, all=True)] == ["allowed"]
    until(lambda: "deployed/2" in tags(here, "eve"))
    deny(eve)
    assert [(row["state"], row["request"], row["count"]) for row in listed(here)] == [("open", None, 2)]


def test_a_second_one_is_added_to_the_first(here: Hive, eve: Peer) -> None:
    operator = here.operator()
    one, two = deny(eve), deny(eve, command="npm ci", part="npm ci")
    first = operator.ask("allow", agent="eve", denial=one)["request"]
    again = operator.ask("allow", agent="eve", denial=one)
    assert (again["error"], "asks for that already" in again["message"]) == ("exists", True)
    second = operator.ask("allow", agent="eve", denial=two, patterns=["Bash(npm *)", "Read"])
    assert second["superseded"] == [first]
    shown = operator.ask("diff", request=second["request"])
    assert shown["summary"] == ["may now run: make check", "may now run: npm *"]
    assert {row["request"] for row in listed(here)} == {second["request"]}
    operator.ask("deny", request=second["request"], reason="no")
    assert {row["state"] for row in listed(here)} == {"open"}


def test_programs_of_its_config_stay(here: Hive, manager: Peer, eve: Peer) -> None:
    operator = here.operator()
    config = {"agent.toml": TOML, "prompt.md": "Be kind.\n", "bin/a": "#!/bin/sh\n", "bin/b": "x\n"}
    draft(here, "eve", config)
    number = asked(manager, "eve")
    operator.ask("approve", request=number)
    before = queued(here, number)
    carry_out(here, number)
    wish = operator.ask("allow", agent="eve", patterns=["Edit"])
    diff = operator.ask("diff", request=wish["request"])["diff"]
    assert diff.count("diff --git") == 1
    operator.ask("approve", request=wish["request"])
    after = queued(here, wish["request"])
    assert after["executable"] == before["executable"] == ["bin/a", "bin/b"]
    assert {**after["files"], "agent.toml": ""} == {**before["files"], "agent.toml": ""}


def test_what_is_refused(here: Hive, manager: Peer, eve: Peer) -> None:
    operator = here.operator()
    number = deny(eve, part="echo $(id)")

    def error(**fields: Any) -> tuple[str, str]:
        answer = operator.ask("allow", **{"agent": "eve"} | fields)
        return answer["error"], answer["message"]

    assert error()[0] == error(patterns=[])[0] == "bad-request"
    assert error(denial=number) == (
        "bad-request",
        f"'patterns' must say what to allow: no rule can be made of denial {number} as it is",
    )
    for bad in ("Bash(", "Bash(a)(b)", "", "mcp__x", "Bash(a\nb)", "Bash(\u202e)", "x" * 601):
        assert "patterns" in error(patterns=[bad])[1], bad
    assert error(denial=number + 1)[0] == error(agent="ada", denial=number)[0] == "unknown-denial"
    assert error(patterns=["Read"]) == ("exists", "eve may do that already")
    assert error(agent="nobody", patterns=["Edit"])[0] == "unknown-agent"
    assert error(agent="ada", patterns=["Edit"])[0] == "unknown-deploy"
    draft(here, "eve", {"agent.toml": TOML})
    wish = asked(manager, "eve", note="mine")
    code, text = error(patterns=["Edit"])
    assert code == "exists" and text.startswith(f"request {wish} of the manager would be superseded")
    assert operator.ask("approval", request=wish)["approval"]["state"] == "pending"


def test_a_dismissed_one_stays_away(here: Hive, eve: Peer) -> None:
    operator = here.operator()
    number = deny(eve)
    assert operator.ask("dismiss", ids=[number, 99])["error"] == "unknown-denial"
    assert operator.ask("dismiss", ids=[number])["dismissed"] == 1
    deny(eve)
    assert listed(here) == operator.ask("state")["denials"] == []
    assert [(row["state"], row["count"]) for row in listed(here, all=True)] == [("dismissed", 2)]
    carry_out(here, operator.ask("destroy", agent="eve")["request"])
    assert listed(here, all=True) == []
    carry_out(here, operator.ask("purge", agent="eve", confirm="eve")["request"])
    spawned(here, "eve", TOML)
    assert listed(here, all=True) == []


@pytest.mark.parametrize(
    ("command", "pattern", "about"),
    [
        ("make check", "Bash(make check)", ("make", "no-rule")),
        ("cd x && npm run test -- --watch=no", "Bash(npm run *)", ("npm", "no-rule")),
        ("rm -rf build", "Bash(rm -rf build)", ("rm", "no-rule")),
        ("rm -rf 'my build' '*'", "Bash(rm -rf 'my build' '\\*')", ("rm", "no-rule")),
        ('curl "https://x.org/$1"', "Bash(curl https://x.org/*)", ("curl", "no-rule")),
        ("git -c core.pager=less log", "Bash(git -c core.pager=less log)", ("git", "hazard")),
        ("git log > /etc/motd", "", ("", "write")),
        ("PATH=/tmp git log", "", ("", "variable")),
        ("make 'a (b)'", "", ("make", "no-rule")),
        ("$(git log)", "", ("", "other")),
        ("git log 'x", "", ("", "unreadable")),
    ],
)
def test_the_narrowest_that_is_of_use(command: str, pattern: str, about: tuple[str, str]) -> None:
    """And with it the command is allowed, where there is one."""
    allow = ["Bash(git *)", "Bash(cd *)"]
    denial = rules.judge(command, allow)
    assert denial
    row = {"tool": "Bash", "part": denial.part, "rule": denial.rule}
    assert denials.pattern(row) == pattern
    assert denials.for_analysts(row) == about
    assert not pattern or rules.judge(command, [*allow, pattern]) is None


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("Bash(make check)", ["make check"], ["make", "make checks", "make check x"]),
        ("Bash(npm run *)", ["npm run test", "npm run", "npm run a b"], ["npm runs", "npm ci"]),
        ("Bash(*)", ["", "x"], []),
        ("Bash(git -C * log *)", ["git -C /a log x", "git -C a b log log y"], ["git -C /a log", "git log"]),
        ("Bash(rm '\\*')", ["rm '*'"], ["rm 'x'", "rm '\\*'"]),
        ("Bash(a*b*a)", ["aba", "abba"], ["ab", "a", "aa"]),
        ("Bash", ["anything"], []),
        ("Read(*)", [], ["x"]),
        ("Edit", [], ["Edit"]),
    ],
)
def test_what_a_rule_covers(rule: str, yes: list[str], no: list[str]) -> None:
    assert [part for part in yes + no if denials.covers(rule, {"tool": "Bash", "part": part})] == yes


def test_it_covers_in_no_time_what_was_made_to_take_long() -> None:
    rule = f"Bash({'*a' * 200}*b)"
    began = time.process_time()
    assert not denials.covers(rule, {"tool": "Bash", "part": "a" * 1000})
    assert time.process_time() - began < 0.5


def test_all_that_a_rule_allows_goes_with_it(here: Hive, eve: Peer) -> None:
    operator = here.operator()
    numbers = [deny(eve, command=text, part=text) for text in ("npm run a", "npm run b", "npm ci")]
    wish = operator.ask("allow", agent="eve", denial=numbers[0], patterns=["Bash(npm run *)"])["request"]
    assert {row["id"]: row["request"] for row in listed(here)} == {
        numbers[0]: wish,
        numbers[1]: wish,
        numbers[2]: None,
    }
