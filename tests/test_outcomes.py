"""The end of an agent, and its return: over the broker's sockets, with hive-apply played by hand."""

import contextlib
import os
import select
import sqlite3
import stat
from typing import Any

import pytest

from tests.changing import carry_out, draft, events, queued, spawned
from tests.hive import Hive, Peer
from tests.proposed import TOML
from tests.test_broker import RECORD


@pytest.fixture
def manager(here: Hive) -> Peer:
    it = here.agent("manager")
    spawned(here, "eve")
    events(it)
    return it


def do(here: Hive, op: str, **more: Any) -> int:
    fields = {"confirm": "eve"} if op == "purge" else {}
    number: int = here.operator().ask(op, agent="eve", **fields)["request"]
    carry_out(here, number, **more)
    return number


def hung_up(peer: Peer) -> bool:
    with contextlib.suppress(ConnectionResetError):
        while peer.read() is not None:
            pass
    return True


def test_what_waits_ends_with_a_destroyed_agent(here: Hive, manager: Peer) -> None:
    operator, ada, eve = here.operator(), here.agent("ada"), here.agent("eve")
    draft(here, "eve")
    number = manager.ask("request_apply_commit", agent="eve", commit_ref="main")["request"]
    mine = eve.ask("ask", question="which?")["question"]
    hers = ada.ask("ask", question="when?", to="eve")["question"]
    eve.ask("remind", message="later", delay=1000)
    operator.ask("send", to="eve", body="in hand")
    assert [m["body"] for m in eve.ask("recv")["messages"] if m["from"] == "operator"] == ["in hand"]
    operator.ask("send", to="eve", body="waits")
    parked = here.agent("eve", "tool")
    parked.write("recv", wait_seconds=100)

    destroyed = do(here, "destroy", kept={"bytes": 12_345, "login": True})
    told = {event["event"]: event for event in events(manager)}
    assert (told["approval_resolved"]["id"], told["approval_resolved"]["state"]) == (number, "withdrawn")
    assert told["approval_resolved"]["reason"] == "eve was destroyed"
    assert (told["destroyed"]["id"], told["destroyed"]["agent"]) == (destroyed, "eve")
    (answered,) = events(ada)
    assert (answered["id"], answered["state"], answered["by"]) == (hers, "cancelled", "system")
    assert operator.ask("answer", question=mine, answer=["this"])["error"] == "closed"
    assert operator.ask("loose_ends")["loose_ends"] == []
    assert hung_up(eve) and hung_up(parked)
    assert not here.socket("eve").exists()
    for peer in (operator, ada):
        assert peer.ask("send", to="eve", body="hello")["error"] == "unknown-agent"
    assert "eve" not in [agent["name"] for agent in operator.ask("agents")["agents"]]
    assert operator.ask("approve", request=number)["error"] == "not-pending"
    assert operator.ask("destroy", agent="eve")["error"] == "unknown-agent"
    assert manager.ask("request_spawn", agent="eve")["error"] == "exists"
    (kept,) = operator.ask("kept")["kept"]
    assert (kept["name"], kept["bytes"], kept["login"]) == ("eve", 12_345, True)


@pytest.mark.parametrize("restart", [False, True])
def test_revive(here: Hive, manager: Peer, *, restart: bool) -> None:
    operator = here.operator()
    operator.ask("send", to="eve", body="waits")
    do(here, "destroy")
    if restart:
        here.kill()
        here.start()
        operator = here.operator()
        assert operator.ask("send", to="eve", body="hello")["error"] == "unknown-agent"
        manager = here.agent("manager")
    number = operator.ask("revive", agent="eve")["request"]
    file = queued(here, number)
    assert (file["op"], file["deploy"], file["files"]) == ("revive", 2, {"agent.toml": TOML})
    carry_out(here, number)
    assert [event["event"] for event in events(manager)][-2:] == ["destroyed", "spawned"]
    eve = here.agent("eve")
    assert [m["body"] for m in eve.ask("recv")["messages"]] == ["waits"]
    assert operator.ask("kept")["kept"] == []
    assert operator.ask("revive", agent="eve")["error"] == "exists"


def test_a_revive_that_fails_leaves_it_destroyed(here: Hive, manager: Peer) -> None:
    do(here, "destroy")
    operator = here.operator()
    do(here, "revive", message="no")
    assert operator.ask("send", to="eve", body="hello")["error"] == "unknown-agent"
    assert [each["name"] for each in operator.ask("kept")["kept"]] == ["eve"]


def test_an_agent_that_comes_back_is_heard_also_after_a_restart(here: Hive, manager: Peer) -> None:
    """Its first run may say hello while hive-apply waits for it, whatever becomes of the broker."""
    do(here, "destroy")
    number = here.operator().ask("revive", agent="eve")["request"]
    about = {"name": "eve", "role": "agent", "description": "", "uid_base": here.bases["eve"]}
    assert here.system().ask("applying", request=number, agent=about)["ok"]
    here.kill()
    here.start()
    assert here.operator().ask("status")["ok"]
    assert here.agent("eve").ask("whoami")["agent"] == "eve"


def test_purge(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    assert operator.ask("purge", agent="eve", confirm="eve")["error"] == "exists"
    eve = here.agent("eve")
    eve.ask("send", to="operator", body="hello")
    eve.ask("turn", **RECORD)
    operator.ask("send", to="eve", body="too late")
    do(here, "destroy")
    assert operator.ask("purge", agent="eve", confirm="evf")["error"] == "bad-request"
    assert (here.state / "registry/eve.git").exists()
    do(here, "purge")
    assert not (here.state / "registry/eve.git").exists()
    assert operator.ask("kept")["kept"] == []
    assert operator.ask("revive", agent="eve")["error"] == "unknown-agent"
    assert operator.ask("purge", agent="eve", confirm="eve")["error"] == "unknown-agent"
    states = {m["body"]: m["state"] for m in operator.ask("mail", agent="eve")["messages"]}
    assert states == {"hello": "queued", "too late": "dropped"}
    assert [row["event"] for row in operator.ask("history", agent="eve")["history"]][:1] == ["deployed"]
    spawned(here, "eve")
    assert here.agent("eve").ask("recv")["messages"] == []
    turns = operator.ask("show", agent="eve")["recent_turns"]
    assert [turn["cost_usd"] for turn in turns] == [RECORD["cost_usd"]], "what was spent is history"


def test_a_draft_can_be_purged(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    carry_out(here, operator.ask("draft", agent="flo")["request"])
    assert [each["agent"] for each in operator.ask("drafts")["drafts"]] == ["flo"]
    carry_out(here, operator.ask("purge", agent="flo", confirm="flo")["request"])
    assert operator.ask("drafts")["drafts"] == []
    assert operator.ask("draft", agent="flo")["ok"]


def test_hive_apply_may_tell_it_twice(here: Hive, manager: Peer) -> None:
    number = here.operator().ask("destroy", agent="eve")["request"]
    system = here.system()
    for _ in range(2):
        assert system.ask("applying", request=number)["ok"]
    for _ in range(2):
        assert system.ask("applied", request=number)["ok"]
    assert len(events(manager)) == 1


def test_a_name_is_never_a_path(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    names: list[Any] = [
        "..",
        "../etc",
        "eve/../ada",
        "eve\0",
        "",
        "EVE",
        "a" * 33,
        "operator",
        7,
        None,
        ["eve"],
    ]
    ops = "draft spawn rollback destroy revive purge request_spawn request_spawn_draft".split()
    for name in names:
        for op in ops:
            peer = manager if op.startswith("request") else operator
            fields = {"toml": TOML, "confirm": name}
            answer = peer.ask(op, agent=name, **fields)
            assert answer["error"] in ("bad-name", "bad-request", "too-large"), (op, name, answer)
        for op in ("request_spawn_commit", "request_apply_commit"):
            assert manager.ask(op, agent=name, commit_ref="main")["error"] in (
                "bad-name",
                "bad-request",
                "too-large",
            )


# a repository that is meant to harm


def test_a_hostile_repository_is_refused_and_nothing_runs(here: Hive, manager: Peer) -> None:
    repository = draft(here, "eve")
    trace = here.folder / "ran"
    (repository.dot_git / "config").write_text(
        f"[core]\n fsmonitor = touch {trace}\n sshCommand = touch {trace}\n hooksPath = .\n"
        f'[filter "x"]\n clean = touch {trace}\n[include]\n path = {trace}\n'
    )
    hook = repository.dot_git / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {trace}\n")
    hook.chmod(0o755)
    assert manager.ask("request_apply_commit", agent="eve", commit_ref="main")["ok"]
    link = repository.with_entries(("120000", "prompt.md", repository.blob("/etc/shadow")))
    refused = manager.ask("request_apply_commit", agent="eve", commit_ref=link)
    assert (refused["error"], "prompt.md is a symbolic link" in refused["message"]) == ("bad-config", True)
    for ref in ("", "-x", "a..b", "HEAD@{0}", "refs/heads/../../x", "main\n", "\ud800", "x" * 300):
        assert not manager.ask("request_apply_commit", agent="eve", commit_ref=ref)["ok"]
    assert not trace.exists()


def test_git_holds_up_no_mail(here: Hive, manager: Peer) -> None:
    """A repository of which nothing can be read: its refs are FIFOs, which nobody writes to."""
    repository = draft(here, "eve")
    head = repository.dot_git / "HEAD"
    head.unlink()
    os.mkfifo(head)
    asked = manager.write("request_apply_commit", agent="eve", commit_ref="HEAD")
    assert here.operator().ask("send", to="ada", body="meanwhile")["ok"]
    assert not select.select([manager.sock], [], [], 0)[0]
    assert not manager.answer(asked)["ok"]
    assert stat.S_ISFIFO(head.stat().st_mode)


# how long lists take


def test_lists_are_short_work_with_much_in_them(here: Hive, manager: Peer) -> None:
    here.kill()
    fill(here)
    here.start()
    operator = here.operator()
    assert operator.ask("status")["ok"]
    for op, fields in (
        ("agents", {}),
        ("approvals", {"limit": 1000}),
        ("approvals", {"state": "pending", "limit": 1000}),
        ("approvals", {"agent": "a5", "limit": 1000}),
        ("history", {"agent": "a5", "limit": 1000}),
        ("drafts", {}),
        ("kept", {}),
        ("approval", {"request": 500}),
        ("doctor", {}),
    ):
        times = []
        for _ in range(5):
            began = here.processor_time()
            assert operator.ask(op, **fields)["ok"], op
            times.append(here.processor_time() - began)
        assert min(times) < 0.1, f"{op} took {min(times):.3f} s"


def fill(here: Hive) -> None:
    """1,000 requests of 200 agents, with files of 40 KB each, a fifth of each kind of state."""
    states = ("pending", "deployed", "denied", "failed", "expired")
    files = '{"agent.toml": {"text": "' + "# x\\n" * 8000 + '"}}'
    agents = [
        (f"a{n}", 1_500_000_000 + n * 65536, None if n % 4 else "2026-01-01T00:00:00.000Z")
        for n in range(200)
    ]
    requests = [
        (("spawn", "change", "draft")[n % 3], f"a{n % 250}", states[n % 5], n, files) for n in range(1000)
    ]
    insert = "insert into agent(name, role, uid_base, description, created_at, destroyed_at)"
    with contextlib.closing(sqlite3.connect(here.state / "db/hive.db")) as db, db:
        at = "2026-01-01T00:00:00.000Z"
        db.executemany(f"{insert} values (?, 'agent', ?, '', '{at}', ?)", agents)
        columns = "kind, agent, state, deploy, files, requested_by, requested_at, expires_at, ended_at"
        values = f"(?, ?, ?, ?, ?, 'manager', '{at}', '2099-{at[5:]}', '{at}')"
        db.executemany(f"insert into request({columns}) values {values}", requests)  # noqa: S608
