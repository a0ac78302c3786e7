"""The counter's desk in Chromium: every daily job by keyboard alone, in both languages, without a reload."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from bridge.errors import Denied, NotLinked
from bridge.models import SuspensionReason
from jpki.revocation import RevocationStatus

pytestmark = pytest.mark.browser

CARDNUMBER = "2000100000017"

WORDS = {
    "ja": {
        "waiting": "マイナンバーカードを読取部に置いてください。",
        "pin": "残り3回試せます。",
        "wrong": "暗証番号が違います。",
        "linked": "連携が完了しました。",
        "until": "2027年11月20日まで使えます。",
        "not linked": "未連携",
        "linked already": "連携済み（1枚）",
        "this desk": "この窓口：児童カウンター",
        "ended": "1件の連携を解除しました。",
        "restored": "連携をまた使えるようにしました。",
        "revoked": "カードの電子証明書は失効しています。",
        "unknown": "この番号の利用者カードは、Kohaに登録されていません。",
        "nobody": "このカードは連携されていません。",
        "incomplete": "確認項目のすべてと、お子さんの15歳の誕生日が必要です。",
        "cancelled": "連携を中止しました。",
    },
    "en": {
        "waiting": "Please lay the My Number Card on the reader.",
        "pin": "3 tries left.",
        "wrong": "The PIN was wrong.",
        "linked": "The card is linked.",
        "until": "Valid until November 20, 2027.",
        "not linked": "Not linked",
        "linked already": "Linked, 1 card",
        "this desk": "This desk: 児童カウンター",
        "ended": "1 link has ended.",
        "restored": "The link can be used again.",
        "revoked": "The card's certificate has been revoked.",
        "unknown": "Koha knows no patron with this library card number.",
        "nobody": "This card is not linked.",
        "incomplete": "Every point of the checklist is needed",
        "cancelled": "The link was cancelled.",
    },
}


@pytest.fixture
def words(language):
    return WORDS[language]


@pytest.fixture
def desk(page, staff):
    """A librarian at the desk, whose page must not be loaded again."""
    staff.come_to_the_desk()
    page.evaluate("window.stillTheSamePage = true")
    staff.actions = 0
    yield staff
    assert page.evaluate("window.stillTheSamePage")


@pytest.fixture
def at_the_reader(world, page, words):
    """The patron's part: card, PIN, and what the desk shows meanwhile."""

    def play(reader, pin="1234"):
        status = page.locator("#status")
        expect(status).to_contain_text(words["waiting"])
        reader.lay_card()
        expect(status).to_contain_text(words["pin"])
        return reader.enter_pin(pin)

    return play


def test_which_counter_this_is_is_chosen_once_by_one_key(page, staff, words):
    staff.log_in()
    expect(page.locator("[data-key='1']")).to_be_focused()
    page.wait_for_load_state()
    staff.press("2")
    staff.await_the_next()
    expect(page.locator(".here strong")).to_have_text(words["this desk"])
    page.reload()
    staff.await_the_next()


def test_a_card_is_linked_with_three_actions(world, page, desk, words, at_the_reader):
    desk.scan()
    main = page.locator("main")
    expect(main).to_contain_text("図書 友子")
    expect(main).to_contain_text(words["not linked"])
    desk.press("L")
    expect(page.locator("#status")).to_contain_text(words["waiting"])
    reader = world.reader(world.card())
    reader.lay_card()
    expect(page.locator("#status")).to_contain_text(words["pin"])
    reader.enter_pin("0000")
    expect(page.locator("#status")).to_contain_text(words["wrong"])
    reader.enter_pin("1234")
    expect(page.locator("#status")).to_contain_text(words["linked"])
    expect(page.locator("#status")).to_contain_text(words["until"])
    expect(page.locator("#next")).to_be_focused()
    desk.press("Enter")
    desk.await_the_next()
    assert desk.actions == 3  # scan, L, Enter


def test_whose_card_it_is_takes_two_keys(world, page, desk, at_the_reader):
    card = world.linked_card()
    desk.press("F2")
    at_the_reader(world.identifying_reader(card))
    expect(page.locator("#number")).to_have_text(CARDNUMBER)
    expect(page.locator("h1")).to_have_text("図書 友子")
    expect(page.locator("#next")).to_be_focused()
    desk.press("Enter")
    desk.await_the_next()
    assert desk.actions == 2  # F2, Enter


def test_a_lost_card_takes_three_actions(world, page, desk, words):
    world.link()
    desk.scan()
    expect(page.locator("main")).to_contain_text(words["linked already"])
    desk.press("x")
    expect(page.locator("button.danger")).to_be_focused()
    desk.press("Enter")
    desk.await_the_next()
    expect(page.locator("main > .notice")).to_contain_text(words["ended"])
    assert desk.actions == 3  # scan, X, Enter


def test_a_renewed_card_is_re_linked_with_three_actions(world, page, desk, words, at_the_reader):
    old = world.link()
    desk.scan()
    desk.press("R")
    assert at_the_reader(world.reader(world.card())).replaces == old.link_id
    expect(page.locator("#status")).to_contain_text(words["linked"])
    desk.press("Escape")
    desk.await_the_next()
    assert desk.actions == 3  # scan, R, Esc


def test_a_second_card_is_linked_with_three_actions(world, page, desk, words, at_the_reader):
    world.link()
    desk.scan()
    desk.press("L")
    assert at_the_reader(world.reader(world.card())).replaces is None
    expect(page.locator("#status")).to_contain_text(words["linked"])
    desk.press("Enter")
    desk.await_the_next()
    assert desk.actions == 3


def test_a_child_s_card_takes_the_checklist(world, page, desk, words, at_the_reader):
    desk.scan()
    desk.press("C")
    expect(page.locator("[name=checks]").first).to_be_focused()
    for _ in range(6):
        desk.press("Space", "Tab")
    desk.press("Enter")
    expect(page.locator("details .field-error").first).to_contain_text(words["incomplete"])
    expect(page.locator("[name=checks]").last).to_be_checked()
    page.locator("[name=fifteenth_birthday]").focus()
    desk.press(*"01312027")  # in the order of the system's language, not the page's
    desk.press("Enter")
    link = at_the_reader(world.reader(world.card()))
    assert link.representation.until.isoformat() == "2027-01-31"
    expect(page.locator("#status")).to_contain_text(words["linked"])
    desk.press("Enter")
    desk.await_the_next()
    # scan, C, six times Space and Tab, eight digits, Enter, Enter; and here one Enter too early
    assert desk.actions == 2 + 12 + 8 + 2 + 1


def test_a_suspended_link_is_restored_with_two_actions(world, page, desk, words):
    link = world.link()
    world.services.registration.suspend(world.hanako, link.link_id, reason=SuspensionReason.CARD_MISLAID)
    desk.scan()
    desk.press("U")
    expect(page.locator("main > .notice")).to_contain_text(words["restored"])
    assert desk.actions == 2  # scan, U


def test_a_refused_card_is_told_in_plain_words(world, page, desk, words):
    world.revocations.status = RevocationStatus.REVOKED
    desk.scan()
    desk.press("L")
    expect(page.locator("#status")).to_contain_text(words["waiting"])
    with pytest.raises(Denied):
        world.reader(world.card()).lay_card()
    expect(page.locator("#status")).to_contain_text(words["revoked"])
    expect(page.locator("#next")).to_be_focused()


def test_a_card_that_is_not_linked_is_nobody_s(world, page, desk, words):
    desk.press("F2")
    expect(page.locator("#status")).to_contain_text(words["waiting"])
    with pytest.raises(NotLinked):
        world.identifying_reader(world.card()).lay_card()
    expect(page.locator("#status")).to_contain_text(words["nobody"])


def test_an_order_is_taken_back_with_one_key(page, desk, words):
    desk.scan()
    desk.press("L")
    expect(page.locator("#status")).to_contain_text(words["waiting"])
    desk.press("Escape")
    expect(page.locator("#status")).to_contain_text(words["cancelled"])
    expect(page.locator("#next")).to_be_focused()
    desk.press("Enter")
    desk.await_the_next()


def test_an_unknown_or_expired_library_card_is_told_at_the_desk(page, desk, words):
    page.keyboard.type("2000100009999")
    page.keyboard.press("Enter")
    expect(page.locator("main > .notice.danger")).to_contain_text(words["unknown"])
    desk.await_the_next()
    desk.scan("2000100000025")
    assert page.locator("[data-key='L']").count() == 0


def test_the_next_library_card_may_be_scanned_wherever_the_focus_is(page, desk):
    desk.scan()
    desk.scan("2000100000033")
    expect(page.locator("h1")).to_have_text("返却 遅子")
    desk.press("Escape")
    desk.await_the_next()


def test_letters_in_a_card_number_are_no_keys(page, desk):
    page.keyboard.type("LRCX1")
    expect(page.locator("#cardnumber")).to_have_value("LRCX1")


@pytest.mark.parametrize("variant", ["", "/child"])
def test_the_application_form_is_one_page_of_a4(page, staff, variant, tmp_path):
    staff.come_to_the_desk()
    page.goto(f"/admin/counter/form{variant}")
    paper = page.pdf(prefer_css_page_size=True)
    assert paper.count(b"/Type /Page\n") == 1
    assert b"/MediaBox [0 0 594.95996 841.91998]" in paper


def test_the_desk_works_without_scripts(world, chromium, address):
    context = chromium.new_context(base_url=address, locale="ja", java_script_enabled=False)
    page = context.new_page()
    page.goto("/admin/")
    page.locator("#login_name").fill("hanako")
    page.locator("#password").fill("correct horse battery staple")
    page.locator("main button").click()
    page.locator("[name=terminal_id]").first.click()
    page.locator("#cardnumber").fill(CARDNUMBER)
    page.locator(".scan button").click()
    page.locator("[data-key=L]").click()
    reader = world.reader(world.card())
    reader.lay_card()
    reader.enter_pin("1234")
    page.reload()
    expect(page.locator("#status")).to_contain_text(WORDS["ja"]["linked"])
    page.locator("#next").click()
    page.locator("#cardnumber").fill(CARDNUMBER)
    page.locator(".scan button").click()
    page.locator("summary[data-key=X]").click()
    page.locator("button.danger").click()
    expect(page.locator("main > .notice")).to_contain_text(WORDS["ja"]["ended"])
    context.close()


@pytest.fixture
def watching(chromium, address):
    """A page that waits for a card, in a browser whose complaints do not count."""
    context = chromium.new_context(base_url=address, locale="ja")
    page = context.new_page()
    page.goto("/admin/")
    page.locator("#login_name").fill("hanako")
    page.locator("#password").fill("correct horse battery staple")
    page.locator("main button").click()
    page.locator("[data-key='1']").click()
    expect(page.locator("#cardnumber")).to_be_focused()
    page.keyboard.type(CARDNUMBER)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_be_focused()
    page.keyboard.press("L")
    expect(page.locator("#status")).to_be_visible()
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
    # While the server answers no question: that would be let in at the old time and find the order expired.
    under_way = []

    def hold_the_first(route):
        under_way.append(route)
        if len(under_way) > 1:
            route.continue_()

    watching.route("**/state", hold_the_first)
    while not under_way:
        watching.wait_for_timeout(10)
    world.clock.now += timedelta(minutes=31)
    under_way[0].continue_()
    expect(watching.locator("#password")).to_be_visible()
