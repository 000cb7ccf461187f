"""Commands so plain that claude reads them as we do: those it is left to judge as well."""

import os
import re
import shlex
from collections.abc import Sequence

from hyperhive.rules.wrappers import SHELLS, WRAPPERS

# Nothing that is expanded, no file but below the folder where it is, and none with a leading dot: claude has
# rules of its own for these, and nobody is there to be asked.
PLAIN = r"[\w@%+:,./-]|(?<=[\w-])=|(?<=\w)~[0-9]"
WORD = rf"(?:{PLAIN}|'[\w@%+=:,./ ()|^$*+?;#!\[\]\\-]*'|\"[\w@%+=:,./ -]*\")+"
QUIET = r" 2>(?:&1|/dev/null)"
COMMAND = rf"[a-z][\w.+-]*(?: {WORD})*"
PART = rf"{COMMAND}(?:{QUIET})?"
LINE = re.compile(rf"{PART}(?: ?(?:&&|\|\||[|;]) ?{PART})*", re.ASCII)
PARTS_MAX = 10
URL = re.compile(r"https?://[\w./-]+", re.ASCII)
ELSEWHERE = re.compile(
    r"(?<![\w.])/|(?<![\w.])\.\.|\.\.(?![\w.])|(?<![\w/).])\.(?=[^/ ])|/\.(?=[^/ ])", re.ASCII
)
RUNS = re.compile(rf"(find\b.* -(exec|ok|delete|fprint|fls)|({'|'.join((*WRAPPERS, *SHELLS))})\b)")


def plain(command: str, allow: Sequence[str], cwd: str) -> bool:
    """Each part begins as one of the rules does, letter by letter, and no name in it leads elsewhere."""
    if not LINE.fullmatch(command):
        return False
    text = re.sub(QUIET, "", command)  # no quoted text can have such a thing in it
    if ELSEWHERE.search(URL.sub("", text)):
        return False
    parts = re.findall(COMMAND, text, re.ASCII)
    if len(parts) > PARTS_MAX or not all(begins(part, allow) for part in parts):
        return False
    here = os.path.realpath(cwd)
    paths = (os.path.realpath(f"{here}/{word}") for part in parts for word in shlex.split(part))
    return all(f"{path}/".startswith(f"{here}/") for path in paths)


def begins(part: str, allow: Sequence[str]) -> bool:
    rules = (rule.removeprefix("Bash(").removesuffix(")") for rule in allow if rule.startswith("Bash("))
    return not RUNS.match(part) and any(spelled(part, rule) for rule in rules)


def spelled(part: str, rule: str) -> bool:
    """By a rule that cannot be read in two ways: the whole of it, or a beginning and a star."""
    start = re.sub(r"(:| )\*$", "", rule)
    if not re.fullmatch(r"[\w./:=+-]+( [\w./:=+-]+)*", start, re.ASCII):
        return False
    return part == start or (start != rule and part.startswith(f"{start} "))
