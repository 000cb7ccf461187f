"""What a cage may try on the gate."""

import contextlib
import json
import socket
from pathlib import Path

import pytest

from hyperhive.gate.account import Denied
from hyperhive.gate.doors import Doors
from tests import endpoints
from tests.endpoints import ask
from tests.scripted_model import Model, always_ok, chunked, gate_to, post

REFUSED = {
    b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n": 403,
    b"GET http://example.org/v1/models HTTP/1.1\r\nhost: example.org\r\n\r\n": 403,
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n": 403,
    b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n": 403,
    b"DELETE /v1/models HTTP/1.1\r\nhost: x\r\n\r\n": 403,
    b"GET /v1/files HTTP/1.1\r\nhost: x\r\n\r\n": 403,
    b"GET /v1/models/../files HTTP/1.1\r\nhost: x\r\n\r\n": 403,
    b"GET /v1/models/..%2ffiles HTTP/1.1\r\nhost: x\r\n\r\n": 403,
    b"GET /v1/models/.. HTTP/1.1\r\nhost: x\r\n\r\n": 403,
    b"GET //v1/models HTTP/1.1\r\nhost: x\r\n\r\n": 403,
    post(path=b"/v1/messages/batches"): 403,
    post(b"{}", b"transfer-encoding: chunked"): 400,
    post(b"{}", b"content-length: 3"): 400,
    post(b"{}", b"content-encoding: gzip"): 415,
    post(b"{}", b"transfer-encoding: gzip, chunked"): 501,
    post(b"{}", b"x: a\x00b"): 400,
    post(b"{}", b" folded: x"): 400,
    post(b"{}", b"x y: z"): 400,
    b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n": 413,
    b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n": 400,
    b"POST /v1/messages HTTP/1.1\r\n" + b"x: y\r\n" * 60_000 + b"\r\n": 431,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n": 400,
}


@pytest.mark.parametrize("request_", REFUSED, ids=lambda data: data[:40].decode("ascii", "replace"))
def test_whatever_is_not_a_plain_request_to_the_model_is_refused(tmp_path: Path, request_: bytes) -> None:
    model = Model(always_ok)
    with model.running() as endpoint, gate_to(tmp_path, endpoint) as url:
        head, _, body = endpoints.talk(url, request_).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % REFUSED[request_])
        assert model.seen.empty()
        assert body.count(b"\n") == (0 if request_.startswith(b"HEAD") else 1)
        assert ask(url, "GET", "/v1/models/claude-opus-5.5@1")[0] == 200


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"5\r\nhelloXX", b"-1\r\n", b"f" * 30 + b"\r\n"])
def test_a_bad_chunk_ends_the_request_on_both_sides(tmp_path: Path, chunk: bytes) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        model.seen.put(b"".join(iter(lambda: s.recv(65536), b"")))

    model = Model(behave)
    with model.running() as endpoint, gate_to(tmp_path, endpoint) as url:
        assert endpoints.talk(url, chunked(b"good") + chunk).startswith(b"HTTP/1.1 400")
        # never the empty chunk that would make it a whole request
        assert not model.seen.get(timeout=endpoints.PATIENCE).endswith(b"0\r\n\r\n")


def test_a_body_without_a_length_has_a_limit_too(tmp_path: Path) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        while s.recv(1 << 20):
            pass

    with (
        Model(behave).running() as endpoint,
        gate_to(tmp_path, endpoint) as url,
        endpoints.connect(url) as s,
    ):
        s.sendall(chunked())
        with contextlib.suppress(ConnectionError):
            for _ in range(65):
                s.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
        assert s.recv(65536).startswith(b"HTTP/1.1 413")


PICTURE = b'{"messages": [{"role": "user", "content": [{"type": "image", "source": {%s}}]}]}'
FETCHED = [
    PICTURE % b'"type": "url", "url": "https://evil.test/?secret"',
    PICTURE % b'"url": "https://evil.test/?secret", "type"\n  :\t"url"',
    PICTURE % b'"type": "base64", "type": "url", "url": "https://evil.test/?secret"',
    PICTURE % b'"ty\\u0070e": "url", "url": "https://evil.test/?secret"',
    PICTURE % b'"type": "\\u0075rl", "url": "https://evil.test/?secret"',
    PICTURE % (b'"type"' + b" " * 100_000 + b': "url"'),
    (PICTURE % b'"type": "url", "url": "https://evil.test/?secret"').decode().encode("utf-16"),
    b'{"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}',
    b'{"mcp_servers": [{"type": "url", "url": "https://evil.test/", "name": "x"}]}',
    b'{"mcp_servers" : [{"url": "https://evil.test/", "name": "x"}]}',
]
# The same in what is talked about, and what is like it.
TALKED = [
    {"content": 'say {"type": "url", "url": "https://x"}, {"mcp_servers": []} or "\\u0075rl"'},
    {"type": "text", "text": "url", "url": "url", "name": "web_fetch", "x": 'ä "\\u0041" \0 \x7f'},
    {
        "tools": [
            {"type": "web_search_20250305"},
            {"input_schema": {"properties": {"type": {"type": "string"}}}},
        ]
    },
]


def test_the_models_provider_is_not_sent_anywhere(tmp_path: Path) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        model.seen.put(b"".join(iter(lambda: s.recv(65536), b"")))

    model = Model(behave)
    with model.running() as endpoint, gate_to(tmp_path, endpoint) as url:
        for body in FETCHED:
            answer = endpoints.talk(url, post(body))
            assert answer.startswith(b"HTTP/1.1 403 "), body[:100]
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "permission_error"
            passed = model.seen.get(timeout=endpoints.PATIENCE).partition(b"\r\n\r\n")[2]
            assert len(passed) < len(body) and b"evil.test" not in passed, "the rest of it"


def test_what_is_only_talked_about_passes(tmp_path: Path) -> None:
    with Model(always_ok).running() as endpoint, gate_to(tmp_path, endpoint) as url:
        for said in TALKED:
            assert ask(url, "POST", "/v1/messages", said)[0] == 200


def in_pieces(body: bytes) -> None:
    doors = Doors()
    for each in body:
        doors.look(bytes([each]))


def test_it_makes_no_difference_in_which_pieces_it_comes() -> None:
    for body in FETCHED:
        with pytest.raises(Denied):
            in_pieces(body)
    for said in TALKED:
        in_pieces(json.dumps(said).encode())
