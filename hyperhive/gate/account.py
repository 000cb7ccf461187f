"""What one agent uses of the gate, and one of its ways out while it is open."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from hyperhive import facts
from hyperhive.gate.egress import Target
from hyperhive.problem import Problem

CONNECTIONS = 64
LOOKED_MAX = 16  # events: a millisecond
LOOKUPS = 4  # of names at once, which take a thread each
HOUR = 3600.0
IDLE = 300.0


@dataclass(frozen=True)
class Limits:
    bytes_per_hour: int
    connection_seconds: float
    idle: float = IDLE


@dataclass
class Pace:
    """Who floods the gate waits, so that every attempt can be a fact without flooding the journal."""

    rate: float  # in a second
    burst: int  # at once, after some quiet
    next: float = -math.inf

    async def turn(self) -> None:
        now = asyncio.get_running_loop().time()
        self.next = max(self.next, now - self.burst / self.rate) + 1 / self.rate
        await asyncio.sleep(max(0.0, self.next - now))

    def is_due(self) -> bool:
        """Where nobody waits."""
        now = asyncio.get_running_loop().time()
        if self.next > now:
            return False
        self.next = max(self.next, now - self.burst / self.rate) + 1 / self.rate
        return True

    def is_calm(self) -> bool:
        return self.next <= asyncio.get_running_loop().time() - self.burst / self.rate / 2


@dataclass
class Account:
    agent: str
    connections: int = 0
    refused: int = 0  # connections, since it had few
    hour: float = -math.inf  # when the one began whose bytes are counted
    bytes: int = 0
    lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKUPS))
    arrivals: Pace = field(default_factory=lambda: Pace(100, 1000))
    requests: Pace = field(default_factory=lambda: Pace(100, 1000))
    elsewhere: Pace = field(default_factory=lambda: Pace(20, 500))
    looked: int = 0  # events of its connections, since it left the loop to others
    resting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def rest(self) -> None:
        """All cages share one loop: of what an agent sends at once, only so much is looked at in a round of
        it, by however many connections it comes."""
        self.looked += 1
        if self.looked >= LOOKED_MAX:
            async with self.resting:
                await asyncio.sleep(0)
                self.looked = 0

    def closed(self) -> None:
        self.connections -= 1
        if self.refused and self.connections < CONNECTIONS / 2 and self.arrivals.is_calm():
            text, more = f"{self.agent}: {self.refused} connections were refused in all", self.refused - 1
            self.refused = 0
            if more:  # than the first, which was told at once
                record_denial(self.agent, Denied("connections", text, None), more)

    def count(self, moved: int) -> None:
        now = asyncio.get_running_loop().time()
        if now - self.hour >= HOUR:
            self.hour, self.bytes = now, 0
        self.bytes += moved

    def minutes_left(self) -> int:
        return math.ceil((self.hour + HOUR - asyncio.get_running_loop().time()) / 60)


class Denied(Problem):
    """By which rule, and what was asked for."""

    def __init__(self, rule: str, message: str, to: Target | None, address: str = "") -> None:
        super().__init__(rule, message)
        self.to = to
        self.address = address

    @property
    def status(self) -> int:
        return {"host": 400, "bytes": 429}.get(self.code, 403)


class Way:
    """One connection to the outside, from when it was allowed to its fact in the journal."""

    def __init__(self, account: Account, to: Target, rule: str, limits: Limits) -> None:
        self.account, self.to, self.rule, self.limits = account, to, rule, limits
        self.began = asyncio.get_running_loop().time()
        self.address = ""
        self.bytes_in = self.bytes_out = 0
        self.end = ""  # why it was cut
        self.clock: asyncio.Timeout | None = None

    def sent(self, count: int) -> None:
        self.bytes_in += count
        self.moved(count)

    def received(self, count: int) -> None:
        self.bytes_out += count
        self.moved(count)

    def moved(self, count: int) -> None:
        self.account.count(count)
        if self.account.bytes > self.limits.bytes_per_hour:
            self.cut("bytes")
        elif self.clock and not self.end and not self.clock.expired():
            self.clock.reschedule(self.deadline())

    def deadline(self) -> float:
        now = asyncio.get_running_loop().time()
        return min(self.began + self.limits.connection_seconds, now + self.limits.idle)

    def cut(self, why: str) -> None:
        if not self.end:
            self.end = why
            if self.clock and not self.clock.expired():
                self.clock.reschedule(0)

    @contextlib.asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """While it moves something. It ends with TimeoutError when it was cut."""
        try:
            async with asyncio.timeout_at(0 if self.end else self.deadline()) as self.clock:
                yield
        except TimeoutError:
            old = asyncio.get_running_loop().time() >= self.began + self.limits.connection_seconds
            self.end = self.end or ("time" if old else "idle")
            raise
        finally:
            self.clock = None

    def record(self) -> None:
        ms = round((asyncio.get_running_loop().time() - self.began) * 1000)
        agent, end = self.account.agent, self.end or "closed"
        facts.log(
            "egress",
            f"{agent}: {self.to} {end} after {ms} ms; {self.bytes_in} bytes there, {self.bytes_out} back",
            agent=agent,
            HIVE_HOST=self.to.host,
            HIVE_PORT=self.to.port,
            HIVE_ADDRESS=self.address or None,
            HIVE_RULE=self.rule,
            HIVE_END=end,
            HIVE_BYTES_IN=self.bytes_in,
            HIVE_BYTES_OUT=self.bytes_out,
            HIVE_DURATION_MS=ms,
        )


def record_denial(agent: str, denied: Denied, count: int | None = None) -> None:
    facts.log(
        "egress_denied",
        str(denied) if denied.code == "connections" else f"{agent}: {denied}",
        agent=agent,
        notice=True,
        HIVE_HOST=denied.to.host if denied.to else None,
        HIVE_PORT=denied.to.port if denied.to else None,
        HIVE_ADDRESS=denied.address or None,
        HIVE_RULE=denied.code,
        HIVE_COUNT=count,
    )
