"""The rehearsal model as the real CLI sees it."""

from pathlib import Path
from typing import Any

import pytest

from tests import endpoints
from tests.endpoints import Rehearsal, Warm, claude


def test_the_cli_gets_a_plain_answer(model: Rehearsal, tmp_path: Path) -> None:
    result = claude(tmp_path / "home", model.url, "say hello there")[-1]
    assert (result["subtype"], result["is_error"], result["result"]) == ("success", False, "hello there")
    assert result["usage"]["cache_creation_input_tokens"] > 1000


def test_the_cli_runs_a_command_and_a_rule_sees_its_result(model: Rehearsal, tmp_path: Path) -> None:
    lines = claude(tmp_path / "home", model.url, "run echo three", "--allowedTools", "Bash")
    assert lines[-1]["result"] == "saw three"


def test_the_cli_goes_through_all_steps_of_a_rule(model: Rehearsal, tmp_path: Path) -> None:
    allow = ["--allowedTools", "Bash", "Write"]
    home = tmp_path / "home"
    lines = claude(home, model.url, f"work in {home}", *allow)
    assert (home / "a").read_text() == "one {nothing}"
    assert lines[-1]["result"] == "read: one {nothing}"
    mine = [r for r in model.requests() if str(home) in r["text"]]
    assert [(r["step"], r["after_tool"]) for r in mine] == [(0, ""), (1, "Bash"), (2, "Bash")]


FAILURES: dict[str, dict[str, Any]] = {
    "429": {"api_error_status": 429, "api_error_type": "rate_limit_error", "terminal_reason": "api_error"},
    "529": {"api_error_status": 529, "api_error_type": "overloaded_error", "terminal_reason": "api_error"},
    "401": {
        "api_error_status": 401,
        "api_error_type": "authentication_error",
        "terminal_reason": "api_error",
    },
    "too long": {"api_error_status": 400, "terminal_reason": "prompt_too_long"},
    "malformed": {
        "api_error_status": None,
        "api_error": "connection_failed",
        "terminal_reason": "api_error",
    },
}


@pytest.mark.parametrize("text", FAILURES)
def test_the_cli_names_a_failure(model: Rehearsal, tmp_path: Path, text: str) -> None:
    result = claude(tmp_path / "home", model.url, text)[-1]
    assert (result["type"], result["subtype"], result["is_error"]) == ("result", "success", True)
    assert FAILURES[text].items() <= result.items()


def test_the_cli_tries_again_and_says_so(fresh: Rehearsal, tmp_path: Path) -> None:
    lines = claude(tmp_path / "home", fresh.url, "529 once", CLAUDE_CODE_MAX_RETRIES="1")
    retry = next(e for e in lines if e.get("subtype") == "api_retry")
    assert (retry["error"], retry["error_status"], retry["max_retries"]) == ("overloaded", 529, 1)
    assert lines[-1]["result"] == "after all"


def test_a_warm_cli_survives_a_hang_and_an_unknown_model_and_compacts(
    model: Rehearsal, tmp_path: Path
) -> None:
    with Warm(tmp_path / "home", model.url) as warm:
        warm.say("hang")
        endpoints.wait_until(lambda: any(r["text"] == "hang" for r in model.requests()), warm.process)
        warm.control(subtype="interrupt")
        assert warm.until("result")[-1]["terminal_reason"] in ("aborted_streaming", "aborted_tools")
        warm.control(subtype="set_model", model="nosuch")
        assert warm.until("control_response")[-1]["response"]["error_code"] == "not_found"
        warm.say("say one")
        assert warm.until("result")[-1]["result"] == "one"
        warm.say("/compact")
        assert any(e.get("subtype") == "compact_boundary" for e in warm.until("result"))
        warm.say("say two")
        assert warm.until("result")[-1]["result"] == "two"
