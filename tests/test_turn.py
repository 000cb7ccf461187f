"""A turn's outcome and record, from lines that the real CLI (2.1.330) printed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive import wire
from hyperhive.cage import turn
from hyperhive.operations.turns import turn_record

INIT = '{"type":"system","subtype":"init","session_id":"5f3d","model":"claude-sonnet-5-5"}'
GOOD = (
    '{"type":"result","subtype":"success","is_error":false,"terminal_reason":"completed","api_error_status":null,'
    '"num_turns":1,"result":"hello","stop_reason":"end_turn","session_id":"5f3d","total_cost_usd":0.5,'
    '"usage":{"input_tokens":3,"cache_creation_input_tokens":171,"cache_read_input_tokens":3206,"output_tokens":30}}'
)
BOUNDARY = '{"type":"system","subtype":"compact_boundary","compact_metadata":{"trigger":"auto"}}'
COMPACTED = '{"type":"result","subtype":"success","is_error":false,"result":"","local_command":"compact"}'
RETRY = (
    '{"type":"system","subtype":"api_retry","attempt":1,"max_retries":1,"retry_delay_ms":1240,'
    '"error_status":429,"error":"rate_limit"}'
)
ABORTED = (
    '{"type":"result","subtype":"error_during_execution","is_error":true,"terminal_reason":"aborted_streaming",'
    '"num_turns":1,"errors":["[ede_diagnostic] result_type=user"]}'
)
NO_CONVERSATION = (
    '{"type":"result","subtype":"error_during_execution","is_error":true,"num_turns":0,"total_cost_usd":0,'
    '"errors":["No conversation found with session ID: 5f3d2c00-0000-4000-8000-000000000000"]}'
)
REFUSED = (
    '{"type":"result","subtype":"success","is_error":true,"stop_reason":"refusal","terminal_reason":"api_error",'
    '"result":"API Error: Sonnet 5.5\'s safeguards flagged this message"}'
)
LOST = (
    '{"type":"result","subtype":"success","is_error":true,"terminal_reason":"api_error","api_error_status":null,'
    '"api_error":"connection_failed","result":"API Error: Connection to the API was lost (ECONNRESET). …"}'
)


def failed(status: int, kind: str, terminal: str = "api_error") -> str:
    return (
        f'{{"type":"result","subtype":"success","is_error":true,"terminal_reason":"{terminal}",'
        f'"api_error_status":{status},"api_error_type":"{kind}","num_turns":1,"stop_reason":"stop_sequence",'
        f'"result":"API Error: Request rejected ({status}) · This request would exceed your rate limit."}}'
    )


def of(*lines: str) -> turn.Turn:
    it = turn.Turn(7, "2026-11-22T10:00:00.000Z", 2, "operator")
    for line in lines:
        turn.note(it, json.loads(line))
    return it


# what was printed, the outcome, whether it was the endpoint's doing
OUTCOMES = [
    ([INIT, GOOD], "ok", False),
    ([INIT, BOUNDARY, GOOD], "compacted", False),
    ([BOUNDARY, COMPACTED], "compacted", False),
    ([INIT, RETRY, GOOD], "ok", False),
    ([failed(400, "invalid_request_error", "prompt_too_long")], "prompt-too-long", False),
    ([BOUNDARY, failed(400, "invalid_request_error", "prompt_too_long")], "prompt-too-long", False),
    ([failed(429, "rate_limit_error")], "rate-limited", False),
    ([failed(529, "overloaded_error")], "rate-limited", False),
    ([failed(401, "authentication_error")], "auth-failed", False),
    ([failed(403, "permission_error")], "auth-failed", False),
    ([REFUSED], "refused", False),
    ([failed(400, "invalid_request_error")], "crashed", False),
    ([failed(500, "api_error")], "crashed", True),
    ([failed(502, "api_error")], "crashed", True),
    ([LOST], "crashed", True),
    ([ABORTED], "crashed", False),
]


@pytest.mark.parametrize(("lines", "outcome", "endpoint"), OUTCOMES)
def test_every_end_has_its_name(lines: list[str], outcome: str, endpoint: bool) -> None:
    it = of(*lines)
    assert (it.outcome, it.endpoint_failed) == (outcome, endpoint)
    assert it.outcome in turn.OUTCOMES
    assert bool(it.error) == (outcome not in ("ok", "compacted"))


def test_the_outcomes_are_those_that_the_broker_knows() -> None:
    # these two are the harness's own: the stream cannot say them
    assert {outcome for _, outcome, _ in OUTCOMES} | {"timed-out", "cancelled"} == set(turn.OUTCOMES)


def test_the_record_is_one_that_the_broker_takes() -> None:
    record = turn.record(of(INIT, tool("Bash"), tool("mcp__hive__send"), tool("Bash"), GOOD), 1234, 0.25)
    taken = turn_record(record)
    assert (
        taken.pop("ended_at") and taken.pop("notes_bytes") is None
    )  # the broker's clock, the harness's look
    assert taken == record | {"error": None}
    assert (record["tool_calls"], record["tools"]) == (3, {"Bash": 2, "send": 1})
    tokens = [record[f"tokens_{name}"] for name in ("in", "out", "cache_read", "cache_write")]
    assert tokens == [3, 30, 3206, 171]
    assert (record["session"], record["model"], record["cost_usd"]) == ("5f3d", "claude-sonnet-5-5", 0.25)


def test_the_cost_is_the_processs_so_far() -> None:
    assert of(GOOD).total_cost == 0.5


def tool(name: str, **given: Any) -> str:
    block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": given}
    text = {"type": "text", "text": "I look."}
    return json.dumps({"type": "assistant", "message": {"content": [text, block]}})


def doing(name: str, **given: Any) -> str:
    return turn.note(of(), json.loads(tool(name, **given)))


def test_what_it_does_is_one_harmless_line() -> None:
    assert doing("Bash", command="git status", description="Look") == "Bash git status"
    assert doing("mcp__hive__send", to="bob", body="secret") == "send bob"
    assert doing("Bash", command="a\n\x1b[31mb\tc\r\x07\u202e\ud800") == "Bash a ?[31mb c ???"
    assert len(doing("Bash", command="x" * 100_000)) == 200
    assert turn.note(of(), json.loads(RETRY)) == "waiting for the model: rate_limit"
    assert turn.note(of(), json.loads(GOOD)) == ""


def test_names_of_tools_are_bounded() -> None:
    it = of(*(tool(f"tool{number}") for number in range(500)))
    assert (len(it.tools), it.tools.total(), it.tools["others"]) == (101, 500, 400)


def test_a_session_that_is_gone() -> None:
    assert turn.no_conversation(json.loads(NO_CONVERSATION))
    assert not any(turn.no_conversation(json.loads(line)) for line in (ABORTED, GOOD, INIT, LOST))


def test_how_long_the_endpoint_is_left_alone() -> None:
    it = of(failed(429, "rate_limit_error"))
    assert [turn.hold(it, failures) for failures in (1, 2, 3, 7, 8, 100)] == [5, 10, 20, 320, 600, 600]
    assert turn.hold(of(RETRY.replace("1240", "90000")), 1) == 90
    assert turn.hold(of(RETRY.replace("1240", "9e9")), 1) == 600


def test_the_wake_prompt() -> None:
    one = turn.wake_prompt(["<mail>a</mail>"], 0, redelivered=False)
    assert one == "You have 1 new message.\n\n<mail>a</mail>"
    two = turn.wake_prompt(["<mail>a</mail>", "<mail>b</mail>"], 3, redelivered=True).splitlines()
    assert two[0] == "You have 2 new messages."
    assert two[1].startswith("3 more are waiting") and two[2].startswith("Those marked redelivered")
    assert two[-3:] == ["<mail>a</mail>", "", "<mail>b</mail>"]


def test_what_is_wrong_with_the_hives_tools() -> None:
    def init(**servers: str) -> dict[str, Any]:
        return {"mcp_servers": [{"name": name, "status": status} for name, status in servers.items()]}

    assert turn.mcp_missing(init(hive="connected", other="failed")) == ""
    assert turn.mcp_missing(init(hive="pending")) == ""
    assert turn.mcp_missing(init(hive="failed")) == '"failed"'
    assert turn.mcp_missing({}) == '"absent"'


@given(st.text(alphabet=st.characters(codec=None)), st.integers(0, 500))
def test_a_clipped_text_fits(text: str, size: int) -> None:
    assert len(turn.clip(text, size).encode()) <= size
    assert text.encode(errors="replace").decode().startswith(turn.clip(text, size))


WORDS = (
    "type subtype message content name input usage result errors is_error session_id model total_cost_usd"
    " api_error_status api_error terminal_reason retry_delay_ms error command input_tokens mcp_servers"
).split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner),
)
KINDS = [("system", "init"), ("system", "api_retry"), ("assistant", None), ("result", "success")]


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(WORDS[2:]), JSON))
def test_whatever_claude_says_makes_a_record_that_the_broker_takes(
    kind: tuple[str, str | None], event: dict[str, Any]
) -> None:
    it = of(GOOD)
    line = turn.note(it, event | {"type": kind[0], "subtype": kind[1]})
    assert line.isprintable() and len(line) <= 200
    turn.mcp_missing(event)
    record = turn.record(it, 1, it.total_cost)
    assert turn_record(wire.decode(wire.encode(record)))["outcome"] in turn.OUTCOMES
    reason = turn.clip(f"{it.outcome}: {it.error}", 400)
    assert wire.get_text({"reason": reason}, "reason", 500) == reason
