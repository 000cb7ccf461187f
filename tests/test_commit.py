"""The writer of hive.db: what shares a commit."""

import asyncio
from pathlib import Path

from hyperhive.store.commit import Writer
from hyperhive.store.store import Store


def writer(folder: Path) -> tuple[Writer, list[str]]:
    """And its commits, as they come."""
    store = Store(folder / "hive.db")
    seen: list[str] = []
    store.db.set_trace_callback(lambda text: seen.append(text) if text == "commit" else None)
    return Writer(store, lambda recipients: {}, lambda given: None), seen


def test_who_has_patience_goes_with_who_has_not(tmp_path: Path) -> None:
    it, seen = writer(tmp_path)

    async def both() -> list[int]:
        slow = it.do(lambda: 1, patience=3600)
        await asyncio.sleep(0)
        assert not slow.done() and not seen
        return [await it.do(lambda: 2), await slow]

    assert asyncio.run(both()) == [2, 1]
    assert seen == ["commit"]


def test_who_has_patience_does_not_wait_for_ever(tmp_path: Path) -> None:
    it, seen = writer(tmp_path)

    async def alone() -> int:
        return await it.do(lambda: 1, patience=0.001)

    assert asyncio.run(alone()) == 1
    assert seen == ["commit"]
