"""Enrolling a terminal by a one-time code: once, in time, and not by guessing."""

from __future__ import annotations

import threading
from hashlib import sha256
from secrets import token_bytes

import pytest

from bridge.enrolment_code import ALPHABET, EnrolmentCode, MistypedEnrolmentCode
from bridge.errors import (
    EnrolmentCodeExpired,
    EnrolmentCodeUnknown,
    EnrolmentCodeUsed,
    EnrolmentLocked,
    LibraryNotFound,
    NameTaken,
    TerminalNotFound,
)
from bridge.models import AuditTag, TerminalKind
from bridge.terminals.enrolment import CODE_LIFETIME, ENROLMENT_GUESSING, EnrolmentService

TOKEN = "made-at-the-terminal"


def digest(token=TOKEN):
    return sha256(token.encode()).hexdigest()


def service(place):
    return EnrolmentService(place.environment)


def draw(place, terminal_id="counter-1"):
    drawn = service(place).draw_code(place.command, library_id=place.library, terminal_id=terminal_id)
    return drawn.code


def wrong_code():
    return EnrolmentCode.draw(token_bytes).grouped()


# -- the code


def test_a_code_is_three_groups_of_three_and_not_in_its_repr():
    code = EnrolmentCode.draw(bytes)
    assert code.grouped() == "000-000-000"
    drawn = EnrolmentCode.draw(token_bytes)
    assert len(drawn.grouped()) == 11
    assert set(drawn.value) <= set(ALPHABET)
    assert drawn.value not in repr(drawn)


@pytest.mark.parametrize("typed", ["{}", " {} ", "{lower}", "{wide}", "{spaced}", "{confused}"])
def test_a_code_is_read_as_it_was_meant(typed):
    code = EnrolmentCode.draw(lambda _: bytes.fromhex("0102030405"))
    shown = code.grouped()
    wide = "".join(chr(ord(character) + 0xFEE0) for character in shown)
    confused = shown.replace("0", "o").replace("1", "l")
    text = typed.format(
        shown, lower=shown.lower(), wide=wide, spaced=shown.replace("-", " "), confused=confused
    )
    assert EnrolmentCode.from_text(text) == code


def test_every_wrong_character_is_noticed():
    value = EnrolmentCode.draw(token_bytes).value
    for place, right in enumerate(value):
        for wrong in set(ALPHABET) - {right}:
            with pytest.raises(MistypedEnrolmentCode):
                EnrolmentCode.from_text(value[:place] + wrong + value[place + 1 :])


@pytest.mark.parametrize("text", ["", "000-000-00", "000-000-0000", "UUU-UUU-UUU", "登録コード", "\x00" * 9])
def test_what_cannot_be_a_code_is_refused(text):
    with pytest.raises(MistypedEnrolmentCode):
        EnrolmentCode.from_text(text)


# -- enrolling


def test_a_terminal_enrols_with_its_own_key_and_the_old_one_is_worth_nothing(place):
    issued = place.staff.add_terminal(
        place.command,
        library_id=place.library,
        terminal_id="counter-9",
        name="9",
        kind=TerminalKind.COUNTER,
    )
    code = draw(place, "counter-9")
    assert place.staff.terminal_for_token(issued.token) == issued.terminal
    assert service(place).enrol(code.grouped(), digest()) == issued.terminal
    assert place.staff.terminal_for_token(TOKEN) == issued.terminal
    assert place.staff.terminal_for_token(issued.token) is None
    tags = [event.tag for event in place.audit() if event.subject == "counter-9"]
    assert tags == [AuditTag.TERMINAL_ADDED, AuditTag.TERMINAL_CODE_DRAWN, AuditTag.TERMINAL_ENROLLED]


def test_a_code_used_twice_is_refused_and_told(place):
    code = draw(place).grouped()
    service(place).enrol(code, digest())
    with pytest.raises(EnrolmentCodeUsed):
        service(place).enrol(code, digest("another terminal's"))
    assert place.staff.terminal_for_token(TOKEN) is not None
    (event,) = place.audit(AuditTag.TERMINAL_ENROLMENT_REFUSED)
    assert (event.library_id, event.terminal_id) == (place.library, "counter-1")
    assert event.details == {"problem": "enrolment-code-used"}


def test_the_same_request_again_is_answered_again(place):
    code = draw(place).grouped()
    first = service(place).enrol(code, digest())
    place.clock.advance(hours=1)
    assert service(place).enrol(code, digest()) == first
    assert len(place.audit(AuditTag.TERMINAL_ENROLLED)) == 1


def test_of_two_who_use_a_code_at_once_one_enrols(place):
    code, ends, start = draw(place).grouped(), [], threading.Barrier(2)

    def enrol(token):
        start.wait(90)
        try:
            ends.append(service(place).enrol(code, digest(token)).terminal_id)
        except EnrolmentCodeUsed:
            ends.append("used")

    threads = [threading.Thread(target=enrol, args=(token,)) for token in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert sorted(ends) == ["counter-1", "used"]
    holders = [place.staff.terminal_for_token(token) for token in ("one", "two")]
    assert holders.count(None) == 1


def test_a_code_is_good_for_fifteen_minutes(place):
    code = draw(place).grouped()
    place.clock.now += CODE_LIFETIME
    with pytest.raises(EnrolmentCodeExpired):
        service(place).enrol(code, digest())
    assert place.staff.terminal_for_token(TOKEN) is None


def test_a_newer_code_replaces_the_older(place):
    old, new = draw(place).grouped(), draw(place).grouped()
    with pytest.raises(EnrolmentCodeUnknown):
        service(place).enrol(old, digest())
    service(place).enrol(new, digest())


def test_the_code_of_a_removed_terminal_is_worth_nothing(place):
    code = draw(place).grouped()
    place.staff.remove_terminal(place.command, library_id=place.library, terminal_id="counter-1")
    place.add_terminal("counter-1", TerminalKind.COUNTER)
    with pytest.raises(EnrolmentCodeUnknown):
        service(place).enrol(code, digest())


def test_no_code_is_drawn_for_what_is_not_there(place):
    with pytest.raises(TerminalNotFound):
        draw(place, "nowhere")
    with pytest.raises(LibraryNotFound):
        service(place).draw_code(place.command, library_id="nowhere", terminal_id="counter-1")


def test_two_terminals_cannot_have_one_key(place):
    service(place).enrol(draw(place, "counter-1").grouped(), digest())
    code = draw(place, "counter-2").grouped()
    with pytest.raises(NameTaken):
        service(place).enrol(code, digest())
    service(place).enrol(code, digest("its own"))


# -- guessing


def test_guessed_codes_lock_enrolment_for_a_minute_and_ring_once(place):
    code = draw(place).grouped()
    for _ in range(ENROLMENT_GUESSING.limit):
        with pytest.raises(EnrolmentCodeUnknown):
            service(place).enrol(wrong_code(), digest())
    for text in (wrong_code(), code):
        with pytest.raises(EnrolmentLocked):
            service(place).enrol(text, digest())
    assert len(place.audit(AuditTag.TERMINAL_ENROLMENT_GUESSING)) == 1
    place.clock.now += ENROLMENT_GUESSING.lockout
    service(place).enrol(code, digest())


def test_a_slip_of_the_finger_is_no_guess(place):
    value = draw(place).value
    mistyped = value[:-1] + ALPHABET[(ALPHABET.index(value[-1]) + 1) % len(ALPHABET)]
    for _ in range(ENROLMENT_GUESSING.limit * 2):
        with pytest.raises(EnrolmentCodeUnknown):
            service(place).enrol(mistyped, digest())
    service(place).enrol(value, digest())
    assert place.audit(AuditTag.TERMINAL_ENROLMENT_REFUSED) == []


def test_neither_code_nor_token_is_kept_or_logged(place, caplog):
    caplog.set_level(1)
    code = draw(place)
    service(place).enrol(code.grouped(), digest())
    with place.store.scoped_session()() as session:
        kept = repr(session.connection().exec_driver_sql("SELECT * FROM terminal").all())
    for secret in (code.value, code.grouped(), TOKEN):
        assert secret not in kept + caplog.text
