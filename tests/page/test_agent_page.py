"""The page of one agent: what it does, what it did, its config, its crashes, and what it is told to do."""

import re
import time

from playwright.sync_api import Page, expect

from hyperhive import wire
from tests.changing import carry_out, newest
from tests.page import scene
from tests.page.conftest import Site, live

ADA = "/agent/ada"


def command(page: Page, line: str) -> None:
    page.get_by_label("Mail to ada").fill(line)
    page.keyboard.press("Control+Enter")


def twice(page: Page, line: str) -> None:
    """A command that asks once."""
    command(page, line)
    expect(page.locator("#composer output.waits")).to_contain_text("Send it again to do it")
    page.keyboard.press("Enter")


def test_a_turn_is_seen_as_it_happens(site: Site) -> None:
    page = live(site.open(ADA))
    turn = page.locator("#turn-list > li").first
    expect(turn).to_contain_text("running")
    expect(turn.locator(".tool").first).to_contain_text("Bash git status --short")
    expect(turn.locator(".diff .del")).to_have_text("-    return re.split(PATTERN, text)")
    expect(turn.locator(".diff .add")).to_have_text("+    return list(tokens(text))")
    expect(turn.locator(".error")).to_have_text("src/parser.py has changed since it was read")
    result = turn.locator(".result")
    expect(result.locator("pre")).to_be_hidden()
    result.locator("summary").click()
    expect(result.locator("pre")).to_contain_text("109 src/tokens.py")
    scene.happened(site.agents["ada"], 3, [("text", None, "Once more, then.")], after=5)
    expect(turn).to_contain_text("Once more, then.")
    expect(result.locator("pre")).to_be_visible()
    scene.turn(site.agents["ada"], 3)
    expect(turn.locator(".pill")).to_have_text("ok")


def test_a_denied_command_is_seen_as_one(site: Site) -> None:
    said = "PreToolUse:Bash hook error: Not allowed: make check\nWhy: no rule allows it."
    scene.happened(site.agents["ada"], 3, [("error", None, said)], after=5)
    page = live(site.open(ADA))
    denial = page.locator("#turn-list .error").filter(has=page.get_by_role("link", name="denied"))
    expect(denial).to_have_text("denied Not allowed: make check\nWhy: no rule allows it.")


def test_history_scrolls_back(site: Site) -> None:
    for number in range(4, 26):
        scene.turn(site.agents["ada"], number)
    page = live(site.open(ADA))
    turns = page.locator("#turn-list > li")
    expect(turns.first).to_contain_text("Turn 25")
    expect(turns).to_have_count(20)  # as ten do not fill the window
    page.locator("#turns-at").hover()
    page.mouse.wheel(0, 20_000)
    expect(turns).to_have_count(25)
    expect(page.get_by_role("link", name="Older turns")).to_have_count(0)
    plain = site.open(ADA, java_script_enabled=False)
    plain.get_by_role("link", name="Older turns").click()
    expect(plain.locator("#turn-list > li").first).to_contain_text("Turn 15")
    scene.turn(site.agents["ada"], 26)
    expect(turns.first).to_contain_text("Turn 26")
    expect(turns).to_have_count(26)


def test_a_long_turn_is_read_to_its_beginning(site: Site) -> None:
    ada = site.agents["ada"]
    for n in range(0, 72, 6):
        scene.happened(ada, 4, [("text", None, f"Part {n + k}. " + "x" * 8000) for k in range(6)], after=n)
    page = live(site.open(ADA))
    events = page.locator("#turn-list > li").first.locator(".events > li")
    expect(events.last).to_contain_text("Part 71.")
    expect(events.first).not_to_contain_text("Part 0.")
    page.get_by_role("link", name="what happened before that").first.click()
    expect(events.first).to_contain_text("Part 0.")
    expect(events).to_have_count(72)
    scene.happened(ada, 4, [("text", None, "Part 72.")], after=72)
    expect(events.last).to_have_text("Part 72.")
    expect(events).to_have_count(73)
    expect(events.first).to_contain_text("Part 0.")


def test_its_notes_and_what_it_runs_with(site: Site) -> None:
    page = live(site.open(ADA))
    expect(page.locator("#notes")).to_have_count(0)
    scene.turn(site.agents["ada"], 3, notes="# Mine\n<b>not bold</b>", notes_bytes=99_000)
    expect(page.locator("#notes pre")).to_have_text("# Mine\n<b>not bold</b>")
    expect(page.locator("#notes")).to_contain_text("99000 bytes")
    file = page.locator("#config details").filter(has_text="agent.toml")
    expect(file.locator("pre")).to_be_hidden()
    file.locator("summary").click()
    expect(file.locator("pre")).to_contain_text("[tools]")


def test_back_to_an_earlier_config(site: Site) -> None:
    site.agents["manager"].close()
    assert site.agents["ada"].ask("ack")["ok"]  # her turn is over, for which a change waits
    scene.deployed(site.hive, "ada", scene.EVE)
    page = live(site.open(ADA))
    config = page.locator("#config")
    expect(config.locator("li").filter(has_text="runs now")).to_contain_text("deploy 2")
    config.get_by_role("link", name="diff").first.click()
    expect(config.locator(".diff .add").filter(has_text="Grep")).to_be_visible()
    config.get_by_text("Go back to deploy 1 …").click()
    config.get_by_role("button", name="Yes, go back to deploy 1").click()
    expect(config.locator("output").filter(has_text="ada goes back")).to_be_visible()
    carry_out(site.hive, newest(site.hive))
    expect(config.locator("li").filter(has_text="runs now")).to_contain_text("rollback")


def test_a_crash_is_followed_to_its_cause(site: Site) -> None:
    page = live(site.open())
    (number,) = site.operator.ask("send", to="ada", body="Do it again.")["ids"]
    site.agents["ada"].close()
    scene.crash(site.hive, f"{8:032x}")
    flow = page.locator("#mail-list > li").filter(has_text="crashed: exit status 3").first
    flow.get_by_role("link").first.click()
    expect(page.locator("main")).to_contain_text(scene.LAST_WORDS[-1])
    page.goto(site.web.origin + ADA)
    crash = page.locator("#crash-list > li").first
    expect(crash).to_contain_text("crashed: exit status 3")
    crash.get_by_text("Its last words").click()
    expect(crash.locator("pre")).to_contain_text(scene.LAST_WORDS[-1])
    expect(page.locator(f"#mail-{number}")).to_contain_text("Do it again.")


def test_a_model_is_queued_and_then_active(site: Site) -> None:
    page = live(site.open(ADA))
    model, said = page.locator("#model"), page.locator("#composer output")
    command(page, "/model opus")
    expect(said).to_have_text("ada is to use opus: queued.")
    expect(model).to_contain_text("opus queued: takes effect with the next turn")
    expect(model).to_contain_text("set by operator")
    expect(page.locator("#composer label")).to_contain_text("/ for a command")  # however often it is fetched
    site.agents["ada"].ask("progress", number=4, text="thinks", model="opus")
    expect(model).to_contain_text("opus active")
    scene.turn(site.agents["ada"], 4, model="claude-opus", asked="opus")
    expect(page.locator("#turn-list > li").first).to_contain_text("claude-opus")
    command(page, "/model")
    expect(said).to_contain_text("opus active")
    assert site.agents["ada"].ask("model_refused", model="opus", error="no such model")["ok"]
    expect(model).to_contain_text("opus was refused: no such model")


def test_a_turn_is_cancelled(site: Site) -> None:
    ada = site.agents["ada"]
    assert ada.ask("listen", number=3)["ok"]
    page = live(site.open(ADA))
    command(page, "/cancel")
    expect(page.locator("#composer output.waits")).to_contain_text("Send it again to do it")
    page.keyboard.press("Escape")
    expect(page.locator("#composer output")).to_have_text("Not done.")
    twice(page, "/cancel")
    expect(page.locator("#composer output")).to_have_text("Turn 3 of ada is being stopped.")
    while (event := ada.read())["event"] != "cancel":
        pass
    assert event["number"] == 3
    scene.turn(ada, 3, "cancelled")
    expect(page.locator("#turn-list > li").first.locator(".pill")).to_have_text("cancelled")
    twice(page, "/cancel")
    expect(page.locator("#composer output.wrong")).to_contain_text("ada runs no turn")


def test_commands_are_completed(site: Site) -> None:
    page = live(site.open(ADA))
    text, said = page.get_by_label("Mail to ada"), page.locator("#composer output")
    text.press_sequentially("/")
    choices = page.locator("#choices").get_by_role("option")
    expect(choices).to_have_count(6)
    text.press_sequentially("c")
    expect(choices).to_have_count(3)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#choices [aria-selected=true]")).to_contain_text("/cancel")
    page.keyboard.press("Escape")
    expect(choices).to_have_count(0)
    text.fill("/he")
    page.keyboard.press("Tab")
    expect(text).to_have_value("/help")
    page.keyboard.press("Enter")
    expect(said).to_contain_text("/new-session")
    text.press_sequentially("/comp")
    expect(choices).to_have_count(1)
    text.press_sequentially("act")
    page.locator("#composer").get_by_role("button", name="Send").click()  # below the list, which goes away
    expect(said).to_have_text("The session of ada is compacted before its next turn.")
    command(page, "/nonsense")
    expect(said).to_contain_text("There is no command /nonsense")
    twice(page, "/clear")
    expect(page.locator("#turn-list > li:visible")).to_have_count(1)  # the one that runs, from here on
    expect(page.locator("#turn-list .events > li:visible")).to_have_count(0)
    scene.happened(site.agents["ada"], 3, [("text", None, "And now?")], after=5)
    expect(page.locator("#turn-list .events > li:visible")).to_have_text("And now?")
    command(page, "Thank you.")
    expect(said).to_have_text("Sent to ada.")
    expect(page.locator("#mail-list > li").first).to_contain_text("Thank you.")


def test_models_are_completed_until_a_time(site: Site) -> None:
    page = live(site.open(ADA))
    text, said = page.get_by_label("Mail to ada"), page.locator("#composer output")
    choices, chosen = page.locator("#choices li"), page.locator("#choices [aria-selected=true]")
    text.press_sequentially("/mo")
    page.keyboard.press("Tab")
    expect(text).to_have_value("/model ")
    expect(choices).to_have_text(
        [re.compile("haiku"), re.compile("opus"), re.compile("sonnet  used by ada")]
    )
    expect(chosen).to_have_count(0)
    page.keyboard.press("Enter")  # "/model" is a command, too
    expect(said).to_contain_text("sonnet active")
    text.press_sequentially("/model o")
    expect(chosen).to_contain_text("opus")
    page.keyboard.press("Tab")
    expect(text).to_have_value("/model opus")
    expect(text).to_be_focused()
    text.press_sequentially(" 2h")
    page.keyboard.press("Enter")
    expect(said).to_have_text(re.compile(r"ada is to use opus: queued\. Until .* UTC\."))
    status = site.operator.ask("model", agent="ada")
    assert 7000 < wire.seconds_of(status["until"]) - time.time() < 7201
    command(page, "/model opus 18:30")
    expect(said).to_contain_text(":30:00 UTC")  # of a clock that is not the hive's
    command(page, "/model opus noon")
    expect(said).to_contain_text("is no time (write it as 2h, 08:00")


def test_without_javascript(site: Site) -> None:
    page = site.open(ADA, java_script_enabled=False)
    page.get_by_text("Model …").click()
    page.get_by_label("Model (empty").fill("opus")
    page.get_by_label("Until (empty").fill("90min")
    page.get_by_role("button", name="Switch").click()
    expect(page.locator(".said")).to_have_text(re.compile(r"ada is to use opus: queued\. Until .* UTC\."))
    page.get_by_text("New session …").click()
    page.get_by_role("button", name="Yes, begin a new session").click()
    expect(page.locator(".said")).to_have_text("ada begins a new session with its next turn.")
    page.get_by_text("Destroy ada …").click()
    page.get_by_role("button", name="Yes, destroy ada").click()
    expect(page.locator(".said")).to_contain_text("ada is being ended")
