"""Programs that are more than they seem: options and texts with which they run or write something else."""

import itertools
import re
from collections.abc import Callable, Sequence

from hyperhive.rules import git
from hyperhive.rules.values import ANY, COULD_BE, ends_options, opaque, several
from hyperhive.rules.wrappers import MARKED, Runs

SQLITE = (
    r"\s*\.(?!(schema|tables|indexes|databases|headers|mode|dump)\b[^\n]*$)|.*\n\s*\."
    r"|--?(cmd|init)|.*(?i:load_extension|edit\()"
)
# Options, or their beginnings, after which something else runs. A rule that spells one allows it.
OPTIONS = {
    "apt": r"-o|-c|--option|--config",
    "apt-get": r"-o|-c|--option|--config",
    "cargo": r"--config|-Z",
    "cpio": r"--rsh",
    "curl": r"-[A-Za-z]*K|--conf",
    "dc": r".*!",
    "dpkg": r"--(pre|post)-invoke|--admindir|--root|--instdir",
    "fd": r"-[A-Za-z]*[xX]|--exec",
    "gcc": r"-wrapper|-fplugin|-B|-specs|--specs|@",
    "g++": r"-wrapper|-fplugin|-B|-specs|--specs|@",
    "cc": r"-wrapper|-fplugin|-B|-specs|--specs|@",
    "gh": r"alias|extension|ext|.*!",
    "go": r"--?(toolexec|exec|vettool|overlay|modfile)|generate|.*-ext(ld|ldflags)",
    "less": r"\+|-k|--lesskey|-o|-O|--log|--LOG",
    "more": r"\+",
    "man": r"-[A-Za-z]*[PHC]|--pager|--html|--config",
    "mysql": r".*(\\!|system|source)",
    "nc": r"-[A-Za-z]*[ec]|--exec|--sh-exec|--lua",
    "ncat": r"-[A-Za-z]*[ec]|--exec|--sh-exec|--lua",
    "npm": r"--(scr|node-o|git|userc|globalc|pre)",
    "psql": r".*\\!|-f|--file|.*(?i:copy.*program)",
    "rg": r"--pre|--hostname-bin",
    "rsync": r"--rsh|--rsync-path|-[A-Za-z]*e",
    "scp": r"-[A-Za-z0-9]*[oFSD]",
    "sftp": r"-[A-Za-z0-9]*[oFSDb]",
    "socat": r"(?i:.*(exec|system|shell):)",
    "sort": r"--co",
    "split": r"--f",
    "sqlite3": SQLITE,
    "ssh": r"-[A-Za-z0-9]*[oFSEw]",
    "tar": r"--(us|rs|rm|to-c|checkpoint-a|inf|new-v|files-f)|-[A-Za-z]*[IFT]",
    "tcpdump": r"-[A-Za-z]*[zw]",
    "wget": r"-[A-Za-z]*e|--execute|--config|--use-ask",
    "zip": r"-[A-Za-z]*T|--unzip|--test",
}
for editor in ("vi", "vim", "view", "ex", "nvim", "emacs", "nano"):
    OPTIONS[editor] = r"[-+]"

FIND_TAKES = frozenset(
    "-name -iname -path -ipath -wholename -regex -iregex -type -xtype -maxdepth -mindepth -size -mtime"
    " -atime -ctime"
    " -mmin -amin -cmin -newer -newermt -newerct -anewer -cnewer -user -group -uid -gid -perm -links"
    " -inum -lname"
    " -ilname -printf -fstype -samefile -regextype -used -context".split()
)
FIND_ALONE = frozenset(
    "-print -print0 -ls -prune -quit -depth -d -xdev -mount -follow -empty -not ! -o -or -a -and ( ) ,"
    " -true -false"
    " -readable -writable -executable -noleaf -daystart -H -L -P -nouser -nogroup"
    " -ignore_readdir_race".split()
)
FIND_RUNS = frozenset("-exec -execdir -ok -okdir".split())


def is_top(word: str) -> bool:
    """A folder, before what is looked for in it."""
    return word in ("-H", "-L", "-P") or not re.match(r"[-(),!]", word)


def find(words: Sequence[str]) -> Runs:
    rest, commands = [*words[1:]], []
    tops = [word for word in itertools.takewhile(is_top, rest) if word not in ("-H", "-L", "-P")]
    tops = [top if top and not MARKED.search(top) else "." for top in tops] or ["."]
    while rest:
        word = rest.pop(0)
        if word in FIND_TAKES:
            if not rest or several(rest.pop(0)):
                return Runs(hazard=f"find {word} with words that cannot be told")
        elif word in FIND_RUNS:
            end = next((at for at, each in enumerate(rest) if each == ";" or (each == "+" and at)), None)
            if end is None:
                return Runs(hazard=word)
            commands += [tuple(each.replace("{}", f"{top}/{ANY}") for each in rest[:end]) for top in tops]
            del rest[: end + 1]
        elif opaque(word) or (word.startswith("-") and word not in FIND_ALONE):
            return Runs(hazard=word if not MARKED.search(word) else f"find with {COULD_BE}")
    return Runs(commands=tuple(commands))


SED_ADDRESS = r"([0-9]+|\$|/([^/\\]|\\.)*/I?)(,\s*~?\+?([0-9]+|\$|/([^/\\]|\\.)*/I?))?\s*!?\s*"
SED_PARTS = tuple(
    rf"s{mark}([^{mark}\\\n]|\\.)*{mark}([^{mark}\\\n]|\\.)*{mark}[gpiI0-9]*"
    for mark in ("/", r"\|", "#", ",", "@", ":")
)
SED_TEXT = r"[aic](\\\n?|\s)[^\\\n]*(?=$|\n)"
SED = rf"\s*({SED_ADDRESS})?({'|'.join(SED_PARTS)}|[dDpPgGhHnNxl=]|[qQ][0-9]*|{SED_TEXT})\s*"
SED_OPTION = (
    r"-[nErsuz]+|-[nErsuz]*i[\w.~]*|--(quiet|silent|regexp-extended|null-data|posix|sandbox)"
    r"|--in-place(=[\w.~]*)?"
)


def sed(words: Sequence[str]) -> Runs:
    """Only what is seen to be simple: e, w and s///e run and write what they like."""
    rest, scripts, names = [*words[1:]], list[str](), list[str]()
    while rest:
        word = rest.pop(0)
        if word in ("-e", "--expression", "-ne", "-ie") and rest:
            scripts.append(rest.pop(0))
        elif word.startswith("--expression="):
            scripts.append(word.partition("=")[2])
        elif word == "--":
            names += rest
            rest = []
        elif opaque(word) and word and (scripts or names):
            return Runs(hazard=f"sed with {COULD_BE}")
        elif not word.startswith("-") or word == "-":
            names.append(word)
        elif not re.fullmatch(SED_OPTION, word):
            return Runs(hazard=f"sed {word}")
    if not scripts and names:
        scripts.append(names.pop(0))
    bad = next((each for each in scripts if not simple_sed(each)), None)
    return Runs(hazard=f"the sed script {bad!r}" if bad is not None else "")


def simple_sed(script: str) -> bool:
    if MARKED.search(script):
        return False
    at = 0
    while at < len(script):
        found = re.compile(SED).match(script, at)
        if not found or (
            found.end() < len(script)
            and script[found.end()] not in ";\n}"
            and script[found.end() - 1] != "\n"
        ):
            return False
        at = found.end() + 1
    return True


AWK_RUNS = r"system|getline|@|close|fflush"
AWK_WRITES = r"(?<!\|)\|(?!\|)|print.*>"
AWK_OPTION = r"-F.*|-v|-v.+|--(field-separator|assign|re-interval|posix|csv).*"


def awk(words: Sequence[str]) -> Runs:
    rest = [*words[1:]]
    while rest and rest[0].startswith("-") and rest[0] != "--":
        word = rest.pop(0)
        if not re.fullmatch(AWK_OPTION, word):
            return Runs(hazard=f"awk {word}")
        if word in ("-F", "-v", "--field-separator", "--assign") and rest:
            rest.pop(0)
    if rest and rest[0] == "--":
        rest.pop(0)
    if not rest or MARKED.search(rest[0]):
        return Runs(hazard="awk with a program that cannot be told")
    # In a string these are only characters; but where strings are is sure only without regular expressions.
    text = rest[0]
    code = text if re.search("[/#]", text) else re.sub(r'"([^"\\\n]|\\.)*"', '""', text)
    writes = any(
        re.search(AWK_WRITES, each, re.DOTALL)
        for each in ([code] if code is text else re.split("[;}]", code))
    )
    return Runs(hazard="awk that runs or writes" if writes or re.search(AWK_RUNS, text) else "")


def tee(words: Sequence[str]) -> Runs:
    return Runs(writes=tuple(word for word in words[1:] if word not in ("-a", "--append", "-i", "-p")))


def make(words: Sequence[str]) -> Runs:
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if opaque(word) or re.match(r"--(ev|fi|mak|inc)|-[A-Za-z]*[EfI]", word):
            return Runs(hazard=word if not MARKED.search(word) else "make with a word that cannot be told")
        if equals and re.search(r"[$`]", value):
            return Runs(hazard=f"make {name}=")
    return Runs(variables=tuple(word for word in words[1:] if "=" in word and not word.startswith("-")))


def tar(words: Sequence[str]) -> Runs:
    if len(words) > 1 and re.fullmatch(r"[A-Za-z]*[IFT][A-Za-z]*", words[1]):
        return Runs(hazard=f"tar {words[1]}")
    # In a file's place, HOST:FILE is fetched by a program; -- may be the name of an archive.
    if far := next((word for word in words[1:] if re.match(r"[^/=]*:|--file=[^/]*:", word)), ""):
        return Runs(hazard=far)
    return by_option([word for word in words if word != "--"])


def rsync(words: Sequence[str]) -> Runs:
    usual = ["-e", "ssh"]
    return by_option(
        [
            word
            for at, word in enumerate(words)
            if usual not in ([*words[at : at + 2]], [*words[max(0, at - 1) : at + 1]])
        ]
    )


def by_option(words: Sequence[str]) -> Runs:
    pattern = OPTIONS[words[0].rpartition("/")[2]]
    for at, word in enumerate(words[1:], 1):
        if ends_options(words, at):
            break
        if re.match(pattern, word, re.DOTALL):
            return Runs(hazard=word.partition("=")[0])
        if opaque(word) and word:
            return Runs(hazard=f"{words[0]} with {COULD_BE}")
    return Runs()


CHECKS: dict[str, Callable[[Sequence[str]], Runs]] = {
    **dict.fromkeys(OPTIONS, by_option),
    "git": git.check,
    "find": find,
    "sed": sed,
    "awk": awk,
    "gawk": awk,
    "mawk": awk,
    "make": make,
    "gmake": make,
    "tar": tar,
    "tee": tee,
    "rsync": rsync,
}


def check(words: Sequence[str]) -> Runs:
    """Of a program that a rule allows: what it would run in turn, and what the rule must spell."""
    found = CHECKS.get(words[0].rpartition("/")[2])
    return found(words) if found else Runs()
