import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h11
import pytest

from hyperhive.gate import http1
from tests import endpoints
from tests.endpoints import Gate, Rehearsal, answer, ask, prompt
from tests.scripted_model import BASE, OK, SSE, Model, always_ok, chunked, gate_to, post, read_request

RULES = """
[[rule]]
agent = "ada"
text = "run it"
[[rule.steps]]
call = [{ name = "Bash", input = { command = "echo from the shell" } }]
[[rule.steps]]
say = "it said: {tool_result}"
[[rule]]
text = "flood"
flood_bytes = 200_000_000
[[rule]]
text = "who"
say = "{agent}"
[[rule]]
text = "say (.*)"
say = "{1}"
"""
TO_REHEARSAL = '[model]\nendpoint = "rehearsal"\n'


@dataclass
class Hive:
    model: Rehearsal
    gate: Gate
    url: str  # ada's side


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    tmp_path.chmod(0o755)
    endpoints.agent(tmp_path, "ada", BASE)
    path = tmp_path / "rehearsal.sock"
    with (
        endpoints.rehearsal(tmp_path / "model", RULES, f"unix:{path}") as model,
        endpoints.gate(tmp_path, TO_REHEARSAL, "--rehearsal", path) as gate,
        endpoints.relay(gate.path, BASE + 1000) as url,
    ):
        yield Hive(model, gate, url)


def test_the_cli_talks_to_the_rehearsal_through_the_gate(tmp_path: Path, hive: Hive) -> None:
    events = endpoints.claude(tmp_path / "home", hive.url, "run it", "--allowedTools", "Bash")
    assert events[-1]["result"] == "it said: from the shell"
    assert [r["agent"] for r in hive.model.requests()] == ["ada", "ada"]
    assert "x-api-key" not in hive.model.requests()[0]["headers"]


def test_who_the_cage_says_it_is_counts_for_nothing(hive: Hive) -> None:
    assert answer(hive.url, "who", X_Hive_Agent="bob") == "ada"


CREDENTIALS = {
    "model-key": ("x-api-key", "the-secret"),
    "model-token": ("authorization", "Bearer the-secret"),
}


@pytest.mark.parametrize("name", CREDENTIALS)
def test_the_credential_is_put_in_place_of_what_the_cage_sent(tmp_path: Path, name: str) -> None:
    (tmp_path / "credentials").mkdir()
    other = next(iter(CREDENTIALS.keys() - {name}))
    (tmp_path / "credentials" / name).write_text("the-secret\n")
    (tmp_path / "credentials" / other).write_text("\n")  # as the unit's default leaves it
    directory = os.fspath(tmp_path / "credentials")
    with (
        endpoints.rehearsal(tmp_path / "model", RULES) as model,
        gate_to(tmp_path, model.url, CREDENTIALS_DIRECTORY=directory) as url,
    ):
        sent = {"x_api_key": "mine", "authorization": "Bearer mine", "cookie": "mine", "x_hive_agent": "bob"}
        status, headers, data = ask(url, "POST", "/v1/messages", prompt("say x"), **sent)
        [request] = model.requests()
    assert status == 200 and "secret" not in str(headers) and b"secret" not in data
    assert "mine" not in str(request["headers"]) and "x-hive-agent" not in request["headers"]
    assert request["headers"][CREDENTIALS[name][0]] == CREDENTIALS[name][1]


def test_an_answer_is_passed_on_as_it_comes(tmp_path: Path) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        read_request(s)
        s.sendall(SSE + b"5\r\nfirst\r\n")
        model.go.wait(endpoints.PATIENCE)
        s.sendall(b"6\r\nsecond\r\n0\r\n\r\n")

    model = Model(behave)
    with model.running() as endpoint, gate_to(tmp_path, endpoint) as url, endpoints.connect(url) as s:
        s.sendall(post(b"{}", b"connection: close"))
        assert b"second" not in endpoints.until(s, b"first")
        model.go.set()
        rest = b"".join(iter(lambda: s.recv(65536), b""))
        assert rest.endswith(b"6\r\nsecond\r\n0\r\n\r\n")


def test_a_request_is_passed_on_as_it_comes(tmp_path: Path) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        data = b""
        while b"0\r\n\r\n" not in data:
            data += s.recv(65536)
            if b"half" in data:
                model.seen.put(data)
        s.sendall(OK)

    model = Model(behave)
    with model.running() as endpoint, gate_to(tmp_path, endpoint) as url, endpoints.connect(url) as s:
        s.sendall(chunked(b"half"))
        assert b"half" in model.seen.get(timeout=endpoints.PATIENCE)
        s.sendall(b"4\r\nmore\r\n0\r\n\r\n")
        assert s.recv(65536).startswith(b"HTTP/1.1 200")


def test_an_answer_before_the_end_of_the_request_arrives(tmp_path: Path) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        endpoints.until(s, b"half")
        s.sendall(b"HTTP/1.1 413 No\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        s.recv(65536)

    with (
        Model(behave).running() as endpoint,
        gate_to(tmp_path, endpoint) as url,
        endpoints.connect(url) as s,
    ):
        s.sendall(chunked(b"half"))
        assert endpoints.until(s, b"big").startswith(b"HTTP/1.1 413")


def test_a_connection_to_the_model_is_kept_and_made_anew_when_it_was_closed(tmp_path: Path) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        for _ in range(2):
            model.seen.put(read_request(s))
            s.sendall(OK)

    model = Model(behave)
    with model.running() as endpoint, gate_to(tmp_path, endpoint) as url, endpoints.connect(url) as s:
        for number in (1, 1, 2):
            s.sendall(post())
            assert endpoints.until(s, b"ok").startswith(b"HTTP/1.1 200")
            assert model.connections == number
            model.seen.get(timeout=endpoints.PATIENCE)


def test_pipelined_requests_are_answered_in_order(hive: Hive) -> None:
    bodies = [json.dumps(prompt(f"say word{n}")).encode() for n in range(3)]
    requests = [post(bodies[0]), post(bodies[1]), post(bodies[2], b"connection: close")]
    received = endpoints.talk(hive.url, b"".join(requests))
    assert received.count(b"HTTP/1.1 200") == 3
    assert received.index(b"word0") < received.index(b"word1") < received.index(b"word2")


def test_a_model_that_is_down_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as s:
        endpoint = f"http://127.0.0.1:{s.getsockname()[1]}"
    with gate_to(tmp_path, endpoint) as url:
        status, _, data = ask(url, "POST", "/v1/messages", prompt("x"))
        error = json.loads(data)
        assert (status, error["type"], error["error"]["type"]) == (502, "error", "api_error")
        assert (
            f"the model endpoint '{endpoint}' cannot be reached: Connection refused"
            in error["error"]["message"]
        )
        result = endpoints.claude(tmp_path / "home", url, "hello")[-1]
        assert (result["is_error"], result["api_error_status"]) == (True, 502)
        assert f"the model endpoint '{endpoint}' cannot be reached: " in result["result"]


@pytest.mark.parametrize(
    "garbage",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000],
)
def test_a_model_that_speaks_nonsense_is_named(tmp_path: Path, garbage: bytes) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        read_request(s)
        s.sendall(garbage)

    with Model(behave).running() as endpoint, gate_to(tmp_path, endpoint) as url:
        status, _, data = ask(url, "POST", "/v1/messages", prompt("x"))
        assert status == 502 and "broke off its answer" in json.loads(data)["error"]["message"]


def test_an_answer_that_breaks_off_is_cut_short_for_the_cage_too(tmp_path: Path) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        read_request(s)
        s.sendall(SSE + b"5\r\nfirst\r\n")

    with Model(behave).running() as endpoint, gate_to(tmp_path, endpoint) as url:
        received = endpoints.talk(url, post())
        assert received.endswith(b"first\r\n")
        assert endpoints.talk(url, post()).endswith(b"first\r\n")


def test_when_the_cage_goes_the_request_is_given_up(tmp_path: Path) -> None:
    def behave(s: socket.socket, model: Model) -> None:
        read_request(s)
        s.sendall(SSE)
        model.seen.put(s.recv(65536))

    model = Model(behave)
    with model.running() as endpoint, gate_to(tmp_path, endpoint) as url:
        with endpoints.connect(url) as s:
            s.sendall(post())
            assert s.recv(65536)
        assert model.seen.get(timeout=endpoints.PATIENCE) == b""


def memory(pid: int) -> int:
    """Resident, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_cage_that_never_reads_holds_up_nobody_and_costs_no_memory(hive: Hive) -> None:
    assert answer(hive.url, "say warm") == "warm"
    before = memory(hive.gate.process.pid)
    body = json.dumps(prompt("flood", stream=True)).encode()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            s = stack.enter_context(endpoints.connect(hive.url))
            s.sendall(post(body))
            assert s.recv(1)
        for _ in range(20):
            assert answer(hive.url, "say still there") == "still there"
        assert memory(hive.gate.process.pid) - before < 32 << 20


def test_an_agent_has_a_limited_number_of_connections(hive: Hive) -> None:
    endpoints.agent(hive.gate.folder, "bob", BASE + 65536)
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            s = stack.enter_context(endpoints.connect(hive.url))
            s.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
            assert s.recv(1)
        refused = endpoints.talk(hive.url, post())
        assert refused.startswith(b"HTTP/1.1 503 hive-gate: too many connections\r\n")
        with endpoints.relay(hive.gate.path, BASE + 65536) as bob:
            assert answer(bob, "who") == "bob"
    assert answer(hive.url, "say again") == "again"


@pytest.mark.parametrize(
    ("offset", "agent"), [(0, "ada"), (65535, "ada"), (-1, ""), (65536, ""), (-BASE, "")]
)
def test_only_uids_of_an_agents_range_are_served(hive: Hive, offset: int, agent: str) -> None:
    # the host's root and its own users are nobody's cage, also before an agent's folder was handed over
    (hive.gate.folder / "agents/newborn/state").mkdir(parents=True)
    with endpoints.relay(hive.gate.path, BASE + offset) as url:
        if agent:
            assert answer(url, "who") == agent
        else:
            assert endpoints.talk(url, post()) == b""
            assert (
                f"Refused a connection of uid {BASE + offset}: it is in no agent's range" in hive.gate.log()
            )


def test_agents_come_and_go_and_ranges_change_hands(hive: Hive) -> None:
    assert answer(hive.url, "who") == "ada"
    shutil.rmtree(hive.gate.folder / "agents/ada")
    assert endpoints.talk(hive.url, post()) == b""
    endpoints.agent(hive.gate.folder, "carol", BASE)
    assert answer(hive.url, "who") == "carol"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "cert.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run(
        [*new, *names, "-keyout", path, "-out", tmp_path / "cert"], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + (tmp_path / "cert").read_bytes())
    return path


def test_a_model_behind_tls_is_reached_and_its_certificate_checked(
    tmp_path: Path, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting, wary = tmp_path / "trusting", tmp_path / "wary"
    trusting.mkdir()
    wary.mkdir()
    with Model(always_ok, tls=context).running() as endpoint:
        with gate_to(trusting, endpoint, SSL_CERT_FILE=os.fspath(certificate)) as url:
            assert ask(url, "POST", "/v1/messages", prompt("x"))[::2] == (200, b"ok")
        with gate_to(wary, endpoint) as url:
            status, _, data = ask(url, "POST", "/v1/messages", prompt("x"))
            assert status == 502 and b"certificate verify failed" in data


WRONG_SETUPS = {
    '[model]\nendpoint = "ftp://x"\n': "hive.toml:2: 'model.endpoint' must be",
    '[model]\nendpont = "rehearsal"\n': "hive.toml:2: 'model.endpont' is not a key here",
    '[model]\nendpoint = "https://x:99999"\n': "endpoint 'https://x:99999': Port out of range",
    '[model]\nendpoint = "http://example.org"\n': "a credential would go out unencrypted",
    '[egress]\nprivate = ["10.0.0.1"]\n': "hive.toml: 'egress.private': '10.0.0.1' is no ADDRESS",
    '[egress]\nprivate = ["10.0.0.1/8:443"]\n': "hive.toml: 'egress.private': 10.0.0.1/8 has host bits set",
    '[egress]\nprivate = ["[fd00::/129]:443"]\n': "hive.toml: 'egress.private': 'fd00::/129' does not",
}


@pytest.mark.parametrize("config", WRONG_SETUPS)
def test_a_wrong_setup_is_named_and_not_tried_again(tmp_path: Path, config: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "model-key").write_text("secret")
    with endpoints.gate(tmp_path, config, CREDENTIALS_DIRECTORY=os.fspath(tmp_path)) as gate:
        with contextlib.suppress(ConnectionError), socket.socket(socket.AF_UNIX) as s:
            s.connect(os.fspath(gate.path))
        assert gate.process.wait(endpoints.PATIENCE) == 78
        assert WRONG_SETUPS[config] in gate.log() and "Traceback" not in gate.log()


def test_without_a_socket_it_says_so() -> None:
    run = subprocess.run(endpoints.GATE, env=endpoints.ENV, capture_output=True, text=True)
    assert run.returncode == 78
    assert run.stderr == "expected one socket, got 0\n(start hive-gate.socket)\n"


@pytest.mark.parametrize("stuck", ["reading", "writing"])
def test_a_peer_without_progress_is_given_up(stuck: str) -> None:
    async def wait(ours: socket.socket) -> None:
        streams = await asyncio.open_connection(sock=ours)
        connection = http1.Connection(h11.SERVER, *streams, 0.05)
        if stuck == "reading":
            await connection.read()
        await connection.read()
        await connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"9999999")]))
        await connection.send(h11.Data(data=b"x" * 9_999_999))

    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" if stuck == "writing" else b"GET /")
        with pytest.raises(TimeoutError):
            asyncio.run(wait(ours))
