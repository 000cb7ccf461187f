"""Variables that change what runs, and sums, in which bash would run what a variable holds."""

import os
import re
from collections.abc import Iterator

from hyperhive.rules.tree import Block, Node, Part, Substitution, Sum, Text, Variable, Word
from hyperhive.rules.values import NUMBER, Values, parts_of, texts, words_of

# What a shell itself obeys, or has exported from its start.
SHELL = (
    r"PATH|IFS|ENV|HOME|SHELL|BASH\w*|SHELLOPTS|PS[0-4]|PROMPT_\w+|CDPATH|GLOBIGNORE|EXECIGNORE"
    r"|POSIXLY_CORRECT|PWD|OLDPWD"
    r"|LD_\w+|GIT_\w+|ANTHROPIC_\w+|CLAUDE\w*|HIVE_\w+|INPUTRC|HIST\w+|MAIL\w*|COMP_\w+|DIRSTACK|FUNCNAME"
    r"|TMPDIR|TZ"
)
SAFE = (
    r"LANG|LANGUAGE|LC_\w+|TZ|TERM|NO_COLOR|FORCE_COLOR|CLICOLOR\w*|COLUMNS|LINES|CI|DEBUG|VERBOSE|V"
    r"|SOURCE_DATE_EPOCH"
    r"|PYTHON(UNBUFFERED|DONTWRITEBYTECODE|HASHSEED|UTF8|IOENCODING|FAULTHANDLER|WARNINGS|ASYNCIODEBUG)"
    r"|RUST_(LOG|BACKTRACE|TEST_THREADS)|NODE_ENV|GO(OS|ARCH|ARM|MAXPROCS)|CGO_ENABLED|DEBIAN_FRONTEND"
    r"|SYSTEMD_COLORS"
    r"|GIT_(TERMINAL_PROMPT|(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)|OPTIONAL_LOCKS|MERGE_AUTOEDIT|FLUSH)"
    r"|PIP_NO_\w+"
    r"|PYTEST_XDIST_\w+|MALLOC_ARENA_MAX|CARGO_TERM_\w+|CARGO_INCREMENTAL|npm_config_(loglevel|fund|audit"
    r"|progress)"
)
RUNS = (
    r"(LD|DYLD|MAKE\w+|RUST\w+|GZIP|BZIP2?|XZ|ZSTD|GIT|SSH|SUDO|GPG|LESS|MAN|XDG|PYTHON|PERL|RUBY|GEM|BUNDLE|NODE|NPM|PNPM|YARN|PIP|UV|POETRY"
    r"|VIRTUAL_ENV"
    r"|CARGO|RUST|RUSTUP|GO|JAVA|JDK|MAVEN|GRADLE|MAKE|GNUMAKE|CMAKE|AWK|DOCKER|KUBE|HELM|AWS|TF|PG|MYSQL"
    r"|SQLITE|SYSTEMD"
    r"|CURL|WGET|SSL|OPENSSL|RSYNC|TAR|GTAR|GCONV|LUA|TCL|R|PHP|GUILE|EMACS|VIM|NVIM|TMUX|SCREEN|PYTEST"
    r"|MYPY|RUFF|COVERAGE"
    r"|npm_config|npm|HIVE|CLAUDE\w*|ANTHROPIC|MCP|NIX|GLIBC|MALLOC)(_\w*)?"
    r"|\w*(PATH|_COMMAND|_CMD|_EXEC|_WRAPPER|_PROGRAM|_OPTIONS|_OPTS|OPT|_ARGS|FLAGS|_HOME|_CONFIG|_RC"
    r"|_PROXY|_proxy|_ASKPASS"
    r"|PAGER|EDITOR|_SHELL|_PRELOAD|_URL_BASE|_INIT|_STARTUP|_HOOK|_PLUGINS?)"
    r"|CC|CXX|CPP|LD|AR|AS|NM|VISUAL|BROWSER|COMPILER_PATH|GREP_OPTIONS|TERMINFO|TERMCAP|NLSPATH|LOCPATH"
    r"|HOSTALIASES"
    r"|RES_OPTIONS|http_proxy|https_proxy|all_proxy|PYTHON\w+|PERL\w+|RUBY\w+|NODE\w+|LESS\w+|MAN\w+"
    r"|TEX\w+|XAUTHORITY|DISPLAY"
)
HARMLESS = frozenset("GIT_PAGER=cat PAGER=cat MANPAGER=cat GIT_EDITOR=true GIT_EDITOR=: EDITOR=true".split())
COMPARES = frozenset("-eq -ne -lt -le -gt -ge".split())
COUNTERS = frozenset("RANDOM SECONDS LINENO EPOCHSECONDS BASHPID PPID UID EUID".split())
IDENTIFIER = r"(?a)(?<![0-9A-Za-z_#])[A-Za-z_]\w*"


def assignment(name: str, *, exported: bool) -> str:
    """Why this variable must not be set, or ""."""
    if re.fullmatch(SAFE, name):
        return ""
    if re.fullmatch(SHELL, name) or name in os.environ or (exported and re.fullmatch(RUNS, name)):
        return f"setting {name} can change what runs"
    return ""


def faults(node: Node, known: Values) -> Iterator[str]:
    names = [each.fd for each in node.redirections if each.fd and not each.fd.isdigit()]
    if isinstance(node, Block):
        names += [node.name] if node.name and node.kind != "function" else []
        sums = [*node.sums, *(compared(node.words) if node.kind == "[[" else ())]
        if node.kind == "[[" and any(word.source in ("-v", "-R") for word in node.words):
            yield "[[ -v computes what it is given"
    else:
        sums = [each.subscript for each in node.assignments if each.subscript]
    for word in words_of(node):
        for part in parts_of(word):
            sums += (
                part.sums if isinstance(part, Variable) else (part.word,) if isinstance(part, Sum) else ()
            )
            names += [part.name] if isinstance(part, Variable) and part.assigns else []
    yield from (why for name in names if (why := assignment(name, exported=False)))
    for word in sums:
        if not all(countable(part, known) for part in word.parts):
            yield f"'{word.source}' is computed, and bash would run commands that its variables hold"


def compared(words: tuple[Word, ...]) -> Iterator[Word]:
    for at, word in enumerate(words):
        if word.source in COMPARES:
            yield from (words[each] for each in (at - 1, at + 1) if 0 <= each < len(words))


def countable(part: Part, known: Values) -> bool:
    """It is a number, or computed of numbers."""
    if isinstance(part, Text):
        return all(counts(name, known) for name in re.findall(IDENTIFIER, part.text)) and not re.search(
            r"[$`\"'\\]", part.text
        )
    if isinstance(part, Variable):
        return part.number or (part.plain and counts(part.name, known))
    if isinstance(part, Sum):
        return all(countable(each, known) for each in part.word.parts)
    return isinstance(part, Substitution) and all(
        NUMBER.fullmatch(each) for each in texts(Word((part,), ""), known)
    )


def counts(name: str, known: Values) -> bool:
    if name in known.known:
        return all(NUMBER.fullmatch(each) for each in known.known[name])
    if not known.fresh or name in known.assigned or name in os.environ:
        return False
    # One that is never set counts as 0. Bash itself sets _ and some in capitals.
    return name in COUNTERS or re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None
