"""The number of a city's card application: read first, and only at a counter that asks for it."""

from __future__ import annotations

import io
import json
import re
import time
from dataclasses import replace

import pytest

from bridge.agent.api_client import BridgeApi, Linked, SessionOpened
from bridge.agent.errors import WrongSettings
from bridge.agent.pin import PipedPinPad
from bridge.agent.screen import Language, TerminalScreen
from bridge.agent.service import build_card_application
from bridge.agent.session import CardRefused, CardVisit
from bridge.links.identifiers import IdentifierForms
from bridge.models import IdentifierKind
from config import CardNumberSettings
from jpki.errors import CardError
from jpki.simulator.card import CityApplication, SimulatedConnection

PIN = "4937"
NUMBER = "00001234"
APPLICATION = build_card_application(CardNumberSettings("F000000001020304", "0101", 8, 2))
ON_CARD = CityApplication(bytes.fromhex("F000000001020304"), b"\x01\x01", b"##00001234")
SELECTS_CITY = "00 A4 04 0C data=F000000001020304"
SELECTS_JPKI = "00 A4 04 0C data=D392F000260100000001"


@pytest.fixture
def asks(bridge):
    """Let the library ask for the number."""
    libraries = bridge.services.registration._environment.libraries
    forms = IdentifierForms({IdentifierKind.CARD_AP_NUMBER: re.compile("[0-9]{8}")})
    library_id = bridge.librarian.library_id
    libraries[library_id] = replace(libraries[library_id], card_number_forms=forms)


@pytest.fixture
def lay(server):
    """Return a function that serves one card at the terminal with a token, and gives outcome and screen."""
    apis = []

    def lay_(token, card, application=APPLICATION):
        api = BridgeApi(server.url, token, 30.0, "en")
        apis.append(api)
        shown = io.StringIO()
        terminal = api.terminal()
        visit = CardVisit(
            terminal,
            terminal.purpose,
            api,
            TerminalScreen(shown, Language.ENGLISH),
            PipedPinPad(io.StringIO(PIN)),
            card_application=application,
            monotonic=time.monotonic,
        )
        return visit.serve(lambda: SimulatedConnection(card))

    yield lay_
    for api in apis:
        api.close()


@pytest.fixture
def sent(monkeypatch):
    """What the agent sent to the bridge, by call."""
    bodies = []
    call = BridgeApi._call

    def noted(self, method, path, body=None):
        bodies.append(dict(body or {}))
        return call(self, method, path, body)

    monkeypatch.setattr(BridgeApi, "_call", noted)
    return bodies


@pytest.fixture
def card(make_card):
    card = make_card()
    card.city_application = ON_CARD
    return card


def selected(card):
    return [line.partition(" ")[2].split(">")[0] for line in card.apdu_log if " A4 04 " in line]


def test_the_number_is_read_first_and_sent_with_the_certificate(bridge, asks, lay, sent, card):
    bridge.start_link()
    assert isinstance(lay(bridge.counter_token, card), Linked)
    assert selected(card) == [SELECTS_CITY, SELECTS_JPKI]
    assert [body["card_number"] for body in sent if "certificate" in body] == [NUMBER, NUMBER]
    assert NUMBER not in json.dumps(bridge.rows())


def test_where_the_library_does_not_ask_no_other_application_is_touched(bridge, lay, sent, card):
    bridge.start_link()
    assert isinstance(lay(bridge.counter_token, card), Linked)
    assert selected(card) == [SELECTS_JPKI]
    assert [body for body in sent if "card_number" in body] == []


def test_where_the_agents_settings_name_none_no_other_application_is_touched(bridge, asks, lay, card):
    bridge.start_link()
    assert isinstance(lay(bridge.counter_token, card, application=None), Linked)
    assert selected(card) == [SELECTS_JPKI]


def test_a_self_check_machine_never_touches_it(bridge, asks, lay, sent, card):
    bridge.start_link()
    assert isinstance(lay(bridge.counter_token, card), Linked)
    card.apdu_log.clear()
    sent.clear()
    assert isinstance(lay(bridge.self_check_token, card), SessionOpened)
    assert selected(card) == [SELECTS_JPKI]
    assert [body for body in sent if "card_number" in body] == []


def test_a_card_without_the_application_is_linked_without_a_number(bridge, asks, lay, sent, make_card):
    bridge.start_link()
    card = make_card()
    assert isinstance(lay(bridge.counter_token, card), Linked)
    assert selected(card) == [SELECTS_CITY, SELECTS_JPKI]
    assert [body for body in sent if "card_number" in body] == []


def test_a_number_that_cannot_be_read_is_a_refusal_before_the_pin(bridge, asks, lay, card):
    bridge.start_link()
    card.city_application = replace(ON_CARD, file_id=b"\x02\x02")
    outcome = lay(bridge.counter_token, card)
    assert isinstance(outcome, CardRefused)
    assert isinstance(outcome.error, CardError)
    assert card.verify_count == 0


@pytest.mark.parametrize(
    "identifier", ["D392F000260100000001", "D3921000310001010408", "D392100031", "A0000001510000"]
)
def test_the_agent_does_not_start_with_an_application_that_no_library_may_touch(identifier):
    with pytest.raises(WrongSettings) as refused:
        build_card_application(CardNumberSettings(identifier, "0101", 8))
    assert identifier not in str(refused.value)
