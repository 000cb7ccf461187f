"""agent.toml with more in [tools] allow: minimal edits, and none that says something else."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.config import agent_toml, allow_list
from hyperhive.problem import Problem

NEW = "Bash(git push *)"
LONG = f"Bash({'x' * 1000})"
OTHERS = """# allow = ["x"]
description = 'allow = ["y"]'
[egress]
allow = ["a.org:1"]
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f'[tools]\nallow = ["{NEW}"]\n'),
        ("linger = 5", f'linger = 5\n\n[tools]\nallow = ["{NEW}"]\n'),
        ("[tools]", f'[tools]\nallow = ["{NEW}"]\n'),
        (
            "[tools] # those\n[send]\nto = []\n",
            f'[tools] # those\nallow = ["{NEW}"]\n[send]\nto = []\n',
        ),
        ("[tools]\nallow = []\n", f'[tools]\nallow = ["{NEW}"]\n'),
        ('[tools]\nallow = ["Read"] # few\n', f'[tools]\nallow = ["Read", "{NEW}"] # few\n'),
        ("tools = { allow = ['Read'] }\n", f"tools = {{ allow = ['Read', \"{NEW}\"] }}\n"),
        ('tools.allow = ["Read"]\n', f'tools.allow = ["Read", "{NEW}"]\n'),
        ('[tools]\n"allow" = ["Read",]\n', f'[tools]\n"allow" = ["Read", "{NEW}",]\n'),
        (
            '[tools]\nallow = [\n  "Read", # a ] in it\n  "Edit", # why\n  # the end\n]\n',
            f'[tools]\nallow = [\n  "Read", # a ] in it\n  "Edit", # why\n  "{NEW}",\n  # the end\n]\n',
        ),
        (
            '[tools]\nallow = [\n\t"Read" # why\n]\n',
            f'[tools]\nallow = [\n\t"Read", # why\n\t"{NEW}"\n]\n',
        ),
        (
            '[tools]\nallow = ["Read",\n  "Edit"]\n',
            f'[tools]\nallow = ["Read",\n  "Edit", "{NEW}"]\n',
        ),
        (
            f'{OTHERS}[tools]\nallow = ["""Read"""]\n',
            f'{OTHERS}[tools]\nallow = ["""Read""", "{NEW}"]\n',
        ),
        ('[egress]\nallow = ["a"]\n', f'[egress]\nallow = ["a"]\n\n[tools]\nallow = ["{NEW}"]\n'),
        (
            f'[tools]\nallow = ["{LONG}"]\n',
            f'[tools]\nallow = ["{LONG}",\n    "{NEW}"]\n',
        ),
        (f'[tools]\nallow = ["{NEW}"]', f'[tools]\nallow = ["{NEW}"]'),
    ],
)
def test_the_edit_is_minimal(before: str, after: str) -> None:
    assert allow_list.added(before, "tools", [NEW, NEW]) == after


@pytest.mark.parametrize(
    "source", ["tools = {}\n", "tools.x = 1\n", "[tools.allow]\n", '[tools]\nallow = [["Read"]]\n']
)
def test_what_cannot_be_edited_is_refused(source: str) -> None:
    with pytest.raises(Problem, match="cannot add to"):
        allow_list.added(source, "tools", [NEW])


TOOL = st.from_regex(agent_toml.TOOL, fullmatch=True).filter(str.isprintable)
SPACE = st.sampled_from(["", " ", "\n", "  \n\t", " # it's [odd]\n", "\n\n    ", '# "\n'])


@given(st.lists(st.tuples(SPACE, TOOL, SPACE)), SPACE, st.booleans(), st.lists(TOOL, min_size=1, max_size=3))
def test_whatever_it_was_it_says_what_is_wanted(
    has: list[tuple[str, str, str]], end: str, comma: bool, new: list[str]
) -> None:
    parts = ",".join(f"{before}{allow_list.quoted(tool)}{after}" for before, tool, after in has)
    source = f"linger = 7\n[tools]\nallow = [{parts}{',' * (comma and bool(has))}{end}]\n[send]\nto = []\n"
    made = tomllib.loads(allow_list.added(source, "tools", new))
    tools = [tool for _, tool, _ in has]
    extra = [each for each in dict.fromkeys(new) if each not in tools]
    assert made == tomllib.loads(source) | {"tools": {"allow": tools + extra}}
