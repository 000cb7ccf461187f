"""What is a host, to whom, and which rule lets an agent go there: for all that a cage can write."""

import re
import socket
import string
from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from hyperhive.gate import egress
from hyperhive.gate.egress import Target
from hyperhive.problem import Problem

WRITTEN = st.text(string.printable, max_size=30)
NUMBERS = st.sampled_from(
    ["0", "1", "127", "0177", "0x7f", "255", "256", "65535", "2130706433", "1e1", "", "a"]
)
HOSTS = st.lists(NUMBERS | st.sampled_from(["org", "example", "*", "xn--a", "a_b"]), max_size=6).map(
    ".".join
)
PORTS = st.sampled_from(["", "0", "1", "443", "0443", "65535", "65536", "+1", " 1", "\u0661"])
SAID = WRITTEN | st.tuples(HOSTS, PORTS).map(":".join)


def target(said: str) -> Target | None:
    try:
        return egress.target(said)
    except Problem as e:
        assert e.code == "bad-host" and str(e).isprintable()
        return None


@given(SAID)
@settings(deadline=None)
def test_what_is_taken_for_a_host_means_the_same_to_everybody(said: str) -> None:
    if not (to := target(said)):
        return
    assert str(to) == said.lower() and 0 < to.port < 65536
    try:
        address = socket.inet_aton(to.host)  # what resolvers take for an address
    except OSError:
        assert re.search(r"[a-z]", to.host)
    else:
        assert socket.inet_ntoa(address) == to.host


@given(SAID, st.lists(SAID | SAID.map("*.{}".format), max_size=3))
@settings(deadline=None)
def test_a_rule_lets_its_host_pass_and_what_is_below_if_it_says_so(said: str, rules: list[str]) -> None:
    allow = [rule for rule in rules if re.fullmatch(egress.RULE, rule, re.ASCII)]
    if to := target(said):
        fits = [
            rule for rule in allow if rule == str(to) or (rule[:2] == "*." and str(to).endswith(rule[1:]))
        ]
        assert egress.rule_for(to, allow) == next(iter(fits), None)


@given(SAID, st.sampled_from(["", "/", "/a%20b?c", "?x", "/#x"]))
@settings(deadline=None)
def test_a_url_leads_where_its_host_says(said: str, rest: str) -> None:
    try:
        to, path = egress.absolute(f"http://{said}{rest}")
    except Problem:
        return
    parts = urlsplit(f"http://{said}{rest}")
    assert (to.host, to.port) == (parts.hostname, parts.port or 80)
    assert parts.username is None and not parts.fragment and path.startswith(parts.path)
