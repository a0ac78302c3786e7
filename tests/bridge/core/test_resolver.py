"""What the SIP2 proxy is told: a card number, a refusal, or that it is none of our business."""

from __future__ import annotations

import logging

import pytest

from bridge.borrowing import TokenProblem
from bridge.resolver import REFUSALS, SCREEN_MESSAGES, TokenResolver
from sip2_adapter.resolver import Kiosk, PassThrough, Refusal, Refused, Resolved, SessionEnd


@pytest.fixture
def resolver(place) -> TokenResolver:
    return TokenResolver(place.borrowing)


@pytest.fixture
def kiosk(place) -> Kiosk:
    return Kiosk(place.library, "127.0.0.1:40000", "sc1")


@pytest.fixture
def opened(place):
    card = place.card()
    place.link(card)
    return place.borrow(card)


async def test_a_token_becomes_the_card_number(resolver, kiosk, opened, place):
    resolved = await resolver.resolve(opened.token.value.encode(), kiosk)
    assert resolved == Resolved(opened.session_id, place.cardnumber.encode())
    assert place.cardnumber not in repr(resolved)


@pytest.mark.parametrize("identifier", [b"", b"L-4711-000815", "利用者".encode("cp932"), b"\xff", b"981"])
async def test_what_is_not_a_token_passes_through(resolver, kiosk, identifier):
    assert await resolver.resolve(identifier, kiosk) == PassThrough()


async def test_a_token_is_dead_after_its_session(resolver, kiosk, opened):
    await resolver.close_session(opened.session_id, SessionEnd.END_PATRON_SESSION)
    await resolver.close_session(opened.session_id, SessionEnd.DISCONNECTED)
    refused = await resolver.resolve(opened.token.value.encode(), kiosk)
    assert refused == Refused(Refusal.EXPIRED_TOKEN, SCREEN_MESSAGES[Refusal.EXPIRED_TOKEN])


@pytest.mark.parametrize("login", [None, "sc2"])
async def test_a_token_at_another_machine_is_refused(resolver, place, opened, login):
    kiosk = Kiosk(place.library, "127.0.0.1:40000", login)
    refused = await resolver.resolve(opened.token.value.encode(), kiosk)
    assert refused.refusal is Refusal.WRONG_TERMINAL


@pytest.mark.parametrize("cardnumber", ["", "L|AFhello", "L\r96", "L\n", "L\x00"])
async def test_a_card_number_that_would_break_the_message_is_refused(place, kiosk, cardnumber):
    card = place.card()
    place.link(card)
    place.koha.change(51, cardnumber=cardnumber)
    opened = place.borrow(card)
    refused = await TokenResolver(place.borrowing).resolve(opened.token.value.encode(), kiosk)
    assert refused.refusal is Refusal.UNAVAILABLE


class Broken:
    """A borrowing service whose database is away."""

    def resolve(self, library_id, sip2_login, patron_identifier):
        raise RuntimeError(patron_identifier)

    def close(self, session_id, reason):
        raise RuntimeError(session_id)


async def test_trouble_of_any_kind_is_a_refusal_and_logged_by_its_type_alone(kiosk, caplog):
    caplog.set_level(logging.DEBUG)
    refused = await TokenResolver(Broken()).resolve(b"98123456789012", kiosk)
    await TokenResolver(Broken()).close_session("s1", SessionEnd.IDLE)
    assert refused.refusal is Refusal.UNAVAILABLE
    assert caplog.text.count("RuntimeError") == 2
    assert "98123456789012" not in caplog.text


def test_every_problem_has_a_refusal_and_every_refusal_a_text_for_every_machine():
    assert set(REFUSALS) == set(TokenProblem)
    assert set(SCREEN_MESSAGES) == set(Refusal)
    for text in SCREEN_MESSAGES.values():
        assert text.isascii()
        assert "|" not in text
        assert len(text) <= 80
