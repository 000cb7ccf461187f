"""hive-mcp on pipes, as the CLI runs it, with a scripted broker on a unix socket."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperhive import wire
from tests.mcp_server import HIVE_MCP, INVOCATION, Server
from tests.scripted import Scripted, wait_until

HELLO = {"agent": "ada", "role": "agent", "waiting": 0, "turns": 0, "model": "rehearsal"}
WHOAMI = {
    "agent": "ada",
    "role": "agent",
    "status": "",
    "waiting": 1,
    "leased": 2,
    "peers": ["bob", "eve"],
}
MAIL: dict[str, Any] = {
    "id": 12,
    "from": "bob",
    "to": "ada",
    "body": "hi",
    "sent_at": "2026-11-22T10:00:00.000Z",
    "in_reply_to": None,
    "attempts": 1,
    "redelivered": False,
    "reason": None,
}
BLOCK = '<mail id="12" from="bob" to="ada" sent="2026-11-22T10:00:00.000Z">\nhi\n</mail>'
TOOLS = {"recv", "send", "whoami", "set_status", "request_next_turn"} | {
    *("ask", "answer", "remind", "loose_ends", "cancel_loose_end")
}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Scripted]:
    it = Scripted(tmp_path)
    yield it
    it.stop()


@pytest.fixture
def server(broker: Scripted) -> Iterator[Server]:
    env = {"HIVE_SOCKET": os.fspath(broker.socket), "INVOCATION_ID": INVOCATION}
    with subprocess.Popen([HIVE_MCP], stdin=-1, stdout=-1, env=env) as process:
        yield Server(process)
        process.kill()


# the protocol


@pytest.mark.parametrize("asked", ["2025-06-18", "2025-03-26", "2024-11-05"])
def test_initialize_agrees_to_a_version_it_knows(server: Server, asked: str) -> None:
    server.request("initialize", protocolVersion=asked, capabilities={}, clientInfo={})
    result = server.read()["result"]
    assert (result["protocolVersion"], result["capabilities"]) == (asked, {"tools": {}})
    server.notify("notifications/initialized")
    server.alive()


def test_initialize_offers_its_newest_version_instead_of_one_it_does_not_know(server: Server) -> None:
    server.request("initialize", protocolVersion="2099-01-01", capabilities={}, clientInfo={})
    assert server.read()["result"]["protocolVersion"] == "2025-06-18"


def test_initialize_takes_less_than_60_ms_of_a_processor() -> None:
    """`make bench` measures the clock's time; here other tests run beside it, so it is the processor's."""
    line = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}\n'
    took = []
    for _ in range(10):
        with subprocess.Popen([HIVE_MCP], stdin=-1, stdout=-1) as process:
            assert process.stdin and process.stdout
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline()
            nanoseconds = Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]
            took.append(int(nanoseconds) / 1e6)
    assert min(took) < 60


def test_the_tools_and_their_schemas(server: Server) -> None:
    server.request("tools/list")
    tools = server.read()["result"]["tools"]
    assert {tool["name"] for tool in tools} == TOOLS
    for tool in tools:
        schema = tool["inputSchema"]
        assert (schema["type"], schema["additionalProperties"]) == ("object", False)
        assert {*schema.get("required", [])} <= {*schema["properties"]}
        assert all(about["description"] for about in schema["properties"].values())


@pytest.mark.parametrize(
    ("line", "code", "id_"),
    [
        (b"{", -32700, None),
        (b"\xff\xfe", -32700, None),
        (b"[" * 100_000, -32700, None),
        (b"9" * 10_000, -32700, None),
        (b"x" * (3 * wire.LINE_MAX), -32700, None),
        (b"[]", -32600, None),
        (b'"text"', -32600, None),
        (b"{}", -32600, None),
        (b'{"jsonrpc":"2.0","id":4,"method":5}', -32600, 4),
        (b'{"jsonrpc":"2.0","id":[],"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":[]}', -32600, "a"),
        (b'{"jsonrpc":"2.0","id":4,"method":"resources/list"}', -32601, 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"initialize","params":{}}', -32602, 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{}}', -32602, 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":[]}}', -32602, 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"nap"}}', -32602, 4),
        (
            b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"recv","arguments":1}}',
            -32602,
            4,
        ),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_is_wrong_has_a_code_and_the_next_line_works(
    server: Server, line: bytes, code: int, id_: int | str | None
) -> None:
    server.write(line)
    answer = server.read()
    assert (answer["error"]["code"], answer["id"]) == (code, id_)
    server.alive()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"jsonrpc":"2.0","method":"notifications/unheard-of"}',
        b'{"jsonrpc":"2.0","method":"ping"}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}',
        b'{"jsonrpc":"2.0","id":4,"result":{}}',
    ],
)
def test_what_is_no_request_has_no_answer(server: Server, line: bytes) -> None:
    server.write(line)
    server.alive()


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("send", {"to": "bob"}, "'body' is missing"),
        ("send", {"to": 1, "body": ""}, "'to' must be str"),
        ("send", {"to": "bob", "body": "x", "cc": "y"}, "send has no argument 'cc'"),
        ("send", {"to": "bob", "body": "\ud800"}, "'body' is not valid Unicode"),
        ("send", {"to": "bob", "body": "é" * 40_000}, "'body' is 80000 bytes long"),
        ("send", {"to": "bob", "body": "x", "in_reply_to": 0}, "'in_reply_to' must be from 1"),
        ("recv", {"wait_seconds": "9"}, "'wait_seconds' must be int"),
        ("recv", {"wait_seconds": -1}, "'wait_seconds' must be from 0"),
        ("recv", {"wait_seconds": True}, "'wait_seconds' must be int"),
        ("recv", {"max": 101}, "'max' must be from 1 to 100"),
        ("whoami", {"x": 1}, "whoami has no argument 'x'"),
        ("set_status", {"status": "x" * 201}, "'status' is 201 bytes long"),
        ("request_next_turn", {"note": None}, "'note' must be str"),
        ("ask", {"to": "bob"}, "'question' is missing"),
        ("ask", {"question": "q", "options": "a"}, "'options' must be list"),
        ("ask", {"question": "q", "ttl": "1h"}, "'ttl' must be int"),
        ("answer", {"question": 1, "answer": 2}, "'answer' must be list"),
        ("remind", {"message": "m", "delay": 0}, "'delay' must be from 1"),
        ("loose_ends", {"all": 1}, "'all' must be bool"),
        ("cancel_loose_end", {"kind": "mail", "number": True}, "'number' must be int"),
    ],
    ids=str,
)
def test_wrong_arguments_name_the_field(server: Server, tool: str, arguments: Any, text: str) -> None:
    said, is_error = server.call(tool, **arguments)
    assert is_error and said.startswith(text)


# with a scripted broker


def test_a_hello_comes_first_and_names_the_run(server: Server, broker: Scripted) -> None:
    broker.start(hello=[HELLO], whoami=[WHOAMI])
    assert server.say("whoami") == (
        "You are ada, role agent.\nYour status: (none set)\n"
        "Mail: 1 waiting in the queue, 2 handed to you in this turn.\nYou can write to: bob, eve"
    )
    (hello,) = broker.requests("hello")
    assert (hello["role"], hello["invocation"]) == ("tool", INVOCATION)


def test_mail_is_shown_in_blocks_with_what_waits_and_a_long_wait_is_brought_down(
    server: Server, broker: Scripted
) -> None:
    second = MAIL | {"id": 13, "in_reply_to": 3, "redelivered": True, "reason": 'a "crash"', "attempts": 2}
    broker.start(recv=[{"messages": [MAIL, second], "waiting": 5}, {"messages": [], "waiting": 0}])
    fields = 'in_reply_to="3" redelivered="1" because="a &quot;crash&quot;"'
    again = BLOCK.replace('"12"', '"13"').replace('Z">', f'Z" {fields}>')
    down = "(wait_seconds was brought down from 900 to 180, the longest that recv waits.)"
    text = server.say("recv", wait_seconds=900, max=7)
    assert text == f"{BLOCK}\n\n{again}\n\n(5 more waiting: call recv again.)\n\n{down}"
    assert server.say("recv") == "No mail."
    asked = [(r["wait_seconds"], r["max"]) for r in broker.requests("recv")]
    assert asked == [(180, 7), (0, 20)]


def test_a_parked_recv_holds_up_nothing(server: Server, broker: Scripted) -> None:
    broker.start(recv=["park"], send=[{"ids": [7], "ahead": 2}])
    server.start("recv", wait_seconds=180)
    broker.wait_for("recv")
    assert server.say("send", to="bob", body="x") == "Sent to bob as message 7 (2 ahead of it in the queue)."


def test_cancelling_hangs_up_and_is_not_answered(server: Server, broker: Scripted) -> None:
    broker.start(hello=[HELLO], recv=["park"], whoami=[WHOAMI])
    id_ = server.start("recv", wait_seconds=180)
    broker.wait_for("recv")
    server.notify("notifications/cancelled", requestId=id_)
    fds = Path(f"/proc/{server.process.pid}/fd")
    wait_until(lambda: len([*fds.iterdir()]) == 3, server.process)  # no more than stdin, stdout, stderr
    server.say("whoami")  # the next line that comes is the answer to this


def test_an_id_that_is_under_way_is_refused(server: Server, broker: Scripted) -> None:
    broker.start(recv=["park"])
    id_ = server.start("recv", wait_seconds=180)
    server.last_id -= 1
    assert server.start("recv") == id_
    assert server.read()["error"]["code"] == -32600


def test_33_calls_at_once_are_too_many(server: Server, broker: Scripted) -> None:
    broker.start(recv=["park"])
    for _ in range(33):
        server.start("recv", wait_seconds=180)
    answer = server.read()
    assert (answer["id"], answer["error"]["message"]) == (33, "32 calls are under way")


def test_an_error_of_the_broker_is_the_tool_s_error(server: Server, broker: Scripted) -> None:
    broker.start(send=[{"ok": False, "error": "unknown-agent", "message": "no agent is called 'bo'"}])
    assert server.call("send", to="bo", body="x") == ("no agent is called 'bo'", True)


@pytest.mark.parametrize("death", ["hangup", "half"])
def test_a_send_whose_answer_was_lost_is_sent_again_under_its_key(
    server: Server, broker: Scripted, death: str
) -> None:
    broker.start(send=[death, {"ids": [7], "ahead": 0}])
    assert server.say("send", to="bob", body="x") == "Sent to bob as message 7."
    first, second = broker.requests("send")
    assert first["key"] == second["key"] and len(first["key"]) == 32


def test_a_question_whose_answer_was_lost_is_put_again_under_its_key(
    server: Server, broker: Scripted
) -> None:
    broker.start(hello=[HELLO], ask=["hangup", {"question": 3, "expires_at": None}])
    assert server.say("ask", question="q?").startswith("Question 3 is put to operator.")
    first, second = broker.requests("ask")
    assert first == second | {"id": first["id"]} and len(first["key"]) == 32


def test_two_sends_have_two_keys(server: Server, broker: Scripted) -> None:
    broker.start(send=[{"ids": [7], "ahead": 0}])
    server.say("send", to="bob", body="x")
    server.say("send", to="bob", body="x")
    first, second = broker.requests("send")
    assert first["key"] != second["key"]


def test_a_call_waits_for_a_broker_that_is_not_there_yet(server: Server, broker: Scripted) -> None:
    id_ = server.start("whoami")
    server.alive()
    broker.start(whoami=[WHOAMI])
    assert server.result(id_)[0].startswith("You are ada")


def test_a_parked_recv_goes_on_after_a_restart_and_before_the_harness_is_back(
    server: Server, broker: Scripted
) -> None:
    broker.start(recv=["park"])
    id_ = server.start("recv", wait_seconds=100)
    broker.wait_for("recv")
    broker.stop()
    gone = {"ok": False, "error": "no-harness", "message": "no harness is connected"}
    broker.start(recv=[gone, gone, {"messages": [MAIL], "waiting": 0}])
    assert server.result(id_) == (BLOCK, False)
    waits = [r["wait_seconds"] for r in broker.requests("recv")]
    assert waits[0] == 100 and 80 < waits[-1] < 100


def test_what_is_no_answer_ends_the_call_with_an_error(server: Server, broker: Scripted) -> None:
    broker.start(whoami=["garbage"])
    text, is_error = server.call("whoami")
    assert is_error and text.startswith("not JSON")
    server.alive()


def test_another_turn_is_mail_to_oneself(server: Server, broker: Scripted) -> None:
    broker.start(whoami=[WHOAMI], send=[{"ids": [7], "ahead": 0}])
    server.say("request_next_turn", note="look at the tests")
    server.say("request_next_turn")
    bodies = [(r["to"], r["body"]) for r in broker.requests("send")]
    own = "You asked yourself for another turn."
    assert bodies == [("ada", f"{own} Your note:\nlook at the tests"), ("ada", own)]


def test_the_end_of_stdin_ends_it_at_once_also_with_a_parked_recv(server: Server, broker: Scripted) -> None:
    broker.start(recv=["park"])
    server.start("recv", wait_seconds=180)
    broker.wait_for("recv")
    assert server.process.stdin
    server.process.stdin.close()
    assert server.process.wait(2) == 0


def test_it_ends_when_nobody_reads_its_answers(server: Server) -> None:
    assert server.process.stdout
    server.process.stdout.close()
    server.request("ping")
    assert server.process.wait(2) == 0


def test_a_restart_between_the_result_and_its_confirmation(server: Server, broker: Scripted) -> None:
    broker.start(recv=[{"messages": [MAIL], "waiting": 0}], shown=["hangup", {"shown": 1}])
    assert server.call("recv") == (BLOCK, False)
    broker.wait_for("shown", 2)
    assert [request["ids"] for request in broker.requests("shown")] == [[12], [12]]
