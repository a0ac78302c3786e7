"""The page on the patron's display: what it shows when, who may call it, and where the PIN goes."""

import http.client
import itertools
import json
import re
import threading

import pytest

from bridge.agent.errors import BridgeProblem, GivenUp, PinTooLate
from bridge.agent.page.patron_page import PatronPage
from bridge.agent.page.server import KEY_HEADER, MAXIMUM_BODY, PageServer, serving
from bridge.agent.page.state import (
    BARCODE_STAYS,
    CARD_FORGOTTEN_AFTER,
    OUTCOME_STAYS,
    Notice,
    PageState,
    PinQuestion,
    Tone,
)
from bridge.agent.page.words import PageLanguage
from bridge.agent.screen import VisitStep
from jpki.errors import CardRemoved, InvalidPinError

KEY = "the-key-in-the-page"
PIN = "4937"
SECONDS = 60


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Table:
    """The reader, as far as the page looks at it."""

    def __init__(self):
        self.card = True

    def card_is_there(self):
        return self.card


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def page(table):
    tickets = (f"ticket-{number}" for number in itertools.count(1))
    return PatronPage(monotonic=Clock(), draw_ticket=lambda: next(tickets), card_is_there=table.card_is_there)


# -- what stands there when


def shown(state, *steps, now=0.0):
    for step in steps:
        state = state.show(step if isinstance(step, Notice) else Notice(step), now)
    return state


def test_the_end_of_a_visit_stays_until_it_can_have_been_read():
    linked = Notice(VisitStep.LINKED, {"date": "2031-01-01"})
    state = shown(PageState(), linked, VisitStep.TAKE_CARD, now=10.0)
    state = shown(state, VisitStep.LAY_CARD, now=12.0)
    assert state.notice == linked
    assert state.changes_at(12.0) == 12.0 + OUTCOME_STAYS
    assert state.at(12.0 + OUTCOME_STAYS - 0.1).notice == linked
    assert state.at(12.0 + OUTCOME_STAYS).notice.what is VisitStep.LAY_CARD


def test_a_card_laid_meanwhile_is_served_at_once():
    state = shown(PageState(), Notice(GivenUp()), VisitStep.TAKE_CARD, VisitStep.LAY_CARD, now=10.0)
    assert shown(state, VisitStep.READING, now=11.0).notice.what is VisitStep.READING


def test_a_forgotten_card_becomes_an_alarm_and_ends_with_the_card():
    state = shown(PageState(), VisitStep.SESSION_OPENED, VisitStep.TAKE_CARD, now=10.0)
    assert state.tone(10.0) is Tone.GOOD
    assert state.changes_at(10.0) == 10.0 + CARD_FORGOTTEN_AFTER
    assert state.tone(10.0 + CARD_FORGOTTEN_AFTER) is Tone.ALARM
    assert shown(state, VisitStep.LAY_CARD, now=60.0).tone(60.0) is Tone.GOOD


def test_the_next_patron_finds_nothing_of_the_last_one():
    attempts = Notice(VisitStep.ATTEMPTS_REMAINING, {"attempts_remaining": 2})
    state = shown(PageState(), attempts, VisitStep.ENTER_PIN).ask(PinQuestion("t", "1234567890", 9.0))
    state = shown(state, Notice(GivenUp())).with_barcode(b"<svg/>")
    state = shown(state, VisitStep.TAKE_CARD, VisitStep.LAY_CARD, now=1.0).at(1.0 + BARCODE_STAYS)
    assert (state.attempts_remaining, state.question, state.barcode) == (None, None, None)
    assert state.notice.is_idle


def test_a_warning_stands_below_the_end_of_the_visit():
    ends = Notice(VisitStep.CERTIFICATE_ENDS, {"date": "2026-12-24"})
    state = shown(PageState(), VisitStep.SESSION_OPENED, ends, VisitStep.TAKE_CARD)
    assert (state.notice.what, state.warning) == (VisitStep.SESSION_OPENED, ends)
    assert shown(state, VisitStep.READING).warning is None


# -- asking for the PIN


def read_in_thread(page, seconds=60.0):
    result = []

    def read():
        try:
            result.append(page.read(seconds))
        except (CardRemoved, PinTooLate) as error:
            result.append(type(error))

    thread = threading.Thread(target=read)
    thread.start()
    state, _ = page.wait_for_change((page.state()[0].version, ""), 0)
    while state.question is None:
        state, _ = page.state()
    return thread, result, state.question


def test_the_pin_reaches_the_agent_and_nothing_keeps_it(page):
    thread, result, question = read_in_thread(page)
    assert page.submit_pin(question.ticket, PIN)
    thread.join(SECONDS)
    assert result == [PIN]
    assert page.state()[0].question is None
    # By themselves; an object's address may hold the digits by chance.
    assert not re.search(rf"(?<![0-9a-f]){PIN}(?![0-9a-f])", repr(vars(page)))


def test_a_second_answer_to_one_question_does_not_count(page):
    thread, result, question = read_in_thread(page)
    assert page.submit_pin(question.ticket, PIN)
    assert not page.submit_pin(question.ticket, "0000")
    thread.join(SECONDS)
    assert not page.submit_pin(question.ticket, "0000")
    assert result == [PIN]


def test_an_answer_to_another_question_does_not_count(page):
    thread, result, question = read_in_thread(page)
    assert not page.submit_pin("ticket-0", "0000")
    assert page.submit_pin(question.ticket, "")
    thread.join(SECONDS)
    assert result == [""]


def test_a_card_taken_away_ends_the_question(page, table):
    thread, result, _question = read_in_thread(page)
    table.card = False
    thread.join(SECONDS)
    assert result == [CardRemoved]
    assert page.state()[0].question is None


def test_a_question_that_nobody_answers_ends_in_time(page):
    with pytest.raises(PinTooLate):
        page.read(0.0)
    assert page.state()[0].question is None


# -- the server


@pytest.fixture
def server(page):
    with serving(PageServer(page, port=0, key=KEY, language=PageLanguage.JAPANESE)) as server:
        yield server


def call(server, method, path, *, headers=None, body=None, key=KEY):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=SECONDS)
    sent = {"Host": f"127.0.0.1:{server.server_port}"} | ({KEY_HEADER: key} if key else {}) | (headers or {})
    connection.request(method, path, body=body, headers=sent)
    answer = connection.getresponse()
    answer.body = answer.read()
    connection.close()
    return answer


def test_the_page_and_its_parts_are_served_with_strict_headers(server):
    for path in ("/", "/patron.js", "/patron.css"):
        answer = call(server, "GET", path, key=None)
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"
    assert KEY.encode() in call(server, "GET", "/", key=None).body


FOREIGN = {
    "a rebound name": {"Host": "attacker.example"},
    "a rebound name with our port": {"Host": "attacker.example:80"},
    "another site's script": {"Sec-Fetch-Site": "cross-site"},
    "another port's page": {"Sec-Fetch-Site": "same-site"},
    "another origin": {"Origin": "https://attacker.example"},
    "an opaque origin": {"Origin": "null"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/state"), ("POST", "/pin"), ("GET", "/patron.js")]
)
def test_a_page_of_another_origin_gets_nothing(server, headers, method, path):
    assert call(server, method, path, headers=headers).status == 403


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/state"), ("GET", "/frame"), ("GET", "/barcode"), ("POST", "/pin")]
)
@pytest.mark.parametrize("key", [None, "", "guessed", "キー".encode()])
def test_without_the_pages_key_nothing_is_read_or_changed(server, method, path, key):
    assert call(server, method, path, key=key).status == 403


def test_a_form_of_another_page_cannot_send_a_pin(server, page):
    thread, result, question = read_in_thread(page)
    body = json.dumps({"ticket": question.ticket, "pin": "0000"})
    assert (
        call(server, "POST", "/pin", body=body, headers={"Content-Type": "text/plain"}, key=None).status
        == 403
    )
    assert page.submit_pin(question.ticket, PIN)
    thread.join(SECONDS)
    assert result == [PIN]


def test_a_pin_goes_from_the_page_to_the_agent(server, page):
    thread, result, question = read_in_thread(page)
    state = json.loads(call(server, "GET", "/state?version=-1").body)
    assert state["question"]["ticket"] == question.ticket
    body = json.dumps({"ticket": question.ticket, "pin": PIN})
    assert call(server, "POST", "/pin", body=body).status == 204
    thread.join(SECONDS)
    assert result == [PIN]
    assert call(server, "POST", "/pin", body=body).status == 409


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"ticket": 1, "pin": "1"}', b'{"pin": "1"}', b"x" * (MAXIMUM_BODY + 1)]
)
def test_a_malformed_answer_is_refused(server, body):
    assert call(server, "POST", "/pin", body=body).status == 400
    assert call(server, "GET", "/frame").status == 200


def test_an_unknown_path_is_not_found(server):
    assert call(server, "GET", "/../secrets").status == 404
    assert call(server, "GET", "/barcode").status == 404


def test_a_page_that_waits_hears_of_the_next_step_at_once(server, page):
    version = json.loads(call(server, "GET", "/state?version=-1").body)["version"]
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(call(server, "GET", f"/state?version={version}&tone=idle"))
    )
    waiting.start()
    page.show_step(VisitStep.READING)
    waiting.join(SECONDS)
    assert json.loads(answers[0].body)["tone"] == "working"


@pytest.mark.parametrize("language", ["ja", "en", "xx", ""])
def test_each_page_speaks_the_language_that_it_asks_for(server, page, language):
    page.show_error(InvalidPinError(0x63C2, attempts_remaining=2))
    state = json.loads(call(server, "GET", f"/state?version=-1&language={language}").body)
    assert state["language"] == ("en" if language == "en" else "ja")
    assert ("The PIN is wrong" in state["headline"]) is (language == "en")


def test_a_refusal_that_this_release_does_not_know_has_the_bridges_own_words(server, page):
    page.show_error(BridgeProblem("of-tomorrow", status=403, title="明日の理由", detail=None, data={}))
    assert json.loads(call(server, "GET", "/state?version=-1").body)["headline"] == "明日の理由"


def test_the_barcode_is_shown_until_it_is_taken_away(server, page):
    page.show_barcode(b"<svg/>")
    assert json.loads(call(server, "GET", "/state?version=-1").body)["barcode"]
    assert call(server, "GET", "/barcode").body == b"<svg/>"
    page.show_barcode(None)
    assert call(server, "GET", "/barcode").status == 404
