import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests import endpoints
from tests.endpoints import Rehearsal, answer, ask, prompt


def events(data: bytes) -> list[dict[str, Any]]:
    """The data of the server-sent events, checked for their form."""
    read = []
    for block in data.decode().removesuffix("\n\n").split("\n\n"):
        name, line = block.split("\n")
        event = json.loads(line.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        read.append(event)
    return read


def test_a_stream_has_the_events_of_the_messages_interface(model: Rehearsal) -> None:
    said = "x" * 100
    body = prompt(f"say {said}", stream=True)
    status, headers, data = ask(model.url, "POST", "/v1/messages?beta=true", body)
    stream = events(data)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    kinds = [
        "message_start",
        "ping",
        "content_block_start",
        *["content_block_delta"] * 2,
        "content_block_stop",
    ]
    assert [e["type"] for e in stream] == [*kinds, "message_delta", "message_stop"]
    assert "".join(e["delta"]["text"] for e in stream[3:5]) == said
    assert stream[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def test_a_tool_call_is_streamed_as_pieces_of_json(model: Rehearsal) -> None:
    stream = events(ask(model.url, "POST", "/v1/messages", prompt("run echo 'ä'", stream=True))[2])
    start = next(e for e in stream if e["type"] == "content_block_start")
    assert start["content_block"]["name"] == "Bash" and start["content_block"]["input"] == {}
    pieces = [e["delta"]["partial_json"] for e in stream if e["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == {"command": "echo 'ä'"}
    assert stream[-2]["delta"]["stop_reason"] == "tool_use"


def test_the_same_request_gets_the_same_bytes(model: Rehearsal) -> None:
    body = prompt("say again", stream=True)
    assert ask(model.url, "POST", "/v1/messages", body)[2] == ask(model.url, "POST", "/v1/messages", body)[2]


def test_usage_follows_from_the_text_and_counts_the_cached_part(model: Rehearsal) -> None:
    first = json.loads(ask(model.url, "POST", "/v1/messages", prompt("say " + "x" * 400))[2])["usage"]
    assert first["output_tokens"] == 100
    assert first["cache_read_input_tokens"] == 0 and first["cache_creation_input_tokens"] > 100
    messages = [
        {"role": "user", "content": "say " + "x" * 400},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": "say z"},
    ]
    body = {"model": "m", "max_tokens": 9, "messages": messages}
    later = json.loads(ask(model.url, "POST", "/v1/messages", body)[2])["usage"]
    assert later["cache_read_input_tokens"] > 100 > later["cache_creation_input_tokens"]


def test_what_else_a_client_may_ask(model: Rehearsal) -> None:
    assert ask(model.url, "HEAD", "/")[0] == 200
    assert json.loads(ask(model.url, "GET", "/v1/models")[2])["data"][0]["type"] == "model"
    count = json.loads(ask(model.url, "POST", "/v1/messages/count_tokens", prompt("x" * 4000))[2])
    assert 1000 < count["input_tokens"] < 1100
    status, _, data = ask(model.url, "GET", "/api/event_logging")
    assert (status, json.loads(data)["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b"[" * 100_000,
        {"model": "m"},
        {"model": "m", "messages": []},
        {"messages": [{"role": "user", "content": "x"}]},
        {"model": "m", "messages": [{"role": "robot", "content": "x"}]},
        {"model": "m", "messages": [{"role": "user", "content": 1}]},
        {"model": "m", "messages": ["x"]},
    ],
)
def test_a_bad_request_is_refused_and_the_model_stays(model: Rehearsal, body: Any) -> None:
    status, _, data = ask(model.url, "POST", "/v1/messages", body)
    assert (status, json.loads(data)["error"]["type"]) == (400, "invalid_request_error")
    assert answer(model.url, "say still there") == "still there"


@pytest.mark.parametrize("noise", [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000])
def test_what_is_not_http_is_hung_up_on(model: Rehearsal, noise: bytes) -> None:
    assert endpoints.talk(model.url, noise).startswith((b"HTTP/1.1 4", b""))
    assert answer(model.url, "say still there") == "still there"


def test_a_connection_serves_requests_one_after_another_also_pipelined(model: Rehearsal) -> None:
    one = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert endpoints.talk(model.url, one + one + last).count(b"HTTP/1.1 200") == 3


def test_a_delay_holds_up_nobody_else(model: Rehearsal) -> None:
    began = time.monotonic()
    late = threading.Thread(target=answer, args=(model.url, "late"))
    late.start()
    assert answer(model.url, "say at once") == "at once"
    assert late.is_alive()
    late.join()
    assert time.monotonic() - began >= 1.5


def test_a_flood_has_the_size_that_was_asked_for(model: Rehearsal) -> None:
    status, _, data = ask(model.url, "POST", "/v1/messages", prompt("flood it", stream=True))
    texts = [e["delta"]["text"] for e in events(data) if e["type"] == "content_block_delta"]
    assert status == 200 and texts[0] == "it" and len("".join(texts)) == 300_002
    assert len(answer(model.url, "flood it")) == 300_002


def test_times_counts_for_each_agent(fresh: Rehearsal) -> None:
    def said(agent: str) -> str:
        return answer(fresh.url, "twice", x_hive_agent=agent)

    assert [said("ada") for _ in range(2)] == ["used", "used"]
    assert said("ada").startswith("This is the rehearsal model. No rule matches 'twice'")
    assert said("bob") == "used"


def test_a_rule_can_look_at_agent_and_system(model: Rehearsal) -> None:
    assert answer(model.url, "who", x_hive_agent="bob") == "bob"
    assert "No rule" in answer(model.url, "who", x_hive_agent="bobby")
    body = prompt("system", system=[{"type": "text", "text": "You are in a rehearsal."}])
    assert json.loads(ask(model.url, "POST", "/v1/messages", body)[2])["content"][0]["text"] == "seen"


def test_reminders_of_the_cli_are_not_the_users_text(model: Rehearsal) -> None:
    reminder = {"type": "text", "text": "<system-reminder>\nsay nothing\n</system-reminder>"}
    text = {"type": "text", "text": "say this"}
    body = {"model": "m", "messages": [{"role": "user", "content": [reminder, text, reminder]}]}
    assert json.loads(ask(model.url, "POST", "/v1/messages", body)[2])["content"][0]["text"] == "this"


def test_rules_are_read_again_when_the_file_changes(fresh: Rehearsal) -> None:
    fresh.rules.write_text('[[rule]]\ntext = "say (.*)"\nsay = "new {1}"\n')
    assert answer(fresh.url, "say this") == "new this"


def test_a_broken_change_keeps_the_old_rules_and_says_so(fresh: Rehearsal) -> None:
    fresh.rules.write_text('[[rule]]\ntext = "("\nsay = "x"\n')
    assert answer(fresh.url, "say this") == "this"
    log = (fresh.rules.parent / "stderr").read_text()
    assert f"{fresh.rules}: rule 1: 'text' is not a regular expression" in log
    assert "the old rules stay" in log


BROKEN = {
    "[[rule]]\n[[rule": "line 2",
    "rules = 1": "'rules' is not a key here (known: rule, models)",
    "rule = 1": "'rule' must be list, not int",
    '[[rule]]\nsay = "x"\n[[rule]]\ntxt = "x"\nsay = "x"': "rule 2: 'txt' is not a key here",
    '[[rule]]\ntext = "("\nsay = "x"': "rule 1: 'text' is not a regular expression",
    "[[rule]]\ntext = 3\nsay = 'x'": "rule 1: 'text' must be str, not int",
    '[[rule]]\ntext = "x"': "rule 1: give one of: say and call",
    '[[rule]]\nhang = true\nsay = "x"': "rule 1: give one of: say and call",
    '[[rule]]\nsay = "x"\ntimes = 0': "rule 1: 'times' must be from 1",
    '[[rule]]\nsay = "x"\ndelay_ms = true': "rule 1: 'delay_ms' must be int, not bool",
    "[[rule]]\ncall = [{ input = {} }]": "rule 1: call 1: 'name' is missing",
    "[[rule]]\ncall = [1]": "rule 1: 'call' must be a list of tables",
    '[[rule]]\nerror = { status = 200, type = "x", message = "x" }': "rule 1: error: 'status' must be",
    '[[rule]]\nerror = { status = 429, type = "x" }': "rule 1: error: 'message' is missing",
    "[[rule]]\n[rule.error]\nstatus=429\ntype='x'\nmessage='x'\nheaders={ A='x' }": "rule 1: error: header",
    '[[rule]]\nsay = "x"\nsteps = [{ say = "y" }]': "rule 1: 'say' and 'steps' exclude each other",
    '[[rule]]\nafter_tool = "x"\nsteps = [{ say = "y" }]': "rule 1: 'steps' cannot go with",
    '[[rule]]\nsteps = [{ say = "y" }, { sy = "z" }]': "rule 1: steps 2: 'sy' is not a key here",
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[-30:])
def test_a_broken_file_is_named_with_rule_and_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    command = [*endpoints.REHEARSAL, "--listen", "127.0.0.1:0", "--rules", path]
    run = subprocess.run(command, env=endpoints.ENV, capture_output=True, text=True)
    assert run.returncode == 78 and "Traceback" not in run.stderr
    assert run.stderr.startswith(f"{path}: ") and BROKEN[text] in run.stderr


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", "unix:/nonexistent/x"])
def test_a_bad_address_is_a_wrong_setup(tmp_path: Path, address: str) -> None:
    (tmp_path / "rules.toml").write_text("")
    command = [*endpoints.REHEARSAL, "--listen", address, "--rules", tmp_path / "rules.toml"]
    run = subprocess.run(command, env=endpoints.ENV, capture_output=True, text=True)
    assert run.returncode == 78 and f"cannot listen on '{address}'" in run.stderr


def test_it_takes_its_socket_from_systemd_and_the_first_rules_that_exist(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.sock"
    mine, shipped = tmp_path / "mine.toml", tmp_path / "shipped.toml"
    shipped.write_text('[[rule]]\nsay = "shipped"\n')
    activate = ["systemd-socket-activate", f"--listen={path}", f"-EPYTHONPATH={endpoints.ROOT}"]
    command = [*activate, *endpoints.REHEARSAL, "--rules", mine, "--rules", shipped]
    log = tmp_path / "stderr"
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        endpoints.wait_until(lambda: "Listening on" in log.read_text(), process)
        try:
            with endpoints.relay(path, os.getuid()) as url:
                assert answer(url, "hello") == "shipped"
                mine.write_text('[[rule]]\nsay = "mine"\n')
                assert answer(url, "hello") == "mine"
        finally:
            process.terminate()


def test_without_a_socket_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("")
    command = [*endpoints.REHEARSAL, "--rules", tmp_path / "rules.toml"]
    run = subprocess.run(command, env=endpoints.ENV, capture_output=True, text=True)
    assert run.returncode == 78
    assert run.stderr == "expected one socket, got 0\n(start hive-rehearsal.socket, or give --listen)\n"


def test_a_hang_ends_when_the_client_goes(model: Rehearsal) -> None:
    body = json.dumps(prompt("hang", stream=True)).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with endpoints.connect(model.url) as s:
        s.sendall(head + body)
        endpoints.until(s, b"message_start")
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.recv(1)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(endpoints.PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            assert s.recv(1) == b""


# The rules that ship.

MAIL = (
    'You have 1 new message.\n<mail id="7" from="{}" to="{}" sent="2026-11-22T10:00:00.000Z">\n{}\n</mail>'
)


def play(url: str, agent: str, sender: str, body: str, results: list[str]) -> list[dict[str, Any]]:
    """The tool calls of one turn of an agent, given what each of its tools answers."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": MAIL.format(sender, agent, body)}]
    calls: list[dict[str, Any]] = []
    while True:
        request = {"model": "claude-m", "max_tokens": 9, "messages": messages}
        data = ask(url, "POST", "/v1/messages", request, x_hive_agent=agent)[2]
        content = json.loads(data)["content"]
        uses = [part for part in content if part["type"] == "tool_use"]
        if not uses:
            return calls
        calls += [{"tool": use["name"]} | use["input"] for use in uses]
        texts = [(use["id"], results.pop(0)) for use in uses]
        answers = [{"type": "tool_result", "tool_use_id": i, "content": text} for i, text in texts]
        messages += [{"role": "assistant", "content": content}, {"role": "user", "content": answers}]


def test_the_shipped_rules_play_the_demo(tmp_path: Path) -> None:
    rules = (endpoints.ROOT / "units/rehearsal.toml").read_text()
    with endpoints.rehearsal(tmp_path / "model", rules) as model:
        [task] = play(model.url, "manager", "operator", "Ask ada for a haiku, and bob to check it.", ["{}"])
        assert (task["tool"], task["to"]) == ("mcp__hive__send", "ada")
        shell, review = play(model.url, "ada", "manager", task["body"], ["one\ntwo\nthree", "{}"])
        assert shell["tool"] == "Bash" and "/state/" in shell["command"] and review["to"] == "bob"
        thanks, report = play(model.url, "bob", "ada", review["body"], ["{}", "{}"])
        assert (thanks["to"], thanks["in_reply_to"], report["to"]) == ("ada", 7, "manager")
        [final] = play(model.url, "manager", "bob", report["body"], ["{}"])
        assert final["to"] == "operator" and "one\ntwo\nthree" in final["body"]
        assert play(model.url, "ada", "bob", thanks["body"], []) == []


def test_the_shipped_rules_say_and_run_what_a_mail_asks(tmp_path: Path) -> None:
    rules = (endpoints.ROOT / "units/rehearsal.toml").read_text()
    with endpoints.rehearsal(tmp_path / "model", rules) as model:
        [said] = play(model.url, "ada", "operator", "say hello", ["{}"])
        assert said == {"tool": "mcp__hive__send", "to": "operator", "body": "hello"}
        ran, sent = play(model.url, "ada", "bob", "please run uname", ["Linux", "{}"])
        assert ran["command"] == "uname" and (sent["to"], sent["body"]) == ("bob", "Linux")


def test_a_model_that_is_not_listed_is_unknown(tmp_path: Path) -> None:
    rules = 'models = ["claude-.*"]\n[[rule]]\ntext = "."\nsay = "hello"\n'
    with endpoints.rehearsal(tmp_path / "model", rules) as model:
        status, _, data = ask(model.url, "POST", "/v1/messages", prompt("hi", model="gpt"))
        assert (status, json.loads(data)["error"]) == (
            404,
            {"type": "not_found_error", "message": "model: gpt"},
        )
        assert ask(model.url, "POST", "/v1/messages", prompt("hi", model="claude-x"))[0] == 200
        assert [(r["model"], r["rule"]) for r in model.requests()] == [("gpt", None), ("claude-x", 1)]
