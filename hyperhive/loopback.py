"""What pages on a loopback port may be called."""

import socket

NAMES = ("127.0.0.1", "localhost", "[::1]")


def port_of(sockets: list[socket.socket]) -> int | None:
    inet = (socket.AF_INET, socket.AF_INET6)
    return next((sock.getsockname()[1] for sock in sockets if sock.family in inet), None)
