"""What clients of a broker that dies at any moment were promised, and what came."""

from typing import Any

Answer = dict[str, Any]


class Book:
    """Every body in a test is sent once, so it names its message."""

    def __init__(self) -> None:
        self.sent: dict[str, list[int]] = {}  # body → ids, acknowledged to the sender
        self.to: dict[int, str] = {}
        self.seen: dict[int, str] = {}  # id → body, as delivered
        self.where: dict[tuple[str, str], int] = {}  # (recipient, body) → id
        self.done: set[int] = set()  # acknowledged by us, and answered
        self.dead: set[int] = set()  # allowed to end as dead or dropped

    def accepted(self, body: str, ids: list[int], to: list[str]) -> None:
        assert self.sent.setdefault(body, ids) == ids, f"{body!r} had the ids {self.sent[body]}, now {ids}"
        self.to |= dict(zip(ids, to, strict=True))

    def came(self, name: str, messages: list[Answer]) -> None:
        ids = [message["id"] for message in messages]
        assert ids == sorted(set(ids)), f"not in order, or twice: {ids}"
        for message in messages:
            number, body = message["id"], message["body"]
            assert number not in self.done, f"{number} was done, and comes again"
            assert message["redelivered"] or number not in self.seen, f"{number} again, without the mark"
            assert self.seen.setdefault(number, body) == body
            assert self.where.setdefault((name, body), number) == number, f"{body!r} came as two messages"
            early = [n for n, to in self.to.items() if to == name and n < number]
            missed = {n for n in early if n not in self.seen} - self.dead
            assert not missed, f"{missed} should have come before {number}"
