"""The ways out besides the model: who may go where, by which address, and until when."""

import asyncio
import contextlib
import logging
import os
import socket
from pathlib import Path

from hyperhive.broker import wake
from hyperhive.config import agent_toml
from hyperhive.gate import addresses, egress
from hyperhive.gate.account import Account, Denied, Limits, Way
from hyperhive.gate.egress import Target
from hyperhive.problem import Problem

log = logging.getLogger(__name__)

LOOKUP_TIMEOUT = 15.0
CONNECT_TIMEOUT = 20.0
IN_MOVED_FROM, IN_MOVED_TO, IN_DELETE = 0x40, 0x80, 0x200


class Egress:
    def __init__(self, deployed: Path, private: list[addresses.Opening], limits: Limits) -> None:
        self.deployed, self.private, self.limits = deployed, private, limits
        self.known: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {}
        self.ways: set[Way] = set()

    def watch(self) -> None:
        """hive-apply puts another folder in the place of an agent's; ways that it takes away are cut."""
        fd = wake.watch(self.deployed, IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE)
        asyncio.get_running_loop().add_reader(fd, self.changed, fd)

    def changed(self, fd: int) -> None:
        os.read(fd, 64 * 1024)
        for way in self.ways:
            if not egress.rule_for(way.to, self.allow(way.account.agent)):
                way.cut("revoked")

    def allow(self, agent: str) -> tuple[str, ...]:
        """As the deployed agent.toml says now. Parsing it takes longer than all the rest."""
        path = self.deployed / agent / agent_toml.FILE
        try:
            about = path.stat()
            version = (about.st_ino, about.st_mtime_ns, about.st_size)
            if agent not in self.known or self.known[agent][0] != version:
                self.known[agent] = version, agent_toml.read(path).egress
            return self.known[agent][1]
        except (OSError, Problem) as e:
            log.warning("Cannot tell where %s may go, so nowhere: %s", agent, e)
            return ()

    def check(self, account: Account, to: Target) -> str:
        """The rule by which it may go there."""
        rule = egress.rule_for(to, self.allow(account.agent))
        if not rule:
            raise Denied("allow", f"{to} is not in [egress] allow of its agent.toml", to)
        if account.bytes > self.limits.bytes_per_hour and account.minutes_left() > 0:
            left = f"{account.minutes_left()} minutes are left of it"
            raise Denied("bytes", f"{to}: the agent has moved its bytes of this hour; {left}", to)
        return rule

    async def open(self, account: Account, to: Target) -> tuple[Way, socket.socket]:
        await account.elsewhere.turn()
        way = Way(account, to, self.check(account, to), self.limits)
        self.ways.add(way)
        try:
            return way, await connect(way, await self.addresses(way))
        except Denied:
            self.ways.discard(way)
            raise
        except BaseException as e:  # also when it is cancelled: each way has its fact
            way.end = e.code if isinstance(e, Problem) else way.end
            self.close(way)
            raise

    async def addresses(self, way: Way) -> list[str]:
        to = way.to
        found = await resolve(way.account, to)
        for address in found:
            if why := addresses.refusal(address, to.port, self.private):
                where = f" ({address})" if address != to.host else ""
                raise Denied("address", f"{to}{where} is no address of the internet: {why}", to, address)
        if way.end:
            raise Problem(way.end, f"{to} is no longer allowed")
        return found

    def close(self, way: Way) -> None:
        self.ways.discard(way)
        way.record()


async def resolve(account: Account, to: Target) -> list[str]:
    loop = asyncio.get_running_loop()
    await account.lookups.acquire()
    asked = loop.run_in_executor(None, look_up, to)
    # a thread that was given up still runs
    asked.add_done_callback(lambda _: account.lookups.release())
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT):
            return await asyncio.shield(asked)
    except TimeoutError as e:
        raise Problem("unresolved", f"{to.host} could not be looked up in {LOOKUP_TIMEOUT:.0f} s") from e


def look_up(to: Target) -> list[str]:
    try:
        found = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
    except OSError as e:
        raise Problem("unresolved", f"{to.host} cannot be looked up: {e.strerror}") from e
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def connect(way: Way, found: list[str]) -> socket.socket:
    """To an address that was checked: the name is not asked for again."""
    reason = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_TIMEOUT):
            for address in found:
                try:
                    return await connect_to(way, address)
                except OSError as e:
                    reason = f": {os.strerror(e.errno)}" if e.errno else f": {e}"
    raise Problem("unreachable", f"{way.to} cannot be reached{reason or ': it does not answer'}")


async def connect_to(way: Way, address: str) -> socket.socket:
    way.address = address
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (address, way.to.port))
    except BaseException:  # also a timeout or a cancel: nobody else would close it
        sock.close()
        raise
    return sock
