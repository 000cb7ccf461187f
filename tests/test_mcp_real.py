"""hive-mcp with the real broker: under the official SDK, the real CLI, and restarts."""

import json
import select
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests import endpoints
from tests.hive import Hive, Peer
from tests.mcp_server import INVOCATION, Server, caged, in_cage
from tests.scripted import wait_until
from tests.test_mcp import TOOLS

RULES = """
[[rule]]
text = "begin"
[[rule.steps]]
call = [{ name = "mcp__hive__whoami", input = {} }]
[[rule.steps]]
call = [{ name = "mcp__hive__send", input = { to = "bob", body = "{tool_result}" } }]
[[rule.steps]]
call = [{ name = "mcp__hive__recv", input = { wait_seconds = 100 } }]
[[rule.steps]]
call = [{ name = "mcp__hive__request_next_turn", input = { note = "go on" } }]
[[rule.steps]]
say = "ended"
"""


def test_the_official_sdk_and_the_real_broker(here: Hive) -> None:
    harness, bob = here.agent("ada", invocation=INVOCATION), here.agent("bob")
    (command, *arguments), env = in_cage(here, "ada")
    server = StdioServerParameters(command=command, args=arguments, env=env)

    async def converse() -> None:
        async with stdio_client(server) as pipes, ClientSession(*pipes) as session:
            await session.initialize()
            assert {tool.name for tool in (await session.list_tools()).tools} == TOOLS

            async def call(tool: str, arguments: Any = None) -> str:
                result = await session.call_tool(tool, arguments)
                (content,) = result.content
                assert content.type == "text" and not result.is_error, content
                return content.text

            assert "You are ada, role agent." in await call("whoami")
            assert await call("set_status", {"status": "trying"}) == "Status set."
            assert await call("send", {"to": "bob", "body": "hello"}) == "Sent to bob as message 3."
            assert [m["body"] for m in bob.ask("recv", wait_seconds=20)["messages"]] == ["hello"]
            bob.ask("send", to="ada", body="back", in_reply_to=3)
            text = await call("recv", {"wait_seconds": 20})
            assert text.startswith('<mail id="4" from="bob" to="ada" sent="') and 'in_reply_to="3"' in text
            await call("request_next_turn")
            assert 'from="ada" to="ada"' in await call("recv")
            assert acked(harness) == 2 or acked(harness) == 1  # the leases are the harness's

    anyio.run(converse)


def test_a_cancelled_recv_loses_no_mail(here: Hive) -> None:
    """Whether the hang-up or the mail comes first: it is handed out once, or is in the queue still."""
    here.agent("ada", invocation=INVOCATION)
    operator = here.operator()
    with caged(here, "ada") as process:
        server = Server(process)
        for number in range(300):
            id_ = server.start("recv", wait_seconds=100)
            server.say("set_status", status=f"{number}")
            operator.write("send", to="ada", body=f"<{number}>")
            server.notify("notifications/cancelled", requestId=id_)
            last = server.start("recv", wait_seconds=20)
            answers = [server.read()]
            if answers[0]["id"] != last:
                operator.ask("send", to="ada", body="enough")  # the first had it all, and the second waits
                answers.append(server.read())
            text = "".join(a["result"]["content"][0]["text"] for a in answers)
            assert text.count(f"<{number}>") == 1, text
        process.kill()


@pytest.mark.parametrize("read", [True, False])
def test_mail_that_the_cli_has_not_taken_goes_back(here: Hive, read: bool) -> None:
    """The result is more than a pipe holds: hive-mcp is killed while it writes, or after."""
    harness, operator = here.agent("ada", invocation=INVOCATION), here.operator()
    ids = [operator.ask("send", to="ada", body=f"{n}" * 60_000)["ids"][0] for n in range(2)]
    with caged(here, "ada") as process:
        server = Server(process)
        id_ = server.start("recv")
        wait_until(lambda: harness.ask("whoami")["leased"] == 2, process)
        assert process.stdout and select.select([process.stdout], [], [], 20)[0]  # it has begun to write
        assert harness.ask("ack")["acked"] == 0
        if read:
            assert len(server.result(id_)[0]) > 120_000
            assert acked(harness) == 2
        process.kill()
    if not read:
        messages = harness.ask("recv", wait_seconds=20)["messages"]
        assert [(m["id"], m["redelivered"], m["attempts"]) for m in messages] == [(n, True, 2) for n in ids]
        assert harness.ask("ack")["acked"] == 2
    assert harness.ask("recv")["messages"] == []


def acked(harness: Peer) -> int:
    """hive-mcp says 'shown' just after it has answered."""
    end = time.monotonic() + 20
    while not (count := harness.ask("ack")["acked"]):
        assert time.monotonic() < end
    assert isinstance(count, int)
    return count


def test_a_real_restart_of_the_broker(here: Hive) -> None:
    here.agent("ada", invocation=INVOCATION)
    with caged(here, "ada") as process:
        server = Server(process)
        server.say("whoami")
        id_ = server.start("recv", wait_seconds=100)
        here.kill()
        here.start()
        here.operator().ask("status")  # socket-activate starts it at the first connection
        here.agent("ada", invocation="f" * 32)
        here.operator().ask("send", to="ada", body="after the restart")
        text, is_error = server.result(id_)
        assert "after the restart" in text and not is_error
        process.kill()


def test_the_real_cli_uses_the_tools(here: Hive, tmp_path: Path) -> None:
    harness, bob = here.agent("ada", invocation=INVOCATION), here.agent("bob")
    (command, *arguments), env = in_cage(here, "ada")
    config = {"mcpServers": {"hive": {"command": command, "args": arguments, "env": env}}}
    options = ["--strict-mcp-config", "--allowedTools", "mcp__hive", "--mcp-config", json.dumps(config)]
    with endpoints.rehearsal(tmp_path / "model", RULES) as model, ThreadPoolExecutor() as pool:
        running = pool.submit(endpoints.claude, tmp_path / "home", model.url, "begin", *options)
        (message,) = bob.ask("recv", wait_seconds=60)["messages"]
        assert message["body"].startswith("You are ada, role agent.")
        bob.ask("send", to="ada", body="an answer", in_reply_to=message["id"])
        lines = running.result()
    (start,) = (line for line in lines if line.get("subtype") == "init")
    assert {"name": "hive", "status": "connected"}.items() <= start["mcp_servers"][0].items()
    assert {f"mcp__hive__{tool}" for tool in TOOLS} <= {*start["tools"]}
    assert lines[-1]["result"] == "ended"
    results = [
        part["content"] for line in lines if line["type"] == "user" for part in line["message"]["content"]
    ]
    assert any("an answer" in str(result) for result in results)
    assert [m["body"] for m in harness.ask("recv")["messages"]] == [
        "You asked yourself for another turn. Your note:\ngo on"
    ]
