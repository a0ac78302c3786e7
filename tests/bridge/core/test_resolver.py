"""What the SIP2 proxy is told: a card number, a refusal, or that it is none of our business."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bridge.borrowing import TokenProblem
from bridge.models import AuditTag, TerminalKind
from bridge.resolver import REFUSALS, TokenResolver
from bridge.store import SqlStore, open_engine
from bridge.terminals.machines import REFUSAL_TEXTS, MachinePolicies, MachinePolicy, ScreenLanguage
from sip2_adapter.codec import decode
from sip2_adapter.resolver import Kiosk, PassThrough, Refusal, Refused, Resolution, Resolved, SessionEnd


@pytest.fixture
def resolver(place) -> TokenResolver:
    return make_resolver(place)


def make_resolver(place, borrowing=None, **usual) -> TokenResolver:
    expiry_field = usual.pop("expiry_field", None)
    return TokenResolver(
        borrowing or place.borrowing,
        MachinePolicies(MachinePolicy(**usual), expiry_field=expiry_field),
        place.store.change_counter(),
        clock=place.clock,
        time_zone=ZoneInfo("Asia/Tokyo"),
    )


async def resolve(resolver, identifier, kiosk):
    """As the proxy does: what is said at once, or what comes."""
    answer = resolver.resolve(identifier, kiosk)
    return answer if isinstance(answer, Resolution) else await answer


def text_of(refusal):
    return REFUSAL_TEXTS[ScreenLanguage.ENGLISH][refusal]


@pytest.fixture
def kiosk(place) -> Kiosk:
    return Kiosk(place.library, "127.0.0.1:40000", "sc1")


@pytest.fixture
def opened(place):
    card = place.card()
    place.link(card)
    return place.borrow(card)


async def test_a_token_becomes_the_card_number(resolver, kiosk, opened, place):
    resolved = await resolve(resolver, opened.token.value.encode(), kiosk)
    assert resolved == Resolved(opened.session_id, place.cardnumber.encode())
    assert place.cardnumber not in repr(resolved)


@pytest.mark.parametrize("identifier", [b"", b"L-4711-000815", "利用者".encode("cp932"), b"\xff", b"981"])
async def test_what_is_not_a_token_passes_through(resolver, kiosk, identifier):
    assert await resolve(resolver, identifier, kiosk) == PassThrough()


async def test_a_token_is_dead_after_its_session(resolver, kiosk, opened):
    await resolver.close_session(opened.session_id, SessionEnd.END_PATRON_SESSION)
    await resolver.close_session(opened.session_id, SessionEnd.DISCONNECTED)
    refused = await resolve(resolver, opened.token.value.encode(), kiosk)
    assert refused == Refused(Refusal.EXPIRED_TOKEN, text_of(Refusal.EXPIRED_TOKEN))


@pytest.mark.parametrize("login", [None, "sc2"])
async def test_a_token_at_another_machine_is_refused(resolver, place, opened, login):
    kiosk = Kiosk(place.library, "127.0.0.1:40000", login)
    refused = await resolve(resolver, opened.token.value.encode(), kiosk)
    assert refused.refusal is Refusal.WRONG_TERMINAL


@pytest.mark.parametrize("cardnumber", ["", "L|AFhello", "L\r96", "L\n", "L\x00"])
async def test_a_card_number_that_would_break_the_message_is_refused(place, kiosk, cardnumber):
    card = place.card()
    place.link(card)
    place.koha.change(51, cardnumber=cardnumber)
    opened = place.borrow(card)
    refused = await resolve(make_resolver(place), opened.token.value.encode(), kiosk)
    assert refused.refusal is Refusal.UNAVAILABLE


class Broken:
    """A borrowing service whose database is away."""

    idle_limit = timedelta(seconds=120)

    def is_token(self, library_id, patron_identifier):
        return True

    def resolve(self, library_id, sip2_login, patron_identifier, last_used_at):
        raise RuntimeError(patron_identifier)

    def close(self, session_id, reason):
        raise RuntimeError(session_id)

    def report_alarm(self, library_id, sip2_login, tag, session_id):
        raise RuntimeError(session_id)


async def test_trouble_of_any_kind_is_a_refusal_and_logged_by_its_type_alone(place, kiosk, caplog):
    caplog.set_level(logging.DEBUG)
    broken = make_resolver(place, Broken())
    refused = await resolve(broken, b"98123456789012", kiosk)
    await broken.close_session("s1", SessionEnd.IDLE)
    await broken.report_another_patron("s1", kiosk)
    assert refused.refusal is Refusal.UNAVAILABLE
    assert caplog.text.count("RuntimeError") == 3
    assert "98123456789012" not in caplog.text


def test_every_problem_has_a_refusal_and_every_refusal_a_text_for_every_machine():
    assert set(REFUSALS) == set(TokenProblem)
    for language in ScreenLanguage:
        assert set(REFUSAL_TEXTS[language]) == set(Refusal)
        for text in REFUSAL_TEXTS[language].values():
            assert text.isascii() or language is ScreenLanguage.JAPANESE
            assert "|" not in text
            assert len(text.encode("cp932")) <= 80


async def test_a_refusal_is_in_the_language_and_characters_of_the_machine(place, kiosk):
    resolver = make_resolver(place, language=ScreenLanguage.JAPANESE, character_set="cp932")
    refused = await resolve(resolver, b"98123456789012", kiosk)
    assert refused.screen_message == "番号を確認できません。カードをもう一度かざしてください。"
    screen = resolver.screen_of(kiosk)
    assert screen.encoding == "cp932"
    assert "図書館システム" in screen.messages.acs_unavailable


async def test_a_machine_for_tokens_only_takes_no_plastic_card(place, kiosk, opened):
    resolver = make_resolver(place, plastic_cards=False)
    for identifier in (b"L-4711-000815", b"\xff"):
        refused = await resolve(resolver, identifier, kiosk)
        assert refused.refusal is Refusal.PLASTIC_NOT_ACCEPTED
    assert isinstance(await resolve(resolver, opened.token.value.encode(), kiosk), Resolved)


async def test_a_mask_leaves_four_digits_of_the_token(place, kiosk, opened):
    resolved = await resolve(make_resolver(place, show_token=False), opened.token.value.encode(), kiosk)
    assert resolved.mask == b"*" * 10 + opened.token.value[-4:].encode()


async def test_guessed_tokens_lock_the_machine_and_ring_once(place, resolver, kiosk, opened, caplog):
    for number in range(5):
        refused = await resolve(resolver, b"9800000000%04d" % number, kiosk)
        assert refused.refusal is Refusal.UNKNOWN_TOKEN
    for token in (b"98000000000009", opened.token.value.encode()):
        assert (await resolve(resolver, token, kiosk)).refusal is Refusal.GUESSING
    assert isinstance(await resolve(resolver, b"L-4711-000815", kiosk), PassThrough)
    elsewhere = replace(kiosk, login="sc2")
    assert (await resolve(resolver, b"98000000000009", elsewhere)).refusal is Refusal.UNKNOWN_TOKEN
    assert [event.terminal_id for event in place.audit(AuditTag.SESSION_GUESSING)] == ["check-1"]
    assert "tokens are guessed" in caplog.text
    place.clock.advance(seconds=61)
    assert isinstance(await resolve(resolver, opened.token.value.encode(), kiosk), Resolved)


async def test_the_same_number_again_and_again_is_no_guessing(resolver, kiosk, opened):
    for _ in range(20):
        await resolve(resolver, b"98000000000001", kiosk)
    assert isinstance(await resolve(resolver, opened.token.value.encode(), kiosk), Resolved)


async def test_the_tokens_of_another_machine_count_as_guesses(place, resolver, opened):
    elsewhere = Kiosk(place.library, "127.0.0.1:40000", "sc2")
    for number in range(4):
        await resolve(resolver, b"9800000000%04d" % number, elsewhere)
    refused = await resolve(resolver, opened.token.value.encode(), elsewhere)
    assert refused.refusal is Refusal.WRONG_TERMINAL
    assert (await resolve(resolver, opened.token.value.encode(), elsewhere)).refusal is Refusal.GUESSING


EXPIRED_ANSWER = b"64YYYY          001" + b"20261120    155739" + b"0000" * 6 + b"AOCPL|AA2|AEx|BLY|PIN|"


async def test_a_library_card_that_koha_calls_expired_ends_the_session_for_good(resolver, kiosk, opened):
    token = opened.token.value.encode()
    assert resolver.judge(opened.session_id, decode(EXPIRED_ANSWER.replace(b"PIN", b"PIY")), kiosk) is None
    refused = resolver.judge(opened.session_id, decode(EXPIRED_ANSWER), kiosk)
    assert refused.refusal is Refusal.LIBRARY_CARD_NOT_VALID
    assert (await resolve(resolver, token, kiosk)).refusal is Refusal.LIBRARY_CARD_NOT_VALID
    await resolver.close_session(opened.session_id, SessionEnd.END_PATRON_SESSION)
    assert (await resolve(resolver, token, kiosk)).refusal is Refusal.EXPIRED_TOKEN


@pytest.mark.parametrize(("day", "forbidden"), [("2026-11-19", True), ("2099-03-31", False)])
async def test_a_field_with_the_date_of_expiry_decides(place, kiosk, opened, day, forbidden):
    resolver = make_resolver(place, expiry_field=b"PA")
    answer = decode(EXPIRED_ANSWER + b"PA" + day.encode() + b"|")
    place.clock.now = datetime(2026, 11, 19, 15, 0, tzinfo=UTC)  # midnight in Tokyo
    assert (resolver.judge(opened.session_id, answer, kiosk) is not None) is forbidden


async def test_another_patrons_answer_is_one_alarm_in_the_audit_log(place, resolver, kiosk, opened):
    for _ in range(3):
        await resolver.report_another_patron(opened.session_id, kiosk)
    (alarm,) = place.audit(AuditTag.SESSION_ANOTHER_PATRON)
    assert (alarm.subject, alarm.terminal_id) == (opened.session_id, "check-1")


# What is said at once


@pytest.fixture
def known(resolver, kiosk, opened):
    """A session that the resolver has just looked up; asks for it anew."""

    async def known():
        await resolve(resolver, opened.token.value.encode(), kiosk)
        return resolver.resolve(opened.token.value.encode(), kiosk)

    return known


async def known_now(known):
    answer = await known()
    return answer if isinstance(answer, Resolution) else await answer


def says_at_once(place):
    """SQLite tells whether anything has changed; PostgreSQL is asked each time."""
    return place.store.change_counter() is not None


async def test_a_session_that_is_as_it_was_is_known_at_once(place, known, opened):
    assert isinstance(await known_now(known), Resolved)
    answer = await known()
    assert isinstance(answer, Resolved) is says_at_once(place)
    if not isinstance(answer, Resolved):
        answer = await answer
    assert answer == Resolved(opened.session_id, place.cardnumber.encode())


async def test_a_link_that_staff_end_elsewhere_ends_the_session_at_the_next_message(
    place, resolver, known, kiosk, opened
):
    await known_now(known)
    engine = place.store.scoped_session().get_bind()
    elsewhere = SqlStore(open_engine(engine.url.render_as_string(hide_password=False)))
    with elsewhere.transaction() as transaction:
        (link,) = transaction.open_links_of_patron(place.library, 51)
        transaction.end_link(place.library, link.link_id, "card_lost", place.clock())
    elsewhere.dispose()
    await asyncio.sleep(0)  # the next message comes in another turn of the event loop
    refused = await resolve(resolver, opened.token.value.encode(), kiosk)
    assert refused.refusal is Refusal.NO_LONGER_VALID


@pytest.mark.parametrize(
    ("uses", "refusal"), [((100,) * 9, Refusal.EXPIRED_TOKEN), ((121,), Refusal.EXPIRED_TOKEN)]
)
async def test_time_alone_ends_a_known_session(place, resolver, kiosk, opened, uses, refusal):
    token = opened.token.value.encode()
    for seconds in uses:
        assert isinstance(await resolve(resolver, token, kiosk), Resolved)
        place.clock.advance(seconds=seconds)
        await asyncio.sleep(0)  # within a turn of the event loop it is one and the same moment
    assert (await resolve(resolver, token, kiosk)).refusal is refusal


async def test_a_known_session_ends_with_the_certificate_and_with_what_is_known_of_its_revocation(
    place, resolver, kiosk
):
    place.revocation.next_update = place.clock() + timedelta(seconds=30)
    card = place.card()
    place.link(card)
    token = place.borrow(card).token.value.encode()
    for _ in range(4):
        assert isinstance(await resolve(resolver, token, kiosk), Resolved)
        place.clock.advance(seconds=100)  # five minutes are granted to the clocks
        await asyncio.sleep(0)
    assert (await resolve(resolver, token, kiosk)).refusal is Refusal.REVOCATION_UNKNOWN


async def test_another_connection_of_the_machine_is_looked_up_anew(resolver, known, kiosk, opened):
    await known_now(known)
    looked_up = resolver.resolve(opened.token.value.encode(), replace(kiosk))
    assert not isinstance(looked_up, Resolution)
    assert isinstance(await looked_up, Resolved)


async def test_uses_are_written_down_together_and_keep_the_session_alive(
    place, resolver, kiosk, opened, monkeypatch
):
    monkeypatch.setattr("bridge.resolver.USE_WRITTEN_WITHIN", timedelta(milliseconds=1))
    token = opened.token.value.encode()
    place.clock.advance(seconds=90)
    await resolve(resolver, token, kiosk)
    async with asyncio.timeout(90):
        while await asyncio.to_thread(last_use, place) != place.clock():
            await asyncio.sleep(0.005)
    monkeypatch.undo()  # or a task would be begun each millisecond, even while the event loop closes
    place.clock.advance(seconds=90)
    assert isinstance(await resolve(make_resolver(place), token, kiosk), Resolved)


def last_use(place):
    with place.store.transaction() as transaction:
        (link,) = transaction.open_links_of_patron(place.library, 51)
        (session,) = transaction.open_sessions_of_links([link.link_id])
    return session.last_used_at


async def test_a_use_that_is_not_written_yet_counts_all_the_same(place, resolver, kiosk, opened):
    token = opened.token.value.encode()
    for _ in range(3):
        place.clock.advance(seconds=90)
        assert isinstance(await resolve(resolver, token, kiosk), Resolved)
        place.staff.add_terminal(  # somebody changes something: it must be looked up again
            place.command,
            library_id=place.library,
            terminal_id=f"new-{place.clock():%H%M%S}",
            name="new",
            kind=TerminalKind.COUNTER,
        )
        await asyncio.sleep(0)


# Guessing


async def test_neither_another_node_nor_a_restart_gives_a_machine_new_tries(place, kiosk, opened):
    for number in range(5):
        await resolve(make_resolver(place), b"9800000000%04d" % number, kiosk)
    refused = await resolve(make_resolver(place), opened.token.value.encode(), kiosk)
    assert refused.refusal is Refusal.GUESSING
    assert len(place.audit(AuditTag.SESSION_GUESSING)) == 1


async def test_a_session_that_is_known_waits_too_once_its_machine_guesses(
    place, resolver, known, kiosk, opened
):
    await known_now(known)
    for number in range(5):
        await resolve(resolver, b"9800000000%04d" % number, kiosk)
        await asyncio.sleep(0)
    assert (await resolve(resolver, opened.token.value.encode(), kiosk)).refusal is Refusal.GUESSING


async def test_a_machine_cannot_fill_the_audit_log(place, resolver, kiosk):
    card = place.card()
    place.link(card)
    first, second = place.borrow(card), place.borrow(card)
    await resolver.close_session(second.session_id, SessionEnd.END_PATRON_SESSION)
    over = [first.token.value.encode(), second.token.value.encode()]
    for number in range(40):
        await resolve(resolver, over[number % 2], kiosk)
        await resolve(resolver, b"98000000000001", kiosk)
        await resolve(resolver, b"9811111111%04d" % number, kiosk)
    assert len(place.audit(AuditTag.SESSION_DENIED)) < 10
    assert len(place.audit(AuditTag.SESSION_GUESSING)) == 1


async def test_a_refusal_shows_the_mask_where_the_answers_do(place, kiosk, opened):
    resolver = make_resolver(place, show_token=False)
    refused = await resolve(resolver, b"98000000000009", kiosk)
    assert refused.mask == b"**********0009"
    assert (await resolve(make_resolver(place), b"98000000000009", kiosk)).mask is None


async def test_a_log_in_from_elsewhere_rings_once_a_minute_and_names_the_machine(place, resolver):
    stranger = Kiosk(place.library, "10.9.9.9", None)
    for _ in range(5):
        await resolver.report_login_from_elsewhere("sc1", stranger)
    assert [event.terminal_id for event in place.audit(AuditTag.TERMINAL_ELSEWHERE)] == ["check-1"]
    place.clock.advance(seconds=61)
    await resolver.report_login_from_elsewhere("sc1", stranger)
    assert len(place.audit(AuditTag.TERMINAL_ELSEWHERE)) == 2
