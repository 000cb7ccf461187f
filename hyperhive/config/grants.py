"""What a change of an agent's config grants and takes away, in words for the operator who decides on it."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hyperhive import names
from hyperhive.config import agent_toml
from hyperhive.config.agent_toml import FILE, MEMORY, Agent, Server
from hyperhive.config.config_tree import File

MORE, LESS, OTHER = "higher", "lower", "same"  # the risk, beside what was before
NOBODY = agent_toml.parse("[send]\nto = []")  # what an agent is compared with that is not there yet
ANYTHING = "*"


@dataclass(frozen=True)
class Change:
    text: str
    risk: str


def risk(changes: Iterable[Change]) -> str:
    """Of all together: what is granted weighs more than what is taken away."""
    found = {change.risk for change in changes}
    return next((each for each in (MORE, LESS) if each in found), OTHER)


def changes(old: Agent | None, new: Agent) -> list[Change]:
    """Between two agent.toml; an agent that is new is compared with one that may do nothing."""
    before = old or NOBODY
    return [
        *runner(before, new),
        *tools(before, new),
        *servers(before.mcp, new.mcp),
        *reach("write to", who(before.send_to), who(new.send_to), "everybody"),
        *reach("reach", {*before.egress}, {*new.egress}, "everything"),
        *limits(before.limits, new.limits),
        *disk(before.disk, new.disk),
        *root(before, new),
        *plain(before, new),
    ]


def reach(verb: str, old: set[str], new: set[str], anything: str) -> Iterator[Change]:
    """Sets in which ANYTHING, if it is there, is alone."""
    if old != new and ANYTHING in new:
        yield Change(f"may now {verb} {anything}", MORE)
    elif old != new and ANYTHING in old:
        rest = f", only {', '.join(sorted(new))}" if new else ""
        yield Change(f"may no longer {verb} {anything}{rest}", LESS)
    else:
        yield from (Change(f"may now {verb} {each}", MORE) for each in sorted(new - old))
        yield from (Change(f"may no longer {verb} {each}", LESS) for each in sorted(old - new))


def who(send_to: tuple[str, ...]) -> set[str]:
    if names.ALL in send_to:
        return {ANYTHING}
    return {"the operator" if name == names.OPERATOR else name for name in send_to}


def tools(old: Agent, new: Agent) -> Iterator[Change]:
    before, after = by_tool(old.allow), by_tool(new.allow)
    for tool in sorted(before.keys() | after.keys()):
        has, gets = before.get(tool, set()), after.get(tool, set())
        if tool == "Bash":
            yield from reach("run:", has, gets, "any command")
        else:
            yield from reach("use", named(has, f"{tool}(", ")"), named(gets, f"{tool}(", ")"), tool)


def named(these: set[str], before: str, after: str) -> set[str]:
    return {each if each == ANYTHING else before + each + after for each in these}


def by_tool(rules: tuple[str, ...]) -> dict[str, set[str]]:
    """What each tool may be used on. A rule without parentheses takes in all others."""
    found: dict[str, set[str]] = {}
    for rule in rules:
        tool, _, rest = rule.partition("(")
        found.setdefault(tool, set()).add(rest.removesuffix(")") or ANYTHING)
    return {tool: {ANYTHING} if ANYTHING in on else on for tool, on in found.items()}


def servers(old: Mapping[str, Server], new: Mapping[str, Server]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if after and (not before or started(before) != started(after)):
            yield Change(f"the MCP server {name} runs in its cage: {started(after)}", MORE)
        elif not after:
            yield Change(f"the MCP server {name} no longer runs", LESS)
        has, gets = (named(allowed(each), "", f" of {name}") for each in (before, after))
        yield from reach("use", has, gets, f"all tools of {name}")


def started(server: Server) -> str:
    env = [f"{key}={value}" for key, value in sorted(server.env.items())]
    return " ".join(
        each if each and " " not in each else f"'{each}'" for each in [*env, server.command, *server.args]
    )


def allowed(server: Server | None) -> set[str]:
    on = {*server.allow} if server else set()
    return {ANYTHING} if ANYTHING in on else on


def runner(old: Agent, new: Agent) -> Iterator[Change]:
    if old.runner != new.runner and new.program:
        yield Change(f"bin/{new.program} runs its turns, which the rules for tools do not bind", MORE)
    elif old.runner != new.runner:
        yield Change("claude runs its turns", LESS)


def limits(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for key in sorted(old.keys() | new.keys()):
        before, after = amount(old.get(key)), amount(new.get(key))
        if before != after:
            text = f"{key} is {new.get(key, 'without a limit')}, was {old.get(key, 'without a limit')}"
            yield Change(text, MORE if after > before else LESS)


def disk(old: str | None, new: str | None) -> Iterator[Change]:
    if amount(old) != amount(new):
        text = f"may use {new or 'all'} of the disk, was {old or 'without a limit'}"
        yield Change(text, MORE if amount(new) > amount(old) else LESS)


def root(old: Agent, new: Agent) -> Iterator[Change]:
    if old.root != new.root and new.root:
        yield Change(f"its programs are those of /var/lib/machines/{new.root}", MORE)
    elif old.root != new.root:
        yield Change("its programs are the host's", LESS)


def amount(limit: str | None) -> float:
    if limit is None:
        return math.inf
    digits = limit.rstrip("KMGT%")
    return int(digits) * MEMORY.get(limit.removeprefix(digits), 1)


def plain(old: Agent, new: Agent) -> Iterator[Change]:
    shown = {
        "description": ("is described as", new.description or "nothing"),
        "model": ("its model is", new.model or "the hive's"),
        "linger": ("stays awake without mail for", f"{new.linger} s"),
        "turn_timeout": ("a turn may be silent for", f"{new.turn_timeout} s"),
    }
    for key, (text, value) in shown.items():
        if getattr(old, key) != getattr(new, key):
            yield Change(f"{text} {value}", OTHER)


def files(old: Mapping[str, File], new: Mapping[str, File]) -> list[Change]:
    """What else changes of the config. What they make of the grants, only reading them tells."""
    found = []
    for path in sorted((old.keys() | new.keys()) - {FILE}):
        how = "is new" if path not in old else "is gone" if path not in new else "has changed"
        if old.get(path) != new.get(path):
            harmless = path not in new or not path.startswith("bin/")
            found.append(Change(f"{path} {how}", OTHER if harmless else MORE))
    return found
