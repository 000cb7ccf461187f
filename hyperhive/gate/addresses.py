"""Which addresses are the internet's: what a name of a stranger must not lead to."""

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from hyperhive.gate.egress import PORT
from hyperhive.problem import EX_CONFIG, Problem

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Opening = tuple[Network, int]

# IANA's special-purpose registries, written out: what Python calls global differs between its versions
KINDS = {
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier-grade NAT",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "cloud metadata",
    "169.254.0.0/16": "link-local or cloud metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "6to4 relay",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved or broadcast",
    "::/128": "unspecified",
    "::1/128": "loopback",
    "2001::/23": "reserved or Teredo",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "3fff::/20": "documentation",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "ff00::/8": "multicast",
}
NETWORKS: list[tuple[Network, str]] = [(ip_network(network), kind) for network, kind in KINDS.items()]
GLOBAL6 = ip_network("2000::/3")
NAT64 = ip_network("64:ff9b::/96")


def meant(address: Address) -> Address:
    """The IPv4 address where the packets end up, if it is wrapped in an IPv6 one."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address
    return address


def kind(address: Address) -> str | None:
    """What it is instead of an address of the internet."""
    found = next((kind for network, kind in NETWORKS if address in network), None)
    if found or address.version == 4 or address in GLOBAL6:
        return found
    return "reserved"


def is_of_this_host(address: Address) -> bool:
    """A packet to one of the host's own addresses comes from that address. None is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        try:
            s.connect((str(address), 9))
        except OSError:
            return False  # no way there
        return bool(ip_address(s.getsockname()[0].partition("%")[0]) == address)


def opening(said: str, where: str) -> Opening:
    """ADDRESS[/BITS]:PORT, an IPv6 one in brackets."""
    found = re.fullmatch(rf"(\[(?P<six>[^\]]+)\]|(?P<four>[^\[\]:]+)):(?P<port>{PORT})", said, re.ASCII)
    try:
        if not found:
            raise ValueError(f"{said!r} is no ADDRESS[/BITS]:PORT")
        return ip_network(found["six"] or found["four"]), int(found["port"])
    except ValueError as e:
        raise Problem("bad-config", f"{where}: 'egress.private': {e}", exit_status=EX_CONFIG) from e


def refusal(said: str, port: int, private: Iterable[Opening]) -> str | None:
    """Why nobody may be connected to this address."""
    ends = meant(ip_address(said.partition("%")[0]))
    if any(port == open_port and ends in network for network, open_port in private):
        return None
    return kind(ends) or ("of this host" if is_of_this_host(ends) else None)
