"""The man pages: true to the programs, and rendered without a complaint."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hyperhive import settings
from hyperhive.cage import tools, tools_manager
from hyperhive.config import agent_toml
from hyperhive.rules import builtins, wrappers

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "man").glob("*.rst"))
PROGRAMS = [page for page in PAGES if (ROOT / "bin" / page.name.split(".")[0]).exists()]
ENV = os.environ | {"PYTHONPATH": os.fspath(ROOT), "COLUMNS": "100"}


def page_name(page: Path) -> str:
    return page.stem


def help_of(*command: str) -> str:
    """What it prints for --help; nothing when it has no options at all."""
    line = [sys.executable, os.fspath(ROOT / "bin" / command[0]), *command[1:], "--help"]
    done = subprocess.run(
        line, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )
    return done.stdout


def options(text: str) -> set[str]:
    return {*re.findall(r"^  (?:-\w, )?(--[a-z][a-z-]*)", text, re.M)}


def words(program: str) -> set[str]:
    text = help_of(program)
    verbs = {*re.findall(r"^    ([a-z][a-z-]*)(?: |$)", text, re.M)}
    return options(text).union(verbs, *(options(help_of(program, verb)) for verb in verbs))


def section(page: Path, title: str) -> str:
    """What stands under a heading, or nothing."""
    parts = re.split(r"^(\S.*)\n=+\n", page.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(title, "")


@pytest.mark.parametrize("page", PROGRAMS, ids=page_name)
def test_page_and_program_name_the_same_options_and_verbs(page: Path) -> None:
    documented = re.findall(r"^(?:-\w, )?(--[a-z][a-z-]*)", page.read_text(), re.M)
    verbs = re.findall(r"^\*\*([a-z-]+)\*\*(?: |$)", section(page, "VERBS"), re.M)
    assert {*documented, *verbs} == words(page.name.split(".")[0])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_page_renders_without_a_complaint(page: Path) -> None:
    roff = subprocess.run(["rst2man", "--halt=2", page], check=True, capture_output=True).stdout
    lint = subprocess.run(["mandoc", "-Tlint", "-Werror"], input=roff, capture_output=True)
    assert lint.stdout == b""


def signatures(text: str) -> dict[str, set[str]]:
    """From lines such as 'send {to, body, key?}'."""
    found = re.findall(r"^([a-z_]+) \{(.*)\}$", text, re.M)
    return {name: {*re.findall(r"\w+\??", fields)} for name, fields in found}


@pytest.mark.parametrize(
    ("title", "given"), [("TOOLS", tools.ALL), ("TOOLS OF THE MANAGER", tools_manager.ALL)]
)
def test_hive_mcp_8_names_the_tools_and_their_arguments(title: str, given: list[tools.Tool]) -> None:
    documented = signatures(section(ROOT / "man/hive-mcp.8.rst", title))
    assert documented == {
        tool.name: {name if name in tool.required else f"{name}?" for name in tool.properties}
        for tool in given
    }


def keys(schema: settings.Schema, table: str = "") -> dict[str, str]:
    """What the page must say of each key first: its type, its limits and its default."""
    found: dict[str, str] = {}
    for key, rule in schema.items():
        if isinstance(rule, settings.Rule):
            if rule.default is settings.REQUIRED:
                how = "required"
            else:
                how = f"default: {'none' if rule.default is None else json.dumps(rule.default)}"
            found[table + key] = f"{rule.what}; {how}."
        elif isinstance(rule, settings.Each):
            found[f"{table}{key}.NAME"] = f"at most {rule.most} tables called {rule.name.what}."
            found |= keys(rule.table, f"{table}{key}.NAME.")
        else:
            found |= keys(rule, f"{table}{key}.")
    return found


def entries(text: str) -> dict[str, str]:
    found = re.findall(r"^(\w[\w.]*)\n((?: +.*\n)+)", text, re.M)
    return {key: " ".join(said.replace("\\*", "*").split()) for key, said in found}


@pytest.mark.parametrize(("page", "schema"), [("agent", agent_toml.AGENT), ("hive", settings.HIVE)])
def test_page_and_schema_agree_on_keys_types_limits_and_defaults(page: str, schema: settings.Schema) -> None:
    said = entries(section(ROOT / f"man/hyperhive-{page}.toml.5.rst", "KEYS"))
    wanted = keys(schema)
    assert said.keys() == wanted.keys()
    for key, text in wanted.items():
        assert said[key].startswith(text[0].upper() + text[1:]), key


def test_hive_rules_names_all_that_needs_no_rule() -> None:
    page = next(page for page in PAGES if page.stem.startswith("hive-rules"))
    named = re.findall(r"\*\*([^* ]+)(?: -[vr])?\*\*", section(page, "WHAT NEEDS NO RULE"))
    free = {*builtins.CHECKS, *wrappers.WRAPPERS, *wrappers.SHELLS}
    need_one = {"source", "alias", "enable", "kill", "let", "complete"}
    assert {*named} - need_one == free | {"[[", "(("}
    assert not need_one & free
