"""What git may be made to run, by its options, its settings and its addresses."""

import re
from collections.abc import Sequence

from hyperhive.rules.values import COULD_BE, ends_options, opaque
from hyperhive.rules.wrappers import MARKED, Runs

# Those that run nothing but git itself, unless told so by an option. Anything else could be an alias.
KNOWN = frozenset(
    "add am apply archive bisect blame branch bundle cat-file check-attr check-ignore checkout cherry"
    " cherry-pick"
    " clean clone commit commit-tree config count-objects describe diff diff-files diff-index diff-tree"
    " fetch"
    " fmt-merge-msg for-each-ref format-patch fsck gc grep hash-object help init log ls-files ls-remote"
    " ls-tree"
    " merge merge-base merge-file merge-tree mv name-rev notes pull push range-diff read-tree rebase"
    " reflog remote"
    " repack reset restore rev-list rev-parse revert rm shortlog show show-branch show-ref"
    " sparse-checkout stash"
    " status stripspace submodule switch symbolic-ref tag update-index update-ref var verify-commit"
    " verify-tag"
    " version whatchanged worktree write-tree --version --help -h -v".split()
)
BEFORE = frozenset(
    "--no-pager --bare --no-replace-objects --literal-pathspecs --no-optional-locks -P".split()
)
SETTINGS = (
    r"(?i)(user\.(name|email)|color\..*|advice\..*|init\.defaultbranch|log\.\w+|pull\.(rebase|ff)"
    r"|push\.(default|autosetupremote)"
    r"|merge\.(ff|conflictstyle)|diff\.(algorithm|renames|context|nameprefix|noprefix|mnemonicprefix)"
    r"|fetch\.prune"
    r"|core\.(quotepath|autocrlf|eol|filemode|ignorecase|safecrlf|abbrev|longpaths|bare|compression)"
    r"|rerere\.\w+"
    r"|commit\.(gpgsign|verbose)|tag\.gpgsign|branch\..*\.(remote|merge|rebase)|rebase\.(autosquash"
    r"|autostash)"
    r"|status\.\w+|column\.\w+|gc\.auto|feature\.\w+|protocol\.version|http\.postbuffer|safe\.directory)"
)
HAZARDS = {
    "apply": r"--uns",
    "archive": r"--exec|--remote|-o|--ou",
    "clone": r"-[A-Za-z]*[uc]|--upl|--conf|--templ",
    "diff": r"--ext|--ou",
    "diff-tree": r"--ext|--ou",
    "diff-index": r"--ext|--ou",
    "fetch": r"--upl",
    "format-patch": r"--ext|--output=",
    "grep": r"-[A-Za-z]*O|--ope|--ext-g",
    "help": r"-[A-Za-z]*[wmi]|--[wmi]",
    "init": r"--templ",
    "log": r"--ext|--ou",
    "ls-remote": r"--upl|--exec",
    "pull": r"--upl",
    "push": r"--rec|--exec",
    "range-diff": r"--ext|--ou",
    "show": r"--ext|--ou",
    "stash": r"--ext|--ou",
    "whatchanged": r"--ext|--ou",
}
# ext:: and its kin run programs; -- so does an address that looks like an option.
ADDRESS = r"(?i)[a-z0-9+-]+::"


def check(words: Sequence[str]) -> Runs:
    rest = [*words[1:]]
    while rest and (
        rest[0] in BEFORE or rest[0] in ("-C", "-c", "--git-dir", "--work-tree") or is_path(rest[0])
    ):
        word = rest.pop(0)
        if word == "-c":
            if not rest or not re.fullmatch(SETTINGS, rest[0].partition("=")[0]):
                return Runs(hazard=f"-c {rest[0].partition('=')[0]}" if rest else "-c")
            rest.pop(0)
        elif word in ("-C", "--git-dir", "--work-tree"):
            if not rest or opaque(rest[0]):
                return Runs(hazard=word)
            rest.pop(0)
    if not rest:
        return Runs()
    name, rest = rest[0], rest[1:]
    if name not in KNOWN:
        return Runs(hazard=name if not MARKED.search(name) else "a command of git that cannot be told")
    return CHECKS.get(name, plain)(name, rest)


def is_path(word: str) -> bool:
    return word.startswith(("--git-dir=", "--work-tree="))


def plain(name: str, rest: Sequence[str]) -> Runs:
    if address := next((word for word in rest if re.match(ADDRESS, word)), ""):
        return Runs(hazard=address)
    pattern = HAZARDS.get(name)
    for at, word in enumerate(rest):
        if ends_options([name, *rest], at + 1) or (word == "--" and rest[at - 1] == "-p"):
            break
        if pattern and re.match(pattern, word):
            return Runs(hazard=word.partition("=")[0])
        if pattern and opaque(word):
            return Runs(hazard=f"git {name} with {COULD_BE}")
    return Runs()


def config(_name: str, rest: Sequence[str]) -> Runs:
    """Reading is free; setting is for what runs nothing."""
    reads = {"--get", "--get-all", "--get-regexp", "-l", "--list", "--get-urlmatch", "--unset"}
    if any(word in reads for word in rest[:2]) or rest[:1] in (["list"], ["get"]):
        return Runs()
    free = {
        "--global",
        "--local",
        "--worktree",
        "--add",
        "--replace-all",
        "--bool",
        "--int",
        "set",
        "--type=bool",
    }
    names = [word for word in rest if word not in free]
    if not names or (len(names) == 1 and re.fullmatch(r"[A-Za-z][\w.-]*", names[0])):
        return Runs(hazard="config -e" if not names else "")
    harmless = re.fullmatch(SETTINGS, names[0]) and not any("::" in word for word in names)
    return Runs(hazard="" if harmless else f"config {names[0]}")


def rebase(_name: str, rest: Sequence[str]) -> Runs:
    scripts = []
    for at, word in enumerate(rest):
        if word == "-x" or word == "--exec":
            scripts.append(rest[at + 1] if at + 1 < len(rest) else "")
        elif word.startswith(("--ex", "-x")):
            scripts.append(word.partition("=")[2] if word.startswith("--") else word[2:])
        elif re.match(r"-[a-z]*x", word):
            return Runs(hazard=f"rebase {word}")
        elif opaque(word):
            return Runs(hazard=f"git rebase with {COULD_BE}")
    return Runs(scripts=tuple(scripts))


def bisect(name: str, rest: Sequence[str]) -> Runs:
    if rest and rest[0] == "run":
        return Runs(commands=(tuple(rest[1:]),))
    return plain(name, rest) if rest and not MARKED.search(rest[0]) else Runs(hazard="bisect")


def submodule(name: str, rest: Sequence[str]) -> Runs:
    words = [word for word in rest if word not in ("--quiet", "-q", "--recursive")]
    if words and words[0] == "foreach":
        return Runs(scripts=(" ".join(words[1:]),))
    return plain(name, rest) if words and not MARKED.search(words[0]) else Runs(hazard="submodule")


CHECKS = {"config": config, "rebase": rebase, "bisect": bisect, "submodule": submodule}
