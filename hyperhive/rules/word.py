"""Read bash's words: quotes and expansions. What bash might read otherwise is refused, not guessed at."""

import re
from collections.abc import Callable

from hyperhive.rules.tree import (
    Part,
    Process,
    Redirection,
    Script,
    Substitution,
    Sum,
    Text,
    Unreadable,
    Variable,
    Word,
)

SIZE_MAX = 64 * 1024  # characters
DEPTH_MAX = 40
BLANK = " \t"
ENDS_WORD = " \t\n|&;()<>"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NUMBER_PARAMETERS = "#?$!"
# What can be part of a sum: a quote or a semicolon would make it something else to bash.
SUM_TEXT = re.compile(r"[A-Za-z0-9_ \t\n+\-*/%<>=!&|^~?:,#]+")
ANSI = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"', "e": "\x1b", "E": "\x1b", "r": "\r", "?": "?"}


class Cursor:
    """A place in the text that moves forward."""

    def __init__(self, text: str, script: Callable[["Cursor", str], Script], depth: int = 0) -> None:
        self.text = text
        self.at = 0
        self.depth = depth
        self.script = script  # reads commands up to a closing character
        self.waiting: list[Redirection] = []  # here-documents whose text is still to come

    def peek(self, count: int = 1) -> str:
        return self.text[self.at : self.at + count]

    def starts(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def take(self, text: str) -> bool:
        if self.starts(text):
            self.at += len(text)
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise self.unreadable(f"'{text}' is missing")

    def match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if not found:
            return ""
        if "\n" in found[0] and self.waiting:
            raise self.unreadable("a here-document whose text would begin inside a word")
        self.at = found.end()
        return found[0]

    def unreadable(self, why: str) -> Unreadable:
        before, after = self.text[max(0, self.at - 30) : self.at], self.text[self.at : self.at + 20]
        return Unreadable(f"{why} at {before}⟨here⟩{after}")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.unreadable("too deeply nested")

    def next(self) -> str:
        char = self.peek()
        if not char:
            raise self.unreadable("the command ends too early")
        if char == "\n" and self.waiting:
            raise self.unreadable("a here-document whose text would begin inside a word")
        self.at += 1
        return char


def word(c: Cursor) -> Word:
    """From here to its end; its first character belongs to it."""
    start, parts = c.at, list[Part]()
    if c.peek(2) in ("<(", ">("):
        parts.append(process(c))
        if c.peek() and c.peek() not in ENDS_WORD:
            raise c.unreadable("something sticks to a process substitution")
    while c.peek() and c.peek() not in ENDS_WORD:
        parts += part(c, ENDS_WORD)
    if c.at == start:
        raise c.unreadable("a word is missing")
    if c.peek() == "(" or (c.peek(2) in ("<(", ">(") and not isinstance(parts[-1], Process)):
        raise c.unreadable("a parenthesis sticks to a word")
    return Word(joined(parts), c.text[start : c.at])


def joined(parts: list[Part]) -> tuple[Part, ...]:
    found: list[Part] = []
    for each in parts:
        last = found[-1] if found else None
        if isinstance(each, Text) and isinstance(last, Text) and last.quoted == each.quoted:
            found[-1] = Text(last.text + each.text, each.quoted)
        else:
            found.append(each)
    return tuple(found)


def part(c: Cursor, stop: str) -> list[Part]:
    char = c.peek()
    if char == "'":
        return [Text(single(c), True)]
    if char == '"':
        c.next()
        return [Text("", True), *double(c, '"')]
    if char == "\\":
        return [escaped(c)]
    if char == "$":
        return [dollar(c, quoted=False)]
    if char == "`":
        return [backticks(c, quoted=False)]
    start = c.at
    while c.peek() and c.peek() not in stop and c.peek() not in "'\"\\$`":
        c.next()
    return [Text(c.text[start : c.at], False)]


def single(c: Cursor) -> str:
    c.expect("'")
    start = c.at
    while c.next() != "'":
        pass
    return c.text[start : c.at - 1]


def escaped(c: Cursor) -> Text:
    c.expect("\\")
    char = c.next()
    if char == "\n":
        raise c.unreadable("a line is continued in the middle of a word")
    return Text(char, True)


def double(c: Cursor, close: str) -> list[Part]:
    """The inside of double quotes up to `close`, or of a here-document up to the end of the text."""
    parts: list[Part] = []
    while c.peek() != close:
        char = c.peek()
        if char == "$":
            parts.append(dollar(c, quoted=True))
        elif char == "`":
            parts.append(backticks(c, quoted=True))
        elif char == "\\":
            c.next()
            after = c.next()
            parts.append(
                Text({"\n": ""}.get(after, after) if after in f"$`\\\n{close}" else "\\" + after, True)
            )
        else:
            parts.append(Text(c.next(), True))
    if close:
        c.expect(close)
    return parts


def dollar(c: Cursor, *, quoted: bool) -> Part:
    c.deeper()
    found = expansion(c, quoted=quoted)
    c.depth -= 1
    return found


def expansion(c: Cursor, *, quoted: bool) -> Part:
    c.expect("$")
    if c.starts("(("):
        return Sum(arithmetic(c), quoted)
    if c.take("("):
        return Substitution(nested(c, ")"), quoted)
    if c.take("{"):
        return braces(c, quoted=quoted)
    if c.peek() == "[":
        raise c.unreadable("$[…] is too old a way to compute")
    if not quoted and c.peek() == "'":
        return Text(ansi(c), True)
    if not quoted and c.peek() == '"':
        raise c.unreadable('$"…" is translated')
    if name := c.match(NAME):
        return Variable(name, quoted)
    if c.peek() and c.peek() in "0123456789@*#?$!-":
        return Variable(name := c.next(), quoted, number=name in NUMBER_PARAMETERS)
    return Text("$", quoted)


def nested(c: Cursor, close: str) -> Script:
    c.deeper()
    waiting, c.waiting = c.waiting, []
    start = c.at
    script = c.script(c, close)
    if waiting and "\n" in c.text[start : c.at]:
        raise c.unreadable("a here-document whose text would begin inside a substitution")
    c.waiting = waiting
    c.depth -= 1
    return script


def process(c: Cursor) -> Process:
    c.at += 2
    return Process(nested(c, ")"))


def backticks(c: Cursor, *, quoted: bool) -> Substitution:
    c.expect("`")
    start = c.at
    while c.peek() != "`":
        if c.next() == "\\":
            raise c.unreadable("a backslash between backticks; use $(…)")
    inside = Cursor(c.text[start : c.at], c.script, c.depth)
    if (quoted and '"' in inside.text) or "#" in inside.text:
        raise c.unreadable("quotes or a comment between backticks; use $(…)")
    script = nested(inside, "")
    c.expect("`")
    return Substitution(script, quoted)


def arithmetic(c: Cursor) -> Word:
    """((…)), of which both closing parentheses must stand side by side, or bash would see a subshell."""
    start = c.at
    c.expect("((")
    parts = summands(c, "))")
    c.expect("))")
    return Word(joined(parts), c.text[start : c.at])


def summands(c: Cursor, close: str) -> list[Part]:
    parts: list[Part] = []
    open_ones: list[str] = []
    while open_ones or not c.starts(close):
        if c.peek() == "$":
            parts.append(dollar(c, quoted=True))
        elif text := c.match(SUM_TEXT):
            if re.search(r"(^|\s)#", text):
                raise c.unreadable("a comment in a sum")
            parts.append(Text(text, True))
        elif c.peek() and c.peek() in "([":
            open_ones.append(")" if c.peek() == "(" else "]")
            parts.append(Text(c.next(), True))
        elif open_ones and c.take(open_ones[-1]):
            parts.append(Text(open_ones.pop(), True))
        else:
            raise c.unreadable("this does not belong in a sum")
    return parts


def braces(c: Cursor, *, quoted: bool) -> Variable:
    """What follows ${."""
    length = c.peek(2)[1:] not in ("}", "") and c.take("#")
    name = c.match(NAME) or c.match(re.compile(r"[0-9]+")) or c.match(re.compile(r"[@*#?$-]"))
    if not name:
        raise c.unreadable("an indirect or unknown expansion")
    sums = []
    if c.take("["):
        start = c.at
        if not (c.take("@]") or c.take("*]")):
            sums.append(Word(joined(summands(c, "]")), c.text[start : c.at]))
            c.expect("]")
    if c.take("}"):
        number = length or name in NUMBER_PARAMETERS
        return Variable(
            name, quoted, plain=not (length or c.text[c.at - 2] == "]"), number=number, sums=tuple(sums)
        )
    if length:
        raise c.unreadable("a length with more behind it")
    return operated(c, name, tuple(sums), quoted=quoted)


OPERATOR = re.compile(r":?[-=+?]|##?|%%?|/[/#%]?|\^\^?|,,?|@[QULu]|:")


def operated(c: Cursor, name: str, sums: tuple[Word, ...], *, quoted: bool) -> Variable:
    operator = c.match(OPERATOR)
    if not operator:
        raise c.unreadable("an expansion that is not known")
    start = c.at
    if operator == ":":
        sums += (Word(joined(summands(c, "}")), c.text[start : c.at]),)
        c.expect("}")
        return Variable(name, quoted, plain=False, sums=sums)
    parts: list[Part] = []
    while not c.take("}"):
        if c.peek() and (c.peek() in "{(<>`" or (quoted and c.peek() in "'\"") or c.starts("\\\n")):
            raise c.unreadable("too much inside ${…}")
        parts += [dollar(c, quoted=True)] if quoted and c.peek() == "$" else part(c, "}{(<>")
        if c.at >= len(c.text):
            raise c.unreadable("'}' is missing")
    inner = (Word(joined(parts), c.text[start : c.at - 1]),)
    return Variable(name, quoted, plain=False, inner=inner, sums=sums, assigns=operator.endswith("="))


def ansi(c: Cursor) -> str:
    """$'…'."""
    c.expect("'")
    found = []
    while (char := c.next()) != "'":
        found.append(char if char != "\\" else ansi_escape(c))
    return "".join(found)


def ansi_escape(c: Cursor) -> str:
    char = c.next()
    if char in ANSI:
        return ANSI[char]
    patterns = {"x": r"[0-9A-Fa-f]{1,2}", "u": r"[0-9A-Fa-f]{1,4}", "U": r"[0-9A-Fa-f]{1,8}"}
    if char in patterns:
        code = int(c.match(re.compile(patterns[char])) or "0", 16)
    elif char in "01234567":
        c.at -= 1
        code = int(c.match(re.compile(r"[0-7]{1,3}")), 8)
    else:
        raise c.unreadable("an escape that is not known")
    # Bytes would be put together to characters, and a NUL ends the text in bash.
    if not (code in (9, 10, 27) or 32 <= code < 127 or (char in "uU" and 160 <= code < 0xD800)):
        raise c.unreadable("an escape that is not plain text")
    return chr(code)
