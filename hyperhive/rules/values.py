"""What a word of a script can be when it runs: texts, with marks for what is not known before."""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from hyperhive.rules.tree import (
    Assignment,
    Block,
    Node,
    Part,
    Process,
    Script,
    Simple,
    Substitution,
    Sum,
    Text,
    Variable,
    Word,
)

ANY = "\x01"  # some text, within a word
MANY = "\x02"  # some text that may be split into words, or be nothing at all
TAME = "\x03"  # a path or a name: nothing that could be an option, blanks or ".."
COUNT = "\x04"  # a whole number
GLOB = "\x05"  # some text, perhaps in several words, of which each begins with what stands before
MARKS = ANY + MANY + TAME + COUNT + GLOB
UNKNOWN = re.compile(f"[{ANY}{MANY}{GLOB}]")
COULD_BE = "a word that could be an option; put it after --"
POSSIBLE_MAX = 12  # values that a word may have before we give up counting
HOME = "/home/agent"
NUMBER = re.compile(rf"[-0-9{COUNT}]*")


class Values(NamedTuple):
    """What the variables of a shell may hold."""

    known: Mapping[str, frozenset[str]]
    assigned: frozenset[str]
    fresh: bool  # nothing but the environment was there before


UNTOLD = Values({}, frozenset(), False)


def walk(script: Script) -> Iterator[Node]:
    """Every command, wherever it stands."""
    for node in script:
        yield node
        for inner in (getattr(node, "body", ()), *map(scripts_of, words_of(node))):
            yield from walk(tuple(inner))


def words_of(node: Node) -> Iterator[Word]:
    for redirection in node.redirections:
        yield from (redirection.target, *redirection.body)
    yield from node.words
    if isinstance(node, Block):
        yield from node.sums
        return
    for assignment in node.assignments:
        yield from assignment.values
        if assignment.subscript:
            yield assignment.subscript


def parts_of(word: Word) -> Iterator[Part]:
    for part in word.parts:
        yield part
        inner = (*part.inner, *part.sums) if isinstance(part, Variable) else ()
        for each in (part.word,) if isinstance(part, Sum) else inner:
            yield from parts_of(each)


def scripts_of(word: Word) -> Script:
    found: list[Node] = []
    for part in parts_of(word):
        if isinstance(part, Substitution | Process):
            found += part.script
    return tuple(found)


# variables


def assigned(script: Script) -> Iterator[tuple[str, list[Word] | None]]:
    """Each variable that the script itself sets, and to what; None: to something that is not known."""
    for node in walk(script):
        if isinstance(node, Simple):
            yield from ((each.name, assigned_values(each)) for each in node.assignments)
            yield from by_builtin(node)
        elif node.name and node.kind in ("for", "select"):
            yield node.name, [*node.words] if node.kind == "for" else None
        for redirection in node.redirections:
            if redirection.fd and not redirection.fd.isdigit():
                yield redirection.fd, []
        for word in words_of(node):
            yield from by_sum(word)
            for part in parts_of(word):
                if isinstance(part, Variable) and part.assigns:
                    yield part.name, [*part.inner]
                for each in (
                    part.sums
                    if isinstance(part, Variable)
                    else (part.word,)
                    if isinstance(part, Sum)
                    else ()
                ):
                    yield from by_sum(each)


def assigned_values(this: Assignment) -> list[Word] | None:
    if this.array or this.subscript or "+=" in this.source[: len(this.name) + 2]:
        return None
    return [*this.values] or [Word((), "")]


def by_builtin(node: Simple) -> Iterator[tuple[str, list[Word] | None]]:
    """read x, declare x=…, printf -v x: any word that could be a name, or an assignment."""
    first = static(node.words[0]) if node.words else ""
    if first in ("declare", "typeset", "local", "export", "readonly"):
        for word in node.words[1:]:
            name, equals, _ = static(word).partition("=")
            yield (
                name.removesuffix("+"),
                [tail(word, len(name) + 1)] if equals and name[-1:] != "+" else None,
            )
    elif first in (
        "read",
        "mapfile",
        "readarray",
        "getopts",
        "printf",
        "wait",
        "builtin",
        "command",
        "unset",
    ):
        for word in node.words[1:]:
            yield static(word).partition("[")[0], None
        yield from ((name, None) for name in ("REPLY", "MAPFILE"))


def static(word: Word) -> str:
    """The plain text with which it begins."""
    plain = itertools.takewhile(lambda part: isinstance(part, Text), word.parts)
    return "".join(part.text for part in plain if isinstance(part, Text))


def tail(word: Word, start: int) -> Word:
    """Without the name and the =, if these are of one piece."""
    first = word.parts[0]
    if not isinstance(first, Text) or len(first.text) < start:
        return Word((Variable("?", False),), word.source)
    return Word((Text(first.text[start:], first.quoted), *word.parts[1:]), word.source)


SETS = (
    r"([A-Za-z_]\w*)\s*(?:[-+*/%&|^]|<<|>>)?=(?!=)|([A-Za-z_]\w*)\s*(?:\+\+|--)|(?:\+\+|--)\s*([A-Za-z_]\w*)"
)


def by_sum(word: Word) -> Iterator[tuple[str, list[Word] | None]]:
    """(( x = … )): a number, whatever it is."""
    for part in word.parts:
        for found in re.finditer(SETS, part.text) if isinstance(part, Text) else ():
            yield found[1] or found[2] or found[3], [Word((Sum(word, True),), word.source)]


def values(script: Script) -> Values:
    """What each variable may hold, wherever in the script one looks."""
    todo: dict[str, list[list[Word] | None]] = {}
    for name, words in assigned(script):
        todo.setdefault(name, []).append(words)
    known = Values({}, frozenset(todo), True)
    for _ in range(3):  # a variable may be set from others; only those are used of which all is known
        found = {name: finite(name, given, known) for name, given in todo.items()}
        known = known._replace(known={name: each for name, each in found.items() if each})
    return known


def finite(name: str, given: list[list[Word] | None], known: Values) -> frozenset[str] | None:
    if name in os.environ or name.startswith(("CLAUDE", "npm_")) or not name.isidentifier():
        return None
    found = {""}  # before it is set
    for words in given:
        if words is None:
            return None
        # As for's words are read; what a mere assignment leaves as it is, is one of those.
        found |= set(itertools.chain.from_iterable(texts(word, known, split=True) for word in words))
    told = len(found) < POSSIBLE_MAX and not any(each and opaque(each) for each in found)
    return frozenset(found) if told else None


# words


def texts(word: Word, known: Values, *, split: bool = False) -> list[str]:
    """All that it can become; with `split` as an argument, where unquoted blanks make several of it."""
    found = [""]
    for at, part in enumerate(word.parts):
        options = texts_of(part, known, split=split, first=at == 0)
        found = [before + after for before in found for after in options]
        if len(found) > POSSIBLE_MAX:
            found = [before + (MANY if split else ANY) for before in {common(found)}]
    return found


def common(found: list[str]) -> str:
    shared = found[0]
    while not all(each.startswith(shared) for each in found):
        shared = shared[:-1]
    return shared


def texts_of(part: Part, known: Values, *, split: bool, first: bool) -> list[str]:
    if isinstance(part, Text):
        return [unquoted(part.text, split=split, first=first) if not part.quoted else part.text]
    if isinstance(part, Process):
        return ["/dev/fd/" + TAME]
    loose = split and not part.quoted
    unknown = [MANY if loose or (isinstance(part, Variable) and part.name == "@") else ANY]
    if isinstance(part, Sum) or (isinstance(part, Variable) and part.number):
        return [COUNT]
    if isinstance(part, Substitution):
        return [mark] if (mark := tame(part.script)) else unknown
    if part.plain and part.name == "HOME":
        return [HOME]  # it must not be set to anything else
    if not part.plain or part.name not in known.known:
        return unknown
    options = sorted({each.replace(GLOB, ANY) for each in known.known[part.name]})
    return unknown if loose and any(re.search(rf"[\s*?\[{ANY}]", each) for each in options) else options


# Commands of which one knows what kind of text they print.
TAME_COMMANDS = {
    COUNT: r"wc -[lcmw]|nproc|date \+%s|id -u|git rev-list --count [A-Za-z][\w/.^~-]*",
    TAME: (
        r"date \+['\"]?[%sYmdHMSFT_:-]*['\"]?|git rev-parse (--short |--verify )*[A-Za-z][\w/.^~-]*"
        r"|git merge-base [\w/.^~ -]*|git branch --show-current|git describe --tags( --always)?"
    ),
    f"/tmp/{TAME}": r"mktemp( -d)?",  # noqa: S108
}


def tame(script: Script) -> str:
    """A mark for what it prints, or ""."""
    if len(script) != 1 or not isinstance(script[0], Simple) or script[0].assignments:
        return ""
    line = " ".join(word.source for word in script[0].words)
    if any(each.operator != "<" and each.source != "2>/dev/null" for each in script[0].redirections):
        return ""
    return next((mark for mark, pattern in TAME_COMMANDS.items() if re.fullmatch(pattern, line)), "")


def unquoted(text: str, *, split: bool, first: bool) -> str:
    if first and text.startswith("~"):
        text = HOME + text[1:] if re.match(r"~(/|$)", text) else ANY
    if not split:
        return text
    if re.search(r"\{.*(,|\.\.).*\}", text) or re.search(r"\{[^}]*$", text):
        return text.partition("{")[0] + GLOB  # braces make several words
    # A [ without a ] is no pattern, and { } are left alone.
    return re.sub(r"\*|\?|\[(?=.*\])", GLOB, text)


def arguments(words: Iterable[Word], known: Values) -> list[list[str]]:
    """Each way in which the words of a simple command can come out."""
    found: list[list[str]] = [[]]
    for word in words:
        options = texts(word, known, split=True)
        if len(found) * len(options) > POSSIBLE_MAX:
            options = [common(options) + MANY]
        found = [[*before, after] for before in found for after in options]
    return found


def opaque(word: str) -> bool:
    """It, or one of the words that it becomes, could begin with anything, also with a dash."""
    return word == "" or word[0] in ANY + GLOB or MANY in word


# After these, -- is not their value.
FLAGS = frozenset(
    "--stat --oneline --name-only --name-status --cached --staged --numstat --shortstat --no-color --quiet"
    " --follow --graph --all -q".split()
)


def ends_options(words: Sequence[str], at: int) -> bool:
    return words[at] == "--" and (words[at - 1] in FLAGS or words[at - 1][:1] not in f"-{ANY}{MANY}{GLOB}")


def several(word: str) -> bool:
    return MANY in word or GLOB in word
