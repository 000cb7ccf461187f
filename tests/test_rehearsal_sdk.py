"""The rehearsal model as the official SDK sees it: it parses every field."""

from collections.abc import Iterator
from pathlib import Path

import anthropic
import pytest
from anthropic.types import MessageParam, ToolResultBlockParam, ToolUseBlockParam

from tests import endpoints

RULES = (endpoints.ROOT / "tests/rehearsed.toml").read_text()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[anthropic.Anthropic]:
    with endpoints.rehearsal(tmp_path / "model", RULES) as model:
        yield anthropic.Anthropic(base_url=model.url, api_key="x", max_retries=0)


def said(text: str) -> list[MessageParam]:
    return [{"role": "user", "content": text}]


def test_messages_streams_counts_and_models(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model="m", max_tokens=100, messages=said("say hello"))
    assert (message.content[0].type, message.stop_reason) == ("text", "end_turn")
    long = "streamed " * 50
    with client.messages.stream(model="m", max_tokens=100, messages=said(f"say {long}")) as stream:
        assert "".join(stream.text_stream).strip() == long.strip()
        assert stream.get_final_message().usage.output_tokens == len(long.strip()) // 4
    assert client.messages.count_tokens(model="m", messages=said("x" * 400)).input_tokens > 100
    assert client.models.list().data[0].id == "rehearsal"


def test_a_streamed_tool_call_and_its_result(client: anthropic.Anthropic) -> None:
    ask = said("run echo 'ä'")
    with client.messages.stream(model="m", max_tokens=100, messages=ask) as stream:
        message = stream.get_final_message()
    [use] = message.content
    assert (
        use.type == "tool_use" and use.input == {"command": "echo 'ä'"} and message.stop_reason == "tool_use"
    )
    call = ToolUseBlockParam(type="tool_use", id=use.id, name=use.name, input=use.input)
    result = ToolResultBlockParam(type="tool_result", tool_use_id=use.id, content="three")
    ask += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    answer = client.messages.create(model="m", max_tokens=100, messages=ask).content[0]
    assert answer.type == "text" and answer.text == "saw three"


FAILURES = {
    "429": anthropic.RateLimitError,
    "401": anthropic.AuthenticationError,
    "too long": anthropic.BadRequestError,
}


@pytest.mark.parametrize("text", FAILURES)
def test_failures_have_the_classes_of_the_sdk(client: anthropic.Anthropic, text: str) -> None:
    with pytest.raises(FAILURES[text]):
        client.messages.create(model="m", max_tokens=100, messages=said(text))
