"""What an agent was not let do, on the page: one click makes a request of it, another one dismisses it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.changing import carry_out
from tests.page import scene
from tests.page.conftest import DESK, PHONE, Site, Size, fits, live, serious, stage

RULE, ASK = "Rule for [tools] allow of ada", "Ask for this rule"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Site]:
    with stage(tmp_path_factory.mktemp("denials"), chromium) as it:
        yield it


@pytest.mark.parametrize("scripted", [True, False], ids=["live", "plain"])
@pytest.mark.parametrize(("path", "size"), [("/agent/ada", DESK), ("/", PHONE)], ids=["desk", "phone"])
def test_one_click_makes_a_request_of_it(site: Site, path: str, size: Size, scripted: bool) -> None:
    number = scene.denied(site.agents["ada"], f"npm test {path} {scripted}")
    page = site.open(path, size, java_script_enabled=scripted)
    row = page.locator(f"#denial-{number}")
    expect(row).to_contain_text("no rule allows it")
    rule = row.get_by_label(RULE)
    expect(rule).to_have_value("Bash(npm test *)")
    rule.fill(f"Bash(npm test {path} {scripted} *)")
    row.get_by_role("button", name=ASK).click()
    expect(row.get_by_role("link", name="Request ")).to_be_visible()
    said = page.locator("main").get_by_role("status").filter(has_text="waits for your approval")
    expect(said.first).to_be_visible()
    assert not scripted or (fits(page) and serious(page, "#denials") == [])
    row.get_by_role("link", name="Request ").click()
    expect(page.locator(".grants")).to_contain_text(f"may now run: npm test {path} {scripted} *")


def test_from_the_denial_to_the_approval(site: Site) -> None:
    page = live(site.open("/agent/ada"))
    number = scene.denied(site.agents["ada"], "cargo build", "cargo build")
    row = page.locator(f"#denial-{number}")
    row.get_by_role("button", name=ASK).click()
    row.get_by_role("link", name="Request ").click()
    page.get_by_role("button", name="Approve change of ada").click()
    expect(page.locator("#main")).to_contain_text("approved")
    request = site.operator.ask("approvals", agent="ada", state="approved")["approvals"][0]["id"]
    scene.turn(site.agents["ada"], 3)
    site.agents["ada"].ask("ack")
    carry_out(site.hive, request)
    page = live(site.open("/agent/ada"))
    expect(page.locator(f"#denial-{number}")).to_have_count(0)
    expect(page.locator("#config")).to_contain_text("Bash(cargo build)")


@pytest.mark.parametrize("scripted", [True, False], ids=["live", "plain"])
def test_a_host_that_was_refused_is_asked_for_by_one_click(site: Site, scripted: bool) -> None:
    page = site.open("/agent/ada", PHONE, java_script_enabled=scripted)
    host = scene.way_out(site.hive, f"{'live' if scripted else 'plain'}.example.org")
    if not scripted:
        page.reload()
    row = page.locator(f"#refused-{host}-443-allow".replace(".", "\\."))
    expect(row).to_contain_text("it is not in [egress] allow")
    expect(row.get_by_label("Host for [egress] allow of ada")).to_have_value(f"{host}:443")
    row.get_by_role("button", name="Ask for this host").click()
    expect(row.get_by_role("link", name="Request ")).to_be_visible()
    assert not scripted or (fits(page) and serious(page, "#way-out") == [])
    page.locator("#reached summary").click()
    expect(page.locator("#reached")).to_contain_text("git.example.org:443")
    row.get_by_role("link", name="Request ").click()
    expect(page.locator(".grants")).to_contain_text(f"may now reach {host}:443")


@pytest.mark.parametrize("scripted", [True, False], ids=["live", "plain"])
def test_it_is_dismissed(site: Site, scripted: bool) -> None:
    number = scene.denied(site.agents["ada"], f"curl {scripted}")
    page = site.open("/", java_script_enabled=scripted)
    row = page.locator(f"#denial-{number}")
    row.get_by_role("button", name=f"Dismiss denial {number}").click()
    expect(row).to_have_count(0)
    assert number not in [each["id"] for each in site.operator.ask("state")["denials"]]


def test_what_no_rule_can_allow_and_what_is_hostile(site: Site) -> None:
    number = scene.denied(site.agents["ada"], scene.HOSTILE, scene.HOSTILE[:900], scene.HOSTILE[:150])
    page = live(site.open("/agent/ada", PHONE))
    row = page.locator(f"#denial-{number}")
    row.get_by_text("Write a rule").click()
    rule = row.get_by_label(RULE)
    expect(rule).to_have_value("")
    rule.fill("Bash((")
    row.get_by_role("button", name=ASK).click()
    expect(row.locator(".allow output")).to_contain_text("'patterns': 'Bash((' is no tool")
    assert fits(page) and page.locator("#owned").count() == 0
