"""hive-prune with the real broker, over mail that is made old in its database."""

import os
import sqlite3
import subprocess
import sys

import pytest

from tests.hive import ROOT, Hive

OLD = "2001-01-01T00:00:00.000Z"


def prune(here: Hive, *options: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, os.fspath(ROOT / "bin/hive-prune"), f"--socket={here.run}/system.sock"]
    env = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
    return subprocess.run([*program, *options], env=env, capture_output=True, text=True, timeout=60)


def test_what_ended_is_deleted_and_what_waits_is_not(here: Hive) -> None:
    operator, bob = here.operator(), here.agent("bob")
    for number in range(1200):  # more than two transactions
        operator.write("send", to="bob", body=f"{number}")
    operator.ask("send", to="bob", body="last")
    while bob.ask("recv", max=100)["messages"]:
        bob.ask("ack")
    (waits,) = operator.ask("send", to="ada", body="waits")["ids"]
    operator.ask("remind", message="later", delay=600)
    assert prune(here).stdout == "deleted 0 that ended more than 30 days ago\n"
    with sqlite3.connect(here.state / "db/hive.db", timeout=20) as db:
        db.execute("update message set sent_at = ?, done_at = iif(done_at is null, null, ?)", (OLD, OLD))
    assert prune(here, "--days=1000").stdout == "deleted 1201 that ended more than 1000 days ago\n"
    ada = operator.ask("mail", agent="ada")["messages"]
    assert [message["id"] for message in ada if message["from"] == "operator"] == [waits]
    assert len(operator.ask("loose_ends")["loose_ends"]) == 2


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (["--days=0"], 1, "'days' must be from 1 to 36500"),
        (["--days=many"], 2, "invalid int value: 'many'"),
    ],
)
def test_what_is_refused(here: Hive, options: list[str], status: int, text: str) -> None:
    done = prune(here, *options)
    assert done.returncode == status and text in done.stderr
