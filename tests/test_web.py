"""hive-web: who gets in, by each of its routes."""

import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from hyperhive import peers
from hyperhive.web import web
from hyperhive.web.broker import Pool
from hyperhive.web.guard import Guard
from hyperhive.web.stream import Hub
from tests import web as webs
from tests.hive import hive
from tests.web import FORM, Answer, Headers, OverUnix, Web

EXAMPLES = {"<agent>": "ada", "<number:int>": "1", "<name>": "page.css", "<question>": "crashes"}
APP = web.make_app(Pool("/nowhere"), Hub("/nowhere"), Guard({}, Pool("/nowhere")))
REFUSED = (401, 403)


def path_of(rule: str) -> str:
    for part, example in EXAMPLES.items():
        rule = rule.replace(part, example)
    assert "<" not in rule, f"add an example for {rule}"
    return rule


# the table of routes


def ask(it: Web, method: str, path: str, changed: Headers, connection: OverUnix | None = None) -> Answer:
    """The right one, but for what is changed. Its body is not what the action wants, so nothing is done."""
    body = b"session=none" if method == "POST" else b""
    headers: Headers = {"X-CSRF": it.csrf_token, **(FORM if body else {}), **changed}
    return it.ask(method, path, body, headers, connection)


def all_routes(it: Web, changed: Headers, unix_uid: int | None = None) -> dict[str, Answer]:
    came = {}
    for route in APP.routes:
        connection = None if unix_uid is None else OverUnix(it.unix, unix_uid)
        came[f"{route.method} {route.rule}"] = ask(
            it, route.method, path_of(route.rule), changed, connection
        )
    return came


def public(key: str) -> bool:
    return any(f"{route.method} {route.rule}" == key and route.config.get("public") for route in APP.routes)


def codes(answers: dict[str, Answer], wanted: Callable[[str], bool]) -> dict[str, int]:
    return {key: answer.status for key, answer in answers.items() if wanted(key)}


def is_post(key: str) -> bool:
    return key.startswith("POST")


def all_have(answers: dict[str, Answer], status: int, wanted: Callable[[str], bool]) -> None:
    got = codes(answers, wanted)
    assert got and got == dict.fromkeys(got, status)


def test_the_right_one_passes_everywhere(signed: Web) -> None:
    for answers in (all_routes(signed, {}), all_routes(signed, {}, unix_uid=0)):
        got = codes(answers, lambda key: True)
        assert not {key: status for key, status in got.items() if status in REFUSED or status >= 500}


def test_only_these_routes_are_for_everybody() -> None:
    keys = {f"{route.method} {route.rule}" for route in APP.routes}
    assert {key for key in keys if public(key)} == {"GET /static/<name>", "GET /sign-in", "POST /sign-in"}


@pytest.mark.parametrize(
    "cookie",
    [
        None,
        "{name}=",
        "{name}=wrong",
        "{name}=\xe4",
        "hive={token}",
        "hive-7000={token}",
        "__Host-hive={token}",
        "__Host-{name}={token}",
    ],
)
def test_without_the_cookie_nobody_passes(signed: Web, cookie: str | None) -> None:
    text = cookie and cookie.format(name=signed.name, token=signed.token)
    all_have(all_routes(signed, {"Cookie": text}), 401, lambda key: not public(key))


HOSTS = [
    "evil.example",
    "127.0.0.1",
    "127.0.0.1:1",
    "localhost.evil.example:{port}",
    "127.0.0.1:{port}, evil",
]


@pytest.mark.parametrize("host", HOSTS)
def test_under_another_name_nobody_passes(signed: Web, host: str) -> None:
    """As a page does whose name has come to point to 127.0.0.1 (DNS rebinding)."""
    host = host.format(port=signed.port)
    all_have(all_routes(signed, {"Host": host, "Origin": f"http://{host}"}), 403, lambda key: True)


ORIGINS = [
    "http://evil.example",
    "null",
    "",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1:1",
    "http://localhost:{port}",
]


@pytest.mark.parametrize("origin", [each for each in ORIGINS if each])
def test_from_another_page_nobody_passes(signed: Web, origin: str) -> None:
    all_have(all_routes(signed, {"Origin": origin.format(port=signed.port)}), 403, lambda key: True)


@pytest.mark.parametrize("sent_by", [None, "cross-site", "same-site", "none"])
def test_a_post_from_nobody_knows_where_does_not_pass(signed: Web, sent_by: str | None) -> None:
    all_have(all_routes(signed, {"Origin": None, "Sec-Fetch-Site": sent_by}), 403, is_post)
    ours = ask(signed, "POST", "/api/send", {"Origin": None, "Sec-Fetch-Site": "same-origin"})
    assert ours.status not in REFUSED


@pytest.mark.parametrize("token", [None, "", "wrong", "\xe4"])
def test_without_the_token_no_post_passes(signed: Web, token: str | None) -> None:
    answers = all_routes(signed, {"X-CSRF": token})
    all_have(answers, 403, lambda key: is_post(key) and not public(key))


def test_the_token_of_another_session_does_not_pass(signed: Web) -> None:
    first = signed.csrf_token
    signed.sign_in()
    answers = all_routes(signed, {"X-CSRF": first})
    all_have(answers, 403, lambda key: is_post(key) and not public(key))


def test_a_token_for_metrics_opens_no_other_route(signed: Web) -> None:
    operator = signed.hive.operator()
    token = operator.ask("sign_in", code=signed.code(), agent="", scope="metrics")["token"]
    for shown in (f"{signed.name}={token}", None):
        answers = all_routes(signed, {"Cookie": shown, "Authorization": f"Bearer {token}"})
        assert answers.pop("GET /metrics").status == 200
        all_have(answers, 401, lambda key: not public(key))


def test_an_expired_session_does_not_pass(signed: Web) -> None:
    with closing(sqlite3.connect(signed.hive.state / "db/hive.db", isolation_level=None)) as db:
        db.execute("update session set expires_at = '2001-01-01T00:00:00.000Z'")
    all_have(all_routes(signed, {}), 401, lambda key: not public(key))


def test_a_revoked_session_does_not_pass(signed: Web) -> None:
    signed.hive.operator().ask("sign_out", all=True)
    all_have(all_routes(signed, {}), 401, lambda key: not public(key))


@pytest.mark.parametrize("uid", [peers.UID_FIRST, peers.UID_FIRST + 65536 * 5 + 1000])
def test_an_agent_does_not_pass_with_all_that_is_right(signed: Web, uid: int) -> None:
    all_have(all_routes(signed, {}, unix_uid=uid), 403, lambda key: True)


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_no_other_method_is_a_way_in(signed: Web, method: str) -> None:
    for route in APP.routes:
        answer = ask(signed, method, path_of(route.rule), {"Cookie": None, "Origin": signed.origin})
        refused = (401,) if method == "HEAD" and route.method == "GET" else (404, 405)
        passes = method == "HEAD" and public(f"GET {route.rule}")
        assert answer.status in refused or passes, (route.rule, answer.status)


@pytest.mark.parametrize(
    "path", ["//api/state", "/api//state", "/api/state/", "/API/state", "/api/./state", "/%61pi/state"]
)
def test_no_other_spelling_is_a_way_in(signed: Web, path: str) -> None:
    assert ask(signed, "GET", path, {"Cookie": None}).status in (401, 404)


@pytest.mark.parametrize("first", ["evil.example", "127.0.0.1:{port}"])
def test_two_names_are_no_name(signed: Web, first: str) -> None:
    lines = ["GET / HTTP/1.1", f"Host: {first.format(port=signed.port)}", "Host: evil.example"]
    with socket.create_connection(("127.0.0.1", signed.port)) as sock:
        sock.sendall("\r\n".join([*lines, f"Cookie: {signed.cookie}", "", ""]).encode())
        assert sock.recv(12) in (b"HTTP/1.1 403", b"HTTP/1.1 400")


# signing in


def test_a_code_signs_in_once(signed: Web) -> None:
    code = signed.code()
    shown = signed.get(f"/sign-in?code={code}")
    assert shown.status == 200 and code in shown.text
    again = signed.get(f"/sign-in?code={code}")  # a preview of the link uses nothing up
    assert again.status == 200
    begun = signed.post("/sign-in", {"code": code})
    assert (begun.status, begun.headers["location"]) == (303, "/")
    attributes = {part.strip().lower() for part in begun.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    second = signed.ask("POST", "/sign-in", f"code={code}".encode(), FORM | {"Cookie": None})
    assert second.status == 403 and "hivectl url" in second.text


def test_wrong_codes_are_slowed_down(tmp_path_factory: pytest.TempPathFactory) -> None:
    with hive(tmp_path_factory.mktemp("codes")) as here, webs.web(here) as it:
        stranger = FORM | {"Cookie": None}
        tried = [it.ask("POST", "/sign-in", f"code=wrong{n}".encode(), stranger).status for n in range(12)]
        assert tried == [403] * 10 + [429] * 2
        assert it.post("/sign-in", {"code": it.code()}).status == 429
        assert it.get("/").status == 200  # who is in stays in


def test_two_hives_share_a_browser(signed: Web, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It sends each of them the cookies of both, as they differ by their ports alone."""
    with hive(tmp_path_factory.mktemp("second")) as here, webs.web(here) as second:
        both = f"{second.cookie}; {signed.cookie}"
        for it in (signed, second):
            assert it.ask("GET", "/api/status", headers={"Cookie": both}).status == 200


def test_behind_a_proxy(tmp_path_factory: pytest.TempPathFactory) -> None:
    config = '[web]\npublic_origin = "https://hive.example"\n'
    with hive(tmp_path_factory.mktemp("proxy")) as here, webs.web(here, config) as it:
        outside: Headers = {"Host": "hive.example", "Origin": "https://hive.example"}
        body = f"code={it.code()}".encode()
        signed = it.ask("POST", "/sign-in", body, FORM | outside, OverUnix(it.unix, 0))
        cookie, *rest = signed.headers["set-cookie"].split(";")
        assert cookie.startswith("__Host-hive=") and " secure" in ";".join(rest).lower()
        assert it.ask("GET", "/", headers=outside | {"Cookie": cookie}).status == 200
        assert it.ask("GET", "/", headers=outside).status == 401  # the other cookie is not for https
        asked = it.ask("GET", "/explore/crashes?agent=ada", headers=outside | {"Cookie": cookie})
        assert asked.headers["location"] == "https://hive.example/stats/crashes?agent=ada"
        assert it.ask("GET", "/", headers={"Host": "hive.example", "Origin": it.origin}).status == 403
        assert it.get("/").status == 200


# headers


def test_every_answer_has_the_headers_of_a_page_that_trusts_nobody(signed: Web) -> None:
    paths = ["/", "/agent/ada", "/nowhere", "/api/state", "/api/nowhere", "/sign-in", "/static/page.css"]
    for path in [*paths, "/static/..%2fbase.tpl", "/static/base.tpl", "/%ff", "/sign-in?code=%ff"]:
        headers = signed.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy, path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store" or path == "/static/page.css"
        assert "server" not in headers


def test_only_files_of_the_page_are_given_out(signed: Web) -> None:
    for name in ("base.tpl", "../web.py", "..%2fweb.py", "nothing.css", ".css"):
        assert signed.get(f"/static/{name}").status == 404, name
