"""Where programs that everybody knows write, by the operands and options that say so."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hyperhive.rules.values import opaque

HERE = "."


class Place(NamedTuple):
    path: str
    itself: bool = False  # the entry is made or removed: where it leads to, if it is a link, does not matter


class Writer(NamedTuple):
    """`takes`: options with a value, that may be the next word. `writes`: those whose value is written."""

    which: str = ""  # operands that are written: all, last, first, second
    takes: str = ""
    writes: str = ""
    itself: bool = False


BACKUP = "-S --suffix"
WRITERS = {
    "cp": Writer("last", BACKUP, "-t --target-directory"),
    "install": Writer("last", f"{BACKUP} -m --mode -o --owner -g --group", "-t --target-directory"),
    "ln": Writer("last", BACKUP, "-t --target-directory"),
    "mv": Writer("last", BACKUP, "-t --target-directory"),
    "touch": Writer("all", "-d --date -t -r --reference"),
    "truncate": Writer("all", "-s --size -r --reference"),
    "mkdir": Writer("all", "-m --mode"),
    "mkfifo": Writer("all", "-m --mode"),
    "mknod": Writer("first", "-m --mode"),
    "rm": Writer("all", itself=True),
    "rmdir": Writer("all", itself=True),
    "unlink": Writer("all", itself=True),
    "shred": Writer("all", "-n --iterations -s --size --random-source"),
    "sort": Writer(
        "", "-k --key -S --buffer-size -t --field-separator -T --temporary-directory --sort --parallel"
        " --batch-size --files0-from --compress-program", "-o --output",
    ),
    "split": Writer(
        "second", "-a --suffix-length -b --bytes -C --line-bytes -l --lines -n --number -t --separator"
        " --additional-suffix --filter",
    ),
    "mktemp": Writer("all", "--suffix", "-p --tmpdir"),
    "unzip": Writer("", "-P -x", "-d"),
    "zip": Writer("first", "-b -n -t -tt -P -s -x -i", "-O --output-file"),
    "patch": Writer(
        "first", "-p --strip -i --input -F --fuzz -D --ifdef -B --prefix -z --suffix -Y -V -g --get",
        "-o --output -d --directory -r --reject-file",
    ),
    "rsync": Writer(
        "last", "-e --rsh -f --filter -B --block-size -M --remote-option -T --temp-dir --exclude --include"
        " --exclude-from --include-from --files-from --rsync-path --suffix --link-dest --copy-dest"
        " --compare-dest --port --bwlimit --timeout --contimeout --max-size --min-size --chmod --chown"
        " --usermap --groupmap --out-format --info --debug --password-file --skip-compress --modify-window"
        " --max-delete --partial-dir --address --sockopts --iconv --checksum-seed --read-batch",
        "--log-file --write-batch --only-write-batch",
    ),
    "scp": Writer("last", "-c -D -F -i -J -l -o -P -S -X"),
    "curl": Writer(
        "", "-A -b -C -d -e -E -F -H -K -m -P -Q -r -t -T -u -U -w -x -X -y -Y -z"
        " --user-agent --cookie --continue-at --data --data-raw --data-binary --data-urlencode --json"
        " --referer --cert --form --form-string --header --config --max-time --retry --retry-delay"
        " --retry-max-time --connect-timeout --quote --range --upload-file --user --proxy-user --write-out"
        " --proxy --request --time-cond --url --resolve --cacert --capath --key --max-redirs --limit-rate"
        " --interface --noproxy --unix-socket --ciphers --url-query",
        "-o --output --output-dir -D --dump-header -c --cookie-jar --trace --trace-ascii --stderr"
        " --etag-save --libcurl --hsts --alt-svc",
    ),
    "wget": Writer(
        "", "-e --execute -i --input-file -B --base -t --tries -T --timeout -w --wait -Q --quota -l --level"
        " -A --accept -R --reject -D --domains -I --include-directories -X --exclude-directories -U"
        " --user-agent --user --password --header --post-data --post-file --method --body-data --body-file"
        " --waitretry --limit-rate --referer --cut-dirs --load-cookies --ca-certificate --config",
        "-O --output-document -P --directory-prefix -o --output-file -a --append-output --save-cookies"
        " --warc-file",
    ),
}  # fmt: skip
# Those that put a file beside, or in the place of, each that they are given.
PACKERS = tuple("gzip gunzip bzip2 bunzip2 xz unxz zstd unzstd lzma unlzma".split())
for packer in PACKERS:
    WRITERS[packer] = Writer("all", "-S --suffix -T --threads -M --memlimit")
MODE = re.compile(r"-[rwxXstugo]+([-+=,].*)?")


class Line(NamedTuple):
    operands: tuple[str, ...]
    options: tuple[tuple[str, str], ...]  # as they are called in the table, with their values

    def has(self, *names: str) -> bool:
        return any(name in names for name, _ in self.options)


def read(words: Sequence[str], takes: Sequence[str]) -> Line:
    """As getopt_long(3) does it: options may come after operands, and be cut short or put together."""
    rest, operands, options = [*words], list[str](), list[tuple[str, str]]()
    while rest:
        word = rest.pop(0)
        if word == "--":
            operands += rest
            break
        if opaque(word) or not word.startswith("-") or word == "-":
            operands.append(word)
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            full = name if name in takes else next((each for each in takes if each.startswith(name)), "")
            if full and not equals:
                value = rest.pop(0) if rest else ""
            options.append((full or name, value))
        else:
            options += cluster(word, takes, rest)
    return Line(tuple(operands), tuple(options))


def cluster(word: str, takes: Sequence[str], rest: list[str]) -> list[tuple[str, str]]:
    """-xvf FILE"""
    found: list[tuple[str, str]] = []
    for at, letter in enumerate(word[1:], 2):
        if f"-{letter}" in takes:
            return [*found, (f"-{letter}", word[at:] or (rest.pop(0) if rest else ""))]
        found.append((f"-{letter}", ""))
    return found


def by_table(words: Sequence[str]) -> Line:
    writer = WRITERS[words[0]]
    return read(words[1:], [*writer.writes.split(), *writer.takes.split()])


def chosen(writer: Writer, line: Line) -> Sequence[str]:
    every = line.operands
    if writer.which == "last":
        into = line.has("-t", "--target-directory")
        return every[-1:] if len(every) > 1 and not into else ()
    return {"all": every, "first": every[:1], "second": every[1:2]}.get(writer.which, ())


def usual(words: Sequence[str]) -> list[Place]:
    writer = WRITERS[words[0]]
    line = by_table(words)
    found = [Place(value) for name, value in line.options if name in writer.writes.split()]
    return found + [Place(each, writer.itself) for each in chosen(writer, line)]


def copy(words: Sequence[str]) -> list[Place]:
    """Into a folder, under the name that it has; and mv takes it away from where it is."""
    writer, line = WRITERS[words[0]], by_table(words)
    if words[0] == "install" and line.has("-d", "--directory"):
        return [Place(each) for each in line.operands]
    into = [value for name, value in line.options if name in ("-t", "--target-directory")]
    sources = line.operands if into else line.operands[:-1]
    into = into or [*chosen(writer, line)] or [HERE]
    found = [Place(each) for each in into]
    for source in sources:
        name = source.rstrip("/").rpartition("/")[2]
        found += [Place(f"{each}/{name}") for each in into if name not in ("", ".", "..")]
        found += [Place(source, itself=True)] if words[0] == "mv" else []
    return found


def change(words: Sequence[str]) -> list[Place]:
    """chmod's mode may look like an option."""
    modes = [word for word in words[1:] if words[0] == "chmod" and MODE.fullmatch(word)]
    line = read([word for word in words[1:] if word not in modes], ["--from"])
    return [Place(each) for each in line.operands[not (modes or line.has("--reference")) :]]


def sed(words: Sequence[str]) -> list[Place]:
    edits = r"-[nErsuz]*i.*|--in-p.*"
    if not any(re.fullmatch(edits, word) for word in words[1:]):
        return []
    line = read(
        [word for word in words[1:] if not re.fullmatch(edits, word)],
        "-e --expression -f --file -l --line-length".split(),
    )
    scripts = line.has("-e", "--expression", "-f", "--file")
    return [Place(each) for each in line.operands[not scripts :]]


def dd(words: Sequence[str]) -> list[Place]:
    return [Place(word[3:]) for word in words[1:] if word.startswith("of=")]


def not_out(places: Sequence[Place]) -> list[Place]:
    """- is the standard output."""
    return [place for place in places if place.path != "-"]


def curl(words: Sequence[str]) -> list[Place]:
    named = by_table(words).has("-O", "--remote-name", "--remote-name-all")
    return not_out([*usual(words), *([Place(HERE)] if named else [])])


def or_here(words: Sequence[str]) -> list[Place]:
    return usual(words) or [Place(HERE)]


def wget(words: Sequence[str]) -> list[Place]:
    names = "-O --output-document -P --directory-prefix --spider".split()
    return not_out([*usual(words), *([] if by_table(words).has(*names) else [Place(HERE)])])


def unzip(words: Sequence[str]) -> list[Place]:
    if by_table(words).has(*"-l -p -t -v -z -Z -c".split()):
        return []
    return usual(words) or [Place(HERE)]


def zipped(words: Sequence[str]) -> list[Place]:
    return not_out(usual(words))


def pack(words: Sequence[str]) -> list[Place]:
    reads = by_table(words).has(*"-c --stdout --to-stdout -l --list -t --test".split())
    return [] if reads else not_out(usual(words))


def remote(words: Sequence[str]) -> list[Place]:
    """HOST:PATH is another machine's."""
    return [place for place in usual(words) if not re.match(r"[^/]*:", place.path)]


TAR_TAKES = (
    "-f --file -C --directory -b --blocking-factor -g --listed-incremental -H --format -K --starting-file -L"
    " --tape-length -N --newer -V --label -X --exclude-from --exclude --transform --xform --owner --group"
    " --mode --mtime --strip-components --suffix --sort --level --warning --index-file --one-top-level"
).split()


def tar(words: Sequence[str]) -> list[Place]:
    """It unpacks where it is, or after -C; what it packs, it writes to the archive."""
    rest = [*words[1:]]
    if rest and not rest[0].startswith("-") and not opaque(rest[0]):
        # Of the old way, the letters that want a value take the next words, in their order.
        letters, rest = rest[0], rest[1:]
        values = [
            f"-{letter}{rest.pop(0) if rest else ''}" for letter in letters if f"-{letter}" in TAR_TAKES
        ]
        rest = [*values, "-" + "".join(each for each in letters if f"-{each}" not in TAR_TAKES), *rest]
    line = read(rest, TAR_TAKES)
    if line.has("-x", "--extract", "--get") and not line.has("-O", "--to-stdout"):
        folders = [value for name, value in line.options if name in ("-C", "--directory", "--one-top-level")]
        return [*map(Place, folders or [HERE])]
    packs = "-c --create -r --append -u --update -A --catenate --concatenate --delete".split()
    archives = [value for name, value in line.options if name in ("-f", "--file")]
    return not_out([*map(Place, archives)]) if line.has(*packs) else []


GIT_TAKES = {
    "clone": "-b --branch -o --origin -u --upload-pack -c --config --depth --reference --template -j --jobs"
    " --filter --shallow-since --shallow-exclude --server-option --bundle-uri --separate-git-dir",
    "init": "-b --initial-branch --template --object-format --separate-git-dir",
    "worktree": "-b -B --reason",
    "format-patch": "-o --output-directory",
    "bundle": "",
}


def git(words: Sequence[str]) -> list[Place]:
    """New folders and files; what it does to a repository that is there is the repository's."""
    rest, folder = [*words[1:]], ""
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        value = rest.pop(0) if word in ("-C", "-c", "--git-dir", "--work-tree") and rest else ""
        if word == "-C":
            folder = value if value.startswith("/") else f"{folder}{value}"
            folder += "/"
    if not rest or rest[0] not in GIT_TAKES:
        return []
    name, line = rest[0], read(rest[1:], GIT_TAKES[rest[0]].split())
    options = (
        ("--separate-git-dir", "-o", "--output-directory") if name != "clone" else ("--separate-git-dir",)
    )
    found = [value for option, value in line.options if option in options]
    if name == "clone":
        found += line.operands[1:2] or [HERE]
    elif name == "init":
        found += line.operands[:1] or [HERE]
    elif line.operands[:1] in (("add",), ("create",)):
        found += line.operands[1:2]
    # From where a work tree goes up to is its repository's, not where we are.
    found = [each for each in found if name != "worktree" or not each.startswith("..")]
    return [Place(each if each.startswith("/") else folder + each) for each in found]


CHECKS: dict[str, Callable[[Sequence[str]], list[Place]]] = {
    **dict.fromkeys(WRITERS, usual),
    **dict.fromkeys("cp mv ln install".split(), copy),
    **dict.fromkeys("chmod chown chgrp".split(), change),
    **dict.fromkeys(PACKERS, pack),
    **dict.fromkeys("rsync scp".split(), remote),
    "curl": curl,
    "dd": dd,
    "git": git,
    "sed": sed,
    **dict.fromkeys(("patch", "split"), or_here),
    "tar": tar,
    "unzip": unzip,
    "wget": wget,
    "zip": zipped,
}


def places(words: Sequence[str]) -> list[Place]:
    name = words[0].rpartition("/")[2]
    return CHECKS[name]([name, *words[1:]]) if name in CHECKS else []
