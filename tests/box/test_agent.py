"""Agents in the box: the real CLI in its cage, woken by mail, against the rehearsal model."""

import re

import pytest

from tests.box.crew import DONE, Crew, Watch

HANG_ONCE = """
text = "hold"
times = 1
[[rule.steps]]
call = [{ name = "mcp__hive__set_status", input = { status = "holding" } }]
[[rule.steps]]
hang = true
"""


def hold(crew: Crew, watch: Watch, name: str) -> int:
    """A turn that hangs at the model, once; the next is answered. Gives the message's number."""
    crew.rules(HANG_ONCE, DONE)
    number = crew.send(name, "hold")
    watch.until("status", agent=name, status="holding")
    return number


def test_mail_wakes_a_sleeper_and_it_goes_back_to_sleep(crew: Crew, watch: Watch) -> None:
    session = ""
    if crew.processes("bob"):  # it was born a moment ago
        watch.until("asleep", agent="bob")
    for _ in range(2):
        number = crew.send("bob", "wake up")
        watch.until("woken", agent="bob")
        awake = watch.until("awake", agent="bob")
        assert awake["wake_ms"] is not None
        turn = watch.until("turn", agent="bob")
        assert (turn["outcome"], turn["messages"]) == ("ok", 1)
        assert session in ("", turn["session"]), "the session was not resumed"
        session = turn["session"]
        watch.until("done", id=number)
        assert watch.until("asleep", agent="bob")["orderly"] is True
        crew.run("systemctl", "is-active", "--wait", "--quiet", "hive-agent@bob.service", check=False)
        assert crew.processes("bob") == {}
        assert crew.property("hive-agent@bob.service", "Result") == "success"
        assert crew.property("hive-agent@bob.socket", "SubState") == "listening"


@pytest.mark.parametrize("victim", ["bin/claude", "bin/hive-harness", "systemd-nspawn"])
def test_kill_in_mid_turn(crew: Crew, watch: Watch, victim: str) -> None:
    number = hold(crew, watch, "ada")
    before = crew.processes("ada")
    crew.run("kill", "-KILL", str(crew.process("ada", victim)))
    watch.until("requeued", id=number)
    delivered = watch.until("delivered", id=number)
    assert delivered["attempts"] == 2
    assert watch.until("turn", agent="ada", outcome="ok")["messages"] == 1
    watch.until("done", id=number)
    assert crew.state(number) == "done 2"
    left = crew.processes("ada").keys() & before.keys()
    # claude alone is replaced; with the harness or nspawn everything goes
    assert len(left) == (2 if victim == "bin/claude" else 0), left


def test_kill_the_broker_in_mid_turn(crew: Crew, watch: Watch) -> None:
    number = hold(crew, watch, "ada")
    crew.run("systemctl", "kill", "--signal=KILL", "hive-broker.service")
    again = crew.watch()
    crew.run("kill", "-KILL", str(crew.process("ada", "bin/claude")))
    again.until("done", id=number)
    assert crew.state(number) in ("done 2", "done 3")
    again.connection.close()


def test_stop_in_mid_turn(crew: Crew, watch: Watch) -> None:
    number = hold(crew, watch, "ada")
    before = crew.processes("ada")
    crew.run("systemctl", "stop", "hive-agent@ada.socket", "hive-agent@ada.service", timeout=5)
    watch.until("requeued", id=number)
    assert crew.processes("ada").keys() & before.keys() == set()
    assert crew.state(number) == "queued 1"  # paused: it waits
    assert crew.property("hive-agent@ada.service", "Result") == "success"
    crew.run("systemctl", "start", "hive-agent@ada.socket")
    assert watch.until("delivered", id=number)["attempts"] == 2
    watch.until("done", id=number)


def test_a_crash_loop_ends_in_quarantine_and_the_mail_waits(crew: Crew, watch: Watch) -> None:
    crew.spawn_asleep("cy")
    config = crew.root / "etc/hyperhive/agents/cy/agent.toml"
    good = config.read_text()
    config.write_text("colour = 1\n")
    number = crew.send("cy", "anyone?")
    failed = 'until systemctl is-failed --quiet "$0"; do systemctl is-active dbus || exit; sleep 0.1; done'
    crew.run("sh", "-c", failed, "hive-agent@cy.socket", timeout=60)
    said = crew.run("journalctl", "--unit=hive-agent@cy.service", "--output=cat").stdout
    assert "/config/agent.toml:1: 'colour' is not a key here" in said
    assert crew.state(number) == "queued 0"
    config.write_text(good)
    crew.run("systemctl", "reset-failed", "hive-agent@cy.socket", "hive-agent@cy.service")
    crew.run("systemctl", "start", "hive-agent@cy.socket")
    watch.until("done", id=number)


def error(status: int, kind: str, message: str) -> str:
    return f'error = {{ status = {status}, type = "{kind}", message = "{message}" }}'


# What the endpoint does, how often (the CLI tries once more by itself), and what the turn is called then.
FAILURES = {
    "429": (error(429, "rate_limit_error", "slow down"), 2, "rate-limited"),
    "529": (error(529, "overloaded_error", "busy"), 2, "rate-limited"),
    "401": (error(401, "authentication_error", "who are you"), 2, "auth-failed"),
    "500": (error(500, "api_error", "oops"), 2, "crashed"),
    "malformed": ("malformed = true", 4, "crashed"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_of_the_endpoint_has_a_name_and_costs_the_mail_nothing(
    crew: Crew, watch: Watch, case: str
) -> None:
    action, times, outcome = FAILURES[case]
    crew.rules(f'text = "trouble"\ntimes = {times}\n{action}', DONE)
    number = crew.send("ada", f"trouble {case}")
    assert watch.until("turn", agent="ada")["outcome"] == outcome
    watch.until("requeued", id=number)
    watch.until("turn", agent="ada", outcome="ok")
    watch.until("done", id=number)
    assert crew.state(number) == "done 1"


def test_an_endpoint_that_asks_for_a_long_wait_is_left_alone(crew: Crew, watch: Watch) -> None:
    crew.spawn("eli", turn_timeout=20)
    wait = 'headers = { "retry-after" = "15" }'
    crew.rules(
        f'text = "trouble"\ntimes = 1\n{error(429, "rate_limit_error", "later")[:-2]}, {wait} }}', DONE
    )
    number = crew.send("eli", "trouble")
    turn = watch.until("turn", agent="eli")
    assert (turn["outcome"], turn["error"]) == ("rate-limited", "the endpoint asks for a longer wait")
    said = crew.property("hive-agent@eli.service", "StatusText")
    assert re.search(r"turn 1 rate-limited; trying again in 1[0-9] s", said), said
    watch.until("done", id=number)


def test_a_prompt_that_is_too_long(crew: Crew, watch: Watch) -> None:
    action = error(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")
    crew.spawn("fay")
    crew.rules(f'text = "trouble"\ntimes = 1\n{action}', DONE)
    number = crew.send("fay", "trouble")
    assert watch.until("turn", agent="fay")["outcome"] == "prompt-too-long"
    assert watch.until("delivered", id=number)["attempts"] == 2
    assert watch.until("turn", agent="fay")["outcome"] == "ok"
    watch.until("done", id=number)


def test_a_hang_ends_timed_out(crew: Crew, watch: Watch) -> None:
    crew.spawn("dora", turn_timeout=10)
    crew.rules(HANG_ONCE, DONE)
    number = crew.send("dora", "hold")
    turn = watch.until("turn", agent="dora")
    assert (turn["outcome"], turn["error"]) == ("timed-out", "silent for 10 s")
    assert watch.until("delivered", id=number)["attempts"] == 2
    watch.until("done", id=number)
