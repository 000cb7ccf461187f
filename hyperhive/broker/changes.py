"""The broker's hand in changes: git on its own thread, hive-apply's queue, who waits for what."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hyperhive import facts, names, wire
from hyperhive.broker import drain
from hyperhive.config import agent_toml, proposals, repository
from hyperhive.problem import Problem
from hyperhive.store import approvals
from hyperhive.store.approvals import Effect
from hyperhive.store.store import Row

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.live import Agent

log = logging.getLogger(__name__)
T = TypeVar("T")

OPS = {"spawn": "deploy", "change": "deploy", "rollback": "deploy"}  # for hive-apply all the same
QUEUED = ("agent", "kind", "commit", "deploy", "description")
ENDED = {*approvals.STATES} - {"pending", *approvals.UNDER_WAY}


class Changes:
    def __init__(self, broker: Broker, state: Path) -> None:
        self.broker = broker
        self.queue = state / "apply"
        self.proposed = state / "agents"
        self.registries = state / "registry"
        self.thread = ThreadPoolExecutor(1, "git")
        self.tagging = False
        self.waiting: defaultdict[int, set[asyncio.Future[Row]]] = defaultdict(set)

    async def git(self, work: Callable[..., T], *arguments: object) -> T:
        """One at a time, and never on the loop: what a cage has written may take as long as it likes."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, work, *arguments)

    def registry(self, agent: str) -> Path:
        return self.registries / f"{agent}.git"

    def config(self, agent: str) -> Path:
        return self.proposed / agent / "config"

    # after a transaction

    async def happened(self, effect: Effect) -> None:
        for row in effect.requests:
            self.tell(row)
            if row["state"] == "approved":
                await self.begin(row)
            elif row["state"] in ("deployed", "failed"):
                drain.over(self.broker, row["agent"])
        for name in effect.gone:
            self.broker.close_for(name)
        for agent in effect.born:
            self.broker.came_to_life(agent)
        await self.broker.went_out(effect.mail)
        self.broker.spawn_task(self.tag())

    def tell(self, row: Row) -> None:
        number, kind, agent, state = row["id"], row["kind"], row["agent"], row["state"]
        by = row["requested_by"] if state == "pending" else row["decided_by"]
        by = names.SYSTEM if state in ("applying", "deployed", "failed") else by
        self.broker.publish("approval", id=number, kind=kind, agent=agent, state=state, by=by)
        text = f"Request {number} ({kind} of {agent}) is {state}"
        fields = {"HIVE_REQUEST": number, "HIVE_KIND": kind, "HIVE_STATE": state, "HIVE_BY": by}
        if state == "failed":
            facts.log("apply_failed", f"{text}: {row['message']}", agent=agent, notice=True, **fields)
        else:
            facts.log("approval", text, agent=agent, notice=True, **fields)
        if state in ENDED:
            for future in self.waiting.pop(number, ()):
                if not future.done():
                    future.set_result(row)

    async def outcome(self, number: int, wait: float | None) -> Row:
        """The request when it has ended, or as it is when the time is over."""
        future: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self.waiting[number].add(future)  # first, as it may end while we look
        try:
            row = await self.broker.writer.do(lambda: approvals.get(self.broker.store, number))
            if row["state"] in ENDED or wait == 0:
                return row
            await asyncio.wait([future], timeout=wait)
            return await self.broker.writer.do(lambda: approvals.get(self.broker.store, number))
        finally:
            if number in self.waiting:
                self.waiting[number].discard(future)
                if not self.waiting[number]:
                    del self.waiting[number]

    async def purge_registry(self, number: int) -> None:
        """Before its purge is on disk as carried out: one that is cut short is told us again."""
        store = self.broker.store
        query = (
            "select agent from request where id = ? and kind = 'purge' and state in ('approved', 'applying')"
        )
        for row in await self.broker.writer.do(lambda: store.rows(query, number)):
            await self.git(remove, self.registry(row["agent"]))

    # hive-apply's queue

    async def begin(self, row: Row) -> None:
        """A change waits here for the end of a running turn, so that hive-apply has nothing to wait for."""
        agent, store = self.broker.agents.get(row["agent"]), self.broker.store
        if agent and row["kind"] in drain.BETWEEN_TURNS:
            drain.keep_back(self.broker, agent.name)
            if await self.broker.surely(lambda: drain.in_turn(store, agent.name)):
                self.broker.spawn_task(self.begin_later(agent, row))
                return
        await self.queue_up(row)

    async def begin_later(self, agent: Agent, row: Row) -> None:
        store = self.broker.store
        runs = await self.broker.surely(lambda: approvals.running(store, agent.name))
        await drain.turn_over(self.broker, agent, patience(runs))
        await self.queue_up(row)

    async def queue_up(self, row: Row) -> None:
        about = {"id": row["id"], "op": OPS.get(row["kind"], row["kind"])}
        about |= {key: row[key] for key in QUEUED if row[key] is not None}
        if row["files"]:
            files = json.loads(row["files"])
            about["files"] = {path: file["text"] for path, file in files.items()}
            about["executable"] = [path for path, file in files.items() if file.get("executable")]
        path = self.queue / f"{row['id']}.json"
        # not on the loop, for the disk; not behind git either
        await asyncio.get_running_loop().run_in_executor(None, write_whole, path, wire.encode(about))

    async def resume(self) -> None:
        """What the last broker has approved, and may not have got round to."""
        for row in await self.broker.writer.do(lambda: approvals.to_carry_out(self.broker.store)):
            await (self.begin(row) if row["state"] == "approved" else self.queue_up(row))
        self.broker.spawn_task(self.tag())

    # tags

    async def tag(self) -> None:
        """The registries follow the database: whatever was cut short is done by the next one."""
        if self.tagging:
            return
        self.tagging = True
        try:
            store = self.broker.store
            while rows := await self.broker.writer.do(lambda: approvals.untagged(store)):
                for row in rows:
                    await self.git(self.write_tags, row)
                    await self.broker.surely(partial(approvals.tagged, store, row))
        except (Problem, OSError) as e:
            log.error("Cannot tag what was decided: %s, ignoring until the next decision", e)
        finally:
            self.tagging = False

    def write_tags(self, row: Row) -> None:
        registry = self.registry(row["agent"])
        if registry.exists():  # else the agent was purged since we looked
            for tag, who, why in approvals.tags(row):
                repository.tag(registry, tag, row["commit"], who, why)


def patience(runs: Row | None) -> int:
    """As long as a turn may take by what runs now, if this release can read it."""
    agent = proposals.agent_of(proposals.files_of(runs)) if runs and runs["files"] else None
    return agent.turn_timeout if agent else agent_toml.TURN_TIMEOUT


def remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def write_whole(path: Path, data: bytes) -> None:
    """It appears whole or not at all, also after a power cut."""
    new = path.with_name(f".{path.stem}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
