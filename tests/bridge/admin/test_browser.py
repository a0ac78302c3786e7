"""A librarian's walk through the admin in Debian's Chromium, in both languages, by keyboard."""

from __future__ import annotations

import os
import shutil
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright
from werkzeug.serving import make_server

from bridge.errors import Denied
from bridge.models import UnlinkReason
from jpki.revocation import RevocationStatus

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"
KEPT = {"login", "counter-start", "counter-waiting", "counter-pin", "counter-linked", "links", "audit"}
WINDOW = {"width": 1280, "height": 860}
PHONE = {"width": 320, "height": 640}
TIME_LIMIT = 20_000  # milliseconds
expect.set_options(timeout=TIME_LIMIT)

WORDS = {
    "ja": {
        "waiting": "マイナンバーカードを読取部に置いてください。",
        "pin": "残り3回試せます。",
        "wrong": "暗証番号が違います。",
        "linked": "連携が完了しました。",
        "until": "2027年11月20日まで使えます。",
        "not linked": "未連携",
        "unlinked": "連携を解除しました。",
        "revoked": "カードの電子証明書は失効しています。",
    },
    "en": {
        "waiting": "Please lay the My Number Card on the reader.",
        "pin": "3 tries left.",
        "wrong": "The PIN was wrong.",
        "linked": "The card is linked.",
        "until": "Valid until November 20, 2027.",
        "not linked": "Not linked",
        "unlinked": "The link has ended.",
        "revoked": "The card's certificate has been revoked.",
    },
}


@pytest.fixture
def address(world):
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=["ja", "en"])
def language(request):
    return request.param


@pytest.fixture
def page(chromium, address, language):
    """A page that must not load from elsewhere, and must not break its own security policy."""
    context = chromium.new_context(base_url=address, locale=language, viewport=WINDOW)
    context.set_default_timeout(TIME_LIMIT)
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [url for url in requests if not url.startswith(address)] == []
    assert complaints == []


@pytest.fixture
def photograph(page, language, tmp_path):
    """Take a picture of a page, after a look at it on the narrowest screen."""

    def take(name):
        page.set_viewport_size(PHONE)
        width = page.evaluate("document.scrollingElement.scrollWidth")
        page.screenshot(path=tmp_path / f"{name}-{language}-narrow.png", full_page=True)
        page.set_viewport_size(WINDOW)
        picture = tmp_path / f"{name}-{language}.png"
        page.screenshot(path=picture)
        if name in KEPT and os.environ.get("KEEP_SCREENSHOTS") == "1":
            IMAGES.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, IMAGES)
        assert width <= PHONE["width"], f"{name} scrolls sideways at {width} px"

    return take


def log_in(page, login_name="hanako"):
    page.goto("/admin/")
    expect(page.locator("#login_name")).to_be_focused()
    page.keyboard.type(login_name)
    page.keyboard.press("Tab")
    page.keyboard.type("correct horse battery staple")
    page.keyboard.press("Enter")
    expect(page.locator("#cardnumber")).to_be_focused()


def scan(page, cardnumber):
    """What a barcode scanner does."""
    expect(page.locator("#cardnumber")).to_be_focused()
    page.keyboard.type(cardnumber)
    page.keyboard.press("Enter")


def start_link(page):
    """From the patron's page on: the first counter, past what is for a child, the consent."""
    expect(page.locator("[name=terminal_id]").first).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("[name=consented]")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_url("**/requests/*")


def test_a_card_is_linked_and_unlinked_by_keyboard_alone(world, page, language, photograph):
    words = WORDS[language]
    page.goto("/admin/")
    photograph("login")
    log_in(page)
    photograph("counter")
    scan(page, "2000100000017")
    expect(page.locator("main")).to_contain_text("図書 友子")
    expect(page.locator("main")).to_contain_text(words["not linked"])
    expect(page.locator("[name=terminal_id]").first).to_be_focused()
    photograph("counter-start")
    start_link(page)

    status = page.locator("#status")
    expect(status).to_contain_text(words["waiting"])
    photograph("counter-waiting")
    reader = world.reader(world.card())
    reader.lay_card()
    expect(status).to_contain_text(words["pin"])
    photograph("counter-pin")
    reader.enter_pin("0000")
    expect(status).to_contain_text(words["wrong"])
    reader.enter_pin("1234")
    expect(status).to_contain_text(words["linked"])
    expect(status).to_contain_text(words["until"])
    expect(page.locator("#next")).to_be_focused()
    photograph("counter-linked")

    page.keyboard.press("Enter")
    expect(page.locator("#cardnumber")).to_be_focused()
    scan(page, "2000100000017")
    page.locator(".linked a").last.focus()
    page.keyboard.press("Enter")
    page.locator("[name=reason]").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    photograph("unlink")
    page.keyboard.press("Enter")
    expect(page.locator("[role=status]")).to_contain_text(words["unlinked"])


def test_a_lost_card_a_suspended_link_and_a_child_have_their_places(world, page, language, photograph):
    link = world.link()
    log_in(page)
    scan(page, "2000100000017")
    page.locator("summary").first.click()
    page.locator("summary").last.click()
    page.locator("[name=represented]").check()
    page.locator("[name=consented]").check()
    page.locator("[name=terminal_id]").first.check()
    photograph("patron-linked")
    page.locator("button.primary").click()
    expect(page.locator(".field-error")).to_be_visible()
    photograph("child-incomplete")
    page.locator("[name=checks]").first.check()
    page.locator(".linked a").first.click()
    photograph("suspend")
    page.locator("[name=reason]").first.check()
    page.locator("form button.primary").last.click()
    page.wait_for_url("**/admin/links/")
    photograph("link-suspended")
    assert world.services.registration.link(world.hanako, link.link_id).suspended_reason == "card_mislaid"


def test_a_refused_card_is_told_in_plain_words(world, page, language, photograph):
    world.revocations.status = RevocationStatus.REVOKED
    log_in(page)
    scan(page, "2000100000017")
    start_link(page)
    with pytest.raises(Denied):
        world.reader(world.card()).lay_card()
    expect(page.locator("#status")).to_contain_text(WORDS[language]["revoked"])
    photograph("counter-refused")


def test_the_lists_show_what_was_done(world, page, photograph):
    for number in (17, 33, 17):
        world.clock.now += timedelta(minutes=7)
        link = world.link(cardnumber=f"20001000000{number}")
    world.services.registration.unlink(world.hanako, link.link_id, reason=UnlinkReason.CARD_LOST)
    world.clock.now += timedelta(minutes=9)
    log_in(page)
    for name in ("links", "terminals", "audit"):
        page.goto(f"/admin/{name}/")
        expect(page.locator("tbody tr").first).to_be_visible()
        photograph(name)


def test_the_filter_of_a_list_works_without_scripts(world, chromium, address):
    for number in (17, 33):
        world.link(cardnumber=f"20001000000{number}")
    context = chromium.new_context(base_url=address, locale="ja", java_script_enabled=False)
    page = context.new_page()
    page.goto("/admin/")
    page.locator("#login_name").fill("hanako")
    page.locator("#password").fill("correct horse battery staple")
    page.locator("main button").click()
    page.goto("/admin/links/")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("#flt0_0").fill("33")
    page.locator(".filters button").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr td").first).to_have_text("33")
    context.close()


@pytest.fixture
def watching(world, chromium, address):
    """A page that waits for a card, in a browser whose complaints do not count."""
    context = chromium.new_context(base_url=address, locale="ja")
    context.set_default_timeout(TIME_LIMIT)
    page = context.new_page()
    log_in(page)
    scan(page, "2000100000017")
    start_link(page)
    yield page
    context.close()


def test_a_broken_connection_is_told_and_the_page_goes_on_by_itself(world, watching):
    watching.context.set_offline(True)
    expect(watching.locator("#offline")).to_be_visible()
    watching.context.set_offline(False)
    expect(watching.locator("#offline")).to_be_hidden()
    world.reader(world.card()).lay_card()
    expect(watching.locator("#status")).to_contain_text(WORDS["ja"]["pin"])


def test_a_page_left_alone_ends_at_the_log_in_page(world, watching):
    # Between two polls: one under way would be let in at the old time and find the order expired at the new.
    with watching.expect_response("**/state"):
        pass
    world.clock.now += timedelta(minutes=31)
    expect(watching.locator("#password")).to_be_visible()
