"""Spans of time, as people write and read them."""

import pytest

from hyperhive import span
from hyperhive.problem import Problem


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (3720, "1 h 2 min"),
        (180_000, "2 d 2 h"),
        (-3, "0 s"),
    ],
)
def test_spans_are_for_humans(seconds: float, text: str) -> None:
    assert span.words(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10min", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("45", 45),
        ("1h 30min", 5400),
        ("1w2d", 777_600),
    ],
)
def test_people_write_spans(text: str, seconds: int) -> None:
    assert span.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10 parsecs", "-5", "1.5h", "5min!", "min", "٣", "1 1"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(Problem):
        span.seconds(text)
