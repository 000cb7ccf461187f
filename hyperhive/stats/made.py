"""A stats.db of believable telemetry, the same for the same seed: python -m hyperhive.stats.made FILE.

Days and nights, a crew in which some do more than others, contexts that grow until they are compacted,
turns that fail, crashes. It goes the broker's own way: rows as hive.db has them, and sql.py.
"""

import argparse
import json
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hyperhive.stats import sql
from hyperhive.stats.stats import Stats
from hyperhive.store.store import stamp

NAMES = (
    "manager ada bob cleo dora emil finn gina hugo iris jack kira liam mona nils olga piet rosa sven tess"
    " ulf vera wim xena yann zoe"
).split()
MODELS = (("opus", 5.0), ("sonnet", 1.0), ("haiku", 0.3))  # and what each costs, beside sonnet
TOOLS = (("Bash", 8), ("Read", 7), ("Edit", 4), ("Grep", 3), ("Write", 1), ("send", 3), ("recv", 2))
FAILURES = "rate-limited timed-out crashed refused auth-failed prompt-too-long".split()
HOSTS = ("code.example.org", "files.example.org", "deps.example.net", "docs.example.com", "api.example.com")
HOURS = [
    1,
    1,
    1,
    1,
    1,
    2,
    4,
    8,
    14,
    18,
    20,
    18,
    14,
    18,
    20,
    20,
    18,
    14,
    9,
    6,
    5,
    4,
    3,
    2,
]  # how busy they are
DAY = 86_400_000  # ms
CONTEXT_MAX = 160_000  # tokens, at which a conversation is compacted
AS_IN_HIVE_DB = """
    attach ':memory:' as hive;
    create table hive.message(id integer primary key, sender text, recipient text, sent_at text, body text,
        in_reply_to integer, done_at text, state text, attempts integer);
    create table hive.request(id integer primary key, kind text, agent text, requested_by text,
        requested_at text, risk text, state text, decided_by text, decided_at text, ended_at text,
        deploy integer);
    create table hive.question(id integer primary key, asker text, asked text, asked_at text,
        expires_at text, answered_at text, state text);
    create table hive.denial(id integer primary key, agent text, program text, kind text, count integer,
        first_at text, last_at text);
    create table hive.run(invocation text primary key, agent text, unit text, ended_at text, event text,
        detail text);
"""


class Crew:
    """What goes on from one turn to the next."""

    def __init__(self, seed: int, agents: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311
        self.names = [*NAMES, *(f"agent{n}" for n in range(agents))][:agents]
        self.zeal = {name: self.dice.uniform(0.4, 1.6) for name in self.names}
        self.model = {name: self.dice.choice(MODELS) for name in self.names}
        self.numbers = dict.fromkeys(self.names, 0)
        self.context = dict.fromkeys(self.names, 12_000)
        self.notes = dict.fromkeys(self.names, 400)
        self.until = dict.fromkeys(self.names, 0)  # when its last turn ended
        self.invocation = {name: self.hex() for name in self.names}
        self.message = self.request = self.question = self.denial = 0
        self.forget()

    def forget(self) -> None:
        self.turns: list[dict[str, Any]] = []
        self.messages: list[tuple[Any, ...]] = []
        self.requests: list[tuple[Any, ...]] = []
        self.questions: list[tuple[Any, ...]] = []
        self.denials: list[tuple[Any, ...]] = []
        self.denied: list[tuple[int, str, int]] = []
        self.runs: list[tuple[Any, ...]] = []
        self.starts: list[tuple[str, str, str, int]] = []
        self.points: list[tuple[str, str, str, str, int, float]] = []
        self.delivered: list[tuple[int, str, str]] = []
        self.egress: list[tuple[str | int, ...]] = []
        self.wild: list[tuple[str | int | None, ...]] = []

    def hex(self) -> str:
        return f"{self.dice.getrandbits(128):032x}"

    def day(self, start: int, turns: int) -> None:
        """`start` is midnight, in ms; about so many turns, of all together."""
        quiet = 0.25 if datetime.fromtimestamp(start / 1000, UTC).weekday() >= 5 else 1.0
        for name in self.names:
            count = round(turns / len(self.names) * self.zeal[name] * quiet)
            hours = self.dice.choices(range(24), HOURS, k=count)
            for at in sorted(start + hour * 3_600_000 + self.dice.randrange(3_600_000) for hour in hours):
                self.turn(name, max(at, self.until[name] + 50))
                self.way_out(name, self.until[name])
        self.decisions(start)

    def turn(self, name: str, at: int) -> None:
        dice = self.dice
        self.numbers[name] += 1
        duration = min(1_800_000, round(dice.lognormvariate(9.5, 1.1)))
        outcome = "ok" if dice.random() < 0.97 else dice.choice(FAILURES)
        if self.context[name] > CONTEXT_MAX:
            outcome, self.context[name] = "compacted", 15_000
        if at - self.until[name] > 300_000:
            self.wake(name, at)
        sender = self.mail_to(name, at, at + duration, outcome)
        calls = min(60, round(dice.expovariate(0.2)))
        names, weights = zip(*TOOLS, strict=True)
        used = dice.choices(names, weights, k=calls)
        self.context[name] += dice.randrange(500, 6000)
        self.notes[name] += dice.randrange(-20, 60)
        self.until[name] = at + duration
        self.turns.append(
            self.spent(name, calls)
            | {"agent": name, "number": self.numbers[name], "invocation": self.invocation[name]}
            | {"started_at": stamp(at), "ended_at": stamp(at + duration), "duration_ms": duration}
            | {"outcome": outcome, "woken_by": sender, "messages": 1 + (dice.random() < 0.2)}
            | {
                "tool_calls": calls,
                "tools": json.dumps({tool: used.count(tool) for tool in sorted(set(used))}),
            }
            | {"error": None if outcome in ("ok", "compacted") else f"claude: {outcome}"}
            | {"exit_code": 1 if outcome == "crashed" else None, "session": "made"}
        )
        if outcome == "crashed":
            self.crash(name, at + duration)

    def spent(self, name: str, calls: int) -> dict[str, Any]:
        model, price = self.model[name]
        context, rounds = self.context[name], calls + 1
        out = round(self.dice.lognormvariate(6, 0.7)) * rounds // 2 + 20
        read, write, fresh = context * rounds * 9 // 10, context // 10 + 200, 30 * rounds
        cost = price * (fresh * 3 + write * 3.75 + read * 0.3 + out * 15) / 1e6
        return {
            "model": model,
            "tokens_in": fresh,
            "tokens_out": out,
            "tokens_cache_read": read,
            "tokens_cache_write": write,
            "cost_usd": round(cost, 6),
            "last_tokens_in": 30,
            "last_tokens_out": out // rounds,
            "last_tokens_cache_read": context - 230,
            "last_tokens_cache_write": 200,
            "notes_bytes": self.notes[name],
            "claude_ms": 2,
            "answer_ms": round(self.dice.lognormvariate(7, 0.5)),
        }

    def wake(self, name: str, at: int) -> None:
        hello = round(self.dice.lognormvariate(5, 0.25))
        self.invocation[name] = self.hex()
        self.starts.append((self.invocation[name], name, stamp(at - hello - 40), hello))
        self.points.append(("spread", "ms", "wake_ms", name, at - 40, hello))

    def mail_to(self, name: str, at: int, done: int, outcome: str) -> str:
        dice = self.dice
        sender = dice.choices(("operator", "manager", "system", dice.choice(self.names)), (2, 3, 1, 6))[0]
        self.message += 1
        failed = outcome in FAILURES
        state = "dead" if failed and dice.random() < 0.05 else "done"
        reply = self.message - dice.randrange(1, 9) if self.message > 9 and dice.random() < 0.3 else None
        body = "x" * dice.randrange(20, 400)
        sent = stamp(at - dice.randrange(40, 4000))
        row = (self.message, sender, name, sent, body, reply, stamp(done), state, 2 if failed else 1)
        self.messages.append(row)
        self.points.append(
            ("last", "messages", "inbox_depth", name, at - 1, round(dice.expovariate(0.7)) + 1)
        )
        self.points.append(("last", "messages", "inbox_depth", name, at, 0))
        self.delivered.append((self.message, name, stamp(at)))
        return sender

    def crash(self, name: str, at: int) -> None:
        signal = self.dice.choice(("SIGKILL", "SIGSEGV", None))
        how: dict[str, Any] = {
            "result": "signal" if signal else "exit-code",
            "signal": signal,
            "restarts": 0,
            "restarted": 1,
        }
        how |= {
            "restarted": 1,
            "exit_status": None if signal else 1,
            "runtime": round(self.dice.uniform(1, 900), 3),
        }
        unit = f"hive-agent@{name}.service"
        self.runs.append((self.hex(), name, unit, stamp(at), "container_crash", json.dumps(how)))

    def decisions(self, start: int) -> None:
        """What the operator is asked in a day, and when there was an answer."""
        for _ in range(self.dice.randrange(6)):
            self.request += 1
            at = start + self.dice.randrange(8 * 3_600_000, 18 * 3_600_000)
            end = at + round(self.dice.lognormvariate(13.5, 1.2))
            state = self.dice.choices(("deployed", "denied", "failed"), (8, 2, 1))[0]
            who, risk = self.dice.choice(self.names), self.dice.choice(("higher", "same", "lower"))
            about = (self.request, "change", who, "manager", stamp(at), risk, state, "operator", stamp(end))
            self.requests.append((*about, stamp(end + 1100), self.request))
            self.question += 1
            answered = None if self.dice.random() < 0.1 else stamp(end)
            asked = (self.question, who, "operator", stamp(at), None, answered)
            self.questions.append((*asked, "answered" if answered else "open"))
            self.deny(who, at)
        if self.dice.random() < 0.2:
            kind, count = self.dice.choice(
                (("log_flood", 31_200), ("mail_flood", 10_000), ("disk_low", None))
            )
            who = "" if kind == "disk_low" else self.dice.choice(self.names)
            at = start + self.dice.randrange(86_000_000)
            self.wild.append((who, kind, stamp(at), stamp(at + 240_000), count, None))

    def deny(self, who: str, at: int) -> None:
        self.denial += 1
        program, kind = self.dice.choice((("curl", "no-rule"), ("make", "no-rule"), ("", "write")))
        self.denials.append((self.denial, who, program, kind, 1, stamp(at), stamp(at)))
        self.denied.append((self.denial, who, at))

    def way_out(self, name: str, at: int) -> None:
        """A turn in five wants something of the outside, now and then of where it may not go."""
        if self.dice.random() > 0.2:
            return
        host, refused = self.dice.choice(HOSTS), self.dice.random() < 0.1
        where = (name, stamp(at), f"not.{host}" if refused else host, 443, "" if refused else "198.51.100.7")
        if refused:
            self.egress.append((*where, "allow", "denied", 1, 0, 0, 0))
            return
        end = self.dice.choices(("closed", "unreachable", "idle"), (50, 1, 1))[0]
        moved = (self.dice.randrange(200, 9000), round(self.dice.lognormvariate(10, 2)))
        self.egress.append((*where, f"{host}:443", end, 1, *moved, round(self.dice.lognormvariate(5, 1))))


def write(db: sqlite3.Connection, crew: Crew) -> None:
    columns = list(crew.turns[0]) if crew.turns else []
    db.execute("begin")
    for table, rows in (
        ("hive.message", crew.messages),
        ("hive.request", crew.requests),
        ("hive.question", crew.questions),
        ("hive.denial", crew.denials),
        ("hive.run", crew.runs),
    ):
        db.execute(f"delete from {table}")
        if rows:
            db.executemany(f"insert into {table} values ({', '.join('?' * len(rows[0]))})", rows)
    insert = f"insert into turns({', '.join(columns)}) values ({', '.join(':' + name for name in columns)})"
    db.executemany(insert, crew.turns)
    given: dict[str, Any] = {
        "touched": [row[0] for row in crew.messages],
        "delivered": crew.delivered,
        "turns": [(row["agent"], row["number"]) for row in crew.turns],
        "requests": [row[0] for row in crew.requests],
        "questions": [row[0] for row in crew.questions],
        "runs": [row[0] for row in crew.runs],
        "starts": crew.starts,
        "denied": crew.denied,
        "points": crew.points,
        "egress": crew.egress,
        "wild": crew.wild,
    }
    given = {name: json.dumps(each) for name, each in given.items()} | {"read_to": None}
    at = max(crew.until.values())
    for statement in (*sql.NEWS, *sql.OF_TURNS):
        db.execute(statement, given | {"now": at, "catch_up": False})
    db.execute("update starts set mail_ms = hello_ms / 4 where mail_ms is null")
    db.execute("commit")
    crew.forget()


def make(path: Path, *, seed: int, agents: int, days: int, turns: int, until: datetime) -> None:
    db = Stats(path).opened()
    db.execute("pragma synchronous = off")
    db.execute("pragma cache_size = -300000")
    db.execute("pragma temp_store = memory")
    db.executescript(AS_IN_HIVE_DB + sql.FRESH)
    crew = Crew(seed, agents)
    midnight = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(days, 0, -1):
        start = round((midnight - timedelta(days=day)).timestamp() * 1000)
        crew.day(start, turns // days)
        write(db, crew)
    db.close()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m hyperhive.stats.made", description="Make telemetry.")
    top.add_argument("file", type=Path, metavar="FILE", help="the stats.db to make; it must not be there")
    top.add_argument("--seed", type=int, default=1, metavar="N")
    top.add_argument("--agents", type=int, default=20, metavar="N")
    top.add_argument("--days", type=int, default=30, metavar="N", help="up to the midnight before --until")
    top.add_argument("--turns", type=int, default=30_000, metavar="N", help="about so many in all")
    top.add_argument("--until", type=datetime.fromisoformat, default=datetime.now(UTC), metavar="TIME")
    return top


if __name__ == "__main__":
    args = parser().parse_args()
    make(args.file, seed=args.seed, agents=args.agents, days=args.days, turns=args.turns, until=args.until)
