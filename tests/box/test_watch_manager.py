"""An agent crashes, and the manager finds out why and acts, with the real CLI."""

from tests.box.crew import DONE, Crew, Watch

LOOK_AND_RESTART = """
text = '"container_crash".*hive-agent@(?P<who>[a-z-]+)[.]service'
times = 1
[[rule.steps]]
call = [{ name = "mcp__hive__get_logs", input = { agent = "{who}", lines = 50 } }]
[[rule.steps]]
call = [{ name = "mcp__hive__send", input = { to = "operator", body = "{tool_result}" } }]
[[rule.steps]]
call = [{ name = "mcp__hive__restart", input = { agent = "{who}" } }]
[[rule.steps]]
call = [{ name = "mcp__hive__send", input = { to = "operator", body = "{tool_result}" } }]
[[rule.steps]]
say = "looked after"
"""


def test_the_manager_looks_after_an_agent_that_crashed(crew: Crew, watch: Watch) -> None:
    watch.until("done", id=crew.send("ada", "wake up"))
    dead = crew.property("hive-agent@ada.service", "InvocationID")
    crew.rules(LOOK_AND_RESTART, DONE)
    crew.run("kill", "-KILL", str(crew.process("ada", "bin/hive-harness")))
    watch.until("container_crash", agent="ada", invocation=dead)
    logs = watch.until("mail", to="operator", **{"from": "manager"})["body"]
    assert "Failed with result" in logs, logs
    assert watch.until("mail", to="operator", **{"from": "manager"})["body"].startswith("Restarted: ")
    assert crew.state_of("hive-agent@ada.service") == "active"
    assert crew.property("hive-agent@ada.service", "InvocationID") != dead
