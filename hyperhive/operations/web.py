"""The operations of hyperhive-wire(7) that hive-web needs: signing in, and all that the page shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hyperhive import facts, wire
from hyperhive.broker import wild
from hyperhive.problem import Problem
from hyperhive.store import overview, sessions

if TYPE_CHECKING:
    from hyperhive.broker.broker import Broker
    from hyperhive.broker.connection import Connection

SECRET_MAX = 100
BROWSER_MAX = 300
SCOPE_MAX = 20
WRONG_MAX = 10  # codes in a minute, whoever tries them


async def url(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    return await broker.writer.do(lambda: sessions.add_code(broker.store))


async def sign_in(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    code = wire.get_text(message, "code", SECRET_MAX)
    browser, scope = wire.get_text(message, "agent", BROWSER_MAX), scope_of(message)
    at = time.monotonic()
    while broker.sign_ins and broker.sign_ins[0] < at - 60:
        broker.sign_ins.popleft()
    if len(broker.sign_ins) >= WRONG_MAX:
        raise Problem("too-many", f"{WRONG_MAX} wrong codes in a minute", hint="wait a minute")
    broker.sign_ins.append(at)  # first: many may be tried at once
    begun = await broker.writer.do(lambda: sessions.begin(broker.store, code, browser, scope))
    broker.sign_ins.remove(at)
    broker.publish("session", id=begun["session"], state="begun")
    text = f"Session {begun['session']} of the page has begun"
    facts.log("signed_in", text, agent="", notice=True, HIVE_SESSION=begun["session"], HIVE_BROWSER=browser)
    return begun


async def session(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    token, scope = wire.get_text(message, "token", SECRET_MAX), scope_of(message)
    return {"session": await broker.writer.do(lambda: sessions.look(broker.store, token, scope))}


def scope_of(message: wire.Message) -> str:
    scope = wire.get_text(message, "scope", SCOPE_MAX) if "scope" in message else sessions.PAGE
    if scope not in sessions.SCOPES:
        raise Problem("bad-request", f"'scope' must be one of {', '.join(sessions.SCOPES)}")
    return scope


async def list_sessions(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    return {"sessions": await broker.writer.do(lambda: sessions.listed(broker.store))}


async def sign_out(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    everybody = wire.get(message, "all", bool, False)
    number = wire.get_int(message, "session", 1, wire.ID_MAX) if "session" in message else None
    if everybody == (number is not None):
        raise Problem("bad-request", "give either 'session' or 'all'")
    ended = await broker.writer.do(lambda: sessions.end(broker.store, number))
    for each in ended:
        broker.publish("session", id=each, state="ended")
        text = f"Session {each} of the page was ended"
        facts.log("signed_out", text, agent="", notice=True, HIVE_SESSION=each)
    return {"ended": len(ended)}


async def state(broker: Broker, connection: Connection, message: wire.Message) -> wire.Message:
    low = wild.disk(broker)
    return await broker.writer.do(lambda: overview.look(broker, low))


OPERATOR = {
    "url": url,
    "sign_in": sign_in,
    "session": session,
    "sessions": list_sessions,
    "sign_out": sign_out,
    "state": state,
}
