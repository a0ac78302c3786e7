"""The sweep of all links: what it suspends, and that stopping it or running it twice loses nothing."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from cryptography import x509

from bridge.cli import main
from bridge.errors import Denied
from bridge.models import AuditTag, LinkState
from bridge.ports import RevocationSweepState
from bridge.rules import DenialReason, RevocationRule
from bridge.sweep import CrlSweepSource, PacedSource, RevocationSweep
from jpki.certificate import SerialNumber, UserAuthenticationCertificate
from jpki.circuit_breaker import BreakerPolicy, CircuitBreaker
from jpki.crl_index import CrlDirectory
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason
from jpki.revocation_source import OcspSource
from jpki.simulator.crl import RevokedCard, make_crl
from jpki.simulator.ocsp_responder import OcspResponder
from jpki.simulator.pki import Authority

CARDS = 5


@pytest.fixture
def cards(place):
    """Cards that are linked to patrons of their own."""
    cards = []
    for number in range(CARDS):
        card = place.card()
        cardnumber = f"S-{number}"
        place.koha.patrons[100 + number] = place.koha.patrons[51].__class__(
            100 + number, "ADULT", None, restricted=False, card_lost=False, cardnumber=cardnumber
        )
        place.start(cardnumber=cardnumber)
        challenge = place.registration.begin(place.counter, card.certificate_der)
        place.complete_link(place.counter, card, challenge)
        cards.append(card)
    return cards


@pytest.fixture
def crls(place, tmp_path):
    """Put a CRL in force that revokes cards; the number goes up by itself."""
    authority = x509.load_der_x509_certificate(place.pki.ca_certificate(Authority.AUTHENTICATION_1))
    key = place.pki.keys.authorities[Authority.AUTHENTICATION_1]
    directory = CrlDirectory(tmp_path / "crls")
    numbers = iter(range(1, 100))

    def put_in_force(*revoked):
        now = place.clock()
        entries = [RevokedCard(card.serial_number, now, reason=1) for card in revoked]
        crl = make_crl(
            authority,
            key,
            entries,
            number=next(numbers),
            this_update=now,
            next_update=now + timedelta(days=1),
        )
        (tmp_path / "new.crl").write_bytes(crl)
        directory.import_crl(tmp_path / "new.crl", place.pki.trust_store(), now)
        return directory

    return put_in_force


def sweep_of(place, *sources, batch=2):
    trust_store = place.pki.trust_store()
    return RevocationSweep(
        place.environment, trust_store, sources, {place.library: RevocationRule()}, place.command, batch
    )


def links(place):
    with place.store.transaction() as transaction:
        return [
            link
            for number in range(CARDS)
            for link in transaction.open_links_of_patron(place.library, 100 + number)
        ]


def states(place):
    return [link.state for link in links(place)]


def test_the_links_of_revoked_certificates_are_suspended_with_their_sessions(place, cards, crls):
    opened = place.borrow(cards[1])
    place.clock.advance(minutes=1)
    *_, last = sweep_of(place, CrlSweepSource(crls(cards[1]))).run()
    assert states(place) == [LinkState.SUSPENDED if n == 1 else LinkState.ACTIVE for n in range(CARDS)]
    assert (last.state.good, last.state.suspended, last.state.unknown) == (CARDS - 1, 1, 0)
    (event,) = place.audit(AuditTag.LINK_SUSPENDED)
    assert event.details == {"reason": "certificate-revoked", "source": "crl", "why": "keyCompromise"}
    assert place.audit(AuditTag.SESSION_CLOSED)[-1].subject == opened.session_id
    assert not hasattr(place.resolve(opened), "cardnumber")
    asked = place.revocation.asked
    with pytest.raises(Denied) as caught:
        place.borrowing.begin(place.self_check, cards[1].certificate_der)
    assert (caught.value.reason, caught.value.why) == (DenialReason.LINK_SUSPENDED, "certificate-revoked")
    assert place.revocation.asked == asked


def test_what_is_good_is_remembered_with_the_date_of_the_crl(place, cards, crls):
    place.clock.advance(hours=2)
    directory = crls()
    list(sweep_of(place, CrlSweepSource(directory)).run())
    for link in links(place):
        assert (link.revocation.source, link.revocation.as_of) == ("crl", place.clock())


def test_a_sweep_that_was_stopped_goes_on_where_it_stopped(place, cards, crls):
    place.clock.advance(minutes=1)
    source = CrlSweepSource(crls(*cards))
    first = next(sweep_of(place, source).run())
    assert (first.state.checked, first.state.finished_at) == (2, None)
    steps = list(sweep_of(place, source).run())
    assert [step.state.checked for step in steps] == [4, 5]
    assert steps[-1].state.sweep_id == first.state.sweep_id
    assert states(place) == [LinkState.SUSPENDED] * CARDS
    assert len(place.audit(AuditTag.LINK_SUSPENDED)) == CARDS


def test_a_sweep_that_dies_within_a_batch_has_done_nothing_of_it(place, cards, crls):
    place.clock.advance(minutes=1)
    source = CrlSweepSource(crls(*cards))

    class Killed(BaseException):
        pass

    sweep = sweep_of(place, source)
    sweep._suspend = lambda *_: (_ for _ in ()).throw(Killed)
    with pytest.raises(Killed):
        list(sweep.run())
    assert states(place) == [LinkState.ACTIVE] * CARDS
    *_, last = sweep_of(place, source).run()
    assert last.state.suspended == CARDS


def test_two_sweeps_at_once_share_the_work_and_suspend_once(place, cards, crls):
    place.clock.advance(minutes=1)
    source = CrlSweepSource(crls(*cards))
    one, other = sweep_of(place, source).run(), sweep_of(place, source).run()
    assert [next(one).state.checked, next(other).state.checked] == [2, 4]
    assert [step.state.checked for step in one] == [5]
    assert len(place.audit(AuditTag.LINK_SUSPENDED)) == CARDS


def test_a_batch_that_another_run_has_done_meanwhile_is_not_done_again(place, cards, crls):
    place.clock.advance(minutes=1)
    source = CrlSweepSource(crls(*cards))
    sweep = sweep_of(place, source)
    with place.store.transaction() as transaction:
        before = transaction.open_sweep(
            RevocationSweepState("sweep", place.clock()), place.clock() - timedelta(days=1)
        )
        batch = transaction.active_links_after(None, "", 2)
    assert sweep._sweep_batch(before, batch, CARDS) is not None
    assert sweep._sweep_batch(before, batch, CARDS) is None
    assert len(place.audit(AuditTag.LINK_SUSPENDED)) == 2


def test_a_second_sweep_changes_nothing(place, cards, crls):
    place.clock.advance(minutes=1)
    source = CrlSweepSource(crls(cards[0]))
    list(sweep_of(place, source).run())
    before = links(place)
    *_, last = sweep_of(place, source).run()
    assert (last.state.checked, last.state.suspended) == (CARDS - 1, 0)
    assert links(place) == before
    assert len(place.audit(AuditTag.LINK_SUSPENDED)) == 1


def test_a_revoked_in_an_old_crl_is_revoked_all_the_same(place, cards, crls):
    directory = crls(*cards)
    before = links(place)
    place.clock.advance(days=3)
    *_, last = sweep_of(place, CrlSweepSource(directory)).run()
    assert last.state.unknown == 0  # REVOKED does not grow stale
    assert states(place) == [LinkState.SUSPENDED] * CARDS
    assert len(before) == CARDS


def test_an_old_crl_proves_nobody_good(place, cards, crls):
    directory = crls()
    before = links(place)
    place.clock.advance(days=3)
    *_, last = sweep_of(place, CrlSweepSource(directory)).run()
    assert (last.state.good, last.state.unknown) == (0, CARDS)
    assert links(place) == before


def test_openssl_is_asked_about_a_certificate_that_is_not_at_hand(present_pki, tmp_path):
    good, revoked = present_pki.issue_card(), present_pki.issue_card()
    present_pki.revoke(revoked.serial_number, datetime.now(UTC))
    present_pki.write(tmp_path / "pki")
    identifier = UserAuthenticationCertificate.from_der(good.certificate_der).issuer_key_identifier
    anchors = present_pki.trust_store().anchors
    issuer = next(anchor for anchor in anchors if anchor.key_identifier == identifier)
    with OcspResponder(tmp_path / "pki") as responder:
        source = OcspSource(responder.url, timeout=10)
        paced = PacedSource(source, 100, CircuitBreaker(BreakerPolicy()))
        serial_numbers = [SerialNumber(card.serial_number) for card in (good, revoked)]
        answers = list(paced.check_all(serial_numbers, issuer, datetime.now(UTC)))
    assert [answer.status for answer in answers] == [RevocationStatus.GOOD, RevocationStatus.REVOKED]


def test_the_pace_is_kept_and_a_dead_responder_is_left_alone(place):
    asked, pauses = [], []

    def dead(serial_number, issuer, now):
        asked.append(serial_number)
        return RevocationAnswer(RevocationStatus.UNKNOWN, "ocsp", now, why=UnknownReason.UNREACHABLE)

    source = PacedSource(
        SimpleNamespace(check_serial_number=dead), 4, CircuitBreaker(BreakerPolicy(failures=3)), pauses.append
    )
    answers = list(source.check_all(range(10), None, place.clock()))
    assert pauses == [0.25] * 10
    assert len(asked) == 3
    assert {answer.why for answer in answers} == {UnknownReason.UNREACHABLE}


def test_certificates_that_end_within_ninety_days_are_listed_the_earliest_first(place, cards, crls):
    ends = links(place)[0].not_after
    place.clock.now = ends - timedelta(days=90)
    listed = sweep_of(place).expiring()
    assert len(listed) == CARDS
    place.clock.now = ends - timedelta(days=91)
    assert sweep_of(place).expiring() == []


# The command


@pytest.fixture
def run(installation):
    def run(*arguments):
        return CliRunner().invoke(main, ["-c", str(installation.path), *arguments])

    assert run("keys", "generate", str(installation.key_file)).exit_code == 0
    assert run("init-db").exit_code == 0
    return run


def test_the_command_sweeps_nothing_in_an_empty_bridge(run):
    result = run("revocation", "sweep", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "event": "finished",
        "checked": 0,
        "good": 0,
        "suspended": 0,
        "unknown": 0,
    }
    assert result.stderr == "0 of 0 links\n"
    assert run("revocation", "sweep").stdout == "checked 0, good 0, suspended 0, unknown 0\n"


def test_the_command_tells_by_its_exit_code_that_a_state_is_not_known(run, installation):
    with sqlite3.connect(installation.database) as connection:
        connection.execute(
            "INSERT INTO card_link (link_id, library_id, patron_id, kind, key_id, digest, state, not_after,"
            " linked_at, linked_by, slot) VALUES ('1', 'central', 1, 'serial_number', ?, 'd', 'active',"
            " '2099-01-01 00:00:00', '2026-01-01 00:00:00', 'x', 1)",
            installation.key_file.read_text().split()[:1],
        )
    connection.close()
    result = run("revocation", "sweep")
    assert (result.exit_code, result.stdout) == (1, "checked 1, good 0, suspended 0, unknown 1\n")
