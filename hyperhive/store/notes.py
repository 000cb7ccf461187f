"""In hive.db: what an agent wrote down for itself, as of its last turn. On the writer's thread."""

from hyperhive.store.store import Row, Store, now

TEXT_MAX = 32 * 1024  # bytes


def keep(store: Store, agent: str, text: str, size: int) -> None:
    statement = "insert or replace into notes(agent, text, bytes, at) values (?, ?, ?, ?)"
    store.db.execute(statement, (agent, text, size, now()))


def look(store: Store, agent: str) -> Row | None:
    found = store.rows("select text, bytes, at from notes where agent = ?", agent)
    return found[0] if found else None


def forget(store: Store, agent: str) -> None:
    store.db.execute("delete from notes where agent = ?", (agent,))
