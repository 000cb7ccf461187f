"""Judge a command of an agent by the rules of its agent.toml; see hive-rules(8). Standard library only."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hyperhive.rules import builtins, grammar, paths, programs, variables, wrappers, writes
from hyperhive.rules.match import Pattern, anything, matching, nearest, patterns, show
from hyperhive.rules.tree import Block, Node, Redirection, Script, Simple, Unreadable
from hyperhive.rules.values import (
    COUNT,
    UNTOLD,
    Values,
    arguments,
    scripts_of,
    texts,
    values,
    walk,
    words_of,
)
from hyperhive.rules.wrappers import MARKED, SHELLS, Runs

TEXT_MAX = 300  # characters of each part of a denial
DEPTH_MAX = 12  # of commands that run commands


class Denial(NamedTuple):
    """`part` of the command breaks the `rule`; `nearest` is the allowed form that comes closest, or ""."""

    part: str
    rule: str
    nearest: str = ""


class Context(NamedTuple):
    rules: tuple[Pattern, ...]
    values: Values
    functions: Mapping[str, int]  # and from where on they are there
    folders: tuple[str, ...] | None  # where it may be; None: anywhere
    depth: int = 0


def judge(command: str, allow: Sequence[str], cwd: str = "/state") -> Denial | None:
    """None: every command in it is allowed."""
    if anything(allow):
        return None
    found = judge_text(command, Context(tuple(patterns(allow)), UNTOLD, {}, (cwd,)))
    return found and Denial(*(clip(each) for each in (found.part, found.rule, found.nearest)))


def clip(text: str) -> str:
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def judge_text(text: str, outer: Context, *, inside: bool = False) -> Denial | None:
    """`inside`: in the same shell, as eval does it."""
    if outer.depth > DEPTH_MAX:
        return Denial(text, "too many commands within commands")
    try:
        script = grammar.read(text)
    except Unreadable as e:
        return Denial(text, f"it cannot be read for sure: {e}")
    if inside and not builtins.quiet(script):
        return Denial(text, "what eval or trap runs must not set variables, functions or the folder")
    # Of a shell within another one it is not known what it has been given.
    known = values(script) if not outer.depth else UNTOLD
    folders = builtins.folders(script, known, outer.folders)
    functions = outer.functions if inside else defined(script)
    return next(denials(script, Context(outer.rules, known, functions, folders, outer.depth + 1)), None)


def defined(script: Script) -> dict[str, int]:
    """Functions that are there for sure, and from where on."""
    found: dict[str, int] = {}
    for node in script:
        if isinstance(node, Block) and node.kind == "function" and node.certain:
            found.setdefault(node.name, node.at)
    for node in walk(script):
        if isinstance(node, Simple) and "unset" in (word.source for word in node.words):
            found = {}
    return found


def denials(script: Script, context: Context) -> Iterator[Denial]:
    for node in script:
        yield from of_node(node, context)
        for word in words_of(node):
            yield from denials(scripts_of(word), context)
        if isinstance(node, Block):
            yield from denials(node.body, context)


def of_node(node: Node, context: Context) -> Iterator[Denial]:
    for redirection in node.redirections:
        yield from of_redirection(redirection, context)
    for why in variables.faults(node, context.values):
        yield Denial(node.source, why)
    if isinstance(node, Block):
        if node.kind == "function" and node.name in builtins.taken(context.rules):
            yield Denial(f"{node.name} ()", f"a function must not be called like the command '{node.name}'")
        return
    for assignment in node.assignments:
        why = variables.assignment(assignment.name, exported=bool(node.words))
        why = "" if assignment.source in variables.HARMLESS else why
        if assignment.name == "IFS" and node.words and node.words[0].source == "read":
            continue  # for this one line that it reads
        if why and not spelled(node, context):
            yield Denial(assignment.source, why, nearest_of([assignment.source], context))
    for words in arguments(node.words, context.values) if node.words else ():
        before = {name for name, at in context.functions.items() if at < node.at}
        inner = context._replace(functions=dict.fromkeys(before, 0))
        yield from of_words(words, inner, node.source, [each.source for each in node.assignments])


def spelled(node: Simple, context: Context) -> bool:
    """A rule allows the command with just these assignments."""
    before = [each.source for each in node.assignments]
    return all(
        any(
            rule.words[: len(before)] == tuple(before) for rule in matching([*before, *words], context.rules)
        )
        for words in arguments(node.words, context.values)
    )


def of_redirection(this: Redirection, context: Context) -> Iterator[Denial]:
    if this.operator in ("<<", "<<-", "<<<"):
        return
    for path in texts(this.target, context.values, split=True):
        if this.operator in ("<&", ">&") and re.fullmatch(rf"[0-9]+-?|-|{COUNT}", path):
            continue
        # Bash expands this word twice: what is quoted now is not then.
        if this.operator in ("<&", ">&") and not re.fullmatch(r"[\w./][\w./-]*", path, re.ASCII):
            yield Denial(this.source, "what is opened cannot be told")
            continue
        if re.match(paths.NETWORK, path):
            yield Denial(this.source, "bash would open a network connection")
        elif this.operator not in ("<", "<&") and (why := paths.fault(path, context.folders)):
            yield Denial(this.source, why)
        elif this.operator == "<&":
            yield Denial(this.source, "what it would read cannot be told")


def of_words(
    words: Sequence[str], context: Context, source: str, before: Sequence[str] = ()
) -> Iterator[Denial]:
    """`before`: assignments, as a rule may spell them."""
    name = words[0]
    if not name or MARKED.search(name):
        yield Denial(source, "which command this is cannot be told")
        return
    words = [re.sub(r"^/(usr/)?bin/", "", name), *words[1:]]
    forms = (words, [name, *words[1:]], [*before, *words])
    allowed = [rule for form in forms for rule in matching(form, context.rules)]
    if name in context.functions or any(rule.exact for rule in allowed):
        return
    if (runs := builtins.check(words)) is None:
        runs = wrappers.unwrap(words) if not (allowed and words[0] in SHELLS) else Runs()
    if runs is None:
        if not allowed:
            yield Denial(show(words), "no rule allows it", nearest_of(words, context))
            return
        runs = programs.check(words)
    yield from of_runs(words, runs, allowed, context)


def of_runs(
    words: Sequence[str], runs: Runs, allowed: Sequence[Pattern], context: Context
) -> Iterator[Denial]:
    if runs.hazard and not any(spells(rule, runs.hazard) for rule in allowed):
        why = f"it could run or write more than it shows, by: {runs.hazard}"
        yield Denial(show(words), why, nearest_of(words, context))
    for variable in runs.variables:
        if why := variables.assignment(variable.partition("=")[0], exported=True):
            yield Denial(variable, why)
    for path in runs.writes:
        if why := paths.fault(path, context.folders):
            yield Denial(show(words), why)
    for place in writes.places(words):
        why = paths.told(place.path, context.folders, itself=place.itself)
        if why and not any(leads(rule, place.path) for rule in allowed):
            yield Denial(show(words), why, nearest_of(words, context))
            break
    for command in runs.commands:
        if command:
            yield from of_words(command, context._replace(functions={}), show(command))
    inside = words[0] in ("eval", "trap")
    for script in runs.scripts:
        found = judge_text(script, context if inside else context._replace(functions={}), inside=inside)
        yield from [found] if found else []


def spells(rule: Pattern, hazard: str) -> bool:
    text = f" {' '.join(rule.words)} "
    return f" {hazard} " in text or f" {hazard}=" in text


def leads(rule: Pattern, path: str) -> bool:
    """It says itself that one may write there: cp * /agents/*"""
    ways = (word for word in rule.words[1:] if word.startswith("/"))
    return ".." not in path and any(
        re.fullmatch(re.escape(each).replace(r"\*", ".*"), path) for each in ways
    )


def nearest_of(words: Sequence[str], context: Context) -> str:
    return nearest(words, context.rules)
