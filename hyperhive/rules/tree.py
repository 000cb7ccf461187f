"""What a bash script consists of, as far as a judge of commands wants to know. Standard library only."""

# No dataclasses here and in what judges: to import them takes longer than to judge a command.
from typing import NamedTuple


class Unreadable(Exception):
    """Bash might understand this otherwise than we do; the text says what."""


class Text(NamedTuple):
    text: str
    quoted: bool


class Variable(NamedTuple):
    """$name and ${name…}; `plain` if nothing is done to its value."""

    name: str
    quoted: bool
    plain: bool = True
    number: bool = False  # a length, a count, a process id
    inner: tuple["Word", ...] = ()
    sums: tuple["Word", ...] = ()  # computed, as in $((…))
    assigns: bool = False


class Substitution(NamedTuple):
    """$(…) and `…`."""

    script: tuple["Node", ...]
    quoted: bool


class Process(NamedTuple):
    """<(…) and >(…)."""

    script: tuple["Node", ...]


class Sum(NamedTuple):
    """$((…))."""

    word: "Word"
    quoted: bool


Part = Text | Variable | Substitution | Process | Sum


class Word(NamedTuple):
    parts: tuple[Part, ...]
    source: str


class Assignment(NamedTuple):
    name: str
    subscript: Word | None
    values: tuple[Word, ...]
    array: bool
    source: str


class Redirection(NamedTuple):
    fd: str  # "", digits, or the name of a variable
    operator: str
    target: Word
    source: str
    body: list[Word]  # of a here-document; it comes after the line


class Simple(NamedTuple):
    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...]
    source: str
    at: int = 0


class Block(NamedTuple):
    """Anything that holds commands: which of them run, and how often, does not matter here."""

    kind: str
    body: tuple["Node", ...] = ()
    redirections: tuple[Redirection, ...] = ()
    words: tuple[Word, ...] = ()  # of for, select and case
    sums: tuple[Word, ...] = ()  # what is computed
    name: str = ""  # of a loop's variable, a function or a coprocess
    source: str = ""
    at: int = 0
    certain: bool = False  # it is reached whatever happens before


Node = Simple | Block
Script = tuple[Node, ...]
