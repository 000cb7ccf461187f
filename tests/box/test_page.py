"""The operator's stories in a browser outside of the box, before its hive: real units, cages and CLI."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from hyperhive import wire
from tests.box.crew import DONE, Crew, Watch
from tests.box.test_turns import WAIT
from tests.page.conftest import DESK, SECONDS, chromium, live

__all__ = ["chromium"]


@pytest.fixture
def page(crew: Crew, chromium: Browser) -> Iterator[Page]:
    """Of ada, by the link that hivectl url prints in the box."""
    context = chromium.new_context(viewport={"width": DESK[0], "height": DESK[1]})
    context.set_default_timeout(1000 * SECONDS)
    page = context.new_page()
    page.goto(crew.run("hivectl", "url").stdout.strip())
    page.get_by_role("button", name="Sign in").click()
    yield look_at(page, "ada")
    context.close()


def look_at(page: Page, name: str) -> Page:
    page.locator("#agents-list").get_by_role("link", name=name, exact=True).click()
    return live(page)


def say(page: Page, line: str) -> None:
    page.get_by_label("Mail to ada").fill(line)
    page.keyboard.press("Control+Enter")


def test_a_running_turn_is_cancelled(crew: Crew, watch: Watch, page: Page) -> None:
    crew.rules(WAIT, DONE)
    say(page, "wait long")
    turn = page.locator("#turn-list > li").first
    expect(turn.locator(".tool").last).to_contain_text("while :; do sleep 1")
    expect(turn.locator(".pill")).to_have_text("running")
    say(page, "/cancel")
    expect(page.locator("#composer output.waits")).to_contain_text("Send it again to do it")
    page.keyboard.press("Enter")
    expect(turn.locator(".pill")).to_have_text("cancelled")
    asked, ended = watch.until("command", agent="ada"), watch.until("turn", agent="ada")
    assert ended["outcome"] == "cancelled"
    assert wire.seconds_of(ended["at"]) - wire.seconds_of(asked["at"]) < 2
    page.get_by_role("link", name="hyperhive").click()
    expect(page.locator("#inbox-list > li").first).to_contain_text("ada gave up message")


def test_a_model_is_queued_then_active_and_really_used(crew: Crew, watch: Watch, page: Page) -> None:
    crew.rules(DONE)
    watch.until("done", id=crew.send("ada", "go on"))  # with no other model than its own
    model = page.locator("#model")
    say(page, "/model opus")
    expect(model).to_contain_text("opus queued: takes effect with the next turn")
    expect(model).to_contain_text("set by operator")
    say(page, "go on")
    assert watch.until("turn", agent="ada")["model"].startswith("claude-opus")
    expect(model).to_contain_text("opus active")
    expect(page.locator("#turn-list > li").first).to_contain_text("claude-opus")
    crew.run("hivectl", "model", "ada", "--reset")


def test_a_crash_is_followed_to_its_cause(crew: Crew, watch: Watch, page: Page) -> None:
    crew.spawn_asleep("kit")
    config = crew.root / "etc/hyperhive/agents/kit/agent.toml"
    good = config.read_text()
    config.write_text("colour = 1\n")
    page.get_by_role("link", name="hyperhive").click()
    page.locator("#send select").select_option("kit")
    page.locator("#send textarea").fill("anyone?")
    page.locator("#send").get_by_role("button", name="Send").click()
    page.locator("#waiting-list > li").filter(has_text="kit").get_by_role("link").click()
    expect(page).to_have_url(re.compile("/agent/kit#crashes"))
    expect(page.locator("#crash-list > li").filter(has_text="Nothing starts it until")).to_have_count(1)
    crash = page.locator("#crash-list > li").filter(has_text="crashed: exit status 78").first
    crash.get_by_text("Its last words").click()
    expect(crash.locator("pre")).to_contain_text("'colour' is not a key here")
    config.write_text(good)
    crew.run("systemctl", "reset-failed", "hive-agent@kit.socket", "hive-agent@kit.service")
    crew.run("systemctl", "start", "hive-agent@kit.socket")
    expect(page.locator("#turn-list > li").first).to_contain_text("ok")
