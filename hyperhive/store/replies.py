"""Requests with a key, in hive.db: a repeat does nothing, and is answered as the first was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from hyperhive import wire
from hyperhive.problem import Problem
from hyperhive.store.store import Store, now

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection

T = TypeVar("T")
Done = tuple[wire.Message, T]  # the answer, and what only the first try goes on with
Key = tuple[str, bytes]  # and a digest of the request

KEY_MAX = 128  # bytes


async def once(
    broker: Broker, connection: Connection, message: wire.Message, change: Callable[[], Done[T]]
) -> Done[T | None]:
    """What only a repeat would be refused for (it is there already, it is late) is checked in the change."""
    key = key_of(message)
    return await broker.writer.do(lambda: repeated_or(broker.store, connection.who, key, change))


def key_of(message: wire.Message) -> Key | None:
    if "key" not in message:
        return None
    said = {name: value for name, value in message.items() if name not in ("v", "id", "key")}
    try:
        text = json.dumps(said, sort_keys=True)
    except RecursionError as e:
        raise Problem("bad-request", "the request is nested too deeply") from e
    return wire.get_text(message, "key", KEY_MAX), hashlib.sha256(text.encode()).digest()


def repeated_or(store: Store, who: str, key: Key | None, change: Callable[[], Done[T]]) -> Done[T | None]:
    """The change and its answer are one transaction; what is refused leaves none, and may be tried again."""
    if (known := answered(store, who, key)) is not None:
        return known, None
    answer, rest = change()
    if key is None:
        return answer, rest
    text, digest = key
    insert = "insert into reply(who, key, digest, answer, at) values (?, ?, ?, ?, ?)"
    store.db.execute(insert, (who, text, digest, json.dumps(answer), now()))
    return answer, rest


def answered(store: Store, who: str, key: Key | None) -> wire.Message | None:
    """What a repeat is answered."""
    if key is None:
        return None
    text, digest = key
    for row in store.rows("select digest, answer from reply where who = ? and key = ?", who, text):
        if row["digest"] != digest:
            raise Problem("conflict", f"key '{text}' was used for another request", hint="use a new key")
        found: wire.Message = json.loads(row["answer"])
        return found
    return None


def prune(store: Store, before: str, limit: int) -> int:
    """They lie in the order of their time, so only the first need be looked at."""
    statement = "delete from reply where at < ? and id in (select id from reply order by id limit ?)"
    return store.db.execute(statement, (before, limit)).rowcount
