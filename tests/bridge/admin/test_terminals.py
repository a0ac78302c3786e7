"""Enrolling a terminal in the admin, and what is shown of the reader program there."""

from __future__ import annotations

import re
from datetime import timedelta
from hashlib import sha256

import pytest

from bridge.models import OutputState, ReaderState, TerminalReport

LIBRARY = "/admin/libraries/chuo"
ENROL = f"{LIBRARY}/terminals/counter-1/enrol"


def shown_code(answer):
    return re.search(r"<code>([0-9A-Z]{3}-[0-9A-Z]{3}-[0-9A-Z]{3})</code>", answer.text)[1]


def test_an_administrator_draws_a_code_by_which_the_terminal_enrols(world, browser_of):
    browser = browser_of("kanri")
    assert f'href="{ENROL}"' in browser.get(f"{LIBRARY}/").text
    answer = browser.post(ENROL, ENROL)
    code = shown_code(answer)
    assert "10:45" in answer.text, "until when, in the library's time"
    assert answer.headers["Cache-Control"] == "no-store"
    world.services.enrolment.enrol(code, sha256(b"made there").hexdigest())
    assert world.services.staff.terminal_for_token("made there") == world.counter
    audit = browser.get("/admin/audit/").text
    assert code not in audit
    assert "端末を登録" in audit


def test_looking_at_the_page_draws_no_code(world, browser_of):
    before = world.services.enrolment.draw_code(world.system, library_id="chuo", terminal_id="counter-1")
    browser_of("kanri").get(ENROL)
    assert world.services.enrolment.enrol(before.code.value, "0" * 64) == world.counter


@pytest.mark.parametrize("page", [f"{LIBRARY}/", "/admin/terminals/"])
@pytest.mark.parametrize(
    ("reader", "output", "words"),
    [
        (ReaderState.MISSING, OutputState.NONE, "最終確認 2 分前：読み取り機がありません"),
        (
            ReaderState.READY,
            OutputState.UNAVAILABLE,
            "最終確認 2 分前：読み取り機は正常、番号の受け渡しができません",
        ),
    ],
)
def test_the_list_of_terminals_says_how_each_reader_is(world, browser_of, page, reader, output, words):
    world.services.terminals.report(world.counter, TerminalReport(reader, output, "0.1.0"))
    world.clock.now += timedelta(minutes=2)
    text = browser_of("kanri").get(page).text
    assert words in text
    assert "まだ接続がありません" in text, "the others"
