"""What becomes of agents, step by step, for tests/crash_scenarios.py."""

import json
from pathlib import Path
from typing import Any

from tests.crash_world import BASES, World, write
from tests.proposed import TOML, Proposed

CLOSING = "before broker.serving.Sockets.close_for: notify(f'FDSTOREREMOVE=1\\nFDNAME=agent-{agent.name}')"
MORE = TOML.replace('["Read"]', '["Read", "Edit"]')


def config(w: World) -> Path:
    return w.folder / "state/agents/eve/config"


def repository(w: World, toml: str) -> None:
    """Made by git only once, which takes a while."""
    made = Proposed.__new__(Proposed) if config(w).exists() else Proposed(config(w))
    made.folder, made.dot_git = config(w), config(w) / ".git"
    if not (config(w) / "agent.toml").exists() or (config(w) / "agent.toml").read_text() != toml:
        made.commit({"agent.toml": toml})


def ask(w: World, who: str, op: str, **fields: Any) -> dict[str, Any]:
    """As a client does it: under one key, however often."""
    return w.ok(who, op, key=f"key {next(w.keys)}", **fields)


def propose(w: World, kind: str, toml: str, **fields: Any) -> int:
    repository(w, toml)
    found = ask(w, "manager/tool", f"request_{kind}_commit", agent="eve", commit_ref="main", **fields)
    return int(found["request"])


def state(w: World, number: int) -> str:
    return str(w.ok("operator", "approval", request=number)["approval"]["state"])


def carried_out(w: World, number: int, **more: Any) -> None:
    """As hive-apply does it; with a `message` it fails."""
    path = w.folder / f"state/apply/{number}.json"

    def file() -> dict[str, Any]:
        w.peer("operator")
        w.wait_until(path.exists)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    agent = {"name": "eve", "role": "agent", "description": "", "uid_base": BASES["eve"]}
    about = {"agent": agent} if "files" in w.through(file) else {}
    w.ok("system", "applying", request=number, **about)
    if "message" in more:
        w.ok("system", "apply_failed", request=number, **more)
    else:
        w.ok("system", "applied", request=number, **about, **more)
    path.unlink(missing_ok=True)
    assert state(w, number) == ("failed" if "message" in more else "deployed")


def awake(w: World) -> None:
    """The manager's tools are of its run."""
    w.ok("manager", "whoami")


def drafted(w: World) -> None:
    number = ask(w, "manager/tool", "request_spawn_draft", agent="eve", description="reviews")["request"]
    carried_out(w, number)
    assert [each["agent"] for each in w.ok("operator", "drafts")["drafts"]] == ["eve"]
    w.hears("config_ready", number)


def decided(w: World) -> None:
    repository(w, MORE)  # of which the registry gets only what comes next
    first = propose(w, "spawn", TOML)
    second = propose(w, "spawn", MORE)
    assert state(w, first) == "superseded"
    ask(w, "manager/tool", "withdraw", request=second)
    third = propose(w, "spawn", TOML)
    ask(w, "operator", "deny", request=third, reason="no")
    w.hears("approval_resolved", third)
    fourth = ask(w, "manager/tool", "request_spawn", agent="eve", description="reviews")["request"]
    assert w.ok("operator", "diff", request=fourth)["diff"]
    assert [state(w, n) for n in (second, third, fourth)] == ["withdrawn", "denied", "pending"]


def expired(w: World) -> None:
    number = propose(w, "spawn", TOML, ttl=1)
    w.ok("operator", "approval", request=number, wait_seconds=20)
    w.hears("approval_resolved", number)
    assert state(w, number) == "expired"


def unborn(w: World) -> None:
    number = propose(w, "spawn", TOML)
    ask(w, "operator", "approve", request=number)
    carried_out(w, number, message="it did not come up")
    w.hears("approval_resolved", number)
    assert "eve" not in w.names()


def born(w: World) -> None:
    number = propose(w, "spawn", TOML)
    ask(w, "operator", "approve", request=number)
    carried_out(w, number)
    w.hears("spawned", number)
    assert "eve" in w.names()


def changed(w: World) -> None:
    number = propose(w, "apply", MORE)
    ask(w, "operator", "approve", request=number, note="well")
    carried_out(w, number)
    w.hears("applied", number)
    back = ask(w, "operator", "rollback", agent="eve")["request"]
    carried_out(w, back)
    w.hears("applied", back)
    assert len(w.ok("operator", "approvals", agent="eve", state="deployed")["approvals"]) == 3
    assert w.ok("operator", "history", agent="eve")["history"][0]["event"] == "deployed"
    assert w.ok("operator", "config", agent="eve")["files"]


def allowed(w: World) -> None:
    """Two denials become one request, and what is not wanted is dismissed."""
    said = {"tool": "Bash", "rule": "no rule allows it", "nearest": ""}
    one, two, _ = (
        w.ok("eve/tool", "denied", command=part, part=part, **said)["denial"]
        for part in ("make check", "make it", "make it")
    )
    first = ask(w, "operator", "allow", agent="eve", denial=one)["request"]
    second = ask(w, "operator", "allow", agent="eve", patterns=["WebSearch"])["request"]
    assert state(w, first) == "superseded"
    ask(w, "operator", "dismiss", ids=[two])
    (row,) = w.ok("operator", "denials", agent="eve")["denials"]
    assert (row["id"], row["request"], row["state"]) == (one, second, "asked")
    ask(w, "operator", "approve", request=second)
    carried_out(w, second)
    w.hears("applied", second)
    rows = w.ok("operator", "denials", agent="eve", all=True)["denials"]
    assert {row["id"]: row["state"] for row in rows} == {one: "allowed", two: "dismissed"}
    w.leave("eve/tool")


def destroyed(w: World) -> None:
    pending = propose(w, "apply", TOML)
    asked = ask(w, "ada/tool", "ask", question="when?", to="eve")["question"]
    ask(w, "eve/tool", "remind", message="look", delay=1000)
    ask(w, "eve/tool", "ask", question="which?", to="operator")
    w.ack("eve", w.recv("eve"))
    w.send("ada", "eve", "for one who is gone")
    w.recv("eve")
    w.leave("eve/tool")
    w.leave("eve")
    number = ask(w, "operator", "destroy", agent="eve")["request"]
    carried_out(w, number, kept={"bytes": 5, "login": False})
    w.hears("destroyed", number)
    assert state(w, pending) == "withdrawn" and "eve" not in w.names()
    w.ack("ada", w.recv("ada"))
    assert [
        text for text in w.book.seen.values() if '"question_answered"' in text and f'"id": {asked}' in text
    ]
    assert w.ok("operator", "questions")["questions"] == []


def revived(w: World) -> None:
    number = ask(w, "operator", "revive", agent="eve")["request"]
    carried_out(w, number, message="no")
    assert [each["name"] for each in w.ok("operator", "kept")["kept"]] == ["eve"]
    number = ask(w, "operator", "revive", agent="eve")["request"]
    carried_out(w, number)
    w.hears("spawned", number)
    w.ack("eve", w.recv("eve"))
    w.leave("eve")


def purged(w: World) -> None:
    w.send("ada", "eve", "too late")
    w.book.dead |= {*w.book.sent["too late"]}
    carried_out(w, ask(w, "operator", "destroy", agent="eve")["request"])
    carried_out(w, ask(w, "operator", "purge", agent="eve", confirm="eve")["request"])
    assert w.ok("operator", "kept")["kept"] == []
    assert not (w.folder / "state/registry/eve.git").exists()


def sound(w: World) -> None:
    carried_out(w, ask(w, "operator", "draft", agent="eve")["request"])
    check, _ = w.ok("operator", "doctor")["checks"]
    assert check["ok"], check


def left_behind(w: World) -> None:
    """It dies when an agent is gone from the database, and systemd still has its socket."""
    number = ask(w, "operator", "destroy", agent="eve")["request"]
    path = w.folder / f"state/apply/{number}.json"

    def deed() -> dict[str, Any]:
        system = w.peer("system")
        w.hold_at(CLOSING)
        write(system, "applied", request=number)
        w.wait_until(lambda: w.held() or not path.exists())
        return w.kill()

    w.through(lambda: deed() if state(w, number) != "deployed" else {})
    path.unlink(missing_ok=True)
    assert "eve" not in w.names()


def between_turns(w: World) -> None:
    w.send("operator", "eve", "in a turn")
    ids = w.recv("eve")
    at = "2026-11-22T10:00:00.000Z"
    run = {"unit": "hive-agent@eve.service", "invocation": w.runs["eve"], "at": at}
    w.ok("system", "event", event="started", **run)
    runs = w.ok("operator", "approvals", agent="eve", state="deployed")["approvals"][0]["deploy"]
    number = ask(w, "operator", "rollback", agent="eve", deploy=runs)["request"]
    w.send("operator", "eve", "kept back")
    assert w.recv("eve") == []
    assert not (w.folder / f"state/apply/{number}.json").exists()
    w.ack("eve", ids)
    carried_out(w, number)
    w.ack("eve", w.recv("eve", wait_seconds=5))
    w.leave("eve")
    w.ok("system", "event", event="finished", **run)


SCENARIOS = {
    "expiry": [awake, expired],
    "ends of agents": [awake, born, destroyed, revived, purged, sound],
    "deploys": [awake, unborn, born, changed, allowed, between_turns, left_behind],
    "decisions": [awake, drafted, decided],
}
