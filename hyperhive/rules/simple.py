"""Read what simple commands consist of: words, assignments, redirections, here-documents."""

import re

from hyperhive.rules.tree import Assignment, Redirection, Simple, Text, Word
from hyperhive.rules.word import BLANK, ENDS_WORD, NAME, Cursor, double, joined, summands, word

REDIRECTION = re.compile(
    r"(\d+|\{[A-Za-z_][A-Za-z0-9_]*\})?(&>>|&>|<<<|<<-|<<|<>|<&|>>|>\||>&|<(?!\()|>(?!\())"
)
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?=|\[)")
DELIMITER = re.compile(r"(?P<quote>['\"]?)(?P<name>[A-Za-z0-9_.!-]+)(?P=quote)(?=[ \t\n;|&)<>]|$)")


def blanks(c: Cursor) -> None:
    while (c.peek() and c.peek() in BLANK) or c.starts("\\\n"):
        if c.take("\\\n"):
            if c.waiting or (c.at > 2 and c.text[c.at - 3] not in " \t\n"):
                raise c.unreadable("a line is continued without a blank before it")
        else:
            c.next()
    if c.peek() == "#" and (c.at == 0 or c.text[c.at - 1] in ENDS_WORD):
        while c.peek() not in ("", "\n"):
            c.at += 1


def newline(c: Cursor) -> None:
    c.at += 1
    waiting, c.waiting = c.waiting, []
    for each in waiting:
        each.body.append(here_document(c, each))
    if waiting:
        c.at = min(c.at - 1, len(c.text))  # the newline of the last end mark ends a command, too


def newlines(c: Cursor) -> None:
    blanks(c)
    while c.peek() == "\n":
        newline(c)
        blanks(c)


def here_document(c: Cursor, this: Redirection) -> Word:
    found = DELIMITER.fullmatch(this.target.source)
    assert found
    lines = []
    while True:
        if c.at >= len(c.text):
            raise c.unreadable(f"the here-document has no end '{found['name']}'")
        end = c.text.find("\n", c.at)
        line = c.text[c.at : end if end >= 0 else None]
        c.at += len(line) + 1
        line = line.lstrip("\t") if this.operator == "<<-" else line
        if line == found["name"]:
            break
        # In a substitution bash takes this for the end.
        if line.startswith(found["name"]) and re.search(r"[)}]", line):
            raise c.unreadable(f"a line of a here-document that begins like its end '{found['name']}'")
        if not found["quote"] and re.search(r"(?<!\\)(\\\\)*\\$", line):
            raise c.unreadable("a continued line in a here-document")
        lines.append(line + "\n")
    text = "".join(lines)
    if found["quote"]:
        return Word((Text(text, True),), text)
    inside = Cursor(text, c.script, c.depth)
    return Word(joined(double(inside, "")), text)


def simple(c: Cursor) -> Simple:
    start = c.at
    assignments: list[Assignment] = []
    words: list[Word] = []
    redirections: list[Redirection] = []
    while c.peek() and c.peek() not in "\n;|)" and (c.peek() != "&" or c.peek(2) == "&>"):
        if REDIRECTION.match(c.text, c.at):
            redirections.append(redirection(c))
        elif not words and ASSIGNMENT.match(c.text, c.at):
            assignments.append(assignment(c))
        elif c.peek() == "(":
            raise c.unreadable("a parenthesis is not expected")
        else:
            words.append(word(c))
        blanks(c)
    if c.at == start:
        raise c.unreadable("a command is missing")
    return Simple(tuple(assignments), tuple(words), tuple(redirections), c.text[start : c.at].strip(), start)


def assignment(c: Cursor) -> Assignment:
    start, subscript = c.at, None
    name = c.match(NAME)
    if c.take("["):
        begin = c.at
        subscript = Word(joined(summands(c, "]")), c.text[begin : c.at])
        c.expect("]")
    if not (c.take("+=") or c.take("=")):
        raise c.unreadable("an assignment without '='")
    if c.take("("):
        values = elements(c)
        return Assignment(name, subscript, values, True, c.text[start : c.at])
    values = ()
    if c.peek() and (c.peek() not in ENDS_WORD or c.peek(2) in ("<(", ">(")):
        values = (word(c),)
    return Assignment(name, subscript, values, False, c.text[start : c.at])


def elements(c: Cursor) -> tuple[Word, ...]:
    """Of an array. One that begins with [ could name its place, which is computed."""
    found = []
    newlines(c)
    while not c.take(")"):
        if c.peek() == "[":
            raise c.unreadable("an array with named places")
        found.append(word(c))
        newlines(c)
    return tuple(found)


def redirection(c: Cursor) -> Redirection:
    start = c.at
    found = REDIRECTION.match(c.text, c.at)
    assert found
    fd, operator = (found[1] or "").strip("{}"), found[2]
    c.at = found.end()
    blanks(c)
    if operator in ("<<", "<<-"):
        delimiter = DELIMITER.match(c.text, c.at)
        if not delimiter:
            raise c.unreadable("a here-document without a plain end mark")
        c.at = delimiter.end()
        target = Word((Text(delimiter["name"], True),), delimiter[0])
        this = Redirection(fd, operator, target, c.text[start : c.at], [])
        c.waiting.append(this)
        return this
    target = word(c)
    return Redirection(fd, operator, target, c.text[start : c.at], [])
