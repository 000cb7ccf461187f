"""The fields that an operation reads from a request, with their types and limits: from its syntax tree."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from hyperhive import wire
from tests.wire_code import branches, is_ours, resolve, tree_of

GETTERS = (wire.get, wire.get_int, wire.get_number, wire.get_text, wire.get_ids)
PLAIN = {bool: "boolean", dict: "object", list: "[?]", str: "text", int: "int"}
RANGES = {(1, wire.ID_MAX): "id", (0, 2**53): "count"}
UNKNOWN = object()  # a value that only the running code knows

Env = dict[str, Any]


def type_of(getter: object, args: Env) -> str:
    if getter is wire.get_ids:
        return "[id]"
    if getter is wire.get_number:
        return "number"
    if getter is wire.get_text:
        return f"text({args['limit']})"
    if getter is wire.get_int:
        ends = (args["low"], args["high"])
        return RANGES.get(ends, f"int({ends[0]}..{ends[1]})")
    return PLAIN[args["kind"]]


def presence(function: FunctionType, name: str, key: ast.expr) -> tuple[str, str]:
    """What the function asks about a field before it reads it: may it be left out, may it be null."""
    code = ast.unparse(tree_of(function))
    if re.search(rf"\.get\(('{name}'|{re.escape(ast.unparse(key))})\)", code):
        return "?", " or null"
    return ("?", "") if re.search(rf"'{name}' (not )?in ", code) else ("", "")


@dataclass
class Reader:
    """One function that is given a message, and what is known of its other parameters."""

    socket: str
    function: FunctionType
    env: Env
    objects: dict[str, str]  # the variables that hold the message or an object in it: 'agent.' and the like
    fields: dict[str, str] = field(default_factory=dict)
    sometimes: bool = False  # it is called for some requests only, and so reads what others need not have

    def read(self) -> dict[str, str]:
        for child in ast.iter_child_nodes(tree_of(self.function)):
            self.visit(child)
        for node in ast.walk(tree_of(self.function)):
            self.checked(node)
        return self.fields

    def checked(self, node: ast.AST) -> None:
        """A field that is looked at comes through one of the getters, somewhere in the function."""
        found = re.fullmatch(r"(\w+)(?:\.get\(|\[)'(\w+)'.*", ast.unparse(node))
        if found and found[1] in self.objects and isinstance(node, ast.Call | ast.Subscript):
            path = self.objects[found[1]] + found[2]
            known = {path, f"{path}?"} & self.fields.keys()
            assert known, f"{self.function.__qualname__} reads {path!r} of a request without wire.get"

    def value(self, node: object) -> Any:
        if not isinstance(node, ast.expr):
            return node
        try:
            code = compile(ast.Expression(node), "", "eval")
            return eval(code, self.function.__globals__, self.env)  # noqa: S307
        except (NameError, AttributeError, TypeError):
            return UNKNOWN

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.DictComp | ast.ListComp) and len(node.generators) == 1:
            self.loop(node)
            return
        if isinstance(node, ast.FunctionDef) and node.args.args:
            return  # it is followed where it is called
        if isinstance(node, ast.If):
            self.condition(node)
            return
        if isinstance(node, ast.Assign):
            self.assigned(node)
        if isinstance(node, ast.Call):
            self.call(node)
        for child in branches(node, self.socket):
            self.visit(child)

    def condition(self, node: ast.If) -> None:
        self.visit(node.test)
        before, self.sometimes = self.sometimes, True
        for child in [*node.body, *node.orelse]:
            self.visit(child)
        self.sometimes = before

    def assigned(self, node: ast.Assign) -> None:
        name = ast.unparse(node.targets[0])
        if not isinstance(node.value, ast.Call):
            return
        args = [ast.unparse(arg) for arg in node.value.args]
        if resolve(node.value.func, self.function) is wire.get and args[2] == "dict":
            self.objects[name] = f"{self.objects[args[0]]}{ast.literal_eval(args[1])}."
        elif getattr(node.value.func, "attr", "") == "split":
            self.env[name] = self.value(node.value)

    def objects_of(self, node: ast.DictComp | ast.ListComp) -> bool:
        """`[f(each) for each in wire.get(message, 'events', list)]`, where f reads an object."""
        (generator,) = node.generators
        source, each = generator.iter, node.elt if isinstance(node, ast.ListComp) else None
        if not (isinstance(source, ast.Call) and isinstance(each, ast.Call)):
            return False
        target = resolve(each.func, self.function)
        if (
            not is_ours(target)
            or target in GETTERS
            or ast.unparse(each.args[0]) != ast.unparse(generator.target)
        ):
            return False
        self.visit(source)
        (parameter,) = inspect.signature(target).parameters
        inner = Reader(self.socket, target, {}, {parameter: ""}).read()
        shape = ", ".join(f"{name}: {kind}" for name, kind in inner.items())
        path = f"{self.objects[ast.unparse(source.args[0])]}{ast.literal_eval(source.args[1])}"
        self.fields[path] = self.fields[path].replace("?", f"{{{shape}}}")
        return True

    def loop(self, node: ast.DictComp | ast.ListComp) -> None:
        if self.objects_of(node):
            return
        (generator,) = node.generators
        self.visit(generator.iter)
        values = self.value(generator.iter)
        before = dict(self.env)
        for value in [UNKNOWN] if values is UNKNOWN else values:
            self.env[ast.unparse(generator.target)] = value
            for child in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
                self.visit(child)
        self.env.clear()
        self.env.update(before)

    def call(self, node: ast.Call) -> None:
        inner = [
            each
            for each in ast.walk(tree_of(self.function))
            if isinstance(each, ast.FunctionDef) and each.name == ast.unparse(node.func)
        ]
        if inner:
            self.inner(inner[0], node)
        target = resolve(node.func, self.function)
        if not is_ours(target):
            return
        known = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        bound = inspect.signature(target).bind_partial(*node.args, **known)
        bound.apply_defaults()
        args = {name: self.value(value) for name, value in bound.arguments.items()}
        if target in GETTERS:
            self.got(target, node.args[0], node.args[1], args)
            return
        texts = {
            name: ast.unparse(value)
            for name, value in bound.arguments.items()
            if isinstance(value, ast.expr)
        }
        if given := {name: self.objects[text] for name, text in texts.items() if text in self.objects}:
            Reader(self.socket, target, args, given, self.fields, self.sometimes).read()

    def inner(self, function: ast.FunctionDef, node: ast.Call) -> None:
        """A function within this one, which has the message from around it."""
        before = dict(self.env)
        names = [arg.arg for arg in function.args.args]
        self.env.update(zip(names, [self.value(arg) for arg in node.args], strict=True))
        for child in function.body:
            self.visit(child)
        self.env.clear()
        self.env.update(before)

    def got(self, getter: object, source: ast.expr, key: ast.expr, args: Env) -> None:
        name = args["key"]
        if isinstance(source, ast.Dict):  # wire.get_text({key: value}, key, limit): each of a list
            path = next(path for path in self.fields if path.rstrip("?").rpartition(".")[2] == name)
            self.fields[path] = self.fields[path].replace("?", type_of(getter, args))
            return
        optional, null = presence(self.function, name, key)
        optional = "?" if self.sometimes or args.get("default") is not None else optional
        self.fields[f"{self.objects[ast.unparse(source)]}{name}{optional}"] = type_of(getter, args) + null


def request(socket: str, operation: FunctionType) -> dict[str, str]:
    """{'to': 'text(64)', 'key?': 'text(128)', 'agent.name': …}, as hyperhive-wire(7) writes them."""
    return Reader(socket, operation, {}, {"message": ""}).read()
