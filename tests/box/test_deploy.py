"""Changes of agents in the box: between two turns, with a check, and with a way back."""

import pytest

from hyperhive.apply import quota
from hyperhive.problem import Problem
from tests.box.changes import approved, ask, base, change, do, outcome, propose
from tests.box.crew import ALLOW, DONE, Crew, Watch

PROMPT = 'text = "."\nsystem = "SECRET WORD {word}"\nsay = "{word}"'
HOLD = 'text = "hold"\ntimes = 1\ndelay_ms = 2000\nsay = "held"'
UNTIL_TOLD = """
text = "hold"
[[rule.steps]]
call = [{ name = "Bash", input = { command = "until [ -e go ]; do sleep 0.1; done", description = "Wait" } }]
[[rule.steps]]
say = "held"
"""
BROKEN = {"agent.toml": 'runner = "exec:run"\n', "bin/run": "#!/bin/sh\necho no such thing >&2\nexit 3\n"}


def config(linger: int = 300, more: str = "") -> dict[str, str]:
    return {"agent.toml": f"linger = {linger}\n{more}\n[tools]\nallow = {ALLOW}\n"}


def deployed(crew: Crew, name: str) -> dict[str, str]:
    folder = crew.root / "etc/hyperhive/agents" / name
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def unit(name: str, kind: str = "service") -> str:
    return f"hive-agent@{name}.{kind}"


def turn(crew: Crew, watch: Watch, name: str) -> str:
    """Which rule of the model answered a message."""
    number = crew.send(name, "hello")
    watch.until("done", id=number)
    fact = crew.journal("HIVE_EVENT=rehearsed", f"HIVE_AGENT={name}")[-1]
    return str(fact["HIVE_RULE"])


def test_a_sleeping_agent_has_the_change_and_sleeps_on(crew: Crew, watch: Watch) -> None:
    crew.spawn_asleep("hob")
    crew.rules(PROMPT.format(word="plugh"), DONE)
    done = change(crew, "hob", config(more="[limits]\nTasksMax = 77") | {"prompt.md": "SECRET WORD plugh"})
    assert (done["state"], done["deploy"]) == ("deployed", 2)
    assert watch.until("awake", agent="hob")["wake_ms"] is None
    assert watch.until("asleep", agent="hob")["orderly"] is True
    assert crew.property(unit("hob"), "TasksMax") == "77"
    assert deployed(crew, "hob")["prompt.md"] == "SECRET WORD plugh"
    assert turn(crew, watch, "hob") == "1"


def test_an_agent_that_is_awake_is_restarted_and_gets_its_mail_afterwards(crew: Crew, watch: Watch) -> None:
    crew.spawn("ida")
    crew.rules(PROMPT.format(word="xyzzy"), DONE)
    assert turn(crew, watch, "ida") == "2"
    before = crew.property(unit("ida"), "InvocationID")
    number = approved(crew, "ida", config() | {"prompt.md": "SECRET WORD xyzzy"})
    assert outcome(crew, number)["state"] == "deployed"
    assert crew.property(unit("ida"), "InvocationID") != before
    assert crew.state_of(unit("ida")) == "active"
    assert turn(crew, watch, "ida") == "1"


def test_a_running_turn_is_waited_for_and_mail_that_comes_meanwhile_waits(crew: Crew, watch: Watch) -> None:
    crew.spawn("jan")
    turn(crew, watch, "jan")
    crew.rules(HOLD, PROMPT.format(word="after"), DONE)
    held = crew.send("jan", "hold")
    watch.until("progress", agent="jan")
    number = approved(crew, "jan", config() | {"prompt.md": "SECRET WORD after"})
    watch.until("approval", id=number, state="approved")
    later = crew.send("jan", "later")
    assert watch.until("turn", agent="jan")["outcome"] == "ok"
    watch.until("done", id=held)
    watch.until("approval", id=number, state="deployed")
    watch.until("done", id=later)
    assert (crew.state(held), crew.state(later)) == ("done 1", "done 1")
    assert [event["event"] for event in watch.seen if event.get("id") == later] == [
        "mail",
        "delivered",
        "done",
    ]


def test_what_waits_for_a_turn_holds_up_nobody_else(crew: Crew, watch: Watch) -> None:
    crew.spawn("jim")
    turn(crew, watch, "jim")
    crew.rules(UNTIL_TOLD, DONE)
    crew.send("jim", "hold")
    watch.until("progress", agent="jim")
    number = approved(crew, "jim", config() | {"prompt.md": "later"})
    crew.spawn("joe")
    watch.until("done", id=crew.send("joe", "are you there?"))
    assert crew.call("approval", request=number)["approval"]["state"] == "approved"
    crew.run("systemctl", "restart", "hive-broker.service")
    watch = crew.watch()
    later = crew.send("jim", "later")
    assert crew.call("approval", request=number)["approval"]["state"] == "approved"
    (crew.root / "var/lib/hyperhive/agents/jim/state/go").touch()
    watch.until("approval", id=number, state="deployed")
    watch.until("done", id=later)
    assert crew.state(later) == "done 1"


def test_mail_that_waited_for_a_change_in_vain_is_delivered(crew: Crew, watch: Watch) -> None:
    crew.spawn("jon", linger=5)
    propose(crew, "jon", BROKEN)
    number = ask(crew, "request_apply_commit", agent="jon", commit_ref="HEAD")
    crew.call("approve", request=number)
    waiting = crew.send("jon", "one")
    watch.until("approval", id=number, state="failed")
    watch.until("done", id=waiting)


def test_a_change_with_which_it_does_not_come_up_is_taken_back(crew: Crew, watch: Watch) -> None:
    crew.spawn("kai")
    before = deployed(crew, "kai")
    drop_in = crew.run("systemctl", "cat", unit("kai")).stdout
    waiting = crew.send("kai", "one")
    watch.until("done", id=waiting)
    failed = change(crew, "kai", BROKEN)
    assert failed["state"] == "failed"
    assert "no such thing" in failed["message"], failed["message"]
    assert "exit status 3" in failed["message"], failed["message"]
    assert deployed(crew, "kai") == before
    assert crew.run("systemctl", "cat", unit("kai")).stdout == drop_in
    assert crew.state_of(unit("kai", "socket")) == "active"
    number = crew.send("kai", "two")
    watch.until("done", id=number)
    folder = crew.root / "etc/hyperhive/agents"
    assert [path.name for path in folder.iterdir() if "kai" in path.name] == ["kai"]


def test_a_new_agent_that_does_not_come_up_is_no_agent(crew: Crew, watch: Watch) -> None:
    assert do(crew, "draft", agent="lea", description="does not live")["state"] == "deployed"
    propose(crew, "lea", BROKEN)
    number = ask(crew, "request_spawn_commit", agent="lea", commit_ref="HEAD")
    crew.call("approve", request=number)
    failed = outcome(crew, number)
    assert failed["state"] == "failed" and "no such thing" in failed["message"]
    assert "lea" not in [agent["name"] for agent in crew.call("agents")["agents"]]
    for path in ("hyperhive/agents/lea", "systemd/nspawn/h-lea.nspawn", f"systemd/system/{unit('lea')}.d"):
        assert not (crew.root / "etc" / path).exists()
    assert crew.state_of(unit("lea", "socket")) == "inactive"
    propose(crew, "lea", config())
    (crew.root / "var/lib/hyperhive/agents/lea/config/bin/run").unlink()
    again = ask(crew, "request_spawn_commit", agent="lea", commit_ref="HEAD")
    crew.call("approve", request=again)
    assert outcome(crew, again)["state"] == "deployed"
    watch.until("done", id=crew.send("lea", "alive?"))


def test_a_paused_agent_gets_the_files_and_is_not_started(crew: Crew, watch: Watch) -> None:
    crew.spawn("max")
    crew.run("systemctl", "stop", unit("max", "socket"), unit("max"))
    done = change(crew, "max", config() | {"prompt.md": "later"})
    assert (done["state"], done["message"][:13]) == ("deployed", "it is stopped")
    assert deployed(crew, "max")["prompt.md"] == "later"
    assert [crew.state_of(unit("max", kind)) for kind in ("socket", "service")] == ["inactive", "inactive"]
    crew.run("systemctl", "start", unit("max", "socket"))
    watch.until("done", id=crew.send("max", "go on"))


def test_a_quarantined_agent_comes_back_with_a_change(crew: Crew, watch: Watch) -> None:
    crew.spawn_asleep("ned")
    file = crew.root / "etc/hyperhive/agents/ned/agent.toml"
    file.write_text("colour = 1\n")
    number = crew.send("ned", "anyone?")
    failed = 'until systemctl is-failed --quiet "$0"; do systemctl is-active dbus || exit; sleep 0.1; done'
    crew.run("sh", "-c", failed, unit("ned", "socket"), timeout=60)
    assert change(crew, "ned", config())["state"] == "deployed"
    watch.until("done", id=number)


def test_the_units_of_an_earlier_release_are_written_again(crew: Crew) -> None:
    crew.spawn("rea")
    cage = crew.root / "etc/systemd/nspawn/h-rea.nspawn"
    text = cage.read_text()
    cage.write_text("[Exec]\nHostname=old\n")
    crew.run("systemctl", "restart", "hive-renew.service")
    assert cage.read_text() == text


def test_destroy_keeps_the_state_and_revive_brings_it_back(crew: Crew, watch: Watch) -> None:
    crew.spawn("oda")
    crew.bash("oda", "echo mine > /state/notes.md")
    uid = base(crew, "oda")
    assert do(crew, "destroy", agent="oda")["state"] == "deployed"
    assert "oda" not in [agent["name"] for agent in crew.call("agents")["agents"]]
    assert crew.state_of(unit("oda", "socket")) == "inactive"
    assert not (crew.root / "etc/hyperhive/agents/oda").exists()
    (kept,) = [each for each in crew.call("kept")["kept"] if each["name"] == "oda"]
    assert kept["bytes"] > 1000 and kept["login"] is False
    assert do(crew, "revive", agent="oda")["state"] == "deployed"
    assert base(crew, "oda") == uid
    assert crew.bash("oda", "cat /state/notes.md") == "mine"


def test_purge_takes_all_but_what_links_and_mounts_lead_to(crew: Crew, watch: Watch) -> None:
    crew.spawn("pia")
    plant = "ln -s / /state/root; ln -s /shared /home/agent/s; mkdir -p /state/a/b; echo x > /state/a/b/c"
    crew.bash("pia", plant)
    state = crew.root / "var/lib/hyperhive"
    precious = state / "shared/precious"
    precious.write_text("kept")
    assert do(crew, "destroy", agent="pia")["state"] == "deployed"
    mount = "/var/lib/hyperhive/agents/pia/state/a"
    crew.run("systemd-mount", "--type=tmpfs", "tmpfs", mount)
    failed = do(crew, "purge", agent="pia", confirm="pia")
    assert failed["state"] == "failed" and f"{mount} is a mount point" in failed["message"]
    assert (state / "homes/pia").exists()
    crew.run("systemd-umount", mount)
    assert do(crew, "purge", agent="pia", confirm="pia")["state"] == "deployed"
    left = [path.name for folder in ("agents", "homes") for path in (state / folder).iterdir()]
    assert not any("pia" in name for name in left)
    assert precious.read_text() == "kept"
    assert not any(each["name"] == "pia" for each in crew.call("kept")["kept"])


def test_a_draft_appears_in_the_managers_running_cage(crew: Crew, watch: Watch) -> None:
    """It may write proposals and in every state; of what runs it reads nothing but through mail."""
    crew.bash("manager", "true")
    run = crew.property(unit("manager"), "InvocationID")
    assert do(crew, "draft", agent="quin", description="knows things")["state"] == "deployed"
    script = """
        cd /agents/quin/config && git log --format=%s && cat agent.toml | grep description
        echo '# more' >> prompt.md && git commit -qam "more" && git log --format=%an | head -1
        echo from-manager > /agents/ada/state/m && cat /agents/ada/state/m
        ls -d /agents/quin/state && ls /agents/manager
        for p in /agents/x /agents/ada/x /config/x; do touch $p 2>/dev/null && echo OPEN $p; done
        mv /agents/ada/state /agents/ada/other 2>/dev/null && echo OPEN
        ls /home/agent/../ada /etc/hyperhive /var/lib/hyperhive 2>/dev/null && echo OPEN
        true
    """
    said = crew.bash("manager", script)
    assert said.splitlines() == [
        "A first draft",
        'description = "knows things"',
        "manager",
        "from-manager",
        "/agents/quin/state",
        "config",
        "state",
    ]
    assert crew.property(unit("manager"), "InvocationID") == run
    script = "cat /state/m; echo from-ada >> /state/m; tail -1 /state/m\n"
    script += "touch /config/x /agents/x && echo OPEN; true"
    said = crew.bash("ada", script)
    assert said.splitlines()[:2] == ["from-manager", "from-ada"] and "OPEN" not in said
    uid = base(crew, "manager")
    assert (crew.root / "var/lib/hyperhive/agents/ada/state/m").stat().st_uid == uid


@pytest.mark.parametrize("name", ["../ada", "ada/state", "a.b", "", "x" * 40, "ada\n", "operator", "-rf"])
@pytest.mark.parametrize("op", ["draft", "destroy", "revive", "purge", "rollback"])
def test_a_name_leads_nowhere(crew: Crew, op: str, name: str) -> None:
    fields = {"confirm": name} if op == "purge" else {}
    before = sorted(path.name for path in (crew.root / "var/lib/hyperhive/agents").iterdir())
    with pytest.raises(Problem) as caught:
        crew.call(op, agent=name, **fields)
    assert caught.value.code == "bad-name"
    assert sorted(path.name for path in (crew.root / "var/lib/hyperhive/agents").iterdir()) == before


def test_a_limit_of_the_disk_that_cannot_be_kept_is_told(crew: Crew) -> None:
    """The box has no quotas; tests/test_quota.py has."""
    unkept = quota.unkept("dan")
    born = do(crew, "spawn", agent="dan", toml='[limits]\ndisk = "5G"\n')
    assert (born["state"], born["message"]) == ("deployed", unkept)
    crew.run("systemctl", "restart", "hive-renew.service")
    assert f"{unkept}, ignoring" in crew.run("journalctl", "--unit=hive-renew").stdout
    doctor = crew.run("hivectl", "doctor", check=False)
    assert doctor.returncode == 1
    assert f"disk limits: NOT SOUND, 1 agent with limits.disk\n  {unkept}\n" in doctor.stdout
    assert do(crew, "destroy", agent="dan")["state"] == "deployed"
