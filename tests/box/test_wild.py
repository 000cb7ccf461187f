"""An agent gone wild stays within its limits, and the others go on working. Each flood here has an end."""

import json
import sqlite3
import statistics
import time
from contextlib import closing

import pytest

from tests.box.changes import change
from tests.box.crew import Crew
from tests.hive import Hive

TASKS = 160
FORK = """
import os, time
made = []
try:
    while len(made) < 1000:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.closerange(0, 10)
            time.sleep(20)  # to be there is all that it does; no child outlives this
            os._exit(0)
        made.append(pid)
except BlockingIOError:
    pass
for pid in made[-40:]:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
print(len(made))
"""


def run(crew: Crew, name: str, script: str) -> str:
    (crew.root / f"var/lib/hyperhive/agents/{name}/state/wild.py").write_text(script)
    return crew.bash(name, "python3 /state/wild.py")


@pytest.fixture(scope="module")
def mad(crew: Crew) -> str:
    crew.spawn("mad", extra=f"limits.TasksMax = {TASKS}")
    return "mad"


def test_a_fork_bomb_ends_at_the_limit(crew: Crew, mad: str) -> None:
    made = int(run(crew, mad, FORK))
    assert (
        40 < made < TASKS
    )  # without a control group that counts: by RLIMIT_NPROC, which is that of its uid
    began = time.monotonic()
    assert crew.bash("ada", "echo fine") == "fine"
    assert time.monotonic() - began < 20
    held = len(crew.processes(mad))  # as systemctl status lists them
    assert made - 40 <= held < TASKS
    crew.run("systemctl", "stop", f"hive-agent@{mad}.service")
    assert crew.processes(mad) == {}


FILL = """
import errno, json, os
made = {}
for folder in ("/var/tmp",):
    n = 0
    try:
        while n < 200_000:
            os.close(os.open(f"{folder}/f{n}", os.O_CREAT | os.O_WRONLY))
            n += 1
    except OSError as e:
        made[folder] = [n, errno.errorcode[e.errno]]
    for i in range(n):
        os.unlink(f"{folder}/f{i}")
data = open("/dev/fill", "wb", 0)
try:
    while data.tell() < 2**26:
        data.write(bytes(2**20))
except OSError as e:
    made["bytes"] = [data.tell(), errno.errorcode[e.errno]]
os.unlink("/dev/fill")
sizes = {}
for folder in ("/tmp", "/var/tmp", "/run", "/dev", "/dev/shm", "/etc"):
    about = os.statvfs(folder)
    sizes[folder] = about.f_blocks * about.f_frsize
memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
print(json.dumps({"made": made, "share": {folder: size / memory for folder, size in sizes.items()}}))
"""


def test_what_is_temporary_has_a_limit(crew: Crew, mad: str) -> None:
    said = json.loads(run(crew, mad, FILL))
    assert {why for _, why in said["made"].values()} == {"ENOSPC"}
    assert said["made"].keys() == {"/var/tmp", "bytes"}
    assert max(said["share"].values()) < 0.21
    assert sum(said["share"].values()) < 0.6
    assert crew.bash(mad, "echo x > /tmp/x && cat /tmp/x") == "x"


CALLS, LINES = 10_000, 20_000
LOUD = f"""#!/usr/bin/python3 -I
import json, sys


def say(**event):
    print(json.dumps(event), flush=True)


for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "control_request":
        about = {{"subtype": "success", "request_id": message["request_id"], "response": {{}}}}
        say(type="control_response", response=about)
    elif message["type"] == "user":
        servers = [{{"name": "hive", "status": "connected"}}]
        say(type="system", subtype="init", session_id="loud", model="loud", mcp_servers=servers)
        wild = "go on" in line
        for n in range({CALLS} * wild):
            about = {{"name": "Bash", "input": {{"command": "true"}}}}
            call = {{"type": "tool_use", "id": f"toolu_{{n}}", **about}}
            say(type="assistant", message={{"model": "loud", "content": [call]}})
        for n in range({LINES} * wild):
            print("noise", n, file=sys.stderr)
        about = {{"session_id": "loud", "usage": {{}}, "num_turns": 1, "total_cost_usd": 0}}
        good = {{"subtype": "success", "is_error": False, "terminal_reason": "completed", "result": "done"}}
        say(type="result", **about, **good)
"""


@pytest.fixture(scope="module")
def loud(crew: Crew) -> int:
    """One that calls 10,000 tools in a turn and writes 20,000 lines. Gives the turn's number."""
    crew.spawn("loud", linger=5)
    files = {"agent.toml": 'runner = "exec:loud"\nlinger = 30\n', "bin/loud": LOUD}
    assert change(crew, "loud", files)["state"] == "deployed"
    watch = crew.watch()
    crew.send("loud", "go on")
    watch.until("wild", agent="loud", kind="many_calls")
    turn = watch.until("turn", agent="loud")
    watch.connection.close()
    assert turn["outcome"] == "ok"
    number: int = turn["number"]
    return number


COUNT = """
import sqlite3, sys
events = sqlite3.connect("file:/var/lib/hyperhive/db/events.db?mode=ro", uri=True)
query = "select count(*) from turn_events where agent = 'loud' and number = ?"
print(events.execute(query, sys.argv[1:]).fetchone()[0])
"""


def test_10_000_tool_calls_are_counted_and_not_all_kept(crew: Crew, loud: int) -> None:
    turn = next(each for each in crew.call("show", agent="loud")["recent_turns"] if each["number"] == loud)
    assert turn["tool_calls"] == CALLS
    kept = int(crew.run("/usr/bin/python3", "-c", COUNT, str(loud)).stdout)
    assert 100 < kept <= 2000
    assert crew.bash("ada", "echo fine") == "fine"


def test_a_flood_of_log_lines_is_cut_short(crew: Crew, loud: int) -> None:
    crew.run("journalctl", "--sync")
    lines = crew.run("journalctl", "--unit=hive-agent@loud.service", "--output=cat").stdout
    assert 500 <= lines.count("noise") < LINES / 2


def test_the_operator_sees_that_lines_were_dropped(crew: Crew, loud: int) -> None:
    # journald says so when the interval is over and the unit writes again
    more = crew.root / "run/systemd/system/hive-agent@loud.service.d/log.conf"
    more.parent.mkdir(parents=True, exist_ok=True)
    more.write_text("[Service]\nLogRateLimitIntervalSec=1s\n")
    crew.run("systemctl", "daemon-reload")
    crew.run("systemctl", "stop", "hive-agent@loud.service")
    watch = crew.watch()
    crew.send("loud", "quietly")
    watch.until("turn", agent="loud")
    crew.run("systemctl", "stop", "hive-agent@loud.service")  # wakes hive-watch
    said = watch.until("wild", agent="loud", kind="log_flood")
    watch.connection.close()
    assert not said["over"] and "of its lines were dropped" in said["text"]
    text = crew.run("hivectl", "status").stdout
    assert f"{said['text']}, since " in text
    assert "\n  systemctl stop hive-agent@loud.socket hive-agent@loud.service\n" in text
    assert "many_calls" not in [each["kind"] for each in crew.call("status")["wild"]], "its turn is over"
    facts = crew.journal("HIVE_AGENT=loud", "HIVE_EVENT=log_flood", "HIVE_EVENT=many_calls")
    assert [fact["HIVE_EVENT"] for fact in facts] == ["many_calls", "log_flood"]
    assert int(facts[1]["HIVE_COUNT"]) > LINES / 2


def test_a_flood_of_mail_ends_at_the_limit_and_holds_up_nobody(here: Hive) -> None:
    flood, other = here.agent("ada", "tool"), here.agent("bob")
    waited = []
    for to in ("manager", "bob"):
        for _ in range(100):
            numbers = [flood.write("send", to=to, body="x") for _ in range(50)]
            began = time.monotonic()
            assert other.ask("loose_ends")["ok"]
            waited.append(time.monotonic() - began)
            assert all(flood.answer(number)["ok"] for number in numbers)
    refused = flood.ask("send", to="bob", body="x")
    assert refused["error"] == "queue-full" and "ada has 10000 undelivered messages" in refused["message"]
    assert other.ask("send", to="operator", body="still here")["ok"]
    assert statistics.median(waited) < 0.5
    operator = here.operator()
    rows = {row["name"]: row for row in operator.ask("agents")["agents"]}
    assert rows["manager"]["waiting"] >= rows["bob"]["waiting"] == 5_000  # as the page shows them
    (seen,) = [each for each in operator.ask("state")["waiting"] if each["kind"] == "mail_flood"]
    assert seen["title"] == "ada has 10,000 undelivered messages out and is refused more"
    assert (seen["agent"], seen["since"]) == ("ada", rows["ada"]["wild"][0]["since"])
    assert seen["do"] == "systemctl stop hive-agent@ada.socket hive-agent@ada.service"
    query = "select agent, kind, count from wild"
    with closing(sqlite3.connect(here.state / "db/stats.db", timeout=20)) as db:
        assert operator.ask("metrics")["ok"] and db.execute(query).fetchall() == [
            ("ada", "mail_flood", 10_000)
        ]
    while rows["ada"]["wild"]:  # over as soon as a tenth was read
        assert other.ask("recv", max=100)["messages"]
        assert other.ask("ack")["acked"] == 100
        rows = {row["name"]: row for row in operator.ask("agents")["agents"]}
    assert rows["bob"]["waiting"] == 3_900
