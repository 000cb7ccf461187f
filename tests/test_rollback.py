"""Rollback over the broker's sockets: each one goes further back, or to the deploy that is named."""

from tests.changing import asked, carry_out, draft, events, queued, spawned, tags, until
from tests.hive import Hive, Peer
from tests.proposed import MORE, TOML, Proposed


def test_one_back_and_one_by_its_number(here: Hive, manager: Peer) -> None:
    spawned(here, "eve")
    operator = here.operator()
    assert operator.ask("rollback", agent="eve")["error"] == "unknown-deploy"
    draft(here, "eve", {"agent.toml": MORE})
    number = asked(manager, "eve")
    operator.ask("approve", request=number)
    carry_out(here, number)
    assert operator.ask("rollback", agent="eve", deploy=7)["error"] == "unknown-deploy"
    back = operator.ask("rollback", agent="eve")
    assert (back["state"], back["deploy"], back["risk"]) == ("approved", 3, "lower")
    assert queued(here, back["request"])["files"] == {"agent.toml": TOML}
    carry_out(here, back["request"])
    told = events(manager)[-1]
    assert (told["event"], told["tag"], told["note"]) == ("applied", "deployed/3", "back to deploy 1")
    again = operator.ask("rollback", agent="eve", deploy=2)["request"]
    assert queued(here, again)["files"] == {"agent.toml": MORE}
    until(lambda: "deployed/3" in tags(here, "eve"))


def step(here: Hive, op: str, **fields: int) -> str:
    """Carried out; gives what the agent runs with then."""
    number = here.operator().ask(op, agent="eve", **fields)["request"]
    files = queued(here, number).get("files", {})
    carry_out(here, number)
    return str(files.get("agent.toml"))


def change(here: Hive, manager: Peer, repository: Proposed, toml: str) -> None:
    repository.commit({"agent.toml": toml})
    number = asked(manager, "eve")
    assert here.operator().ask("approve", request=number)["ok"]
    carry_out(here, number)


def test_each_goes_further_back(here: Hive, manager: Peer) -> None:
    one, two, three = (f"{TOML}# {word}\n" for word in ("one", "two", "three"))
    spawned(here, "eve", one)
    repository = draft(here, "eve", {"agent.toml": one})
    for toml in (two, three):
        change(here, manager, repository, toml)
    assert [step(here, "rollback") for _ in range(2)] == [two, one]
    refused = here.operator().ask("rollback", agent="eve")
    assert refused["message"].startswith("eve has no deploy before the one that runs")
    assert step(here, "rollback", deploy=3) == three
    assert step(here, "rollback") == two
    step(here, "destroy")
    assert step(here, "revive") == two
    assert step(here, "rollback") == one
    change(here, manager, repository, three)
    assert step(here, "rollback") == one, "what was gone back from is not gone back to"
    notes = [row["note"] for row in here.operator().ask("approvals", agent="eve")["approvals"]]
    assert notes[0] == "back to deploy 1"
