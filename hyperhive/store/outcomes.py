"""In hive.db: what a request that was carried out changes besides its own state."""

import json

from hyperhive import names
from hyperhive.problem import Problem
from hyperhive.store import approvals, denials, ends, models, notes, orders
from hyperhive.store.approvals import Effect
from hyperhive.store.store import Row, Store, now

KEPT = ("name", "description", "created_at", "destroyed_at", "turns", "last_turn_at")
BIRTHS = ("spawn", "revive")
EVENTS = {
    "spawn": {"event": "spawned"},
    "revive": {"event": "spawned"},
    "change": {"event": "applied"},
    "rollback": {"event": "applied"},
    "draft": {"event": "config_ready"},
    "destroy": {"event": "destroyed"},
}


def begins(store: Store, number: int, about: Row | None) -> Effect:
    """A first run is to find its agent here, so one that comes to life is registered before it runs."""
    effect = Effect()
    row = approvals.under_way(store, number)
    if row["kind"] in BIRTHS:
        same(row["agent"], about)
    if row["kind"] == "spawn":
        deploy(store, about or {})
    approvals.applying(store, row, effect)
    return effect


def failed(store: Store, number: int, message: str) -> Effect:
    effect = Effect()
    row = approvals.get(store, number)
    if row["state"] == "failed":
        return effect  # it was told us before a crash
    approvals.under_way(store, number)
    if row["kind"] == "spawn":
        forget(store, row["agent"], "the agent could not be created")
    if row["kind"] in BIRTHS:
        effect.gone.append(row["agent"])
    approvals.failed(store, row, message, effect)
    return effect


def same(name: str, about: Row | None) -> Row:
    if about is None or about["name"] != name:
        raise Problem("bad-request", f"'agent' must be {name} as it is deployed")
    return about


def carried_out(store: Store, number: int, about: Row | None, note: str | None, kept: Row | None) -> Effect:
    """`about` is the agent as deployed. An empty effect where it was told us before a crash."""
    effect = Effect()
    found = store.rows("select * from request where id = ?", number)
    if found and found[0]["state"] == "deployed":
        return effect
    # One that is not known was carried out before a backup was put back: it is there, so it is told of.
    row = approvals.under_way(store, number) if found else unknown(number, about)
    changed(store, row["kind"], row["agent"], about, kept, effect)
    if found:
        row = approvals.deployed(store, row, note, effect)
    tell(store, row, effect)
    return effect


def unknown(number: int, about: Row | None) -> Row:
    if about is None:
        raise Problem("unknown-request", f"there is no request {number}")
    row = dict.fromkeys(approvals.BRIEF) | {"id": number, "kind": "spawn", "agent": about["name"]}
    return row | {"state": "deployed"}


def changed(store: Store, kind: str, name: str, about: Row | None, kept: Row | None, effect: Effect) -> None:
    if kind == "destroy":
        destroy(store, name, kept, effect)
    elif kind == "purge":
        forget(store, name, "the agent was purged")
        store.db.execute(
            "update request set tagged = state where agent = ?", (name,)
        )  # its registry goes, too
    elif kind != "draft":
        deploy(store, same(name, about))
        if kind in BIRTHS:
            effect.born.append(same(name, about))


def tell(store: Store, row: Row, effect: Effect) -> None:
    if row["kind"] not in EVENTS or (row["kind"] in BIRTHS and row["agent"] == names.MANAGER):
        return
    event: Row = EVENTS[row["kind"]] | {"id": row["id"], "agent": row["agent"], "commit": row["commit"]}
    event |= {"tag": approvals.tag(row), "note": row["note"]}
    if row["kind"] == "draft":
        event["path"] = f"/agents/{row['agent']}/config"
    effect.mail.append(ends.tell_manager(store, event))


def deploy(store: Store, about: Row) -> None:
    found = approvals.agent(store, about["name"])
    if not found:
        store.register(about)
        return
    values = {key: value for key, value in about.items() if key not in ("name", "created_at")}
    values |= {"destroyed_at": None, "kept": None}
    assigned = ", ".join(f"{key} = ?" for key in values)
    store.db.execute(f"update agent set {assigned} where name = ?", (*values.values(), about["name"]))  # noqa: S608


def destroy(store: Store, name: str, kept: Row | None, effect: Effect) -> None:
    effect.gone.append(name)
    update = "update agent set destroyed_at = ?, kept = ?, status = '' where name = ?"
    store.db.execute(update, (now(), json.dumps(kept) if kept else None, name))
    store.release(name, "the agent was destroyed")
    orders.forget(store, name, "the agent was destroyed")
    for row in store.rows("select id from request where agent = ? and state = 'pending'", name):
        approvals.end(store, row["id"], "withdrawn", names.SYSTEM, f"{name} was destroyed", effect)
    for row in store.rows("select * from question where state = 'open' and ? in (asker, asked)", name):
        event = ends.close(store, ends.shown(row), "cancelled", names.SYSTEM, None)
        # the operator has a list of the questions to him
        for who in {row["asker"], *({row["asked"]} - {names.OPERATOR})} - {name}:
            effect.mail.extend(ends.tell(store, who, event))
    store.db.execute("update reminder set state = 'cancelled' where agent = ? and state = 'armed'", (name,))


def forget(store: Store, name: str, reason: str) -> None:
    """Mail is history and stays, but what waits must not reach the next of that name."""
    dropped = "update message set state = 'dropped', done_at = ?, reason = ? where recipient = ? and state"
    for state in ("queued", "leased"):  # written out, as each has an index of its own
        store.db.execute(f"{dropped} = '{state}'", (now(), reason, name))
    store.count()
    orders.forget(store, name, reason)
    models.forget(store, name)
    notes.forget(store, name)
    denials.forget(store, name)
    store.db.execute("delete from agent where name = ?", (name,))


def kept(store: Store) -> list[Row]:
    query = "select * from agent where destroyed_at is not null order by name"
    return [
        {key: row[key] for key in KEPT} | {"bytes": None, "login": None} | json.loads(row["kept"] or "{}")
        for row in store.rows(query)
    ]
