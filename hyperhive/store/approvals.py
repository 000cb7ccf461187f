"""In hive.db: requests to change what an agent is. Each state has its audit entry, and mail, with it."""

import time
from dataclasses import dataclass, field

from hyperhive import names, wire
from hyperhive.problem import Problem
from hyperhive.store import audit, ends
from hyperhive.store.store import Row, Store, now

KINDS = "spawn change rollback draft destroy revive purge".split()
STATES = "pending approved applying deployed denied failed expired withdrawn superseded".split()
UNDER_WAY = ("approved", "applying")
TTL = 7 * 24 * 3600
PENDING_MAX = 100
DRAFTS_MAX = 100

# What a listing shows; summary and files are the long ones.
BRIEF = (
    "id kind agent commit note description requested_by requested_at expires_at state"
    " decided_by decided_at reason deploy risk message ended_at"
).split()
SHOWN = ", ".join(f'"{name}"' for name in BRIEF)
IN_AUDIT = "kind note description reason deploy risk message".split()
DRAFTS = """
    from request d where kind = 'draft' and state = 'deployed'
        and not exists (select 1 from agent where name = d.agent)
        and not exists (select 1 from request p where p.agent = d.agent and p.kind = 'purge'
                        and p.state = 'deployed' and p.id > d.id)
"""


@dataclass(frozen=True)
class Effect:
    """What a transaction did that others hear of when it is on disk."""

    requests: list[Row] = field(default_factory=list)
    mail: list[Row] = field(default_factory=list)
    born: list[Row] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


# one request


def get(store: Store, number: int) -> Row:
    found = store.rows("select * from request where id = ?", number)
    if not found:
        raise Problem("unknown-request", f"there is no request {number}", hint="see hivectl approvals")
    return found[0]


def pending(store: Store, number: int) -> Row:
    row = get(store, number)
    if row["state"] != "pending":
        raise Problem("not-pending", f"request {number} {how(row)}")
    return row


def how(row: Row) -> str:
    """As 'is denied: operator denied it at …', for whoever comes too late."""
    by = row["decided_by"] or names.SYSTEM
    verb = "decided" if row["state"] in (*UNDER_WAY, "deployed", "failed") else f"made it {row['state']}"
    return f"is {row['state']} already: {by} {verb} at {row['decided_at']}"


def tag(row: Row) -> str | None:
    return f"deployed/{row['deploy']}" if row["commit"] and row["state"] == "deployed" else None


def brief(row: Row) -> Row:
    return {name: row[name] for name in BRIEF} | {"tag": tag(row)}


# what is possible


def agent(store: Store, name: str) -> Row | None:
    return next(iter(store.rows("select * from agent where name = ?", name)), None)


def check(store: Store, kind: str, name: str) -> None:
    """Whether the agent is one that this can be done to; asked again when it is approved."""
    found = agent(store, name)
    alive = found is not None and found["destroyed_at"] is None
    if kind in ("spawn", "draft") and found:
        kept = f"'{name}' was destroyed, and is kept"
        text, hint = (
            (f"there is an agent '{name}' already", "choose another name")
            if alive
            else (kept, f"hivectl revive {name}, or hivectl purge {name}")
        )
        raise Problem("exists", text, hint=hint)
    if kind == "draft" and is_draft(store, name):
        hint = f"it is in /agents/{name}/config"
        raise Problem("exists", f"there is a draft of '{name}' already", hint=hint)
    if kind in ("change", "rollback", "destroy") and not alive:
        raise Problem("unknown-agent", f"no agent is called '{name}'")
    if kind in ("revive", "purge") and alive:
        raise Problem("exists", f"{name} is not destroyed", hint=f"hivectl destroy {name}")
    if (kind == "revive" and not found) or (kind == "purge" and not (found or is_draft(store, name))):
        raise Problem("unknown-agent", f"nothing is kept of '{name}'", hint="see hivectl kept")


def check_free(store: Store, name: str) -> None:
    """One after the other, so that each deploy has one before it that it can be taken back to."""
    query = "select id, kind, state from request where agent = ? and state in ('approved', 'applying')"
    for row in store.rows(query, name):
        text = f"request {row['id']} ({row['kind']} of {name}) is {row['state']}"
        raise Problem("busy", text, hint="try again when it is carried out")


def is_draft(store: Store, name: str) -> bool:
    return bool(store.rows(f"select 1 {DRAFTS} and agent = ?", name))


# states


def move(store: Store, row: Row, state: str, by: str, effect: Effect, **changed: object) -> Row:
    """The next state of a request, and all that belongs to it."""
    values: Row = {"state": state} | changed
    assigned = ", ".join(f'"{name}" = ?' for name in values)
    store.db.execute(f"update request set {assigned} where id = ?", (*values.values(), row["id"]))  # noqa: S608
    return entered(store, row | values, by, effect)


def entered(store: Store, row: Row, by: str, effect: Effect) -> Row:
    detail = {name: row[name] for name in IN_AUDIT if row[name] is not None}
    audit.append(store.db, now(), by, row["state"], row, detail)
    effect.requests.append(row)
    ended = row["state"] not in ("pending", "applying", "deployed")
    if ended and row["requested_by"] == names.MANAGER != by:
        event = {"event": "approval_resolved", "id": row["id"], "agent": row["agent"], "state": row["state"]}
        event |= {"by": by, "reason": row["message"] or row["reason"], "commit": row["commit"]}
        effect.mail.append(ends.tell_manager(store, event))
    return row


def add(store: Store, fields: Row, by: str, ttl: int | None, effect: Effect) -> Row:
    """With a time to live it waits for the operator, else it is approved by who asks."""
    name, kind = fields["agent"], fields["kind"]
    check(store, kind, name)
    if ttl is None:
        check_free(store, name)
    elif count(store, "pending") >= PENDING_MAX:
        hint = "withdraw some"
        raise Problem("too-many", f"{PENDING_MAX} requests wait for the operator", hint=hint)
    if kind == "draft" and store.rows(f"select count(*) n {DRAFTS}")[0]["n"] >= DRAFTS_MAX:
        raise Problem("too-many", f"there are {DRAFTS_MAX} drafts", hint="ask for some, or purge some")
    if ttl is not None or kind == "spawn":
        supersede(store, name, by, effect)
    at = now()
    row: Row = dict.fromkeys(BRIEF) | {"tagged": "", "summary": "[]", "files": None} | fields
    row |= {"requested_by": by, "requested_at": at}
    if ttl is None:
        row |= {"state": "approved", "decided_by": by, "decided_at": at} | numbered(store, row)
    else:
        row |= {"state": "pending", "expires_at": wire.stamp(time.time() + ttl)}
    del row["id"]
    columns, marks = ", ".join(f'"{key}"' for key in row), ", ".join("?" for _ in row)
    statement = f"insert into request({columns}) values ({marks})"  # noqa: S608
    rowid = store.db.execute(statement, tuple(row.values())).lastrowid
    return entered(store, row | {"id": rowid}, by, effect)


def count(store: Store, state: str) -> int:
    found: int = store.rows("select count(*) n from request where state = ?", state)[0]["n"]
    return found


def numbered(store: Store, row: Row) -> Row:
    """Which deploy of the agent it would be; the number of one that fails is not used again."""
    if row["kind"] not in ("spawn", "change", "rollback", "revive"):
        return {}
    query = "select ifnull(max(deploy), 0) + 1 n from request where agent = ?"
    return {"deploy": store.rows(query, row["agent"])[0]["n"]}


def supersede(store: Store, name: str, by: str, effect: Effect) -> None:
    for row in store.rows("select * from request where agent = ? and state = 'pending'", name):
        decided = {"decided_by": by, "decided_at": now(), "ended_at": now()}
        move(store, row, "superseded", by, effect, **decided, reason="there is a newer one")


def approve(store: Store, number: int, by: str, note: str | None, effect: Effect) -> Row:
    row = pending(store, number)
    check(store, row["kind"], row["agent"])
    check_free(store, row["agent"])
    decided = {"decided_by": by, "decided_at": now(), "reason": note} | numbered(store, row)
    return move(store, row, "approved", by, effect, **decided)


def withdraw(store: Store, number: int, by: str, effect: Effect) -> Row:
    row = pending(store, number)
    if by != row["requested_by"]:
        raise Problem("forbidden", f"{row['requested_by']} asked for it, so only {row['requested_by']} may")
    return end(store, number, "withdrawn", by, None, effect)


def end(store: Store, number: int, state: str, by: str, reason: str | None, effect: Effect) -> Row:
    """denied, withdrawn or expired."""
    row = pending(store, number)
    at = now()
    return move(store, row, state, by, effect, decided_by=by, decided_at=at, ended_at=at, reason=reason)


def next_due(store: Store) -> str | None:
    at: str | None = store.rows("select min(expires_at) at from request where state = 'pending'")[0]["at"]
    return at


def expire(store: Store, effect: Effect) -> None:
    query = "select id from request where state = 'pending' and expires_at <= ? order by id"
    for row in store.rows(query, now()):
        end(store, row["id"], "expired", names.SYSTEM, "nobody decided in time", effect)


# hive-apply


def under_way(store: Store, number: int) -> Row:
    row = get(store, number)
    if row["state"] not in UNDER_WAY:
        raise Problem("not-approved", f"request {number} is {row['state']}")
    return row


def applying(store: Store, row: Row, effect: Effect) -> None:
    if row["state"] != "applying":  # else it was told us before a crash
        move(store, row, "applying", names.SYSTEM, effect)


def deployed(store: Store, row: Row, note: str | None, effect: Effect) -> Row:
    return move(store, row, "deployed", names.SYSTEM, effect, ended_at=now(), message=note)


def failed(store: Store, row: Row, message: str, effect: Effect) -> None:
    move(store, row, "failed", names.SYSTEM, effect, ended_at=now(), message=message)


def to_carry_out(store: Store) -> list[Row]:
    return store.rows("select * from request where state in ('approved', 'applying') order by id")


# tags


def untagged(store: Store) -> list[Row]:
    query = """select * from request indexed by request_untagged
        where "commit" is not null and tagged != state order by id limit 100"""
    return store.rows(query)


def tags(row: Row) -> list[tuple[str, str, str]]:
    """Each with who and why."""
    number, note = row["id"], row["note"] or ""
    found = [(f"proposal/{number}", row["requested_by"], note)]
    decided, reason = row["decided_by"] or "", row["reason"] or ""
    if row["state"] == "denied":
        found.append((f"denied/{number}", decided, reason))
    if row["state"] in (*UNDER_WAY, "deployed", "failed"):
        found.append((f"approved/{number}", decided, reason))
    if row["state"] == "failed":
        found.append((f"failed/{number}", names.SYSTEM, row["message"] or ""))
    if row["state"] == "deployed":
        found.append((f"deployed/{row['deploy']}", decided, note))
    return found


def tagged(store: Store, row: Row) -> None:
    store.db.execute("update request set tagged = ? where id = ?", (row["state"], row["id"]))


# lists


def listed(store: Store, state: str | None, name: str | None, before: int, limit: int) -> list[Row]:
    """Newest first."""
    given: Row = {"state": state, "agent": name}
    wanted: Row = {key: value for key, value in given.items() if value is not None}
    where = "".join(f" and {key} = ?" for key in wanted)
    query = f"select {SHOWN} from request where id < ?{where} order by id desc limit ?"  # noqa: S608
    return [brief(row) for row in store.rows(query, before, *wanted.values(), limit)]


def history(store: Store, name: str, before: int, limit: int) -> list[Row]:
    query = "select * from audit where agent = ? and id < ? order by id desc limit ?"
    return [audit.shown(row) for row in store.rows(query, name, before, limit)]


def drafts(store: Store) -> list[Row]:
    query = f"select {SHOWN} {DRAFTS} order by agent"
    return [
        {"agent": row["agent"], "description": row["description"] or "", "request": row["id"]}
        | {"by": row["requested_by"], "at": row["ended_at"]}
        for row in store.rows(query)
    ]


def running(store: Store, name: str) -> Row | None:
    """The last deploy that came up."""
    return last(store, name, "state = 'deployed'")


def last(store: Store, name: str, where: str, *values: object) -> Row | None:
    query = f"select * from request where agent = ? and deploy is not null and {where}"  # noqa: S608
    found = store.rows(f"{query} order by deploy desc limit 1", name, *values)
    return found[0] if found else None


def before(store: Store, row: Row) -> Row | None:
    """The request of the same agent that came before this one, whatever became of it."""
    query = "select * from request where agent = ? and id < ? and files is not null order by id desc limit 1"
    return next(iter(store.rows(query, row["agent"], row["id"])), None)


def to_go_back_to(store: Store, name: str, deploy: int | None) -> Row:
    check(store, "rollback", name)
    now_running = running(store, name)
    if not now_running:
        raise Problem("unknown-deploy", f"{name} has no deploy to go back to")
    if deploy is None:
        # from where the last rollback went to, so that each goes further back
        at = now_running["back_to"] or now_running["deploy"]
        where = "state = 'deployed' and deploy < ? and files is not ?"
        found = last(store, name, where, at, now_running["files"])
    else:
        found = last(store, name, "state = 'deployed' and deploy = ?", deploy)
    if not found:
        which = f"deploy {deploy}" if deploy else "deploy before the one that runs"
        raise Problem("unknown-deploy", f"{name} has no {which}", hint=f"see hivectl history {name}")
    return found
