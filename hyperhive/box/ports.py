"""The ports of a box: listened on out here, answered in there, so that a browser here sees its pages."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
from pathlib import Path

from hyperhive.problem import EX_CONFIG, Problem

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
FIRST, LAST = 7000, 7098
# hive-web's port, and the one after it: hive-explore relies on that
PAGE = "hive-web.socket"
UNITS = {
    PAGE: "/run/hyperhive/web.sock",
    "hive-explore.socket": "/run/hyperhive/explore.sock",
}
LISTEN = """\
[Socket]
# those that hive-box listens on outside of the box
ListenStream=
ListenStream={host}:{port}
ListenStream={path}
"""
PROXY = "/usr/lib/systemd/systemd-socket-proxyd"
# systemd-run hands on its standard files and no others
AS_LISTENER = """
exec 3<&0 4>&1 </dev/null >/dev/null 2>&1
export LISTEN_FDS=1 LISTEN_PID=$$
echo ready >&4
exec 4>&- "$@"
"""
CONNECTIONS = 600


def listen(port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        sockets += (socket.create_server((HOST, port + n), backlog=128) for n in range(len(UNITS)))
    except OSError:
        close(sockets)
        raise
    return sockets


def take(port: int | None) -> list[socket.socket]:
    """Listening sockets on this port and the next; without one, on the first two that are free."""
    for first in range(FIRST, LAST + 1, len(UNITS)) if port is None else [port]:
        try:
            sockets = listen(first)
        except OSError as e:
            refused = os.strerror(e.errno or 0)
            continue
        except OverflowError:
            refused = f"ports go from 1 to {0xFFFF}"
            continue
        if first != (port or FIRST):
            log.info("port %d or %d of %s is taken", FIRST, FIRST + 1, HOST)
        return sockets
    text = f"{HOST}:{port or FIRST} or the port after it cannot be had: {refused}"
    raise Problem("port-taken", text, hint="hive-box up --port=PORT takes others", exit_status=EX_CONFIG)


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def write_units(folder: Path, port: int) -> None:
    """In the box the pages have the same ports, so that their addresses are the same on both sides."""
    for n, (unit, path) in enumerate(UNITS.items()):
        (folder / f"{unit}.d").mkdir(parents=True)
        (folder / f"{unit}.d/50-box.conf").write_text(LISTEN.format(host=HOST, port=port + n, path=path))


def forward(enter: list[str], sockets: list[socket.socket]) -> None:
    """Hand each socket, which stays one of this network, to a unit in the box."""
    for sock, unit in zip(sockets, UNITS, strict=True):
        address = f"{HOST}:{port_of(sock)}"
        options = [f"--unit=hive-box-{unit.removesuffix('.socket')}.service", "--property=DynamicUser=yes"]
        options += [f"--description=For {address} of the machine", "--setenv=SYSTEMD_LOG_TARGET=journal"]
        shell = ["/bin/sh", "-c", AS_LISTENER.replace("$", "$$"), "sh"]
        proxy = [PROXY, f"--connections-max={CONNECTIONS}", address]
        start = ["systemd-run", "--quiet", "--collect", "--pipe", *options, "--", *shell, *proxy]
        hand_on([*enter, *start], sock)


def hand_on(start: list[str], sock: socket.socket) -> None:
    """systemd-run would stay as long as what it started: it is sent away when that has its socket."""
    # the box's systemd keeps all three files: none may be one that whoever called us waits for the end of
    pipe, same = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(start, stdin=sock.fileno(), stdout=pipe, stderr=same, text=True) as running:
        assert running.stdout
        said = running.stdout.readline()
        # Not nsenter, its parent: a zombie that nobody collects would keep the box's PID 1 from ending.
        for child in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
    if said != "ready\n":
        raise Problem("no-proxy", f"the box's ports cannot be forwarded: {said.strip()}")
