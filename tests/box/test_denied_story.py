"""A command that is denied, and then is not: the real CLI, the rules, the page's one click, an approval."""

import html
import json
import re
from urllib.parse import urlencode

from tests.box.changes import do
from tests.box.crew import Crew, Watch
from tests.box.test_web import asked, signed_in

DANA = """
agent = "dana"
text = "which make"
[[rule.steps]]
call = [{ name = "Bash", input = { command = "git --version && make --version", description = "Look" } }]
"""
# What the model makes of a denial, and of none.
WISHES = """
agent = "dana"
after_tool = "Bash"
tool_result = '(?s)Not allowed: (?P<part>[^\\n]+)\\nWhy: (?P<why>.+?)\\nNothing'
call = [{ name = "mcp__hive__send", input = { to = "operator", body = "I may not run {part}: {why}" } }]
"""
SAYS = """
agent = "dana"
after_tool = "Bash"
tool_result = "GNU Make [0-9.]+"
call = [{ name = "mcp__hive__send", input = { to = "operator", body = "{tool_result}" } }]
"""
TOLD = """
agent = "dana"
after_tool = "mcp__hive__send"
say = "told"
"""
TOML = 'linger = 300\n[tools]\nallow = ["Read", "Bash(git *)"]  # as little as it needs\n'


def answer(crew: Crew, watch: Watch) -> str:
    crew.send("dana", "Tell me which make you have.")
    said = str(watch.until("mail", to="operator", **{"from": "dana"})["body"])
    watch.until("turn", agent="dana", outcome="ok")
    return said


def click(crew: Crew, name: str, button: str, about: str) -> str:
    """What the agent's page says when the form with this in it is sent as it is."""
    cookie = signed_in(crew)
    page = asked(crew, "GET", f"/agent/{name}", "", {"Cookie": cookie}).read().decode()
    forms = re.findall(rf'(?s)<form method="post" action="{button}".*?</form>', page)
    (form,) = (each for each in forms if about in each)
    fields = [
        (field, html.unescape(value))
        for field, value in re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', form)
    ]
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": f"http://127.0.0.1:{crew.port}",
    }
    came = asked(crew, "POST", button, urlencode(fields), headers | {"Cookie": cookie})
    assert came.status == 303, came.read()
    return asked(crew, "GET", f"/agent/{name}", "", {"Cookie": cookie}).read().decode()


def test_a_denied_command_becomes_an_allowed_one(crew: Crew, watch: Watch) -> None:
    crew.rules(DANA, WISHES, SAYS, TOLD)
    crew.call("spawn", agent="dana", toml=TOML)
    said = answer(crew, watch)
    assert said == "I may not run make --version: no rule allows it."
    (denial,) = crew.call("denials", agent="dana")["denials"]
    assert (denial["command"], denial["part"]) == ("git --version && make --version", "make --version")
    assert (denial["pattern"], denial["state"]) == ("Bash(make --version)", "open")
    fact = crew.journal("HIVE_EVENT=command_denied", "HIVE_AGENT=dana")[-1]
    assert (fact["HIVE_PROGRAM"], fact["HIVE_RULE"]) == ("make", "no-rule")
    assert "--version" not in json.dumps(fact)

    page = click(crew, "dana", "/api/allow", "make --version")
    number = crew.call("approvals", agent="dana", state="pending")["approvals"][0]["id"]
    assert f"Request {number}</a> asks for it" in page
    shown = crew.run("hivectl", "approve", str(number)).stdout
    assert "may now run: make --version" in shown and "dana runs deploy 2 now" in shown
    assert "GNU Make" in answer(crew, watch)
    assert crew.call("denials", agent="dana")["denials"] == []
    files = {file["path"]: file["text"] for file in crew.call("config", agent="dana")["files"]}
    assert files["agent.toml"] == TOML.replace('*)"]', '*)", "Bash(make --version)"]')
    assert do(crew, "destroy", agent="dana")["state"] == "deployed"
