"""The broker's events for all who look at the page: one subscription, one ring, a place in it for each."""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from hyperhive.client import RETRY, Client, Connection, Lost
from hyperhive.clip import clipped
from hyperhive.problem import Problem
from hyperhive.web.server import Channel
from hyperhive.wire import Message

log = logging.getLogger(__name__)

RING = 1000  # events
HEARTBEAT = 15.0  # seconds
STALLED = 60.0  # seconds that a client may read nothing
LASTS = 3600.0  # seconds; then the client comes again, and shows that it is still signed in
STREAMS_MAX = 230
BATCH = 64  # events in one write


class Event(NamedTuple):
    seq: int
    line: bytes


def line(kind: str, about: Message, number: str = "") -> bytes:
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {kind}\ndata: {json.dumps(about, separators=(',', ':'))}\n\n".encode()


class Hub:
    """Events have places, counted from the start of the program; the ring holds the last of them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.changed = threading.Condition()
        self.epoch = ""  # of the broker that the ring is of; '' while it is away
        self.ring: deque[Event] = deque(maxlen=RING)
        self.seq = 0  # of the newest event, in the ring or before it
        self.base = 0  # of the newest one before the ring
        self.first = 0  # the place of the first one in the ring
        self.begun = 0  # subscriptions
        self.ended: set[int] = set()  # sessions
        self.streams = 0

    # in a thread of its own

    def run(self) -> None:
        while True:
            try:
                with Client(self.path, patience=0) as client:
                    self.follow(client)
            except (Lost, Problem) as e:
                if self.epoch:
                    log.warning("Lost the broker's events: %s, trying again", e)
                    self.began("", 0)
            # a socket that is not there yet has no event to wait for
            threading.Event().wait(RETRY)

    def follow(self, client: Client) -> None:
        about = client.call("subscribe")
        self.began(about["epoch"], about["seq"])
        connection: Connection = client.connect()
        while event := connection.next_event(None):
            self.add(event)

    def began(self, epoch: str, seq: int) -> None:
        """All places so far are of another broker's events, so nobody can go on from there."""
        with self.changed:
            self.first = self.end + 1
            self.ring.clear()
            self.epoch, self.seq, self.base = epoch, seq, seq
            self.begun += bool(epoch)
            self.changed.notify_all()

    def add(self, event: Message) -> None:
        if event["event"] == "session" and event["state"] == "ended":
            self.ended.add(event["id"])
        if event["event"] == "mail":
            event = clipped(event)
        added = Event(event["seq"], line(event["event"], event, f"{self.epoch}-{event['seq']}"))
        with self.changed:
            if len(self.ring) == RING:
                self.base = self.ring[0].seq
                self.first += 1
            self.ring.append(added)
            self.seq = added.seq
            self.changed.notify_all()

    # for whoever streams

    @property
    def end(self) -> int:
        return self.first + len(self.ring)

    def place(self, last: str) -> tuple[int, int]:
        """Where a client goes on that has seen `last`, EPOCH-SEQ (-1: it cannot), and that SEQ."""
        epoch, _, number = last.rpartition("-")
        seq = int(number[:20]) if number.isdecimal() else 0
        with self.changed:
            if not last:
                return self.end, 0
            if epoch != self.epoch or seq < self.base:
                return -1, 0
            # a snapshot may be ahead of what has reached us
            return self.first + sum(event.seq <= seq for event in self.ring), seq

    def news(self, place: int, seen: int) -> tuple[int, bytes]:
        """What came since, and the next place."""
        if place < self.first:
            kind = "reload" if self.epoch else "away"
            return self.end, line(kind, {}, f"{self.epoch}-{self.seq}" if self.epoch else "")
        after = place - self.first
        found = [self.ring[n] for n in range(after, min(after + BATCH, len(self.ring)))]
        return place + len(found), b"".join(event.line for event in found if event.seq > seen)

    def stream(self, session: int, last: str, channel: Channel) -> Iterator[bytes]:
        with self.changed:
            if self.streams >= STREAMS_MAX:
                raise Problem("too-many", f"{STREAMS_MAX} streams are open already")
            self.streams += 1
        return self.write(session, *self.place(last), channel)

    def write(self, session: int, place: int, seen: int, channel: Channel) -> Iterator[bytes]:
        channel.moved = self.wake
        began = beat = read = time.monotonic()
        begun = self.begun
        try:
            yield b"retry: 1000\n\n"
            while channel.connected and session not in self.ended:
                now = time.monotonic()
                if now > min(began + LASTS, read + STALLED):
                    return
                if channel.full():
                    self.wait_to_be_read(channel)
                    continue
                read = now
                with self.changed:
                    place, data = self.news(place, seen)
                if not data and now >= beat + HEARTBEAT:
                    data = line("heartbeat", {"epoch": self.epoch, "seq": self.seq})
                if data:
                    beat = now
                    yield data
                    if begun and begun != self.begun:
                        return  # its session may have been ended meanwhile: it comes again, and is looked at
                else:
                    self.wait_for_news(channel, place, beat + HEARTBEAT - now)
        finally:
            with self.changed:
                self.streams -= 1

    def wait_to_be_read(self, channel: Channel) -> None:
        with self.changed:
            self.changed.wait_for(lambda: not (channel.connected and channel.full()), STALLED)

    def wait_for_news(self, channel: Channel, place: int, timeout: float) -> None:
        with self.changed:
            self.changed.wait_for(lambda: place != self.end or not channel.connected, timeout)

    def wake(self) -> None:
        with self.changed:
            self.changed.notify_all()
