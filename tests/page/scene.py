"""A hive in which everything is that the page can show: agents, requests, questions, mail, a crash."""

import json
import time
from typing import Any

from hyperhive import wire
from tests.changing import as_deployed, carry_out, draft, newest, queued, spawned
from tests.hive import NEVER, Hive, Peer

UNIT = "hive-agent@ada.service"
EVE = """description = "reviews what ada writes"
[tools]
allow = ["Read", "Grep", "Bash(git *)"]
[send]
to = ["manager", "ada"]
"""
# Markup, a script, text that turns around, a terminal's escapes, and one long word.
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "</pre></textarea><h1 id=owned>owned</h1> \u202etxt.exe\u2066 \x1b[31mred\x1b]0;owned\x07 {{7*7}} %end\n"
    + "A"
    * 60_000
)
EDIT = {
    "file_path": "/state/src/parser.py",
    "old_string": "def parse(text):\n    return re.split(PATTERN, text)\n",
    "new_string": "def parse(text):\n    return list(tokens(text))\n",
}
WORK: list[tuple[str, str | None, str]] = [
    ("text", None, "I look at what there is first."),
    ("tool", "Bash", json.dumps({"command": "git status --short && wc -l src/*.py"})),
    ("result", None, " M src/parser.py\n  214 src/parser.py\n  109 src/tokens.py"),
    ("tool", "Edit", json.dumps(EDIT)),
    ("error", None, "src/parser.py has changed since it was read"),
]
LAST_WORDS = ["Traceback (most recent call last):", "RuntimeError: the disk of ada is full"]


def turn(peer: Peer, number: int, outcome: str = "ok", **more: Any) -> None:
    about = {
        "number": number,
        "started_at": wire.stamp(time.time() - 2.31),
        "duration_ms": 2310,
        "outcome": outcome,
        "model": "sonnet",
        "woken_by": "mail",
        "messages": 1,
        "tool_calls": 3,
        "tools": {"Bash": 2, "Edit": 1},
        **dict.fromkeys(("tokens_in", "tokens_out", "tokens_cache_read", "tokens_cache_write"), 1200),
        "cost_usd": 0.03,
        "session": "s",
    }
    assert peer.ask("turn", **about | more)["ok"]


def happened(peer: Peer, number: int, what: list[tuple[str, str | None, str]], after: int = 0) -> None:
    """What a turn reports of itself: kind, tool and text of each event."""
    events = [
        {"n": n, "kind": kind, "tool": tool, "id": f"call-{n}", "text": text, "bytes": len(text.encode())}
        for n, (kind, tool, text) in enumerate(what, after + 1)
    ]
    assert peer.ask("turn_events", number=number, events=events)["ok"]


def propose(hive: Hive, manager: Peer, name: str = "eve", toml: str = EVE, **more: str) -> int:
    """The manager asks for a new agent. Gives the request's number."""
    draft(hive, name, {"agent.toml": toml, "prompt.md": "Read every line. Be kind.\n"})
    answer = manager.ask("request_spawn_commit", agent=name, commit_ref="main", **more)
    assert answer["ok"], answer
    return int(answer["request"])


def crash(hive: Hive, invocation: str, unit: str = UNIT) -> None:
    """As hive-watch tells of it."""
    about = {"unit": unit, "invocation": invocation, "result": "exit-code", "exit_status": 3, "restarts": 0}
    system, ending = hive.system(), {"restarted": False, "runtime": 12.5, "log": LAST_WORDS}
    at, began = (wire.stamp(time.time() - ago) for ago in (0, 12.5))
    assert system.ask("event", event="started", unit=unit, invocation=invocation, at=began)["ok"]
    assert system.ask("event", event="container_crash", at=at, **about, **ending)["new"]


def denied(peer: Peer, command: str, part: str = "", rule: str = "no rule allows it") -> int:
    about = {"command": command, "part": part or command, "rule": rule, "nearest": "Bash(git *)"}
    return int(peer.ask("denied", tool="Bash", **about)["denial"])


def way_out(hive: Hive, host: str) -> str:
    """ada reached one host, and was refused another, as hive-watch tells of it."""
    about = {"agent": "ada", "at": wire.stamp(time.time() - 60), "port": 443, "address": "", "count": 1}
    nothing = {"sent": 0, "received": 0, "ms": 0}
    reached = {"host": "git.example.org", "rule": "*.example.org:443", "end": "closed", "sent": 2_400}
    facts = [about | nothing | reached | {"received": 31_000_000, "ms": 1200}]
    facts.append(about | nothing | {"host": host, "rule": "allow", "end": "denied"})
    system, after = hive.system(), None
    while not (answer := system.ask("gate_facts", after=after, cursor=host, facts=facts))["taken"]:
        after = answer["read_to"]
    return host


def carried(hive: Hive, op: str, **fields: Any) -> None:
    """What the operator may have done without asking, done."""
    number = hive.operator().ask(op, **fields)["request"]
    queued(hive, number)
    more = {"kept": {"bytes": 48_000_000, "login": True}} if op == "destroy" else {}
    carry_out(hive, number, **more)


def death(hive: Hive, name: str) -> None:
    """Mail that five runs did not finish."""
    hive.operator().ask("send", to=name, body="Convert the archive to UTF-8.")
    peer = hive.agent(name)
    for _ in range(5):
        while not peer.ask("recv")["messages"]:
            pass
        assert peer.ask("fail", reason="timed-out: silent for 1800 s")["ok"]
    peer.close()


def fill(hive: Hive) -> dict[str, Peer]:
    """Everything at once. Gives the agents' connections."""
    spawned(hive, "ada", 'description = "writes code"\n[tools]\nallow = ["Read", "Edit"]\n')
    about = as_deployed(hive, "ada") | {"description": "writes code"}
    assert hive.system().ask("applied", request=NEVER, agent=about)["ok"]
    spawned(hive, "carl", 'description = "looked after the archive"\n')
    carried(hive, "destroy", agent="carl")
    carried(hive, "draft", agent="fay", description="keeps the changelog")
    death(hive, "bob")
    crash(hive, f"{7:032x}")
    manager, ada = hive.agent("manager"), hive.agent("ada")
    propose(hive, manager, note="ada asks for somebody to review her work")
    branches = ["main", "next", "stable"]
    manager.ask("ask", question="Which branch do we release from?", options=branches, ttl=7200)
    manager.ask("ask", question="Who may see the report?", options=["ada", "bob", "everybody"], multi=True)
    ada.ask("ask", question="What should the new command be called?")
    ada.ask("set_status", status="rewriting the parser")
    turn(ada, 1, asked="sonnet")
    turn(ada, 2, "timed-out", error="silent for 1800 s")
    happened(ada, 2, [("error", None, "the endpoint said nothing for 1800 s")])
    happened(ada, 3, WORK)
    denied(ada, "cd src && make check", "make check")
    denied(ada, "git log > /etc/motd", "> /etc/motd", "it would write outside /state, /home/agent and /tmp")
    ada.ask("progress", number=3, text="Edit src/parser.py", model="sonnet")
    talk(hive, manager, ada)
    return {"manager": manager, "ada": ada}


def talk(hive: Hive, manager: Peer, ada: Peer) -> None:
    operator = hive.operator()
    (wish,) = operator.ask("send", to="manager", body="Please have the parser rewritten.")["ids"]
    manager.ask("send", to="ada", body="Rewrite the parser: one pass, no regular expressions.")
    half = "The first half is done. The tests are green:\n\n  214 passed in 3.1 s"
    ada.ask("send", to="manager", body=half)
    manager.ask("send", to="operator", body="ada is half way. I ask for a reviewer.", in_reply_to=wish)
    ada.ask("recv")


def deployed(hive: Hive, name: str, toml: str) -> None:
    """Another deploy of an agent that is there."""
    made = draft(hive, name, {"agent.toml": toml})
    manager = hive.agent("manager")
    answer = manager.ask("request_apply_commit", agent=name, commit_ref=made.git("rev-parse", "HEAD"))
    assert answer["ok"], answer
    assert hive.operator().ask("approve", request=answer["request"])["ok"]
    assert newest(hive) == answer["request"]
    carry_out(hive, answer["request"])
    manager.close()


def told(peer: Peer) -> list[dict[str, Any]]:
    """What system has told an agent."""
    return [json.loads(m["body"]) for m in peer.ask("recv", max=100)["messages"] if m["from"] == "system"]
