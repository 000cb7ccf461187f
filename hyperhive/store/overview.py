"""All that the page shows at once, as of one moment. On the writer's thread."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hyperhive import names, wire
from hyperhive.broker import wild
from hyperhive.clip import clipped
from hyperhive.store import approvals, denials, ends, models, outcomes, search
from hyperhive.store.search import Wanted
from hyperhive.store.store import QUEUED, Row, Store, now

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker

NEWEST = 50  # messages
TITLE_MAX = 200  # characters
WAITING_MAX = 100  # of each kind
ENDED = {"stopped": "paused", "quarantined": "quarantined"}  # how the run of an agent's socket unit ended


def look(broker: Broker, low: list[Row]) -> Row:
    store = broker.store
    agents = [agent(broker, row) for row in store.agents_with_mail() if row["name"] in broker.agents]
    waiting_requests, open_questions = requests(store), asked(store)
    return {
        "seq": next(broker.sequence),
        "epoch": broker.epoch,
        "at": now(),
        "version": wire.RELEASE,
        "agents": agents,
        "kept": outcomes.kept(store),
        "drafts": approvals.drafts(store),
        "approvals": waiting_requests,
        "questions": open_questions,
        "denials": [row for row in denials.fresh(store) if row["agent"] in broker.agents],
        "inbox": {
            "unread": store.queued[names.OPERATOR],
            "messages": [clipped(row) for row in store.inbox(NEWEST, unread_only=False)],
        },
        "mail": [clipped(row) for row in search.newest(store, Wanted(), NEWEST)],
        "dead": [clipped(row) for row in search.newest(store, Wanted(state="dead"), NEWEST)],
        "waiting": waiting(store, agents, waiting_requests, open_questions, low),
    }


def agent(broker: Broker, row: Row) -> Row:
    live = broker.agents[row["name"]]
    del row["destroyed_at"], row["kept"]
    row["send_to"] = json.loads(row["send_to"])
    row |= {"awake": live.run is not None, "doing": live.doing, "waiting": broker.store.queued[live.name]}
    status = models.status(broker.store, live.name, broker.default_model, live.using)
    row["wild"] = wild.of_agent(broker, live)
    row["denied"] = denials.of_agent(broker.store, live.name)
    return row | {"state": state(broker, row), "model_status": status}


def state(broker: Broker, row: Row) -> str:
    """In one word, as hivectl has it from systemd; here it is what hive-watch has told."""
    if broker.agents[row["name"]].kept_back:
        return "draining"
    ended = ended_socket(broker.store, row["name"])
    if ended == "quarantined" or (ended and not row["awake"]):
        return ended
    if row["awake"]:
        return "awake" if row["doing"] is None else "working"
    return "asleep"


def ended_socket(store: Store, name: str) -> str | None:
    query = "select event from run where unit = ? order by rowid desc limit 1"
    found = store.rows(query, f"hive-agent@{name}.socket")
    return ENDED.get(found[0]["event"]) if found else None


def requests(store: Store) -> list[Row]:
    """Oldest first: what waits for the operator, and what is being carried out."""
    states = ("pending", *approvals.UNDER_WAY)
    query = f"select * from request where state in (?, ?, ?) order by id limit {WAITING_MAX}"  # noqa: S608
    return [
        approvals.brief(row) | {"summary": json.loads(row["summary"])} for row in store.rows(query, *states)
    ]


def asked(store: Store) -> list[Row]:
    return [row for row in ends.questions(store, names.OPERATOR) if row["asked"] == names.OPERATOR]


# what waits for a person


def waiting(
    store: Store, agents: list[Row], pending: list[Row], questions: list[Row], low: list[Row]
) -> list[Row]:
    """Oldest first."""
    found = [
        waits("approval", row["id"], row["agent"], row["requested_at"], f"{row['kind']} of {row['agent']}")
        for row in pending
        if row["state"] == "pending"
    ]
    found += [
        waits("question", row["id"], row["asker"], row["asked_at"], row["question"]) for row in questions
    ]
    found += [*unread(store), *dead(store)]
    for row in agents:
        if row["state"] == "quarantined":
            text = f"{row['name']} crashes again and again"
            found.append(waits("quarantined", 0, row["name"], row["last_turn_at"], text))
        if row["last_outcome"] == "auth-failed":
            text = f"{row['name']} cannot log in at the model"
            found.append(waits("login", 0, row["name"], row["last_turn_at"], text))
        found += [gone_wild(each, row["name"]) for each in row["wild"]]
    found += [gone_wild(each, "") for each in low]
    return sorted(found, key=lambda each: str(each["since"]))


def waits(kind: str, number: int, agent: str, since: str | None, title: str) -> Row:
    title = " ".join(title[: 4 * TITLE_MAX].split())
    about = {"kind": kind, "id": number, "agent": agent, "since": since or now()}
    return about | {"title": title[:TITLE_MAX], "do": None}


def gone_wild(each: Row, agent: str) -> Row:
    return waits(each["kind"], 0, agent, each["since"], each["text"]) | {"do": each["do"]}


def unread(store: Store) -> list[Row]:
    """The operator's mail, by sender."""
    query = f"""select sender, count(*) n, min(id) id, min(sent_at) at from {QUEUED} and recipient = ?
        group by sender order by id limit {WAITING_MAX}"""  # noqa: S608
    rows = store.rows(query, names.OPERATOR)
    return [
        waits("mail", row["id"], row["sender"], row["at"], f"{row['n']} unread from {row['sender']}")
        for row in rows
    ]


def dead(store: Store) -> list[Row]:
    query = f"""select id, sender, recipient, done_at from message indexed by message_dead
        where state = 'dead' order by id limit {WAITING_MAX}"""  # noqa: S608
    return [
        waits("dead", row["id"], row["recipient"], row["done_at"], f"{row['sender']} → {row['recipient']}")
        for row in store.rows(query)
    ]
