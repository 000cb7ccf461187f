"""What the operator sees and decides on the page, in a real browser."""

import json
import re
import time

import pytest
from playwright.sync_api import Page, expect

from hyperhive.web import guard
from tests.changing import carry_out
from tests.page import scene
from tests.page.conftest import DESK, LIVE, PHONE, Site, Size, fits, live


def test_a_link_signs_in_once(site: Site) -> None:
    code = site.web.code()
    page = site.open(f"/sign-in?code={code}", signed_in=False)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_title("(6) hyperhive")
    assert "code" not in page.url
    again = site.open(f"/sign-in?code={code}", signed_in=False)
    again.get_by_role("button", name="Sign in").click()
    expect(again.locator("main")).to_contain_text("This link was used already")
    again.get_by_label("The link that was printed").fill(f"{site.web.origin}/sign-in?code={site.web.code()}")
    again.get_by_role("button", name="Sign in").click()
    expect(again).to_have_title("(6) hyperhive")
    stranger = site.open("/", signed_in=False)
    expect(stranger.locator("main")).to_contain_text("hivectl url")


def test_the_sections_stand_in_their_order(still: Site) -> None:
    page = still.open()
    names = page.locator("main h2 .away").all_text_contents()  # what is below the window has no layout yet
    assert names == [
        "Waiting for you",
        "Agents",
        "Kept state of destroyed agents",
        "Drafts",
        "Approvals",
        "Commands that were not allowed",
        "Questions",
        "Inbox",
        "Mail flow",
    ]
    waits = page.locator("#waiting-list .pill").all_inner_texts()
    assert waits == ["dead", "approval", "question", "question", "question", "mail"], "oldest first"


def test_mail_arrives_live(site: Site) -> None:
    page = live(site.open())
    site.agents["ada"].ask("send", to="manager", body="The second half is done, too.")
    expect(page.locator("#mail-list > li").first).to_contain_text("The second half is done, too.")
    site.agents["ada"].ask("send", to="operator", body="It is ready.")
    expect(page.locator("#inbox-list > li").first).to_contain_text("It is ready.")
    expect(page).to_have_title("(7) hyperhive")
    site.agents["ada"].ask("progress", number=3, text="Bash make check")
    expect(page.locator("[data-doing=ada]")).to_have_text("Bash make check")


def test_an_agent_gone_wild_is_seen_with_what_to_do_until_it_is_over(site: Site) -> None:
    page, ada = live(site.open()), site.agents["ada"]
    ada.ask("progress", number=3, text="Bash true", tool_calls=1001)
    line = page.locator("#waits-many_calls-ada-0")
    expect(line).to_contain_text("ada has called 1,001 tools in turn 3")
    expect(line.locator("code")).to_have_text("systemctl stop hive-agent@ada.socket hive-agent@ada.service")
    expect(page.locator("#agent-ada .pill.bad")).to_have_text("many calls")
    scene.turn(ada, 3)
    expect(line).to_have_count(0)
    expect(page.locator("#agent-ada .pill.bad")).to_have_count(0)


def test_what_one_types_survives_what_happens(site: Site) -> None:
    page = live(site.open())
    page.locator("#send textarea").fill("half a sen")
    page.locator("#send select").select_option("bob")
    page.get_by_role("link", name="Reply").click()
    page.get_by_label("Reply to manager").fill("Good. ")
    site.agents["ada"].ask("send", to="operator", body="It is ready.")
    expect(page.locator("#inbox-list > li").first).to_contain_text("It is ready.")
    expect(page.locator("#send textarea")).to_have_value("half a sen")
    expect(page.locator("#send select")).to_have_value("bob")
    expect(page.get_by_label("Reply to manager")).to_be_focused()
    page.keyboard.type("Go on.")
    expect(page.get_by_label("Reply to manager")).to_have_value("Good. Go on.")


def test_approve_a_spawn_with_its_diff(site: Site) -> None:
    page = live(site.open())
    approval = page.locator("#approvals-list > li")
    expect(approval).to_contain_text("higher risk")
    expect(approval).to_contain_text("may now run: git *")
    approval.get_by_role("link", name="Read the diff").click()
    expect(approval.locator(".diff .add").filter(has_text="Be kind.")).to_be_visible()
    number = int(str(approval.get_attribute("id")).removeprefix("approval-"))
    approval.get_by_role("button", name="Approve spawn of eve").click()
    expect(page.get_by_role("status").filter(has_text="is approved")).to_be_visible()
    carry_out(site.hive, number)
    expect(page.locator("#agent-eve")).to_contain_text("asleep")
    expect(page.locator("#approvals")).to_contain_text("No request waits for you.")
    expect(page.locator("#approvals output")).to_have_text(f"Request {number}: spawn of eve is deployed.")


def test_deny_with_a_reason(site: Site) -> None:
    page = live(site.open())
    page.get_by_text("Deny …").click()
    page.get_by_label("Reason, which manager is told").fill("what for?")
    page.get_by_role("button", name="Deny request").click()
    expect(page.get_by_role("status").filter(has_text="is denied")).to_be_visible()
    expect(page.locator("#approvals")).to_contain_text("No request waits for you.")
    told = scene.told(site.agents["manager"])
    resolved = [(e["state"], e["reason"]) for e in told if e["event"] == "approval_resolved"]
    assert resolved == [("denied", "what for?")]


def test_answer_questions(site: Site) -> None:
    page = live(site.open())
    one, several, free = (page.locator(f"#question-{number}") for number in (1, 2, 3))
    expect(one).to_contain_text("expires in 1 h")
    one.get_by_text("Another answer …").click()
    one.get_by_label("In your own words").fill("none, we wait")
    one.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Question 1 is answered")).to_be_visible()
    several.get_by_label("ada").check()
    several.get_by_label("everybody").check()
    several.get_by_role("button", name="Answer", exact=True).first.click()
    expect(several).to_have_count(0)
    free.get_by_label("Your answer").fill("hivectl")
    free.get_by_role("button", name="Answer").click()
    expect(page.locator("#questions")).to_contain_text("Nobody asks you anything.")
    answers = [event["answer"] for event in scene.told(site.agents["manager"]) if "answer" in event]
    assert answers == [["none, we wait"], ["ada", "everybody"]]
    assert [event["answer"] for event in scene.told(site.agents["ada"])] == [["hivectl"]]


def test_what_is_refused_is_said_in_place(site: Site) -> None:
    page = live(site.open())
    page.get_by_text("New draft").click()
    page.get_by_label("Name", exact=True).fill("No Name")
    page.get_by_role("button", name="Make the draft").click()
    expect(page.locator("#drafts output.wrong")).to_contain_text("No Name")
    expect(page.get_by_label("Name", exact=True)).to_have_value("No Name")


def test_read_reply_send_and_filter(site: Site) -> None:
    page = live(site.open())
    page.get_by_role("link", name="Reply").click()
    page.get_by_label("Reply to manager").fill("Good. Go on.")
    page.locator("#inbox").get_by_role("button", name="Send").click()
    expect(page.locator("#inbox .pill")).to_have_count(0)
    page.locator("#send select").select_option("all")
    page.locator("#send textarea").fill("Tea is ready.")
    page.locator("#send").get_by_role("button", name="Send").click()
    expect(page.locator("#send output")).to_have_text("Sent to all.")
    expect(page.locator("#mail-list > li").filter(has_text="Tea is ready.")).to_have_count(3)


def test_mail_is_found_at_the_server_while_one_types(site: Site) -> None:
    for number in range(60):  # more than the page has
        assert site.operator.ask("send", to="bob", body=f"Cup {number} of tea, 100% green.")["ok"]
    page = live(site.open())
    found = page.locator("#mail-list > li")
    expect(found).to_have_count(50)
    page.get_by_label("Filter").press_sequentially("archive UTF-8")
    expect(found).to_have_count(1)
    assert site.agents["ada"].ask("send", to="manager", body="The ARCHIVE is utf-8 now.")["ok"]
    expect(found).to_have_count(2)
    page.locator("#filter").get_by_label("From").select_option("ada")
    expect(found).to_have_text([re.compile("ARCHIVE is utf-8")])
    page.reload()
    expect(found).to_have_count(1)
    page.get_by_label("Filter").fill("nothing like it")
    expect(page.locator("#filter-says")).to_contain_text("No mail like that.")
    page.get_by_role("link", name="All mail").click()
    expect(found).to_have_count(50)


def test_mail_is_found_without_javascript(site: Site) -> None:
    for number in range(60):
        assert site.operator.ask("send", to="bob", body=f"Cup {number} of tea, 100% green.")["ok"]
    page = site.open("/agent/bob", PHONE, java_script_enabled=False)
    found = page.locator("#mail-list > li")
    page.get_by_label("Filter").fill("tea 100%")
    page.locator("#filter").get_by_label("State").select_option("queued")
    page.get_by_role("button", name="Find").click()
    expect(found).to_have_count(50)
    expect(page.get_by_label("Filter")).to_have_value("tea 100%")
    page.get_by_role("link", name="Older mail").click()
    expect(found).to_have_count(10)
    expect(page.get_by_role("link", name="Older mail")).to_have_count(0)


def test_destructive_actions_ask_once(site: Site) -> None:
    page = live(site.open())
    expect(page.get_by_role("button", name="Yes, drop message")).to_be_hidden()
    page.get_by_text("Drop …").click()
    page.get_by_role("button", name="Yes, drop message").click()
    expect(page.locator("#dead")).to_have_count(0)
    page.get_by_text("Purge carl …").click()
    page.get_by_role("button", name="Yes, purge carl").click()
    expect(page.locator("#kept")).to_contain_text("What was kept of carl is being deleted")


def test_hostile_mail_is_only_text(site: Site) -> None:
    for to in ("manager", "operator"):
        assert site.agents["ada"].ask("send", to=to, body=scene.HOSTILE)["ok"]
    site.agents["ada"].ask("ask", question=scene.HOSTILE[:8000], options=["<b>one</b>", '"><script>'])
    site.agents["ada"].ask("progress", number=3, text=scene.HOSTILE[:150])
    number = site.operator.ask("mail", limit=1)["messages"][0]["id"]
    for path in ("/", f"/message/{number}", "/agent/ada"):
        for size in (DESK, PHONE):
            page = live(site.open(path, size))
            shown = page.locator("main").inner_text()
            assert "<script>document.title='owned'</script>" in shown
            assert "\u202e" not in shown and "\\u202e" in shown
            assert "\x1b" not in shown and "\\x1b" in shown
            assert page.locator("#owned").count() == 0 and "owned" not in page.title()
            assert fits(page), (path, size)


def test_a_lost_connection_is_said(site: Site) -> None:
    page = live(site.open())
    page.context.set_offline(True)
    page.evaluate("stream.close(); lost(); listen('')")
    expect(page.locator(LIVE)).to_contain_text("connection lost")
    site.agents["ada"].ask("send", to="operator", body="While you were away.")
    page.context.set_offline(False)
    expect(page.locator("#inbox-list > li").first).to_contain_text("While you were away.")
    expect(page.locator(LIVE)).to_have_text("live")


def test_the_broker_comes_back(site: Site) -> None:
    page = live(site.open())
    site.hive.kill()
    expect(page.locator(LIVE)).not_to_have_text("live")
    site.hive.start()
    with_peer = site.hive.operator()
    assert with_peer.ask("send", to="bob", body="Back again.")["ok"]
    expect(page.locator("#mail-list > li").first).to_contain_text("Back again.")
    expect(page.locator(LIVE)).to_have_text("live")


def test_a_session_that_was_ended_is_told(site: Site) -> None:
    page = live(site.open())
    assert site.operator.ask("sign_out", all=True)["ok"]
    expect(page.locator(LIVE)).to_contain_text("signed out")
    page.locator("#send textarea").fill("half a sentence")
    with page.context.expect_page() as opened:
        page.locator(LIVE).get_by_role("link", name="Sign in").click()
    other = opened.value
    other.get_by_label("The link that was printed").fill(site.web.code())
    other.get_by_role("button", name="Sign in").click()
    live(other)
    page.bring_to_front()
    live(page)
    expect(page.locator("#send textarea")).to_have_value("half a sentence")
    page.locator("#send").get_by_role("button", name="Send").click()
    expect(page.locator("#send output")).to_have_text("Sent to ada.")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_without_javascript(site: Site, size: Size) -> None:
    page = site.open("/", size, java_script_enabled=False)
    page.locator("#question-1").get_by_role("button", name="main").click()
    expect(page.locator(".said")).to_have_text("Question 1 is answered.")
    page.get_by_role("link", name="Read the diff").click()
    expect(page.locator(".diff")).to_contain_text("Be kind.")
    page.get_by_text("Deny …").click()
    page.get_by_label("Reason, which manager is told").fill("what for?")
    page.get_by_role("button", name="Deny request").click()
    expect(page.locator(".said")).to_contain_text("is denied")
    page.goto(site.web.origin)
    page.locator("#send textarea").fill("Written by hand.")
    page.locator("#send").get_by_role("button", name="Send").click()
    expect(page.locator("#mail-list > li").first).to_contain_text("Written by hand.")
    page.get_by_text("Drop …").click()
    page.get_by_role("button", name="Yes, drop message").click()
    expect(page.locator("#dead")).to_have_count(0)


def test_keyboard_only(site: Site) -> None:
    page = live(site.open())
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    walk(page, 'button:has-text("Approve spawn of eve")')
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="is approved")).to_be_visible()
    walk(page, '#question-1 button:has-text("next")')
    page.keyboard.press("Space")
    expect(page.locator("#question-1")).to_have_count(0)
    walk(page, "#send textarea")
    page.keyboard.type("Typed.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#send output")).to_have_text("Sent to ada.")
    walk(page, ".brand")


def walk(page: Page, wanted: str) -> None:
    """By Tab until this has the focus; all that has it on the way shows it."""
    target = page.locator(wanted)
    for _ in range(200):
        page.keyboard.press("Tab")
        if target.evaluate("(each) => each === document.activeElement"):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"{wanted} cannot be reached by keyboard")


def test_notifications_on_request(site: Site) -> None:
    page = site.open()
    page.context.grant_permissions(["notifications"], origin=site.web.origin)
    seen = """() => {
      window.shown = [];
      window.Notification = class {
        static permission = "granted";
        constructor(title, about) { shown.push(about.body); }
      };
      Object.defineProperty(document, "hidden", { value: true });
    }"""
    live(page).evaluate(seen)
    site.agents["ada"].ask("ask", question="May I push?")
    expect(page).to_have_title("(7) hyperhive")
    assert page.evaluate("shown") == ["question: May I push?"]


def test_mail_is_seen_at_once(site: Site) -> None:
    """The bench has the figure; here only that nobody waits for a clock of ours."""
    page = live(site.open())
    began = time.monotonic()
    site.agents["ada"].ask("send", to="manager", body="Now.")
    expect(page.locator("#mail-list > li").first).to_contain_text("Now.")
    assert time.monotonic() - began < 5


def test_nothing_of_the_page_needs_what_its_policy_forbids(still: Site) -> None:
    assert "unsafe" not in json.dumps(guard.HEADERS)
    for path in ("/", "/agent/ada", "/sessions", "/request/5"):
        text = still.web.get(path).text
        assert "style=" not in text and "<style" not in text and " onclick" not in text
