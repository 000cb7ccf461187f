"""What was asked for, decided and deployed is in a backup, with the commits."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hyperhive import backup
from tests.changing import asked, carry_out, draft, queued, spawned, tags, until
from tests.hive import Hive
from tests.hivectl import run
from tests.proposed import TOML, Proposed

MORE = TOML + "# more\n"


def known(here: Hive, request: int) -> dict[str, Any]:
    """All that an operator can look up about eve and a change of it."""
    operator = here.operator()
    history = operator.ask("history", agent="eve")["history"]
    return {"history": history, "diff": operator.ask("diff", request=request)["diff"], "tags": objects(here)}


def objects(here: Hive) -> str:
    """Each tag with its own hash, which says who made it, when and why."""
    command = ["git", "-C", f"{here.state}/registry/eve.git", "for-each-ref"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def change(here: Hive, repository: Proposed, toml: str) -> int:
    repository.commit({"agent.toml": toml})
    number = asked(here.agent("manager", "tool"), "eve")
    deploy = here.operator().ask("approve", request=number)["deploy"]
    carry_out(here, number)
    until(lambda: f"deployed/{deploy}" in tags(here, "eve"))
    return number


@pytest.fixture
def repository(here: Hive) -> Proposed:
    spawned(here, "eve")
    return draft(here, "eve", {"agent.toml": TOML})


def test_history_diff_and_rollback_after_a_restore(here: Hive, repository: Proposed) -> None:
    number = change(here, repository, MORE)
    before = known(here, number)
    run(here, "backup", str(here.folder / "hive.tar"))
    later = change(here, repository, TOML + "# later\n")
    here.kill()
    aside = backup.restore(here.folder / "hive.tar", here.state / "db")
    assert [path.name for path in (aside / "registry").iterdir()] == ["eve.git"]
    here.start()
    assert here.operator().ask("status")["ok"]
    assert known(here, number) == before
    fsck = ["git", "-C", f"{here.state}/registry/eve.git", "fsck", "--strict", "--connectivity-only"]
    subprocess.run(fsck, check=True, capture_output=True)
    back = here.operator().ask("rollback", agent="eve")
    assert (back["request"], back["deploy"]) == (later, 3)
    assert queued(here, back["request"])["files"] == {"agent.toml": TOML}
    carry_out(here, back["request"])
    until(lambda: "deployed/3" in tags(here, "eve"))
    assert change(here, repository, TOML + "# other\n") == later + 1


def test_a_restore_on_a_new_machine(here: Hive, repository: Proposed, tmp_path: Path) -> None:
    run(here, "backup", str(here.folder / "hive.tar"))
    folder = tmp_path / "new/db"
    folder.mkdir(parents=True)
    backup.restore(here.folder / "hive.tar", folder)
    kept = {path.name for path in (tmp_path / "new/registry/eve.git").iterdir()}
    assert kept == {"HEAD", "objects", "refs"}
