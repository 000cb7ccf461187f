"""The hive and the units around it: an admin's own timer that writes mail, and the daily pruning."""

import re

from tests.box.conftest import ROOT, Run
from tests.box.crew import Crew


def example(name: str) -> str:
    """A unit as hivectl(1) shows it."""
    page = (ROOT / "man/hivectl.1.rst").read_text()
    found = re.search(rf"\*/etc/systemd/system/{re.escape(name)}\*.*::\n\n((?:    .*\n|\n)+)", page)
    assert found
    return re.sub(r"^    ", "", found[1], flags=re.M)


def test_a_timer_of_the_admin_s_mails_an_agent(crew: Crew, run: Run) -> None:
    for unit in ("morning.service", "morning.timer"):
        (crew.root / "etc/systemd/system" / unit).write_text(example(unit))
    run("systemctl", "daemon-reload")
    verified = run("systemd-analyze", "verify", "--recursive-errors=no", "morning.timer", "morning.service")
    assert verified.stdout + verified.stderr == ""
    run("systemctl", "enable", "--now", "morning.timer")
    assert "morning.timer" in run("systemctl", "list-timers", "--no-legend").stdout
    run("systemctl", "start", "morning.service")
    newest, *_ = crew.call("mail", agent="manager", limit=1)["messages"]
    assert (newest["from"], newest["body"][:12]) == ("operator", "Good morning")
    run("systemctl", "disable", "--now", "morning.timer")


def test_pruning_is_daily_and_works(crew: Crew, run: Run) -> None:
    assert crew.property("hive-prune.timer", "ActiveState") == "active"
    run("systemctl", "start", "hive-prune.service")
    assert crew.property("hive-prune.service", "Result") == "success"
    run("journalctl", "--sync")
    said = [entry["MESSAGE"] for entry in crew.journal("_SYSTEMD_UNIT=hive-prune.service")]
    assert any(re.fullmatch(r"deleted \d+ that ended more than 30 days ago", text) for text in said), said
