"""The patron's page in Chromium: touched, typed on, read in another language, at every size."""

import itertools
import threading
import time
from functools import partial
from http import HTTPStatus

import pytest

from bridge.agent.errors import BridgeProblem, PinTooLate
from bridge.agent.outputs.barcode import BarcodeKind, barcode_svg
from bridge.agent.page import state
from bridge.agent.page.patron_page import PatronPage
from bridge.agent.page.server import PageServer, serving
from bridge.agent.page.words import PageLanguage, offered_languages
from bridge.agent.screen import ERROR_WORDS, PROBLEM_WORDS, VisitStep
from jpki.errors import CardRemoved, InvalidPinError

pytestmark = pytest.mark.browser

TIME_LIMIT = 30_000  # milliseconds

BACK_TO_FIRST_LANGUAGE = 20
"""Seconds: what stands in the page's script."""

STANDING_CLOCK = "window.passed = 0; performance.now = () => passed;"
"""For the page, before its own script: no time passes but what a test lets pass. Its timers go on."""


class Clock:
    """The agent's clock, which a test may stop and put forward."""

    def __init__(self):
        self._stopped_at = None

    def __call__(self):
        return time.monotonic() if self._stopped_at is None else self._stopped_at

    def stop(self):
        self._stopped_at = time.monotonic()

    def advance(self, seconds):
        self._stopped_at += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def page(clock):
    tickets = (f"ticket-{number}" for number in itertools.count(1))
    return PatronPage(
        monotonic=clock,
        draw_ticket=lambda: next(tickets),
        card_is_there=lambda: True,
        order_keys=lambda digits: digits[::-1],
    )


@pytest.fixture
def server(page):
    with serving(PageServer(page, port=0, key="key", language=PageLanguage.JAPANESE)) as server:
        yield server


@pytest.fixture
def display(chromium, server):
    """The browser on the patron's display; nothing may go wrong in it."""
    context = chromium.new_context(viewport={"width": 1024, "height": 768})
    display = context.new_page()
    display.add_init_script(STANDING_CLOCK)
    trouble = []
    display.on("pageerror", lambda error: trouble.append(str(error)))
    display.on("response", lambda answer: trouble.append(answer.url) if answer.status >= 400 else None)
    display.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    display.goto(server.url)
    display.wait_for_selector("#languages button")
    yield display
    context.close()
    assert trouble == []


@pytest.fixture
def pass_time(display):
    """Return a function that puts the browser's clock forward by seconds."""
    return lambda seconds: display.evaluate("seconds => { window.passed += 1000 * seconds; }", seconds)


class Asking:
    """The agent's thread, waiting for the PIN."""

    def __init__(self, page, seconds=60.0):
        self.result = None
        self._thread = threading.Thread(target=self._ask, args=[page, seconds])
        page.show_step(VisitStep.ATTEMPTS_REMAINING, attempts_remaining=3)
        page.show_step(VisitStep.ENTER_PIN)
        self._thread.start()

    def _ask(self, page, seconds):
        try:
            self.result = page.read(seconds)
        except (CardRemoved, PinTooLate) as error:
            self.result = type(error)

    def join(self):
        self._thread.join(TIME_LIMIT / 1000)
        return self.result


def test_the_patron_touches_the_keys(page, display):
    asking = Asking(page)
    display.wait_for_selector("#pad button")
    assert "あと3回" in display.inner_text("#attempts")
    keys = display.locator("#pad button:not(.word)").all_inner_texts()
    assert keys == list("0987654321")
    for number, digit in enumerate("4937", start=1):
        display.get_by_role("button", name=digit, exact=True).click()
        if number < 4:
            assert display.locator("#dots .typed").count() == number
    assert asking.join() == "4937"
    display.wait_for_selector("#question", state="hidden")


def test_the_patron_types_on_a_keyboard_and_corrects(page, display):
    asking = Asking(page)
    display.wait_for_selector("#pad button")
    display.keyboard.type("49x8")
    display.keyboard.press("Backspace")
    display.keyboard.type("37")
    assert asking.join() == "4937"


def test_the_patron_gives_up(page, display):
    asking = Asking(page)
    display.wait_for_selector("#pad button")
    display.keyboard.press("Escape")
    assert asking.join() == ""


def test_the_pin_is_in_no_field_and_not_in_the_document(page, display):
    asking = Asking(page)
    display.wait_for_selector("#pad button")
    assert display.locator("input, textarea, form").count() == 0
    display.keyboard.type("493")
    assert "493" not in display.content()
    assert display.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
    assert display.context.cookies() == []
    display.keyboard.type("7")
    asking.join()
    assert "4937" not in display.content()


def test_the_page_warns_before_the_time_for_the_pin_ends(page, display, pass_time):
    asking = Asking(page, seconds=2 * state.PIN_WARNING)
    display.wait_for_selector('#time[data-warning="false"]')
    pass_time(state.PIN_WARNING)
    display.wait_for_selector('#time[data-warning="true"]', timeout=TIME_LIMIT)
    assert "まもなく時間切れ" in display.inner_text("#time")
    display.keyboard.press("Escape")
    asking.join()


def test_every_language_is_one_touch_away_and_goes_with_the_patron(page, display):
    page.show_error(InvalidPinError(0x63C2, attempts_remaining=2))
    assert display.locator("#languages button").count() == len(offered_languages())
    for language in offered_languages():
        display.locator(f'#languages button[lang="{language.value}"]').click()
        display.wait_for_selector(f"html[lang='{language.value}']")
    display.get_by_role("button", name="English").click()
    display.wait_for_selector("#headline:has-text('PIN is wrong')")


def test_the_next_patron_finds_the_display_in_its_first_language(page, display, pass_time):
    display.get_by_role("button", name="English").click()
    display.wait_for_selector("html[lang='en']")
    page.show_step(VisitStep.READING)
    display.wait_for_selector("body[data-tone='working']")
    pass_time(BACK_TO_FIRST_LANGUAGE + 1)  # with a patron at the desk
    page.show_step(VisitStep.LAY_CARD)
    display.wait_for_selector("body[data-tone='idle']")
    assert display.get_attribute("html", "lang") == "en"
    pass_time(BACK_TO_FIRST_LANGUAGE + 1)
    display.wait_for_selector("html[lang='ja']", timeout=TIME_LIMIT)
    assert display.inner_text("#title") == "マイナンバーカード"


def test_the_words_of_a_page_change_their_language_together(page, display):
    page.show_step(VisitStep.LAY_CARD)
    display.wait_for_selector("#headline:has-text('置いて')")
    titles = []

    def look_first(route):
        titles.append(display.inner_text("#title"))
        route.continue_()

    display.route("**/state?*language=en", look_first, times=1)
    display.get_by_role("button", name="English").click()
    display.wait_for_selector("html[lang='en']")
    assert display.inner_text("#title") == "My Number Card"
    assert "置いて" not in display.inner_text("#headline")
    assert titles == ["マイナンバーカード"]


def test_a_forgotten_card_is_told_loudly(page, display, monkeypatch):
    monkeypatch.setattr(state, "CARD_FORGOTTEN_AFTER", 0.3)
    page.show_step(VisitStep.SESSION_OPENED)
    page.show_step(VisitStep.TAKE_CARD)
    display.wait_for_selector('body[data-tone="alarm"]', timeout=TIME_LIMIT)
    assert "お忘れ" in display.inner_text("#notice")


def test_the_barcode_is_a_picture_until_the_next_patron(page, display, monkeypatch):
    monkeypatch.setattr(state, "BARCODE_STAYS", 0.2)
    page.show_step(VisitStep.SESSION_OPENED)
    page.show_barcode(barcode_svg("98012345678905", BarcodeKind.NW_7))
    display.wait_for_selector("#picture[src]")
    assert display.evaluate("document.getElementById('picture').decode().then(() => true)")
    page.show_step(VisitStep.TAKE_CARD)
    page.show_step(VisitStep.LAY_CARD)
    display.wait_for_selector("#barcode", state="hidden", timeout=TIME_LIMIT)
    assert display.locator("#picture[src]").count() == 0


def test_a_page_whose_agent_is_gone_says_so(chromium, page):
    context = chromium.new_context()
    display = context.new_page()
    with serving(PageServer(page, port=0, key="key", language=PageLanguage.JAPANESE)) as server:
        display.goto(server.url)
        display.wait_for_selector("#languages button")
        page.show_step(VisitStep.LAY_CARD)
        display.wait_for_selector("#headline:has-text('置いて')")
    page.show_step(VisitStep.READING)  # lets the request that waits end
    display.wait_for_selector("#headline:has-text('今使えません')", timeout=TIME_LIMIT)
    context.close()


@pytest.mark.parametrize(("width", "height"), [(320, 640), (1024, 600), (1920, 1080)])
def test_the_pad_fits_the_display(page, display, width, height):
    display.set_viewport_size({"width": width, "height": height})
    asking = Asking(page)
    display.wait_for_selector("#pad button")
    assert display.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if width >= 1024:  # on a telephone's width one scrolls
        time_left = display.locator("#time").bounding_box()
        assert time_left["y"] + time_left["height"] <= height, "the time left is out of sight"
    for button in display.locator("#pad button").all():
        box = button.bounding_box()
        assert box["width"] >= 64
        assert box["height"] >= 48
    display.keyboard.press("Escape")
    asking.join()


TOLD = {"date": "2031-01-01", "attempts_remaining": 2}
"""What steps and errors tell of."""


def problem(slug):
    return BridgeProblem(slug, status=HTTPStatus.FORBIDDEN, title=slug, detail=None, data={})


def error_of(kind):
    """Return an error as its words see it."""
    if kind is BridgeProblem:
        return problem("a-word-of-a-later-bridge")
    error = kind.__new__(kind)
    error.attempts_remaining = TOLD["attempts_remaining"]
    return error


def outcome_with(step):
    def show(page):
        page.show_step(VisitStep.SESSION_OPENED)
        page.show_step(step, **TOLD)

    return show


MESSAGES = {
    **{step.name: partial(PatronPage.show_step, step=step, **TOLD) for step in VisitStep},
    **{
        f"{step.name} after an outcome": outcome_with(step)
        for step in (*sorted(state.WARNINGS, key=str), VisitStep.TAKE_CARD)
    },
    **{kind.__name__: partial(PatronPage.show_error, error=error_of(kind)) for kind in ERROR_WORDS},
    **{slug: partial(PatronPage.show_error, error=problem(slug)) for slug in PROBLEM_WORDS},
}
"""Every step, every error and every refusal of the bridge, and what brings it on the page."""


def wait_until_shown(page, display):
    display.wait_for_function("version => seen.version >= version", arg=page.state()[0].version)


@pytest.fixture(params=["ja", "en"])
def language(request):
    return request.param


@pytest.fixture
def reading(display, language, clock):
    """The display in one language. No time passes on either side but what a test lets pass."""
    clock.stop()
    display.locator(f'#languages button[lang="{language}"]').click()
    display.wait_for_selector(f"html[lang='{language}']")
    return display


def test_every_message_is_accessible_at_every_width(page, reading, find_troubles):
    tones = set()
    troubles = []
    for name, show in MESSAGES.items():
        page._change(
            lambda shown, _now: state.PageState(version=shown.version + 1)
        )  # the next patron, at once
        show(page)
        wait_until_shown(page, reading)
        tone = reading.locator("body").get_attribute("data-tone")
        found = find_troubles(reading, by_keyboard=tone not in tones, only_words_are_new=tone in tones)
        troubles += [f"{name}: {trouble}" for trouble in found]
        tones.add(tone)
    assert troubles == [], "\n".join(troubles)
    assert tones == set(state.Tone) - {state.Tone.ALARM}


def test_the_pin_pad_is_accessible_before_within_and_at_the_end_of_the_time(
    page, reading, language, find_troubles, keep_screenshot, pass_time
):
    asking = Asking(page, seconds=state.PIN_WARNING + 5)
    reading.wait_for_selector("#pad button")
    reading.keyboard.type("49")
    assert reading.locator("#dots .typed").count() == 2
    keep_screenshot(reading, f"pin-pad-{language}")
    troubles = find_troubles(reading)
    reading.keyboard.press("Backspace")
    reading.keyboard.press("Backspace")
    assert reading.locator("#dots .typed").count() == 0
    troubles += find_troubles(reading)
    pass_time(5)
    reading.wait_for_selector('#time[data-warning="true"]', timeout=TIME_LIMIT)
    troubles += find_troubles(reading)
    reading.keyboard.press("Escape")
    asking.join()
    assert troubles == []


def test_the_pin_is_typed_on_the_pad_by_tab_and_enter_alone(page, display):
    asking = Asking(page)
    display.wait_for_selector("#pad button")
    for digit in "4937":
        for _ in range(30):
            if display.evaluate("document.activeElement.textContent") == digit:
                break
            display.keyboard.press("Tab")
        display.keyboard.press("Enter")
    assert asking.join() == "4937"


@pytest.mark.parametrize("kind", BarcodeKind)
def test_a_barcode_and_the_alarm_are_accessible(
    page, reading, language, clock, find_troubles, keep_screenshot, monkeypatch, kind
):
    monkeypatch.setattr(state, "CARD_FORGOTTEN_AFTER", 0.05)  # seconds after which the page looks again
    page.show_step(VisitStep.SESSION_OPENED)
    page.show_barcode(barcode_svg("98012345678905", kind))
    reading.wait_for_selector("#picture[src]")
    assert reading.evaluate("document.getElementById('picture').decode().then(() => true)")
    if kind is BarcodeKind.NW_7:
        keep_screenshot(reading, f"patron-barcode-{language}")
    troubles = find_troubles(reading)
    reading.evaluate("document.activeElement.blur()")
    page.show_step(VisitStep.TAKE_CARD)
    clock.advance(state.CARD_FORGOTTEN_AFTER)
    reading.wait_for_selector('body[data-tone="alarm"]', timeout=TIME_LIMIT)
    if kind is BarcodeKind.NW_7:
        keep_screenshot(reading, f"patron-alarm-{language}")
    assert [*troubles, *find_troubles(reading)] == []


PICTURED = {
    "patron-lay-card": partial(PatronPage.show_step, step=VisitStep.LAY_CARD),
    "patron-linked": partial(PatronPage.show_step, step=VisitStep.LINKED, **TOLD),
    "patron-pin-wrong": partial(PatronPage.show_error, error=InvalidPinError(0x63C2, attempts_remaining=2)),
}


@pytest.mark.parametrize("name", PICTURED)
def test_the_pictures_of_the_page_are_there(page, reading, language, keep_screenshot, kept_screenshots, name):
    PICTURED[name](page)
    wait_until_shown(page, reading)
    keep_screenshot(reading, f"{name}-{language}")
    assert f"{name}-{language}" in kept_screenshots()


def test_a_page_whose_agent_is_gone_is_accessible(chromium, page, find_troubles):
    context = chromium.new_context(viewport={"width": 1024, "height": 768})
    display = context.new_page()
    with serving(PageServer(page, port=0, key="key", language=PageLanguage.JAPANESE)) as server:
        display.goto(server.url)
        display.wait_for_selector("#languages button")
    page.show_step(VisitStep.READING)  # lets the request that waits end
    display.wait_for_selector("#headline:has-text('今使えません')", timeout=TIME_LIMIT)
    assert find_troubles(display) == []
    context.close()
