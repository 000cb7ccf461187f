import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.changing import events
from tests.endpoints import Rehearsal, rehearsal
from tests.hive import ROOT, Hive, Peer, hive
from tests.web import Web, web

# What a shell starts in the background ignores it, and so would every program that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

RULES = (ROOT / "tests/rehearsed.toml").read_text()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that cannot run is no proof: at home it may be skipped, in CI that is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and session.exitstatus == 0:
        reporter.ensure_newline()
        reporter.write_line("tests were skipped, and CI is set: that is a failure", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Hive]:
    """A broker of the test's own, with three agents."""
    with hive(tmp_path) as it:
        it.add("manager", "ada", "bob")
        yield it


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A hive-web before a broker with three agents, for the tests of a module."""
    with hive(tmp_path_factory.mktemp("site")) as here:
        here.add("manager", "ada", "bob")
        with web(here) as it:
            yield it


@pytest.fixture
def own(here: Hive) -> Iterator[Web]:
    """One of the test's own."""
    with web(here) as it:
        yield it


@pytest.fixture
def signed(site: Web) -> Web:
    """The same, signed in anew."""
    site.sign_in()
    return site


@pytest.fixture
def manager(here: Hive) -> Peer:
    it = here.agent("manager")
    events(it)  # of the agents that are there
    return it


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """The rehearsal model with tests/rehearsed.toml, for the tests of a module."""
    with rehearsal(tmp_path_factory.mktemp("model"), RULES) as running:
        yield running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Rehearsal]:
    """The same, for one test."""
    with rehearsal(tmp_path / "model", RULES) as running:
        yield running
