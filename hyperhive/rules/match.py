"""Rules of [tools] allow, in the CLI's grammar, and whether they allow a command's words."""

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from hyperhive.rules.values import ANY, MANY, MARKS

BETWEEN = "\0"  # words; no word has it


class Pattern(NamedTuple):
    rule: str
    words: tuple[str, ...]
    exact: bool
    regex: re.Pattern[str]


def patterns(allow: Sequence[str]) -> list[Pattern]:
    return [pattern(rule) for rule in allow if rule.startswith("Bash(") and rule.endswith(")")]


def anything(allow: Sequence[str]) -> bool:
    return any(rule in ("Bash", "Bash(*)", "Bash(:*)", "Bash()") for rule in allow)


def pattern(rule: str) -> Pattern:
    """A * is any text, over words too; a last " *" or ":*" that is the only one may also be nothing."""
    text = rule.removeprefix("Bash(").removesuffix(")").strip()
    if text.endswith(":*"):
        text = text[:-2] + " *"
    text = text.replace("\\*", "\x06")  # the CLI's way to mean a star
    words = split(text)
    regex = re.escape(BETWEEN.join(words)).replace(r"\*", ".*").replace("\x06", r"\*")
    if text.endswith(" *") and text.count("*") == 1:
        regex = regex.removesuffix(re.escape(BETWEEN) + ".*") + f"({BETWEEN}.*)?"
    return Pattern(rule, tuple(words), "*" not in text, re.compile(regex, re.DOTALL))


def split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def matching(words: Sequence[str], rules: Sequence[Pattern]) -> list[Pattern]:
    line = BETWEEN.join(words)
    return [each for each in rules if each.regex.fullmatch(line)]


def show(words: Sequence[str]) -> str:
    """As one might write it in a shell; what is not known is an ellipsis."""
    return " ".join(quote(word) for word in words)


def quote(word: str) -> str:
    if re.search(f"[{MARKS}]", word):
        return re.sub(f"[{MARKS}]+", "…", word)
    return shlex.quote(word)


def nearest(words: Sequence[str], rules: Sequence[Pattern]) -> str:
    """The rule that has most of the first words in common, of the same program."""
    best = max(rules, key=lambda each: common(words, each.words), default=None)
    return best.rule if best and common(words, best.words) else ""


def common(words: Sequence[str], wanted: Sequence[str]) -> int:
    count = 0
    for word, want in zip(words, wanted, strict=False):
        if word != want and want not in ("*", word + "*"):
            break
        count += 1
    return count


def unknown(word: str) -> bool:
    return ANY in word or MANY in word
