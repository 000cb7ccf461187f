"""In hive.db: each run of a unit, how it ended, and what the manager was told. On the writer's thread."""

import json

from hyperhive import names, wire
from hyperhive.store import ends
from hyperhive.store.store import Row, Store

# What the manager hears of. An agent falls asleep and wakes many times a day: that is nobody's business.
MAILED = frozenset({"container_crash", "stopped", "quarantined", "recovered"})
CRASHES = ("container_crash", "quarantined")


def open_runs(store: Store) -> Row:
    """The runs not known to have ended, and the time of the newest event."""
    query = "select unit, invocation, began_at from run where ended_at is null order by rowid"
    newest = store.rows(
        "select max(at) at from (select max(began_at) at from run union all "
        "select max(ended_at) at from run)"
    )
    return {"open": store.rows(query), "newest": newest[0]["at"]}


def in_flight(store: Store, agent: str | None, invocation: str) -> list[int]:
    """The mail that a run held when it ended, whatever has become of it since."""
    # After a restart of the broker, a run may have lost its lease, and have done the mail all the same.
    lost = """
        select m.id from run_mail r join message m on m.id = r.message
        where r.invocation = ? and not (m.state = 'done' and m.invocation = r.invocation)
    """
    held = "select id from message where recipient = ? and invocation = ? and state = 'leased'"
    rows = store.rows(lost, invocation) + store.rows(held, agent, invocation)
    return sorted({row["id"] for row in rows})


def crashes_before(store: Store, unit: str) -> int:
    """How many of the unit's runs ended in a crash one after the other, up to now."""
    query = "select event from run where unit = ? and ended_at is not null order by rowid desc limit 1000"
    count = 0
    for row in store.rows(query, unit):
        if row["event"] != "container_crash":
            break
        count += 1
    return count


def recent(store: Store, agent: str, limit: int) -> list[Row]:
    """An agent's last runs, newest first, with its quarantines among them."""
    query = """
        select invocation, began_at, ended_at, event, detail from run
        where unit = ? or (unit = ? and event = 'quarantined') order by rowid desc limit ?
    """
    rows = store.rows(query, f"hive-agent@{agent}.service", f"hive-agent@{agent}.socket", limit)
    for row in rows:
        end = json.loads(row.pop("detail") or "{}")
        row |= {key: end.get(key) for key in ("result", "exit_status", "signal", "runtime")}
        row |= {key: end.get(key) or [] for key in ("in_flight", "log")}
    return rows


def how(end: Row) -> str:
    """How a run ended, in words for whoever gets its mail next."""
    if end["event"] != "container_crash":
        return f"the run that had it was {'stopped' if end['event'] == 'stopped' else 'restarted'}"
    after = f" after {end['runtime']:.0f} s" if end["runtime"] is not None else ""
    return f"the run that had it crashed: {wire.death(end)}{after}"


def explain(store: Store, invocation: str) -> None:
    """The mail that a run left behind carries how it ended, as soon as both are known."""
    ended = store.rows("select detail from run where invocation = ? and ended_at is not null", invocation)
    if ended:
        # of those whose last run it was
        update = """
            update message set reason = ? where invocation = ? and state in ('queued', 'dead')
            and id in (select message from run_mail where run_mail.invocation = ?)
        """
        store.db.execute(update, (how(json.loads(ended[0]["detail"])), invocation, invocation))
        store.db.execute("delete from run_mail where invocation = ?", (invocation,))


def begin(store: Store, agent: str | None, event: Row) -> Row | None:
    """The event to tell of, or None when it is known already."""
    unit, invocation = event["unit"], event["invocation"]
    if store.rows("select 1 from run where invocation = ?", invocation):
        return None
    query = "select event from run where unit = ? and ended_at is not null order by rowid desc limit 1"
    before = store.rows(query, unit)
    insert = "insert into run(invocation, unit, agent, began_at) values (?, ?, ?, ?)"
    store.db.execute(insert, (invocation, unit, agent, event["at"]))
    again = before and before[0]["event"] == "quarantined"
    return event | {"event": "recovered" if again else "started"}


def end(store: Store, agent: str | None, event: Row) -> Row | None:
    unit, invocation = event["unit"], event["invocation"]
    known = store.rows("select ended_at from run where invocation = ?", invocation)
    if known and known[0]["ended_at"]:
        return None
    told = {key: value for key, value in event.items() if key != "mail"}
    if event["event"] == "container_crash":
        told["restarts"] = max(event["restarts"], crashes_before(store, unit))
        told["in_flight"] = in_flight(store, agent, invocation)
        if agent:  # mail is what starts it again
            waits = told["in_flight"] or store.queued[agent]
            told["restarted"] = event["restarted"] and bool(waits)
    if not known:
        insert = "insert into run(invocation, unit, agent, began_at) values (?, ?, ?, ?)"
        store.db.execute(insert, (invocation, unit, agent, event["began_at"] or event["at"]))
    update = "update run set ended_at = ?, event = ?, detail = ? where invocation = ?"
    detail = json.dumps(told, ensure_ascii=False)
    store.db.execute(update, (event["at"], event["event"], detail, invocation))
    explain(store, invocation)
    return told


def record(store: Store, agent: str | None, event: Row) -> tuple[Row | None, list[Row]]:
    """What is to be told (None: it was told before), and the mail about it, in one transaction."""
    told = begin(store, agent, event) if event["event"] == "started" else end(store, agent, event)
    if not told or told["event"] not in MAILED or not event.get("mail", True):
        return told, []
    alive = store.rows("select 1 from agent where name = ? and destroyed_at is null", names.MANAGER)
    to = names.MANAGER if alive and agent != names.MANAGER else names.OPERATOR
    return told, ends.tell(store, to, told)
