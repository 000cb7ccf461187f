"""Debian's Chromium before a real hive-web with a real broker behind it."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from hyperhive.stats import made
from tests.hive import ROOT, Hive, Peer, hive
from tests.page import scene
from tests.web import Web, web

CHROMIUM = "/usr/bin/chromium"
# It would look for its maker's servers otherwise, at every start.
QUIET = "gpu quic background-networking component-update sync".split()
LIVE = "#live"
AXE = ROOT / "node_modules/axe-core/axe.min.js"
Size = tuple[int, int]
DESK, PHONE = (1280, 900), (390, 844)
SECONDS = 15  # that the page may take for anything, on a busy machine
expect.set_options(timeout=1000 * SECONDS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """For one module: the library keeps an event loop running, so that other tests could not begin one."""
    with sync_playwright() as library:
        # as root, which Chromium's own sandbox is not for
        args = ["--no-first-run", *(f"--disable-{each}" for each in QUIET)]
        browser = library.chromium.launch(executable_path=CHROMIUM, args=args, chromium_sandbox=False)
        yield browser
        browser.close()


@dataclass
class Site:
    hive: Hive
    web: Web
    agents: dict[str, Peer]
    open: Callable[..., Page]

    @property
    def operator(self) -> Peer:
        return self.hive.operator()


@pytest.fixture
def site(tmp_path: Path, chromium: Browser) -> Iterator[Site]:
    with stage(tmp_path, chromium) as it:
        yield it


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Site]:
    """For tests that only look."""
    with stage(tmp_path_factory.mktemp("still"), chromium) as it:
        yield it


@contextmanager
def stage(folder: Path, chromium: Browser, days: int = 0) -> Iterator[Site]:
    """A hive with something of everything, and pages that are signed in. They may not complain."""
    complaints: list[str] = []
    with hive(folder) as here, ExitStack() as stack:
        if days:
            worked(here, days)
        here.add("manager", "bob")
        agents = scene.fill(here)
        served = stack.enter_context(web(here))

        def opened(path: str = "/", size: Size = DESK, *, signed_in: bool = True, **more: Any) -> Page:
            context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, **more)
            stack.callback(context.close)
            context.set_default_timeout(1000 * SECONDS)
            if signed_in:
                sign_in(context, served)
            page = context.new_page()
            page.on("console", lambda said: complaints.append(said.text) if is_wrong(said) else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(served.origin + path)
            return page

        yield Site(here, served, agents, opened)
    assert complaints == []


def worked(here: Hive, days: int) -> None:
    """So many days of telemetry up to the last midnight, before its broker has begun."""
    path = here.state / "db/stats.db"
    until = datetime.now(UTC)
    made.make(path, seed=3, agents=3, days=days, turns=150 * days, until=until)


def sign_in(context: BrowserContext, served: Web) -> None:
    context.add_cookies([{"name": served.name, "value": served.token, "url": served.origin}])


def is_wrong(said: ConsoleMessage) -> bool:
    """Chromium says itself that a request failed, which the page shows in words."""
    refused = re.search(r"Failed to load resource: (net::|.* a status of 40[0-9])", said.text)
    return said.type in ("error", "warning") and not refused


def live(page: Page) -> Page:
    """As soon as the stream of events is open."""
    expect(page.locator(LIVE)).to_have_text("live")
    return page


def fits(page: Page) -> bool:
    """Nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def serious(page: Page, within: str = "html") -> list[Any]:
    """What axe finds that shuts somebody out."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("(within) => axe.run(within, { resultTypes: ['violations'] })", within)
    return [
        (each["id"], each["help"], [node["html"][:150] for node in each["nodes"][:5]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
