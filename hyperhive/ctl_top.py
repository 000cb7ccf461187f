"""hivectl top: the agents and what happens, redrawn as events come."""

import contextlib
import os
import select
import signal
import socket
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hyperhive import ctl_show, ctl_text, ctl_units
from hyperhive.client import Client, Connection, Lost
from hyperhive.problem import Problem
from hyperhive.wire import Message

REDRAW = 0.1  # seconds at least from one drawing to the next, however many events come
TICK = 5.0  # seconds after which ages are drawn anew
AWAY_TICK = 0.5  # seconds after which a broker that is away is tried again
ORDER = ("working", "quarantined", "awake", "paused", "asleep")
EVENTS_SHARE = 3  # a third of the screen
QUIT = (b"q", b"Q", b"")


@dataclass(frozen=True)
class View:
    about: Message
    agents: list[Message]


def look(client: Client) -> View:
    agents = client.call("agents")["agents"]
    active = ctl_units.sockets() if agents else {}
    named = [agent | {"state": ctl_units.state(agent, active)} for agent in agents]
    named.sort(key=lambda agent: (ORDER.index(agent["state"]), -agent["waiting"], agent["name"]))
    return View(client.call("status"), named)


def draw(view: View, events: deque[Message], note: str, console: Console) -> Group:
    rows = [ctl_show.agent_row(agent) for agent in view.agents]
    below = min(len(events), max(3, console.height // EVENTS_SHARE))
    room = max(1, console.height - below - 5)
    parts: list[Text | Table] = [
        cut(ctl_show.headline(view.about, view.agents), "bold"),
        Text(""),
        ctl_text.rich_table(ctl_show.AGENTS, rows[:room]),
        cut(f"and {len(rows) - room} more" if len(rows) > room else "", "dim"),
        *(cut(f"{ctl_text.clock(e['at'])}  {ctl_show.event(e)}") for e in list(events)[-below:]),
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
    return [event for event in events if ctl_show.event(event)]


def run(connect: Callable[[float], Client]) -> None:
    console = ctl_text.console()
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
                view, note = look(asking), ""
            except (Lost, Problem) as e:
                listening.drop()
                source, note = None, f"the broker is away: {ctl_text.line(str(e))}"
