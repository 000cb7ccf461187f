"""What the broker knows of an agent while it runs, and nobody needs to know of afterwards."""

import asyncio
import time
from dataclasses import dataclass, field

from hyperhive.broker.connection import Connection
from hyperhive.broker.wild import Flag
from hyperhive.store.store import Row

EVENTS_BURST = 4 * 1024 * 1024  # bytes of turn events at once,
EVENTS_RATE = 256 * 1024  # and in a second, from one agent
DENIALS_BURST, DENIALS_RATE = 30, 1  # the same of commands that its rules did not allow
WILD_BURST, WILD_RATE = 6, 1 / 60  # and of entries in the journal that say it has gone wild


@dataclass(eq=False)
class Waiter:
    connection: Connection
    limit: int
    future: asyncio.Future[list[Row]]


@dataclass
class Budget:
    """How much an agent may still report now."""

    most: int
    rate: float  # in a second
    left: float = field(init=False)
    at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.left = self.most

    def take(self, size: int) -> bool:
        now = time.monotonic()
        self.left = min(self.most, self.left + (now - self.at) * self.rate)
        self.at = now
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass(eq=False)
class Agent:
    name: str
    role: str
    uid_base: int
    send_to: frozenset[str]  # the names it may write to; 'all' is everybody
    run: Connection | None = None  # the harness
    leaving: bool = False  # it said asleep and was told to go
    woken: float | None = None  # when the byte went into the FIFO, until a harness says hello
    doing: str | None = None
    turn: int | None = None  # the number of the one that runs
    using: str | None = None  # the model that claude was last switched to, in this run
    ears: set[Connection] = field(default_factory=set)  # hear of what is meant for the turn that runs
    budget: Budget = field(default_factory=lambda: Budget(EVENTS_BURST, EVENTS_RATE))
    denials: Budget = field(default_factory=lambda: Budget(DENIALS_BURST, DENIALS_RATE))
    wild: dict[str, Flag] = field(default_factory=dict)  # by kind; some may be over
    wild_facts: Budget = field(default_factory=lambda: Budget(WILD_BURST, WILD_RATE))
    waiters: list[Waiter] = field(default_factory=list)
    releasing: asyncio.Task[None] | None = None
    connections: set[Connection] = field(default_factory=set)
    kept_back: bool = False  # its mail, while a change of it is carried out
    brief: bool = False  # it slept when that began
    settling: list[asyncio.Future[None]] = field(default_factory=list)

    def over(self) -> None:
        """Its run has ended."""
        self.run, self.leaving, self.doing, self.releasing = None, False, None, None
        self.turn, self.using = None, None
