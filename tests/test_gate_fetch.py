"""Plain HTTP through hive-gate, and that the model's credential is no part of it."""

import contextlib
import http.client
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import endpoints
from tests.endpoints import prompt
from tests.outside import Outside, Server, outside
from tests.scripted_model import OK, Model, always_ok, read_request

Web = tuple[Outside, Model, str]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """The model's endpoint, which is a web server to those who may reach it; and its HOST:PORT."""
    model = Model(always_ok)
    (tmp_path / "model-key").write_text("the-secret")
    with model.running() as url:
        host = url.removeprefix("http://")
        config = f'[model]\nendpoint = "{url}"\n[egress]\nprivate = ["{host}"]\n'
        with outside(tmp_path, config, CREDENTIALS_DIRECTORY=os.fspath(tmp_path)) as out:
            out.allow(host)
            yield out, model, host


def head(request: bytes) -> list[str]:
    """Its first line, and its headers sorted."""
    first, *rest = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return [first, *sorted(rest, key=str.lower)]


def test_the_credential_goes_to_the_model_by_its_own_way_only(web: Web) -> None:
    out, model, host = web
    assert endpoints.ask(out.url, "POST", "/v1/messages", prompt("x"))[0] == 200
    assert b"x-api-key: the-secret" in model.seen.get(timeout=20)
    body = {"x": 1}
    # the model's own host, asked for as any other
    assert endpoints.ask(out.url, "POST", f"http://{host}/v1/messages", body, Host=host)[0] == 200
    assert b"secret" not in model.seen.get(timeout=20)
    with out.connect(host) as s:
        s.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        assert endpoints.until(s, b"ok")
    assert b"secret" not in model.seen.get(timeout=20)
    # and back, on one connection
    client = http.client.HTTPConnection(out.url.removeprefix("http://"), timeout=20)
    with contextlib.closing(client):
        for path, secret in (
            (f"http://{host}/v1/models", False),
            ("/v1/models", True),
            (f"http://{host}/x", False),
        ):
            client.request("GET", path, headers={"Host": host})
            assert client.getresponse().read() == b"ok"
            assert (b"secret" in model.seen.get(timeout=20)) == secret


def test_a_request_is_passed_on_with_what_is_its_own(web: Web) -> None:
    out, model, host = web
    lines = [f"POST http://{host}?a=%20b HTTP/1.1", f"Host: {host}", "Authorization: mine", "Cookie: mine"]
    lines += [
        "Proxy-Authorization: x",
        "Proxy-Connection: keep-alive",
        "Connection: close, x-hop, content-length",
        "X-Hop: x",
    ]
    lines += ["Expect: 100-continue", "Content-Length: 3", "", "abc"]
    assert endpoints.talk(out.url, "\r\n".join(lines).encode()).endswith(b"\r\n\r\nok")
    passed = model.seen.get(timeout=20)
    assert head(passed) == [
        "POST /?a=%20b HTTP/1.1",
        "authorization: mine",
        "content-length: 3",
        "cookie: mine",
        f"host: {host}",
    ]
    assert passed.endswith(b"abc")


def test_one_connection_is_kept_and_is_one_fact(web: Web) -> None:
    out, model, host = web
    client = http.client.HTTPConnection(out.url.removeprefix("http://"), timeout=20)
    with contextlib.closing(client):
        for _ in range(5):
            client.request("GET", f"http://{host}/x", headers={"Host": host})
            assert client.getresponse().read() == b"ok"
    fact = out.fact("egress")
    assert (fact["HIVE_END"], model.connections) == ("closed", 1)
    # heads count, too, as much may be told in them
    passed = sum(len(model.seen.get()) for _ in range(5))
    assert (int(fact["HIVE_BYTES_IN"]), int(fact["HIVE_BYTES_OUT"])) == (passed, 5 * len(OK))


def test_a_connection_that_is_kept_is_of_use_only_while_it_is_allowed(web: Web) -> None:
    out, model, host = web
    request = f"GET http://{host}/x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    with endpoints.connect(out.url) as s:
        s.sendall(request)
        endpoints.until(s, b"ok")
        out.allow()
        with contextlib.suppress(ConnectionError):  # it may be cut at once
            s.sendall(request)
            assert s.recv(65536)[:13] in (b"HTTP/1.1 403 ", b"")
    assert endpoints.talk(out.url, request).startswith(b"HTTP/1.1 403 ")
    assert out.fact("egress_denied")["HIVE_RULE"] == "allow"
    assert model.seen.qsize() == 1


ANSWERS = {
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n": b"200 OK",
    b"HTTP/1.0 200 OK\r\n\r\nok": b"200 OK",
    b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 404 Gone\r\ncontent-length: 2\r\n\r\nok": b"404 Gone",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok": b"502 hive-gate: ",
    b"nonsense\r\n\r\n": b"502 hive-gate: ",
    b"": b"502 hive-gate: ",
}


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Outside, Server]]:
    def behave(s: socket.socket) -> None:
        read_request(s)
        s.sendall(server.says)
        s.shutdown(socket.SHUT_WR)

    with Server(behave) as server:
        to = f"127.0.0.1:{server.port}"
        with outside(tmp_path_factory.mktemp("gate"), f'[egress]\nprivate = ["{to}"]\n') as out:
            out.allow(to)
            yield out, server


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_passed_on_or_what_is_wrong_is_named(
    scripted: tuple[Outside, Server], answer: bytes
) -> None:
    out, server = scripted
    server.says = answer
    to = f"127.0.0.1:{server.port}"
    said = endpoints.talk(
        out.url, f"GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n".encode()
    )
    assert said.startswith(b"HTTP/1.1 " + ANSWERS[answer])
    body = said.partition(b"\r\n\r\n")[2]
    assert body.startswith(b"hive-gate: ") if b" 502 " in said else b"ok" in body
