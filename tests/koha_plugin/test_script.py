"""The script in Debian's Chromium: pages of each markup generation, the real bridge, a simulated card."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from bridge.errors import NotLinked
from bridge.links.consent import standard_wording
from bridge.models import Actor, ActorKind, LibrarianRole, TerminalKind

pytestmark = pytest.mark.browser

TIME_LIMIT = 60_000  # milliseconds
expect.set_options(timeout=TIME_LIMIT)

CARDNUMBER = "2000100000017"
PASSWORD = "correct horse battery staple"
SYSTEM = Actor(ActorKind.COMMAND, "tests")
WORDS = {
    "ja": {
        "lay": "マイナンバーカードを読取部に置いてください。",
        "tries": "残り3回試せます。",
        "not linked": "連携されているカードはありません。",
        "link": "カードを連携する",
        "agreed": "利用者は読んで同意しました。",
        "start": "カードを待つ",
        "linked": "連携が完了しました。",
        "close": "閉じる",
        "unlink": "連携を解除する",
        "unlinked": "連携を解除しました。",
        "again": "もう一度",
    },
    "en": {
        "lay": "Please lay the My Number Card on the reader.",
        "tries": "3 tries left.",
        "not linked": "No card is linked.",
        "link": "Link a card",
        "agreed": "The patron has read this and agrees.",
        "start": "Wait for the card",
        "linked": "The card is linked.",
        "close": "Close",
        "unlink": "End the link",
        "unlinked": "The link has ended.",
        "again": "Again",
    },
}


@pytest.fixture
def page(chromium, koha):
    """A page that asks Koha and the bridge alone, breaks no policy, and runs no text that it was told."""
    context = chromium.new_context(base_url=koha.url)
    context.set_default_timeout(TIME_LIMIT)
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [url for url in requests if not url.startswith((koha.url, koha.bridge.url))] == []
    # Chromium itself writes a line for each answer that is a refusal, and for what CORS forbids.
    expected = ("Failed to load resource", *(() if koha.bridge.origins else ("blocked by CORS policy",)))
    assert [text for text in complaints if not any(part in text for part in expected)] == []


def status(page):
    return page.locator("#mnc-status")


def dialog_button(page, name):
    return page.locator("#mnc-dialog").get_by_role("button", name=name, exact=True)


def start_link(page, words):
    dialog_button(page, words["link"]).click()
    page.get_by_label(words["agreed"]).check()
    dialog_button(page, words["start"]).click()
    expect(status(page)).to_contain_text(words["lay"])


@pytest.mark.parametrize(
    ("generation", "language"), [("22.11", "ja-Jpan-JP"), ("24.05", "en"), ("25.11", "ja")]
)
def test_a_patron_is_found_by_card_and_goes_into_the_check_out_box(page, koha, generation, language):
    koha.language, words = language, WORDS[language[:2]]
    card = koha.bridge.card()
    koha.bridge.link(card)
    page.goto(f"/page/{generation}-circulation")
    page.locator("#circ_search #mnc-identify").click()
    expect(status(page)).to_contain_text(words["lay"])
    enter_pin = koha.bridge.lay(card)
    expect(status(page)).to_contain_text(words["tries"])
    enter_pin()
    expect(page.locator("#found")).to_be_visible()
    assert koha.searched == [CARDNUMBER]


def test_the_shortcut_asks_from_wherever_the_cursor_is(page, koha):
    card = koha.bridge.card()
    koha.bridge.link(card)
    page.goto("/page/25.11-catalogue")
    page.locator("#ret_barcode").evaluate("box => box.focus()")
    page.keyboard.press("Alt+KeyM")
    expect(status(page)).to_contain_text(WORDS["ja"]["lay"])
    koha.bridge.lay(card)()
    expect(page.locator("#found")).to_be_visible()


@pytest.mark.parametrize("generation", ["22.11", "25.11"])
def test_a_card_is_linked_replaced_and_unlinked_on_the_patron_page(page, koha, generation):
    words = WORDS["ja"]
    page.goto(f"/page/{generation}-patron?borrowernumber=71")
    page.locator("#toolbar #mnc-links").click()
    expect(status(page)).to_have_text(words["not linked"])
    start_link(page, words)
    koha.bridge.lay(koha.bridge.card())()
    expect(status(page)).to_contain_text(words["linked"])
    dialog_button(page, words["close"]).click()

    page.locator("#mnc-links").click()
    dialog_button(page, "カードを替える（再連携）").click()
    page.get_by_label(words["agreed"]).check()
    dialog_button(page, words["start"]).click()
    expect(status(page)).to_contain_text(words["lay"])
    koha.bridge.lay(koha.bridge.card())()
    expect(status(page)).to_contain_text(words["linked"])
    dialog_button(page, words["close"]).click()

    page.locator("#mnc-links").click()
    expect(page.locator(".mnc-link")).to_have_count(1)  # the first gave way
    dialog_button(page, words["unlink"]).click()
    page.get_by_label("解除の理由").select_option("card_lost")
    dialog_button(page, words["unlink"]).click()
    expect(status(page)).to_have_text(words["unlinked"])
    expect(page.locator(".mnc-link")).to_have_count(0)


def test_no_card_is_linked_without_consent(page, koha):
    words = WORDS["ja"]
    page.goto("/page/25.11-patron?borrowernumber=71")
    page.locator("#mnc-links").click()
    dialog_button(page, words["link"]).click()
    expect(page.locator("#mnc-dialog li")).to_have_count(len(standard_wording().points("en")))
    dialog_button(page, words["start"]).click()
    expect(page.get_by_label(words["agreed"])).to_be_visible()
    assert koha.bridge.services.registration.pending(koha.bridge.counter) is None


def test_the_check_out_page_has_both_buttons(page, koha):
    page.goto("/page/25.11-circulation")
    expect(page.locator("#mnc-identify")).to_be_visible()
    expect(page.locator("#mnc-links")).to_be_visible()
    page.goto("/page/25.11-catalogue")
    expect(page.locator("#mnc-identify")).to_be_visible()
    expect(page.locator("#mnc-links")).to_have_count(0)


def test_text_that_the_bridge_tells_is_never_run(page, koha):
    koha.is_strict = False  # or the page's own policy would stop what we look for
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    expect(page.locator("#mnc-dialog")).to_contain_text("総合<img src=x onerror=")
    assert page.locator("#mnc-dialog img, #mnc-dialog script").count() == 0
    assert page.evaluate("document.body.dataset.pwned") is None


def test_closing_takes_the_order_back(page, koha):
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    expect(status(page)).to_contain_text(WORDS["ja"]["lay"])
    with page.expect_response(lambda response: response.url.endswith("/cancellation")):
        page.keyboard.press("Escape")
    assert koha.bridge.services.registration.pending(koha.bridge.counter) is None
    page.locator("#mnc-identify").click()  # the counter is free again
    expect(status(page)).to_contain_text(WORDS["ja"]["lay"])


@pytest.mark.parametrize("leave", ["closed", "left open"])
def test_leaving_the_page_takes_the_order_back(page, koha, leave):
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    expect(status(page)).to_contain_text(WORDS["ja"]["lay"])
    if leave == "closed":
        page.locator("#mnc-dialog").evaluate("dialog => dialog.close()")
    page.goto("/page/25.11-catalogue")
    assert koha.bridge.cancelled.wait(TIME_LIMIT / 1000)
    assert koha.bridge.services.registration.pending(koha.bridge.counter) is None


def test_a_card_that_is_not_linked_is_said_and_can_be_tried_again(page, koha):
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    expect(status(page)).to_contain_text(WORDS["ja"]["lay"])
    with pytest.raises(NotLinked):
        koha.bridge.lay(koha.bridge.card())
    expect(status(page)).to_contain_text("このカードは連携されていません。")
    dialog_button(page, WORDS["ja"]["again"]).click()
    expect(status(page)).to_contain_text(WORDS["ja"]["lay"])


def test_a_librarian_whom_the_bridge_does_not_know_reads_what_to_do(page, koha):
    koha.librarian_number = 9
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    expect(status(page)).to_contain_text("ブリッジの職員に結び付けられていません")


def test_a_koha_that_is_not_configured_gets_nothing(page, koha):
    koha.bridge.origins.clear()
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    expect(status(page)).to_contain_text("ブリッジに接続できません")


def test_where_patrons_may_not_be_read_the_library_card_is_scanned(page, koha):
    koha.may_read_patrons = False
    page.goto("/page/25.11-patron?borrowernumber=71")
    page.locator("#mnc-links").click()
    full_width = CARDNUMBER.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})
    page.get_by_label("利用者カードの番号").fill(full_width)
    page.keyboard.press("Enter")
    expect(status(page)).to_have_text(WORDS["ja"]["not linked"])


def test_among_several_terminals_one_is_chosen_once(page, koha):
    koha.bridge.services.staff.add_terminal(
        SYSTEM,
        library_id="chuo",
        terminal_id="counter-2",
        name="児童カウンター",
        kind=TerminalKind.COUNTER,
    )
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    page.get_by_label("カードを置く端末").select_option("counter-2")
    dialog_button(page, "次へ").click()
    expect(page.locator("#mnc-dialog")).to_contain_text("端末：児童カウンター")
    with page.expect_response(lambda response: response.url.endswith("/cancellation")):
        page.keyboard.press("Escape")
    page.goto("/page/25.11-catalogue")
    page.locator("#mnc-identify").click()
    expect(page.locator("#mnc-dialog")).to_contain_text("端末：児童カウンター")
    dialog_button(page, "別の端末にする").click()
    expect(page.get_by_label("カードを置く端末")).to_be_visible()


def test_without_the_plugin_the_librarian_logs_in_in_a_window_of_the_bridge(page, koha):
    koha.with_plugin = False
    card = koha.bridge.card()
    koha.bridge.link(card)
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    with page.expect_popup() as opening:
        dialog_button(page, "ログインする").click()
    window = opening.value
    window.locator("#login_name").fill("hanako")
    window.locator("#password").fill(PASSWORD)
    with window.expect_event("close"):
        window.keyboard.press("Enter")
    expect(status(page)).to_contain_text(WORDS["ja"]["lay"])
    koha.bridge.lay(card)()
    expect(page.locator("#found")).to_be_visible()

    page.goto("/page/25.11-catalogue")  # the log-in holds for the other pages of this tab
    page.locator("#mnc-identify").click()
    expect(status(page)).to_contain_text(WORDS["ja"]["lay"])
    page.keyboard.press("Escape")
    page.locator("#logout").click()
    expect(page.locator("#out")).to_be_visible()
    page.goto("/page/25.11-catalogue")
    page.locator("#mnc-identify").click()
    expect(dialog_button(page, "ログインする")).to_be_visible()


def test_a_message_of_another_window_is_no_log_in(page, koha):
    koha.with_plugin = False
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    with page.expect_popup():
        dialog_button(page, "ログインする").click()
    page.evaluate("window.postMessage({ type: 'koha-jpki-desk', token: 'x', expiresAt: '2099-01-01' }, '*')")
    expect(dialog_button(page, "ログインする")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_with_the_plugin_no_token_is_kept_in_the_browser(page, koha):
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    expect(status(page)).to_contain_text(WORDS["ja"]["lay"])
    assert page.evaluate("sessionStorage.length") == 0
    assert page.evaluate("Object.keys(localStorage)") == []


def test_who_may_not_work_at_the_counter_is_told(page, koha):
    koha.bridge.services.staff.change_role(
        SYSTEM,
        library_id="chuo",
        librarian_id=koha.bridge.librarian.librarian_id,
        role=LibrarianRole.AUDITOR,
    )
    page.goto("/page/25.11-circulation")
    page.locator("#mnc-identify").click()
    expect(status(page)).to_contain_text("窓口の操作はできません")
