"""The broker: who is connected, who waits for mail, who must be woken."""

import asyncio
import itertools
import json
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from hyperhive import facts, names, wire
from hyperhive.broker import drain, wake
from hyperhive.broker.alarm import Alarm
from hyperhive.broker.changes import Changes
from hyperhive.broker.connection import Connection
from hyperhive.broker.live import WILD_BURST, WILD_RATE, Agent, Budget, Waiter
from hyperhive.broker.snapshot import Snapshots
from hyperhive.operations import operations
from hyperhive.operations.turns import ordered, run_over, switched
from hyperhive.peers import uid_of
from hyperhive.problem import Problem
from hyperhive.stats.stats import Stats
from hyperhive.stats.telemetry import Telemetry
from hyperhive.store import approvals, ends, models, orders, runs
from hyperhive.store.approvals import Effect
from hyperhive.store.commit import Given, Parked, Writer
from hyperhive.store.store import Row, Store, now

UID_RANGE = 65536
AGENT_CONNECTIONS_MAX = 32
CONNECTIONS_MAX = 1000  # of the operator
PARKED_MAX = 16  # per agent
DISK_RETRY = 1.0  # seconds: a full disk gives no sign when it has room again

T = TypeVar("T")
Returned = tuple[list[Row], list[Row]]  # what went back in the queue, what is dead


class Broker:
    def __init__(self, state: Path, run: Path, default_model: str) -> None:
        self.run_folder = run
        self.default_model = default_model
        self.started_at = now()
        self.epoch = os.urandom(8).hex()  # events are numbered anew with each start
        self.store = Store(state / "db/hive.db")
        self.stats = Stats(state / "db/stats.db", state / "db/events.db")
        self.telemetry = Telemetry(self)
        self.writer = Writer(self.store, self.parked, self.after)
        self.changes = Changes(self, state)
        self.snapshots = Snapshots(state, self.changes.thread)
        self.agents: dict[str, Agent] = {}
        for row in self.store.agents():
            self.add_agent(row)
        drain.resume(self)
        self.operators: set[Connection] = set()
        self.guests: set[Connection] = set()  # of hive-explore
        self.subscribers: set[Connection] = set()
        self.untold: list[Row] = []  # new mail of which the journal, subscribers and FIFOs are to hear
        self.sequence = itertools.count(1)
        self.tools = itertools.count(1)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.next_due: str | None = None
        self.disk_low: Row | None = None
        self.disk_facts = Budget(WILD_BURST, WILD_RATE)
        self.sign_ins: deque[float] = deque()  # those of the last minute with a wrong code
        self.alarm = Alarm(self.due, self.ring)
        # what to do when an agent is registered (its socket is made), set by whoever serves
        self.registered: Callable[[Agent], Awaitable[None]]
        self.unregistered: Callable[[Agent], None]

    def add_agent(self, row: Row) -> Agent:
        agent = Agent(row["name"], row["role"], row["uid_base"], frozenset(json.loads(row["send_to"])))
        self.agents[agent.name] = agent
        return agent

    def may_write(self, sender: str, to: str) -> bool:
        agent = self.agents.get(sender)  # else the operator
        return not agent or to == sender or not agent.send_to.isdisjoint({to, names.ALL})

    def check_may_write(self, sender: str, to: str) -> None:
        if not self.may_write(sender, to):
            allowed = ", ".join(sorted(self.agents[sender].send_to)) or "nobody"
            hint = f"its agent.toml lets it write to: {allowed}"
            raise Problem("forbidden", f"{sender} may not write to '{to[:64]}'", hint=hint)

    def spawn_task(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.task_ended)
        return task

    def task_ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # Ours, nobody's who asked: end with a traceback; systemd starts us again, and we resume.
            asyncio.get_running_loop().stop()
            raise error

    # connections

    def connection(self, who: str) -> Connection:
        return Connection(who, self.answer, self.opened, self.lost)

    def opened(self, connection: Connection) -> str:
        """The error code to refuse the connection with, or ''."""
        agent = self.agents.get(connection.who)
        guests = self.guests if connection.who == names.EXPLORE else self.operators
        here = agent.connections if agent else guests
        here.add(connection)
        if len(here) > (CONNECTIONS_MAX if here is self.operators else AGENT_CONNECTIONS_MAX):
            return "too-many"
        assert connection.transport
        uid = uid_of(connection.transport.get_extra_info("socket"))
        if agent and not agent.uid_base <= uid < agent.uid_base + UID_RANGE:
            return "forbidden"
        return ""

    def answer(self, connection: Connection, message: wire.Message) -> Awaitable[wire.Message]:
        return operations.answer(self, connection, message)

    def lost(self, connection: Connection) -> None:
        self.operators.discard(connection)
        self.guests.discard(connection)
        self.subscribers.discard(connection)
        self.snapshots.lost(connection)
        agent = self.agents.get(connection.who)
        if agent:
            agent.connections.discard(connection)
            agent.ears.discard(connection)
            for waiter in [w for w in agent.waiters if w.connection is connection]:
                agent.waiters.remove(waiter)
                waiter.future.cancel()
            if agent.run is connection:
                agent.releasing = self.spawn_task(self.end_run(agent, connection))
            elif connection.holds:
                self.spawn_task(self.take_back(agent, "a tool ended before it was shown", connection.holder))

    async def end_run(self, agent: Agent, connection: Connection) -> None:
        orderly = agent.leaving
        reason = "the harness's connection ended"
        back = await self.surely(lambda: self.release(agent, reason))
        agent.over()
        for waiter in agent.waiters:
            waiter.future.set_exception(Problem("no-harness", "the harness is gone"))
        agent.waiters.clear()
        drain.settle(agent)
        await run_over(self, agent.name, None)
        self.publish("asleep", agent=agent.name, orderly=orderly)
        facts.log(
            "asleep", f"{agent.name} is asleep", agent=agent.name, HIVE_INVOCATION=connection.invocation
        )
        self.returned(agent, *back, reason)
        self.wake(agent)

    async def surely(self, change: Callable[[], T]) -> T:
        """For what nobody can ask for again: it waits until the disk takes it."""
        while True:
            try:
                return await self.writer.do(change)
            except Problem as e:
                if e.code != "storage":
                    raise
            await asyncio.sleep(DISK_RETRY)

    async def take_back(self, agent: Agent, reason: str, tool: str = "") -> None:
        self.returned(agent, *await self.surely(lambda: self.release(agent, reason, tool)), reason)

    def release(self, agent: Agent, reason: str, tool: str = "") -> tuple[list[Row], list[Row], list[Row]]:
        back = self.store.release(agent.name, reason, tool)
        for invocation in {row["invocation"] for rows in back for row in rows}:
            runs.explain(self.store, invocation)
        return self.with_letters(agent, back, reason)

    def fail(
        self, agent: Agent, invocation: str, reason: str, ids: list[int] | None, *, count: bool
    ) -> tuple[list[Row], list[Row], list[Row]]:
        back = self.store.fail(agent.name, invocation, reason, ids, count=count)
        return self.with_letters(agent, back, reason)

    def with_letters(
        self, agent: Agent, back: Returned, reason: str
    ) -> tuple[list[Row], list[Row], list[Row]]:
        """The death of a message and the mail about it are one change."""
        kept, dead = back
        event = {"event": "dead_letter", "agent": agent.name, "reason": reason}
        mail = [self.tell_manager(event | {"id": row["id"], "from": row["sender"]}) for row in dead]
        return kept, dead, mail

    def returned(self, agent: Agent, kept: list[Row], dead: list[Row], mail: list[Row], reason: str) -> None:
        for row in kept:
            self.publish("requeued", id=row["id"], agent=agent.name, reason=reason)
            text = f"Message {row['id']} of {agent.name} is back in the queue: {reason}"
            facts.log("requeued", text, agent=agent.name, HIVE_MESSAGE=row["id"])
        for row in dead:
            self.publish("dead", id=row["id"], agent=agent.name, reason=reason)
            text = f"Message {row['id']} to {agent.name} is given up: {reason}"
            facts.log("dead", text, agent=agent.name, notice=True, HIVE_MESSAGE=row["id"])
        self.sent(mail)

    async def begin_run(self, agent: Agent, connection: Connection, invocation: str) -> None:
        if agent.releasing:
            await agent.releasing
        if agent.run:
            raise Problem("busy", f"another harness is connected for {agent.name}")
        agent.run = connection
        connection.invocation = invocation
        wake_ms = agent.woken and round((time.monotonic() - agent.woken) * 1000)
        agent.woken = None
        self.publish("awake", agent=agent.name, invocation=invocation, wake_ms=wake_ms)
        text = f"{agent.name} is awake"
        facts.log("awake", text, agent=agent.name, HIVE_INVOCATION=invocation, HIVE_WAKE_MS=wake_ms)

    # mail

    def parked(self, recipients: Iterable[str]) -> Parked:
        """Those of them that have mail and somebody who waits for it."""
        agents = [self.agents[name] for name in recipients if name in self.agents]
        return {
            agent.name: (agent.waiters[0].connection.holder, agent.waiters[0].limit)
            for agent in agents
            if agent.waiters and agent.run and not agent.kept_back and self.store.queued[agent.name]
        }

    def after(self, given: Given) -> None:
        for name, rows in given.items():
            agent = self.agents[name]
            if rows and agent.waiters:
                agent.waiters.pop(0).future.set_result(rows)
            elif rows:
                self.spawn_task(self.give_back(agent, rows))
            if agent.waiters and self.store.queued[name]:
                self.writer.look(name)

    async def give_back(self, agent: Agent, rows: list[Row]) -> None:
        """Whoever asked for this mail hung up before it came: nobody has seen it."""
        ids = [row["id"] for row in rows]
        await self.surely(lambda: self.store.unlease(agent.name, ids))
        drain.settle(agent)
        self.wake(agent)

    async def receive(self, agent: Agent, connection: Connection, wait: int, limit: int) -> list[Row]:
        if not agent.run:
            raise Problem("no-harness", "no harness is connected, so nobody could answer for the mail")
        rows: list[Row] = []
        if self.store.queued[agent.name] and not agent.waiters and not agent.kept_back:
            rows = await self.writer.do(lambda: self.store.lease(agent.name, connection.holder, limit))
        if not rows and wait and not ordered(self, agent, connection):
            rows = await self.park(agent, connection, wait, limit)
        # What is written to somebody who has hung up is dropped without a word.
        if rows and connection.hung_up():
            await self.give_back(agent, rows)
            return []
        connection.holds = connection.holds or (bool(rows) and connection is not agent.run)
        for row in rows:
            self.publish("delivered", id=row["id"], agent=agent.name, attempts=row["attempts"])
        return rows

    async def park(self, agent: Agent, connection: Connection, wait: int, limit: int) -> list[Row]:
        if len(agent.waiters) >= PARKED_MAX:
            raise Problem("too-many", f"{PARKED_MAX} requests are parked already")
        loop = asyncio.get_running_loop()
        waiter = Waiter(connection, limit, loop.create_future())
        agent.waiters.append(waiter)
        if self.store.queued[agent.name]:
            self.writer.look(agent.name)  # it came while we were looking
        timer = loop.call_later(wait, self.time_over, agent, waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            return []  # the connection is gone
        finally:
            timer.cancel()

    def time_over(self, agent: Agent, waiter: Waiter) -> None:
        if waiter in agent.waiters:
            agent.waiters.remove(waiter)
            waiter.future.set_result([])

    async def send(
        self,
        sender: str,
        recipients: list[str],
        body: str,
        in_reply_to: int | None = None,
        key: str | None = None,
    ) -> tuple[list[int], int]:
        rows, ahead, new = await self.writer.do(
            lambda: self.store.send(sender, recipients, body, in_reply_to, key)
        )
        if new:
            # The senders of this group need not wait while the others are told.
            if not self.untold:
                asyncio.get_running_loop().call_soon(self.tell)
            self.untold += rows
        return [row["id"] for row in rows], ahead

    def tell(self) -> None:
        rows, self.untold = self.untold, []
        self.sent(rows)

    def sent(self, rows: list[Row]) -> None:
        for row in rows:
            about = {"from": row["sender"], "to": row["recipient"], "body": row["body"]}
            self.publish("mail", id=row["id"], **about, in_reply_to=row["in_reply_to"])
            text = f"Mail {row['id']} from {row['sender']} to {row['recipient']}"
            fields = {"HIVE_MESSAGE": row["id"], "HIVE_FROM": row["sender"], "HIVE_TO": row["recipient"]}
            facts.log("mail", text, agent=row["recipient"], **fields)
            self.wake_name(row["recipient"])

    async def went_out(self, mail: list[Row]) -> None:
        """A change has sent this, and may have changed what is due next."""
        self.sent(mail)
        self.next_due = await self.surely(self.look_ahead)
        self.alarm.arm()

    def look_ahead(self) -> str | None:
        found = (ends.next_due(self.store), approvals.next_due(self.store), models.next_due(self.store))
        return min((at for at in found if at), default=None)

    def fall_due(self) -> tuple[Effect, list[str]]:
        effect = Effect(mail=ends.fire(self.store))
        approvals.expire(self.store, effect)
        return effect, models.expire(self.store)

    def due(self) -> float | None:
        return wire.seconds_of(self.next_due) if self.next_due else None

    def ring(self) -> None:
        self.spawn_task(self.fire())

    async def fire(self) -> None:
        effect, expired = await self.surely(self.fall_due)
        await self.changes.happened(effect)
        for name in expired:
            await switched(self, name)

    def tell_manager(self, event: wire.Message) -> Row:
        """In the change that it is about."""
        return ends.tell_manager(self.store, event)

    # waking

    def wake(self, agent: Agent) -> None:
        awake = agent.run and not agent.leaving
        if awake or agent.woken or agent.kept_back:
            return
        if not self.store.queued[agent.name] and not orders.undone(self.store, agent.name, ""):
            return
        if wake.poke(self.run_folder / "wake" / agent.name):
            agent.woken = time.monotonic()
            self.publish("woken", agent=agent.name)

    def wake_name(self, name: str) -> None:
        if agent := self.agents.get(name):
            self.wake(agent)

    def fifo_seen(self, fd: int) -> None:
        for name, new in wake.seen(fd):
            if agent := self.agents.get(name):
                if new:
                    agent.woken = None  # what was in the old FIFO went with it
                self.wake(agent)

    # events

    def publish(self, event: str, **fields: object) -> None:
        number = next(self.sequence)
        self.telemetry.note(event, fields)
        if self.subscribers:
            line = wire.encode({"seq": number, "at": now(), "event": event} | fields)
            for connection in tuple(self.subscribers):
                connection.event(line)

    # agents

    async def open_for(self, row: Row) -> None:
        """Its sockets are there, which its first run needs."""
        if row["name"] not in self.agents:
            await self.registered(self.add_agent(row))

    def came_to_life(self, row: Row) -> None:
        name = row["name"]
        self.publish("spawned", agent=name)
        facts.log("spawned", f"{name} exists now", agent=name, HIVE_UID_BASE=row["uid_base"])
        self.wake_name(name)

    def close_for(self, name: str) -> None:
        """Nobody speaks for it any more, and nobody can write to it."""
        if not (agent := self.agents.pop(name, None)):
            return
        for waiter in agent.waiters:
            waiter.future.cancel()
        for connection in tuple(agent.connections):
            if connection.transport:
                connection.transport.abort()
        self.unregistered(agent)
