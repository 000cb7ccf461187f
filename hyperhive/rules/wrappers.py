"""Programs that only start another one: what they start is what counts."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from hyperhive.rules.values import ANY, MANY, MARKS, several

MARKED = re.compile(f"[{MARKS}]")


class Runs(NamedTuple):
    """What a program starts in turn, and what of it wants a rule that spells it."""

    commands: tuple[tuple[str, ...], ...] = ()
    scripts: tuple[str, ...] = ()
    hazard: str = ""
    variables: tuple[str, ...] = ()  # NAME=value that it sets for them
    writes: tuple[str, ...] = ()  # files


class Wrapper(NamedTuple):
    flags: str = ""
    takes: str = ""  # options with a value, attached or as the next word
    words: int = 0  # before the command


WRAPPERS = {
    "timeout": Wrapper("--preserve-status --foreground -v --verbose", "-k --kill-after -s --signal", 1),
    "nice": Wrapper("", "-n --adjustment"),
    "nohup": Wrapper(),
    "setsid": Wrapper("-c -f -w --ctty --fork --wait"),
    "stdbuf": Wrapper("", "-i -o -e --input --output --error"),
    "ionice": Wrapper("-t --ignore", "-c -n --class --classdata"),
    "chrt": Wrapper("-b -f -i -o -r -v --batch --fifo --idle --other --rr", "", 1),
    "time": Wrapper("-p -v --portability --verbose", "-f --format"),
    "exec": Wrapper("-c -l"),
    "command": Wrapper("-p"),
    "builtin": Wrapper(),
    "env": Wrapper("-i - --ignore-environment -0 --null -v --debug", "-u --unset -C --chdir"),
    "xargs": Wrapper(
        "-0 -r -t -x --null --no-run-if-empty --verbose --exit",
        "-n -L -P -s -d -I -E -a --max-args --max-procs --max-chars --delimiter --arg-file",
    ),
}
HARMLESS = frozenset("pipefail errexit nounset noglob noclobber xtrace verbose".split())  # options of set
SHELLS = ("bash", "sh", "dash", "rbash")
ASSIGNMENT = r"(?a)[A-Za-z_][A-Za-z0-9_]*="
# dash reads these otherwise than bash, or not at all.
NOT_POSIX = r"(?<!\$)\(\(|\[\[|\$'|&>|\|&|[<>]\(|<<<|=\(|\bfunction\b|\bcoproc\b|\bselect\b|\{\w+\}[<>]|;;?&"


def unwrap(words: Sequence[str]) -> Runs | None:
    """None: it is a program of its own."""
    name = words[0]
    if name in SHELLS:
        return shell(words)
    if name not in WRAPPERS:
        return None
    rest, found = [*words[1:]], WRAPPERS[name]
    options: dict[str, str] = {}
    while rest and re.match(r"-|$", rest[0]):
        if rest[0] == "--":
            rest.pop(0)
            break
        if not option(rest, found, options):
            return Runs(hazard=f"{name} {rest[0]}")
    variables = []
    while name == "env" and rest and re.match(ASSIGNMENT, rest[0]):
        variables.append(rest.pop(0))
    before, rest = rest[: found.words], rest[found.words :]
    if not all(re.fullmatch(r"[0-9.]+[smhd]?", word) for word in before) or (
        rest and rest[0].startswith(ANY)
    ):
        return Runs(hazard=f"{name} with a word that cannot be told")
    if not rest:
        return Runs(commands=(("echo",),)) if name == "xargs" else None
    if name == "xargs":
        rest = fed(rest, options)
    return Runs(commands=(tuple(rest),), variables=tuple(variables))


def option(rest: list[str], wrapper: Wrapper, found: dict[str, str]) -> bool:
    """Take the first option and its value, if it is one that we know."""
    word, takes = rest[0], wrapper.takes.split()
    name, equals, value = word.partition("=")
    short = word[:2]
    if word in wrapper.flags.split() or (wrapper is WRAPPERS["nice"] and re.fullmatch(r"-[0-9]+", word)):
        rest.pop(0)
    elif equals and name.startswith("--") and (name in takes or name == "--replace"):
        found[name] = value
        rest.pop(0)
    elif word in takes and len(rest) > 1 and not several(rest[1]):
        found[word] = rest[1]
        del rest[:2]
    elif short in takes and len(word) > 2 and not word.startswith("--"):
        found[short] = word[2:]
        rest.pop(0)
    else:
        return False
    return True


def fed(words: list[str], options: dict[str, str]) -> list[str]:
    """What xargs adds, or puts in the place of a mark."""
    mark = options.get("-I") or options.get("--replace")
    if mark:
        return [word.replace(mark, ANY) for word in words]
    return [*words, MANY]


def shell(words: Sequence[str]) -> Runs | None:
    """bash -c TEXT; anything else that a shell is given is a script, for which there must be a rule."""
    rest = [*words[1:]]
    while rest and re.match("[-+]", rest[0]):
        word = rest.pop(0)
        if re.fullmatch(r"[-+][eufxlvnC]*o", word) and rest and rest[0] in HARMLESS:
            rest.pop(0)
        elif re.fullmatch(r"-[eufxlvnC]*c[eufxlv]*", word):
            return text_of_shell(words[0], rest)
        elif not re.fullmatch(r"[-+][eufxlvnC]+|--norc|--noprofile|--login", word):
            return None
    return None


def text_of_shell(name: str, rest: Sequence[str]) -> Runs:
    while rest and rest[0] in ("-e", "-u", "-x", "-eu", "-ex", "--"):  # options may come after -c
        rest = rest[1:]
    if not rest or MARKED.search(rest[0]) or rest[0].startswith(("-", "+")):
        return Runs(hazard=f"{name} -c with a text that cannot be told")
    if name != "bash" and re.search(NOT_POSIX, rest[0]):
        return Runs(hazard=f"{name} -c with what only bash understands")
    return Runs(scripts=(rest[0],))
