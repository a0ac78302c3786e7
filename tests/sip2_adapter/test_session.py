from __future__ import annotations

from sip2_adapter import build, decode, encode, seal
from sip2_adapter.messages import LoginRequest
from sip2_adapter.resolver import Resolved
from sip2_adapter.session import KioskSession, PatronSession

LOAN = seal(build(b"11", b"Y" * 38, ((b"AA", b"2000"), (b"AB", b"1"))), 3)
FRAME = encode(LOAN)


def remembering(at, message=LOAN):
    session = KioskSession(retry_window=60)
    session.remember(encode(message), b"12...", at, numbered=message.sequence is not None)
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
    assert (login.login_user_id, login.login_password) == (b"kiosk", b"hush")
    patron = PatronSession(b"98", Resolved("s1", b"2000"))
    printed = repr([login, patron, LOAN])
    for secret in ("hush", "98'", "2000"):
        assert secret not in printed
