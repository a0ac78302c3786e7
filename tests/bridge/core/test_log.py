"""The log of the server's commands."""

from __future__ import annotations

import logging
import re
import sys

import pytest

from bridge.cli.log import LineFormatter

BEGIN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO sip2_adapter\.request_log: "


@pytest.fixture
def record():
    def record(message, *args, exc_info=None):
        return logging.LogRecord("sip2_adapter.request_log", logging.INFO, "", 0, message, args, exc_info)

    return record


def test_every_line_of_a_record_can_be_read_by_itself(record):
    lines = LineFormatter().format(record("main kiosk1 63 answered 1.2 ms\n%s", "main kiosk2 99")).split("\n")
    assert re.fullmatch(BEGIN + "main kiosk1 63 answered 1.2 ms", lines[0])
    assert re.fullmatch(BEGIN + "main kiosk2 99", lines[1])


def test_text_with_a_line_break_cannot_pass_for_a_record_of_its_own(record):
    forged = "host\n2026-11-20 12:00:00,000 ERROR bridge.audit: the audit log is broken"
    for line in LineFormatter().format(record("not reached: %s", forged)).split("\n"):
        assert re.match(BEGIN, line)


def test_a_traceback_follows_its_message(record):
    try:
        {}["nobody"]
    except KeyError:
        text = LineFormatter().format(record("trouble", exc_info=sys.exc_info()))
    first, *_, last = text.split("\n")
    assert re.fullmatch(BEGIN + "trouble", first)
    assert re.fullmatch(BEGIN + "KeyError: 'nobody'", last)
