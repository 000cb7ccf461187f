import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive import wire
from hyperhive.problem import Problem

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
)


@given(st.dictionaries(texts, values))
def test_what_is_encoded_is_one_line_and_comes_back(message: dict[str, Any]) -> None:
    line = wire.encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert wire.decode(line) == message


@given(st.binary())
def test_any_line_is_a_message_or_a_problem(line: bytes) -> None:
    try:
        assert isinstance(wire.decode(line), dict)
    except Problem as e:
        assert e.code == "bad-request"


@pytest.mark.parametrize(
    "line", [b"", b"{", b"\xff", b"[]", b"1", b"null", b'"x"', b"[" * 100_000, b"9" * 5000, b'{"a":1}{}']
)
def test_what_is_no_message(line: bytes) -> None:
    with pytest.raises(Problem) as e:
        wire.decode(line)
    assert e.value.code == "bad-request"


def test_the_longest_body_fits_into_a_line_however_it_is_escaped() -> None:
    request = {"v": 1, "id": wire.ID_MAX, "op": "send", "to": "x" * 32, "body": "\0" * wire.BODY_MAX}
    request |= {"in_reply_to": wire.ID_MAX, "key": "\0" * 128}
    assert len(json.dumps(request)) < wire.LINE_MAX


def test_a_failure_tells_the_way_out() -> None:
    problem = Problem("exists", "there is one already", hint="choose another")
    message = "there is one already (choose another)"
    assert wire.failure(problem) == {"ok": False, "error": "exists", "message": message}
    assert wire.failure(Problem("exists", "there is one"))["message"] == "there is one"


@pytest.mark.parametrize(
    ("kind", "value"),
    [(str, 1), (str, None), (int, "1"), (int, True), (int, 1.0), (bool, 1), (list, {}), (dict, [])],
)
def test_a_wrong_type_names_the_field(kind: type, value: object) -> None:
    with pytest.raises(Problem, match=f"^'field' must be {kind.__name__}$"):
        wire.get({"field": value}, "field", kind)


def test_a_field_that_is_not_there_has_its_default_or_is_a_problem() -> None:
    assert wire.get({}, "field", int, 5) == 5
    with pytest.raises(Problem, match="'field'"):
        wire.get({}, "field", int)


@pytest.mark.parametrize("value", [-1, 11, 2**80])
def test_a_number_out_of_its_range(value: int) -> None:
    with pytest.raises(Problem, match=r"^'field' must be from 0 to 10$"):
        wire.get_int({"field": value}, "field", 0, 10)


@pytest.mark.parametrize("value", [0, 10])
def test_a_range_includes_its_ends(value: int) -> None:
    assert wire.get_int({"field": value}, "field", 0, 10) == value


def test_a_text_is_measured_in_bytes() -> None:
    assert wire.get_text({"field": "ü" * 5}, "field", 10) == "ü" * 5
    with pytest.raises(Problem) as e:
        wire.get_text({"field": "ü" * 6}, "field", 10)
    assert (e.value.code, str(e.value), e.value.hint) == (
        "too-large",
        "'field' is 12 bytes long",
        "send at most 10",
    )


def test_a_lone_surrogate_is_no_text() -> None:
    message = wire.decode(b'{"field":"\\ud800"}')
    with pytest.raises(Problem, match="'field' is not valid Unicode") as e:
        wire.get_text(message, "field", 10)
    assert e.value.code == "bad-request"


def test_ids() -> None:
    assert wire.get_ids({"ids": [1, wire.ID_MAX]}, "ids") == [1, wire.ID_MAX]
    assert wire.get_ids({"ids": []}, "ids") == []


@pytest.mark.parametrize(
    "ids", [None, 1, "1", [0], [-1], [True], ["1"], [1.0], [2**63], [1] * 10_001], ids=str
)
def test_what_are_no_ids(ids: object) -> None:
    with pytest.raises(Problem) as e:
        wire.get_ids({"ids": ids}, "ids")
    assert e.value.code == "bad-request"


@pytest.mark.parametrize("value", [0, 1.5, 10**6])
def test_numbers(value: float) -> None:
    assert wire.get_number({"field": value}, "field") == value
