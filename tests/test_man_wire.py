"""hyperhive-wire(7) and the broker say the same: operations, fields, types, limits, errors, events."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from types import FunctionType, UnionType
from typing import Any

import pytest

from hyperhive.broker.broker import Broker
from hyperhive.operations import operations, turns, watch
from hyperhive.store import runs
from tests import wire_page
from tests.crash_points import MODULES
from tests.hive import hive
from tests.wire_code import HANDED_ON, NEVER, SOCKETS, codes_below, errors, handed_on, tree_of
from tests.wire_page import Shape
from tests.wire_reads import request
from tests.wire_tour import Tour, tour

TITLES = {
    "AGENT": "OPERATIONS OF AN AGENT",
    "MANAGER": "OPERATIONS OF THE MANAGER",
    "OPERATOR": "OPERATIONS OF THE OPERATOR",
    "SYSTEM": "OPERATIONS OF THE SYSTEM",
}
ALL = [pytest.param(socket, op, id=f"{socket.lower()}-{op}") for socket in SOCKETS for op in SOCKETS[socket]]
OBJECTS = wire_page.shapes("OBJECTS", "Fields")
KINDS: dict[str, tuple[type | UnionType, Callable[[Any], bool]]] = {
    "text": (str, lambda value: True),
    "time": (str, lambda value: bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value))),
    "id": (int, lambda value: value > 0),
    "count": (int, lambda value: value >= 0),
    "number": (int | float, lambda value: value >= 0),
    "boolean": (bool, lambda value: True),
    "object": (dict, lambda value: all(type(count) is int for count in value.values())),
}


def place(socket: str, op: str, name: str) -> str:
    return f"man/hyperhive-wire.7.rst, {TITLES[socket]}, {op}, :{name}:"


def documented(socket: str, op: str, name: str) -> str:
    """What the page says of an operation; where it says 'As …', it is another's of the same name."""
    text = wire_page.entries(TITLES[socket])[op]
    if (found := wire_page.fields(text).get(name)) is not None:
        return found
    others = {key for key in SOCKETS if SOCKETS[key].get(op) is SOCKETS[socket][op]} - {socket}
    assert text.lstrip().startswith("As ") and others, f"{place(socket, op, name)} is missing"
    return documented(others.pop(), op, name)


def same(where: str, page: set[str], code: set[str]) -> None:
    wrong = [f"add {each}" for each in sorted(code - page)] + [
        f"take out {each}" for each in sorted(page - code)
    ]
    assert not wrong, f"{where} differs from the code: {'; '.join(wrong)}"


# requests and errors, from the code


@pytest.mark.parametrize("socket", TITLES)
def test_the_operations(socket: str) -> None:
    entries = {*wire_page.entries(TITLES[socket])}
    same(f"man/hyperhive-wire.7.rst, {TITLES[socket]} (an entry each)", entries, {*SOCKETS[socket]})


def flat(shape: Shape, prefix: str = "") -> Iterator[str]:
    for name, each in shape.fields.items():
        null = " or null" if each.null else ""
        yield f"{prefix}{name}: {f'object{null}' if each.fields else each}"
        yield from flat(each, f"{prefix}{name.rstrip('?')}.")


@pytest.mark.parametrize(("socket", "op"), ALL)
def test_the_fields_of_a_request(socket: str, op: str) -> None:
    page = {*flat(wire_page.shape(documented(socket, op, "Request")))}
    code = {f"{name}: {kind}" for name, kind in request(socket, SOCKETS[socket][op]).items()}
    same(place(socket, op, "Request"), page, code)


@pytest.mark.parametrize(("socket", "op"), ALL)
def test_the_errors_of_an_operation(socket: str, op: str) -> None:
    page = wire_page.codes(documented(socket, op, "Errors")) - {"none"}
    same(place(socket, op, "Errors"), page, errors(socket, op) - {"bad-request"})


def functions(*modules: str) -> Iterator[FunctionType]:
    """All of the broker's, methods too."""
    for module in (importlib.import_module(f"hyperhive.{name}") for name in modules):
        for each in vars(module).values():
            for function in [each, *vars(each).values()] if isinstance(each, type) else [each]:
                # a dataclass makes some of which there is no source
                if isinstance(function, FunctionType) and function.__code__.co_filename == module.__file__:
                    yield function


def refusals() -> set[str]:
    """What a connection may be refused with."""
    returns = [node.value for node in ast.walk(tree_of(Broker.opened)) if isinstance(node, ast.Return)]
    return {str(node.value) for node in returns if isinstance(node, ast.Constant) and node.value}


def test_the_list_of_errors() -> None:
    general = {
        *re.findall(
            r'Problem\("([a-z-]+)"',
            inspect.getsource(importlib.import_module("hyperhive.broker.connection")),
        ),
        *re.findall(r'Problem\("([a-z-]+)"', inspect.getsource(operations.answer)),
    }
    own = set().union(*(errors(socket, op) for socket in SOCKETS for op in SOCKETS[socket]))
    page = {*re.findall(r"^([a-z-]+)\n(?=    )", wire_page.section("ERRORS"), re.M)}
    same("man/hyperhive-wire.7.rst, ERRORS", page, own | general | refusals())


def test_what_the_errors_are_read_with_is_true() -> None:
    handed = set().union(*(handed_on(function) for function in functions(*MODULES)))
    same("tests/wire_code.py, HANDED_ON", {*HANDED_ON}, handed)
    for function, codes in NEVER.items():
        idle = codes - codes_below(function, "AGENT", {function})
        assert not idle, f"tests/wire_code.py, NEVER: {function.__qualname__} cannot give {idle}"


# answers and events, from a broker that runs


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    with hive(tmp_path_factory.mktemp("tour")) as here:
        here.add("manager", "ada", "bob")
        yield tour(here)


def under(path: str, name: str) -> str:
    return f"{path}.{name}".lstrip(".")


def wanted(shape: Shape, path: str = "") -> Iterator[str]:
    """The paths that must have come at least once; what is behind a null need not."""
    shape = OBJECTS.get(shape.kind, shape)
    if path:
        yield path
    if shape.null:
        return
    for name, each in shape.fields.items():
        yield from wanted(each, under(path, name.rstrip("?")))
    if shape.item:
        yield from wanted(shape.item, f"{path}[]")


def compare(value: Any, shape: Shape, path: str, seen: set[str]) -> Iterator[str]:
    """What the page has to be told; `seen` takes all paths that were in the value."""
    if path:
        seen.add(path)
    if value is None and shape.null:
        return
    shape = OBJECTS.get(shape.kind, shape)
    if shape.kind == "{}" and isinstance(value, dict):
        known = {name.rstrip("?"): each for name, each in shape.fields.items()}
        for name in value.keys() - known.keys():
            yield f"add {under(path, name)}: TYPE ({value[name]!r:.60} came)"
        for name, each in known.items():
            if name in value:
                yield from compare(value[name], each, under(path, name), seen)
            elif name in shape.fields:
                yield f"take out {under(path, name)}, or write {name}?: it did not always come"
    elif shape.item and isinstance(value, list):
        for each in value:
            yield from compare(each, shape.item, f"{path}[]", seen)
    elif not fits(value, shape.kind):
        yield f"{path} is not {shape}: {value!r:.60} came"


def fits(value: Any, kind: str) -> bool:
    assert kind in KINDS or kind in "{}[]", f"hyperhive-wire(7): {kind!r} is neither in TYPES nor in OBJECTS"
    if kind not in KINDS or (isinstance(value, bool) and kind != "boolean"):
        return False
    return isinstance(value, KINDS[kind][0]) and KINDS[kind][1](value)


def all_fit(where: str, text: str, came: list[dict[str, Any]]) -> None:
    shape, seen = wire_page.shape(text), set[str]()
    wrong = {complaint for value in came for complaint in compare(value, shape, "", seen)}
    missed = [
        f"take out {path}, or let tests/wire_tour.py make it come"
        for path in wanted(shape)
        if path not in seen
    ]
    assert not wrong and not missed, (
        f"{where} differs from what came: {'; '.join([*sorted(wrong), *missed])}"
    )


@pytest.mark.parametrize(("socket", "op"), ALL)
def test_the_answer_of_an_operation(toured: Tour, socket: str, op: str) -> None:
    came = toured.answers.get((socket, op), [])
    assert came, f"no '{op}' in tests/wire_tour.py: add tour.ok(WHO, {op!r}, …) there"
    all_fit(place(socket, op, "Answer"), documented(socket, op, "Answer"), came)


def names_in(pattern: str) -> set[str]:
    sources = [inspect.getsource(importlib.import_module(f"hyperhive.{name}")) for name in MODULES]
    return {name for source in sources for name in re.findall(pattern, source)}


@pytest.mark.parametrize(
    ("title", "of", "made"),
    [
        ("EVENTS", "events", names_in(r'\.publish\(\s*"(\w+)"') | {*watch.TEXTS}),
        (
            "MAIL FROM THE SYSTEM",
            "mail",
            names_in(r'"event": "(\w+)"') | {*turns.TROUBLE.values()} | runs.MAILED,
        ),
    ],
    ids=["events", "mail"],
)
def test_the_events(toured: Tour, title: str, of: str, made: set[str]) -> None:
    page, came = wire_page.entries(title), getattr(toured, of)
    same(f"man/hyperhive-wire.7.rst, {title} (an entry each)", {*page}, made)
    for name, text in page.items():
        assert came[name], f"no {name!r} in {of}: add what makes it to tests/wire_tour.py"
        all_fit(f"man/hyperhive-wire.7.rst, {title}, {name}", wire_page.fields(text)["Fields"], came[name])


def test_every_object_is_used() -> None:
    text = re.sub(r"^[a-z_]+$", "", wire_page.PAGE.read_text(), flags=re.M)
    unused = {name for name in OBJECTS if not re.search(rf"(: |\[){name}\b", text)}
    assert not unused, f"man/hyperhive-wire.7.rst, OBJECTS: nothing has a {unused}"
