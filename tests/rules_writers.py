"""Command lines of programs that write, for the fuzz: options in any order, place and spelling."""

import random

PATHS = (
    "a.txt ./a.txt d d/ /state/d /state/d/new new /tmp/new ~/new /home/agent/new /shared/new . ./d/new $x"
    " .. ../outside ../outside/a ../new / /outside /outside/ /outside/a /outside/d /outside/new"
    " /outside/d/../new /state/../outside/a /state/../new d/../../outside/new /tmp/../new //outside/a"
    " '/outside/a' /outs'ide/new' \"/outside/new\" /{outside,tmp}/new /outside/* /out*/new - /home /home/new"
).split()
# Options alone; those with a value; and what else such a program is given first.
PROGRAMS = {
    "cp": ("a f n r R v T u s l --force --recursive --parents", "S t --suffix --target-directory", ""),
    "mv": ("f n v T u --force --verbose", "S t --suffix --target-directory", ""),
    "ln": ("s f n T v r --symbolic --force", "S t --suffix --target-directory", ""),
    "install": ("d D v p T C --directory", "m t S --mode --target-directory", ""),
    "touch": ("a c m h --no-create", "d t r --date --reference", ""),
    "truncate": ("c o --no-create", "s r --size --reference", ""),
    "mkdir": ("p v --parents", "m --mode", ""),
    "rm": ("r f v d --recursive --force", "", ""),
    "rmdir": ("p v --parents", "", ""),
    "chmod": ("R v f --recursive", "--reference", "755 u+x -x -rw,u=x"),
    "tee": ("a i p --append", "", ""),
    "dd": ("", "", "if=a.txt of=new of=/outside/new of=/outside/a count=1"),
    "sort": ("u r n m c --unique", "o k t S --output --key --field-separator", ""),
    "sed": ("n E r s i --in-place --quiet", "e --expression", "s/a/b/ p"),
    "split": ("d e --verbose", "l a --lines --suffix-length", ""),
    "tar": ("x c t v O --extract --create --list", "f C --file --directory --exclude",
            "x xf cf cfC xCf xfC tvf"),
    "gzip": ("f k c d n v --keep --stdout --force", "S --suffix", ""),
    "mktemp": ("d u q t --directory", "p --suffix", "new.XXXX /outside/new.XXXX /tmp/new.XXXX"),
    "curl": ("s f L O --silent --fail --remote-name", "o D A --output --dump-header --output-dir",
             "file:///outside/a"),
    "git": ("q --quiet --bare", "C", "init"),
}  # fmt: skip
VALUES = {
    "s": "1", "l": "1", "a": "2", "m": "755", "k": "1", "t": ":", "S": ".x", "d": "1999-01-01",
    "--size": "1", "--lines": "1", "--suffix-length": "2", "--mode": "755", "--key": "1",
    "A": "x", "e": "p", "--field-separator": ":", "--suffix": ".x", "--date": "1999-01-01",
    "--expression": "p", "--exclude": "x",
}  # fmt: skip
FOLDERS = (
    "",
    "",
    "",
    "cd d; ",
    "cd /tmp; ",
    "cd /outside; ",
    "cd /; ",
    "x=/outside/new; ",
    "x=new; ",
)


class Lines:
    """Ever new ones, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311

    def line(self) -> str:
        name = self.random.choice([*PROGRAMS])
        alone, valued, first = (each.split() for each in PROGRAMS[name])
        rest: list[list[str]] = [
            [self.random.choice(PATHS)] for _ in range(self.random.choice((0, 1, 1, 2, 2, 3)))
        ]
        if first:
            rest.insert(0, [self.random.choice(first)])
        for _ in range(self.random.choice((0, 0, 1, 1, 2))):
            if alone:
                rest.insert(self.random.randint(0, len(rest)), [self.flag(self.random.choice(alone))])
        for _ in range(self.random.choice((0, 0, 1, 2))):
            if valued:
                option = self.with_value(name, self.random.choice(valued), alone)
                rest.insert(self.random.randint(0, len(rest)), option)
        if self.random.random() < 0.1:
            rest.insert(self.random.randint(0, len(rest)), ["--"])
        words = [name, *(word for each in rest for word in each)]
        return self.random.choice(FOLDERS) + " ".join(words) + self.random.choice(("", "", " < a.txt"))

    def flag(self, name: str) -> str:
        return name if name.startswith("--") else f"-{name}"

    def with_value(self, program: str, name: str, alone: list[str]) -> list[str]:
        usual = VALUES.get(name, "")
        path = name in ("--reference", "-r") or (
            name == "t" and program in ("cp", "mv", "ln", "install", "touch")
        )
        value = self.random.choice(PATHS) if path or not usual or self.random.random() < 0.1 else usual
        if name.startswith("--"):
            short = name[: self.random.randint(4, len(name))] if self.random.random() < 0.3 else name
            return self.random.choice(([short, value], [f"{short}={value}"]))
        letters = [each for each in alone if len(each) == 1]
        before = "".join(self.random.sample(letters, min(len(letters), self.random.choice((0, 0, 1, 2)))))
        return self.random.choice(([f"-{before}{name}", value], [f"-{before}{name}{value}"]))
