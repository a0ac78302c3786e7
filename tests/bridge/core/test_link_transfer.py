"""Links of another system: brought in whole or not at all, replaced at the counter, given out again."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import select

from bridge.errors import (
    AlreadyLinked,
    Denied,
    IdentifierKindNotUsed,
    KohaNotReachable,
    LibraryNotFound,
    LinkFileMalformed,
    LinkNotFound,
    NotLinked,
)
from bridge.links.consent import STANDARD_VERSION
from bridge.links.file import RefusedRow, RowProblem, write_link_file
from bridge.links.identifiers import IdentifierForms
from bridge.links.records import LinkRecordService
from bridge.links.transfer import LinkTransferService
from bridge.models import AuditTag, IdentifierKind, LinkEndReason, LinkState, UnlinkReason
from bridge.patrons.category import CategoryService
from bridge.rules import DenialReason, LinkPolicy
from bridge.store import CardLinkRow
from bridge.store.tables import Base
from jpki.errors import InvalidSignature

KIND = IdentifierKind.MYKEY_ID
DAY = date(2030, 3, 31)
FORMS = IdentifierForms({KIND: re.compile("[A-Z0-9]{8}"), IdentifierKind.PPID: re.compile("[a-z]+")})


@pytest.fixture
def transfer(place):
    return LinkTransferService(place.environment, FORMS)


@pytest.fixture
def bring_in(place, transfer):
    def call(*rows, kind=KIND, library=None, dry_run=False):
        data = "\n".join(["identifier,patron_id,library_card", *rows]).encode()
        return transfer.import_links(
            library or place.library, data, kind, place.command, usual_day=DAY, dry_run=dry_run
        )

    return call


@pytest.fixture
def records(place):
    return LinkRecordService(place.environment, CategoryService(place.environment))


def stored(place):
    session = place.store.scoped_session()
    rows = session.scalars(select(CardLinkRow).order_by(CardLinkRow.library_id)).all()
    session.remove()
    return rows


def test_a_file_is_only_looked_at_unless_it_shall_be_written(place, bring_in):
    report = bring_in("ABCD1234,51,", dry_run=True)
    assert (report.new, report.known, report.refused, report.written) == (1, 0, [], False)
    assert stored(place) == []


def test_links_are_brought_in_by_either_name_of_a_patron(place, bring_in):
    report = bring_in("ABCD1234,51,", f"EFGH5678,,{place.koha.patrons[52].cardnumber}")
    assert (report.new, report.written) == (2, True)
    assert sorted(row.patron_id for row in stored(place)) == [51, 52]
    (row,) = [row for row in stored(place) if row.patron_id == 51]
    assert (row.kind, row.state, row.not_after.isoformat()) == (
        KIND,
        LinkState.ACTIVE,
        "2030-03-31T14:59:59+00:00",
    )
    assert [event.subject for event in place.audit(AuditTag.LINK_IMPORTED)] != []


def test_no_identifier_stands_in_the_database_the_audit_log_or_the_report(place, bring_in, caplog):
    caplog.set_level("DEBUG")
    report = bring_in("ABCD1234,51,", "WRONG,52,", "EFGH5678,999,")
    report_of_good = bring_in("ABCD1234,51,")
    for row in stored(place):
        assert b"ABCD1234" not in (row.serial_ciphertext or b"")
        assert "ABCD1234" not in str(row.digest)
    told = repr((report, report_of_good)) + caplog.text + repr([row.details for row in place.audit()])
    assert not [word for word in ("ABCD1234", "WRONG", "EFGH5678") if word in told]


def test_one_row_that_is_refused_keeps_all_out(place, bring_in):
    report = bring_in("ABCD1234,51,", "EFGH5678,999,", f"IJKL9012,51,{place.koha.patrons[52].cardnumber}")
    assert report.refused == [
        RefusedRow(3, RowProblem.PATRON_NOT_FOUND),
        RefusedRow(4, RowProblem.TWO_PATRONS),
    ]
    assert not report.written
    assert stored(place) == []


def test_a_file_that_is_read_twice_makes_no_link_twice(place, bring_in):
    bring_in("ABCD1234,51,")
    report = bring_in("ABCD1234,51,", "EFGH5678,52,")
    assert (report.new, report.known, report.written) == (1, 1, True)
    assert len(stored(place)) == 2


def test_a_file_that_was_cut_off_in_the_middle_is_brought_in_by_reading_it_again(
    place, bring_in, monkeypatch
):
    monkeypatch.setattr("bridge.links.transfer.ROWS_IN_A_TRANSACTION", 1)
    real, written = LinkTransferService._write, []

    def cut_off(self, *arguments):
        if written:
            raise KeyboardInterrupt
        written.append(real(self, *arguments))

    rows = ("ABCD1234,51,", "EFGH5678,52,")
    with monkeypatch.context() as patched:
        patched.setattr(LinkTransferService, "_write", cut_off)
        with pytest.raises(KeyboardInterrupt):
            bring_in(*rows)
    assert len(stored(place)) == 1
    report = bring_in(*rows)
    assert (report.new, report.known) == (1, 1)
    assert len(stored(place)) == 2


def test_an_identifier_of_another_patron_is_refused_without_saying_whose(place, bring_in):
    bring_in("ABCD1234,51,")
    report = bring_in("ABCD1234,52,")
    assert report.refused == [RefusedRow(2, RowProblem.LINKED_TO_ANOTHER)]


@pytest.mark.parametrize("kind", [IdentifierKind.SERIAL_NUMBER, IdentifierKind.CARD_AP_NUMBER])
def test_a_kind_whose_form_is_not_stated_is_neither_brought_in_nor_given_out(place, bring_in, transfer, kind):
    with pytest.raises(IdentifierKindNotUsed):
        bring_in("ABCD1234,51,", kind=kind)
    with pytest.raises(IdentifierKindNotUsed):
        transfer.export_links(place.library, kind, place.command)


def test_nothing_is_written_where_koha_does_not_answer_or_the_file_is_none(place, bring_in, transfer):
    place.koha.reachable = False
    with pytest.raises(KohaNotReachable):
        bring_in("ABCD1234,51,")
    with pytest.raises(LinkFileMalformed):
        transfer.import_links(place.library, b"\xff\xff", KIND, place.command, dry_run=False)
    with pytest.raises(LibraryNotFound):
        bring_in("ABCD1234,51,", library="nowhere")
    assert stored(place) == []


def test_what_was_brought_in_is_given_out_as_it_came(place, bring_in, transfer):
    bring_in("ABCD1234,51,", "EFGH5678,52,")
    bring_in("abc,52,", kind=IdentifierKind.PPID)
    rows = list(transfer.export_links(place.library, KIND, place.command))
    assert sorted((row["identifier"], row["patron_id"], row["valid_until"]) for row in rows) == [
        ("ABCD1234", "51", "2030-03-31"),
        ("EFGH5678", "52", "2030-03-31"),
    ]
    again = transfer.import_links(
        place.library, "".join(write_link_file(rows)).encode(), KIND, place.command, dry_run=True
    )
    assert (again.new, again.known, again.refused) == (0, 2, [])
    (event,) = place.audit(AuditTag.LINKS_EXPORTED)
    assert event.details == {"kind": KIND.value}


def test_the_same_identifier_in_two_libraries_cannot_be_joined(place, bring_in):
    bring_in("ABCD1234,51,")
    bring_in("ABCD1234,9,", library=place.other_library)
    one, other = stored(place)
    assert one.library_id != other.library_id
    assert one.digest != other.digest
    assert one.serial_ciphertext != other.serial_ciphertext


def test_the_same_card_linked_in_two_libraries_leaves_nothing_that_joins_them(place):
    card = place.card()
    place.link(card)
    counter = place.add_terminal("counter-1", place.counter.kind, library=place.other_library)
    place.registration.start(
        replace(place.librarian, library_id=place.other_library),
        terminal_id=counter.terminal_id,
        cardnumber="H-1",
        consent_version=STANDARD_VERSION,
    )
    challenge = place.registration.begin(counter, card.certificate_der)
    place.complete_link(counter, card, challenge)
    one, other = stored(place)
    same = {
        column.name
        for column in CardLinkRow.__table__.columns
        if getattr(one, column.name) is not None and getattr(one, column.name) == getattr(other, column.name)
    }
    assert same <= {
        # the master key, what every link of that moment has (the clock stands still), and who linked
        *("kind", "key_id", "serial_key_id", "state", "linked_at", "linked_by", "slot"),
        *("revocation_status", "revocation_source", "revocation_as_of"),
        *("consent_version", "consented_at", "tagged_at"),
        # of the certificate what a city's many cards share: the CA's key and the last day
        *("issuer_key_identifier", "not_after"),
    }
    assert (
        not {"digest", "serial_ciphertext", "serial_nonce", "revocation_tag", "patron_id", "link_id"} & same
    )


def test_an_imported_link_opens_no_session(place, bring_in):
    bring_in("ABCD1234,51,")
    with pytest.raises(NotLinked):
        place.borrow(place.card())


def test_the_card_at_the_counter_takes_the_place_of_imported_links(place, bring_in):
    bring_in("ABCD1234,51,", "EFGH5678,52,")
    bring_in("abc,51,", kind=IdentifierKind.PPID)
    card = place.card()
    link = place.link(card)
    assert link.kind is IdentifierKind.SERIAL_NUMBER
    rows = {row.link_id: row for row in stored(place)}
    ended = [row for row in rows.values() if row.ended_at is not None]
    assert {row.kind for row in ended} == {KIND, IdentifierKind.PPID}
    for row in ended:
        assert row.patron_id == 51
        assert row.ended_reason == LinkEndReason.IDENTIFIER_REPLACED
        assert (row.digest, row.serial_ciphertext) == (None, None)
    assert rows[link.link_id].replaces in {row.link_id for row in ended}
    assert {row.patron_id for row in rows.values() if row.ended_at is None} == {51, 52}
    assert {event.subject for event in place.audit(AuditTag.LINK_ENDED)} == {row.link_id for row in ended}
    assert place.borrow(card).token


def test_an_imported_link_stays_where_the_library_wants_it(place, bring_in):
    bring_in("ABCD1234,51,")
    libraries = place.environment.libraries
    libraries[place.library] = replace(libraries[place.library], replace_imported_links=False)
    place.link(place.card())
    assert [row.ended_at for row in stored(place)] == [None, None]


def test_an_imported_link_does_not_count_against_the_number_of_links(place, bring_in):
    bring_in("ABCD1234,51,")
    libraries = place.environment.libraries
    libraries[place.library] = replace(libraries[place.library], links=LinkPolicy(maximum_per_patron=1))
    assert place.link(place.card()).state is LinkState.ACTIVE


def test_no_import_gives_a_patron_more_links_than_the_library_allows(place, bring_in):
    libraries = place.environment.libraries
    libraries[place.library] = replace(libraries[place.library], links=LinkPolicy(maximum_per_patron=2))
    place.link(place.card())
    report = bring_in("ABCD1234,51,", f"EFGH5678,,{place.cardnumber}", "IJKL9012,52,", "MNOP3456,52,")
    assert report.refused == [RefusedRow(3, RowProblem.TOO_MANY_LINKS)]
    assert [row.kind for row in stored(place)] == [IdentifierKind.SERIAL_NUMBER]
    assert bring_in("ABCD1234,51,", "IJKL9012,52,", "MNOP3456,52,").written
    assert bring_in("ABCD1234,51,", "IJKL9012,52,", "MNOP3456,52,").known == 3
    assert bring_in("QRST7890,52,").refused == [RefusedRow(2, RowProblem.TOO_MANY_LINKS)]


def test_a_card_linked_while_a_file_is_looked_through_leaves_no_patron_with_too_many(place, transfer):
    libraries = place.environment.libraries
    libraries[place.library] = replace(libraries[place.library], links=LinkPolicy(maximum_per_patron=1))
    data = b"identifier,patron_id\nABCD1234,51\n"
    with pytest.raises(Denied) as caught:
        transfer.import_links(
            place.library,
            data,
            KIND,
            place.command,
            usual_day=DAY,
            dry_run=False,
            progress=lambda _rows: place.link(place.card()),
        )
    assert caught.value.reason is DenialReason.TOO_MANY_LINKS
    assert [row.kind for row in stored(place)] == [IdentifierKind.SERIAL_NUMBER]


def test_a_link_that_fails_leaves_the_imported_one(place, bring_in):
    bring_in("ABCD1234,51,")
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    with pytest.raises(InvalidSignature):
        place.registration.complete(place.counter, challenge.challenge_id, card.certificate_der, b"wrong")
    assert [row.ended_at for row in stored(place)] == [None]


CARD_NUMBERS = IdentifierForms({IdentifierKind.CARD_AP_NUMBER: re.compile("[0-9]{8}")})
NUMBER = "00001234"


@pytest.fixture
def reads_numbers(place, bring_in):
    """The library has its counters read the number; of patron 51 it has one, and a link by another kind."""
    libraries = place.environment.libraries
    libraries[place.library] = replace(libraries[place.library], card_number_forms=CARD_NUMBERS)
    forms = IdentifierForms({**FORMS.patterns, **CARD_NUMBERS.patterns})
    service = LinkTransferService(place.environment, forms)
    for kind, identifier in ((IdentifierKind.CARD_AP_NUMBER, NUMBER), (KIND, "ABCD1234")):
        data = f"identifier,patron_id\n{identifier},51\n".encode()
        assert service.import_links(
            place.library, data, kind, place.command, usual_day=DAY, dry_run=False
        ).written
    (numbered,) = [row for row in stored(place) if row.kind is IdentifierKind.CARD_AP_NUMBER]
    return numbered.link_id


def link_with_number(place, card, number, cardnumber=None):
    place.start(cardnumber=cardnumber or place.cardnumber)
    challenge = place.registration.begin(place.counter, card.certificate_der, number)
    signature = place.sign(card, challenge)
    return place.registration.complete(
        place.counter, challenge.challenge_id, card.certificate_der, signature, number
    )


def test_the_number_on_the_card_says_which_imported_link_the_new_one_replaces(place, reads_numbers):
    link = link_with_number(place, place.card(), NUMBER)
    assert (link.kind, link.replaces) == (IdentifierKind.SERIAL_NUMBER, reads_numbers)
    open_rows = [row for row in stored(place) if row.ended_at is None]
    assert [row.link_id for row in open_rows] == [link.link_id]
    ended = {event.subject: event.details for event in place.audit(AuditTag.LINK_ENDED)}
    assert ended[reads_numbers] == {"reason": LinkEndReason.IDENTIFIER_REPLACED}
    assert place.audit(AuditTag.LINK_CREATED)[-1].details["replaces"] == reads_numbers


def test_a_card_whose_number_is_another_patrons_is_refused_before_the_pin(place, reads_numbers):
    request = place.start(cardnumber="L-4711-000816")
    with pytest.raises(AlreadyLinked):
        place.registration.begin(place.counter, place.card().certificate_der, NUMBER)
    assert place.registration.request(place.librarian, request.request_id).problem == "already-linked"


def test_a_number_that_is_told_only_with_the_signature_is_looked_at_all_the_same(place, reads_numbers):
    card = place.card()
    place.start(cardnumber="L-4711-000816")
    challenge = place.registration.begin(place.counter, card.certificate_der)
    before = stored(place)
    with pytest.raises(AlreadyLinked):
        place.registration.complete(
            place.counter, challenge.challenge_id, card.certificate_der, place.sign(card, challenge), NUMBER
        )
    assert [(row.link_id, row.ended_at) for row in stored(place)] == [
        (row.link_id, row.ended_at) for row in before
    ]


@pytest.mark.parametrize("number", [None, "99999999", "no number", ""])
def test_a_card_without_a_number_that_is_known_is_linked_as_always(place, reads_numbers, number):
    assert link_with_number(place, place.card(), number, "L-4711-000816").patron_id == 52
    assert [row.patron_id for row in stored(place) if row.kind is IdentifierKind.CARD_AP_NUMBER] == [51]


def test_a_number_is_no_way_in_at_a_self_check_machine_and_names_nobody_at_the_counter(place, reads_numbers):
    card = place.card()
    with pytest.raises(NotLinked):
        place.borrow(card)
    link = link_with_number(place, card, NUMBER)
    assert place.borrow(card).token
    other = place.card()
    with pytest.raises(NotLinked):  # the same number on a card that is not linked
        place.borrow(other)
    assert place.registration.link(place.librarian, link.link_id).state is LinkState.ACTIVE


def test_a_library_that_does_not_ask_for_numbers_takes_no_notice_of_one(place, reads_numbers):
    libraries = place.environment.libraries
    libraries[place.library] = replace(libraries[place.library], card_number_forms=None)
    assert not place.registration.reads_card_number(place.library)
    assert link_with_number(place, place.card(), NUMBER, "L-4711-000816").patron_id == 52


def test_a_cards_number_stands_nowhere(place, reads_numbers, caplog):
    caplog.set_level("DEBUG")
    link_with_number(place, place.card(), NUMBER)
    link_with_number(place, place.card(), "5551234-not-one", "L-4711-000816")
    session = place.store.scoped_session()
    rows = [repr(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table))]
    session.remove()
    told = " ".join(rows) + caplog.text
    assert [number for number in (NUMBER, "5551234-not-one") if number in told] == []
    assert "not of the form in the settings" in caplog.text


def test_links_are_listed_shown_and_ended_in_their_own_library_only(place, records, bring_in):
    link = place.link(place.card())
    bring_in("ABCD1234,9,", library=place.other_library)
    assert [each.link_id for each in records.links(place.library, with_ended=False)] == [link.link_id]
    for call in (
        lambda: records.link(place.other_library, link.link_id),
        lambda: records.end(place.other_library, link.link_id, UnlinkReason.CARD_LOST, place.command),
    ):
        with pytest.raises(LinkNotFound):
            call()
    assert records.link(place.library, link.link_id).ended_at is None
    ended = records.end(place.library, link.link_id, UnlinkReason.CARD_LOST, place.command)
    assert ended.state is LinkState.ENDED
    assert list(records.links(place.library, with_ended=False)) == []
    assert [each.link_id for each in records.links(place.library, with_ended=True)] == [link.link_id]
    with pytest.raises(LinkNotFound):
        records.end(place.library, link.link_id, UnlinkReason.CARD_LOST, place.command)


def test_a_link_that_a_command_ends_takes_its_sessions_with_it(place, records):
    card = place.card()
    link = place.link(card)
    opened = place.borrow(card)
    records.end(place.library, link.link_id, UnlinkReason.CARD_LOST, place.command)
    assert place.audit(AuditTag.SESSION_CLOSED)[-1].subject == opened.session_id
