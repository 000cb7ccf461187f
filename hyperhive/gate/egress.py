"""Where an agent may go, as its agent.toml allows it and as a request names it. Standard library only."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hyperhive.problem import Problem

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
# The last part of a name begins with a letter: 127.1, 2130706433 and 0x7f.1 are addresses to some resolvers.
NAME = rf"({LABEL}\.)*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?"
IPV4 = rf"({BYTE}\.){{3}}{BYTE}"
PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
RULE = rf"(?=.{{1,253}}:)((\*\.)?{NAME}|{IPV4}):{PORT}"
HOST = re.compile(rf"(?=.{{1,253}}$)({NAME}|{IPV4})", re.ASCII)
HTTP_PORT = 80
SHOWN = 200  # characters of what is refused
# By which rule hive-gate(8) refuses a connection, in words.
REFUSALS = {
    "host": "what it asked for is no host",
    "allow": "it is not in [egress] allow",
    "address": "an address of it is not of the internet",
    "bytes": "the bytes of that hour were used up",
    "provider": "it would have had the model's provider go there",
    "connections": "it had too many connections at once",
}


@dataclass(frozen=True)
class Target:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def target(said: str) -> Target:
    """Of a CONNECT."""
    host, colon, port = said.rpartition(":")
    if not colon or "]" in port:
        raise odd(said, "it has no port")
    if not re.fullmatch(PORT, port, re.ASCII):
        raise odd(said, "its port is no number from 1 to 65535")
    return Target(name(host, said), int(port))


def name(host: str, said: str) -> str:
    lower = host.lower()
    if not HOST.fullmatch(lower):
        raise odd(said, next(why for pattern, why in WRONG if re.search(pattern, lower)))
    return lower


# the first that fits
WRONG = (
    (r"@", "it has a user in it"),
    (r"%", "it has percent codes in it"),
    (r"[\[\]:]", "IPv6 addresses are not taken, only names"),
    (r"\.$", "it ends in a dot"),
    (r"[^\x20-\x7e]", "write an international name in ASCII (xn--…)"),
    (r"^[0-9.]+$|(^|\.)0x[0-9a-f]*($|\.)", "it is an address in another form than four decimal numbers"),
    (r"", "it is no host name"),
)


def odd(said: str, why: str) -> Problem:
    return Problem("bad-host", f"{said[:SHOWN]!r} is no HOST:PORT: {why}")


def absolute(url: str) -> tuple[Target, str]:
    """Of a request for a whole URL: where to, and what to ask for there."""
    found = re.fullmatch(r"([a-z][a-z0-9+.-]*)://([^/?#]*)([^#]*)", url, re.ASCII | re.IGNORECASE)
    if not found:
        raise Problem("bad-host", f"{url[:SHOWN]!r} is neither a path nor a URL without a fragment")
    scheme, authority, rest = found[1].lower(), found[2], found[3]
    if scheme != "http":
        raise Problem("bad-host", f"{url[:SHOWN]!r}: only http:// passes as a URL; CONNECT for the rest")
    to = target(authority) if re.search(r":[0-9]*$", authority) else None
    return to or Target(name(authority, authority), HTTP_PORT), rest if rest.startswith("/") else f"/{rest}"


def rule_for(to: Target, allow: Iterable[str]) -> str | None:
    """The first rule that lets an agent go there."""
    for rule in allow:
        host, _, port = rule.rpartition(":")
        below = host.startswith("*.") and to.host.endswith(host[1:])
        if int(port) == to.port and (host == to.host or below):
            return rule
    return None
