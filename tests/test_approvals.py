"""Requests from being asked for to their end, over the broker's sockets; hive-apply is played by hand."""

import sqlite3
import subprocess
import time
from contextlib import closing

import pytest
from sqlite_utils import Database

from hyperhive.store import schema
from tests.changing import asked, carry_out, draft, events, queued, spawned, tags, trail, until
from tests.hive import Hive, Peer
from tests.proposed import MORE, TOML


def state(operator: Peer, number: int) -> str:
    return str(operator.ask("approval", request=number)["approval"]["state"])


def test_two_steps_to_a_new_agent(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    asked_for = manager.ask("request_spawn_draft", agent="eve", description="reviews")
    assert (asked_for["ok"], asked_for["state"]) == (True, "approved")
    file = queued(here, asked_for["request"])
    assert (file["op"], file["agent"], file["description"]) == ("draft", "eve", "reviews")
    carry_out(here, asked_for["request"])
    (ready,) = events(manager)
    assert (ready["event"], ready["agent"], ready["path"]) == ("config_ready", "eve", "/agents/eve/config")
    (listed,) = operator.ask("drafts")["drafts"]
    assert (listed["agent"], listed["description"], listed["by"]) == ("eve", "reviews", "manager")


def test_the_second_of_two_steps(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    commit = draft(here, "eve", {"agent.toml": TOML, "prompt.md": "Be kind.\n"}).git("rev-parse", "HEAD")
    wish = manager.ask("request_spawn_commit", agent="eve", commit_ref="main", note="we need it")
    assert (wish["state"], wish["commit"], wish["superseded"]) == ("pending", commit, [])
    number = wish["request"]
    shown = operator.ask("diff", request=number)
    assert "+Be kind." in shown["diff"].splitlines()
    assert (shown["risk"], "may now use Read" in shown["summary"]) == ("higher", True)
    assert operator.ask("approve", request=number, note="go on")["ok"]
    file = queued(here, number)
    assert (file["op"], file["kind"], file["commit"], file["deploy"]) == ("deploy", "spawn", commit, 1)
    assert file["files"] == {"agent.toml": TOML, "prompt.md": "Be kind.\n"}
    carry_out(here, number)
    approved, born = events(manager)
    assert (approved["event"], approved["state"], approved["by"], approved["reason"]) == (
        "approval_resolved",
        "approved",
        "operator",
        "go on",
    )
    wanted = {"event": "spawned", "id": number, "agent": "eve", "commit": commit}
    assert born == wanted | {"tag": "deployed/1", "note": "we need it"}
    assert here.agent("eve").ask("whoami")["agent"] == "eve"
    assert operator.ask("drafts")["drafts"] == []
    until(lambda: len(tags(here, "eve")) == 3)
    assert tags(here, "eve") == [f"approved/{number}", "deployed/1", f"proposal/{number}"]
    steps = [
        ("pending", "manager"),
        ("approved", "operator"),
        ("applying", "system"),
        ("deployed", "system"),
    ]
    assert trail(operator, "eve")[-4:] == steps


def test_a_commit_that_is_not_valid_is_refused_before_anybody_is_asked(here: Hive, manager: Peer) -> None:
    draft(here, "bob", {"agent.toml": 'description = "x"\n[tools]\nalow = ["Read"]\n'})
    answer = manager.ask("request_apply_commit", agent="bob", commit_ref="main")
    assert (answer["error"], answer["message"][:35]) == ("bad-config", "agent.toml:3: 'tools.alow' is not a")
    assert here.operator().ask("approvals")["approvals"] == []


def test_what_cannot_be_asked_for(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    one_shot = manager.ask("request_spawn", agent="bob")
    assert (one_shot["error"], "already" in one_shot["message"]) == ("exists", True)
    assert manager.ask("request_spawn", agent="../etc")["error"] == "bad-name"
    assert manager.ask("request_spawn_commit", agent="eve", commit_ref="main")["error"] == "no-draft"
    draft(here, "eve")
    assert manager.ask("request_apply_commit", agent="eve", commit_ref="main")["error"] == "unknown-agent"
    assert "error" in manager.ask("request_spawn_commit", agent="eve", commit_ref="--upload-pack=x")
    assert manager.ask("request_spawn_draft", agent="bob")["error"] == "exists"
    assert here.agent("ada").ask("request_spawn", agent="eve")["error"] == "unknown-op"
    assert operator.ask("approvals")["approvals"] == []
    number = manager.ask("request_spawn_draft", agent="eve")["request"]
    assert manager.ask("request_spawn_draft", agent="eve")["error"] == "busy"
    carry_out(here, number)
    assert manager.ask("request_spawn_draft", agent="eve")["error"] == "exists"


def test_deny(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    draft(here, "bob")
    number = asked(manager)
    assert operator.ask("deny", request=number, reason=" ")["error"] == "bad-request"
    assert operator.ask("deny", request=number, reason="not now")["ok"]
    (event,) = events(manager)
    assert (event["state"], event["by"], event["reason"]) == ("denied", "operator", "not now")
    refused = operator.ask("approve", request=number)
    assert refused["error"] == "not-pending" and "operator made it denied at" in refused["message"]
    until(lambda: tags(here, "bob") == [f"denied/{number}", f"proposal/{number}"])


def test_two_operators_at_once(here: Hive, manager: Peer) -> None:
    draft(here, "bob")
    number = asked(manager)
    first, second, third = here.operator(), here.operator(), here.operator()
    writes = [
        (first, first.write("approve", request=number)),
        (second, second.write("deny", request=number, reason="no")),
        (third, third.write("approve", request=number)),
    ]
    answers = [peer.answer(line) for peer, line in writes]
    assert [answer["ok"] for answer in answers].count(True) == 1
    assert {answer.get("error") for answer in answers} == {None, "not-pending"}
    assert len([row for row in trail(first, "bob") if row[0] in ("approved", "denied")]) == 1


def test_approving_again_under_the_same_key_is_answered_as_before(here: Hive, manager: Peer) -> None:
    draft(here, "bob")
    number = asked(manager)
    operator = here.operator()
    first = operator.ask("approve", request=number, key="k")
    assert {**operator.ask("approve", request=number, key="k"), "id": 0} == {**first, "id": 0}
    again = operator.ask("approve", request=number)
    assert again["error"] == "not-pending" and f"request {number} is approved already" in again["message"]


def test_withdraw(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    draft(here, "bob")
    number = asked(manager)
    assert manager.ask("withdraw", request=number)["ok"]
    assert manager.ask("withdraw", request=number)["error"] == "not-pending"
    assert operator.ask("approve", request=number)["error"] == "not-pending"
    assert manager.ask("withdraw", request=number + 1)["error"] == "unknown-request"
    assert (state(operator, number), events(manager)) == ("withdrawn", [])


def test_a_newer_request_supersedes_the_older(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    repository = draft(here, "bob")
    first = asked(manager)
    newer = repository.commit({"agent.toml": MORE})
    second = manager.ask("request_apply_commit", agent="bob", commit_ref=newer)
    assert second["superseded"] == [first]
    assert (state(operator, first), state(operator, second["request"])) == ("superseded", "pending")
    assert operator.ask("approve", request=first)["error"] == "not-pending"


def test_expiry(here: Hive, manager: Peer) -> None:
    draft(here, "bob")
    number = asked(manager, ttl=1)
    operator = here.operator()
    waited = operator.ask("approval", request=number, wait_seconds=20)["approval"]
    assert (waited["state"], waited["decided_by"]) == ("expired", "system")
    (event,) = events(manager)
    assert (event["event"], event["state"], event["by"]) == ("approval_resolved", "expired", "system")
    assert operator.ask("approve", request=number)["error"] == "not-pending"
    assert operator.ask("approval", request=asked(manager))["approval"]["expires_at"] > waited["expires_at"]


def test_it_expires_while_the_broker_is_down(here: Hive, manager: Peer) -> None:
    draft(here, "bob")
    number = asked(manager, ttl=1)
    here.kill()
    time.sleep(1)
    here.start()
    assert here.operator().ask("approval", request=number, wait_seconds=20)["approval"]["state"] == "expired"


def test_nothing_the_manager_does_later_changes_what_is_approved(here: Hive, manager: Peer) -> None:
    spawned(here, "eve")
    events(manager)
    operator = here.operator()
    repository = draft(here, "eve", {"agent.toml": MORE})
    number = asked(manager, "eve")
    assert operator.ask("diff", request=number)["summary"] == ["may now run: git push"]
    repository.commit({"agent.toml": MORE.replace("git push", "rm")})
    subprocess.run(["rm", "-r", repository.dot_git], check=True)
    assert operator.ask("approve", request=number)["ok"]
    assert queued(here, number)["files"] == {"agent.toml": MORE}
    here.kill()
    (here.state / f"apply/{number}.json").unlink()
    here.start()
    assert here.operator().ask("status")["ok"]
    assert queued(here, number)["files"] == {"agent.toml": MORE}


def test_one_at_a_time(here: Hive, manager: Peer) -> None:
    first = spawned(here, "eve")
    operator = here.operator()
    repository = draft(here, "eve", {"agent.toml": MORE})
    number = asked(manager, "eve")
    operator.ask("approve", request=number)
    repository.commit({"agent.toml": TOML})
    second = asked(manager, "eve")
    refused = operator.ask("approve", request=second)
    assert refused["error"] == "busy" and f"request {number} (change of eve)" in refused["message"]
    assert operator.ask("destroy", agent="eve")["error"] == "busy"
    carry_out(here, number)
    assert operator.ask("approve", request=second)["deploy"] == 3
    assert first < number < second


def test_a_deploy_that_fails(here: Hive, manager: Peer) -> None:
    spawned(here, "eve")
    operator = here.operator()
    draft(here, "eve", {"agent.toml": MORE})
    number = asked(manager, "eve")
    operator.ask("approve", request=number)
    waiting = operator.write("approval", request=number, wait_seconds=20)
    carry_out(here, number, message="it did not come up:\nboom")
    assert operator.answer(waiting)["approval"]["message"] == "it did not come up:\nboom"
    told = events(manager)[-1]
    assert (told["state"], told["by"], told["reason"]) == ("failed", "system", "it did not come up:\nboom")
    system = here.system()
    assert system.ask("apply_failed", request=number, message="again")["ok"]
    assert system.ask("applying", request=number)["error"] == "not-approved"
    assert system.ask("applied", request=number)["error"] == "not-approved"
    assert here.agent("eve").ask("whoami")["ok"]
    until(lambda: f"failed/{number}" in tags(here, "eve"))


def test_a_spawn_that_fails_leaves_no_agent(here: Hive, manager: Peer) -> None:
    operator = here.operator()
    number = manager.ask("request_spawn", agent="eve", description="tries")["request"]
    operator.ask("approve", request=number)
    file = queued(here, number)
    assert 'description = "tries"' in file["files"]["agent.toml"]
    assert here.system().ask("applying", request=number)["error"] == "bad-request"
    here.bases["eve"] = 1_300_000_000
    about = {"name": "eve", "role": "agent", "description": "", "uid_base": 1_300_000_000}
    assert here.system().ask("applying", request=number, agent=about)["ok"]
    assert here.agent("eve").ask("whoami")["ok"]
    assert operator.ask("send", to="eve", body="hello")["ok"]
    assert here.system().ask("apply_failed", request=number, message="no")["ok"]
    assert operator.ask("send", to="eve", body="hello")["error"] == "unknown-agent"
    assert [m["state"] for m in operator.ask("mail", agent="eve")["messages"]] == ["dropped"]
    again = manager.ask("request_spawn", agent="eve")
    assert (again["ok"], again["state"]) == (True, "pending")


def test_diffs_against_what_runs_was_approved_and_was_asked_for_before(here: Hive, manager: Peer) -> None:
    spawned(here, "eve")
    operator = here.operator()
    repository = draft(here, "eve", {"agent.toml": MORE})
    first = asked(manager, "eve")
    operator.ask("approve", request=first)
    carry_out(here, first, message="no")
    repository.commit({"agent.toml": MORE.replace("git push", "make")})
    second = asked(manager, "eve")
    repository.commit({"agent.toml": MORE.replace("git push", "ls")})
    third = asked(manager, "eve")
    found = {
        against: operator.ask("diff", request=third, against=against)
        for against in ("deployed", "approved", "previous")
    }
    assert found["deployed"]["summary"] == ["may now run: ls"]
    assert found["approved"]["summary"] == ["may now run: ls", "may no longer run: git push"]
    assert found["previous"]["summary"] == ["may now run: ls", "may no longer run: make"]
    assert [found[each]["against"]["request"] for each in found] == [1, first, second]
    assert operator.ask("diff", request=third, against="tomorrow")["error"] == "bad-request"
    draft_number = operator.ask("draft", agent="flo")["request"]
    assert operator.ask("diff", request=draft_number)["error"] == "no-files"


def test_requests_from_before_there_was_a_log(here: Hive, manager: Peer) -> None:
    """Of a hive.db as older brokers made it; what one of them had not handed on is carried out."""
    here.kill()
    path = here.state / "db/hive.db"
    for each in (path, *path.parent.glob("hive.db-*")):
        each.unlink()
    with closing(log(here)) as db:
        schema.migrations.apply(Database(db), stop_before="approvals")
        columns = "op, agent, toml, prompt, state, at, message"
        insert = f"insert into request({columns}) values ('spawn', ?, ?, ?, ?, ?, ?)"  # noqa: S608
        at = "2026-01-01T00:00:00.000Z"
        db.execute(insert, ("eve", TOML, "be kind", "deployed", at, None))
        db.execute(insert, ("flo", TOML, None, "queued", at, None))
        db.execute(insert, ("gus", TOML, None, "failed", at, "no room"))
    here.start()
    operator = here.operator()
    rows = operator.ask("approvals")["approvals"]
    assert [(row["agent"], row["state"], row["deploy"]) for row in rows[::-1]] == [
        ("eve", "deployed", 1),
        ("flo", "approved", 1),
        ("gus", "failed", None),
    ]
    assert operator.ask("doctor")["checks"][0]["ok"]
    assert queued(here, 2)["files"] == {"agent.toml": TOML}
    carry_out(here, 2)
    carry_out(here, operator.ask("destroy", agent="flo")["request"])
    number = operator.ask("revive", agent="flo")["request"]
    file = queued(here, number)
    assert (file["files"], len(file["commit"])) == ({"agent.toml": TOML}, 40)


# the audit log


def log(here: Hive) -> sqlite3.Connection:
    return sqlite3.connect(here.state / "db/hive.db", isolation_level=None)


def test_the_audit_log_is_only_added_to(here: Hive, manager: Peer) -> None:
    spawned(here, "eve")
    columns = 'at, who, event, request, agent, "commit", detail, hash'
    with closing(log(here)) as db:
        for statement in (
            "update audit set who = 'nobody'",
            "delete from audit",
            f"insert or replace into audit select 1, {columns} from audit",  # noqa: S608
            f"insert into audit select 9, {columns} from audit limit 1",  # noqa: S608
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                db.execute(statement)


@pytest.mark.parametrize(
    ("forgery", "found"),
    [
        ("update audit set who = 'nobody' where id = 2", "audit entry 2 is not what was written"),
        ("delete from audit where id = 2", "audit entry 2 is missing"),
        (
            "delete from audit where id = 3",
            "request 1 is deployed, and its last entry in the audit log says applying",
        ),
        (
            "update request set state = 'denied'",
            "request 1 is denied, and its last entry in the audit log says deployed",
        ),
    ],
)
def test_doctor_finds_forgeries(here: Hive, forgery: str, found: str) -> None:
    spawned(here, "eve")
    operator = here.operator()
    check, _ = operator.ask("doctor")["checks"]
    assert (check["ok"], check["entries"], check["wrong"]) == (True, 3, [])
    with closing(log(here)) as db:
        for trigger in ("audit_update", "audit_delete", "audit_insert"):
            db.execute(f"drop trigger {trigger}")
        db.execute(forgery)
    check, _ = operator.ask("doctor")["checks"]
    assert not check["ok"] and check["wrong"][0].startswith(found)
