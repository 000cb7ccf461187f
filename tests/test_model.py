"""The broker against a model of its mail that fits on a page: any order of deeds and deaths."""

import json
import os
import select
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hyperhive.store.store import ATTEMPTS_MAX
from tests.crash_world import AGENTS, BASES, World, Zygote

agents = st.sampled_from(AGENTS)


@dataclass
class Letter:
    sender: str
    to: str
    body: str
    state: str = "queued"
    attempts: int = 0
    seen: bool = False
    run: str = ""
    tool: bool = False  # has it, and has not said that it was shown
    reply_to: int | None = None
    settled: bool = False  # somebody said that it needs no answer


class Mail(RuleBasedStateMachine):
    zygote: Zygote

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.folder.chmod(0o755)
        self.world = World(self.zygote, self.folder / "hive")
        self.world.start()
        for name in AGENTS:
            about = {"name": name, "role": "manager" if name == "manager" else "agent", "description": ""}
            self.ask("system", "applied", request=1, agent=about | {"uid_base": BASES[name]})
        self.letters: dict[int, Letter] = {}
        self.keys: dict[tuple[str, str], tuple[str, list[int]]] = {}  # (sender, key) → (body, ids)
        self.count = 0
        self.disturbed: set[str] = set()  # a broker that starts may wake who is awake
        self.learn(2)

    def teardown(self) -> None:
        self.world.close()
        shutil.rmtree(self.folder)

    def ask(self, who: str, op: str, **fields: Any) -> Any:
        return self.world.call(who, op, **fields)

    # the model

    def of(self, name: str, state: str) -> dict[int, Letter]:
        return {n: m for n, m in sorted(self.letters.items()) if (m.to, m.state) == (name, state)}

    def learn(self, wanted: int) -> None:
        """What the system has written meanwhile."""
        rows = self.ask("operator", "mail", limit=1000)["messages"]
        new = [row for row in reversed(rows) if row["id"] not in self.letters]
        assert [row["from"] for row in new] == ["system"] * wanted
        for row in new:
            self.letters[row["id"]] = Letter("system", row["to"], row["body"])

    def requeue(self, name: str, those: dict[int, Letter] | None = None) -> None:
        dead = 0
        for letter in (self.of(name, "leased") if those is None else those).values():
            letter.state = "queued" if letter.attempts < ATTEMPTS_MAX else "dead"
            letter.seen |= letter.state == "queued"
            dead += letter.state == "dead"
        self.learn(dead)

    # deeds

    @rule(sender=st.sampled_from((*AGENTS, "operator")), to=st.sampled_from((*AGENTS, "operator", "all")))
    def send(self, sender: str, to: str) -> None:
        self.count += 1
        body, key = f"letter {self.count}", f"key {self.count}"
        everybody = sorted({*AGENTS} - {sender}) if to == "all" else [to]
        ahead = len(self.of(everybody[0], "queued"))
        answer = self.ask(sender, "send", to=to, body=body, key=key)
        assert (answer["ok"], answer["ahead"], len(answer["ids"])) == (True, ahead, len(everybody))
        assert min(answer["ids"]) > max(self.letters)
        self.letters |= {
            n: Letter(sender, each, body) for n, each in zip(answer["ids"], everybody, strict=True)
        }
        self.keys[sender, key] = (to, answer["ids"])

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), sender=st.sampled_from((*AGENTS, "operator")), to=agents)
    def reply(self, data: st.DataObject, sender: str, to: str) -> None:
        """To whichever message, also one that the sender never had."""
        number = data.draw(st.sampled_from(sorted(self.letters)))
        self.count += 1
        body = f"letter {self.count}"
        (new,) = self.ask(sender, "send", to=to, body=body, in_reply_to=number, key=body)["ids"]
        self.letters[new] = Letter(sender, to, body, reply_to=number)

    @precondition(lambda self: self.open_ends())
    @rule(data=st.data())
    def needs_no_answer(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.open_ends()))
        key = f"cancel {number}"
        assert self.ask("operator", "cancel_loose_end", kind="mail", number=number, key=key)["ok"]
        self.letters[number].settled = True

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), same=st.booleans())
    def send_again(self, data: st.DataObject, same: bool) -> None:
        sender, key = data.draw(st.sampled_from(sorted(self.keys)))
        to, ids = self.keys[sender, key]
        body = self.letters[ids[0]].body if same else "another"
        answer = self.ask(sender, "send", to=to, body=body, key=key)
        assert answer["ids"] == ids if same else answer["error"] == "conflict"

    @rule(name=agents, tool=st.booleans(), most=st.integers(1, 3))
    def recv(self, name: str, tool: bool, most: int) -> None:
        self.ask(name, "whoami")  # there is a harness
        wanted = [*self.of(name, "queued").items()][:most]
        answer = self.ask(f"{name}/tool" if tool else name, "recv", max=most)
        got = [(m["id"], m["body"], m["attempts"], m["redelivered"]) for m in answer["messages"]]
        assert got == [(n, m.body, m.attempts + 1, m.seen) for n, m in wanted]
        for _, letter in wanted:
            letter.state, letter.run, letter.tool = "leased", self.world.runs[name], tool
            letter.attempts += 1

    @rule(name=agents)
    def shown(self, name: str) -> None:
        """The tool's connection is the same all the time, or is new after a death."""
        self.ask(name, "whoami")
        held = {n: m for n, m in self.letters.items() if m.to == name and m.tool}
        held = {n: m for n, m in held.items() if m.state in ("leased", "queued")}
        assert self.ask(f"{name}/tool", "shown", ids=[*held])["shown"] == len(held)
        for letter in held.values():
            letter.run, letter.tool = self.world.runs[name], False

    @rule(name=agents)
    def tool_ends(self, name: str) -> None:
        """The harness is connected: it is asked until the broker has noticed."""
        self.ask(name, "whoami")
        self.world.leave(f"{name}/tool")
        held = {n: m for n, m in self.of(name, "leased").items() if m.tool}
        while self.ask(name, "whoami")["leased"] > len(self.of(name, "leased")) - len(held):
            pass
        self.requeue(name, held)

    @rule(name=agents, data=st.data(), every=st.booleans())
    def ack(self, name: str, data: st.DataObject, every: bool) -> None:
        self.ask(name, "whoami")
        run = self.world.runs[name]
        mine = self.of(name, "leased") | {n: m for n, m in self.of(name, "queued").items() if m.run == run}
        mine = {n: m for n, m in mine.items() if not m.tool}
        ids = (
            sorted(mine) if every else data.draw(st.lists(st.sampled_from(sorted(self.letters)), max_size=3))
        )
        answer = self.ask(name, "ack", **({} if every else {"ids": ids}))
        done = mine.keys() & {*ids}
        assert answer["acked"] == len(done)
        for number in done:
            self.letters[number].state = "done"

    @rule(name=agents, count=st.booleans())
    def fail(self, name: str, count: bool) -> None:
        self.ask(name, "whoami")
        run = self.world.runs[name]
        back = {n: m for n, m in self.of(name, "queued").items() if m.run == run and not m.tool}
        leased = self.of(name, "leased") | back
        answer = self.ask(name, "fail", reason=f"number {self.count}", count=count)
        dead = 0
        for letter in leased.values():
            letter.run, letter.tool = "", False
            if letter.attempts - (not count) >= ATTEMPTS_MAX:
                letter.state, dead = "dead", dead + 1
            else:
                letter.state, letter.seen = "queued", True
                letter.attempts -= not count
        assert (answer["requeued"], answer["dead"]) == (len(leased) - dead, dead)
        self.learn(dead)

    @rule(name=agents)
    def leave(self, name: str) -> None:
        self.world.leave(f"{name}/tool")
        self.world.leave(name)
        while any(a["awake"] and a["name"] == name for a in self.ask("operator", "agents")["agents"]):
            pass
        self.requeue(name)

    @rule(name=agents)
    def asleep(self, name: str) -> None:
        self.ask(name, "whoami")
        self.drain(name)
        sleep = self.ask(name, "asleep")["sleep"]
        assert sleep is not bool(self.of(name, "queued"))
        if sleep:
            self.leave(name)

    def drain(self, name: str) -> None:
        while select.select([self.world.fifos[name]], [], [], 0)[0]:
            os.read(self.world.fifos[name], 100)
        self.disturbed.discard(name)

    @rule()
    def kill(self) -> None:
        awake = {*self.world.runs}
        self.world.zygote.kill(self.world.pid)
        self.world.reborn()
        self.disturbed |= awake
        for name in AGENTS:
            self.requeue_after_death(name)
        letters = sum(m.state == "dead" for m in self.letters.values())
        told = [m for m in self.letters.values() if '"dead_letter"' in m.body]
        self.learn(letters - len(told))

    def requeue_after_death(self, name: str) -> None:
        for letter in self.of(name, "leased").values():
            letter.state = "queued" if letter.attempts < ATTEMPTS_MAX else "dead"
            letter.seen |= letter.state == "queued"

    @rule()
    def read(self) -> None:
        unread = self.of("operator", "queued")
        inbox = self.ask("operator", "inbox", unread=True, limit=1000)
        assert [m["id"] for m in inbox["messages"]] == sorted(unread, reverse=True)
        assert self.ask("operator", "read", ids=sorted(unread))["read"] == len(unread)
        for letter in unread.values():
            letter.state = "done"

    # what always holds

    def open_ends(self) -> list[int]:
        """By its definition: each message compared with all that came after it."""

        def answers(later: int, number: int) -> bool:
            one, other = self.letters[number], self.letters[later]
            ours = later > number and other.sender == one.to
            return ours and (other.reply_to == number or (other.reply_to is None and other.to == one.sender))

        return [
            number
            for number, m in sorted(self.letters.items())
            if m.reply_to is None
            and not m.settled
            and m.state != "dead"
            and m.sender not in ("system", m.to)
            if not any(answers(later, number) for later in self.letters)
        ]

    @invariant()
    def what_is_unanswered_is_listed(self) -> None:
        ends = self.ask("operator", "loose_ends")["loose_ends"]
        assert [end["id"] for end in ends] == self.open_ends()[:200]
        for name in AGENTS:
            mine = [number for number in self.open_ends() if self.letters[number].to == name]
            if name in self.world.runs:
                assert [end["id"] for end in self.ask(name, "loose_ends")["loose_ends"]] == mine

    @invariant()
    def all_mail_is_where_it_should_be(self) -> None:
        rows = self.ask("operator", "mail", limit=1000)["messages"]
        there = {r["id"]: (r["from"], r["to"], r["body"], r["state"], r["attempts"]) for r in rows}
        assert there == {n: (m.sender, m.to, m.body, m.state, m.attempts) for n, m in self.letters.items()}

    @invariant()
    def who_sleeps_over_mail_is_woken_and_nobody_else(self) -> None:
        for about in self.ask("operator", "agents")["agents"]:
            name = about["name"]
            assert about["waiting"] == len(self.of(name, "queued"))
            assert about["leased"] == len(self.of(name, "leased"))
            if name not in self.world.runs:
                byte = bool(select.select([self.world.fifos[name]], [], [], 0)[0])
                assert byte or not about["waiting"], f"{name} sleeps over its mail"
                assert about["waiting"] or not byte or name in self.disturbed, f"{name} is woken for nothing"

    @invariant()
    def every_dead_letter_is_told_of_once(self) -> None:
        told = [json.loads(m.body)["id"] for m in self.letters.values() if '"dead_letter"' in m.body]
        assert sorted(told) == sorted(n for n, m in self.letters.items() if m.state == "dead")


def test_the_broker_does_what_the_model_does() -> None:
    Mail.zygote = Zygote()
    how = settings(
        max_examples=25,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    run_state_machine_as_test(Mail, settings=how)
    Mail.zygote.close()
