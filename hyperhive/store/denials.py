"""In hive.db: commands that agents' rules did not allow, and what the operator makes of them.

What is in them comes out of a cage, where anybody may have written it. On the writer's thread.
"""

import hashlib
import json
import re
import time

from hyperhive import names, wire
from hyperhive.config import agent_toml
from hyperhive.problem import Problem
from hyperhive.store import approvals
from hyperhive.store.store import Row, Store, now

KEPT_MAX = 100  # of each agent
LISTED_MAX = 1000
FRESH = 24 * 3600  # seconds that one is on the page's front
FRESH_MAX = 20
SIZES = {"tool": 64, "command": 4000, "part": 1000, "rule": 200, "nearest": 600}  # characters that are kept
# of the request that a denial was made into
BECAME = "(select state from request r where r.id = d.request)"
STATE = f"""case when {BECAME} = 'deployed' then 'allowed' when dismissed then 'dismissed'
    when {BECAME} in ('pending', 'approved', 'applying') then 'asked' else 'open' end"""
SELECT = f"select d.*, {STATE} as state from denial d"  # noqa: S608
OPEN = f"not dismissed and {BECAME} is not 'deployed'"
# How rules of hive-rules(8) begin, which are sentences.
KINDS = {
    "no-rule": "no rule allows it",
    "hazard": "it could run or write more than it shows",
    "unreadable": "it cannot be read",
    "variable": "setting ",
    "write": "it would write|where it would write|a path that goes up",
    "network": "bash would open a network",
}
CURED = ("no-rule", "hazard")  # by a rule for just that
PROGRAM = r"[A-Za-z0-9_][\w.+-]{0,39}"
UNKNOWN_MAX = 3  # words that cannot be told, in a command of which a rule is made
VERB = r"[a-z][\w-]*"
# Programs of which the next word says what they do: a rule is for that, not for its arguments.
SPEAKERS = set(
    "apt apt-get bun cargo composer conda docker dotnet flatpak gem gh git go gradle helm hg kubectl make"
    " meson mix nix npm npx pip pip3 pnpm podman poetry rustup snap svn systemctl terraform uv yarn".split()
)


def keep(store: Store, agent: str, said: dict[str, str]) -> Row:
    """The same again is counted, and comes back where a rule was made of it that does not help."""
    kept: Row = {key: clipped(said[key], most) for key, most in SIZES.items()}
    same = json.dumps([kept[key] for key in ("tool", "command", "part", "rule")])
    kept |= {"agent": agent, "digest": hashlib.sha256(same.encode()).digest(), "first_at": now()}
    kept |= dict(zip(("program", "kind"), for_analysts(kept), strict=True))
    insert = f"""insert into denial as d(
            agent, digest, tool, command, part, rule, nearest, program, kind, first_at, last_at
        ) values (
            :agent, :digest, :tool, :command, :part, :rule, :nearest, :program, :kind, :first_at, :first_at
        )
        on conflict do update set count = count + 1, last_at = excluded.last_at, nearest = excluded.nearest,
            request = iif({BECAME} = 'deployed', null, request) returning *"""  # noqa: S608
    row = dict(store.db.execute(insert, kept).fetchone())
    if row["count"] == 1:
        last = "select id from denial where agent = ? order by last_at desc, id desc limit -1 offset ?"
        store.db.execute(f"delete from denial where id in ({last})", (agent, KEPT_MAX))  # noqa: S608
    return row


def clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def forget(store: Store, agent: str) -> None:
    store.db.execute("delete from denial where agent = ?", (agent,))


# what is shown


def listed(store: Store, agent: str | None, *, everything: bool) -> list[Row]:
    """Newest first."""
    where = "true" if everything else OPEN
    query = f"{SELECT} where {where} and (? is null or agent = ?) order by last_at desc, id desc limit ?"
    return [shown(row) for row in store.rows(query, agent, agent, LISTED_MAX)]


def fresh(store: Store) -> list[Row]:
    since = wire.stamp(time.time() - FRESH)
    query = f"{SELECT} where last_at > ? and {OPEN} order by last_at desc, id desc limit {FRESH_MAX}"
    return [shown(row) for row in store.rows(query, since)]


def of_agent(store: Store, agent: str) -> Row | None:
    """In short, for the manager."""
    query = f"select count(*) n, max(last_at) at, part, rule from denial d where agent = ? and {OPEN}"  # noqa: S608
    row = store.rows(query, agent)[0]
    about = {"commands": row["n"], "part": row["part"], "rule": row["rule"], "at": row["at"]}
    return about if row["n"] else None


def shown(row: Row) -> Row:
    about = {key: row[key] for key in ("id", "agent", "state", *SIZES, "count", "first_at", "last_at")}
    return about | {"pattern": pattern(row), "request": row["request"]}


# a rule made of it


def pattern(row: Row) -> str:
    """The narrowest that would be of use again: what the page's field begins with."""
    words, kind = row["part"].split(), kind_of(row["rule"])
    if kind not in CURED or not words or "…" in words[0] or row["part"].count("…") > UNKNOWN_MAX:
        return ""
    # What was not known is any text; a star that was there is one.
    on = " ".join(words).replace("*", "\\*").replace("…", "*")
    if kind == "no-rule" and len(words) > 2 and words[0] in SPEAKERS and re.fullmatch(VERB, words[1]):
        on = f"{words[0]} {words[1]} *"
    found = f"{row['tool']}({on})"
    return found if is_pattern(found) else ""


def is_pattern(text: str) -> bool:
    return text.isprintable() and bool(re.fullmatch(agent_toml.TOOL, text, re.ASCII))


def get(store: Store, number: int, agent: str) -> Row:
    found = store.rows("select * from denial where id = ? and agent = ?", number, agent)
    if not found:
        raise Problem("unknown-denial", f"{agent} has no denial {number}", hint="see hivectl denials")
    return found[0]


def patterns_for(store: Store, number: int, agent: str) -> list[str]:
    found = pattern(get(store, number, agent))
    if not found:
        text = f"'patterns' must say what to allow: no rule can be made of denial {number} as it is"
        raise Problem("bad-request", text)
    return [found]


def ground(store: Store, agent: str) -> tuple[Row, Row | None]:
    """What runs, and the request by which the operator already wants more; others' come first."""
    approvals.check(store, "change", agent)
    approvals.check_free(store, agent)
    base = approvals.running(store, agent)
    if not base:
        raise Problem("unknown-deploy", f"{agent} has no deploy that could be changed")
    query = "select * from request where agent = ? and state = 'pending'"
    waiting = next(iter(store.rows(query, agent)), None)
    if waiting and waiting["requested_by"] == names.MANAGER:
        text = f"request {waiting['id']} of the manager would be superseded: decide on it first"
        raise Problem("exists", text, hint=f"hivectl diff {waiting['id']}")
    return base, waiting


def asked(store: Store, request: Row, older: list[int], denial: int | None, patterns: list[str]) -> None:
    """Those of requests whose place it takes, too, and all that these patterns allow."""
    query = f"select id, tool, part, request from denial d where agent = ? and {OPEN}"  # noqa: S608
    mine = [
        (request["id"], row["id"])
        for row in store.rows(query, request["agent"])
        if row["id"] == denial or row["request"] in older or any(covers(each, row) for each in patterns)
    ]
    store.db.executemany("update denial set request = ? where id = ?", mine)


def covers(rule: str, row: Row) -> bool:
    """Piece after piece, as an expression would take for ever on a text that was made for it."""
    if not rule.startswith(f"{row['tool']}("):
        return bool(rule == row["tool"])
    text, on = row["part"], rule[len(row["tool"]) + 1 : -1].replace("\\*", "\0")
    first, *pieces = on.split("*")
    if not pieces or (on.endswith(" *") and text == on[:-2]):
        return bool(text == on.removesuffix(" *").replace("\0", "*"))
    if not text.startswith(first.replace("\0", "*")):
        return False
    at = len(first)
    for piece in (each.replace("\0", "*") for each in pieces[:-1]):
        if (found := text.find(piece, at)) < 0:
            return False
        at = found + len(piece)
    return bool(text[at:].endswith(pieces[-1].replace("\0", "*")))


def dismiss(store: Store, ids: list[int]) -> list[Row]:
    found = [row for number in ids for row in store.rows("select * from denial where id = ?", number)]
    if len(found) < len(ids):
        raise Problem("unknown-denial", "one of them is no denial", hint="see hivectl denials")
    store.db.executemany("update denial set dismissed = 1 where id = ?", [(number,) for number in ids])
    return found


def kind_of(rule: str) -> str:
    return next((kind for kind, says in KINDS.items() if re.match(says, rule)), "other")


def for_analysts(row: Row) -> tuple[str, str]:
    """The program and the kind of rule: a command may hold a secret, so no more goes where others read."""
    kind, words = kind_of(row["rule"]), row["part"].split() or [""]
    program = words[0].rpartition("/")[2] if kind in CURED else ""  # of others it may be any text
    return (program if re.fullmatch(PROGRAM, program, re.ASCII) else "", kind)
