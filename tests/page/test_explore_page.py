"""Datasette in a real browser: the dashboard, questions and what they lead to."""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from hyperhive.stats import made as telemetry_made
from hyperhive.web import loopback
from tests.explorer import SOCKETS, explorer, signed_in
from tests.hive import Hive
from tests.page.conftest import DESK, PHONE, SECONDS, Size, fits, is_wrong, serious

SIZES = {"desk": DESK, "phone": PHONE}
CHARTS = 12
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Open]:
    """Signed in, over thirty days of twenty agents. No page may complain, or load from elsewhere."""
    folder = tmp_path_factory.mktemp("explore")
    made = folder / "stats.db"
    telemetry_made.make(made, seed=1, agents=20, days=30, turns=6000, until=datetime.now(UTC))
    with closing(sqlite3.connect(made)) as db, db:
        columns = "agent, ts - 3456000000, ?, count, sum * 99, min, max, last"  # 40 days before
        one = "stats_hour where key = 'tool.Bash' order by ts desc limit 1"
        db.execute(f"insert into stats_hour select {columns} from {one}", (f"tool.{HOSTILE}",))  # noqa: S608
    here, complaints = Hive(folder), list[str]()
    here.sockets = SOCKETS
    here.start()
    with explorer(here, database=made) as it, ExitStack() as stack:

        def opened(path: str = "/", size: Size = DESK) -> Page:
            context = chromium.new_context(viewport={"width": size[0], "height": size[1]})
            stack.callback(context.close)
            context.set_default_timeout(1000 * SECONDS)
            name = loopback.cookie(it.origin)
            context.add_cookies([{"name": name, "value": signed_in(here), "url": it.origin}])
            page = context.new_page()
            page.on("console", lambda said: complaints.append(said.text) if is_wrong(said) else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on(
                "request",
                lambda asked: complaints.append(asked.url) if foreign(asked.url, it.origin) else None,
            )
            page.goto(it.origin + path)
            return page

        yield opened
    for peer in here.peers:
        peer.close()
    here.kill()
    assert complaints == []


def test_a_tool_named_by_an_agent_is_text(opened: Open) -> None:
    page = drawn(opened("/?agent=&since=2000-01-01"))
    expect(page.locator("#card-tools svg")).to_contain_text("<img")
    for bar in page.locator("#card-tools path[role=graphics-symbol]").all():
        bar.hover()
        expect(page.locator("#vg-tooltip-element")).to_be_visible()
    page.locator("#card-tools summary").click()
    expect(page.locator("#card-tools td").filter(has_text="<img")).to_be_visible()
    assert page.locator("img").count() == 0
    expect(page).to_have_title("The crew")


def foreign(url: str, origin: str) -> bool:
    return not url.startswith((f"{origin}/", "data:"))


def drawn(page: Page) -> Page:
    expect(page.locator("[data-drawn=yes]")).to_have_count(CHARTS)
    return page


def number(page: Page, name: str) -> int:
    return int(page.locator(f"#card-{name} .metric").inner_text().replace(",", ""))


@pytest.mark.parametrize("size", SIZES)
def test_the_dashboard(opened: Open, tmp_path: Path, size: str) -> None:
    page = drawn(opened("/", SIZES[size]))
    assert number(page, "turns") > 4000 and number(page, "failed") > 50
    for each in page.locator(".vega-lite").all():
        assert each.locator("svg").count() == 1, each.inner_text()
    assert fits(page)
    page.screenshot(path=tmp_path / f"dashboard-{size}.png", full_page=True)
    if size == "phone":  # what it finds is the same on a desk
        page.evaluate("document.querySelectorAll('.card details').forEach((each) => { each.open = true; })")
        assert serious(page, ".content") == []


def test_one_agent_since_a_day(opened: Open) -> None:
    page = drawn(opened())
    everybody, week = number(page, "turns"), datetime.now(UTC) - timedelta(days=7)
    page.locator("select[name=agent]").select_option("ada")
    page.locator("input[name=since]").fill(f"{week:%Y-%m-%d}")
    with page.expect_navigation(url=re.compile("agent=ada")):
        page.get_by_role("button", name="Show").click()
    drawn(page)
    hers = number(page, "turns")
    assert 0 < hers < everybody / 20
    page.locator("#card-agents summary").click()
    expect(page.locator("#card-agents td").first).to_have_text("ada")
    expect(page.locator("#card-agents tr")).to_have_count(2)
    page.get_by_role("link", name="Turns per day").click()
    expect(page).to_have_url(re.compile("/stats/outcomes_by_agent.*agent=ada"))


def test_no_rows_are_said_to_be_none(opened: Open) -> None:
    page = drawn(opened("/?agent=&since=2999-01-01"))
    assert number(page, "turns") == 0
    expect(page.locator("#card-cost .vega-lite")).to_have_text("Nothing, in this time.")
    assert page.locator(".vega-lite svg").count() == 0


@pytest.mark.parametrize("name", ["slowest_wakes", "failed_turns", "slowest_turns"])
def test_a_question_is_asked_again_of_one_agent(opened: Open, tmp_path: Path, name: str) -> None:
    page = opened(f"/stats/{name}?agent=&since=", PHONE)
    agents = page.locator("td.col-agent")
    assert len({*agents.all_inner_texts()}) > 10
    page.get_by_label("agent").fill("ada")
    with page.expect_navigation(url=re.compile("agent=ada")):
        page.get_by_role("button", name="Ask").click()
    assert {*agents.all_inner_texts()} == {"ada"}
    assert page.locator("td.col-journal code").first.inner_text().startswith("journalctl ")
    page.screenshot(path=tmp_path / f"{name}.png")
    agents.first.get_by_role("link").click(no_wait_after=True)
    expect(page).to_have_url(re.compile("/agent/ada"))


def test_pictures(opened: Open, tmp_path: Path) -> None:
    """For the README, where `make pictures` says to put them."""
    folder = Path(os.environ.get("PICTURES", tmp_path))
    page = drawn(opened("/", (1280, 1000)))
    page.screenshot(path=folder / "dashboard.png")
    page = opened("/stats/slowest_wakes?agent=ada&since=", (1280, 1000))
    page.screenshot(path=folder / "question.png")
    for name in ("dashboard", "question"):
        assert (folder / f"{name}.png").stat().st_size < 200_000
