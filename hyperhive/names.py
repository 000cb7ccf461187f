"""What an agent may be called."""

import re

from hyperhive.problem import Problem

RULE = "[a-z][a-z0-9-]{0,30}[a-z0-9]"
MANAGER = "manager"
OPERATOR = "operator"
SYSTEM = "system"
ALL = "all"
EXPLORE = "/explore"  # hive-explore: no agent can be called so
RESERVED = (OPERATOR, SYSTEM, ALL)  # 'manager' is reserved too: it is the one agent that may be called so


def check(name: str) -> str:
    if not re.fullmatch(RULE, name):
        hint = "use 2 to 32 of a-z, 0-9 and '-', beginning with a letter, not ending in '-'"
        raise Problem("bad-name", f"{name[:64]!r} cannot be an agent's name", hint=hint)
    if name in RESERVED:
        raise Problem("bad-name", f"'{name}' is reserved", hint="choose another name")
    return name


def check_who(name: str) -> str:
    """Whose mail it is: an agent's that there is or was, or one's who is none."""
    return name if name in RESERVED else check(name)


def machine(name: str) -> str:
    return f"h-{name}"
