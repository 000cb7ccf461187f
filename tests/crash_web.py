"""Signing in to the page while the broker may die: a code becomes at most one session."""

import contextlib
import sqlite3

from tests.crash_world import World


def signs_in(w: World) -> None:
    code = w.ok("operator", "url")["code"]
    begun = w.call("operator", "sign_in", code=code, agent="a browser")
    if not begun["ok"]:  # its answer was lost with a broker, and the code is used up
        assert begun["error"] == "wrong-code" and w.deaths
        begun = w.ok("operator", "sign_in", code=w.ok("operator", "url")["code"], agent="a browser")
    assert w.call("operator", "sign_in", code=code, agent="another")["error"] == "wrong-code"
    with contextlib.closing(sqlite3.connect(w.folder / "state/db/hive.db", isolation_level=None)) as db:
        db.execute("update session set seen_at = '2001-01-01'")
    assert w.ok("operator", "session", token=begun["token"])["session"]["id"] == begun["session"]
    assert len(w.ok("operator", "state")["epoch"]) == 16


def signs_out(w: World) -> None:
    (newest, *_) = w.ok("operator", "sessions")["sessions"]
    ended = w.call("operator", "sign_out", session=newest["id"])
    assert ended["ok"] or w.deaths
    w.ok("operator", "sign_out", all=True)
    assert w.ok("operator", "sessions")["sessions"] == []


STEPS = [signs_in, signs_out]
