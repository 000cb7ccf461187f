"""Where a command may write: the agent's own folders, and nowhere by a detour."""

import os
import re
from collections.abc import Callable, Iterable

from hyperhive.rules.values import COUNT, HOME, TAME, UNKNOWN

WRITABLE = ("/state", HOME, "/shared", "/tmp")  # noqa: S108
HARMLESS = r"/dev/(null|stdout|stderr|fd/[0-9]+)"
NETWORK = r"/dev/(tcp|udp)(/|$)"
# What a shell, git, ssh, pip, npm or the CLI reads by itself: who writes it decides what they run.
STARTUP = (
    rf"{HOME}/\.(bash\w*|profile|inputrc|gitconfig|config|ssh|npmrc|pip|pypirc|netrc|curlrc|wgetrc"
    rf"|claude(\.json)?"
    r"|local|vimrc|vim|exrc|hyperhive-session|cargo|gnupg)(/|$)|.*/\.git/(config|hooks|info|modules)(/|$)"
)


def fault(path: str, folders: Iterable[str] | None) -> str:
    """Why it may not write there, or "". `folders`: where the command may be by then; None: anywhere."""
    if not path or re.fullmatch(HARMLESS, path):  # bash refuses the empty one
        return ""
    if UNKNOWN.search(path) or path.startswith(TAME) or (not path.startswith("/") and folders is None):
        return "where it would write cannot be told"
    return wrong(path, folders, os.path.realpath)


def told(path: str, folders: Iterable[str] | None, *, itself: bool) -> str:
    """The same of what a program is given, as far as it can be told: much of it comes from loops.

    `itself`: the entry, and not what it leads to if it is a link.
    """
    known, *rest = UNKNOWN.split(path)
    known = known[: known.rfind("/") + 1] if rest else known
    if not known or re.fullmatch(HARMLESS, known) or known.startswith(TAME):
        return ""
    if not known.startswith("/") and folders is None:
        return ""
    if itself and not rest:
        return wrong(known.rstrip("/") or "/", folders, beside)
    return wrong(f"{known}/x", folders, os.path.realpath)  # it may be a folder


def beside(place: str) -> str:
    folder, _, name = os.path.normpath(place).rpartition("/")
    return f"{os.path.realpath(folder or '/')}/{name}"


def wrong(path: str, folders: Iterable[str] | None, real: Callable[[str], str]) -> str:
    if re.search(r"[^./]/+\.\.(/|$)|^/+\.\.|\.\./.*[^./].*/\.\.", path):
        return "a path that goes up again, past what may be a link"
    for folder in [""] if path.startswith("/") else folders or ():
        place = f"{folder}/{path}".replace(TAME, "1").replace(COUNT, "1")
        for each in (os.path.normpath(place), real(place)):
            if why := misplaced("/" + each.lstrip("/")):
                return why
    return ""


def misplaced(place: str) -> str:
    if not any(place.startswith(folder + "/") for folder in WRITABLE):
        return f"it would write outside {', '.join(WRITABLE[:-1])} and {WRITABLE[-1]}"
    if re.match(STARTUP, place):
        return "it would write what other programs take their orders from"
    return ""
