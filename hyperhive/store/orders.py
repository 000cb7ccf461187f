"""In hive.db: what a harness is to do with its turn or its session. On the writer's thread."""

from hyperhive.problem import Problem
from hyperhive.store.store import Row, Store, now

KINDS = ("cancel", "compact", "new-session")
OPEN_MAX = 20  # per agent
# Written out, as in SQLite the condition must be the index's own.
OPEN = "command indexed by command_open where state in ('queued', 'given')"
PUBLIC = ("id", "agent", "command", "state", "error")


def public(row: Row) -> Row:
    return {key: row[key] for key in PUBLIC} | {"by": row["asked_by"]}


def ask(
    store: Store, agent: str, command: str, by: str, turn: int | None, invocation: str | None
) -> tuple[Row, bool]:
    """A cancel is for one turn of one run. What is asked for already is not asked for twice."""
    rows = store.rows(f"select * from {OPEN} and agent = ?", agent)  # noqa: S608
    for row in rows:
        if (row["command"], row["turn"], row["state"]) == (command, turn, "queued"):
            return row, False
    if len(rows) >= OPEN_MAX:
        raise Problem("too-many", f"{agent} has {OPEN_MAX} commands to carry out")
    columns = "agent, command, asked_by, asked_at, turn, invocation"
    statement = f"insert into command({columns}) values (?, ?, ?, ?, ?, ?)"  # noqa: S608
    number = store.db.execute(statement, (agent, command, by, now(), turn, invocation)).lastrowid
    return store.rows("select * from command where id = ?", number)[0], True


def undone(store: Store, agent: str, invocation: str) -> list[Row]:
    """What a run is to do between two turns, also when it was told so and the answer was lost on the way.
    Also asked outside of a transaction."""
    mine = "turn is null and (state = 'queued' or invocation = ?)"
    return store.rows(f"select * from {OPEN} and agent = ? and {mine} order by id", agent, invocation)  # noqa: S608


def give(store: Store, agent: str, invocation: str) -> list[Row]:
    """From here on it is this run's, which does it or fails to: none is done twice."""
    rows = undone(store, agent, invocation)
    for row in rows:
        row["state"] = "given"
        update = "update command set state = 'given', invocation = ? where id = ?"
        store.db.execute(update, (invocation, row["id"]))
    return rows


def done(store: Store, agent: str, invocation: str, number: int, error: str | None) -> list[Row]:
    query = "select * from command where id = ? and agent = ? and invocation = ? and state = 'given'"
    return [end(store, row, error) for row in store.rows(query, number, agent, invocation)]


def end(store: Store, row: Row, error: str | None) -> Row:
    row |= {"state": "failed" if error else "done", "error": error, "ended_at": now()}
    update = "update command set state = ?, error = ?, ended_at = ? where id = ?"
    store.db.execute(update, (row["state"], error, row["ended_at"], row["id"]))
    return row


def cancels(store: Store, agent: str, invocation: str, turn: int) -> list[Row]:
    """Those of this turn, and of earlier ones that nobody has told the end of."""
    query = f"select * from {OPEN} and agent = ? and invocation = ? and turn <= ?"  # noqa: S608
    return store.rows(query, agent, invocation, turn)


def turn_ended(store: Store, agent: str, invocation: str, turn: int, *, cancelled: bool) -> list[Row]:
    late = "the turn ended before it was cancelled"
    return [
        end(store, row, None if cancelled and row["turn"] == turn else late)
        for row in cancels(store, agent, invocation, turn)
    ]


def others(store: Store, agent: str, current: str | None) -> list[Row]:
    """What is for another run than the current one. Also asked outside of a transaction."""
    query = f"select * from {OPEN} and agent = ? and invocation is not null and invocation is not ?"  # noqa: S608
    return store.rows(query, agent, current)


def over(store: Store, agent: str, current: str | None) -> list[Row]:
    return [end(store, row, "the run ended first") for row in others(store, agent, current)]


def forget(store: Store, agent: str, why: str) -> list[Row]:
    rows = store.rows(f"select * from {OPEN} and agent = ?", agent)  # noqa: S608
    return [end(store, row, why) for row in rows]
