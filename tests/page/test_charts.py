"""The charts of an agent and of the hive, over telemetry as a crew of three leaves it."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from hyperhive.stats import series
from hyperhive.web import charts
from tests.page import scene
from tests.page.conftest import DESK, PHONE, Site, Size, fits, live, serious, stage
from tests.page.test_looks import COVERED

ADA = "/agent/ada/charts"


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Site]:
    with stage(tmp_path_factory.mktemp("busy"), chromium, days=8) as it:
        yield it


def drawn(page: Page) -> Page:
    expect(page.locator("#charts-at")).to_have_attribute("data-drawn", re.compile(".+"))
    return page


def titles(page: Page) -> list[str]:
    found: list[str] = page.locator("#charts-at").evaluate("(each) => [...each.plots.keys()]")
    return found


def plotted(page: Page, title: str) -> Any:
    """The window, the grid and the lines of one chart."""
    script = """(title) => {
      const { window, grid, lines } = document.querySelector("#charts-at").plots.get(title);
      return { window, grid, lines: Object.fromEntries(lines.map((each) => [each.label, each.values])) };
    }"""
    return page.evaluate(script, title)


def test_every_series_has_a_chart() -> None:
    keys = {key for chart in (*charts.AGENT, *charts.HIVE) for key in chart.keys}
    assert keys == series.ALL.keys()


def test_an_agents_page_fetches_its_charts_when_one_gets_there(busy: Site) -> None:
    page = busy.open("/agent/ada")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    live(page)
    assert not any("uPlot" in url or "/api/charts" in url for url in asked)
    page.locator("#charts").scroll_into_view_if_needed()
    assert {"Time of a turn", "Calls by tool", "Cost", "Size of the notes"} <= {*titles(drawn(page))}
    assert any("uPlot" in url for url in asked)


def test_a_page_of_charts_comes_with_what_it_draws(busy: Site) -> None:
    page = drawn(busy.open(ADA))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{busy.web.origin}/charts?window=7d")
    assert {"Turns by agent", "Agents awake and asleep"} <= {*titles(drawn(page))}
    assert [url for url in asked if "/api/" in url and "/api/stream" not in url] == []


def test_in_each_window_all_charts_have_one_axis_and_gaps(busy: Site) -> None:
    page = drawn(busy.open(ADA))
    for window, hours in reversed(charts.WINDOWS.items()):
        page.get_by_role("link", name=window, exact=True).click()
        expect(page.locator("#charts-at")).to_have_attribute("data-shown", window)
        expect(page.locator("[aria-current]")).to_have_text(window)
        assert page.url.endswith(f"window={window}")
        one_axis(page, hours)
        expect(page.locator("summary").filter(has_text="All series")).to_have_text(
            f"All series of these {window}"
        )
        if hours > 24:
            assert None in plotted(page, "Time of a turn")["lines"]["median"]


def one_axis(page: Page, hours: int) -> None:
    found = [plotted(page, title) for title in titles(page)]
    for each in found:
        assert each["window"] == found[0]["window"]
        assert hours * 3600 <= each["window"][1] - each["window"][0] <= hours * 3600 * 1.02 + 60
        for values in each["lines"].values():
            assert len(values) == len(each["grid"]) and any(value is not None for value in values)


def test_what_is_drawn_is_what_the_hive_says(busy: Site) -> None:
    page = drawn(busy.open(f"{ADA}?window=7d"))
    since = datetime.fromtimestamp(plotted(page, "Cost")["grid"][0], UTC).isoformat().replace("+", "%2B")
    answer = busy.web.get(f"/api/stats?agent=ada&step=7200&since={since}").json
    told = {each["key"]: each for each in answer["series"]}
    for title, label, key, field in (
        ("Cost", "USD", "cost_usd", "value"),
        ("Time of a turn", "95 %", "turn_ms", "high"),
        ("Turns by outcome", "ok", "outcome.ok", "value"),
    ):
        shown = plotted(page, title)
        values = [value for value in shown["lines"][label] if value is not None]
        assert values == pytest.approx(told[key][field]), title


def test_pointing_at_one_tells_the_values_of_all(busy: Site) -> None:
    page = drawn(busy.open(f"{ADA}?window=7d"))
    cost = plotted(page, "Cost")
    most = max(range(len(cost["grid"])), key=lambda n: cost["lines"]["USD"][n] or 0)
    figure = page.locator("figure").filter(has_text="Values: Cost")
    figure.scroll_into_view_if_needed()
    box = figure.locator(".u-over").bounding_box()
    assert box
    first, last = cost["window"]
    left = (cost["grid"][most] - first) / (last - first) * box["width"]
    page.mouse.move(box["x"] + left, box["y"] + 40)
    value = cost["lines"]["USD"][most]
    expect(figure.locator(".u-value").nth(1)).to_have_text(f"{value:,.6f}".rstrip("0").rstrip(".") + " USD")
    other = page.locator("figure").filter(has_text="Values: Time of a turn")
    expect(other.locator(".u-value").nth(1)).to_contain_text("s")


def test_a_table_has_the_same_values(busy: Site) -> None:
    page = drawn(busy.open(f"{ADA}?window=3d"))
    page.get_by_text("Values: Turns by outcome").click()
    figure = page.locator("figure").filter(has_text="Values: Turns by outcome")
    shown = plotted(page, "Turns by outcome")["lines"]["ok"]
    cells = figure.locator(".values td:last-child").all_inner_texts()
    assert [int(cell.split()[0]) for cell in cells if cell != "none"] == [n for n in shown[::-1] if n]
    expect(figure.locator(".plot")).to_have_attribute("aria-label", re.compile("ok: 1 turn to"))


def test_nothing_is_drawn_from_no_data(site: Site) -> None:
    page = drawn(site.open("/agent/bob/charts?window=1h"))
    assert "Mail received, by from whom" in titles(page) and "Cost" not in titles(page)
    page = drawn(site.open(f"{ADA}?window=1h"))
    before = sum(value or 0 for value in plotted(page, "Turns by outcome")["lines"]["ok"])
    scene.turn(site.agents["ada"], 4, tools={"\u202e<b>x": 1}, tool_calls=1)
    lines = "document.querySelector('#charts-at').plots.get('Turns by outcome').lines"
    script = f"(n) => {lines}.some(({{ values }}) => values.some((each) => each > n))"
    page.wait_for_function(script, arg=before)  # drawn as it happens
    tools = page.locator("figure").filter(has_text="Values: Calls by tool")
    expect(tools.locator(".u-legend")).to_contain_text("\u00b7<b>x")


def test_without_scripts_there_is_a_table(busy: Site) -> None:
    page = busy.open(f"{ADA}?window=7d", java_script_enabled=False)
    row = page.locator(".figures tr").filter(has_text="cost_usd")
    expect(row).to_contain_text("in all")
    expect(page.locator("noscript")).to_be_visible()
    page.get_by_role("link", name="30d").click()
    expect(page.locator("summary").filter(has_text="30d")).to_be_visible()
    page.goto(f"{busy.web.origin}/agent/ada")
    page.get_by_role("link", name="on a page of its own").click()
    expect(page.locator(".figures")).to_be_visible()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_they_fit_and_shut_nobody_out(busy: Site, tmp_path: Path, size: Size) -> None:
    for path in (ADA, "/charts"):
        page = drawn(busy.open(path, size))
        page.screenshot(path=tmp_path / "charts.png", full_page=True)
        page.locator("figure summary").first.click()
        assert fits(page) and serious(page) == [] and page.evaluate(COVERED) == [], path


def test_pictures_of_charts(busy: Site, tmp_path: Path) -> None:
    """For the README, as in test_looks.py."""
    folder = Path(os.environ.get("PICTURES", tmp_path))
    page = drawn(busy.open(f"{ADA}?window=7d", (1280, 1000)))
    box = (
        page.locator("figure").filter(has_text="Values: Turns by outcome").locator(".u-over").bounding_box()
    )
    assert box
    turns = plotted(page, "Turns by outcome")
    first, last = turns["window"]
    most = max(range(20, 60), key=lambda n: turns["lines"]["ok"][n] or 0)
    page.mouse.move(box["x"] + (turns["grid"][most] - first) / (last - first) * box["width"], box["y"] + 50)
    page.screenshot(path=folder / "charts.png")
    assert (folder / "charts.png").stat().st_size < 200_000
