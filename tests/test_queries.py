"""Each question that is ready in Datasette, with the answer that one reckons by hand."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import yaml

from hyperhive.web import show
from tests.hive import ROOT
from tests.stats_made import DAY, RUN, at, make

META: dict[str, Any] = yaml.safe_load((ROOT / "datasette/metadata.yaml").read_text())["databases"]["stats"]
JOURNAL = {name: f"journalctl _SYSTEMD_INVOCATION_ID={run}" for name, run in RUN.items()}
REFUSED = "journalctl HIVE_EVENT=egress_denied HIVE_AGENT="
ALL = {"agent": "", "since": DAY, "minutes": ""}
WANTED: dict[str, list[tuple[Any, ...]]] = {
    "cost_per_agent_and_day": [(DAY, "ada", 2.0), (DAY, "bob", 0.25)],
    "cost_per_model": [("opus", 2, 2.0, 1.0, 2), ("haiku", 1, 0.25, 0.25, 9)],
    "tokens_per_agent": [("ada", 20, 10, 160, 20, 80.0)],
    "slowest_wakes": [
        ("ada", at("09:00:00"), 100, 5, 2, 900, 1005, "answer", JOURNAL["ada"]),
        ("bob", at("10:00:00"), 100, 5, 2, 50, 155, "hello", JOURNAL["bob"]),
    ],
    "wake_phases": [("ada", 1, 100, 5, 2, 900, 100), ("bob", 1, 100, 5, 2, 50, 100)],
    "slowest_turns": [
        ("bob", 1, at("10:30:00"), 9000, "crashed", 2, "manager", "journalctl HIVE_AGENT=bob HIVE_TURN=1"),
        ("ada", 1, at("09:00:00"), 1000, "ok", 2, "manager", "journalctl HIVE_AGENT=ada HIVE_TURN=1"),
        (
            "ada",
            2,
            at("10:00:00"),
            1000,
            "compacted",
            2,
            "operator",
            "journalctl HIVE_AGENT=ada HIVE_TURN=2",
        ),
    ],
    "dearest_turns": [
        ("ada", 2, at("10:00:00"), 1.5, 10, 5, 2, "opus", "journalctl HIVE_AGENT=ada HIVE_TURN=2"),
        ("ada", 1, at("09:00:00"), 0.5, 10, 5, 2, "opus", "journalctl HIVE_AGENT=ada HIVE_TURN=1"),
        ("bob", 1, at("10:30:00"), 0.25, 10, 5, 2, "haiku", "journalctl HIVE_AGENT=bob HIVE_TURN=1"),
    ],
    "failed_turns": [(at("10:30:00"), "bob", 1, "crashed", "claude: it ended", 3, JOURNAL["bob"])],
    "outcomes_by_agent": [("bob", 1, 0, 0, 1, 100.0), ("ada", 2, 1, 1, 0, 0.0)],
    "who_talks_to_whom": [
        ("ada", "bob", 2, 20, at("09:00:20")),
        ("bob", "ada", 1, 10, at("10:00:00")),
        ("operator", "ada", 1, 10, at("08:59:58")),
    ],
    "what_wakes_whom": [("ada", "manager", 1), ("ada", "operator", 1), ("bob", "manager", 1)],
    "tools_by_share": [("Bash", 3, 75.0), ("send", 1, 25.0)],
    "approvals_by_time_to_decision": [
        (1, "change", "ada", "higher", "denied", at("09:00:00"), at("09:01:00"), 60)
    ],
    "approvals_by_outcome": [("change", "denied", 1, 60), ("change", "pending", 1, None)],
    "approvals_that_wait": [(2, "change", "ada", "manager", at("09:00:00"), "same")],
    "crashes_by_cause": [("bob", "SIGKILL", 1, 12.5, at("10:30:00"))],
    "crashes": [
        (
            at("10:30:00"),
            "bob",
            "hive-agent@bob.service",
            "container_crash",
            "SIGKILL",
            12.5,
            0,
            JOURNAL["bob"],
        )
    ],
    "commands_denied": [
        ("ada", "curl", "no-rule", 5, 2, at("10:00:00"), "hivectl denials ada"),
        ("bob", "", "write", 1, 1, at("09:00:00"), "hivectl denials bob"),
    ],
    "gone_wild": [
        (at("10:00:00"), "", "disk_low", None, None, 0.0, "journalctl HIVE_EVENT=disk_low"),
        (
            at("09:00:00"),
            "ada",
            "log_flood",
            31_200,
            None,
            4.5,
            "journalctl HIVE_EVENT=log_flood HIVE_AGENT=ada",
        ),
        (
            at("09:00:00"),
            "ada",
            "many_calls",
            1500,
            2,
            4.5,
            "journalctl HIVE_EVENT=many_calls HIVE_AGENT=ada",
        ),
    ],
    "who_goes_where": [
        ("ada", "a.org", 443, 2, 20, 1100, 1, at("10:00:00")),
        ("ada", "b.org", 443, 5, 10, 100, 0, at("09:00:00")),
        ("bob", "a.org", 443, 1, 10, 100, 0, at("09:00:00")),
    ],
    "refused_hosts": [
        ("bob", "", 0, "connections", 99, at("10:00:00"), at("10:00:00"), f"{REFUSED}bob"),
        ("ada", "evil.test", 443, "allow", 2, at("09:00:00"), at("09:30:00"), f"{REFUSED}ada"),
        ("bob", "10.0.0.1", 443, "address", 1, at("09:00:00"), at("09:00:00"), f"{REFUSED}bob"),
    ],
    "bytes_out_per_agent_and_day": [(DAY, "ada", 7, 30, 1200), (DAY, "bob", 1, 0, 0)],
    "context_before_compaction": [("ada", 2, at("10:00:00"), 1000, 100, 2)],
    "context_now": [("ada", 100, f"{DAY} 10:00:00")],
    "notes_growth": [("ada", 100, 150, 50)],
    "stuck_agents": [("ada", 1, at("10:00:00"))],
    "busiest_hours": [("10", 2), ("09", 1)],
    "dead_letters": [
        (3, "ada", "bob", at("09:00:20"), at("10:31:00"), 5, "journalctl HIVE_MESSAGE=3", "hivectl dead")
    ],
    "redelivered_mail": [
        (3, "ada", "bob", at("09:00:20"), None, at("10:31:00"), "dead", 5, "journalctl HIVE_MESSAGE=3"),
        (2, "ada", "bob", at("09:00:10"), at("09:00:14"), None, "done", 3, "journalctl HIVE_MESSAGE=2"),
    ],
    "longest_unanswered_questions": [(2, "ada", "operator", at("09:00:00"), None)],
    "time_to_answers": [("operator", 1, 30, 30)],
    "mail_waits": [("bob", 1, 4.0, 4.0), ("ada", 1, 2.0, 2.0)],
    "deepest_inboxes": [("bob", 7, f"{DAY} 10:00:00")],
    "turns_per_day": [(DAY, 3, 1.0, 2.25)],
}
# what is left of their rows when the time since then is left out
SHORTER = {"approvals_that_wait": 6, "longest_unanswered_questions": 5, "stuck_agents": 3}
OF_BOB = {
    "cost_per_agent_and_day": [(DAY, "bob", 0.25)],
    "tools_by_share": [("send", 1, 100.0)],
    "busiest_hours": [("10", 1)],
    "bytes_out_per_agent_and_day": [(DAY, "bob", 1, 0, 0)],
    "what_wakes_whom": [("bob", "manager", 1)],
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("stats") / "stats.db"
    make(path)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as it:
        yield it


def ask(db: sqlite3.Connection, name: str, **given: str) -> list[tuple[Any, ...]]:
    query = META["queries"][name]
    parameters = {key: value for key, value in (ALL | given).items() if key in query.get("params", [])}
    return db.execute(query["sql"], parameters).fetchall()


@pytest.mark.parametrize("name", META["queries"])
def test_a_question_and_its_answer(db: sqlite3.Connection, name: str) -> None:
    found = ask(db, name)
    if name in SHORTER:
        found = [row[: SHORTER[name]] for row in found]
    assert found == WANTED[name]


@pytest.mark.parametrize("name", OF_BOB)
def test_one_agent_alone(db: sqlite3.Connection, name: str) -> None:
    assert ask(db, name, agent="bob") == OF_BOB[name]


@pytest.mark.parametrize(
    "name", [name for name in META["queries"] if name not in SHORTER and name != "context_now"]
)
def test_nothing_of_before_the_time(db: sqlite3.Connection, name: str) -> None:
    found = ask(db, name, since="2026-11-21")
    assert found == [] or (name == "notes_growth" and found == [("ada", None, 150, None)])


def test_all_that_is_asked_for_is_a_parameter() -> None:
    for name, query in META["queries"].items():
        used = [word for word in ("agent", "since", "minutes") if f":{word}" in query["sql"]]
        assert query.get("params", []) == used, name
        assert query["title"] and query["description"], name


def test_there_are_more_than_twenty() -> None:
    assert len(META["queries"]) >= 20


def columns(db: sqlite3.Connection) -> dict[str, list[str]]:
    tables = [name for (name,) in db.execute("select name from sqlite_schema where type = 'table'")]
    ours = [name for name in tables if not name.startswith(("_", "sqlite_"))]
    return {name: [row[1] for row in db.execute(f"pragma table_info({name})")] for name in ours}


def test_metadata_describes_every_table_and_column(db: sqlite3.Connection) -> None:
    said = {name: [*about["columns"]] for name, about in META["tables"].items()}
    assert {name: sorted(each) for name, each in said.items()} == {
        name: sorted(each) for name, each in columns(db).items()
    }
    assert all(about["description"] for about in META["tables"].values())


def test_the_man_page_says_the_same() -> None:
    text = (ROOT / "man/hyperhive-stats.db.5.rst").read_text().partition("\nTABLES\n")[2]
    said: dict[str, dict[str, str]] = {}
    for line in text.partition("\nEXAMPLE\n")[0].splitlines():
        if line and line[0].isalpha():
            said[table := line] = {}
        elif line.startswith("    *"):
            column = line.strip().strip("*")
        elif line.startswith("        "):
            said[table][column] = line.strip().replace("\\*", "*")
    assert said == {name: about["columns"] for name, about in META["tables"].items()}


def test_what_the_page_asks_is_there() -> None:
    """Of the pages of agents: also for that agent alone."""
    for place, asks in show.ASKS.items():
        for question, _ in asks:
            about = META["queries"][question]
            assert place in ("hive", "approvals") or "agent" in about["params"], question
