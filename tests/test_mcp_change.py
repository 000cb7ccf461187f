"""Changes of agents as the manager's tools: hive-mcp, the official SDK, the real broker."""

import re

import pytest

from tests.changing import carry_out, draft, newest
from tests.hive import Hive
from tests.mcp_server import INVOCATION
from tests.test_mcp_ends import Call, converse


@pytest.fixture(autouse=True)
def manager(here: Hive) -> None:
    here.agent("manager", invocation=INVOCATION)


def test_two_steps_to_an_agent(here: Hive) -> None:
    async def talk(manager: Call) -> None:
        said = await manager("request_spawn_draft", name="eve", description="reviews")
        assert said.startswith("Request 1: the draft is being made.") and "/agents/eve/config" in said
        carry_out(here, newest(here))
        assert '"config_ready"' in await manager("recv", wait_seconds=20)
        repository = draft(here, "eve", {"agent.toml": "linger = 1\n"})
        refused = await manager("request_spawn_commit", name="eve", commit_ref="main")
        assert refused.startswith("! ") and "agent.toml:1: 'linger'" in refused
        commit = repository.commit({"agent.toml": "linger = 100\n"})
        said = await manager("request_spawn_commit", name="eve", commit_ref="main", note="please")
        assert re.match(f"Request 2 for commit {commit} waits for the operator, until 2.*Z\\. What", said)
        here.operator().ask("approve", request=2)
        assert '"approved"' in await manager("recv", wait_seconds=20)
        carry_out(here, 2)
        assert '"spawned"' in await manager("recv", wait_seconds=20)

    converse(here, "manager", talk)


def test_a_change_and_its_end(here: Hive) -> None:
    async def talk(manager: Call) -> None:
        repository = draft(here, "bob")
        assert (await manager("request_apply_commit", agent="bob", commit_ref="main")).startswith(
            "Request 1 "
        )
        repository.commit({"agent.toml": ""})
        said = await manager("request_apply_commit", agent="bob", commit_ref="main")
        assert "It takes the place of request 1." in said
        assert await manager("withdraw", request=2) == "Request 2 is withdrawn."
        assert (await manager("withdraw", request=2)).startswith("! request 2 is withdrawn already")
        assert (await manager("request_spawn", name="eve", description="x")).startswith("Request 3 for ")
        assert (await manager("request_spawn", name="E")).startswith("! 'E' cannot be an agent's name")

    converse(here, "manager", talk)
