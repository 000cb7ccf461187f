"""Every operation of the broker called for real, and all that came back of it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from typing import Any

from hyperhive import wire
from hyperhive.operations import operations
from tests.changing import as_deployed, draft
from tests.changing import queued as queued_as
from tests.hive import INVOCATION, Hive, Peer
from tests.test_broker import RECORD

Message = dict[str, Any]
SOCKET = {"operator": "OPERATOR", "system": "SYSTEM"}


class Tour:
    def __init__(self, here: Hive) -> None:
        self.here = here
        self.answers: dict[tuple[str, str], list[Message]] = defaultdict(list)
        self.events: dict[str, list[Message]] = defaultdict(list)
        self.mail: dict[str, list[Message]] = defaultdict(list)  # from the system, by event
        self.peers: dict[str, Peer] = {"operator": here.operator(), "system": here.system()}
        self.runs: dict[str, str] = {}  # InvocationIDs
        self.watcher = here.operator()
        assert self.watcher.ask("subscribe")["ok"]

    def ok(self, who: str, op: str, **fields: Any) -> Message:
        peer = self.peers[who]
        return self.answered(who, op, peer.answer(peer.write(op, **fields)))

    def answered(self, who: str, op: str, answer: Message) -> Message:
        assert answer.pop("ok"), f"{op}: {answer}"
        del answer["id"]
        agent = "MANAGER" if op in operations.MANAGER else "AGENT"
        self.answers[SOCKET.get(who, agent), op].append(answer)
        return answer

    def awake(self, who: str) -> None:
        self.peers[who] = self.here.connect(self.here.socket(who), self.here.bases[who])
        self.runs[who] = f"{next(INVOCATION):032x}"
        self.ok(who, "hello", role="harness", invocation=self.runs[who])

    def recv(self, who: str) -> list[int]:
        messages = self.ok(who, "recv", wait_seconds=20)["messages"]
        self.take(messages)
        return [message["id"] for message in messages]

    def take(self, messages: list[Message]) -> None:
        for message in messages:
            if message["from"] == "system":
                event = json.loads(message["body"])
                self.mail[event.pop("event")].append(event)

    def watch(self, last: str) -> None:
        """The events up to the next one of this name."""
        while True:
            event = self.watcher.read()
            name = event.pop("event")
            assert {type(event.pop("seq")), type(event.pop("at"))} == {int, str}
            self.events[name].append(event)
            if name == last:
                return


def mail(tour: Tour) -> None:
    tour.here.fifo("ada")
    tour.ok("operator", "send", to="ada", body="hello")
    for who in ("ada", "bob", "manager"):
        tour.awake(who)
    tour.ok("ada", "whoami")
    first = tour.recv("ada")[0]
    tour.ok("ada", "send", to="all", body="hello", in_reply_to=first, key="one")
    tour.ok("ada", "send", to="operator", body="hello")
    tour.ok("ada", "ack")
    tour.ok("ada", "shown", ids=[first])
    tour.ok("ada", "set_status", status="busy")
    tour.ok("ada", "progress", number=1, text="Bash", tool_calls=1001)
    tour.ok("operator", "status")
    tour.ok("operator", "show", agent="ada")
    tour.ok("operator", "mail", agent="ada")
    tour.ok("operator", "mail", **{"from": "operator", "to": "ada", "text": "e", "limit": 1})
    read = tour.ok("operator", "inbox", unread=True)["messages"][0]["id"]
    tour.ok("operator", "read", ids=[read])


def failures(tour: Tour) -> None:
    """One message dies, is tried again, dies again and is dropped."""
    (number,) = tour.ok("operator", "send", to="bob", body="poison")["ids"]
    for op in ("retry", "drop"):
        while number in (ids := tour.recv("bob")):
            tour.ok("bob", "fail", reason="crashed", ids=[number])
            if tour.ok("operator", "mail", state="dead")["messages"]:
                break
        tour.ok("operator", op, ids=[number])
        assert ids
    tour.ok("bob", "ack")


def turns(tour: Tour) -> None:
    for number, outcome in enumerate(("ok", "auth-failed", "rate-limited"), 1):
        tour.ok("bob", "turn", **RECORD | {"number": number, "outcome": outcome, "error": "no"})
    for who in ("operator", "manager"):
        tour.ok(who, "agents")
    while not tour.ok("operator", "show", agent="bob")["recent_turns"]:  # written off the mail path
        assert tour.here.broker and tour.here.broker.poll() is None
        time.sleep(0.01)


def commands(tour: Tour) -> None:
    """ada's model is refused, her turn cancelled, and what is left is done between two turns."""
    for model in ("opus", "nosuch", None):
        tour.ok(
            "operator",
            "model",
            agent="ada",
            model=model,
            **({"until": "2100-01-01T00:00:00Z"} if model else {}),
        )
        if model == "opus":
            tour.ok("ada", "turn", **RECORD | {"number": 1, "asked": "opus", "notes": "# Mine"})
            tour.ok("operator", "show", agent="ada")
        elif model:
            tour.ok("ada", "model_refused", model=model, error="not found")
            tour.ok("operator", "model", agent="ada")
    tour.ok("operator", "send", to="ada", body="cancelled")
    tour.recv("ada")
    tour.ok("ada", "progress", number=2, text="Bash", model="opus")
    tour.ok("ada", "listen", number=2)
    happened = {"n": 1, "kind": "tool", "tool": "Bash", "id": "toolu_1", "text": "{}", "bytes": 2}
    tour.ok("ada", "turn_events", number=2, events=[happened])
    tour.ok("operator", "turns", agent="ada")
    tour.ok("operator", "command", agent="ada", command="cancel")
    tour.ok("ada", "turn", **RECORD | {"number": 2, "outcome": "cancelled"})
    tour.ok("operator", "command", agent="ada", command="compact")
    for given in tour.ok("ada", "recv")["commands"]:
        tour.ok("ada", "command_done", command=given["id"], error="nothing to compact")
    tour.ok("operator", "turns", agent="ada")


def stats(tour: Tour) -> None:
    since = "2026-01-01T00:00:00.000Z"
    tour.ok("operator", "stats", since=since, until="2100-01-01T00:00:00Z", step=366 * 86_400)
    for key in ("turn_ms", "inbox_depth"):
        tour.ok("operator", "stats", since=since, key=key, step=86_400)
    tour.ok("operator", "stats", since=since, agent="bob", step=86_400)
    tour.ok("operator", "metrics")


def loose_ends(tour: Tour) -> None:
    number = tour.ok("ada", "ask", question="which?", options=["a", "b"], ttl=600, to="bob")["question"]
    tour.ok("ada", "remind", message="soon", delay=1)
    tour.recv("bob")
    tour.ok("bob", "answer", question=number, answer=["a"])
    late = tour.ok("bob", "remind", message="late", delay=600)["reminder"]
    tour.ok("bob", "loose_ends")
    tour.ok("bob", "cancel_loose_end", kind="reminder", number=late)
    for who in ("operator", "operator"):
        number = tour.ok(who, "ask", question="which?", options=["a"], to="ada")["question"]
    tour.ok("operator", "questions")
    tour.ok("operator", "answer", question=number, answer=["neither"], other=True)
    tour.ok("operator", "cancel_loose_end", kind="question", number=number - 1)
    tour.ok("operator", "remind", message="soon", delay=600, to="ada")
    tour.ok("operator", "loose_ends")
    tour.ok("operator", "loose_ends", agent="ada")
    while "reminder" not in tour.mail:
        assert tour.recv("ada")


def runs(tour: Tour) -> None:
    """bob's harness dies with a message; its socket is quarantined, started again, and stopped."""
    agent, socket = "hive-agent@bob.service", "hive-agent@bob.socket"

    def told(event: str, unit: str, run: str, **more: Any) -> None:
        at = "2026-11-22T10:00:00.000Z"
        tour.ok("system", "event", event=event, unit=unit, invocation=run, at=at, **more)

    died = {"result": "signal", "signal": "SIGKILL", "restarts": 0, "restarted": True, "log": ["argh"]}
    told("started", agent, tour.runs["bob"])
    tour.ok("system", "runs")
    tour.ok("system", "suppressed", agent="bob", lines=9)
    tour.ok("operator", "send", to="bob", body="in flight")
    tour.recv("bob")
    told("container_crash", agent, tour.runs["bob"], **died)
    first, second = (f"{next(INVOCATION):032x}" for _ in range(2))
    told("quarantined", socket, first, result="service-start-limit-hit")
    told("started", socket, second)
    told("stopped", socket, second)
    told("finished", agent, f"{next(INVOCATION):032x}")
    tour.ok("operator", "show", agent="bob")


def system(tour: Tour) -> None:
    peer = tour.peers["operator"]
    spawned, failed = (peer.write("spawn", agent=name, toml="") for name in ("eve", "mallory"))
    for op in ("applied", "apply_failed"):
        name = {"applied": "eve", "apply_failed": "mallory"}[op]
        request = queued(tour, name)
        agent = {"name": name, "role": "agent", "uid_base": 1_300_000_000, "description": ""}
        about = {"agent": agent} if op == "applied" else {"message": "no room"}
        tour.ok("system", op, request=request, **about)
    tour.answered("operator", "spawn", peer.answer(spawned))
    assert peer.answer(failed)["error"] == "apply-failed"
    tour.ok("system", "prune", days=1)


def changes(tour: Tour) -> None:
    draft(tour.here, "flo")
    deployed(tour, tour.ok("manager", "request_spawn_draft", agent="flo", description="x")["request"])
    tour.ok("operator", "drafts")
    asked = {"agent": "flo", "commit_ref": "main", "note": "why"}
    for _ in range(2):
        number = tour.ok("manager", "request_spawn_commit", **asked)["request"]
    tour.ok("manager", "withdraw", request=number)
    tour.ok("manager", "request_spawn_commit", **asked)
    number = tour.ok("manager", "request_spawn", agent="flo", description="x")["request"]
    tour.ok("operator", "approval", request=number)
    tour.ok("operator", "approve", request=number, note="well")
    deployed(tour, number)
    number = tour.ok("manager", "request_apply_commit", **asked)["request"]
    tour.ok("operator", "deny", request=number, reason="no")
    for _ in range(2):
        number = tour.ok("manager", "request_apply_commit", **asked)["request"]
    tour.ok("operator", "approve", request=number)
    deployed(tour, number, note="paused")
    for op in ("deployed", "approved"):
        tour.ok("operator", "diff", request=number, against=op)
    deployed(tour, tour.ok("operator", "rollback", agent="flo")["request"])
    tour.ok("operator", "config", agent="flo")


def denials(tour: Tour) -> None:
    as_deployed(tour.here, "flo")
    tour.peers["flo"] = tour.here.agent("flo", "tool")
    said = {"tool": "Bash", "command": "make && make it", "part": "make it", "rule": "no rule allows it"}
    number = tour.ok("flo", "denied", **said, nearest="")["denial"]
    for who in ("operator", "manager"):
        tour.ok(who, "agents")
    tour.ok("operator", "show", agent="flo")
    tour.ok("operator", "state")
    for _ in range(2):
        patterns = {"patterns": ["WebSearch"]} if tour.answers["OPERATOR", "allow"] else {}
        request = tour.ok("operator", "allow", agent="flo", denial=number, **patterns)["request"]
    tour.ok("operator", "denials", agent="flo")
    ways_out(tour)
    tour.ok("operator", "deny", request=request, reason="no")
    tour.ok("operator", "dismiss", ids=[number])
    tour.here.peers.remove(tour.peers["flo"])
    tour.peers.pop("flo").close()


def ways_out(tour: Tour) -> None:
    way = {
        "agent": "flo",
        "at": "2026-11-22T10:00:00.000Z",
        "host": "a.org",
        "port": 443,
        "address": "9.9.9.9",
    }
    way |= {"rule": "a.org:443", "end": "closed", "count": 1, "sent": 1, "received": 2, "ms": 3}
    told = [
        way | {"at": wire.stamp(time.time())},
        way | {"at": wire.stamp(time.time()), "end": "denied", "rule": "allow"},
    ]
    tour.ok("system", "gate_facts", after=None, cursor="s=1", facts=told)
    tour.ok("operator", "egress", agent="flo")


def ends_of_agents(tour: Tour) -> None:
    kept = {"kept": {"bytes": 5, "login": False}}
    deployed(tour, tour.ok("operator", "destroy", agent="flo")["request"], **kept)
    tour.ok("operator", "kept")
    deployed(tour, tour.ok("operator", "revive", agent="flo")["request"])
    deployed(tour, tour.ok("operator", "destroy", agent="flo")["request"])
    deployed(tour, tour.ok("operator", "purge", agent="flo", confirm="flo")["request"])
    tour.ok("operator", "draft", agent="flo", description="x")
    tour.ok("operator", "approvals")
    tour.ok("operator", "history", agent="flo")
    with closing(sqlite3.connect(tour.here.state / "db/hive.db")) as db, db:
        db.execute("update request set state = 'denied' where id = 1")
    tour.ok("operator", "doctor")


def deployed(tour: Tour, number: int, **more: Any) -> None:
    file = queued_as(tour.here, number)
    about = {"agent": as_deployed(tour.here, "flo")} if "files" in file else {}
    tour.ok("system", "applying", request=number, **about)
    tour.ok("system", "applied", request=number, **about, **more)
    (tour.here.state / f"apply/{number}.json").unlink()


def queued(tour: Tour, name: str) -> int:
    while True:
        for path in (tour.here.state / "apply").glob("*.json"):
            if json.loads(path.read_text())["agent"] == name:
                return int(path.stem)
        tour.ok("operator", "status")


def page(tour: Tour) -> None:
    tour.ok("operator", "ask", to="ada", question="well?", options=["yes", "no"], ttl=600)
    tour.ok("ada", "ask", question="which?", options=["a", "b"], ttl=600)
    tour.ok("manager", "request_spawn", agent="gus", description="x")
    (number,) = tour.ok("operator", "send", to="bob", body="poison again")["ids"]
    while number in tour.recv("bob"):
        tour.ok("bob", "fail", reason="crashed", ids=[number])
        if tour.ok("operator", "mail", state="dead")["messages"]:
            break
    tour.ok("bob", "ack")
    begun = tour.ok("operator", "sign_in", code=tour.ok("operator", "url")["code"], agent="a browser")
    tour.ok("operator", "session", token=begun["token"])
    tour.ok("operator", "sessions")
    tour.ok("operator", "draft", agent="hal", description="x")
    deployed(tour, queued(tour, "hal"))
    kept = {"kept": {"bytes": 5, "login": False}}
    deployed(tour, tour.ok("operator", "destroy", agent="eve")["request"], **kept)
    tour.ok("operator", "state")
    tour.ok("operator", "sign_out", session=begun["session"])


def ends(tour: Tour) -> None:
    for file in tour.ok("operator", "backup")["files"]:
        tour.ok("operator", "backup_read", name=file["name"], offset=0)
    tour.ok("operator", "subscribe")
    tour.recv("manager")
    tour.take(tour.ok("operator", "inbox")["messages"])
    tour.ok("ada", "asleep")
    tour.here.peers.remove(tour.peers["ada"])
    tour.peers["ada"].close()
    tour.watch("asleep")


STOPS: tuple[Callable[[Tour], None], ...] = (
    mail,
    failures,
    turns,
    commands,
    stats,
    loose_ends,
    system,
    runs,
    changes,
    denials,
    ends_of_agents,
    page,
    ends,
)


def tour(here: Hive) -> Tour:
    it = Tour(here)
    for stop in STOPS:
        stop(it)
    return it
