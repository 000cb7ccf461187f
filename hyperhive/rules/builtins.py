"""What bash does itself: free unless it changes what runs."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from hyperhive.rules import variables
from hyperhive.rules.match import Pattern
from hyperhive.rules.tree import Block, Script, Simple
from hyperhive.rules.values import (
    ANY,
    GLOB,
    HOME,
    MANY,
    UNKNOWN,
    Values,
    arguments,
    assigned,
    opaque,
    several,
    walk,
)
from hyperhive.rules.wrappers import HARMLESS, MARKED, SHELLS, WRAPPERS, Runs

FREE = frozenset(
    ": true false echo pwd cd pushd popd dirs exit return break continue shift times umask type".split()
)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
NOT_TOLD = "with a word that cannot be told"


def declare(words: Sequence[str]) -> Runs:
    exported = words[0] == "export"
    for word in words[1:]:
        if re.fullmatch(r"[-+][aAgprtlux]+", word):
            exported = exported or "x" in word
            continue
        name = word.partition("=")[0].removesuffix("+")
        if not NAME.fullmatch(name):
            return Runs(hazard=f"{words[0]} {word if not MARKED.search(word) else NOT_TOLD}")
        sets = "=" in word or words[0] == "export"
        if sets and (why := variables.assignment(name, exported=exported)):
            return Runs(hazard=why)
    return Runs()


def names(options: str, takes: str) -> Callable[[Sequence[str]], Runs]:
    """A builtin that sets the variables that it is given."""

    def check(words: Sequence[str]) -> Runs:
        rest = [*words[1:]]
        while rest:
            word = rest.pop(0)
            if takes and re.fullmatch(f"-[{options}]*[{takes}]", word) and rest:
                if "a" in word[-1:]:
                    continue  # its value is a name
                if several(rest.pop(0)):
                    return Runs(hazard=f"{words[0]} {NOT_TOLD}")
            elif options and re.fullmatch(f"-[{options}]+|-[{takes or '-'}][0-9.]+", word):
                continue
            elif not NAME.fullmatch(word):
                return Runs(hazard=f"{words[0]} {word if not MARKED.search(word) else NOT_TOLD}")
            elif word != "_" and (why := variables.assignment(word, exported=False)):
                return Runs(hazard=why)
        return Runs()

    return check


def printf(words: Sequence[str]) -> Runs:
    rest = words[1:]
    if rest and rest[0] == "-v":
        return (
            names("", "")([words[0], *rest[1:2]])
            if len(rest) > 2 and not opaque(rest[2])
            else Runs(hazard="printf -v")
        )
    if rest and (opaque(rest[0]) or (rest[0].startswith("-") and rest[0] != "--")):
        return Runs(hazard=f"printf {NOT_TOLD}" if opaque(rest[0]) else f"printf {rest[0]}")
    return Runs()


BINARY = frozenset("= == != < > -eq -ne -lt -le -gt -ge -nt -ot -ef -a -o".split())
UNARY = r"-[a-hknoprstuwxzGLNOS]"


def test(words: Sequence[str]) -> Runs:
    """A text that is taken for an operator could be -v, which computes."""
    rest = [*words[1:]]
    if words[0] == "[" and (not rest or rest.pop() != "]"):
        return Runs(hazard="[ without ]")
    for at, word in enumerate(rest):
        before, after = (rest[at - 1] if at else ""), (rest[at + 1] if at + 1 < len(rest) else "")
        if word in ("-v", "-R") and after not in BINARY:
            if not NAME.fullmatch(after):
                return Runs(hazard=f"{words[0]} {word}")
        elif MANY in word or word.startswith(GLOB):
            return Runs(hazard=f"{words[0]} with an unknown text that is not in double quotes")
        elif (
            word.startswith(ANY)
            and after
            and not (after in BINARY or before in BINARY or re.fullmatch(UNARY, before))
        ):
            return Runs(hazard=f"{words[0]} with a word that could be an operator")
    return Runs()


SET = r"[-+][eufxvC]*"
SHOPTS = frozenset(
    "nullglob globstar dotglob failglob nocaseglob nocasematch inherit_errexit lastpipe".split()
)


def set_options(words: Sequence[str]) -> Runs:
    rest = [*words[1:]]
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if re.fullmatch(r"[-+][eufxvC]*o", word) and rest and rest[0] in HARMLESS:
            rest.pop(0)
        elif opaque(word) or (word[:1] in "-+" and not re.fullmatch(SET, word)):
            return Runs(hazard=f"set {word if not MARKED.search(word) else NOT_TOLD}")
    return Runs()


def shopt(words: Sequence[str]) -> Runs:
    bad = next((word for word in words[1:] if word not in SHOPTS and word not in ("-s", "-u", "-q")), "")
    return Runs(hazard=f"shopt {bad}" if bad else "")


def evaluate(words: Sequence[str]) -> Runs:
    text = " ".join(words[1:])
    return Runs(hazard=f"eval {NOT_TOLD}") if MARKED.search(text) else Runs(scripts=(text,))


def trap(words: Sequence[str]) -> Runs:
    rest = [word for word in words[1:] if word != "--"]
    if not rest or rest[0] in ("-", "", "-p", "-l"):
        return Runs()
    if MARKED.search(" ".join(rest)) or rest[0].startswith("-"):
        return Runs(hazard=f"trap {NOT_TOLD}")
    return Runs(scripts=(rest[0],)) if len(rest) > 1 else Runs()


def unset(words: Sequence[str]) -> Runs:
    bad = next((word for word in words[1:] if word != "-v" and not NAME.fullmatch(word)), "")
    return (
        Runs(hazard=f"unset {bad if not MARKED.search(bad) else NOT_TOLD}") if bad else names("v", "")(words)
    )


def wait(words: Sequence[str]) -> Runs:
    return Runs(hazard="wait -p" if any(word.startswith("-") and word != "-n" for word in words) else "")


def jobs(words: Sequence[str]) -> Runs:
    """-x runs a command."""
    bad = any(not re.fullmatch(r"-[lnprs]+|%[\w%+-]*", word) for word in words[1:])
    return Runs(hazard="jobs -x" if bad else "")


def command(words: Sequence[str]) -> Runs | None:
    """-v only looks."""
    return Runs() if len(words) > 1 and words[1] in ("-v", "-V") else None


def alone(words: Sequence[str]) -> Runs | None:
    return Runs() if len(words) == 1 else None


CHECKS: Mapping[str, Callable[[Sequence[str]], Runs | None]] = {
    **dict.fromkeys(FREE, lambda words: Runs()),
    **dict.fromkeys(("export", "declare", "typeset", "local", "readonly"), declare),
    "read": names("rse", "ptnNdua"),
    "mapfile": names("t", "dnOsu"),
    "readarray": names("t", "dnOsu"),
    "printf": printf,
    "test": test,
    "[": test,
    "set": set_options,
    "shopt": shopt,
    "eval": evaluate,
    "trap": trap,
    "unset": unset,
    "wait": wait,
    "jobs": jobs,
    "command": command,
    "exec": alone,
    "hash": lambda words: Runs() if words[1:] == ["-r"] else None,
}
SETTING = frozenset(
    "export declare typeset local readonly read mapfile readarray printf unset set shopt eval trap".split()
)
TAKEN = frozenset("alias bind builtin enable source . let getopts kill compgen complete history fc".split())


def check(words: Sequence[str]) -> Runs | None:
    """None: bash does not do it, or not for free."""
    found = CHECKS.get(words[0])
    return found(words) if found else None


def taken(rules: Iterable[Pattern]) -> frozenset[str]:
    """Names that no function may have."""
    return frozenset(
        {*CHECKS, *TAKEN, *WRAPPERS, *SHELLS, *(word for rule in rules for word in rule.words[:1])}
    )


FOLDERS_MAX = 64


def folders(script: Script, known: Values, start: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Where a command of the script may find itself, or further below; None: anywhere."""
    found = [*(start or ())]
    for node in walk(script):
        for words in arguments(node.words, known) if isinstance(node, Simple) else ():
            name = words[0] if words else ""
            rest = [word for word in words[1:] if word not in ("-P", "-L", "--")]
            if name in ("popd", "dirs") or (name in WRAPPERS and ("cd" in rest or "pushd" in rest)):
                return None
            if name in ("cd", "pushd"):
                target = rest[0] if rest else HOME
                if opaque(target) or target in ("-", "~") or ".." in target or target[:1] in "+-":
                    return None
                # Below any of the others: it may be a link.
                found += [target] if target.startswith("/") else [f"{each}/{target}" for each in found]
                if len(found) > FOLDERS_MAX:
                    return None
    return None if start is None or UNKNOWN.search("".join(found)) else tuple(dict.fromkeys(found))


def quiet(script: Script) -> bool:
    """It leaves variables, functions and the folder as they are."""
    changes = ("cd", "pushd", "popd", *SETTING - {"printf"})
    return not any(True for _ in assigned(script)) and not any(
        node.kind == "function"
        if isinstance(node, Block)
        else node.words and node.words[0].source in changes
        for node in walk(script)
    )
