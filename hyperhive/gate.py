"""The only way out of a cage: passes requests to the model and adds its credential. See hive-gate(8)."""

import argparse
import asyncio
import collections
import logging
import os
import socket
from pathlib import Path

import h11
from systemd.daemon import listen_fds, notify

from hyperhive import gate_upstream, http1, peers, settings
from hyperhive.gate_passage import BETWEEN, Passage
from hyperhive.gate_upstream import Upstream
from hyperhive.problem import EX_CONFIG, Problem

log = logging.getLogger(__name__)

CONNECTIONS_PER_AGENT = 64
CONNECTIONS = 2048  # two fds each: the unit's LimitNOFILE= leaves room


class Gate:
    def __init__(self, peers: peers.Peers, to: Upstream) -> None:
        self.peers = peers
        self.to = to
        self.connections: collections.Counter[str] = collections.Counter()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agent = self.admit(peers.uid_of(writer.get_extra_info("socket")))
        if not agent:
            writer.close()
            return
        client = http1.Connection(h11.SERVER, reader, writer, BETWEEN)
        self.connections[agent] += 1
        try:
            await Passage(client, agent, self.to).run()
        except (ConnectionError, TimeoutError):
            pass  # the peer is gone or takes nothing, and there is nobody to tell
        finally:
            await client.close()
            self.connections[agent] -= 1

    def admit(self, uid: int) -> str | None:
        agent = self.peers.agent(uid)
        if not agent:
            log.warning("Refused a connection of uid %d: it is in no agent's range", uid)
        elif self.connections[agent] >= CONNECTIONS_PER_AGENT or self.connections.total() >= CONNECTIONS:
            log.warning("Refused a connection of %s: it has %d", agent, self.connections[agent])
        else:
            return agent
        return None


async def serve(sock: socket.socket, gate: Gate) -> None:
    async with await asyncio.start_unix_server(gate.accept, sock=sock) as server:
        notify(f"READY=1\nSTATUS=Passing requests to {gate.to.name}")
        await server.serve_forever()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="hive-gate", description="Pass the cages' requests to the model.")
    paths = {
        "config": ("/etc/hyperhive/hive.toml", "the hive's settings"),
        "agents": ("/var/lib/hyperhive/agents", "folder whose owners tell who is who"),
        "rehearsal": ("/run/hyperhive/rehearsal.sock", "socket of the rehearsal model"),
    }
    for name, (path, text) in paths.items():
        top.add_argument(f"--{name}", type=Path, metavar="PATH", default=path, help=text)
    return top


def main() -> None:
    args = parser().parse_args()
    fds = listen_fds()
    if len(fds) != 1:
        hint = "start hive-gate.socket"
        raise Problem("no-socket", f"expected one socket, got {len(fds)}", hint=hint, exit_status=EX_CONFIG)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    endpoint = settings.hive(args.config).endpoint
    to = gate_upstream.upstream(endpoint, args.rehearsal, Path(folder) if folder else None)
    if not to.unix and not to.auth:
        log.warning("There is no credential for %s, ignoring", endpoint)
    gate = Gate(peers.Peers(args.agents), to)
    asyncio.run(serve(socket.socket(fileno=fds[0]), gate))
