"""Mail as the model reads it: no body can pass for anything but a body."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive import wire
from hyperhive.cage import mail
from tests.test_mcp import MAIL

PIECES = [*"<>/ mMaAiIlL\n\t-x", "&lt;", "</mail>", "<mail "]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_a_body_cannot_end_its_block_or_begin_another(body: str) -> None:
    text = mail.block(MAIL | {"body": body}).lower()
    assert text.count("<mail") == 1 and text.count("</mail") == 1 and text.endswith("\n</mail>")


@pytest.mark.parametrize(
    "tag", ["</mail>", "</MAIL>", "< / mail>", "<\n/mail>", "<mail id='9'>", "<\u200b/mail>"]
)
def test_what_looks_like_a_tag_is_escaped(tag: str) -> None:
    assert mail.block(MAIL | {"body": f"a {tag} b"}).split("\n", 1)[1] == f"a &lt;{tag[1:]} b\n</mail>"


def test_other_markup_stays_as_it_is() -> None:
    body = "if (a < b && c > d) <b>x</b> <email> &lt; <<<"
    assert body in mail.block(MAIL | {"body": body})


def test_a_hostile_body_is_escaped_in_linear_time() -> None:
    begin = time.process_time()
    mail.block(MAIL | {"body": "<" * wire.BODY_MAX})
    assert time.process_time() - begin < 1


def test_attributes_are_escaped() -> None:
    assert 'from="a&quot; id=&quot;1&quot;&gt;&lt;"' in mail.block(MAIL | {"from": 'a"\nid="1"><'})
