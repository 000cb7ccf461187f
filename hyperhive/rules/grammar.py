"""Read a bash script: lists, pipes, compound commands, functions, redirections, here-documents."""

import re

from hyperhive.rules.simple import REDIRECTION, blanks, newlines, redirection, simple
from hyperhive.rules.tree import (
    Block,
    Node,
    Part,
    Script,
    Simple,
    Text,
    Unreadable,
    Variable,
    Word,
)
from hyperhive.rules.word import (
    BLANK,
    ENDS_WORD,
    NAME,
    SIZE_MAX,
    Cursor,
    arithmetic,
    joined,
    nested,
    part,
    summands,
    word,
)

FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*[ \t]*\([ \t]*\)")
RESERVED = (
    r"if|then|elif|else|fi|for|in|do|done|while|until|case|esac|select|function|time|coproc|\[\[|\{|\}|!"
)
KEYWORD = re.compile(rf"(?:{RESERVED})(?=[ \t\n;|&()<>]|$)")
AFTER_LIST = {"then", "elif", "else", "fi", "do", "done", "esac", "}"}


def read(text: str) -> Script:
    """The whole of it; Unreadable if bash might read it otherwise."""
    if len(text) > SIZE_MAX:
        raise Unreadable(f"the command is longer than {SIZE_MAX} characters")
    bad = next((char for char in text if not (char.isprintable() or char in "\t\n")), "")
    if bad:
        raise Unreadable(f"a character that cannot be seen (U+{ord(bad):04X})")
    c = Cursor(text, script)
    return script(c, "")


def script(c: Cursor, close: str) -> Script:
    """Commands up to `close` (")", or "" for the end of the text), which is taken."""
    found = commands(c)
    if c.waiting:
        raise c.unreadable("a here-document without its text")
    if close:
        c.expect(close)
    elif c.at < len(c.text):
        raise c.unreadable("this is not expected")
    return found


# commands


def commands(c: Cursor) -> Script:
    """A list, up to what can only end it."""
    found: list[Node] = []
    newlines(c)
    while c.peek() and c.peek() != ")" and not c.starts(";;") and not c.starts(";&"):
        if keyword(c) in AFTER_LIST:
            break
        more = and_or(c)
        blanks(c)
        if len(more) == 1 and isinstance(more[0], Block) and c.peek() != "&":
            more = [more[0]._replace(certain=True)]
        found += more
        if c.starts(";;") or c.starts(";&"):
            break
        if not (c.take(";") or c.peek() == "\n" or (c.peek() == "&" and c.take("&"))):
            break
        newlines(c)
    return tuple(found)


def keyword(c: Cursor) -> str:
    found = KEYWORD.match(c.text, c.at)
    return found[0] if found else ""


def and_or(c: Cursor) -> list[Node]:
    """Pipelines, joined by any of | |& && ||: each may run."""
    found: list[Node] = []
    while True:
        prefixes(c)
        found.append(command(c))
        blanks(c)
        if not (c.take("&&") or c.take("||") or c.take("|&") or c.take("|")):
            return found
        newlines(c)


def prefixes(c: Cursor) -> None:
    blanks(c)
    while keyword(c) in ("!", "time"):
        c.at += len(keyword(c))
        blanks(c)
        if c.starts("-p") and c.peek(3)[2:] in BLANK:
            c.at += 2
            blanks(c)


def command(c: Cursor) -> Node:
    c.deeper()
    start = c.at
    node = compound(c)
    c.depth -= 1
    if isinstance(node, Simple):
        return node
    redirections = []
    blanks(c)
    while REDIRECTION.match(c.text, c.at):
        redirections.append(redirection(c))
        blanks(c)
    return node._replace(redirections=tuple(redirections), source=c.text[start : c.at].strip(), at=start)


def compound(c: Cursor) -> Node:
    if c.starts("(("):
        return Block("((", sums=(arithmetic(c),))
    if c.take("("):
        return Block("(", nested(c, ")"))
    known = {
        "{": group,
        "if": conditional,
        "while": loop,
        "until": loop,
        "for": each_word,
        "select": each_word,
    }
    known |= {"case": case, "[[": condition, "function": function, "coproc": coprocess}
    which = keyword(c)
    if which in known:
        c.at += len(which)
        return known[which](c)
    if which:
        raise c.unreadable(f"'{which}' is not expected")
    if FUNCTION.match(c.text, c.at):
        return function(c)
    return simple(c)


def closing(c: Cursor, *which: str) -> str:
    newlines(c)
    found = keyword(c)
    if found not in which:
        raise c.unreadable(f"'{which[-1]}' is missing")
    c.at += len(found)
    return found


def body(c: Cursor, *end: str) -> tuple[Script, str]:
    if not (found := commands(c)):
        raise c.unreadable("a command is missing")
    return found, closing(c, *end)


def group(c: Cursor) -> Block:
    return Block("{", body(c, "}")[0])


def conditional(c: Cursor) -> Block:
    found, end = body(c, "then")
    while end != "fi":
        expected = {"then": ("elif", "else", "fi"), "elif": ("then",), "else": ("fi",)}[end]
        more, end = body(c, *expected)
        found += more
    return Block("if", found)


def loop(c: Cursor) -> Block:
    return Block("while", body(c, "do")[0] + body(c, "done")[0])


def each_word(c: Cursor) -> Block:
    blanks(c)
    if c.starts("(("):
        return each_sum(c)
    name, words = c.match(NAME), list[Word]()
    if not name:
        raise c.unreadable("a variable is missing")
    newlines(c)
    listed = keyword(c) == "in"
    if listed:
        c.at += 2
        blanks(c)
        while c.peek() and c.peek() not in ";\n":
            words.append(word(c))
            blanks(c)
    else:
        words.append(Word((Variable("@", True),), '"$@"'))
    c.take(";")
    newlines(c)
    closing(c, "do")
    return Block("for", body(c, "done")[0], words=tuple(words), name=name)


def each_sum(c: Cursor) -> Block:
    start = c.at
    c.expect("((")
    parts: list[Part] = summands(c, ";")
    for end in (";", "))"):
        c.expect(";")
        parts += [Text(",", True), *summands(c, end)]
    c.expect("))")
    sums = (Word(joined(parts), c.text[start : c.at]),)
    blanks(c)
    c.take(";")
    closing(c, "do")
    return Block("for", body(c, "done")[0], sums=sums)


def case(c: Cursor) -> Block:
    blanks(c)
    words, found = [word(c)], list[Node]()
    closing(c, "in")
    newlines(c)
    while keyword(c) != "esac":
        c.take("(")
        while True:
            blanks(c)
            words.append(word(c))
            blanks(c)
            if not c.take("|"):
                break
        c.expect(")")
        found += commands(c)
        newlines(c)
        if not (c.take(";;&") or c.take(";;") or c.take(";&")) and keyword(c) != "esac":
            raise c.unreadable("';;' is missing")
        newlines(c)
    c.at += len("esac")
    return Block("case", tuple(found), words=tuple(words))


def condition(c: Cursor) -> Block:
    """[[ … ]]; the operators are words here."""
    words: list[Word] = []
    newlines(c)
    while not (c.starts("]]") and c.peek(3)[2:] in ENDS_WORD):
        operator = next((each for each in ("&&", "||", "(", ")", "<", ">") if c.starts(each)), "")
        if words and words[-1].source == "=~":
            words.append(expression(c))
        elif operator and c.peek(2) not in ("<(", ">("):
            c.at += len(operator)
            words.append(Word((Text(operator, False),), operator))
        else:
            words.append(word(c))
        newlines(c)
    c.at += 2
    sources = [word.source for word in words]
    if sources.count("(") != sources.count(")"):
        raise c.unreadable("parentheses without their other half")
    return Block("[[", words=tuple(words))


def expression(c: Cursor) -> Word:
    """The regular expression after =~, where parentheses and bars are part of the word."""
    start, parts, level = c.at, list[Part](), 0
    while c.peek() and (level or c.peek() not in " \t\n)"):
        char = c.peek()
        if char in "()":
            level += 1 if char == "(" else -1
            parts.append(Text(c.next(), True))
        elif char in ";&<> \t\n":
            raise c.unreadable("this does not belong in a regular expression")
        else:
            parts += [Text(c.next(), True)] if char == "|" else part(c, ENDS_WORD)
    return Word(joined(parts), c.text[start : c.at])


def function(c: Cursor) -> Block:
    blanks(c)
    name = c.match(re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*"))
    if not name:
        raise c.unreadable("a function without a plain name")
    blanks(c)
    if c.take("("):
        blanks(c)
        c.expect(")")
    newlines(c)
    start = c.at
    inner = command(c)
    if isinstance(inner, Simple) or c.text[start] not in "{(":
        raise c.unreadable("the body of a function must be in braces or parentheses")
    return Block("function", (inner,), name=name)


def coprocess(c: Cursor) -> Block:
    blanks(c)
    found = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)[ \t]+(?=[{(])").match(c.text, c.at)
    if found:
        c.at = found.end()
    return Block("coproc", (command(c),), name=found[1] if found else "COPROC")
