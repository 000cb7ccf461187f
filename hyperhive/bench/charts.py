"""The charts of the page for `make bench`, in Chromium and over all of what bench_stats.py has made."""

import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from hyperhive.bench import stats as bench_stats
from hyperhive.bench import web
from hyperhive.bench.bench import Figure, figure
from hyperhive.bench.browser import chromium
from hyperhive.bench.mail import Hive
from hyperhive.bench.web import Page
from hyperhive.stats import made
from hyperhive.web import charts

RUNS = 5
PAGES = {"an agent": "/agent/ada/charts", "the hive": "/charts"}


def drawn(browser: Browser, it: Page, path: str) -> list[float]:
    """Milliseconds from the begin of the page's loading until all its charts are drawn."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    name, _, value = it.cookie.partition("=")
    context.add_cookies([{"name": name, "value": value, "url": f"http://{it.host}"}])
    times = []
    for _ in range(RUNS + 1):
        page = context.new_page()
        page.goto(f"http://{it.host}{path}")
        at = page.wait_for_selector("#charts-at[data-drawn]", state="attached")
        assert at and page.locator("figure").count()
        times.append(float(at.get_attribute("data-drawn") or 0))
        page.close()
    context.close()
    return times[1:]  # the first one fills the browser's cache


def run(box: Path) -> list[Figure]:
    """What bench_stats.py has left in the box's /var/lib/hyperhive."""
    lib = box / ("disk/lib" if (box / "disk").exists() else "lib")
    return over(lib / bench_stats.MADE)


def over(stats: Path) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=stats.parent) as name:
        Path(name).chmod(0o711)
        hive = Hive(Path(name) / "hive", made.NAMES[:20])
        shutil.move(stats, hive.folder / "db/stats.db")
        with hive.broker(), web.page(hive) as it, chromium() as browser:
            return [of(browser, it, what, path) for what, path in PAGES.items()]


def of(browser: Browser, it: Page, what: str, path: str) -> Figure:
    found = [drawn(browser, it, f"{path}?window={window}") for window in charts.WINDOWS]
    about = f"page: charts of {what} drawn, slowest of the windows {', '.join(charts.WINDOWS)}"
    return figure(about, "ms", max(found, key=statistics.median), 500)
