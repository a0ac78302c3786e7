"""What an ACS's answer says of the library card."""

from __future__ import annotations

from datetime import date

import pytest

from sip2_adapter.codec import decode
from sip2_adapter.simulator import Account
from sip2_adapter.standing import LibraryCardStanding, judge_library_card

DATE = b"20261120    155739"
TODAY = date(2026, 11, 20)
BLANKS = b" " * 14
EXPIRY_SENTENCE = (
    b"BLY|PIN|AFGreetings from Koha. Your account has expired as of 2026-11-10 -- Patron owes 12.50|"
)


def patron_answer(status, rest, code=b"64"):
    counts = b"0000" * 6 if code == b"64" else b""
    return decode(code + status + b"001" + DATE + counts + b"AOCPL|AA2|AEx|" + rest)


@pytest.mark.parametrize(
    ("status", "rest", "standing"),
    [
        (BLANKS, b"BLY|PIY|", LibraryCardStanding.VALID),
        (b"YYYY          ", b"BLY|PIN|", LibraryCardStanding.EXPIRED_OR_RESTRICTED),
        (b"YYYY          ", b"BLY|", LibraryCardStanding.EXPIRED_OR_RESTRICTED),
        (b"YYYY          ", b"BLY|PIY|", LibraryCardStanding.VALID),
        (b"YYYYY         ", b"BLY|PIN|", LibraryCardStanding.VALID),
        (b"YYYY      YY  ", b"BLY|PIN|", LibraryCardStanding.VALID),
        (b"Y             ", b"BLY|PIY|", LibraryCardStanding.VALID),
        (b"YYYY      YY  ", EXPIRY_SENTENCE, LibraryCardStanding.EXPIRED),
        (b"YYYY          ", b"BLN|", LibraryCardStanding.NOT_SAID),
    ],
    ids=[
        "fine",
        "denied",
        "24 has no PI",
        "overdues",
        "lost",
        "fines",
        "one overdue",
        "fines and expired",
        "nobody",
    ],
)
@pytest.mark.parametrize("code", [b"24", b"64"])
def test_the_flags_decide_where_no_field_holds_the_date(status, rest, standing, code):
    assert judge_library_card(patron_answer(status, rest, code), lambda: TODAY, None) is standing


@pytest.mark.parametrize(
    ("value", "standing"),
    [
        (b"PA2026-11-20|", LibraryCardStanding.VALID),
        (b"PA2026-11-19|", LibraryCardStanding.EXPIRED),
        (b"PA20261119    235900|", LibraryCardStanding.EXPIRED),
        (b"PA20270331|", LibraryCardStanding.VALID),
        (b"PA|", LibraryCardStanding.UNKNOWN),
        (b"PA1|", LibraryCardStanding.UNKNOWN),
        (b"PA2026-13-01|", LibraryCardStanding.UNKNOWN),
        (b"PAnever|", LibraryCardStanding.UNKNOWN),
        (b"", LibraryCardStanding.UNKNOWN),
    ],
)
def test_a_field_with_the_date_decides_where_there_is_one(value, standing):
    # The flags deny everything for a restriction; the date says that it is no expiry.
    answer = patron_answer(b"YYYY          ", b"BLY|PIN|" + value)
    assert judge_library_card(answer, lambda: TODAY, b"PA") is standing


def test_answers_about_items_say_nothing_and_only_a_doubt_forbids():
    checkin = decode(b"101YNN" + DATE + b"AOCPL|AB1|AQCPL|")
    assert judge_library_card(checkin, lambda: TODAY, b"PA") is LibraryCardStanding.NOT_SAID
    assert [each for each in LibraryCardStanding if not each.forbids] == [
        LibraryCardStanding.NOT_SAID,
        LibraryCardStanding.VALID,
    ]


@pytest.mark.parametrize(
    ("card", "standing"),
    [
        (b"20000000000001", LibraryCardStanding.VALID),
        (b"20000000000003", LibraryCardStanding.EXPIRED),
        (b"20000000000004", LibraryCardStanding.EXPIRED_OR_RESTRICTED),
        (b"20000000000005", LibraryCardStanding.VALID),
        (b"20000000000006", LibraryCardStanding.VALID),
        (b"nobody", LibraryCardStanding.NOT_SAID),
    ],
    ids=["fine", "expired", "restricted", "lost", "owing", "nobody"],
)
async def test_the_simulated_acss_answers_are_judged_as_kohas(start_acs, connect, card, standing):
    acs = await start_acs([Account("sc", "pw", "CPL", terminator="CR")])
    kiosk = await connect(acs.port)
    await kiosk.ask(b"9300CNsc|COpw|")
    for body in (b"63001" + DATE + b" " * 10, b"23001" + DATE):
        answer = decode(await kiosk.ask(kiosk.sealed(body + b"AOCPL|AA" + card + b"|AC|AD|")))
        assert judge_library_card(answer, lambda: TODAY, None) is standing
