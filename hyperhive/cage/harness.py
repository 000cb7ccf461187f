"""The agent's life in its cage: wake, take mail, run the turn, ack, linger, sleep. Standard library only."""

import contextlib
import os
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hyperhive import settings, wire
from hyperhive.cage import claude, mail, narration, turn
from hyperhive.cage.claude import LIMITS, Limits
from hyperhive.cage.ear import Cancelled, Ear
from hyperhive.cage.model_choice import choose
from hyperhive.cage.session import Session
from hyperhive.client import Client
from hyperhive.config import agent_toml
from hyperhive.problem import EX_CONFIG, Problem

FIFO = 3  # what systemd's socket unit hands over, through nspawn
MESSAGES_MAX = 20  # in one turn
FOREVER = float("inf")
BRIEFLY = 1  # seconds in which mail finds a claude that was started for a trial: another takes half of one
NOTES = Path("/state/notes.md")
NOTES_MAX = 32 * 1024  # bytes that the broker takes
FEED_EVERY = 1.0  # seconds at most, however much claude says


@dataclass(frozen=True)
class Places:
    config: Path
    home: Path
    prompts: Path
    socket: str
    claude: str
    mcp: str
    rules: str
    base_url: str
    runtime: Path
    watchdog: str
    limits: Limits = LIMITS


def tell_systemd(state: str) -> None:
    """sd_notify(3): nspawn passes READY= and STATUS= of the cage's first process on to systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(state.encode(), address)


class Watchdog:
    """systemd's, which ends a run that makes no progress (WatchdogSec=).

    nspawn passes no WATCHDOG= on, so this is systemd's own socket. Nothing else in the cage finds it:
    its name is gone once systemd has heard READY=.
    """

    def __init__(self, path: str) -> None:
        self.fed = 0.0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.connect(path)

    def feed(self) -> None:
        if time.monotonic() - self.fed >= FEED_EVERY:
            self.fed = time.monotonic()
            with contextlib.suppress(BlockingIOError):  # systemd is too busy to read, so not to be hurried
                self.socket.send(b"WATCHDOG=1", socket.MSG_DONTWAIT)


def drain(fifo: int) -> None:
    """Only while the broker knows that we are here, for then it writes none: these are of before."""
    while select.select([fifo], [], [], 0)[0]:
        if not os.read(fifo, 4096):
            return


def prompt(places: Places, role: str) -> str:
    texts = [(places.prompts / f"{role}.md").read_text()]
    own = (places.config / name for name in agent_toml.PROMPTS)
    texts += [settings.read(path) for path in own if path.exists()]
    return "\n\n".join(texts)


class Harness:
    def __init__(self, places: Places, invocation: str) -> None:
        self.places = places
        self.invocation = invocation
        self.agent = agent_toml.read(places.config / agent_toml.FILE)
        hello = {"role": "harness", "invocation": invocation}
        self.watchdog = Watchdog(places.watchdog)
        # A broker that is away is no fault of ours.
        self.broker = Client(places.socket, hello=hello, patience=FOREVER, waiting=self.watchdog.feed)
        # What is only nice to know must not hold up a turn when the broker is away.
        self.news = Client(places.socket, hello=hello | {"role": "tool"}, patience=0)
        self.ear = Ear(places.socket, hello | {"role": "tool"})
        self.session = Session(places.home / ".hyperhive-session", self.setup, self.ear)
        self.lock = threading.Lock()  # of the broker's connection
        self.hello = self.broker.greet()
        self.turns: int = self.hello["turns"]
        self.models: wire.Message = self.hello["models"]  # what decides which one is used
        self.brief: bool = self.hello["brief"]  # started to see whether it comes up: sleep again soon
        self.shown = self.models["last"]  # the model that the broker knows to be used
        self.notes: str | None = None  # as the broker has them
        self.failures = 0  # of the endpoint, one after the other
        self.at_once = MESSAGES_MAX

    def ask(self, op: str, **fields: Any) -> wire.Message:
        with self.lock:
            return self.broker.call(op, **fields)

    def stay(self) -> None:
        """In a long turn nothing is said to the broker, but one that was restarted must know that we are
        here: else a tool that asks it for mail gets none."""
        connection = self.broker.connect()
        while True:
            connection.until_hang_up()
            with self.lock:
                self.broker.greet()
                connection = self.broker.connect()

    def run(self, fifo: int) -> None:
        threading.Thread(target=self.stay, daemon=True).start()
        self.start()  # it takes longer than anything else, so it goes first
        drain(fifo)
        if self.hello["trial"]:
            self.prove()
        tell_systemd("READY=1\nSTATUS=awake")
        while (got := self.next_mail(fifo))["messages"]:
            self.take_turn(got["messages"], got["waiting"])
        self.session.end()

    def next_mail(self, fifo: int) -> wire.Message:
        """What recv gives; no messages when it is time to sleep."""
        end = time.monotonic() + (BRIEFLY if self.brief else self.agent.linger)
        while True:
            left = max(0, round(end - time.monotonic()))
            wait = min(left, wire.RECV_WAIT_MAX)
            got = self.ask("recv", wait_seconds=wait, max=self.at_once)
            self.watchdog.feed()
            self.models = got["models"]
            for command in got["commands"]:
                self.carry_out(command)
            if got["messages"]:
                self.brief = False
                return got
            if not left:
                drain(fifo)
                if self.ask("asleep")["sleep"]:
                    return got

    def carry_out(self, command: wire.Message) -> None:
        """What the operator wants done between two turns."""
        self.brief = False
        tell_systemd(f"STATUS={command['command']}")
        error = ""
        if command["command"] == "compact":
            error = self.session.compact(self.safe_model(), self.agent.turn_timeout, self.watchdog.feed)
        else:
            self.session.forget()
            self.start()
        self.ask("command_done", command=command["id"], error=error)
        tell_systemd(f"STATUS={command['command']}: {error or 'done'}")

    # claude

    def setup(self, model: str, session: str | None) -> claude.Setup:
        return claude.Setup(
            program=self.runner(),
            model=model,
            agent=self.agent,
            prompt=prompt(self.places, self.hello["role"]),
            mcp=self.places.mcp,
            rules=self.places.rules,
            role=self.hello["role"],
            config=self.places.config,
            session=session,
            base_url=self.places.base_url,
            socket=self.places.socket,
            invocation=self.invocation,
            folder=self.places.runtime,
            limits=self.places.limits,
        )

    def runner(self) -> str:
        own = self.agent.program
        return os.fspath(self.places.config / "bin" / own) if own else self.places.claude

    def start(self) -> claude.Claude:
        return self.session.start(self.safe_model())

    def prove(self) -> None:
        """hive-apply waits for READY=1, and takes back a change with which claude does not come up."""
        process = self.start()
        try:
            process.prove()
        except claude.Ended as e:
            self.session.end()
            status = process.process.returncode
            raise Problem("no-claude", f"claude: {e} (exit status {status})") from e

    # which model

    def model(self) -> str:
        about = self.models
        last, refused = about["last"], about["refused"]
        return choose(about["override"], self.agent.model, self.hello["model"], last, refused)[0]

    def safe_model(self) -> str:
        """One that the endpoint is known to take, where there is one: another is tried before the next turn,
        and if it is refused, this one is still there."""
        return self.models["last"] or self.model()

    def switch(self, this: turn.Turn) -> None:
        while (model := self.model()) not in {self.session.model, *this.refused}:
            refused, error = self.session.switch(model)
            if refused:
                self.refused(this, model, error)
            elif error:
                print(f"Cannot switch to {model} in turn {this.number}: {error}, ignoring", file=sys.stderr)
                return

    def refused(self, this: turn.Turn, model: str, error: str) -> None:
        this.refused.add(model)
        self.models = self.ask("model_refused", model=model, error=error)["models"]

    def other_model(self, this: turn.Turn) -> bool:
        """Only the turn has shown that there is none of that name; is there another to try?"""
        if not this.no_such_model or self.session.model in this.refused:
            return False
        self.refused(this, self.session.model, this.error)
        return self.model() not in this.refused

    # a turn

    def take_turn(self, messages: list[wire.Message], waiting: int) -> None:
        self.turns += 1
        this = turn.Turn(self.turns, now(), len(messages), woken_by=messages[0]["from"])
        began = time.monotonic()
        self.show(this, f"reading {len(messages)} from {messages[0]['from']}")
        blocks = [mail.block(message) for message in messages]
        text = turn.wake_prompt(blocks, waiting, redelivered=any(m["redelivered"] for m in messages))
        self.ear.begin(this.number)
        self.ear.report([narration.one("status", f"reading {len(messages)} from {messages[0]['from']}")])
        while not self.converse(this, text):
            pass  # at most once for a claude that had ended already, a session that is gone, and each model
        self.ear.send(all_at_once=True)
        self.close_turn(this, began)

    def converse(self, this: turn.Turn, text: str) -> bool:
        """False when nothing was done, and it is worth trying again with a new claude."""
        process = self.start()
        spoke = process.spoke
        try:
            self.switch(this)
            process = self.start()  # it may be another
            self.show_model(this)
            for event in process.turn(text, self.agent.turn_timeout):
                self.watchdog.feed()
                self.ear.report(narration.told(event))
                if not spoke and process.session and turn.no_conversation(event):
                    self.session.forget()
                    return False
                if doing := turn.note(this, event):
                    self.show(this, doing)
                if event.get("subtype") == "init" and (wrong := turn.mcp_missing(event)):
                    print(f"the hive's tools are not connected: {wrong}", file=sys.stderr)
                if this.retry_after > self.agent.turn_timeout / 2:
                    self.interrupt(this, process, "rate-limited", "the endpoint asks for a longer wait")
                    break
        except Cancelled:
            self.interrupt(this, process, "cancelled", "")
        except claude.Silent:
            self.interrupt(this, process, "timed-out", f"silent for {self.agent.turn_timeout} s")
        except claude.Ended as e:
            if spoke and not process.begun:
                print("claude had ended when the mail came, starting it again", file=sys.stderr)
                self.session.end()
                return False
            self.broke(this, process, str(e))
        return not self.other_model(this)

    def interrupt(self, this: turn.Turn, process: claude.Claude, outcome: str, why: str) -> None:
        limits = self.places.limits
        try:
            for event in process.interrupted(limits.cancel if outcome == "cancelled" else limits.interrupt):
                turn.note(this, event)
        except (claude.Silent, claude.Ended):
            self.session.end()
        this.outcome, this.error = outcome, why

    def broke(self, this: turn.Turn, process: claude.Claude, why: str) -> None:
        self.session.end()
        status = process.process.returncode
        this.outcome, this.error = "crashed", f"claude: {why} (exit status {status})"
        if status is not None:
            this.exit_code = status if status >= 0 else 128 - status
        if not process.spoke:
            # It never said a word, so it is the setup, and the next message would fare no better.
            self.ask("fail", reason=this.error, count=False)
            raise Problem("no-claude", this.error)

    def close_turn(self, this: turn.Turn, began: float) -> None:
        before = self.session.cost
        cost, self.session.cost = max(0.0, this.total_cost - before), this.total_cost or before
        record = turn.record(this, round((time.monotonic() - began) * 1000), cost)
        notes, size = read_notes(NOTES)
        news = {} if notes == self.notes else {"notes": notes}
        self.ask("turn", **record, asked=self.session.model, notes_bytes=size, **news)
        self.notes = notes
        self.ear.end()
        self.session.keep(this.session)
        if this.outcome in turn.WELL:
            self.ask("ack")
            self.failures, self.at_once = 0, MESSAGES_MAX
            tell_systemd(f"STATUS=turn {this.number} {this.outcome}")
            return
        forgive = this.endpoint_failed or this.outcome in turn.NOT_THE_MAILS_FAULT
        self.ask("fail", reason=turn.clip(f"{this.outcome}: {this.error}", 400), count=not forgive)
        if this.outcome == "prompt-too-long":
            self.session.forget()  # compacting did not help; the next run of the turn begins afresh
        self.failures = self.failures + 1 if forgive else 0
        self.at_once = 1  # the one that does the harm must not take the others with it
        if forgive:
            self.rest(turn.hold(this, self.failures), this)

    def rest(self, seconds: float, this: turn.Turn) -> None:
        tell_systemd(f"STATUS=turn {this.number} {this.outcome}; trying again in {seconds:.0f} s")
        # The endpoint gives no sign when it is well again: this is a wait for time.
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.watchdog.feed()
            if self.ear.wait(min(left, wire.RECV_WAIT_MAX)):
                return  # another model is to be used, whose endpoint may be well

    def show_model(self, this: turn.Turn) -> None:
        if self.session.model != self.shown:
            self.shown = self.session.model
            self.show(this, f"asking {turn.harmless(self.shown)}", model=self.shown)

    def show(self, this: turn.Turn, doing: str, **more: Any) -> None:
        tell_systemd(f"STATUS=turn {this.number}: {doing}")
        try:
            self.news.call("progress", number=this.number, text=doing, tool_calls=this.tools.total(), **more)
        except Problem as e:
            print(f"Cannot tell the broker what the turn does: {e}, ignoring", file=sys.stderr)


def read_notes(path: Path) -> tuple[str, int | None]:
    """The beginning of the agent's notes and the size of all, of whatever it has put there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "", None  # there are none
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            return "", None
        return turn.clip(file.read(NOTES_MAX).decode(errors="replace"), NOTES_MAX), about.st_size


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def be_first() -> None:
    if os.getpid() != 1:  # for it kills everything else that it can see
        raise Problem("no-cage", "must be the first process of a cage", exit_status=EX_CONFIG)
    # The first process gets no signal without a handler. Its going takes all others along.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def run(places: Places, fifo: int, prepare: Callable[[], Any]) -> None:
    be_first()
    prepare()
    Harness(places, os.environ.get("INVOCATION_ID", "")).run(fifo)
