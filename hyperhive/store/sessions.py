"""In hive.db: who is signed in to the page, and by digests only. On the writer's thread, like store.py."""

import hashlib
import secrets
import time

from hyperhive import wire
from hyperhive.problem import Problem
from hyperhive.store.store import Row, Store, now

CODE_TTL = 5 * 60  # seconds
CODES_MAX = 20  # the oldest goes
SESSION_TTL = 30 * 24 * 3600  # since it was last seen
SESSIONS_MAX = 100
NOTED = 3600  # how often a session's use is written down
SHOWN = "id, agent, scope, created_at, seen_at, expires_at"
PAGE, METRICS = SCOPES = ("page", "metrics")


def digest(secret: str) -> bytes:
    """Not a slow one: nobody can guess 128 random bits, however fast."""
    return hashlib.sha256(secret.encode()).digest()


def add_code(store: Store) -> Row:
    prune(store)
    code = secrets.token_urlsafe(16)
    row = (digest(code), wire.stamp(time.time() + CODE_TTL))
    store.db.execute("insert into sign_in_code(digest, expires_at) values (?, ?)", row)
    rest = "select digest from sign_in_code order by expires_at desc limit -1 offset ?"
    store.db.execute(f"delete from sign_in_code where digest in ({rest})", (CODES_MAX,))  # noqa: S608
    return {"code": code, "expires_at": row[1]}


def prune(store: Store) -> None:
    store.db.execute("delete from sign_in_code where expires_at <= ?", (now(),))
    store.db.execute("delete from session where expires_at <= ?", (now(),))


def begin(store: Store, code: str, agent: str, scope: str) -> Row:
    """A code becomes a session, once."""
    prune(store)
    found = store.rows("select 1 from sign_in_code where digest = ?", digest(code))
    if not found:
        text = "this link was used already, or it is too old"
        raise Problem("wrong-code", text, hint="hivectl url makes a new one")
    if len(listed(store)) >= SESSIONS_MAX:
        hint = "end some with hivectl sessions --revoke ID"
        raise Problem("too-many", f"there are {SESSIONS_MAX} sessions", hint=hint)
    store.db.execute("delete from sign_in_code where digest = ?", (digest(code),))
    token, at = secrets.token_urlsafe(32), now()
    expires = wire.stamp(time.time() + SESSION_TTL)
    columns = "digest, agent, scope, created_at, seen_at, expires_at"
    statement = f"insert into session({columns}) values (?, ?, ?, ?, ?, ?)"  # noqa: S608
    number = store.db.execute(statement, (digest(token), agent, scope, at, at, expires)).lastrowid
    return {"token": token, "session": number, "expires_at": expires}


def look(store: Store, token: str, scope: str) -> Row:
    """The session, which is prolonged by being used."""
    query = f"select {SHOWN} from session where digest = ? and scope = ? and expires_at > ?"  # noqa: S608
    found = store.rows(query, digest(token), scope, now())
    if not found:
        raise Problem("signed-out", "you are not signed in", hint="hivectl url prints a link that signs in")
    row = found[0]
    if time.time() - wire.seconds_of(row["seen_at"]) > NOTED:
        row |= {"seen_at": now(), "expires_at": wire.stamp(time.time() + SESSION_TTL)}
        change = "update session set seen_at = ?, expires_at = ? where id = ?"
        store.db.execute(change, (row["seen_at"], row["expires_at"], row["id"]))
    return row


def listed(store: Store) -> list[Row]:
    """Those that last, newest first."""
    query = f"select {SHOWN} from session where expires_at > ? order by id desc"  # noqa: S608
    return store.rows(query, now())


def end(store: Store, number: int | None) -> list[int]:
    """One, or all of them; and the codes with all, as each would become one."""
    ended = [row["id"] for row in listed(store) if number in (None, row["id"])]
    if number is not None and not ended:
        hint = "see hivectl sessions"
        raise Problem("unknown-session", f"there is no session {number}", hint=hint)
    store.db.executemany("delete from session where id = ?", [(each,) for each in ended])
    if number is None:
        store.db.execute("delete from sign_in_code")
    return ended
