"""In hive.db: which model an agent is to use, and what became of it. On the writer's thread."""

import json

from hyperhive import names
from hyperhive.cage.model_choice import choose
from hyperhive.store import ends
from hyperhive.store.store import Row, Store, now

NOTHING = {"used": None, "asked": None, "refused": None, "refused_at": None, "error": None}
GOOD = ("ok", "compacted")


def override(store: Store, agent: str) -> Row | None:
    found = store.rows("select * from model_override where agent = ?", agent)
    return found[0] if found else None


def known(store: Store, agent: str) -> Row:
    found = store.rows("select * from model_state where agent = ?", agent)
    return found[0] if found else {"agent": agent} | NOTHING


def for_harness(store: Store, agent: str) -> Row:
    """What it needs to choose as status() does."""
    said, state = override(store, agent), known(store, agent)
    return {"override": said and said["model"], "last": state["asked"], "refused": state["refused"]}


def status(store: Store, agent: str, default: str, using: str | None) -> Row:
    """`using`: what the running claude was switched to."""
    said, state = override(store, agent), known(store, agent)
    about = said or dict.fromkeys(("model", "set_by", "set_at", "until"))
    own = store.agent(agent)["model"]
    model, source = choose(about["model"], own, default, state["asked"], state["refused"])
    refused = {"model": state["refused"], "at": state["refused_at"], "error": state["error"]}
    return {
        "agent": agent,
        "now": state["used"],
        "next": model,
        "from": source,
        "state": "active" if model == (using or state["asked"]) else "queued",
        "set_by": about["set_by"],
        "set_at": about["set_at"],
        "until": about["until"],
        "refused": refused if state["refused"] else None,
    }


def put(store: Store, agent: str, model: str | None, by: str, until: str | None) -> None:
    """None: from now on what agent.toml or the hive says. What was refused may be tried again."""
    said, state = override(store, agent), known(store, agent)
    before = said["before"] if said else None
    if said and said["model"] == state["asked"]:
        before = json.dumps({key: said[key] for key in ("model", "set_by", "set_at", "until")})
    remember(store, state | {"refused": None, "refused_at": None, "error": None})
    store.db.execute("delete from model_override where agent = ?", (agent,))
    if model:
        add(store, {"agent": agent, "model": model, "set_by": by, "set_at": now(), "until": until}, before)


def add(store: Store, said: Row, before: str | None) -> None:
    columns = "agent, model, set_by, set_at, until, before"
    insert = (
        f"insert into model_override({columns}) values (:agent, :model, :set_by, :set_at, :until, :before)"  # noqa: S608
    )
    store.db.execute(insert, said | {"before": before})


def remember(store: Store, state: Row) -> None:
    columns = "agent, used, asked, refused, refused_at, error"
    insert = (
        f"replace into model_state({columns}) values (:agent, :used, :asked, :refused, :refused_at, :error)"  # noqa: S608
    )
    store.db.execute(insert, state)


def used(store: Store, agent: str, model: str, asked: str | None, outcome: str) -> bool:
    """A turn has ended; True when that changes the status."""
    before = known(store, agent)
    after = before | {"used": model or before["used"]}
    if asked and outcome in GOOD:
        after["asked"] = asked
        if asked == after["refused"]:
            after |= {"refused": None, "refused_at": None, "error": None}
    if after != before:
        remember(store, after)
    return after != before


def refused(store: Store, agent: str, model: str, error: str, default: str) -> list[Row]:
    """The endpoint does not know it: back to what was there before, and the mail that says so."""
    said, state = override(store, agent), known(store, agent)
    if state["refused"] == model and not (said and said["model"] == model):
        return []  # it was told us before
    remember(store, state | {"refused": model, "refused_at": now(), "error": error})
    to = None
    if said and said["model"] == model:
        to = said["set_by"]
        store.db.execute("delete from model_override where agent = ?", (agent,))
        before = json.loads(said["before"]) if said["before"] else None
        if before and not (before["until"] and before["until"] <= now()):
            add(store, {"agent": agent} | before, None)
    after = status(store, agent, default, None)
    event = {"event": "model_refused", "agent": agent, "model": model, "error": error, "next": after["next"]}
    return ends.tell(store, names.OPERATOR, event) if to else [ends.tell_manager(store, event)]


def next_due(store: Store) -> str | None:
    at: str | None = store.rows("select min(until) at from model_override where until is not null")[0]["at"]
    return at


def expire(store: Store) -> list[str]:
    """Those whose override is over now."""
    rows = store.rows("select agent from model_override where until is not null and until <= ?", now())
    for row in rows:
        store.db.execute("delete from model_override where agent = ?", (row["agent"],))
    return [row["agent"] for row in rows]


def forget(store: Store, agent: str) -> None:
    store.db.execute("delete from model_override where agent = ?", (agent,))
    store.db.execute("delete from model_state where agent = ?", (agent,))
