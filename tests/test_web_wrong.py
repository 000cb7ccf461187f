"""What the operator is told when the page cannot be had: by whom, why, and what to do."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests import web as webs
from tests.hive import Hive
from tests.web import Web


def test_a_failure_is_found_in_the_journal_by_what_the_page_says(
    here: Hive, capfd: pytest.CaptureFixture[str]
) -> None:
    here.operator().ask("send", to="ada", body="hello")
    with closing(sqlite3.connect(here.state / "db/hive.db")) as db, db:
        db.execute("update message set sent_at = 'some day'")  # which is no time to count from
    with webs.web(here) as it:  # what it says is heard from here on
        answer = it.get("/")
        assert it.get("/api/state").status == 200
    assert answer.status == 500
    assert "Traceback" not in answer.text and "ValueError" not in answer.text
    (mark,) = re.findall("journalctl --unit=hive-web --grep=([0-9a-f]{8})", answer.text)
    said = capfd.readouterr().err
    assert re.search(rf"Failure {mark}: GET /: ValueError.*some day", said) and "Traceback" in said


def test_while_the_broker_is_away(own: Web) -> None:
    form = {"csrf": own.csrf_token, "to": "ada", "body": "hello"}
    own.hive.kill()
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(own.get, "/"), pool.submit(own.post, "/api/send", form)
        looked, done = [each.result() for each in asked]
    for answer in (looked, done):
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "The broker is away" in answer.text and "systemctl status hive-broker" in answer.text
    assert looked.headers["refresh"] == "5" and "again by itself" in looked.text
    assert "refresh" not in done.headers and "Look whether it was done" in done.text


def test_a_browser_that_keeps_no_cookie_is_told(own: Web) -> None:
    came = {"Cookie": None, "Referer": f"{own.origin}/sign-in?code=x"}
    assert "has sent no cookie" in own.ask("GET", "/", headers=came).text
    assert "has sent no cookie" not in own.ask("GET", "/", headers={"Cookie": None}).text


def test_the_whole_link_is_a_code_too(own: Web) -> None:
    answer = own.post("/sign-in", {"code": f" {own.origin}/sign-in?code={own.code()} "})
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_a_used_link_leads_to_the_page_only_who_is_signed_in(own: Web) -> None:
    code = own.code()
    assert own.post("/sign-in", {"code": code}).status == 303
    assert own.post("/sign-in", {"code": code}).status == 303
    own.cookies.clear()
    again = own.post("/sign-in", {"code": code})
    assert again.status == 403 and "set-cookie" not in again.headers
    assert "does not sign in" in again.text and "hivectl url" in again.text


def test_who_tries_too_often_can_try_the_same_link_later(own: Web) -> None:
    own.cookies.clear()
    code = own.code()
    for number in range(10):
        own.post("/sign-in", {"code": f"wrong{number}"})
    answer = own.post("/sign-in", {"code": code})
    assert (answer.status, answer.headers["retry-after"]) == (429, "60")
    assert f'name="code" value="{code}"' in answer.text and "Try again" in answer.text
