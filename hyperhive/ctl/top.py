"""hivectl top: the agents and what happens, redrawn as events come."""

import contextlib
import os
import select
import signal
import socket
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hyperhive.client import Client, Connection, Lost
from hyperhive.ctl import show, stats, terminal, units
from hyperhive.ctl.terminal import Column
from hyperhive.problem import Problem
from hyperhive.wire import Message

REDRAW = 0.1  # seconds at least from one drawing to the next, however many events come
STEP = 300  # seconds of a bar
TICK = 5.0  # seconds after which ages are drawn anew
AWAY_TICK = 0.5  # seconds after which a broker that is away is tried again
ORDER = ("working", "quarantined", "awake", "paused", "asleep")
EVENTS_SHARE = 3  # a third of the screen
QUIT = (b"q", b"Q", b"")


COLUMNS = (
    *show.AGENTS[:-1],
    Column("TURNS IN 1H"),
    Column("COST IN 24H", right=True),
    show.AGENTS[-1],
)


@dataclass(frozen=True)
class Recent:
    """What stats tells of each agent."""

    at: float
    turns: dict[str, str]  # as a line of bars
    cost: dict[str, str]


@dataclass(frozen=True)
class View:
    about: Message
    agents: list[Message]
    recent: Recent


def recent(client: Client, known: Recent | None) -> Recent:
    """Not with each event: the broker writes what is new before it answers."""
    if known and time.monotonic() < known.at + TICK:
        return known
    now = datetime.now(UTC)
    turns = client.call("stats", since=(now - timedelta(hours=1)).isoformat(), key="turns", step=STEP)
    costs = client.call("stats", since=(now - timedelta(days=1)).isoformat(), key="cost_usd", step=3600)
    bars = {each["agent"]: stats.spark(each, stats.times(turns)) for each in turns["series"]}
    spent = {each["agent"]: f"${sum(each['value']):.2f}" for each in costs["series"] if each["value"]}
    return Recent(time.monotonic(), bars, spent)


def look(client: Client, known: Recent | None = None) -> View:
    agents = client.call("agents")["agents"]
    active = units.sockets() if agents else {}
    named = [agent | {"state": units.state(agent, active)} for agent in agents]
    named.sort(key=lambda agent: (ORDER.index(agent["state"]), -agent["waiting"], agent["name"]))
    return View(client.call("status"), named, recent(client, known))


def row(view: View, agent: Message) -> list[str]:
    *cells, does = show.agent_row(agent)
    name = agent["name"]
    return [*cells, view.recent.turns.get(name, ""), view.recent.cost.get(name, terminal.MISSING), does]


def draw(view: View, events: deque[Message], note: str, console: Console) -> Group:
    rows = [row(view, agent) for agent in view.agents]
    below = min(len(events), max(3, console.height // EVENTS_SHARE))
    room = max(1, console.height - below - 5)
    parts: list[Text | Table] = [
        cut(show.headline(view.about, view.agents), "bold"),
        Text(""),
        terminal.rich_table(COLUMNS, rows[:room]),
        cut(f"and {len(rows) - room} more" if len(rows) > room else "", "dim"),
        *(cut(f"{terminal.clock(e['at'])}  {show.event(e)}") for e in list(events)[-below:]),
        cut(note or "q: quit", "bold red" if note else "dim"),
    ]
    return Group(*parts)


def cut(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


@contextlib.contextmanager
def keys() -> Iterator[list[int]]:
    """The fds to read keys from: stdin, with each key at once and unseen."""
    if not sys.stdin.isatty():
        yield []
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield [fd]
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def resizes() -> Iterator[int]:
    """An fd that is readable when the terminal has another size."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = signal.signal(signal.SIGWINCH, lambda *_: None)  # else it does not reach the wakeup fd
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader.fileno()
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGWINCH, before)


def arrived(source: Connection) -> list[Message]:
    events = []
    while event := source.next_event(0):
        events.append(event)
    return [event for event in events if show.event(event)]


def run(connect: Callable[[float], Client]) -> None:
    console = terminal.console()
    events: deque[Message] = deque(maxlen=100)
    with (
        connect(0) as listening,
        connect(0) as asking,
        keys() as stdin,
        resizes() as resized,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        view, note = look(asking), ""
        source: Connection | None = listening.subscribe()
        while True:
            live.update(draw(view, events, note, console), refresh=True)
            fds = [resized, *stdin]
            ready = select.select(fds, [], [], REDRAW)[0]
            if not ready:
                heard = [source.sock.fileno()] if source else []
                ready = select.select([*fds, *heard], [], [], TICK if source else AWAY_TICK)[0]
            if resized in ready:
                os.read(resized, 4096)
            if stdin and stdin[0] in ready and os.read(stdin[0], 64) in QUIT:
                return
            try:
                source = source or listening.subscribe()
                events += arrived(source)
                view, note = look(asking, view.recent), ""
            except (Lost, Problem) as e:
                listening.drop()
                source, note = None, f"the broker is away: {terminal.line(str(e))}"
