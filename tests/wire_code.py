"""Which errors an operation may answer, and what the broker publishes: from the code's syntax trees."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from hyperhive.broker.broker import Broker
from hyperhive.broker.changes import Changes
from hyperhive.broker.snapshot import Snapshots
from hyperhive.operations import operations
from hyperhive.problem import Problem
from hyperhive.stats.stats import Stats
from hyperhive.stats.telemetry import Telemetry
from hyperhive.store import ends, outcomes
from hyperhive.store.commit import Writer
from hyperhive.store.store import Store

SOCKETS: dict[str, dict[str, Any]] = {
    "AGENT": {**operations.AGENT, **operations.HARNESS},
    "MANAGER": operations.MANAGER,
    "OPERATOR": operations.OPERATOR,
    "SYSTEM": operations.SYSTEM,
}
# What a variable or an attribute of this name is.
RECEIVERS = {"broker": Broker, "store": Store, "writer": Writer, "snapshots": Snapshots, "stats": Stats}
RECEIVERS |= {"changes": Changes, "telemetry": Telemetry}
# An error that one operation hands to another which waits: whose answer it is.
HANDED_ON = {"no-harness": "recv"}
# What a function never gives to those that call it, though it calls what may.
NEVER: dict[Any, set[str]] = {
    ends.tell: {"conflict", "queue-full"},  # what the system sends has no key and no such limit
    outcomes.destroy: {"not-pending", "unknown-request"},  # it ends only what it has found to be pending
    ends.ask: {"unknown-question"},  # it looks up what it has just written
    Telemetry.begin: {"storage"},  # its work goes on after the answer
}


@functools.cache
def tree_of(function: FunctionType) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]


def locals_of(code: CodeType) -> set[str]:
    inner = [locals_of(const) for const in code.co_consts if isinstance(const, CodeType)]
    return {*code.co_varnames, *code.co_cellvars}.union(*inner)


def owner_of(function: FunctionType) -> type | None:
    name = function.__qualname__.partition(".")[0]
    found = function.__globals__.get(name)
    return found if isinstance(found, type) else None


def resolve(node: ast.AST, function: FunctionType) -> Any:
    """The function or class that a name in this function's code stands for, if it is plain."""
    if isinstance(node, ast.Name):
        return None if node.id in locals_of(function.__code__) else function.__globals__.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    value = node.value
    last = getattr(value, "id", getattr(value, "attr", ""))
    if last == "self":
        return getattr(owner_of(function), node.attr, None)
    receiver = RECEIVERS.get(last) or resolve(value, function)
    return getattr(receiver, node.attr, None)


def is_ours(found: Any) -> bool:
    return isinstance(found, FunctionType) and found.__module__.startswith("hyperhive.")


# errors


def swallows(node: ast.AST) -> bool:
    """A try that catches Problem and lets none out."""
    return isinstance(node, ast.Try) and any(
        "Problem" in ast.unparse(handler.type or ast.Constant(""))
        and not any(isinstance(inner, ast.Raise) and not inner.exc for inner in ast.walk(handler))
        for handler in node.handlers
    )


def branches(node: ast.AST, socket: str) -> Iterator[ast.AST]:
    """What is below, as far as it can run for a caller on this socket."""
    if isinstance(node, ast.IfExp) and ast.unparse(node.test) == "connection.who == names.OPERATOR":
        yield node.body if socket == "OPERATOR" else node.orelse
    else:
        yield from ast.iter_child_nodes(node)


def live(node: ast.AST, socket: str) -> Iterator[ast.AST]:
    """All below, but not what raises into such a try, nor what is handed to somebody else's future."""
    yield node
    dead = node.body if isinstance(node, ast.Try) and swallows(node) else []
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "set_exception":
        return
    for child in branches(node, socket):
        if child not in dead:
            yield from live(child, socket)


def codes_of(function: FunctionType, socket: str, seen: set[FunctionType]) -> set[str]:
    """The codes of all problems made in it and in what it mentions."""
    if function in seen:
        return set()
    return codes_below(function, socket, seen | {function}) - NEVER.get(function, set())


def codes_below(function: FunctionType, socket: str, seen: set[FunctionType]) -> set[str]:
    found: set[str] = set()
    for node in live(tree_of(function), socket):
        if isinstance(node, ast.Call) and resolve(node.func, function) is Problem:
            code = node.args[0]
            assert isinstance(code, ast.Constant), f"{function.__qualname__}: write the code of Problem out"
            found.add(str(code.value))
        elif is_ours(target := resolve(node, function)):
            found |= codes_of(target, socket, seen)
    return found


def handed_on(function: FunctionType) -> set[str]:
    return {
        str(call.args[0].value)
        for node in ast.walk(tree_of(function))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "set_exception"
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and resolve(call.func, function) is Problem
        and isinstance(call.args[0], ast.Constant)
    }


def errors(socket: str, op: str) -> set[str]:
    handed = {code for code, whose in HANDED_ON.items() if whose == op}
    return codes_of(SOCKETS[socket][op], socket, set()) | handed
