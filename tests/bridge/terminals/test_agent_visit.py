"""One card at the agent's reader, with a simulated card and the real API over HTTP.

What is looked at most is the order: nothing of the PIN before the bridge has said yes.
"""

import io
import re
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from bridge.agent.api_client import BridgeApi, Ending, Linked, SessionOpened
from bridge.agent.errors import BridgeProblem, GivenUp, PinTooLate
from bridge.agent.pin import PipedPinPad
from bridge.agent.screen import Language, TerminalScreen
from bridge.agent.session import CardRefused, CardVisit
from bridge.models import LinkRequestState
from jpki.card import JpkiSession, Pin
from jpki.connection import SmartCardConnection
from jpki.constants import TokenKind
from jpki.errors import (
    CardRemoved,
    CertificateNotPresent,
    InvalidPinError,
    LastAttemptProtected,
    MalformedChallenge,
    NotAMyNumberCard,
    PinAlreadyVerified,
    PinBlockedError,
    UnsupportedToken,
)
from jpki.simulator.card import CardFaults, SimulatedConnection
from jpki.simulator.pki import CardProfile

PIN = "4937"
WRONG_PIN = "0000"


class NoPinPad:
    """For cards that must be refused before the PIN."""

    def read(self):
        raise AssertionError("the patron was asked for the PIN")


class JournalConnection(SmartCardConnection):
    """Notes each instruction that goes to the card."""

    NAMES = {0xA4: "SELECT", 0xB0: "READ", 0x2A: "SIGN"}

    def __init__(self, connection, journal):
        self._connection = connection
        self._journal = journal

    def send_and_receive(self, apdu):
        name = self.NAMES.get(apdu[1]) or ("VERIFY" if len(apdu) > 5 else "TRIES")
        self._journal.append(f"card {name}")
        return self._connection.send_and_receive(apdu)


class Desk:
    """A terminal: the agent's parts around one server, and a journal of card and bridge together."""

    def __init__(self, server, token, api_class=BridgeApi):
        self.journal = []
        self.output = io.StringIO()
        self.screen = TerminalScreen(self.output, Language.ENGLISH)
        self.api = api_class(server.url, token, 30.0, "en")
        server.recorder.journal = self.journal

    @contextmanager
    def connect(self, card):
        try:
            with SimulatedConnection(card) as connection:
                yield JournalConnection(connection, self.journal)
        finally:
            self.journal.append("card off")

    def lay(self, card, typed, monotonic=time.monotonic):
        """Serve one card; *typed* is what the patron types, None where nobody may be asked."""
        terminal = self.api.terminal()
        self.journal.clear()
        pin_pad = NoPinPad() if typed is None else PipedPinPad(io.StringIO(typed))
        visit = CardVisit(terminal, terminal.purpose, self.api, self.screen, pin_pad, monotonic=monotonic)
        outcome = visit.serve(lambda: self.connect(card))
        if isinstance(outcome, CardRefused):
            self.screen.show_error(outcome.error)
        return outcome

    @property
    def order(self):
        """The journal without repetition: reading a certificate takes several commands."""
        return [entry for i, entry in enumerate(self.journal) if [entry] != self.journal[i - 1 : i]]


@pytest.fixture
def make_desk(server):
    desks = []

    def make(token, api_class=BridgeApi):
        desks.append(Desk(server, token, api_class))
        return desks[-1]

    yield make
    for desk in desks:
        desk.api.close()


@pytest.fixture
def counter(make_desk, bridge):
    return make_desk(bridge.counter_token)


@pytest.fixture
def self_check(make_desk, bridge):
    return make_desk(bridge.self_check_token)


@pytest.fixture
def linked_card(bridge, counter, make_card):
    card = make_card()
    bridge.start_link()
    assert isinstance(counter.lay(card, PIN), Linked)
    return card


def was_never_asked_for_its_pin(card):
    return card.verify_count == 0 and card.authentication.attempts_remaining == 3


# -- the two flows


def test_a_card_is_linked_in_the_order_that_spends_nothing(counter, bridge, make_card):
    request = bridge.start_link()
    card = make_card()
    outcome = counter.lay(card, PIN)
    assert isinstance(outcome, Linked)
    assert bridge.request(request).state is LinkRequestState.COMPLETED
    challenge = r"/api/v1/challenges/[0-9a-f]{32}"
    expected = [
        "card SELECT",
        "card READ",
        "POST /api/v1/challenges",
        "card TRIES",
        f"POST {challenge}/progress",
        "card VERIFY",
        "card SIGN",
        "card off",
        f"POST {challenge}/response",
    ]
    assert len(counter.order) == len(expected), counter.order
    for entry, pattern in zip(counter.order, expected, strict=True):
        assert re.fullmatch(pattern, entry), counter.order
    assert card.verify_count == 1
    assert not card.powered


def test_a_linked_card_gets_a_token(self_check, bridge, linked_card):
    outcome = self_check.lay(linked_card, PIN)
    assert isinstance(outcome, SessionOpened)
    resolved = bridge.services.borrowing.resolve("chuo", "sc1", outcome.token)
    assert resolved.cardnumber == "C0001234567"


# -- refused before the PIN: no VERIFY, no try, no question to the patron


@pytest.mark.parametrize(
    "profile",
    [
        CardProfile.EXPIRED,
        CardProfile.NOT_YET_VALID,
        CardProfile.FOREIGN_CA,
        CardProfile.SIGNATURE_CERTIFICATE,
        CardProfile.WRONG_POLICY,
        CardProfile.RSA_1024,
    ],
)
def test_a_bad_card_is_refused_before_the_pin(counter, bridge, make_card, profile):
    bridge.start_link()
    card = make_card(profile)
    outcome = counter.lay(card, None)
    assert isinstance(outcome.error, BridgeProblem)
    assert was_never_asked_for_its_pin(card)
    assert counter.order == ["card SELECT", "card READ", "POST /api/v1/challenges", "card off"]


def test_a_certificate_that_ends_soon_is_told_at_linking_and_at_each_use(
    counter, self_check, bridge, make_card
):
    bridge.start_link()
    card = make_card(CardProfile.EXPIRES_SOON)
    linked = counter.lay(card, PIN)
    assert linked.ending == Ending(linked.not_after, "certificate-expired")
    for _ in range(2):
        assert self_check.lay(card, PIN).ending == linked.ending


def test_a_certificate_that_lasts_is_not_spoken_of(self_check, linked_card):
    assert self_check.lay(linked_card, PIN).ending is None


def test_a_card_never_linked_is_refused_before_the_pin(self_check, make_card):
    card = make_card()
    outcome = self_check.lay(card, None)
    assert outcome.error.slug == "not-linked"
    assert was_never_asked_for_its_pin(card)
    assert set(self_check.journal) == {"card SELECT", "card READ", "POST /api/v1/challenges", "card off"}
    assert "not registered" in self_check.output.getvalue()


def test_without_word_on_revocation_no_pin_is_asked(self_check, bridge, linked_card):
    linked_card.verify_count = 0
    bridge.revocations.down = True
    assert self_check.lay(linked_card, None).error.slug == "revocation-unknown"
    assert was_never_asked_for_its_pin(linked_card)


def test_a_request_taken_back_meanwhile_ends_before_the_pin(make_desk, bridge, make_card):
    request = bridge.start_link()

    class SlowBridge(BridgeApi):
        def begin(self, purpose, certificate, card_number=None):
            begun = super().begin(purpose, certificate, card_number)
            bridge.services.registration.cancel(bridge.librarian, request.request_id)
            return begun

    card = make_card()
    outcome = make_desk(bridge.counter_token, SlowBridge).lay(card, None)
    assert outcome.error.slug == "no-link-request"
    assert was_never_asked_for_its_pin(card)


MESSAGES = {
    "something else to sign": lambda message: b"I owe you a million",
    "another library": lambda message: message.replace(b"chuo", b"kita"),
    "another terminal": lambda message: message.replace(b"counter-1", b"counter-2"),
    "another purpose": lambda message: message.replace(b"\x00\x04link", b"\x00\x06borrow"),
    "another certificate": lambda message: message[:-1] + bytes([message[-1] ^ 1]),
    "more than the message": lambda message: message + b"\x00\x01x",
    "nothing": lambda message: b"",
}


@pytest.mark.parametrize("change", MESSAGES.values(), ids=MESSAGES)
def test_nothing_but_our_own_message_is_signed(make_desk, bridge, make_card, change):
    class ForgingBridge(BridgeApi):
        def begin(self, purpose, certificate, card_number=None):
            begun = super().begin(purpose, certificate, card_number)
            return replace(begun, message=change(begun.message))

    request = bridge.start_link()
    card = make_card()
    outcome = make_desk(bridge.counter_token, ForgingBridge).lay(card, None)
    assert isinstance(outcome.error, MalformedChallenge)
    assert was_never_asked_for_its_pin(card)
    assert bridge.request(request).problem == "given-up"


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (CardFaults(token_label=TokenKind.ANDROID_PHONE.value), UnsupportedToken),
        (CardFaults(token_label=TokenKind.BASIC_RESIDENT_REGISTER_CARD.value), UnsupportedToken),
        (CardFaults(token_label="SOMETHING ELSE"), UnsupportedToken),
        (CardFaults(certificate_absent=True), CertificateNotPresent),
    ],
    ids=["phone", "old card", "unknown label", "no certificate"],
)
def test_another_kind_of_card_is_not_sent_to_the_bridge(counter, bridge, make_card, faults, error):
    bridge.start_link()
    card = make_card(faults=faults)
    outcome = counter.lay(card, None)
    assert type(outcome.error) is error
    assert was_never_asked_for_its_pin(card)
    assert not [entry for entry in counter.journal if entry.startswith("POST")]


def test_a_transit_card_is_no_my_number_card(counter, bridge):
    class TransitCard(SmartCardConnection):
        def send_and_receive(self, apdu):
            del apdu
            return b"", 0x6A82

    @contextmanager
    def connect(card):
        yield card

    bridge.start_link()
    counter.connect = connect
    assert isinstance(counter.lay(TransitCard(), None).error, NotAMyNumberCard)


# -- the PIN


def test_a_wrong_pin_is_sent_once_and_the_tries_are_told(counter, bridge, make_card):
    request = bridge.start_link()
    card = make_card()
    outcome = counter.lay(card, f"{WRONG_PIN}\n{PIN}\n")
    assert isinstance(outcome.error, InvalidPinError)
    assert (card.verify_count, card.authentication.attempts_remaining) == (1, 2)
    assert "2 tries left" in counter.output.getvalue()
    assert not [entry for entry in counter.journal if entry.endswith("/response")]
    shown = bridge.request(request)
    assert (shown.state, shown.problem, shown.attempts_remaining) == (
        LinkRequestState.WAITING_FOR_PIN,
        "pin-wrong",
        2,
    )
    assert not card.powered


def test_after_a_wrong_pin_the_card_is_laid_again(counter, bridge, make_card):
    bridge.start_link()
    card = make_card()
    counter.lay(card, WRONG_PIN)
    assert isinstance(counter.lay(card, PIN), Linked)
    assert card.authentication.attempts_remaining == 3


def test_the_last_try_is_never_spent(counter, bridge, make_card):
    request = bridge.start_link()
    card = make_card()
    counter.lay(card, WRONG_PIN)
    counter.lay(card, WRONG_PIN)
    assert card.authentication.attempts_remaining == 1
    outcome = counter.lay(card, None)
    assert isinstance(outcome.error, LastAttemptProtected)
    assert (card.verify_count, card.authentication.attempts_remaining) == (2, 1)
    assert bridge.request(request).attempts_remaining == 1


def test_a_blocked_card_is_not_asked_for_its_pin(counter, bridge, make_card):
    request = bridge.start_link()
    card = make_card()
    card.authentication.attempts_remaining = 0
    outcome = counter.lay(card, None)
    assert isinstance(outcome.error, PinBlockedError)
    assert card.verify_count == 0
    shown = bridge.request(request)
    assert (shown.state, shown.problem) == (LinkRequestState.REFUSED, "pin-blocked")


@pytest.fixture
def leaky_connect(counter):
    """Return a way to connect that finds a PIN verified by somebody else, the first *times* it is used."""

    def make(times):
        leaks = iter(range(times))

        @contextmanager
        def connect(card):
            counter.journal.append("card on")
            try:
                with SimulatedConnection(card) as connection:
                    for _ in leaks:
                        JpkiSession(connection).verify_pin(Pin(PIN))
                        break
                    yield JournalConnection(connection, counter.journal)
            finally:
                counter.journal.append("card off")

        return connect

    return make


def test_a_pin_that_somebody_else_left_open_is_wiped_by_power_off_and_the_patron_asked_once(
    counter, bridge, make_card, leaky_connect
):
    request = bridge.start_link()
    card = make_card(faults=CardFaults(verified_query_is_9000=True))
    counter.connect = leaky_connect(times=1)
    assert isinstance(counter.lay(card, f"{PIN}\n"), Linked)
    assert bridge.request(request).state is LinkRequestState.COMPLETED
    on_card = [entry for entry in counter.order if entry.startswith("card")]
    whole_way = ["card SELECT", "card READ", "card TRIES", "card VERIFY", "card SIGN"]
    assert on_card == ["card on", *whole_way[:3], "card off", "card on", *whole_way, "card off"]
    assert card.verify_count == 2  # somebody else's, and the patron's
    assert counter.output.getvalue().count("Enter the 4-digit PIN") == 1


def test_a_pin_that_is_left_open_again_is_given_up_with_words_and_nobody_is_asked(
    counter, bridge, make_card, leaky_connect
):
    request = bridge.start_link()
    card = make_card(faults=CardFaults(verified_query_is_9000=True))
    counter.connect = leaky_connect(times=3)
    assert isinstance(counter.lay(card, None).error, PinAlreadyVerified)
    assert counter.journal.count("card on") == 2
    assert not {"card VERIFY", "card SIGN"} & set(counter.journal)
    assert "start afresh" in counter.output.getvalue()
    assert bridge.request(request).problem == "given-up"


@pytest.mark.parametrize("typed", ["", "\n", "12\n123\n12345\n"], ids=["end", "empty", "never four digits"])
def test_a_patron_may_give_up(counter, bridge, make_card, typed):
    request = bridge.start_link()
    card = make_card()
    assert isinstance(counter.lay(card, typed).error, GivenUp)
    assert was_never_asked_for_its_pin(card)
    shown = bridge.request(request)
    assert (shown.state, shown.problem) == (LinkRequestState.WAITING_FOR_CARD, "given-up")


def test_a_pin_typed_after_the_challenge_ran_out_is_not_tried(counter, bridge, make_card):
    request = bridge.start_link()
    card = make_card()
    moments = iter([1000.0, 1001.0, 1120.0])  # asked for the challenge, for the PIN, PIN typed: two minutes
    outcome = counter.lay(card, PIN, monotonic=lambda: next(moments))
    assert isinstance(outcome.error, PinTooLate)
    assert was_never_asked_for_its_pin(card)
    assert "was not used" in counter.output.getvalue()
    assert bridge.request(request).problem == "given-up"


# -- trouble on the way


@pytest.mark.parametrize("executed", [False, True], ids=["before", "after"])
def test_a_card_taken_away_at_any_moment_is_never_sent_two_pins(counter, bridge, make_card, executed):
    served = False
    for commands in range(100):
        bridge.start_link()
        card = make_card(faults=CardFaults(tear_after=commands, torn_command_is_executed=executed))
        outcome = counter.lay(card, PIN)
        assert card.verify_count <= 1
        assert not card.powered
        if isinstance(outcome, Linked):
            served = True
            break
        assert isinstance(outcome.error, CardRemoved)
        assert counter.journal.count("card VERIFY") <= 1
        cancel_open_request(bridge)
    assert served
    assert commands > 8


@pytest.mark.parametrize(("executed", "left"), [(False, 3), (True, 2)], ids=["before", "after"])
def test_after_a_tear_at_the_pin_the_next_visit_asks_the_card_how_many_tries_are_left(
    counter, bridge, make_card, executed, left
):
    before_the_pin = commands_before_the_pin(make_card())
    bridge.start_link()
    card = make_card(faults=CardFaults(tear_after=before_the_pin, torn_command_is_executed=executed))
    assert isinstance(counter.lay(card, WRONG_PIN).error, CardRemoved)
    assert counter.journal[-3] == "card VERIFY"
    counter.output.truncate(0)
    assert isinstance(counter.lay(card, PIN), Linked)
    shown = counter.output.getvalue()
    assert f"You have {left} tries left" in shown
    assert shown.index(f"{left} tries left") < shown.index("Enter the 4-digit PIN")
    assert counter.order.index("card TRIES") < counter.order.index("card VERIFY")


def test_after_a_tear_that_spent_the_last_but_one_try_nobody_is_asked_again(counter, bridge, make_card):
    before_the_pin = commands_before_the_pin(make_card())
    bridge.start_link()
    card = make_card(faults=CardFaults(tear_after=before_the_pin, torn_command_is_executed=True))
    card.authentication.attempts_remaining = 2
    assert isinstance(counter.lay(card, WRONG_PIN).error, CardRemoved)
    assert isinstance(counter.lay(card, None).error, LastAttemptProtected)


def commands_before_the_pin(card):
    with SimulatedConnection(card) as connection:
        session = JpkiSession(connection)
        session.read_certificate()
        session.attempts_remaining()
    return card.apdu_count


def cancel_open_request(bridge):
    terminal = bridge.services.staff.terminal_for_token(bridge.counter_token)
    request = bridge.services.registration.pending(terminal)
    bridge.services.registration.cancel(bridge.librarian, request.request_id)


def test_a_card_that_signs_with_another_key_is_refused_by_the_bridge(counter, bridge, make_card):
    bridge.start_link()
    card = make_card(faults=CardFaults(wrong_key=True))
    assert counter.lay(card, PIN).error.slug == "invalid-signature"
    assert card.verify_count == 1


def test_a_report_that_does_not_arrive_changes_nothing(make_desk, bridge, make_card):
    class SilentBridge(BridgeApi):
        def progress(self, challenge_id, step, attempts_remaining=None):
            if step != "pin_requested":
                raise BridgeProblem("internal-error", status=500, title="", detail=None, data={})
            super().progress(challenge_id, step, attempts_remaining)

    bridge.start_link()
    outcome = make_desk(bridge.counter_token, SilentBridge).lay(make_card(), WRONG_PIN)
    assert isinstance(outcome.error, InvalidPinError)


# -- secrets


def test_the_pin_stays_at_the_desk(counter, self_check, server, bridge, make_card, caplog, capfd):
    caplog.set_level(1)
    card = make_card()
    bridge.start_link()
    counter.lay(card, f"98765\n{WRONG_PIN}\n")
    counter.lay(card, f"98765\n{PIN}\n")
    self_check.lay(card, PIN)
    captured = capfd.readouterr()
    places = {
        "log": caplog.text,
        "stdout": captured.out,
        "stderr": captured.err,
        "screen": counter.output.getvalue() + self_check.output.getvalue(),
        "requests": "\n".join(readable(request) for request in server.recorder.requests),
        "card log": "\n".join(card.apdu_log),
    }
    assert places["log"]
    assert "POST" in places["requests"]
    for pin in (PIN, WRONG_PIN, "98765", PIN.encode().hex()):
        for place, content in places.items():
            # Digits may stand by chance inside a random id or signature, never by themselves.
            assert not re.search(rf"(?<![0-9A-Za-z+/]){pin}(?![0-9A-Za-z+/])", content), place


def readable(request):
    line, headers, body = request
    return f"{line}\n{headers}\n{body.decode()}"


def test_an_outcome_does_not_print_its_token(self_check, linked_card):
    outcome = self_check.lay(linked_card, PIN)
    assert outcome.token not in repr(outcome)
