"""Ways out of cages as hive-watch tells them: kept for analysts, shown to the operator, and made allowed."""

import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from hyperhive import wire
from hyperhive.stats import ways_sql
from tests.changing import as_deployed, carry_out, queued, spawned
from tests.hive import Hive, Peer
from tests.hivectl import load, run

SINGLE, SUMS = ways_sql.SINGLE_MAX, ways_sql.SUMS_MAX
TOML = '# hers\n[egress]\nallow = ["*.example.org:443"] # not much\n'


def at(ago: float = 60.0) -> str:
    return wire.stamp(time.time() - ago)


def reached(host: str = "git.example.org", **more: Any) -> dict[str, Any]:
    about = {"agent": "eve", "at": at(), "host": host, "port": 443, "address": "198.18.0.1", "count": 1}
    return (
        about | {"rule": "*.example.org:443", "end": "closed", "sent": 10, "received": 2000, "ms": 30} | more
    )


def refused(host: str = "evil.test", **more: Any) -> dict[str, Any]:
    nothing = {"address": "", "rule": "allow", "end": "denied", "sent": 0, "received": 0, "ms": 0}
    return reached(host) | nothing | more


class Watch:
    """As hive-watch tells it, with its place in the journal."""

    def __init__(self, here: Hive) -> None:
        self.here, self.place = here, 0

    def cursor(self) -> str | None:
        return f"s=1;i={self.place}" if self.place else None

    def tell(self, *facts: dict[str, Any]) -> None:
        after, self.place = self.cursor(), self.place + len(facts)
        answer = self.here.system().ask("gate_facts", after=after, cursor=self.cursor(), facts=facts)
        assert (answer.get("taken"), answer.get("read_to")) == (True, self.cursor()), answer


@pytest.fixture
def eve(here: Hive) -> Peer:
    spawned(here, "eve", TOML)
    as_deployed(here, "eve")
    return here.agent("eve", "tool")


def rows(here: Hive, query: str) -> list[Any]:
    here.operator().ask("metrics")  # which has all written that was told
    with closing(sqlite3.connect(here.state / "db/stats.db", timeout=20)) as db:
        return db.execute(query).fetchall()


def series(here: Hive) -> dict[str, float]:
    found = here.operator().ask("stats", agent="eve", since="2026-01-01T00:00:00.000Z")["series"]
    return {each["key"]: sum(each["value"]) for each in found if each["key"].startswith("egress")}


def test_each_connection_and_each_refusal_is_a_row_and_in_the_series(here: Hive, eve: Peer) -> None:
    watcher, watch = here.operator(), Watch(here)
    watcher.ask("subscribe")
    watch.tell(reached(), refused(), reached(end="bytes"))
    watch.tell(refused("", port=0, rule="connections", count=99))
    query = "select host, port, address, rule, end, summed, count, bytes_sent, bytes_received, duration_ms"
    assert rows(here, f"{query} from egress order by id") == [
        ("git.example.org", 443, "198.18.0.1", "*.example.org:443", "closed", 0, 1, 10, 2000, 30),
        ("evil.test", 443, "", "allow", "denied", 0, 1, 0, 0, 0),
        ("git.example.org", 443, "198.18.0.1", "*.example.org:443", "bytes", 0, 1, 10, 2000, 30),
        ("", 0, "", "connections", "denied", 0, 99, 0, 0, 0),
    ]
    sums = {"egress": 2, "egress_denied": 100, "egress_sent_bytes": 20, "egress_received_bytes": 4000}
    assert series(here) == sums
    events = [watcher.read() for _ in range(2)]
    assert [(each["event"], each["reached"], each["refused"]) for each in events] == [
        ("egress", 2, 1),
        ("egress", 0, 99),
    ]


def test_of_a_flood_sums_are_kept_and_nothing_is_lost(here: Hive) -> None:
    """As an agent could make them: one host again and again, and then ever other ones."""
    watch, when = Watch(here), f"{at(3600)[:13]}:10:00.000Z"
    flood = [reached(at=when) for _ in range(SINGLE + 50)]
    flood += [refused(f"x{n}.test", at=when) for n in range(SUMS + 150)]
    for begin in range(0, len(flood), 70):
        watch.tell(*flood[begin : begin + 70])
        rows(here, "select 1")  # a batch of its own
    watch.tell(reached(at=when), reached("api.example.org", at=at(0)))
    kept = rows(here, "select host, summed, count, bytes_received from egress order by id")
    assert kept[:SINGLE] == [("git.example.org", 0, 1, 2000)] * SINGLE
    assert kept[SINGLE] == ("git.example.org", 1, 51, 51 * 2000), "the rest of that host and hour"
    assert {*kept[SINGLE + 1 :]} == {
        *((f"x{n}.test", 1, 1, 0) for n in range(SUMS - 1)),
        ("", 1, 151, 0),
        ("api.example.org", 0, 1, 2000),
    }
    assert sum(row[2] for row in kept) == len(flood) + 2
    assert series(here)["egress"] == SINGLE + 52


def test_what_is_told_twice_or_was_left_out_counts_once(here: Hive) -> None:
    watch, system = Watch(here), here.system()
    watch.tell(reached(), refused())
    again = system.ask("gate_facts", after=None, cursor="s=1;i=2", facts=[reached(), refused()])
    assert (again["taken"], again["read_to"]) == (False, "s=1;i=2")
    left_out = system.ask("gate_facts", after="s=1;i=9", cursor="s=1;i=10", facts=[reached()])
    assert (left_out["taken"], left_out["read_to"]) == (False, "s=1;i=2")
    assert rows(here, "select count(*) from egress") == [(2,)]
    watch.tell(refused("b.test"))
    here.kill()  # what was not written yet is told again
    here.start()
    (written,) = rows(here, "select cursor from journal_read")
    asked = here.system().ask("gate_facts", after="s=1;i=3", cursor="s=1;i=4", facts=[refused("c.test")])
    assert (asked["taken"], asked["read_to"]) == (
        written[0] == "s=1;i=3",
        "s=1;i=4" if asked["taken"] else written[0],
    )


def test_what_cannot_be_written_is_told_again(here: Hive) -> None:
    watch, system = Watch(here), here.system()
    watch.tell(reached())
    rows(here, "select 1")
    with closing(sqlite3.connect(here.state / "db/stats.db", isolation_level=None)) as db:
        db.execute("alter table egress rename to away")
        watch.tell(reached())
        here.operator().ask("metrics")
        db.execute("alter table away rename to egress")
    answer = system.ask("gate_facts", after=watch.cursor(), cursor="s=1;i=3", facts=[refused()])
    assert (answer["taken"], answer["read_to"]) == (False, "s=1;i=1")
    watch.place = 1
    watch.tell(reached(), refused())
    assert rows(here, "select count(*) from egress") == [(3,)]


def test_only_what_is_a_fact_is_taken_and_only_of_the_system(here: Hive) -> None:
    system = here.system()
    for wrong in (
        {"end": "odd"},
        {"agent": "../x"},
        {"port": 70_000},
        {"count": 0},
        {"at": "noon"},
        {"host": 7},
    ):
        answer = system.ask("gate_facts", after=None, cursor="x", facts=[reached(**wrong)])
        assert answer["error"] in ("bad-request", "bad-name"), wrong
    many = system.ask("gate_facts", after=None, cursor="x", facts=[reached()] * 257)
    assert many["error"] == "bad-request"
    ada = here.agent("ada")
    assert ada.ask("gate_facts", after=None, cursor="x", facts=[])["error"] == "unknown-op"
    assert ada.ask("egress")["error"] == "unknown-op"


def test_a_refused_host_becomes_a_request_and_is_allowed(here: Hive, eve: Peer) -> None:
    operator, watch = here.operator(), Watch(here)
    watch.tell(refused(), refused(), refused("10.0.0.1", rule="address"), refused("", port=0, rule="host"))
    found = {(each["host"], each["rule"]): each for each in operator.ask("egress", agent="eve")["refused"]}
    assert {key: (each["count"], each["wanted"]) for key, each in found.items()} == {
        ("evil.test", "allow"): (2, "evil.test:443"),
        ("10.0.0.1", "address"): (1, ""),
        ("", "host"): (1, ""),
    }
    wish = operator.ask("allow", agent="eve", hosts=["evil.test:443"], note="it is not evil")
    assert (wish["state"], wish["risk"]) == ("pending", "higher")
    diff = operator.ask("diff", request=wish["request"])
    assert diff["summary"] == ["may now reach evil.test:443"]
    assert '+allow = ["*.example.org:443", "evil.test:443"] # not much' in diff["diff"].splitlines()
    (asked,) = (each for each in operator.ask("egress")["refused"] if each["host"] == "evil.test")
    assert asked["request"] == wish["request"]
    more = operator.ask("allow", agent="eve", patterns=["Read"], hosts=["b.test:80"])
    assert more["superseded"] == [wish["request"]], "both come with one request"
    operator.ask("approve", request=more["request"])
    toml = queued(here, more["request"])["files"]["agent.toml"]
    assert '"evil.test:443", "b.test:80"] # not much' in toml and 'allow = ["Read"]' in toml
    carry_out(here, more["request"])
    assert "evil.test" not in {each["host"] for each in operator.ask("egress", agent="eve")["refused"]}
    for wrong in ("evil.test", "evil.test:0", "*:443", "x:443\n", "-x.org:1", "[::1]:1", ""):
        answer = operator.ask("allow", agent="eve", hosts=[wrong])
        assert (answer["error"], "'hosts'" in answer["message"]) == ("bad-request", True), wrong


def test_hivectl_shows_it_and_asks(here: Hive, eve: Peer) -> None:
    assert "Nobody has tried to go anywhere" in run(here, "egress").stderr
    Watch(here).tell(reached(), reached(received=3_000_000), refused())
    said = run(here, "egress", "eve").stdout
    assert said.startswith(
        "eve reached git.example.org:443, the last 1 min ago (closed)\n  2 connections, 20 B sent, "
    )
    assert "3.0 MB received, by the rule *.example.org:443\n" in said
    wanted = "eve was refused evil.test:443, 1 time, the last 1 min ago: it is not in [egress] allow\n"
    assert said.endswith(wanted + "  hivectl allow eve --host evil.test:443\n")
    assert "may now reach evil.test:443" in run(here, "allow", "eve", "--host", "evil.test:443").stdout
    assert run(here, "egress").stdout.endswith("  request 2 asks for it\n")
    assert load(here, "egress", "eve")["refused"][0]["request"] == 2
    assert "no agent is called 'nobody'" in run(here, "egress", "nobody", status=1).stderr


def test_old_ones_are_forgotten_and_sums_by_hour_stay(here: Hive) -> None:
    Watch(here).tell(reached(at="2026-01-01T10:00:00.000Z"), reached())
    rows(here, "select 1")
    here.system().ask("prune", days=30, stats_days=30)
    assert rows(here, "select count(*) from egress") == [(1,)]
    assert rows(here, "select sum(sum) from stats_hour where key = 'egress'") == [(2,)]
