"""hive-explore as a process: who is let in, what may be asked, and that nothing can be written."""

import os
import re
import select
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import pytest

from hyperhive.explore import KEPT, KEPT_MAX, SETTINGS, Guard
from tests.explorer import SOCKETS, Explorer, explorer, signed_in
from tests.hive import ROOT, Hive
from tests.page import scene


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    it = Hive(tmp_path_factory.mktemp("explore"))
    it.sockets = SOCKETS
    it.start()
    it.add("manager", "ada")
    it.operator().ask("send", to="ada", body="hello")
    it.operator().ask("stats", since="2026-01-01", step=86_400)
    yield it
    for peer in it.peers:
        peer.close()
    it.kill()


@pytest.fixture(scope="module")
def page(here: Hive) -> Iterator[Explorer]:
    with explorer(here) as it:
        yield it


@pytest.fixture(scope="module")
def cookie(here: Hive) -> str:
    return signed_in(here)


def test_only_who_is_signed_in_is_let_in(here: Hive, page: Explorer, cookie: str) -> None:
    for wrong in ("", "x", cookie[:-1], "ä", "a b"):
        status, text = page.ask("/", quote(wrong))
        assert (status, "hivectl url" in text) == (401, True)
    assert page.ask("/stats.json")[0] == 401
    assert page.ask("/", cookie)[0] == 200
    assert page.ask("/", Cookie=f"hive-1={cookie}")[0] == 401  # another hive's
    assert page.ask("/", Cookie=f"hive-1=x; {page.cookie}={cookie}; hive=x")[0] == 200


def test_signing_out_is_heard_of_at_once(here: Hive, page: Explorer) -> None:
    begun = here.operator().ask("sign_in", code=here.operator().ask("url")["code"], agent="a test")
    assert page.ask("/", begun["token"])[0] == 200
    assert here.operator().ask("sign_out", session=begun["session"])["ok"]
    assert page.ask("/", begun["token"])[0] == 401


def test_other_names_and_methods_are_refused(page: Explorer, cookie: str) -> None:
    assert page.ask("/", cookie, Host="evil.example")[0] == 403
    assert page.ask("/stats", cookie, method="POST")[0] == 405


def test_its_socket_at_the_broker_gives_no_operators_rights(here: Hive) -> None:
    peer = here.connect(here.run / "explore.sock")
    for op in ("status", "send", "url", "sign_in", "sessions", "sign_out", "stats", "subscribe", "prune"):
        assert peer.ask(op)["error"] == "unknown-op"
    assert peer.ask("session", **{"token": "x"})["error"] == "signed-out"


def test_questions_are_answered_with_links(page: Explorer, cookie: str) -> None:
    status, text = page.ask("/stats/who_talks_to_whom?since=2026-01-01", cookie)
    assert status == 200 and '<a class="agent" href="/-/agent/ada">ada</a>' in text
    assert "<title>Who talks to whom</title>" in text
    text = page.ask("/stats/failed_turns?agent=ada&since=", cookie)[1]
    assert "Nothing, with agent ada." in text and 'placeholder="30 days; or a day' in text
    assert page.ask("/-/agent/ada", cookie)[0] == 303
    assert page.headers["Location"] == f"{page.page}/agent/ada"
    assert page.headers["X-Frame-Options"] == "DENY"
    page.ask("/-/operator", cookie)
    assert page.headers["Location"] == f"{page.page}/"


def test_columns_are_described(page: Explorer, cookie: str) -> None:
    text = page.ask("/stats/messages", cookie)[1]
    assert "One row per message and recipient" in text and "Bytes of UTF-8" in text


def test_no_script_runs_that_is_not_ours_or_datasettes(page: Explorer, cookie: str) -> None:
    text = page.ask("/stats?sql=select+'<script>alert(1)</script>'+as+agent", cookie)[1]
    assert "<script>alert" not in text
    allowed = page.headers["Content-Security-Policy"].partition("script-src")[2].partition(";")[0]
    assert "sha256-" in allowed and "unsafe" not in allowed
    assert page.headers["Cache-Control"] == "no-store"
    assert page.ask("/hive/dashboard.js", cookie)[0] == 200 and "max-age" in page.headers["Cache-Control"]


def test_questions_are_listed_by_theme(page: Explorer, cookie: str) -> None:
    text = page.ask("/stats", cookie)[1]
    assert text.index("<h3>Cost</h3>") < text.index("Dearest turns") < text.index("<h3>Crashes</h3>")
    assert text.count("Dearest turns") == 1 and "_sqlite_migrations" not in text


def test_rows_lead_to_the_journal(here: Hive, page: Explorer, cookie: str) -> None:
    scene.turn(here.agent("ada", invocation="a" * 32), 1)
    scene.crash(here, "c" * 32)
    here.operator().ask("stats", since="2026-01-01", step=86_400)
    for table, line in {
        "messages": "HIVE_MESSAGE=1",
        "turns": "HIVE_AGENT=ada HIVE_TURN=1",
        "crashes": f"_SYSTEMD_INVOCATION_ID={'c' * 32}",
    }.items():
        text = page.ask(f"/stats/{table}", cookie)[1]
        assert f'<code class="command">journalctl {line}</code>' in text


WRITES = [
    "insert into series values ('a', 'b', 'c', 'd')",
    "delete from messages",
    "drop table turns",
    "pragma journal_mode = wal",
    "attach database '/tmp/x' as x",
    "vacuum into '/tmp/x'",
    "with t as (select 1) insert into series select 1, 2, 3, 4 from t",
    "with t as (select 1) delete from messages",
    "select load_extension('/tmp/x')",
    "select writefile('/tmp/x', 'x')",
]


@pytest.mark.parametrize("statement", WRITES)
def test_writing_is_impossible(here: Hive, page: Explorer, cookie: str, statement: str) -> None:
    path = here.state / "db/stats.db"
    before = path.read_bytes()
    status, text = page.ask(f"/stats.json?sql={quote(statement)}", cookie)
    assert status >= 400, text
    assert path.read_bytes() == before


def count(page: Explorer, cookie: str) -> int:
    status, text = page.ask("/stats.json?_shape=arrays&sql=select+count(*)+from+messages", cookie)
    assert status == 200, text
    found = re.search(r'"rows": \[\[(\d+)', text)
    assert found, text
    return int(found[1])


def test_reading_goes_on_while_the_broker_writes(here: Hive, page: Explorer, cookie: str) -> None:
    operator, before = here.operator(), count(page, cookie)
    for number in range(1, 6):
        operator.ask("send", to="ada", body="hello")
        operator.ask("stats", since="2026-01-01", step=86_400)
        assert count(page, cookie) == before + number


def test_an_analysts_long_question_does_not_hold_up_mail(here: Hive, page: Explorer, cookie: str) -> None:
    endless = (
        "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n, messages"
    )
    held = socket.socket(socket.AF_UNIX)
    held.connect(os.fspath(page.path))
    lines = [
        f"GET /stats?sql={quote(endless)} HTTP/1.1",
        f"Host: {page.host}",
        f"Cookie: {page.cookie}={cookie}",
    ]
    held.sendall("\r\n".join([*lines, "", ""]).encode())
    operator = here.operator()
    waited: list[float] = []
    while not select.select([held], [], [], 0.01)[0]:  # until its time is over
        assert len(waited) < 3000, "it takes for ever"
        began = time.monotonic()
        assert operator.ask("send", to="ada", body="hello")["ok"]
        waited.append(time.monotonic() - began)
    answer = held.recv(65536)
    while b"</html>" not in answer:
        answer += held.recv(65536)
    assert b"400" in answer[:20] and b"That took too long" in answer and b"<textarea" not in answer
    assert max(waited) < SETTINGS["sql_time_limit_ms"] / 2000
    held.close()


def test_reading_goes_on_when_the_broker_was_killed(here: Hive, page: Explorer, cookie: str) -> None:
    """For who was signed in a moment ago: nobody can be signed in, or out, meanwhile."""
    before = count(page, cookie)
    here.kill()
    try:
        assert page.ask("/", cookie)[0] == 200 and count(page, cookie) == before
        assert page.ask("/", "x" * 43)[0] == 503  # nobody can say who that is
        for statement in WRITES[:2]:
            assert page.ask(f"/stats.json?sql={quote(statement)}", cookie)[0] >= 400
        with closing(sqlite3.connect(f"file:{here.state}/db/stats.db?mode=ro", uri=True)) as db:
            assert db.execute("select count(*) from messages").fetchone()[0] == before
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                db.execute("delete from messages")
    finally:
        here.start()
    assert count(page, cookie) >= before


def test_who_was_signed_out_is_not_let_in_when_the_broker_is_away(here: Hive, page: Explorer) -> None:
    begun = here.operator().ask("sign_in", code=here.operator().ask("url")["code"], agent="a test")
    assert page.ask("/", begun["token"])[0] == 200
    assert here.operator().ask("sign_out", session=begun["session"])["ok"]
    assert page.ask("/", begun["token"])[0] == 401
    here.kill()
    try:
        assert page.ask("/", begun["token"])[0] == 503
    finally:
        here.start()


def test_a_session_is_remembered_for_a_while_only() -> None:
    guard = Guard(None, {}, "/nowhere", "")
    guard.known = {f"t{n}": time.monotonic() - n for n in range(KEPT_MAX + 5)}
    guard.known["old"] = time.monotonic() - KEPT
    assert guard.knew("t0") and guard.signed_out("t1") is None
    assert not guard.knew("old") and not guard.knew(f"t{KEPT_MAX + 1}")
    assert len(guard.known) == KEPT_MAX
    refused = guard.signed_out("another")
    assert refused and refused[0] == 503


def test_it_ends_when_nobody_asks(here: Hive, cookie: str) -> None:
    with explorer(here, "--idle=1") as it:
        assert it.ask("/", cookie)[0] == 200
        assert it.process.wait(30) == 0


def test_it_says_what_is_missing() -> None:
    env = {"PYTHONPATH": os.fspath(ROOT), "PATH": os.environ["PATH"]}
    program = [sys.executable, os.fspath(ROOT / "bin/hive-explore")]
    done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78 and "start hive-explore.socket" in done.stderr
