"""From a wish to an agent and back: the manager is the real CLI, the operator has hivectl."""

import json
import re

from tests.box.crew import DONE, Crew, Watch

WISH = """
agent = "manager"
text = 'from="operator"[^>]*>\\s*Have an agent vera'
[[rule.steps]]
call = [{ name = "mcp__hive__request_spawn_draft", input = { name = "vera", description = "reads" } }]
[[rule.steps]]
say = "asked for a draft"
"""
COMMIT = """
agent = "manager"
text = '(?s)from="operator"[^>]*>\\s*%s: (?P<shell>.*?)\\s*</mail>'
[[rule.steps]]
call = [{ name = "Bash", input = { command = "cd /agents/vera/config && {shell} && git add --all && git commit --quiet --message=wish && git log --oneline", description = "Commit" } }]
[[rule.steps]]
call = [{ name = "mcp__hive__request_%s_commit", input = { %s = "vera", commit_ref = "main", note = "as asked" } }]
[[rule.steps]]
call = [{ name = "mcp__hive__send", input = { to = "operator", body = "{tool_result}" } }]
[[rule.steps]]
say = "asked"
"""  # noqa: E501
VERA = """
agent = "vera"
text = "version"
system = "SECRET WORD plover"
[[rule.steps]]
call = [{ name = "Bash", input = { command = "git --version", description = "Look" } }]
[[rule.steps]]
call = [{ name = "mcp__hive__send", input = { to = "operator", body = "{tool_result}" } }]
[[rule.steps]]
say = "looked"
"""
RULES = (WISH, COMMIT % ("Spawn", "spawn", "name"), COMMIT % ("Change", "apply", "agent"), VERA, DONE)

READER = r"""printf '%s\n' 'linger = 5' '[tools]' 'allow = ["Read"]' > agent.toml"""
WITH_GIT = r"""printf '%s\n' 'linger = 5' '[tools]' 'allow = ["Read", "Bash(git *)"]' > agent.toml"""
BROKEN = r"""mkdir bin && printf '%s\n' '#!/bin/sh' 'exit 3' > bin/run && chmod +x bin/run && """
BROKEN += r"""printf '%s\n' 'runner = "exec:run"' > agent.toml"""


def wish(crew: Crew, watch: Watch, text: str) -> str:
    """The number of the request that comes of it."""
    crew.send("manager", text)
    said = watch.until("mail", to="operator", **{"from": "manager"})["body"]
    found = re.match(r"Request (\d+) for commit ", said)
    assert found, said
    return found[1]


def told(watch: Watch, event: str, **fields: str) -> dict[str, str]:
    """What the manager hears."""
    while True:
        body: dict[str, str] = json.loads(watch.until("mail", to="manager", **{"from": "system"})["body"])
        if body["event"] == event and fields.items() <= body.items():
            return body


def version(crew: Crew, watch: Watch) -> str:
    crew.send("vera", "What version?")
    return str(watch.until("mail", to="operator", **{"from": "vera"})["body"])


def test_from_a_wish_to_an_agent_and_back(crew: Crew, watch: Watch) -> None:
    crew.rules(*RULES)
    crew.send("manager", "Have an agent vera")
    told(watch, "config_ready", agent="vera")
    born = wish(crew, watch, f"Spawn: {READER} && echo SECRET WORD plover > prompt.md")
    shown = crew.run("hivectl", "diff", born).stdout
    assert "+SECRET WORD plover" in shown
    assert "Read" in shown
    assert "vera" not in [agent["name"] for agent in crew.call("agents")["agents"]]
    crew.run("hivectl", "approve", born)
    told(watch, "spawned", agent="vera")
    assert "denied" in version(crew, watch) or "No such tool" in version(crew, watch)

    refused = wish(crew, watch, f"Change: {WITH_GIT}")
    assert "git" in crew.run("hivectl", "diff", refused).stdout
    crew.run("hivectl", "deny", refused, "what for?")
    assert told(watch, "approval_resolved", state="denied")["reason"] == "what for?"

    granted = wish(crew, watch, "Change: echo SECRET WORD plover, and git > prompt.md")
    crew.run("hivectl", "approve", granted)
    told(watch, "applied", agent="vera")
    assert version(crew, watch).startswith("git version")

    bad = wish(crew, watch, f"Change: {BROKEN}")
    failed = crew.run("hivectl", "approve", bad, check=False)
    assert failed.returncode == 1
    assert "exit status 3" in failed.stdout + failed.stderr
    told(watch, "approval_resolved", state="failed")
    assert version(crew, watch).startswith("git version")

    crew.run("hivectl", "rollback", "vera")
    assert not version(crew, watch).startswith("git version")
    assert crew.run("hivectl", "doctor").returncode == 0
    assert "what for?" in crew.run("hivectl", "history", "vera").stdout
