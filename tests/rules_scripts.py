"""Bash scripts for the fuzz: `ok` is allowed, `evil` is not, and often stands where it is only text."""

import random
from collections.abc import Callable


def items(text: str) -> tuple[str, ...]:
    return tuple(text.split(" ¦ "))


# What bash and a parser may come to see differently.
NASTY = items(
    "' ¦ \" ¦ \\ ¦ ` ¦ $ ¦ $( ¦ ${ ¦ $(( ¦ $' ¦ $\" ¦ (( ¦ )) ¦ [[ ¦ ]] ¦ ( ¦ ) ¦ { ¦ } ¦ [ ¦ ] ¦ "
    "; ¦ ;; ¦ ;& ¦ & ¦ && ¦ | ¦ || ¦ |& ¦ &> ¦ >& ¦ <( ¦ >( ¦ <<E ¦ <<-E ¦ <<'E' ¦ <<< ¦ \nE\n ¦ E ¦ "
    "\n ¦   ¦ \t ¦ \\\n ¦ # ¦  # ¦ ! ¦ != ¦ = ¦ += ¦ ~ ¦ * ¦ ? ¦ , ¦ .. ¦ {a,b} ¦ - ¦ -- ¦ : ¦ @ ¦ "
    "if ¦ then ¦ fi ¦ case ¦ in ¦ esac ¦ for ¦ do ¦ done ¦ while ¦ function ¦ time ¦ coproc ¦ "
    "select ¦ x ¦ x= ¦ $x ¦ ${x} ¦ $@ ¦ $1 ¦ ${x:- ¦ ${x# ¦ ${x/ ¦ ${!x} ¦ ${x@P} ¦ a[ ¦ evil ¦ ok ¦ "
    "no ¦ evil\n ¦ $(evil) ¦ `evil` ¦ <(evil) ¦ eval ¦ trap ¦ exec ¦ command ¦ builtin ¦ unset ¦ "
    "export ¦ read ¦ [  ¦  ] ¦ &evil ¦ ;evil ¦ |evil ¦ \nevil\n ¦ $(ok evil) ¦ $(ok) ¦ f() ¦ f () ¦ "
    "f ¦ \\' ¦ \\\" ¦ \\$ ¦ \\` ¦ \\\\"
)
VALUES = items(
    "'a[$(evil)]' ¦ a[\\$(evil)] ¦ 1 ¦ 2 ¦ evil ¦ /etc/e ¦ ../e ¦ /tmp/e ¦ 'evil; evil' ¦ "
    "'-v a[$(evil)]' ¦ $((1 + 1)) ¦ $(ok 1) ¦ x ¦ {1,2} ¦ * ¦  ¦ '$(evil)' ¦ y[x] ¦ -1"
)
TEXTS = items(
    "evil ¦ $(ok a) ¦ `ok a` ¦ it's ¦ a \"b ¦ \\$(evil) ¦ \\`evil\\` ¦ $x ¦ \tE ¦ E  ¦ # ¦ a \\\\ ¦ "
    "${x:-y} ¦ E) ¦ E a) ¦ E} ¦ $((1+2)) ¦ evil; evil ¦ E ¦ <(evil) ¦ $'evil' ¦ ' $(ok) ' ¦ "
    '"$(ok)"'
)
WORDS = items(
    "a ¦ evil ¦ 'evil' ¦ \"evil\" ¦ \\evil ¦ a\\;evil ¦ 'a;evil' ¦ \"a;evil\" ¦ #a ¦ a#evil ¦ $x ¦ "
    '"$x" ¦ ${x} ¦ ${x:-evil} ¦ "${x:-a b}" ¦ ${x#evil} ¦ ${#x} ¦ $# ¦ "$@" ¦ $* ¦ *.txt ¦ a* ¦ ~ ¦ '
    "{a,evil} ¦ '$(evil)' ¦ \"\\$(evil)\" ¦ '`evil`' ¦ \"\\`evil\\`\" ¦ \\$\\(evil\\) ¦ "
    "$'evil\\n' ¦ $'\\'evil' ¦ \\`evil\\` ¦ - ¦ -- ¦ -e ¦ a=evil ¦ 'a\nevil' ¦ \"a\nevil\" ¦ "
    "'' ¦ \"\" ¦ a''b ¦ \"a\"'b' ¦ [a] ¦ ? ¦ ! ¦ % ¦ @"
)
USES = items(
    "ok $((x)) ¦ ((x)) ¦ [[ $x -eq 1 ]] ¦ [[ x -lt 2 ]] ¦ ok ${y[x]} ¦ ok ${x:x} ¦ [ $x -eq 1 ] ¦ "
    '[ -v $x ] ¦ [ "$x" ] ¦ [ $x ] ¦ ok > $x ¦ ok > "$x" ¦ ok > "/tmp/$x" ¦ ok $x ¦ ok "$x" ¦ '
    "$x ok ¦ for ((i=x; i<2; i++)); do ok; done ¦ y[x]=1 ¦ let x ¦ ok ${x@P} ¦ ok ${!x} ¦ "
    'ok $(($x + 1)) ¦ printf -v $x y ¦ read $x <<< a ¦ declare $x ¦ unset $x ¦ eval $x ¦ eval "$x" ¦ '
    "trap $x EXIT ¦ cd $x; ok > e ¦ cd /; ok > e ¦ cd ..; ok > e ¦ cd /tmp && ok > e ¦ "
    "export x; bash -c 'ok $((x))'"
)


class Scripts:
    """Ever new ones, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.depth = 0

    def pick(self, *options: str) -> str:
        return self.random.choice(options)

    def script(self) -> str:
        kind = self.random.random()
        if kind < 0.1:
            return " ".join(self.random.choices(NASTY, k=self.random.randint(2, 12)))
        text = self.commands()
        return text if kind < 0.5 else self.spoilt(text)

    def spoilt(self, text: str) -> str:
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randint(0, len(text))
            to = at + self.random.choice((0, 0, 1, 1, 2, 5))
            text = text[:at] + self.random.choice(("", *NASTY)) + text[to:]
        return text

    def one_of(self, simple: tuple[Callable[[], str], ...], deep: tuple[Callable[[], str], ...]) -> str:
        self.depth += 1
        choices = simple if self.depth > 5 else (*simple, *deep)
        found = self.random.choice(choices)()
        self.depth -= 1
        return found

    def commands(self) -> str:
        parts = [self.command() for _ in range(self.random.choice((1, 1, 2, 3)))]
        return self.pick(
            "; ", "\n", " && ", " || ", " | ", " & ", " |& ", ";\n", " && \\\n", " # evil\n"
        ).join(parts)

    def command(self) -> str:
        return self.one_of((self.simple,) * 4, (*self.compounds(), self.simple, self.simple))

    def compounds(self) -> tuple[Callable[[], str], ...]:
        c, w = self.commands, self.word
        return (
            *self.variables(),
            lambda: f"( {c()} )",
            lambda: f"{{ {c()}\n}}",
            lambda: f"if {c()}\nthen {c()}\nelse {c()}\nfi",
            lambda: f"for x in {w()} {w()}; do {c()}\ndone",
            lambda: f"for ((i=0; i<2; i++)); do {c()}\ndone",
            lambda: f"while no {w()}; do {c()}\ndone",
            lambda: f"case {w()} in {w()}) {c()}\n;; {w()}|*) {c()}\n;; esac",
            lambda: f"[[ {w()} {self.pick('==', '!=', '=~', '<', '-nt')} {w()} ]]",
            lambda: f"[ {w()} {self.pick('=', '!=', '-eq', '-a')} {w()} ]",
            lambda: f"f() {{ {c()}\n}}\nf {w()}",
            lambda: f"(( i = {self.pick('1', '1 + 2', '(3)', 'i + 1', '16#ff', 'i++')} ))",
            lambda: f"! {c()}",
            lambda: f"ok <<{self.here()}",
            lambda: f"{self.pick('timeout 5', 'env A=1', 'nice', 'command', 'time', 'xargs -n1')} ok {w()}",
            lambda: f"bash -c {self.quoted(c())}",
            lambda: f"eval {self.quoted(c())}",
            lambda: f"trap {self.quoted(c())} EXIT",
            lambda: f"x={w()} ok {w()}",
            lambda: f'x={w()}; ok $x "$x"',
            lambda: f"i={self.pick('1', '$((i+1))', '$(ok 3 | wc -l)')}; ok $((i + 1))",
        )

    def variables(self) -> tuple[Callable[[], str], ...]:
        """What bash may run because of what a variable holds, or write where one says."""
        w, value = self.word, self.value

        def use() -> str:
            return self.pick(*USES)

        return (
            lambda: f"x={value()}\n{use()}",
            lambda: f"read -r x <<< {value()}; {use()}",
            lambda: f"for x in {value()} {w()}; do {use()}\ndone",
            lambda: f"f() {{ x=$1; {use()}\n}}; f {value()}",
            lambda: f"f() {{ ok $(($1)); }}; f {value()}",
            lambda: f"printf -v x %s {value()}; {use()}",
            lambda: f"declare x={value()}; {use()}",
            lambda: f"local x={value()}; {use()}",
            lambda: f"export x={value()}; {use()}",
            lambda: f": ${{x:={value()}}}; {use()}",
            lambda: f"set -- {value()}; x=$1; {use()}",
            lambda: f"x=1; x={value()}; {use()}",
            lambda: f"{use()}; x={value()}; {use()}",
            lambda: f"y={value()}; x=$y; {use()}",
            lambda: f"ok {value()}; ok $((_))",
            lambda: f"x={value()} {use()}",
            lambda: f"while read -r x; do {use()}\ndone <<< {value()}",
            lambda: f"mapfile -t x <<< {value()}; {use()}",
            lambda: self.pick("false && ", "", ": | ", "if no; then ") + "evil() { ok; }; evil",
            lambda: (
                "evil() { ok; }; "
                + self.pick("unset evil", "unset -f evil", "command evil", "env evil", "ok")
                + "; evil"
            ),
        )

    def value(self) -> str:
        return self.pick(*VALUES)

    def here(self) -> str:
        mark = self.pick("E", "'E'", '"E"', "-E")
        inside = "\n".join(self.text() for _ in range(self.random.randint(0, 3)))
        return f"{mark}{self.pick('', ' | ok', '; ok', ' > a')}\n{inside}\nE\n"

    def text(self) -> str:
        return self.pick(*TEXTS)

    def simple(self) -> str:
        words = [self.pick("ok", "ok", "ok", "ok", "echo", "printf '%s\\n'", "true", ":", "ok")]
        words += [self.word() for _ in range(self.random.randint(0, 3))]
        if self.random.random() < 0.15:
            target = self.pick(
                "a", "/tmp/b", "../c", "/e", "$x", "~/d", "/dev/null", "/state/../f", "a/../b", "/home/g"
            )
            words.append(self.pick(">", ">>", "2>", "&>", ">|", "<>", "3>") + target)
        return " ".join(words)

    def word(self) -> str:
        plain = self.pick(*WORDS)
        return self.one_of(
            (lambda: plain,) * 3, (self.substitution, lambda: f'"{self.substitution()} b"', lambda: plain)
        )

    def substitution(self) -> str:
        c = self.commands
        return self.random.choice(
            (
                lambda: f"$({c()})",
                lambda: f"$({c()}\n)",
                lambda: "`ok a`",
                lambda: f"<({c()})",
                lambda: f"${{x:-$({c()})}}",
                lambda: f"$(ok <<{self.here()})",
                lambda: f"$(( $(ok 3 | wc -l) + {self.pick('1', 'i', 'evil')} ))",
                lambda: "$(<a.txt)",
                lambda: "$(case a in a) ok b;; esac)",
            )
        )()

    def quoted(self, text: str) -> str:
        return self.pick("'" + text.replace("'", "'\\''") + "'", '"' + text.replace('"', '\\"') + '"')
