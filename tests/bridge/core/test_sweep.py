"""The sweep of all links: what it suspends, and that stopping it or running it twice loses nothing."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from secrets import token_bytes
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from cryptography import x509
from sqlalchemy import select, update

from bridge.cli import main
from bridge.errors import Denied
from bridge.keys.ring import KeyRing, MasterKey
from bridge.keys.rotation import KeyRotation
from bridge.models import AuditTag, LinkState, SuspensionReason
from bridge.ports import RevocationSweepState
from bridge.revocation.sources import CrlSweepSource, PacedSource
from bridge.revocation.sweep import RevocationSweep
from bridge.rules import DenialReason, OutagePolicy, RevocationRule, judge_certificate
from bridge.store import CardLinkRow
from jpki.certificate import SerialNumber, UserAuthenticationCertificate
from jpki.circuit_breaker import BreakerPolicy, CircuitBreaker
from jpki.crl_index import CrlDirectory
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason
from jpki.revocation_source import OcspSource
from jpki.simulator.crl import RevokedCard, make_crl
from jpki.simulator.ocsp_responder import OcspResponder
from jpki.simulator.pki import Authority, CardProfile

CARDS = 5
PART = "http://crl.example/part"
OF_A_PART = x509.Extension(
    x509.IssuingDistributionPoint.oid,
    critical=True,
    value=x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(PART)],
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    ),
)


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
def crls_of(tmp_path):
    return lambda place: _crls(place, tmp_path)


@pytest.fixture
def crls(place, crls_of):
    """Put a CRL in force that revokes cards; the number goes up by itself."""
    return crls_of(place)


def _crls(place, tmp_path):
    authority = x509.load_der_x509_certificate(place.pki.ca_certificate(Authority.AUTHENTICATION_1))
    key = place.pki.keys.authorities[Authority.AUTHENTICATION_1]
    directory = CrlDirectory(tmp_path / "crls", [PART])
    numbers = iter(range(1, 100))

    def put_in_force(*revoked, part=False):
        now = place.clock()
        entries = [RevokedCard(card.serial_number, now, reason=1) for card in revoked]
        crl = make_crl(
            authority,
            key,
            entries,
            number=next(numbers),
            this_update=now,
            next_update=now + timedelta(days=1),
            extensions=[OF_A_PART] if part else [],
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
    assert [step.state.checked for step in steps] == [4, 5, 5]
    assert steps[-1].state.sweep_id == first.state.sweep_id
    assert states(place) == [LinkState.SUSPENDED] * CARDS
    assert len(place.audit(AuditTag.LINK_SUSPENDED)) == CARDS


def test_a_sweep_that_dies_within_a_batch_has_done_nothing_of_it(place, cards, crls, monkeypatch):
    place.clock.advance(minutes=1)
    source = CrlSweepSource(crls(*cards))

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("bridge.revocation.sweep.suspend_revoked", die)
        sweep = sweep_of(place, source).run()
        with pytest.raises(Killed):
            list(sweep)
    assert states(place) == [LinkState.ACTIVE] * CARDS
    *_, last = sweep_of(place, source).run()
    assert last.state.suspended == CARDS


def test_two_sweeps_at_once_share_the_work_and_suspend_once(place, cards, crls):
    place.clock.advance(minutes=1)
    source = CrlSweepSource(crls(*cards))
    one, other = sweep_of(place, source).run(), sweep_of(place, source).run()
    assert [next(one).state.checked, next(other).state.checked] == [2, 4]
    assert [step.state.checked for step in one] == [4, 5, 5]
    assert len(place.audit(AuditTag.LINK_SUSPENDED)) == CARDS


def test_a_batch_that_another_run_has_done_meanwhile_is_not_done_again(place, cards, crls):
    place.clock.advance(minutes=1)
    source = CrlSweepSource(crls(*cards))
    sweep = sweep_of(place, source)
    with place.store.transaction() as transaction:
        before = transaction.open_sweep(
            RevocationSweepState("sweep", place.clock()), place.clock() - timedelta(days=1)
        )
        batch = transaction.active_links_after(None, "", 2, but_for=())
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


def test_the_crl_of_a_part_suspends_whom_it_lists_and_proves_nobody_good(place, cards, crls):
    place.clock.advance(minutes=1)
    *_, last = sweep_of(place, CrlSweepSource(crls(cards[1], part=True))).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (0, 1, CARDS - 1)
    assert states(place)[1] is LinkState.SUSPENDED


def test_beside_the_whole_crl_a_part_suspends_too(place, cards, crls):
    place.clock.advance(minutes=1)
    crls(cards[0])
    *_, last = sweep_of(place, CrlSweepSource(crls(cards[1], part=True))).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (CARDS - 2, 2, 0)
    assert states(place)[:2] == [LinkState.SUSPENDED] * 2


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
        "other_identifier": 0,
    }
    assert result.stderr == "0 of 0 links\n"
    words = "checked 0, good 0, suspended 0, unknown 0, other identifier 0\n"
    assert run("revocation", "sweep").stdout == words


def add_link(installation, kind):
    with sqlite3.connect(installation.database) as connection:
        connection.execute(
            "INSERT INTO card_link (link_id, library_id, patron_id, kind, key_id, digest, state, not_after,"
            " linked_at, linked_by, slot) VALUES (?, 'central', 1, ?, ?, ?, 'active',"
            " '2099-01-01 00:00:00', '2026-01-01 00:00:00', 'x', ?)",
            (kind, kind, installation.key_file.read_text().split()[0], kind, len(kind)),
        )
    connection.close()


def test_the_command_tells_by_its_exit_code_that_a_state_is_not_known(run, installation):
    add_link(installation, "serial_number")
    result = run("revocation", "sweep")
    words = "checked 1, good 0, suspended 0, unknown 1, other identifier 0\n"
    assert (result.exit_code, result.stdout) == (1, words)
    assert result.stderr == "making tags: 1 of 1 links\n1 of 1 links\n"


def test_the_command_counts_the_links_under_another_identifier_apart(run, installation):
    add_link(installation, "mykey_id")
    result = run("revocation", "sweep")
    words = "checked 0, good 0, suspended 0, unknown 0, other identifier 1\n"
    assert (result.exit_code, result.stdout) == (0, words)


# All at once


def rows_of(place, *columns):
    with place.store._engine.connect() as connection:
        return connection.execute(select(*columns).order_by(CardLinkRow.linked_at, CardLinkRow.link_id)).all()


def change(place, **values):
    with place.store._engine.begin() as connection:
        connection.execute(update(CardLinkRow).values(**values))


def untag(place):
    change(place, issuer_key_identifier=None, revocation_tag=None, tagged_at=None)


def test_links_made_before_there_were_tags_get_theirs_from_the_first_sweep(place, cards, crls):
    untag(place)
    place.clock.advance(hours=1)
    shown = []
    *_, last = sweep_of(place, CrlSweepSource(crls(cards[3]))).run(lambda *far: shown.append(far))
    assert shown == [(2, CARDS), (4, CARDS), (CARDS, CARDS)]
    assert (last.state.good, last.state.suspended, last.state.unknown) == (CARDS - 1, 1, 0)
    assert states(place)[3] is LinkState.SUSPENDED
    place.clock.advance(hours=1)
    *_, last = sweep_of(place, CrlSweepSource(crls(cards[0]))).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (CARDS - 2, 1, 0)


def test_an_earlier_sweep_does_not_speak_for_a_link_that_is_tagged_after_it(place, cards, crls):
    place.clock.advance(hours=1)
    list(sweep_of(place, CrlSweepSource(crls())).run())
    as_of = place.clock()
    assert {link.revocation.as_of for link in links(place)} == {as_of}
    change(place, tagged_at=as_of)
    assert all(link.revocation.as_of < as_of for link in links(place))


def test_links_of_a_ca_without_a_crl_are_unknown_beside_those_of_one_with_a_crl(place, cards, crls):
    other = place.card(CardProfile.GOOD_NEW_GENERATION)
    place.start()
    challenge = place.registration.begin(place.counter, other.certificate_der)
    place.complete_link(place.counter, other, challenge)
    place.clock.advance(hours=1)
    *_, last = sweep_of(place, CrlSweepSource(crls(cards[0], other))).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (CARDS - 1, 1, 1)
    with place.store.transaction() as transaction:
        (link,) = transaction.open_links_of_patron(place.library, 51)
    assert (link.state, link.revocation.source) == (LinkState.ACTIVE, "scripted")


def test_links_of_every_master_key_are_found(place, cards, crls, make_place, clock, pki):
    untag(place)
    rotated = KeyRing([MasterKey("k2", b"2" * 32), MasterKey("k1", bytes(range(32)))], token_bytes)
    later = make_place(place.store, rotated, clock, pki)
    card = place.card()
    place.start()
    challenge = later.registration.begin(place.counter, card.certificate_der)
    later.complete_link(place.counter, card, challenge)
    clock.advance(hours=1)
    *_, last = sweep_of(later, CrlSweepSource(crls(card, cards[0]))).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (CARDS - 1, 2, 0)
    assert {key_id for (key_id,) in rows_of(place, CardLinkRow.serial_key_id)} == {"k1", "k2"}


def test_links_whose_master_key_is_gone_are_unknown(place, cards, crls, make_place, clock, pki):
    clock.advance(hours=1)
    stranger = make_place(place.store, KeyRing([MasterKey("k2", b"2" * 32)], token_bytes), clock, pki)
    *_, last = sweep_of(stranger, CrlSweepSource(crls(*cards))).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (0, 0, CARDS)


def test_a_listed_link_that_cannot_be_read_is_unknown_and_no_sweep_speaks_for_it(place, cards, crls):
    change(place, serial_ciphertext=b"damaged")
    known = links(place)[1].revocation
    place.clock.advance(hours=1)
    directory = crls(cards[1])
    *_, last = sweep_of(place, CrlSweepSource(directory)).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (CARDS - 1, 0, 1)
    assert [link.revocation.as_of == known.as_of for link in links(place)] == [n == 1 for n in range(CARDS)]
    *_, last = sweep_of(place, CrlSweepSource(directory)).run()
    assert (last.state.good, last.state.unknown) == (CARDS - 1, 1)


def test_a_serial_number_that_shares_only_the_tag_of_a_listed_one_is_good(place, cards, crls):
    longer = SimpleNamespace(serial_number=cards[0].serial_number + (1 << 128))
    place.clock.advance(hours=1)
    *_, last = sweep_of(place, CrlSweepSource(crls(longer))).run()
    assert (last.state.good, last.state.suspended) == (CARDS, 0)
    assert states(place) == [LinkState.ACTIVE] * CARDS


def test_an_own_answer_that_is_newer_than_the_sweep_counts(place, cards, crls):
    place.clock.advance(hours=1)
    list(sweep_of(place, CrlSweepSource(crls())).run())
    place.clock.advance(hours=1)
    place.borrow(cards[0])
    sources = [link.revocation.source for link in links(place)]
    assert sources == ["scripted"] + ["crl"] * (CARDS - 1)


def test_where_another_source_comes_first_the_list_is_asked_about_what_it_left_open(place, cards, crls):
    place.clock.advance(hours=1)
    asked = []

    def says(serial_number, _issuer, now):
        asked.append(serial_number.value)
        if serial_number.value == cards[0].serial_number:
            return RevocationAnswer(RevocationStatus.GOOD, "ocsp", now)
        return RevocationAnswer(RevocationStatus.UNKNOWN, "ocsp", now, why=UnknownReason.UNREACHABLE)

    first = PacedSource(
        SimpleNamespace(check_serial_number=says),
        100,
        CircuitBreaker(BreakerPolicy(failures=100)),
        lambda _: None,
    )
    *_, last = sweep_of(place, first, CrlSweepSource(crls(cards[0], cards[1]))).run()
    assert sorted(asked) == sorted(card.serial_number for card in cards)
    assert (last.state.good, last.state.suspended, last.state.unknown) == (CARDS - 1, 1, 0)
    assert states(place)[:2] == [LinkState.ACTIVE, LinkState.SUSPENDED]


def test_an_ended_link_keeps_no_tag(place, cards):
    link = links(place)[0]
    with place.store.transaction() as transaction:
        transaction.end_link(place.library, link.link_id, "lost", place.clock())
    columns = (CardLinkRow.issuer_key_identifier, CardLinkRow.revocation_tag, CardLinkRow.tagged_at)
    assert rows_of(place, *columns).count((None, None, None)) == 1


def test_a_sweep_says_the_same_on_either_database(place, crls_of):
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.complete_link(place.counter, card, challenge)
    place.clock.advance(hours=1)
    put_in_force = crls_of(place)
    *_, last = sweep_of(place, CrlSweepSource(put_in_force())).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (1, 0, 0)
    place.clock.advance(hours=1)
    *_, last = sweep_of(place, CrlSweepSource(put_in_force(card))).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (0, 1, 0)


def test_in_an_outage_a_card_is_accepted_for_review_by_the_word_of_the_last_sweep(place, cards, crls):
    place.clock.advance(hours=20)
    list(sweep_of(place, CrlSweepSource(crls(cards[1]))).run())
    rule = RevocationRule(outage=OutagePolicy.LAST_KNOWN_GOOD, last_known_good_limit=timedelta(hours=6))
    good, suspended = links(place)[:2]
    for hours, accepted in ((5, True), (2, False)):
        place.clock.advance(hours=hours)
        outage = RevocationAnswer(
            RevocationStatus.UNKNOWN, "ocsp", place.clock(), why=UnknownReason.UNREACHABLE
        )
        decision = judge_certificate(good.not_after, outage, place.clock(), rule, good.revocation)
        assert (decision.allowed, decision.for_review) == (accepted, accepted)
        assert not rule.bridges(outage.why, suspended.revocation, place.clock())


def test_a_link_that_staff_let_be_active_again_is_not_spoken_for_by_a_sweep_that_left_it_out(
    place, cards, crls
):
    link = links(place)[0]
    place.clock.advance(hours=1)
    reason = SuspensionReason.CARD_MISLAID
    with place.store.transaction() as transaction:
        assert transaction.suspend_links(place.library, [link.link_id], reason, place.clock())
    place.clock.advance(hours=1)
    list(sweep_of(place, CrlSweepSource(crls(cards[0]))).run())
    with place.store.transaction() as transaction:
        restored = transaction.restore_link(place.library, link.link_id, [reason])
    assert restored.revocation == link.revocation
    *_, last = sweep_of(place, CrlSweepSource(crls(cards[0]))).run()
    assert (last.state.good, last.state.suspended) == (CARDS - 1, 1)


def test_links_brought_under_another_master_key_are_tagged_anew(place, cards, crls, make_place, clock, pki):
    keys = KeyRing([MasterKey("k2", b"2" * 32), MasterKey("k1", bytes(range(32)))], token_bytes)
    rotated = make_place(place.store, keys, clock, pki)
    clock.advance(hours=1)
    list(sweep_of(place, CrlSweepSource(crls())).run())
    before = links(place)
    list(KeyRotation(rotated.environment, place.command).rotate())
    assert all(
        link.revocation.as_of < old.revocation.as_of for link, old in zip(links(place), before, strict=True)
    )
    clock.advance(hours=1)
    *_, last = sweep_of(rotated, CrlSweepSource(crls(cards[2]))).run()
    assert (last.state.good, last.state.suspended, last.state.unknown) == (CARDS - 1, 1, 0)
