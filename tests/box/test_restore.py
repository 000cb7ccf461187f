"""A backup of a hive at work, and the way back, as an admin goes it."""

import re

from hyperhive.ctl.backups import UNITS
from tests.box.conftest import Run
from tests.box.crew import Crew, Watch

FILE = "/var/lib/hyperhive/hive.tar"


def test_backup_refusal_stop_restore_start(crew: Crew, run: Run, watch: Watch) -> None:
    before = crew.send("bob", "before the backup")
    watch.until("turn", agent="bob", outcome="ok")
    run("hivectl", "backup", FILE)
    crew.call("send", to="operator", body="after the backup")
    watch.connection.close()
    refused = run("hivectl", "restore", FILE, check=False)
    assert refused.returncode == 1
    way_out = re.search(
        r"^not while .*hive-broker.service.* is active\n\((systemctl stop .*)\)$", refused.stderr
    )
    assert way_out, refused.stderr
    run("sh", "-c", way_out[1])
    try:
        said = run("hivectl", "restore", FILE).stdout
    finally:
        run("systemctl", "start", "hyperhive.target")
    aside = re.search(r"in (/var/lib/hyperhive/db/before-\S+) ", said)
    assert aside
    listed = run(
        "stat", "--format=%U %G %a %n", "/var/lib/hyperhive/db/hive.db", f"{aside[1]}/hive.db"
    ).stdout
    assert listed.splitlines()[0] == "hive hive-explore 600 /var/lib/hyperhive/db/hive.db"
    assert crew.state(before).startswith("done")
    bodies = [message["body"] for message in crew.call("mail", agent="operator")["messages"]]
    assert "after the backup" not in bodies
    again = crew.watch()
    crew.send("bob", "after the restore")
    again.until("turn", agent="bob", outcome="ok")
    again.connection.close()


def test_a_damaged_database_is_reported_and_restored(crew: Crew, run: Run) -> None:
    run("hivectl", "backup", FILE)
    units = " ".join(("hyperhive.target", *UNITS))
    run("sh", "-c", f"systemctl stop {units}; truncate --size=20000 /var/lib/hyperhive/db/hive.db")
    run("systemctl", "start", "hyperhive.target", check=False)
    wait = "until systemctl is-failed --quiet hive-broker; do systemctl is-active --quiet dbus || exit;"
    run("timeout", "30", "sh", "-c", f"{wait} sleep 0.1; done")
    assert crew.property("hive-broker.service", "ExecMainStatus") == "78"
    run("journalctl", "--sync")
    said = "\n".join(str(entry["MESSAGE"]) for entry in crew.journal("_SYSTEMD_UNIT=hive-broker.service"))
    assert "hivectl restore FILE puts a backup in its place" in said
    for socket in UNITS[1:]:  # nobody's call starts it again
        assert crew.property(socket, "ActiveState") == "inactive"
    refused = run("hivectl", "status", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("cannot reach the broker")
    run("hivectl", "restore", FILE)
    run("systemctl", "start", "hyperhive.target")
    assert crew.call("status")["agents"] >= 3
    watch = crew.watch()
    crew.run("systemd-run", "--quiet", "--unit=hive-probe-restored.service", "true")
    watch.until("finished", unit="hive-probe-restored.service")  # hive-watch reaches the broker again
    watch.connection.close()
