"""The only way out of a cage: to the model with its credential, and where its agent may go. hive-gate(8)."""

import argparse
import asyncio
import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h11
from systemd.daemon import listen_fds, notify

from hyperhive import peers, settings
from hyperhive.config.agent_toml import MEMORY
from hyperhive.follow import follow
from hyperhive.gate import account as gate_account
from hyperhive.gate import addresses, http1, upstream
from hyperhive.gate.account import Account, Denied, Limits
from hyperhive.gate.passage import BETWEEN, Passage
from hyperhive.gate.upstream import Upstream
from hyperhive.gate.ways import Egress
from hyperhive.problem import EX_CONFIG, Problem

log = logging.getLogger(__name__)

CONNECTIONS = 2048  # two fds each: the unit's LimitNOFILE= leaves room
LEAVING = 256
LOOKUPS = 32  # threads
WHY = b"hive-gate: too many connections"
FULL = b"HTTP/1.1 503 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b\n" % (WHY, len(WHY) + 1, WHY)


class Gate:
    def __init__(self, peers: peers.Peers, model: Upstream, out: Egress) -> None:
        self.peers = peers
        self.model = model
        self.out = out
        self.accounts: dict[str, Account] = {}
        self.leaving = 0  # who was turned away and still hears why

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        uid = peers.uid_of(sock)
        agent = self.peers.agent(uid)
        if not agent:
            log.warning("Refused a connection of uid %d: it is in no agent's range", uid)
            writer.close()
            return
        account = self.accounts.get(agent) or self.accounts.setdefault(agent, Account(agent))
        client = http1.Connection(h11.SERVER, reader, writer, BETWEEN)
        client.rest = account.rest
        if self.is_full(account):
            await self.turn_away(client)
            return
        account.connections += 1
        unfollow = follow(sock, writer.transport.abort)
        try:
            await Passage(client, account, self.model, self.out).run()
        except (ConnectionError, TimeoutError):
            pass  # the peer is gone or takes nothing, and there is nobody to tell
        finally:
            unfollow()
            await client.close()
            account.closed()

    def is_full(self, account: Account) -> bool:
        total = sum(each.connections for each in self.accounts.values())
        why = f"it has {account.connections}, all have {total}"
        if account.connections < gate_account.CONNECTIONS and total < CONNECTIONS:
            if account.arrivals.is_due():
                return False
            why = "it makes too many in a second"
        account.refused += 1
        if account.refused == 1:  # the rest of a flood is counted
            text = f"Refused a connection of {account.agent}: {why}"
            gate_account.record_denial(account.agent, Denied("connections", text, None))
        return True

    async def turn_away(self, client: http1.Connection) -> None:
        client.writer.write(FULL)
        if self.leaving >= LEAVING:
            client.writer.close()
            return
        self.leaving += 1
        await client.close()
        self.leaving -= 1


async def serve(sock: socket.socket, gate: Gate) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LOOKUPS))
    gate.out.watch()
    async with await asyncio.start_unix_server(gate.accept, sock=sock) as server:
        sock.listen(socket.SOMAXCONN)  # asyncio has let only 100 wait, of all cages together
        notify(f"READY=1\nSTATUS=Passing requests to {gate.model.name}")
        await server.serve_forever()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="hive-gate", description="Pass on what cages want of the outside.")
    paths = {
        "config": ("/etc/hyperhive/hive.toml", "the hive's settings"),
        "agents": ("/var/lib/hyperhive/agents", "folder whose owners tell who is who"),
        "deployed": ("/etc/hyperhive/agents", "folder of what the agents may: NAME/agent.toml"),
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
    hive = settings.hive(args.config)
    model = upstream.upstream(hive.endpoint, args.rehearsal, Path(folder) if folder else None)
    if not model.unix and not model.auth:
        log.warning("There is no credential for %s, ignoring", hive.endpoint)
    limits = Limits(size(hive.bytes_per_hour), hive.connection_seconds)
    private = [addresses.opening(each, str(args.config)) for each in hive.private]
    gate = Gate(peers.Peers(args.agents), model, Egress(args.deployed, private, limits))
    asyncio.run(serve(socket.socket(fileno=fds[0]), gate))


def size(said: str) -> int:
    return int(said[:-1]) * MEMORY[said[-1]]
