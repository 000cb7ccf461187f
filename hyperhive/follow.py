"""A connection ends with the process that made it: what that one passed it on to is somebody else."""

import asyncio
import os
import socket
from collections.abc import Callable

from hyperhive.peers import CREDENTIALS


def process_of(sock: socket.socket) -> int:
    """0 when it is in no namespace of processes that we can see."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(data)[0])


def follow(sock: socket.socket, gone: Callable[[], None]) -> Callable[[], None]:
    """Calls when the process has ended. To be called within the loop; gives what stops it."""
    loop = asyncio.get_running_loop()
    if not (pid := process_of(sock)):
        return lambda: None
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        loop.call_soon(gone)
        return lambda: None

    def stop() -> None:
        loop.remove_reader(process)
        os.close(process)

    loop.add_reader(process, gone)
    return stop
