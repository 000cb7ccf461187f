"""What hive-watch tells of a crash while it, or what it hears and tells, is away."""

import pytest

from tests.box.told import SIGKILL, Told


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
def test_systemd_reloads_in_the_middle_of_a_crash(told: Told, verb: str) -> None:
    watcher = told.crew.property("hive-watch.service", "InvocationID")
    run = told.wake()
    told.crew.run("sh", "-c", f"systemctl kill --signal=KILL hive-agent@ada.service; systemctl {verb}")
    told.only(run, "container_crash", **SIGKILL)
    again = told.wake()
    # not by systemctl, which systemd may not hear just then
    pid = told.crew.process("ada", "systemd-nspawn")
    told.crew.run("sh", "-c", f"systemctl {verb} & kill -KILL {pid}; wait")
    told.only(again, "container_crash", **SIGKILL)
    if verb == "daemon-reload":  # a systemd that is not there just then may cost it its connection
        assert told.crew.property("hive-watch.service", "InvocationID") == watcher


def test_the_bus_is_restarted(told: Told) -> None:
    run = told.wake()
    told.crew.run("sh", "-c", "systemctl restart dbus; systemctl kill --signal=KILL hive-agent@ada.service")
    told.only(run, "container_crash", **SIGKILL)


def test_hive_watch_is_down_during_the_crash(told: Told) -> None:
    run = told.wake()
    told.crew.run("systemctl", "stop", "hive-watch.service")
    told.crew.run("systemctl", "kill", "--signal=KILL", "hive-agent@ada.service")
    short = told.crew.send("ada", "go")  # a run that hive-watch never sees alive
    told.watch.until("done", id=short)
    unseen = told.crew.property("hive-agent@ada.service", "InvocationID")
    told.crew.run("systemctl", "kill", "--signal=KILL", "hive-agent@ada.service")
    told.watch.until("asleep", agent="ada")
    told.watch.until("done", id=told.crew.send("ada", "go"))
    told.crew.run("systemctl", "start", "hive-watch.service")
    told.watch.until("container_crash", invocation=run)
    told.watch.until("container_crash", invocation=unseen)
    told.crew.run("systemctl", "restart", "hive-watch.service")
    told.settle()
    assert (told.ends(run), told.ends(unseen)) == (["container_crash"], ["container_crash"])


def test_hive_watch_is_killed_during_the_crash(told: Told) -> None:
    run = told.wake()
    both = "systemctl kill --signal=KILL hive-agent@ada.service hive-watch.service"
    told.crew.run("sh", "-c", both)
    told.only(run, "container_crash", **SIGKILL)


def test_the_broker_is_down_during_the_crash(told: Told) -> None:
    run = told.wake()
    told.crew.run("systemctl", "kill", "--signal=STOP", "hive-broker.service")
    told.crew.run("systemctl", "kill", "--signal=KILL", "hive-agent@ada.service", "hive-broker.service")
    told.watch.connection.close()
    told.watch = told.crew.watch()
    told.settle()
    assert [mail["event"] for mail in told.mail(run)] == ["container_crash"]


def test_stop_of_the_hive_is_no_crash(told: Told) -> None:
    run = told.wake()
    told.crew.run("systemctl", "stop", "hyperhive.target")
    told.crew.run("systemctl", "start", "hyperhive.target")
    told.watch.connection.close()
    told.watch = told.crew.watch()
    told.settle()
    assert told.mail(run) == []
