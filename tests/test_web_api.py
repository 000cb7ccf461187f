"""hive-web: what happens to what it is told, how agents' texts are shown, and the interface."""

import http.client
import json
import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from hyperhive.operations import operations
from tests.test_web import APP
from tests.web import FORM, Headers, Web
from tests.wire_code import SOCKETS
from tests.wire_reads import request

# what is wrong


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"to":"ada"}', "application/json", 400),
        (b'{"to":"ada","body":"x","wrong":1}', "application/json", 400),
        (b'{"to":"ada","body":"' + b"x" * 65537 + b'"}', "application/json", 413),
        (b'{"to":"nobody","body":"x"}', "application/json", 404),
        (b'{"to":"ada","body":"\\ud800"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"to=ada&body=%ff%fe", FORM["Content-Type"], 400),
        (b"to=ada&body=x&in_reply_to=no", FORM["Content-Type"], 400),
        (b"to=ada", "text/plain", 415),
        (b"", "", 415),
        (b"--x", "multipart/form-data; boundary=y", 400),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_done(signed: Web, body: bytes, kind: str, status: int) -> None:
    before = signed.get("/api/mail?limit=1").json
    headers: Headers = {"Content-Type": kind, "X-CSRF": signed.csrf_token}
    answer = signed.ask("POST", "/api/send", body, headers)
    assert answer.status == status, answer.text
    assert signed.get("/api/mail?limit=1").json == before


def test_a_body_that_is_too_large_is_refused_before_it_has_come(signed: Web) -> None:
    headers: Headers = {"Content-Type": "application/json", "X-CSRF": signed.csrf_token}
    answer = signed.ask("POST", "/api/send", headers=headers | {"Content-Length": "1100000"})
    assert answer.status == 413, answer.text


def test_a_program_is_told_in_json_and_a_person_in_a_page(signed: Web) -> None:
    wrong = signed.do("send", to="nobody", body="x")
    assert (wrong.status, wrong.json["error"]) == (404, "unknown-agent")
    wrong = signed.post("/api/send", {"to": "nobody", "body": "x", "csrf": signed.csrf_token})
    assert wrong.status == 404 and "<!DOCTYPE html>" in wrong.text and "nobody" in wrong.text
    gone = signed.ask("GET", "/api/state", headers={"Cookie": None})
    assert (gone.json["error"], gone.json["hint"]) == (
        "signed-out",
        "hivectl url prints a link that signs in",
    )
    assert "hivectl url" in signed.ask("GET", "/", headers={"Cookie": None}).text


# what a form does


@pytest.mark.parametrize(
    ("to", "goes"),
    [
        ("/agent/ada", "/agent/ada"),
        ("/?filter=a#mail", "/?filter=a#mail"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("", "/"),
    ],
)
def test_a_form_leads_back_to_a_page_of_ours(signed: Web, to: str, goes: str) -> None:
    done = signed.post("/api/send", {"to": "ada", "body": "x", "csrf": signed.csrf_token, "next": to})
    assert (done.status, done.headers["location"]) == (303, goes)


def test_the_next_page_says_once_what_was_done(signed: Web) -> None:
    done = signed.post("/api/send", {"to": "ada", "body": "x", "csrf": signed.csrf_token})
    said = done.headers["set-cookie"].partition(";")[0]
    shown = signed.ask("GET", "/", headers={"Cookie": f"{signed.cookie}; {said}"})
    assert "Sent to ada." in shown.text
    assert shown.headers["set-cookie"].startswith(f'said-{signed.name}="";')
    assert "Sent to ada." not in signed.get("/").text


def test_what_a_form_said_is_no_way_to_put_markup_into_a_page(signed: Web) -> None:
    cookie = f"{signed.cookie}; said-{signed.name}=%3Cscript%3Ealert(1)%3C/script%3E"
    shown = signed.ask("GET", "/", headers={"Cookie": cookie}).text
    assert "<script>alert" not in shown and "&lt;script&gt;alert" in shown


# hostile texts

MARKUP = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>{{1+1}}\n% import os"
HOSTILE = MARKUP + "\u202egnp.exe\x1b[2J\x1b]0;x\x07\u2066\r\x00"


def shown_harmlessly(text: str) -> bool:
    return not re.search("<script>alert|<img|[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", text)


def test_texts_of_agents_are_shown_as_text(signed: Web) -> None:
    ada = signed.hive.agent("ada")
    number = ada.ask("send", to="operator", body=HOSTILE + "x" * 65_000)["ids"][0]
    assert ada.ask("ask", question=HOSTILE, options=[HOSTILE, "b"])["ok"]
    assert ada.ask("progress", number=1, text=HOSTILE)["ok"]
    signed.hive.operator().ask("sign_in", code=signed.code(), agent=HOSTILE)
    pages = ["/", "/agent/ada", f"/message/{number}", "/sessions", f"/sign-in?code={'%3Cscript%3Ealert'}"]
    for path in pages:
        page = signed.get(path)
        assert page.status == 200
        assert shown_harmlessly(page.text), path
    assert "&lt;script&gt;alert(1)" in signed.get("/").text and "\\u202egnp.exe" in signed.get("/").text
    assert len(signed.get("/").body) < 150_000  # a long text is cut off there, and whole on its own page
    assert "x" * 65_000 in signed.get(f"/message/{number}").text
    raw = signed.get(f"/api/messages/{number}")
    assert raw.body.isascii() and raw.json["message"]["body"].startswith(HOSTILE)
    ada.close()


# charts


def test_a_page_of_charts_begins_before_its_figures_are_found(signed: Web) -> None:
    assert signed.get("/charts?window=1h").status == 200  # what there was to write is written
    connection = http.client.HTTPConnection("127.0.0.1", signed.port, timeout=20)
    with closing(sqlite3.connect(signed.hive.state / "db/stats.db", isolation_level=None)) as db:
        db.execute("begin exclusive")
        connection.request(
            "GET", "/charts?window=1h", headers={"Cookie": signed.cookie, "Accept": "text/html"}
        )
        answer = connection.getresponse()
        begun = answer.read1().decode()
        db.execute("rollback")
    assert "charts.js" in begun and "charts-found" not in begun
    rest = answer.read().decode()
    connection.close()
    found = json.loads(re.findall('id="charts-found">(.*)</script>', rest)[0])
    assert found.keys() == {"since", "until", "step", "series"} == signed.get("/api/charts").json.keys()
    assert "agents_asleep" in {each["key"] for each in found["series"]}


def test_a_page_of_charts_says_when_there_are_no_figures(signed: Web) -> None:
    path = signed.hive.state / "db/stats.db"
    path.rename(path.with_suffix(".away"))
    try:
        assert "The figures cannot be read: cannot read" in signed.get("/charts").text
    finally:
        path.with_suffix(".away").rename(path)
    assert signed.get("/charts?window=2h").status == signed.get("/api/charts?window=2h").status == 400
    assert signed.get("/agent/nobody/charts").status == 404


# the interface


def test_a_question_is_datasettes_at_the_next_port(signed: Web) -> None:
    asked = signed.get("/explore/a%3Fb?agent=ada&since=2026-01-01")
    place = f"http://127.0.0.1:{signed.port + 1}/stats/"
    assert (asked.status, asked.headers["location"]) == (
        303,
        f"{place}a%3Fb?agent=ada&since=2026-01-01",
    )


def test_the_description_has_every_route_and_nothing_else(signed: Web) -> None:
    described = signed.get("/api/openapi.json").json
    assert described["openapi"] == "3.1.0"
    said = {f"{method.upper()} {path}" for path, them in described["paths"].items() for method in them}
    rules = {re.sub(r"<(\w+)(:int)?>", r"{\1}", f"{route.method} {route.rule}") for route in APP.routes}
    assert said == rules
    for path, them in described["paths"].items():
        for about in them.values():
            inside = {each["name"] for each in about["parameters"] if each["in"] == "path"}
            assert inside == {*re.findall(r"{(\w+)}", path)}
            assert about["summary"].endswith(".")


def wire_fields(op: str) -> dict[str, Any]:
    return request("OPERATOR", SOCKETS["OPERATOR"][op])


ACTIONS = [route for route in APP.routes if "action" in route.config]


@pytest.mark.parametrize("route", ACTIONS, ids=lambda route: str(route.rule))
def test_an_action_takes_what_the_brokers_operation_takes(route: Any) -> None:
    action = route.config["action"]
    wire = {name.rstrip("?"): not name.endswith("?") for name in wire_fields(action.op) if "." not in name}
    ours = {name: not field.optional for name, field in action.fields.items()}
    wire.pop("key", None)
    # of send: the broker has no default for what the page must say
    assert ours.keys() | action.always.keys() == wire.keys()


def test_every_operation_of_the_operator_is_to_be_had() -> None:
    """But those that are for hive-web and hivectl themselves."""
    had = {route.config["action"].op for route in ACTIONS}
    had |= {route.config["op"] for route in APP.routes if "op" in route.config}
    had |= {"show", "approval", "diff", "state", "session", "sign_in", "subscribe", "metrics"}
    assert operations.OPERATOR.keys() - had == {"backup", "backup_read", "doctor", "url"}
