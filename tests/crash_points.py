"""The broker's crash points, read from its code: before and after each call that leaves a trace."""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

HYPERHIVE = Path(__file__).parent.parent / "hyperhive"
# The modules of the broker that act; a new one is missed by no one, see test_crash_points.py.
MODULES = (
    "broker.alarm broker.broker broker.changes broker.connection broker.drain broker.live"
    " broker.registries broker.serving broker.snapshot broker.wake broker.wild config.proposals"
    " config.repository disk operations.change operations.denials operations.egress operations.ends"
    " operations.operations operations.stats operations.turns operations.watch operations.web"
    " stats.read stats.schema stats.stats stats.telemetry stats.ways store.approvals store.audit"
    " store.commit store.database store.denials store.ends store.models store.notes store.orders"
    " store.outcomes store.overview store.replies store.runs store.schema store.sessions store.store"
).split()
# What such a call is called: the database, the writer's thread, who waits for it, sockets, files, systemd.
CALLS = frozenset(
    "execute executemany executescript insert upsert update delete commit apply do run_in_executor"
    " set_result set_exception write bind listen notify create_unix_server unlink mkdir chmod symlink_to"
    " write_text write_bytes replace rename timerfd_settime fsync".split()
)
TEXT_METHODS = {"replace"}  # a str's, with two arguments: no trace
TABLES = {"AGENT", "HARNESS", "BOTH", "MANAGER", "OPERATOR", "ROOTS", "SYSTEM"}  # of operations
READERS = {"rows", "count", "select"}  # functions that only look


def file_of(module: str) -> Path:
    return HYPERHIVE.joinpath(*module.split(".")).with_suffix(".py")


class Finder(ast.NodeVisitor):
    """The calls of one module, each with a name that outlives an edit elsewhere in the file."""

    def __init__(self, module: str) -> None:
        self.scope = [module]
        self.texts: list[dict[str, str]] = [{}]
        self.found: dict[ast.Call, str] = {}
        self.names: set[str] = set()

    def visit_scope(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.scope.append(node.name)
        self.texts.append({})
        self.generic_visit(node)
        self.scope.pop()
        self.texts.pop()

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = visit_scope

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Name):
            self.texts[-1][node.targets[0].id] = text_of(node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if self.leaves_a_trace(node):
            name = f"{'.'.join(self.scope)}: {ast.unparse(node)[:70]}"
            while name in self.names:
                name += "'"
            self.names.add(name)
            self.found[node] = name

    def leaves_a_trace(self, node: ast.Call) -> bool:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name not in CALLS or self.scope[-1] in READERS:
            return False
        if (
            isinstance(function, ast.Attribute)
            and ast.unparse(function.value) == "self"
            and name == "insert"
        ):
            return False
        if name in TEXT_METHODS and len(node.args) != 1:
            return False
        if name.startswith("execute") and node.args:
            return not self.statement(node.args[0]).lstrip().lower().startswith("select")
        return True

    def statement(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return next((texts[node.id] for texts in reversed(self.texts) if node.id in texts), "?")
        return text_of(node)


def text_of(node: ast.expr) -> str:
    """How a string begins."""
    if isinstance(node, ast.JoinedStr) and node.values:
        return text_of(node.values[0])
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "?"


def calls(module: str, tree: ast.AST) -> dict[ast.Call, str]:
    finder = Finder(module)
    finder.visit(tree)
    return finder.found


def operations() -> list[str]:
    """Read, not imported: the broker's modules are to be loaded with their points."""
    names: set[str] = set()
    for module in MODULES:
        for node in ast.parse(file_of(module).read_text()).body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
                tables = [each for each in ast.walk(node.value) if isinstance(each, ast.Dict)]
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and target.id in TABLES:
                    names |= {
                        str(key.value) for d in tables for key in d.keys if isinstance(key, ast.Constant)
                    }
    return sorted(names)


def points() -> list[str]:
    """All of them, in an order that the program and the test share."""
    names: list[str] = []
    for module in MODULES:
        tree = ast.parse(file_of(module).read_text())
        for call in calls(module, tree).values():
            names += [f"before {call}", f"after {call}"]
    for op in operations():
        names += [f"taken {op}", f"done {op}", f"answered {op}"]
    return names


# in the program that dies


class Wrapper(ast.NodeTransformer):
    """`f(x)` becomes `__point__("after f", (__point__("before f"), f(x))[1])`, and so does `await f(x)`."""

    def __init__(self, found: dict[ast.Call, str]) -> None:
        self.found = found

    def visit_Await(self, node: ast.Await) -> ast.AST:
        call = node.value
        if not isinstance(call, ast.Call) or call not in self.found:
            return self.generic_visit(node)
        self.generic_visit(call)
        return wrapped(self.found[call], node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return wrapped(self.found[node], node) if node in self.found else node


def wrapped(name: str, node: ast.expr) -> ast.AST:
    before = ast.parse(f"__point__({f'before {name}'!r})", mode="eval").body
    pair = ast.Tuple([before, node], ast.Load())
    second = ast.Subscript(pair, ast.Constant(1), ast.Load())
    after = ast.parse(f"__point__({f'after {name}'!r}, None)", mode="eval").body
    assert isinstance(after, ast.Call)
    after.args[1] = second
    return ast.copy_location(after, node)


class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Never from the cache of compiled modules, and never into it."""
        tree = ast.parse(self.get_data(self.path))
        Wrapper(calls(fullname.removeprefix("hyperhive."), tree)).visit(tree)
        return compile(ast.fix_missing_locations(tree), self.path, "exec")


class Imports(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if package != "hyperhive" or module not in MODULES:
            return None
        file = str(file_of(module))
        return importlib.util.spec_from_file_location(fullname, file, loader=Loader(fullname, file))


def install(point: Callable[..., Any]) -> None:
    """From now on the broker's modules are loaded with their points, and operations are points too."""
    import builtins

    builtins.__point__ = point  # type: ignore[attr-defined]
    sys.meta_path.insert(0, Imports())
    from hyperhive.operations import operations as them

    tables = (them.AGENT, them.HARNESS, them.MANAGER, them.OPERATOR, them.SYSTEM)
    assert {op for table in tables for op in table} == {*operations()}
    for table in tables:
        for op, operation in table.items():
            table[op] = with_points(op, operation, point)


def with_points(op: str, operation: Callable[..., Any], point: Callable[..., Any]) -> Callable[..., Any]:
    import asyncio

    async def run(*args: Any) -> Any:
        point(f"taken {op}")
        try:
            return await operation(*args)
        finally:
            point(f"done {op}")
            # The answer is written before the loop comes round again.
            asyncio.get_running_loop().call_soon(point, f"answered {op}")

    return run


def modules_of_the_broker() -> Iterator[str]:
    """What bin/hive-broker imports of ours, directly or not."""
    todo, seen = ["broker.broker", "broker.serving"], set()
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        yield module
        for node in ast.walk(ast.parse(file_of(module).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hyperhive"):
                source = str(node.module).removeprefix("hyperhive").removeprefix(".")
                names = [f"{source}.{alias.name}".removeprefix(".") for alias in node.names]
                todo += [source] if source and file_of(source).exists() else names
