"""What pages on a loopback port may be called, and the cookie of each."""

import socket

NAMES = ("127.0.0.1", "localhost", "[::1]")


def port_of(sockets: list[socket.socket]) -> int | None:
    inet = (socket.AF_INET, socket.AF_INET6)
    return next((sock.getsockname()[1] for sock in sockets if sock.family in inet), None)


def cookie(origin: str) -> str:
    """Of who is signed in to the page there; a browser sends it to all ports of a host, so it names one."""
    scheme, _, host = origin.partition("://")
    port = host.rpartition("]")[2].partition(":")[2]
    name = f"hive-{port}" if port else "hive"
    # a browser takes such a one over https only, for this very host and from nobody else
    return f"__Host-{name}" if scheme == "https" else name
