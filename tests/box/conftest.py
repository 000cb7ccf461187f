import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.box.crew import DONE, Crew, Watch
from tests.box.told import Told

ROOT = Path(__file__).parent.parent.parent
HIVE_BOX = os.fspath(ROOT / "bin/hive-box")

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


def hive_box(state: Path, *words: str, check: bool = True, **how: Any) -> Done:
    environment = os.environ | {"HIVE_BOX": str(state)}
    command = [HIVE_BOX, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, **how)
    said = f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0 or not check, said
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure, what the box's journal said last: it is gone when the machine that CI runs on is."""
    report = yield
    box = getattr(item, "funcargs", {}).get("box")
    if report.failed and box:
        tail = (
            "journalctl",
            f"--directory={box}/journal",
            "--lines=60",
            "--output=short-precise",
            "--no-pager",
        )
        said = subprocess.run(tail, capture_output=True, text=True, check=False).stdout
        report.sections.append(("the box's journal", said))
    return report


@pytest.fixture(scope="session")
def box() -> Iterator[Path]:
    """A box that is up and began empty: its state directory. Each worker of pytest-xdist has its own."""
    state = ROOT / "build" / f"box-{os.environ.get('PYTEST_XDIST_WORKER', 'test')}"
    hive_box(state, "down")  # an earlier run may have been killed
    shutil.rmtree(state, ignore_errors=True)
    hive_box(state, "up")
    yield state
    hive_box(state, "down")


@pytest.fixture(scope="session")
def run(box: Path) -> Run:
    """Run a command in the box; unless check=False, it must succeed."""

    def run_inside(*command: str, **how: Any) -> Done:
        return hive_box(box, "run", "--", *command, **how)

    return run_inside


@pytest.fixture(scope="session")
def crew(box: Path, run: Run) -> Crew:
    about = re.search(r"pid (\d+).*page at http://127\.0\.0\.1:(\d+)", hive_box(box, "status").stdout, re.S)
    assert about
    crew = Crew(run, int(about[1]), int(about[2]))
    crew.spawn("manager", linger=5)
    crew.spawn("ada")
    crew.spawn("bob", linger=5)
    return crew


@pytest.fixture
def watch(crew: Crew) -> Iterator[Watch]:
    crew.rules(DONE)
    crew.run("systemctl", "reset-failed")
    watch = crew.watch()
    yield watch
    watch.connection.close()


@pytest.fixture(scope="module")
def crash_crew(crew: Crew) -> Iterator[Crew]:
    """No start limit for ada: it is killed more often than five times in 20 seconds."""
    drop_in = crew.root / "run/systemd/system/hive-agent@ada.service.d/90-test.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("[Unit]\nStartLimitIntervalSec=0\n")
    crew.run("systemctl", "daemon-reload")
    yield crew
    drop_in.unlink()
    crew.run("systemctl", "daemon-reload")


@pytest.fixture
def told(crash_crew: Crew, watch: Watch) -> Iterator[Told]:
    told = Told(crash_crew, watch)
    yield told
    for file in told.drop_ins:
        file.unlink()
    crash_crew.run("systemctl", "daemon-reload")
    crash_crew.run("systemctl", "start", "hive-watch.service", "hyperhive.target")
