from __future__ import annotations

from sip2_adapter import build, decode, encode, seal
from sip2_adapter.messages import CheckoutRequest, LoginRequest, PatronInformationRequest
from sip2_adapter.session import KioskSession, PatronSession

LOAN = seal(build(b"11", b"Y" * 38, ((b"AA", b"2000"), (b"AB", b"1"))), 3)
FRAME = encode(LOAN)


def remembering(at, message=LOAN):
    session = KioskSession(retry_window=60)
    session.remember(encode(message), message, b"12...", at)
    return session


def test_the_same_frame_within_the_window_is_a_repetition():
    assert remembering(100).repeated_answer(FRAME, 160) == b"12..."


def test_later_or_changed_or_without_a_number_it_is_a_new_request():
    assert remembering(100).repeated_answer(FRAME, 161) is None
    assert remembering(100).repeated_answer(encode(seal(LOAN, 4)), 101) is None
    unnumbered = seal(LOAN, None)
    assert remembering(100, unnumbered).repeated_answer(encode(unnumbered), 101) is None
    assert KioskSession(retry_window=60).repeated_answer(FRAME, 0) is None


def test_the_sequence_number_wraps_after_nine():
    session = KioskSession(retry_window=60)
    assert [session.next_sequence() for _ in range(11)] == [*range(10), 0]


def test_secrets_do_not_print():
    login = LoginRequest.of(decode(b"9300CNkiosk|COhush|"))
    assert (login.login_user_id, login.login_password, login.encrypted) == (b"kiosk", b"hush", False)
    patron = PatronSession("s1", b"98", b"2000")
    loan = CheckoutRequest.of(LOAN)
    asked = PatronInformationRequest.of(decode(b"63" + b"0" * 21 + b"  Y       AA2000|AD1234|BP2|BQ4|"))
    printed = repr([login, patron, loan, asked, LOAN])
    for secret in ("hush", "98'", "2000", "1234"):
        assert secret not in printed


def test_views_read_what_the_messages_say():
    asked = PatronInformationRequest.of(decode(b"63" + b"0" * 21 + b"  Y       AA2000|BP2|BQ4|"))
    assert (asked.wanted_list, asked.first, asked.last, asked.patron_password) == (2, 2, 4, None)
    plain = PatronInformationRequest.of(decode(b"63" + b"0" * 21 + b"          AA2000|BPx|"))
    assert (plain.wanted_list, plain.first, plain.last) == (None, 1, None)
    loan = CheckoutRequest.of(LOAN)
    assert (loan.item_identifier, loan.no_block, loan.fee_acknowledged) == (b"1", True, False)
    assert LoginRequest.of(decode(b"9310CNa|")).encrypted
