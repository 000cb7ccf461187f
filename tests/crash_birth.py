"""How the first agents come, step by step, for tests/crash_scenarios.py."""

import contextlib
import json
import sqlite3
from typing import Any

from tests.crash_world import BASES, Step, World, write

UID = {"uid_base": BASES["ada"]}


def start(w: World) -> None:
    w.start()


def request(w: World, name: str) -> dict[str, Any] | None:
    files = sorted((w.folder / "state/apply").glob("*.json"))
    return next((found for file in files if (found := json.loads(file.read_text()))["agent"] == name), None)


def wish(name: str) -> dict[str, str]:
    return {"agent": name, "toml": 'description = "one of us"\n', "key": f"key of {name}"}


def ask_for(w: World, name: str) -> int:
    """Gives the request's number, as hive-apply finds it."""

    def deed() -> dict[str, Any]:
        write(w.peer("operator"), "spawn", **wish(name))
        w.wait_until(lambda: request(w, name) is not None)
        return request(w, name) or {}

    number: int = w.through(deed)["id"]
    return number


def requests(w: World, name: str) -> int:
    with contextlib.closing(sqlite3.connect(w.folder / "state/db/hive.db")) as db:
        (count,) = db.execute("select count(*) from request where agent = ?", (name,)).fetchone()
    assert isinstance(count, int)
    return count


def spawn(name: str) -> Step:
    def step(w: World) -> None:
        number = ask_for(w, name)
        about = {"name": name, "role": "manager" if name == "manager" else "agent", "description": ""}
        w.ok("system", "applied", request=number, agent=about | {"uid_base": BASES[name]})
        (w.folder / f"state/apply/{number}.json").unlink()
        assert w.ok("operator", "spawn", **wish(name))["uid_base"] == BASES[name]
        assert name in w.names() and requests(w, name) == 1
        w.ok(f"{name}/tool", "whoami")

    step.__name__ = f"spawn_{name}"
    return step


def spawn_in_vain(w: World) -> None:
    number = ask_for(w, "eve")
    w.ok("system", "apply_failed", request=number, message="no")
    assert w.call("operator", "spawn", **wish("eve"))["error"] == "apply-failed"
    assert requests(w, "eve") == 1
    (w.folder / f"state/apply/{number}.json").unlink()


def uid_taken(w: World) -> None:
    about = {"name": "eve", "role": "agent", "description": ""} | UID
    assert w.call("system", "applied", request=99, agent=about)["error"] == "storage"
    assert "eve" not in w.names()


def nothing_is_asked_for_again(w: World) -> None:
    w.through(w.kill)
    assert list((w.folder / "state/apply").glob("*.json")) == []
    assert w.ok(
        "system", "applied", request=1, agent={"name": "ada", "role": "agent", "description": ""} | UID
    )["ok"]


def socket_vanishes(w: World) -> None:
    """A cleaner of /run, say: nobody can connect until the broker is started again."""

    def deed() -> dict[str, Any]:
        (w.folder / "run/agents/ada/hive.sock").unlink(missing_ok=True)
        w.leave("ada/tool")
        return w.kill()

    w.through(deed)
    w.ok("ada/tool", "whoami")


BIRTH = [
    start,
    spawn("manager"),
    spawn("ada"),
    spawn("bob"),
    spawn_in_vain,
    uid_taken,
    nothing_is_asked_for_again,
    socket_vanishes,
]
