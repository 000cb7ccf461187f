"""Questions, reminders and loose ends as an agent's tools: hive-mcp, the official SDK, the real broker."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.hive import Hive
from tests.mcp_server import INVOCATION, in_cage

Call = Callable[..., Awaitable[str]]


def converse(here: Hive, name: str, talk: Callable[[Call], Awaitable[None]]) -> None:
    (command, *arguments), env = in_cage(here, name)
    about = StdioServerParameters(command=command, args=arguments, env=env)

    async def run() -> None:
        async with stdio_client(about) as pipes, ClientSession(*pipes) as session:
            await session.initialize()

            async def call(tool: str, **arguments: Any) -> str:
                result = await session.call_tool(tool, arguments)
                (content,) = result.content
                assert content.type == "text"
                text = re.sub(r"\b\d+ s ago", "just now", content.text)
                return ("! " if result.is_error else "") + text

            await talk(call)

    anyio.run(run)


def test_a_question_comes_back_as_mail(here: Hive) -> None:
    here.agent("ada", invocation=INVOCATION)
    operator = here.operator()

    async def talk(ada: Call) -> None:
        said = await ada("ask", question="which?", options=["red", "blue"], ttl=5400)
        assert said.startswith("Question 1 is put to operator. It expires in 1 h 30 min. What comes of it")
        assert (await ada("loose_ends")).startswith("question asked 1, of operator, just now: which?")
        assert operator.ask("answer", question=1, answer=["blue"])["ok"]
        mail = await ada("recv", wait_seconds=20)
        assert 'from="system"' in mail and json.loads(mail.splitlines()[1])["answer"] == ["blue"]
        assert await ada("loose_ends") == "Nothing waits."

    converse(here, "ada", talk)


@pytest.mark.parametrize("said", ["yes", ["yes"]], ids=["text", "list"])
def test_an_answer_is_a_text_or_a_list(here: Hive, said: Any) -> None:
    here.agent("ada", invocation=INVOCATION)
    here.operator().ask("ask", question="ready?", to="ada", options=["yes", "no"])

    async def talk(ada: Call) -> None:
        assert '"event": "question"' in await ada("recv", wait_seconds=20)
        assert await ada("loose_ends") == "question owed 1, to operator, just now: ready?"
        assert (
            await ada("answer", question=1, answer="perhaps")
            == "! 'perhaps' is not one of the options (choose from: yes, no)"
        )
        assert await ada("answer", question=1, answer=said) == "Question 1 is answered."

    converse(here, "ada", talk)
    (mail,) = here.operator().ask("inbox", unread=True)["messages"][:1]
    assert json.loads(mail["body"])["answer"] == ["yes"]


def test_reminders(here: Hive) -> None:
    here.agent("ada", invocation=INVOCATION)

    async def talk(ada: Call) -> None:
        assert (await ada("remind", message="look", delay=1)).startswith("Reminder 1 comes in 1 s, at 20")
        assert '"message": "look"' in await ada("recv", wait_seconds=20)
        said = await ada("remind", message="later\nthan now", delay=600)
        due = said.split()[-5].rstrip(",")
        assert await ada("loose_ends") == f"reminder 2, due {due}, just now: later than now"
        assert await ada("cancel_loose_end", kind="reminder", number=2) == "The reminder 2 is cancelled."
        assert await ada("loose_ends") == "Nothing waits."
        assert (await ada("remind", message="m")).startswith("! give either 'delay' or 'at'")

    converse(here, "ada", talk)


def test_mail_that_needs_no_answer_and_what_only_the_manager_sees(here: Hive) -> None:
    here.agent("ada", invocation=INVOCATION)
    here.agent("manager", invocation=INVOCATION)
    number = here.agent("bob").ask("send", to="ada", body="fyi")["ids"][0]

    async def as_ada(ada: Call) -> None:
        assert (await ada("loose_ends", all=True)).startswith("! only the manager")

    async def as_manager(manager: Call) -> None:
        seen = await manager("loose_ends", all=True)
        assert f"ada: unanswered mail {number}, from bob, just now: fyi" in seen.splitlines()

    async def settle(ada: Call) -> None:
        assert await ada("cancel_loose_end", kind="mail", number=number) == f"Mail {number} needs no answer."
        assert await ada("loose_ends") == "Nothing waits."

    for name, talk in (("ada", as_ada), ("manager", as_manager), ("ada", settle)):
        converse(here, name, talk)
