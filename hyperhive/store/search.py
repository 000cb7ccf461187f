"""Mail that is looked for, newest first, in steps none of which takes long. On the writer's thread."""

import re
from dataclasses import dataclass

from hyperhive.store.store import ENDED, LEASED, QUEUED, Row, Store, as_record

STEP = 200  # messages that a step reads of each source, of at most 64 KiB each
STEPS_MAX = 100

LIKE = "(body like ? escape '^' or sender like ? escape '^' or recipient like ? escape '^')"

Condition = tuple[str, tuple[str, ...]]  # SQL, and its parameters


@dataclass(frozen=True)
class Wanted:
    agent: str | None = None  # from it or to it
    sender: str | None = None
    recipient: str | None = None
    state: str | None = None
    words: tuple[str, ...] = ()  # each is somewhere in the text or the names


def newest(store: Store, wanted: Wanted, limit: int) -> list[Row]:
    """Where nothing but an index is needed."""
    return step(store, wanted, 2**63 - 1, limit)[0]


def step(store: Store, wanted: Wanted, before: int, limit: int) -> tuple[list[Row], int]:
    """What was found, and the id before which to go on; 0: that was all."""
    tables, rest = sources(wanted), filters(wanted)
    floor = max(lowest(store, table, before) for table in tables) if rest else 0
    conditions = "".join(f" and {sql}" for sql, _ in rest)
    more = [each for _, parameters in rest for each in parameters]
    found: list[Row] = []
    for source, parameters in tables:
        query = f"select * from {source} and id < ? and id >= ?{conditions} order by id desc limit ?"  # noqa: S608
        found += store.rows(query, *parameters, before, floor, *more, limit)
    found.sort(key=lambda row: -row["id"])
    return [as_record(row) for row in found[:limit]], floor


def lowest(store: Store, source: Condition, before: int) -> int:
    """The id down to which one step reads of it; 0: that is all."""
    table, parameters = source
    query = f"select id from {table} and id < ? order by id desc limit 1 offset ?"  # noqa: S608
    found = store.rows(query, *parameters, before, STEP - 1)
    return int(found[0]["id"]) if found else 0


def sources(wanted: Wanted) -> list[Condition]:
    """A walk along an index for each; with an `or` SQLite sorts all mail that an agent ever had."""
    state = wanted.state
    if state is None:
        table, received = "message where true", [QUEUED, LEASED, ENDED]
    elif state == "done":
        table, received = "message where state = 'done'", [f"{ENDED} and state = 'done'"]
    else:  # little beside all the rest, and with an index of its own
        table = f"message indexed by message_{state} where state = '{state}'"
        received = [table]
    if wanted.recipient:
        return [(f"{each} and recipient = ?", (wanted.recipient,)) for each in received]
    if wanted.sender:
        return [(f"{table} and sender = ?", (wanted.sender,))]
    if wanted.agent:
        found = [(f"{each} and recipient = ?", (wanted.agent,)) for each in received]
        return [*found, (f"{table} and sender = ? and recipient != sender", (wanted.agent,))]
    return [(table, ())]


def filters(wanted: Wanted) -> list[Condition]:
    """What no index has."""
    found: list[Condition] = []
    if wanted.sender and wanted.recipient:
        found.append(("sender = ?", (wanted.sender,)))
    if wanted.agent and (wanted.sender or wanted.recipient):
        found.append(("(sender = ? or recipient = ?)", (wanted.agent, wanted.agent)))
    for word in wanted.words:
        like = "%" + re.sub("([%_^])", r"^\1", word) + "%"
        found.append((LIKE, (like,) * LIKE.count("?")))
    return found
