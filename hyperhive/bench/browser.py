"""The figures of `make bench` that only a browser knows: outside of the box, where Playwright is."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab

from hyperhive.bench.bench import WAIT, Figure, figure
from hyperhive.bench.mail import NAMES, Hive, request
from hyperhive.bench.web import AGENTS, MESSAGES, Page, page

CHROMIUM = "/usr/bin/chromium"
OPTIONS = [
    "--no-first-run",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
LOADS = 20
ROUNDS = 50
REST = 0.3  # seconds; page.js fetches no oftener, and mail on its own is what is asked about

PAINT = """() => new Promise((found) => new PerformanceObserver((list) => {
  const paint = list.getEntriesByName("first-contentful-paint")[0];
  if (paint) found(paint.startTime);
}).observe({ type: "paint", buffered: true }))"""
BYTES = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .map((each) => each.transferSize).reduce((a, b) => a + b, 0)"""
# When each of the bench's letters was in the list and drawn, by the clock that Python has, too.
SEEN = """() => {
  window.seen = {};
  const look = () => {
    for (const [body] of document.querySelector("#mail-list").textContent.matchAll(/letter-\\d+-/g)) {
      if (!(body in seen)) { seen[body] = 0; requestAnimationFrame(() => { seen[body] = Date.now(); }); }
    }
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as library:
        # as root, which Chromium's own sandbox is not for
        browser = library.chromium.launch(
            executable_path=CHROMIUM, args=OPTIONS, chromium_sandbox=False, timeout=1000 * WAIT
        )
        yield browser
        browser.close()


@contextmanager
def tab(browser: Browser, it: Page) -> Iterator[Tab]:
    """With nothing kept from an earlier one, but signed in."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    name, _, token = it.cookie.partition("=")
    context.add_cookies([{"name": name, "value": token, "url": f"http://{it.host}"}])
    opened = context.new_page()
    opened.goto(f"http://{it.host}/")
    yield opened
    context.close()


def first_paints(browser: Browser, it: Page) -> tuple[list[float], list[float]]:
    """Milliseconds, and KB over the wire with headers, of the page with its style and script."""
    times, sizes = [], []
    for _ in range(LOADS):
        it.send()  # so that hive-web keeps nothing from the last one
        with tab(browser, it) as opened:
            times.append(float(opened.evaluate(PAINT)))
            opened.wait_for_load_state("load")
            sizes.append(opened.evaluate(BYTES) / 1000)
    return times, sizes


def letters(opened: Tab, it: Page, rest: float) -> list[float]:
    """Milliseconds from the moment that mail is sent until it is drawn."""
    times = []
    for number in range(ROUNDS):
        body = f"letter-{number}-"
        time.sleep(rest)  # as letters come: one at a time, to a browser at rest
        began = time.time() * 1000
        it.operator.ask(request("send", to=it.hive.names[-1], body=body))
        times.append(opened.wait_for_function("(body) => seen[body]", arg=body).json_value() - began)
    return times


def visible(browser: Browser, it: Page) -> list[Figure]:
    with tab(browser, it) as opened:
        opened.wait_for_function("document.querySelector('#live').textContent === 'live'")
        opened.evaluate(SEEN)
        alone = letters(opened, it, REST)
    return [figure("mail sent → drawn in Chromium", "ms", alone, 150)]


def run(parent: Path) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=parent) as name, chromium() as browser:
        Path(name).chmod(0o711)
        hive = Hive(Path(name) / "hive", NAMES[:AGENTS])
        hive.fill(MESSAGES)
        with hive.broker(), page(hive) as it:
            times, sizes = first_paints(browser, it)
            about = f"{AGENTS} agents, {MESSAGES} messages"
            return [
                figure(f"first contentful paint in Chromium: {about}", "ms", times, 300),
                figure("… transferred, with style and script", "KB", sizes, 150),
                *visible(browser, it),
            ]
