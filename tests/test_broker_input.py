"""What a peer may send to the broker, and what it must not get away with."""

import itertools
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hive import ROOT, Hive, Peer, hive

NUMBERS = itertools.count(1)

BAD = [
    (b"not json", "bad-request"),
    (b"[]", "bad-request"),
    (b"\xff\xfe", "bad-request"),
    (b"[" * 100_000, "bad-request"),
    (b'{"op":1}', "bad-request"),
    (b'{"op":"dance"}', "unknown-op"),
    (b'{"v":2,"op":"whoami"}', "bad-request"),
    (b'{"id":"x","op":"whoami"}', "bad-request"),
    (b'{"op":"send","to":"nobody","body":"x"}', "unknown-agent"),
    (b'{"op":"send","to":"../x","body":"x"}', "unknown-agent"),
    (b'{"op":"send","to":"bob"}', "bad-request"),
    (b'{"op":"send","to":"bob","body":7}', "bad-request"),
    (b'{"op":"send","to":"bob","body":"\\ud800"}', "bad-request"),
    (b'{"op":"send","to":"bob","body":"' + b"x" * 65537 + b'"}', "too-large"),
    (b'{"op":"send","to":"bob","body":"x","in_reply_to":-1}', "bad-request"),
    (b'{"op":"recv","wait_seconds":181}', "bad-request"),
    (b'{"op":"recv","max":0}', "bad-request"),
    (b'{"op":"recv","wait_seconds":true}', "bad-request"),
    (b'{"op":"ack","ids":[1.5]}', "bad-request"),
    (b'{"op":"set_status","status":"a\\u001b[2Jb"}', "bad-request"),
    (b'{"op":"hello","role":"harness","invocation":"' + b"0" * 32 + b'"}', "bad-request"),
    (b'{"op":"spawn","agent":"eve","toml":""}', "unknown-op"),
    (b'{"op":"applied","id":1}', "unknown-op"),
]


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    """One for all that is refused: it is not to be moved by any of it."""
    with hive(tmp_path_factory.mktemp("steady")) as it:
        it.add("manager", "bob")
        yield it


@pytest.fixture
def anew(steady: Hive) -> Peer:
    """An agent's harness."""
    name = f"new-{next(NUMBERS)}"
    steady.add(name)
    return steady.agent(name)


@pytest.mark.parametrize(("line", "code"), BAD, ids=[line[:40].decode(errors="replace") for line, _ in BAD])
def test_bad_requests_have_a_code_and_the_line_goes_on(anew: Peer, line: bytes, code: str) -> None:
    anew.sock.sendall(line + b"\n")
    answer = anew.read()
    assert (answer["ok"], answer["error"]) == (False, code)
    assert answer["message"]
    assert anew.ask("whoami")["ok"]


def test_a_million_characters_end_the_connection_only(here: Hive) -> None:
    bob = here.agent("bob")
    with pytest.raises(ConnectionError):
        for _ in range(100):
            bob.sock.sendall(b"x" * 1_000_000)
    assert here.agent("bob").ask("whoami")["ok"]


def test_before_hello_nothing_goes(here: Hive) -> None:
    peer = here.connect(here.socket("bob"), here.bases["bob"])
    assert peer.ask("recv")["error"] == "forbidden"


def test_a_second_harness_is_refused(here: Hive) -> None:
    here.agent("bob")
    second = here.connect(here.socket("bob"), here.bases["bob"])
    assert second.ask("hello", role="harness", invocation="0" * 32)["error"] == "busy"


@pytest.mark.parametrize("uid", [0, 65534, 1_200_000_000 - 1, 1_200_000_000 + 2 * 65536])
def test_a_uid_outside_the_range_is_refused(steady: Hive, uid: int) -> None:
    stranger = steady.connect(steady.socket("bob"), uid)
    assert stranger.read()["error"] == "forbidden"
    assert stranger.read() is None


def test_too_many_connections_of_one_agent(here: Hive) -> None:
    peers = [here.connect(here.socket("bob"), here.bases["bob"]) for _ in range(33)]
    assert peers[-1].read()["error"] == "too-many"
    assert here.agent("ada").ask("whoami")["ok"]


def test_a_peer_that_never_reads_holds_up_nobody(here: Hive) -> None:
    deaf = here.agent("bob")
    deaf.sock.setblocking(False)
    request = b'{"id":1,"op":"whoami"}\n' * 100
    written = 0
    while select.select([], [deaf.sock], [], 1)[1]:
        written += deaf.sock.send(request)
        assert written < 200_000_000, "the broker reads on and on"
    assert here.agent("ada").ask("whoami")["ok"]


@pytest.mark.parametrize(
    "name", ["x", "X1", "a_b", "-ab", "ab-", "operator", "all", "system", "../etc", "a" * 33, "ab\n"]
)
def test_spawn_refuses_a_bad_name(steady: Hive, name: str) -> None:
    assert steady.operator().ask("spawn", agent=name, toml="")["error"] == "bad-name"


def test_spawn_is_queued_for_hive_apply_and_answered_by_it(here: Hive) -> None:
    operator = here.operator()
    assert operator.ask("spawn", agent="bob", toml="")["error"] == "exists"
    refused = operator.ask("spawn", agent="eve", toml="\ncolour = 1")
    assert (refused["error"], refused["message"][:24]) == ("bad-config", "agent.toml:2: 'colour' i")
    asked = operator.write("spawn", agent="eve", toml="linger = 5", prompt="be kind")
    while not (queued := list((here.state / "apply").glob("*.json"))):
        assert operator.ask("status")["ok"]
    number = int(queued[0].stem)
    assert operator.ask("spawn", agent="eve", toml="")["error"] == "busy"
    agent = {"name": "eve", "role": "agent", "description": "", "uid_base": 1_300_000_000}
    here.system().ask("applied", request=number, agent=agent)
    answer = operator.answer(asked)
    assert (answer["agent"], answer["uid_base"]) == ("eve", 1_300_000_000)
    here.bases["eve"] = 1_300_000_000
    assert here.agent("eve").ask("whoami")["peers"] == ["ada", "bob", "manager", "operator"]


def test_a_failed_spawn_says_why(here: Hive) -> None:
    operator = here.operator()
    asked = operator.write("spawn", agent="eve", toml="")
    while not (queued := list((here.state / "apply").glob("*.json"))):
        assert operator.ask("status")["ok"]
    here.system().ask("apply_failed", request=int(queued[0].stem), message="no room")
    answer = operator.answer(asked)
    assert (answer["error"], answer["message"]) == ("apply-failed", "no room")


def test_without_sockets_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    program = [sys.executable, f"{ROOT}/bin/hive-broker", f"--state={tmp_path}"]
    env = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
    p = subprocess.run(program, env=env, capture_output=True, text=True)
    assert p.returncode == 78
    hint = "(start hive-broker.socket and hive-broker-system.socket)"
    assert p.stderr == f"systemd did not pass: operator, system\n{hint}\n"


def test_a_broken_hive_toml_names_line_and_key(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    config = tmp_path / "hive.toml"
    config.write_text("[model]\nendpoint = 3\n")
    program = [sys.executable, f"{ROOT}/bin/hive-broker", f"--state={tmp_path}", f"--config={config}"]
    env = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
    p = subprocess.run(program, env=env, capture_output=True, text=True)
    assert (p.returncode, p.stderr.startswith(f"{config}:2: 'model.endpoint' must be")) == (78, True)
