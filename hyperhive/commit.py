"""Group commit: what comes in while the disk is busy shares the next transaction."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hyperhive.problem import Problem
from hyperhive.store import Row, Store

T = TypeVar("T")
Change = Callable[[], Any]  # runs on the writer's thread
Parked = dict[str, tuple[str, int]]  # recipient → (invocation, max): who takes mail the moment it is there
Given = dict[str, list[Row]]
DISK_RETRY = 1.0  # seconds until the parked are tried again; a full disk gives no sign when it has room


class Writer:
    """One thread, one connection. `after` hears, on the loop, what each commit gave to the parked."""

    def __init__(self, store: Store, parked: Callable[[], Parked], after: Callable[[Given], None]) -> None:
        self.store = store
        self.parked = parked
        self.after = after
        self.changes: list[tuple[Change, asyncio.Future[Any]]] = []
        self.wanted = asyncio.Event()
        self.thread = ThreadPoolExecutor(1, "writer")

    def do(self, change: Callable[[], T]) -> asyncio.Future[T]:
        """The result of change(), once it is on disk."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.changes.append((change, future))
        self.wanted.set()
        return future

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            changes, self.changes = self.changes, []
            work = [change for change, _ in changes]
            results, given = await loop.run_in_executor(self.thread, self.commit, work, self.parked())
            # Futures first: a sender hears before the events of its message do.
            for (_, future), result in zip(changes, results, strict=True):
                if future.cancelled():
                    continue
                if isinstance(result, Problem):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            if given is None:
                loop.call_later(DISK_RETRY, self.wanted.set)
            else:
                self.after(given)

    def commit(self, changes: list[Change], parked: Parked) -> tuple[list[Any], Given | None]:
        """What each change gave, and what the parked got: None when the disk took nothing."""
        store = self.store
        try:
            store.db.execute("begin immediate")
            results = [self.attempt(change) for change in changes]
            given = {
                recipient: store.lease(recipient, invocation, limit)
                for recipient, (invocation, limit) in parked.items()
                if store.queued[recipient]
            }
            store.db.execute("commit")
        except sqlite3.Error as e:
            if store.db.in_transaction:
                store.db.execute("rollback")
            store.count()
            problem = Problem(
                "storage", f"the disk did not take it: {e}", hint="nothing was changed; try again"
            )
            return [problem] * len(changes), None
        return results, given

    @staticmethod
    def attempt(change: Change) -> Any:
        try:
            return change()  # a change checks before it writes, so a Problem leaves nothing behind
        except Problem as e:
            return e
