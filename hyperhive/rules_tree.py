"""What a bash script consists of, as far as a judge of commands wants to know. Standard library only."""

from dataclasses import dataclass, field


class Unreadable(Exception):
    """Bash might understand this otherwise than we do; the text says what."""


@dataclass(frozen=True)
class Text:
    text: str
    quoted: bool


@dataclass(frozen=True)
class Variable:
    """$name and ${name…}; `plain` if nothing is done to its value."""

    name: str
    quoted: bool
    plain: bool = True
    number: bool = False  # a length, a count, a process id
    inner: tuple["Word", ...] = ()
    sums: tuple["Word", ...] = ()  # computed, as in $((…))
    assigns: bool = False


@dataclass(frozen=True)
class Substitution:
    """$(…) and `…`."""

    script: tuple["Node", ...]
    quoted: bool


@dataclass(frozen=True)
class Process:
    """<(…) and >(…)."""

    script: tuple["Node", ...]


@dataclass(frozen=True)
class Sum:
    """$((…))."""

    word: "Word"
    quoted: bool


Part = Text | Variable | Substitution | Process | Sum


@dataclass(frozen=True)
class Word:
    parts: tuple[Part, ...]
    source: str


@dataclass(frozen=True)
class Assignment:
    name: str
    subscript: Word | None
    values: tuple[Word, ...]
    array: bool
    source: str


@dataclass(frozen=True)
class Redirection:
    fd: str  # "", digits, or the name of a variable
    operator: str
    target: Word
    source: str
    body: list[Word] = field(default_factory=list)  # of a here-document; it comes after the line


@dataclass(frozen=True)
class Simple:
    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...]
    source: str
    at: int = 0


@dataclass(frozen=True)
class Block:
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
