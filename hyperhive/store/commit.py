"""Group commit: what came in while the disk was busy shares the next transaction."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any, TypeVar

from hyperhive.problem import Problem
from hyperhive.store.store import Row, Store

T = TypeVar("T")
Change = Callable[[], Any]
Parked = dict[str, tuple[str, int]]  # recipient → (invocation, max): who takes mail the moment it is there
Given = dict[str, list[Row]]

DISK_RETRY = 1.0  # seconds until the parked are tried again; a full disk gives no sign when it has room


class Outcome(asyncio.Future[T]):
    """Of a change. A connection's request goes on the moment it is known, not in the loop's next turn."""

    request: Callable[[Any], object] | None = None

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        if context:  # a Task names its own
            super().add_done_callback(callback, context=context)
        else:
            self.request = callback

    def settle(self, result: Any) -> None:
        if self.cancelled():
            return
        if isinstance(result, Problem):
            self.set_exception(result)
        else:
            self.set_result(result)
        if self.request:
            self.request(self)


class Writer:
    """`parked` is asked about recipients; `after` hears what each commit gave to them.

    It commits on the loop's own thread. While the disk is busy all requests wait in their sockets, and the
    next turn of the loop reads them all: that is the group. To hand the work to another thread and back
    takes as long as a fast disk does.
    """

    def __init__(
        self, store: Store, parked: Callable[[Iterable[str]], Parked], after: Callable[[Given], None]
    ) -> None:
        self.store = store
        self.parked = parked
        self.after = after
        self.changes: list[tuple[Change, Outcome[Any]]] = []
        self.wanted = False

    def do(self, change: Callable[[], T], *, patience: float = 0) -> Outcome[T]:
        """The result of change(), once it is on disk. For so many seconds it waits for others to go with."""
        outcome: Outcome[T] = Outcome()
        self.changes.append((change, outcome))
        if patience:
            asyncio.get_running_loop().call_later(patience, self.over_due)
        else:
            self.want()
        return outcome

    def over_due(self) -> None:
        if self.changes:
            self.want()

    def want(self) -> None:
        if not self.wanted:
            self.wanted = True
            asyncio.get_running_loop().call_soon(self.turn)

    def look(self, recipient: str) -> None:
        """Somebody has parked, or is still parked, who might be given mail that is there already."""
        self.store.queued.grown.add(recipient)
        self.want()

    def turn(self) -> None:
        self.wanted = False
        changes, self.changes = self.changes, []
        try:
            results, given = self.commit([change for change, _ in changes])
        except BaseException:  # ours: end with a traceback, and let systemd start us again
            asyncio.get_running_loop().stop()
            raise
        self.after(given)  # before a request goes on that might change who is parked
        for (_, outcome), result in zip(changes, results, strict=True):
            outcome.settle(result)

    def commit(self, changes: list[Change], *, give: bool = True) -> tuple[list[Any], Given]:
        store = self.store
        given: Given = {}
        try:
            store.db.execute("begin immediate")
            results = [self.attempt(change) for change in changes]
            if give:
                given = {
                    recipient: store.lease(recipient, invocation, limit)
                    for recipient, (invocation, limit) in self.parked(store.queued.grown).items()
                }
            store.db.execute("commit")
        except sqlite3.Error as e:
            return self.undo(changes, e), {}
        if give:
            store.queued.grown.clear()
        return results, given

    def undo(self, changes: list[Change], error: sqlite3.Error) -> list[Any]:
        """Who only looked, or still finds room, need not fail because somebody else in the group did."""
        if self.store.db.in_transaction:
            self.store.db.execute("rollback")
        self.store.count()
        if self.parked(self.store.queued.grown):
            asyncio.get_running_loop().call_later(DISK_RETRY, self.want)
        if len(changes) > 1:
            return [self.commit([change], give=False)[0][0] for change in changes]
        text = f"the disk did not take it: {error}"
        return [Problem("storage", text, hint="nothing was changed; try again")] * len(changes)

    @staticmethod
    def attempt(change: Change) -> Any:
        try:
            return change()  # a change checks before it writes, so a Problem leaves nothing behind
        except Problem as e:
            return e
