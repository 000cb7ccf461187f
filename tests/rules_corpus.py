"""The lists of tests/rules: a command per line, ⏎ for a line break, ⟦200B⟧ for a character unseen."""

import re
from collections.abc import Iterator

from tests.hive import ROOT

FOLDER = ROOT / "tests/rules"
RULES = (FOLDER / "rules.txt").read_text().splitlines()


def commands(name: str) -> Iterator[tuple[str, str]]:
    """Group and command."""
    group = ""
    for line in (FOLDER / name).read_text().splitlines():
        if re.fullmatch(r"\[[a-z][a-z, ]+\]", line):
            group = line[1:-1]
        elif line:
            text = line.replace("⏎", "\n")
            yield group, re.sub("⟦([0-9A-F]+)⟧", lambda found: chr(int(found[1], 16)), text)
