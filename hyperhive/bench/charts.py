"""The charts of the page for `make bench`, in Chromium and over all of what bench_stats.py has made."""

import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Page as Tab

from hyperhive.bench import stats as bench_stats
from hyperhive.bench import web
from hyperhive.bench.bench import Figure, figure
from hyperhive.bench.browser import chromium, tab
from hyperhive.bench.mail import Hive
from hyperhive.bench.web import Page
from hyperhive.stats import made
from hyperhive.web import charts

RUNS = 5
PAGES = {"an agent": "/agent/ada/charts", "the hive": "/charts"}


def drawn(opened: Tab, it: Page, path: str) -> float:
    """Milliseconds from the begin of the navigation until the frame with all its charts has been made."""
    it.send()  # so that hive-web keeps nothing from the last one
    opened.goto(f"http://{it.host}{path}")
    at = opened.wait_for_selector("#charts-at[data-drawn]", state="attached")
    assert at and opened.locator("figure").count()
    return float(at.get_attribute("data-drawn") or 0)


def run(box: Path) -> list[Figure]:
    """What bench_stats.py has left in the box's /var/lib/hyperhive."""
    lib = box / ("disk/lib" if (box / "disk").exists() else "lib")
    return over(lib / bench_stats.MADE)


def over(stats: Path) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=stats.parent) as name:
        Path(name).chmod(0o711)
        hive = Hive(Path(name) / "hive", made.NAMES[:20])
        shutil.move(stats, hive.folder / "db/stats.db")
        with hive.broker(), web.page(hive) as it, chromium() as browser, tab(browser, it) as opened:
            return [of(opened, it, what, path) for what, path in PAGES.items()]


def of(opened: Tab, it: Page, what: str, path: str) -> Figure:
    """In one tab, as the operator goes from page to page: to open one keeps Chromium busy with itself."""
    paths = [f"{path}?window={window}" for window in charts.WINDOWS]
    rounds = [[drawn(opened, it, each) for each in paths] for _ in range(RUNS + 1)]
    found = zip(*rounds[1:], strict=True)  # the first one fills the browser's cache
    about = f"page: gone to → all charts of {what} drawn, slowest of the windows {', '.join(charts.WINDOWS)}"
    return figure(about, "ms", list(max(found, key=statistics.median)), 500)
