import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive import names
from hyperhive.problem import Problem


@pytest.mark.parametrize("name", ["ada", "a1", "a-b", "a--b", "manager", "x" * 32, "all-in"])
def test_names(name: str) -> None:
    assert names.check(name) == name
    assert names.machine(name) == f"h-{name}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "A",
        "Ada",
        "1a",
        "-a",
        "a-",
        "a_b",
        "a b",
        "a.b",
        "a/b",
        "..",
        "ada\n",
        "ädä",
        "x" * 33,
        "a\0",
    ],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(Problem, match="cannot be an agent's name") as e:
        names.check(name)
    assert e.value.code == "bad-name" and "2 to 32" in e.value.hint


@pytest.mark.parametrize("name", names.RESERVED)
def test_reserved_names(name: str) -> None:
    with pytest.raises(Problem, match=f"'{name}' is reserved"):
        names.check(name)


def test_a_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(Problem) as e:
        names.check("x" * 100_000)
    assert len(str(e.value)) < 200


@given(st.from_regex(names.RULE, fullmatch=True))
def test_a_name_is_safe_in_paths_units_and_host_names(name: str) -> None:
    """A label of a host name has at most 63 of a-z, 0-9 and '-'; systemd escapes nothing of that but '-'."""
    assert name.isascii() and name == name.lower() and "/" not in name and len(names.machine(name)) <= 63
