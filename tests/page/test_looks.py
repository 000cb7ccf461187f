"""How the pages look on a desk and on a phone: nothing overflows, is covered or shuts anybody out."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.page.conftest import DESK, PHONE, Site, Size, fits, live, serious

PAGES = {"page": "/", "agent": "/agent/ada", "request": "/request/5", "sessions": "/sessions"}
SIZES = {"desk": DESK, "phone": PHONE}
# Each control, scrolled to the middle of the window: is it what one would hit there?
COVERED = """() => {
  const found = [];
  for (const each of document.querySelectorAll("main :is(a, button, input, select, textarea, summary)")) {
    if (!each.checkVisibility() || !each.offsetWidth) continue;
    each.scrollIntoView({ block: "center", behavior: "instant" });
    const box = each.getClientRects()[0];
    const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const what = each.outerHTML.slice(0, 100);
    if (hit !== each && !each.contains(hit) && !hit?.contains(each)) found.push(what);
    if (box.left < 0 || box.right > innerWidth + 1) found.push("outside: " + what);
  }
  scrollTo({ top: 0, behavior: "instant" });
  return found;
}"""


def opened(site: Site, name: str, size: Size) -> Page:
    page = site.open(PAGES[name], size)
    if name in ("page", "agent", "request"):
        live(page)
    return page


@pytest.mark.parametrize("size", SIZES)
def test_nothing_overflows_or_is_covered(still: Site, tmp_path: Path, size: str) -> None:
    for name in PAGES:
        page = opened(still, name, SIZES[size])
        assert "oading" not in page.locator("main").inner_text()
        for unfolded in (False, True):
            if unfolded:
                page.evaluate(
                    "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
                )
            assert fits(page), name
            assert page.evaluate(COVERED) == [], name
        page.screenshot(path=tmp_path / f"{name}-{size}.png", full_page=True)


@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious(still: Site, size: str) -> None:
    for name in PAGES:
        page = opened(still, name, SIZES[size])
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert serious(page) == [], name


def test_pictures(still: Site, tmp_path: Path) -> None:
    """For the README, where `make pictures` says to put them."""
    folder = Path(os.environ.get("PICTURES", tmp_path))
    for name in ("page", "agent"):
        page = opened(still, name, (1280, 1000))
        page.screenshot(path=folder / f"{name}.png")
        assert (folder / f"{name}.png").stat().st_size < 200_000
