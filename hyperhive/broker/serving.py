"""The broker's sockets: from systemd, kept in its fd store, made for each agent."""

import asyncio
import contextlib
import gc
import os
import socket
from pathlib import Path

from systemd.daemon import listen_fds_with_names, notify

from hyperhive import names
from hyperhive.broker import wake, wild
from hyperhive.broker.broker import Broker
from hyperhive.broker.live import Agent
from hyperhive.problem import EX_CONFIG, Problem

BACKLOG = 128
EXPLORE_FD = "explore"  # as hive-broker-explore.socket calls it
WHO = {names.OPERATOR: names.OPERATOR, names.SYSTEM: names.SYSTEM, names.EXPLORE: EXPLORE_FD}
GATE = "/run/hyperhive/gate/gate.sock"


def inherited() -> dict[str, socket.socket]:
    """By name: 'operator', 'system', and 'agent-NAME' for those that the last run left with systemd."""
    fds = {name: socket.socket(fileno=fd) for fd, name in listen_fds_with_names().items()}
    missing = {names.OPERATOR, names.SYSTEM} - fds.keys()
    if missing:
        hint = "start hive-broker.socket and hive-broker-system.socket"
        text = f"systemd did not pass: {', '.join(sorted(missing))}"
        raise Problem("no-socket", text, hint=hint, exit_status=EX_CONFIG)
    return fds


def agent_socket(folder: Path) -> socket.socket:
    """A cage reaches it through a bind of the folder; nobody else gets past the folder above."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # whatever the umask
    path = folder / "hive.sock"
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.fspath(path))
    path.chmod(0o666)
    sock.listen(BACKLOG)
    with contextlib.suppress(FileExistsError):
        (folder / "gate.sock").symlink_to(GATE)
    return sock


def let_go(fds: dict[str, socket.socket], known: set[str]) -> None:
    """Of agents that were destroyed, or not born, when the last broker died."""
    for name in fds.keys() - known:
        notify(f"FDSTOREREMOVE=1\nFDNAME={name}")
        fds.pop(name).close()


class Sockets:
    """What the broker listens on, with the copies that systemd keeps of them."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.folder = broker.run_folder / "agents"
        self.fds = inherited()
        self.servers: dict[str, asyncio.Server] = {}

    async def listen(self, who: str, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.servers[who] = await loop.create_unix_server(lambda: self.broker.connection(who), sock=sock)

    async def open_for(self, agent: Agent) -> None:
        name = f"agent-{agent.name}"
        sock = self.fds.get(name)
        if sock and not (self.folder / agent.name / "hive.sock").exists():
            # Nobody can connect to it any more, and systemd would keep it beside the new one of that name.
            notify(f"FDSTOREREMOVE=1\nFDNAME={name}")
            sock.close()
            sock = None
        if not sock:
            sock = agent_socket(self.folder / agent.name)
            notify(f"FDSTORE=1\nFDNAME={name}", fds=[sock.fileno()])
        await self.listen(agent.name, sock)

    def close_for(self, agent: Agent) -> None:
        self.servers.pop(agent.name).close()
        self.fds.pop(f"agent-{agent.name}", None)
        notify(f"FDSTOREREMOVE=1\nFDNAME=agent-{agent.name}")
        (self.folder / agent.name / "hive.sock").unlink(missing_ok=True)


async def serve(broker: Broker) -> None:
    sockets = Sockets(broker)
    broker.registered, broker.unregistered = sockets.open_for, sockets.close_for
    for agent in broker.agents.values():
        await broker.take_back(agent, "the broker was restarted")
        await sockets.open_for(agent)
    kept = {*WHO.values(), *(f"agent-{name}" for name in broker.agents)}
    let_go(sockets.fds, kept)
    for who, name in WHO.items():
        if name in sockets.fds:
            await sockets.listen(who, sockets.fds[name])
    watched = wake.watch(broker.run_folder / "wake")
    loop = asyncio.get_running_loop()
    loop.add_reader(watched, broker.fifo_seen, watched)
    await broker.fire()
    await broker.changes.resume()
    wild.watch_disk(broker)
    for agent in broker.agents.values():
        broker.wake(agent)
    gc.freeze()  # what is there now stays: not to be looked through again and again while mail waits
    gc.set_threshold(10_000)
    notify(f"READY=1\nSTATUS={len(broker.agents)} agents")
    await loop.create_future()  # for ever
