"""The desk in Chromium between two of its pages: no scan is lost or cut in two, no key finds a dead page.

A page that is under way is held on its way, and let go where the test says.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

CARDNUMBER, NAME = "2000100000017", "図書 友子"
NEXT_CARDNUMBER, NEXT_NAME = "2000100000033", "返却 遅子"
WAITING = "マイナンバーカードを読取部に置いてください。"
LINKED = "連携が完了しました。"
MOVED = "Kohaの利用者区分を変更しました。"


@pytest.fixture
def language():
    return "ja"


@pytest.fixture
def desk(staff):
    staff.come_to_the_desk()
    return staff


class HeldRequests:
    """The requests to an address of the desk, from the browser's side, in their order."""

    def __init__(self, page, address):
        self.seen = []
        self._page = page
        self._held = []
        page.route(address, self._hold)

    def _hold(self, route):
        self.seen.append(route.request.post_data)
        self._held.append(route)

    def await_one(self):
        while not self._held:
            self._page.wait_for_timeout(10)

    def let_go(self):
        self.await_one()
        self._held.pop(0).continue_()


@pytest.fixture
def hold(page):
    return lambda address: HeldRequests(page, address)


def test_a_scan_while_another_page_is_under_way_is_made_after_it(page, desk, hold):
    searches = hold("**/admin/counter/")
    page.keyboard.type(CARDNUMBER)
    page.keyboard.press("Enter")
    searches.await_one()
    page.keyboard.type(NEXT_CARDNUMBER)
    page.keyboard.press("Enter")
    searches.let_go()
    searches.let_go()
    expect(page.locator("h1")).to_have_text(NEXT_NAME)
    expect(page.locator("h1")).to_be_focused()
    assert [parse_qs(body)["cardnumber"] for body in searches.seen] == [[CARDNUMBER], [NEXT_CARDNUMBER]]


def test_a_scanner_that_sends_enter_twice_makes_one_search(page, desk, hold):
    searches = hold("**/admin/counter/")
    page.keyboard.type(CARDNUMBER)
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    searches.let_go()
    expect(page.locator("h1")).to_have_text(NAME)
    expect(page.locator("h1")).to_be_focused()
    assert len(searches.seen) == 1


@pytest.mark.parametrize("before", [1, 5, 13])
def test_a_number_whose_digits_come_before_and_after_a_page_stays_one_number(page, desk, hold, before):
    orders = hold("**/admin/counter/identify")
    page.keyboard.press("F2")
    orders.await_one()
    page.keyboard.type(NEXT_CARDNUMBER[:before])
    orders.let_go()
    expect(page.locator("#status")).to_contain_text(WAITING)
    expect(page.locator("#cardnumber")).to_be_focused()
    page.keyboard.type(NEXT_CARDNUMBER[before:])
    expect(page.locator("#cardnumber")).to_have_value(NEXT_CARDNUMBER)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(NEXT_NAME)


def test_a_page_that_comes_between_a_key_and_its_character_costs_no_digit(page, desk, hold):
    orders = hold("**/admin/counter/identify")
    keyboard = page.context.new_cdp_session(page)
    page.keyboard.press("F2")
    orders.await_one()
    key = {"key": "2", "code": "Digit2", "windowsVirtualKeyCode": ord("2")}
    keyboard.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **key})
    orders.let_go()
    expect(page.locator("#status")).to_contain_text(WAITING)
    keyboard.send("Input.dispatchKeyEvent", {"type": "char", "text": "2", **key})
    keyboard.send("Input.dispatchKeyEvent", {"type": "keyUp", **key})
    page.keyboard.type(NEXT_CARDNUMBER[1:])
    expect(page.locator("#cardnumber")).to_have_value(NEXT_CARDNUMBER)


def test_what_was_begun_before_a_key_of_the_desk_is_not_part_of_the_next_number(page, desk, hold):
    orders = hold("**/admin/counter/identify")
    page.keyboard.type("2000")
    page.keyboard.press("F2")
    orders.await_one()
    page.keyboard.type(NEXT_CARDNUMBER)
    orders.let_go()
    expect(page.locator("#status")).to_contain_text(WAITING)
    expect(page.locator("#cardnumber")).to_have_value(NEXT_CARDNUMBER)


def test_an_order_that_ends_within_a_scan_takes_nothing_of_it(world, page, desk):
    desk.scan()
    desk.press("L")
    expect(page.locator("#status")).to_contain_text(WAITING)
    page.keyboard.type(NEXT_CARDNUMBER[:5])
    reader = world.reader(world.card())
    reader.lay_card()
    reader.enter_pin("1234")
    expect(page.locator("#next")).to_be_visible()
    expect(page.locator("#cardnumber")).to_be_focused()
    page.keyboard.type(NEXT_CARDNUMBER[5:])
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(NEXT_NAME)


def test_an_answer_that_was_lost_on_its_way_is_asked_for_again(world, chromium, address, hands_at):
    context = chromium.new_context(base_url=address, locale="ja")  # whose complaints do not count
    page = context.new_page()
    lost = []

    def lose_one(route):
        lost.append(route.request.url)
        route.abort() if len(lost) == 1 else route.continue_()

    desk = hands_at(page)
    desk.come_to_the_desk()
    desk.press("F2")
    expect(page.locator("#status")).to_contain_text(WAITING)
    page.route("**/requests/*", lose_one)
    reader = world.identifying_reader(world.linked_card())
    reader.lay_card()
    reader.enter_pin("1234")
    expect(page.locator("#number")).to_have_text(CARDNUMBER)
    assert len(lost) == 2
    context.close()


@pytest.fixture
def slow_koha(categories):
    """A Koha that changes a patron's category when it is allowed to."""
    move, categories.may_move = categories.move, Event()

    def move_when_allowed(patron, category_id):
        assert categories.may_move.wait(60)
        move(patron, category_id)

    categories.move = move_when_allowed
    yield categories
    categories.may_move.set()


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_the_next_patron_need_not_wait_for_koha_to_change_the_category(world, page, desk, slow_koha, key):
    desk.scan()
    desk.press("L")
    expect(page.locator("#status")).to_contain_text(WAITING)
    reader = world.reader(world.card())
    reader.lay_card()
    with ThreadPoolExecutor() as agent:
        answered = agent.submit(reader.enter_pin, "1234")
        expect(page.locator("#status")).to_contain_text(LINKED)
        desk.press(key)
        desk.await_the_next()
        slow_koha.may_move.set()
        answered.result()


def test_the_page_goes_on_telling_what_koha_did(world, page, desk, slow_koha):
    desk.scan()
    desk.press("L")
    expect(page.locator("#status")).to_contain_text(WAITING)
    reader = world.reader(world.card())
    reader.lay_card()
    with ThreadPoolExecutor() as agent:
        answered = agent.submit(reader.enter_pin, "1234")
        expect(page.locator("#next")).to_be_focused()
        slow_koha.may_move.set()
        answered.result()
    expect(page.locator("#status")).to_contain_text(MOVED)
    expect(page.locator("#next")).to_be_focused()
