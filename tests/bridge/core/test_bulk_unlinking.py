"""Ending many links: one asks, another approves, each link ends once. On SQLite and on PostgreSQL."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import IntegrityError

from bridge.borrowing import NoLongerValid
from bridge.errors import (
    BulkUnlinkingNotFound,
    BulkUnlinkingOver,
    LinkNotFound,
    NotAllowed,
    SecondPersonNeeded,
    StoreUnavailable,
    TooManyLinksAtOnce,
)
from bridge.links import bulk_unlinking
from bridge.links.bulk_unlinking import BulkUnlinkingService, at_once
from bridge.models import (
    ApprovalReason,
    AuditTag,
    BulkUnlinkingState,
    BulkUnlinkReason,
    DeclineReason,
    IdentifierKind,
    LibrarianRole,
    LinkState,
    SuspensionReason,
    UnlinkReason,
)
from bridge.patrons.category import CategoryService
from bridge.rules import LinkPolicy
from bridge.store import SqlStore, open_engine
from bridge.store.tables import BulkUnlinkingLinkRow, CardLinkRow

MISUSE = BulkUnlinkReason.SUSPECTED_MISUSE
CHECKED = ApprovalReason.LINKS_CHECKED
TIME_LIMIT = 90
KILLED = 9


def add_staff(place, login_name, role=LibrarianRole.LIBRARIAN, library=None):
    return place.staff.add_librarian(
        place.command,
        library_id=library or place.library,
        login_name=login_name,
        display_name=login_name,
        role=role,
        password=place.password,
    )


@pytest.fixture
def second(place):
    """Another person who works at the counter."""
    return add_staff(place, "jiro")


@pytest.fixture
def links(place):
    """Links of seven patrons, put into the database as the counter leaves them."""
    return add_links(place, 7)


def add_links(place, number, library=None):
    link_ids = [f"{each:032x}" for each in range(number)]
    if library is not None:
        link_ids = [f"{library:>032}" for _ in link_ids]
    engine = open_engine(place.url)
    with engine.begin() as connection:
        for each, link_id in enumerate(link_ids):
            connection.execute(
                CardLinkRow.__table__.insert().values(
                    link_id=link_id,
                    library_id=library or place.library,
                    patron_id=1000 + each,
                    kind=IdentifierKind.SERIAL_NUMBER,
                    key_id="k1",
                    digest=f"{each:064x}",
                    state=LinkState.ACTIVE,
                    not_after=place.clock.now + timedelta(days=900),
                    linked_at=place.clock.now,
                    linked_by=place.librarian.librarian_id,
                    slot=1,
                )
            )
    engine.dispose()
    return link_ids


def states(place):
    with place.store.reading() as transaction:
        found = transaction.links_of_library(place.library, with_ended=True, position="", limit=1000)
    return Counter(link.state for link in found)


def ask(place, link_ids, librarian=None):
    return place.bulk_unlinking.request(librarian or place.librarian, link_ids, reason=MISUSE)


def tags(place):
    return [row.tag for row in place.audit() if row.tag.startswith("bulk_unlinking")]


def test_two_persons_end_many_links_and_the_log_tells_of_each(place, second, links):
    bulk = ask(place, links)
    assert (bulk.state, bulk.link_count) == (BulkUnlinkingState.REQUESTED, 7)
    assert states(place) == {LinkState.ACTIVE: 7}
    place.clock.advance(hours=1)
    done = place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED)
    assert (done.state, done.ended, done.skipped) == (BulkUnlinkingState.EXECUTED, 7, 0)
    assert (done.decided_by, done.closed_at) == (second.librarian_id, place.clock.now)
    assert states(place) == {LinkState.ENDED: 7}
    ends = place.audit(AuditTag.LINK_ENDED)
    assert [row.subject for row in ends] == links
    assert {row.actor_id for row in ends} == {second.librarian_id}
    assert {tuple(sorted(row.details.items())) for row in ends} == {
        (
            ("bulk", bulk.bulk_id),
            ("reason", "suspected_misuse"),
            ("requested_by", place.librarian.librarian_id),
        )
    }
    told = {row.tag: (row.actor_id, row.subject, row.details) for row in place.audit()}
    asked = {"reason": "suspected_misuse", "links": "7"}
    assert told[AuditTag.BULK_UNLINKING_REQUESTED] == (
        place.librarian.librarian_id,
        bulk.bulk_id,
        asked,
    )
    assert told[AuditTag.BULK_UNLINKING_APPROVED] == (
        second.librarian_id,
        bulk.bulk_id,
        {**asked, "decision": "links_checked"},
    )
    assert told[AuditTag.BULK_UNLINKING_EXECUTED] == (
        second.librarian_id,
        bulk.bulk_id,
        {**asked, "requested_by": place.librarian.librarian_id, "ended": "7", "skipped": "0"},
    )


def test_nobody_approves_or_declines_the_own_request(place, links):
    bulk = ask(place, links)
    with pytest.raises(SecondPersonNeeded):
        place.bulk_unlinking.approve(place.librarian, bulk.bulk_id, reason=CHECKED)
    with pytest.raises(SecondPersonNeeded):
        place.bulk_unlinking.decline(place.librarian, bulk.bulk_id, reason=DeclineReason.UNCLEAR)
    assert states(place) == {LinkState.ACTIVE: 7}


@pytest.mark.parametrize(
    "statement",
    [
        (
            "UPDATE bulk_unlinking SET state = 'approved', decided_by = requested_by, "
            "decided_at = requested_at, decision = 'links_checked'"
        ),
        "UPDATE bulk_unlinking SET state = 'approved'",
        "UPDATE bulk_unlinking SET state = 'executed', closed_at = requested_at",
        "UPDATE bulk_unlinking SET ended = 5, skipped = 3",
        "UPDATE bulk_unlinking SET state = 'agreed'",
    ],
)
def test_the_database_itself_wants_a_second_person(place, links, statement):
    ask(place, links)
    with pytest.raises(IntegrityError):
        place.change(text(statement))


def test_who_may_not_end_a_link_neither_asks_nor_decides(place, second, links):
    auditor = add_staff(place, "kansa", LibrarianRole.AUDITOR)
    bulk = ask(place, links)
    service = place.bulk_unlinking
    for attempt in (
        lambda: ask(place, links, auditor),
        lambda: service.end_alone(auditor, links[:1], reason=MISUSE),
        lambda: service.approve(auditor, bulk.bulk_id, reason=CHECKED),
        lambda: service.decline(auditor, bulk.bulk_id, reason=DeclineReason.UNCLEAR),
        lambda: service.withdraw(auditor, bulk.bulk_id),
        lambda: service.carry_on(auditor, bulk.bulk_id),
    ):
        with pytest.raises(NotAllowed):
            attempt()
    assert service.overview(auditor, bulk.bulk_id).bulk == bulk


def test_another_library_neither_sees_nor_decides_a_request_nor_has_its_links_in_one(place, links):
    bulk = ask(place, links)
    stranger = add_staff(place, "minato", library=place.other_library)
    service = place.bulk_unlinking
    for attempt in (
        lambda: service.find(stranger, bulk.bulk_id),
        lambda: service.overview(stranger, bulk.bulk_id),
        lambda: service.approve(stranger, bulk.bulk_id, reason=CHECKED),
        lambda: service.decline(stranger, bulk.bulk_id, reason=DeclineReason.UNCLEAR),
        lambda: service.withdraw(stranger, bulk.bulk_id),
        lambda: service.carry_on(stranger, bulk.bulk_id),
    ):
        with pytest.raises(BulkUnlinkingNotFound):
            attempt()
    with pytest.raises(LinkNotFound):
        ask(place, links, stranger)
    assert service.count_waiting(stranger) == 0
    foreign = add_links(place, 1, place.other_library)
    assert ask(place, [*links, *foreign]).link_count == 7
    assert states(place) == {LinkState.ACTIVE: 7}


def test_a_request_waits_for_everybody_but_who_made_it(place, second, links):
    bulk = ask(place, links)
    assert place.bulk_unlinking.count_waiting(place.librarian) == 0
    assert place.bulk_unlinking.count_waiting(second) == 1
    place.clock.now = bulk.expires_at
    assert place.bulk_unlinking.count_waiting(second) == 0


def test_a_declined_request_ends_nothing_and_is_over(place, second, links):
    bulk = ask(place, links)
    declined = place.bulk_unlinking.decline(second, bulk.bulk_id, reason=DeclineReason.WRONG_LINKS)
    assert (declined.state, declined.decision) == (BulkUnlinkingState.DECLINED, "wrong_links")
    with pytest.raises(BulkUnlinkingOver):
        place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED)
    with pytest.raises(BulkUnlinkingOver):
        place.bulk_unlinking.carry_on(second, bulk.bulk_id)
    assert states(place) == {LinkState.ACTIVE: 7}
    assert tags(place) == [AuditTag.BULK_UNLINKING_REQUESTED, AuditTag.BULK_UNLINKING_DECLINED]


def test_who_made_a_request_withdraws_it_and_nobody_else(place, second, links):
    bulk = ask(place, links)
    with pytest.raises(BulkUnlinkingNotFound):
        place.bulk_unlinking.withdraw(second, bulk.bulk_id)
    withdrawn = place.bulk_unlinking.withdraw(place.librarian, bulk.bulk_id)
    assert (withdrawn.state, withdrawn.decided_by) == (BulkUnlinkingState.WITHDRAWN, None)
    with pytest.raises(BulkUnlinkingOver):
        place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED)
    assert tags(place) == [AuditTag.BULK_UNLINKING_REQUESTED, AuditTag.BULK_UNLINKING_WITHDRAWN]


def test_a_request_that_nobody_decides_expires_and_the_log_tells_it_once(place, second, links):
    bulk = ask(place, links)
    assert bulk.expires_at == place.clock.now + timedelta(days=7)
    assert list(place.bulk_unlinking.overdue()) == []
    place.clock.advance(days=7)
    with pytest.raises(BulkUnlinkingOver):
        place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED)
    with pytest.raises(BulkUnlinkingOver):
        place.bulk_unlinking.withdraw(place.librarian, bulk.bulk_id)
    (overdue,) = place.bulk_unlinking.overdue()
    assert place.bulk_unlinking.expire(overdue, place.command)
    assert not place.bulk_unlinking.expire(overdue, place.command)
    assert place.bulk_unlinking.find(second, bulk.bulk_id).state is BulkUnlinkingState.EXPIRED
    assert tags(place) == [AuditTag.BULK_UNLINKING_REQUESTED, AuditTag.BULK_UNLINKING_EXPIRED]
    assert list(place.bulk_unlinking.overdue()) == []


def test_what_has_ended_meanwhile_is_skipped_and_counted(place, second, links):
    bulk = ask(place, links)
    place.registration.unlink(place.librarian, links[2], reason=UnlinkReason.CARD_LOST)
    with place.store.transaction() as transaction:  # ended before, and deleted for good
        transaction.end_link(place.library, links[5], "mistake", place.clock.now)
        assert transaction.delete_link(links[5])
    done = place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED)
    assert (done.link_count, done.ended, done.skipped) == (7, 5, 2)
    assert place.registration.link(second, links[2]).ended_reason == "card_lost"
    assert links[2] not in [row.subject for row in place.audit(AuditTag.LINK_ENDED)][1:]


def test_a_session_on_one_of_the_links_ends_with_it(place, second):
    card = place.card()
    link = place.link(card)
    opened = place.borrow(card)
    bulk = ask(place, [link.link_id, *add_links(place, 2)])
    place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED)
    assert isinstance(place.resolve(opened), NoLongerValid)


def test_one_person_ends_as_many_at_once_as_the_library_lets_and_no_more(place, links):
    assert place.bulk_unlinking.limit_of_one_person(place.librarian) == 1
    with pytest.raises(SecondPersonNeeded):
        place.bulk_unlinking.end_alone(place.librarian, links[:2], reason=MISUSE)
    libraries = place.environment.libraries
    policy = LinkPolicy(ends_without_approval=3)
    libraries[place.library] = replace(libraries[place.library], links=policy)
    with pytest.raises(SecondPersonNeeded):
        place.bulk_unlinking.end_alone(place.librarian, links[:4], reason=MISUSE)
    assert states(place) == {LinkState.ACTIVE: 7}
    assert len(place.bulk_unlinking.end_alone(place.librarian, links[:3], reason=MISUSE)) == 3
    assert len(place.bulk_unlinking.end_alone(place.librarian, links[1:4], reason=MISUSE)) == 1
    assert states(place) == {LinkState.ACTIVE: 3, LinkState.ENDED: 4}


def test_a_request_names_links_that_can_end_each_once_and_not_without_bound(place, links, monkeypatch):
    place.registration.unlink(place.librarian, links[0], reason=UnlinkReason.MISTAKE)
    with pytest.raises(LinkNotFound):
        ask(place, links[:1])
    with pytest.raises(LinkNotFound):
        ask(place, [])
    assert tags(place) == []
    assert ask(place, [*links, *links, "f" * 32]).link_count == 6
    monkeypatch.setattr(bulk_unlinking, "MAXIMUM_LINKS", 6)
    with pytest.raises(TooManyLinksAtOnce):
        ask(place, links)


def test_more_links_than_a_statement_takes_are_named(place, second, links, monkeypatch):
    monkeypatch.setattr("bridge.store.bulk_unlinkings.IDS_AT_ONCE", 3)
    monkeypatch.setattr(bulk_unlinking, "LINKS_AT_ONCE", 2)
    bulk = ask(place, links)
    assert bulk.link_count == 7
    overview = place.bulk_unlinking.overview(second, bulk.bulk_id)
    assert overview.counts == {(IdentifierKind.SERIAL_NUMBER, LinkState.ACTIVE): 7}
    assert [link.link_id for link in overview.sample] == links
    assert place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED).ended == 7
    assert states(place) == {LinkState.ENDED: 7}


def test_others_can_write_between_two_transactions(place, second, links, monkeypatch):
    monkeypatch.setattr(bulk_unlinking, "LINKS_AT_ONCE", 2)
    rests = []

    def rest():
        rests.append(states(place)[LinkState.ENDED])
        place.registration.suspend(place.librarian, links[6], reason=SuspensionReason.CARD_MISLAID)
        place.registration.restore(place.librarian, links[6])

    service = BulkUnlinkingService(place.environment, CategoryService(place.environment), at_once, rest)
    done = service.approve(second, ask(place, links).bulk_id, reason=CHECKED)
    assert (done.state, done.ended) == (BulkUnlinkingState.EXECUTED, 7)
    assert rests == [2, 4, 6]


def test_a_program_that_is_killed_in_the_middle_goes_on_where_it_stopped(place, second, links, monkeypatch):
    """The child dies without a word in its third transaction: what it had committed stays, and no more."""
    monkeypatch.setattr(bulk_unlinking, "LINKS_AT_ONCE", 2)
    later = BulkUnlinkingService(place.environment, CategoryService(place.environment), lambda work: None)
    bulk = ask(place, links)
    approved = later.approve(second, bulk.bulk_id, reason=CHECKED)
    assert approved.state is BulkUnlinkingState.APPROVED
    url = place.url
    child = os.fork()
    if child == 0:
        die_at_the_fifth_link(place, url, approved)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    assert states(place) == {LinkState.ACTIVE: 3, LinkState.ENDED: 4}
    half_done = later.find(second, bulk.bulk_id)
    assert (half_done.ended, half_done.skipped, half_done.closed_at) == (4, 0, None)
    assert [each.bulk_id for each in place.bulk_unlinking.unfinished()] == [bulk.bulk_id]
    place.bulk_unlinking.resume()
    done = later.find(second, bulk.bulk_id)
    assert (done.state, done.ended, done.skipped) == (BulkUnlinkingState.EXECUTED, 7, 0)
    assert Counter(row.subject for row in place.audit(AuditTag.LINK_ENDED)) == dict.fromkeys(links, 1)
    assert tags(place).count(AuditTag.BULK_UNLINKING_EXECUTED) == 1
    assert place.bulk_unlinking.unfinished() == []


def die_at_the_fifth_link(place, url, approved):
    """In a child process with connections of its own."""
    ended = []

    def end(environment, transaction, library_id, link_id, *rest, **details):
        ended.append(link_id)
        link = transaction.end_link(library_id, link_id, "suspected_misuse", environment.clock())
        if len(ended) == 6:
            os._exit(KILLED)
        transaction.add_audit_event(
            environment.event(AuditTag.LINK_ENDED, library_id, rest[1], link_id, **details)
        )
        return link

    try:
        bulk_unlinking.end = end
        environment = replace(place.environment, store=SqlStore(open_engine(url)))
        BulkUnlinkingService(environment, CategoryService(environment), at_once).carry_out(approved)
    finally:
        os._exit(1)


def test_a_database_that_goes_away_stops_it_and_it_is_carried_on(place, second, links, monkeypatch, caplog):
    monkeypatch.setattr(bulk_unlinking, "LINKS_AT_ONCE", 2)
    bulk = ask(place, links)
    real, calls = bulk_unlinking.end, []

    def end(*values, **details):
        calls.append(values)
        if len(calls) == 4:
            raise StoreUnavailable("SQLITE_FULL")
        return real(*values, **details)

    monkeypatch.setattr(bulk_unlinking, "end", end)
    stopped = place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED)
    assert (stopped.state, stopped.ended) == (BulkUnlinkingState.APPROVED, 2)
    assert states(place) == {LinkState.ACTIVE: 5, LinkState.ENDED: 2}
    assert "resumed (SQLITE_FULL)" in caplog.text
    done = place.bulk_unlinking.carry_on(place.librarian, bulk.bulk_id)
    assert (done.state, done.ended, done.skipped) == (BulkUnlinkingState.EXECUTED, 7, 0)


def test_what_nobody_foresaw_is_logged_without_its_text(place, second, links, monkeypatch, caplog):
    bulk = ask(place, links)

    def end(*values, **details):
        raise ValueError("a secret")

    monkeypatch.setattr(bulk_unlinking, "end", end)
    place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED)
    assert "unexpected ValueError" in caplog.text
    assert "a secret" not in caplog.text
    assert states(place) == {LinkState.ACTIVE: 7}


def test_several_programs_carry_out_one_request_and_each_link_ends_once(place, second, links, monkeypatch):
    monkeypatch.setattr(bulk_unlinking, "LINKS_AT_ONCE", 2)
    later = BulkUnlinkingService(place.environment, CategoryService(place.environment), lambda work: None)
    approved = later.approve(second, ask(place, links).bulk_id, reason=CHECKED)
    results = together(*[lambda: place.bulk_unlinking.carry_out(approved)] * 3)
    assert {(done.state, done.ended, done.skipped) for done in results} == {
        (BulkUnlinkingState.EXECUTED, 7, 0)
    }
    assert Counter(row.subject for row in place.audit(AuditTag.LINK_ENDED)) == dict.fromkeys(links, 1)
    assert tags(place).count(AuditTag.BULK_UNLINKING_EXECUTED) == 1


def test_of_an_approval_a_refusal_and_a_withdrawal_at_once_one_counts(place, second, links):
    third = add_staff(place, "saburo")
    bulk = ask(place, links)
    service = place.bulk_unlinking
    results = together(
        lambda: service.approve(second, bulk.bulk_id, reason=CHECKED),
        lambda: service.decline(third, bulk.bulk_id, reason=DeclineReason.UNCLEAR),
        lambda: service.withdraw(place.librarian, bulk.bulk_id),
    )
    assert Counter(type(result).__name__ for result in results) == {
        "BulkUnlinking": 1,
        "BulkUnlinkingOver": 2,
    }
    assert len(states(place)) == 1


def together(*calls):
    """Run the calls in threads of their own, from the same moment; return results or refusals."""
    barrier = Barrier(len(calls), timeout=TIME_LIMIT)

    def run(call):
        barrier.wait()
        try:
            return call()
        except BulkUnlinkingOver as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(TIME_LIMIT) for future in [pool.submit(run, call) for call in calls]]


def test_a_database_that_is_away_at_the_start_does_not_keep_the_program_from_starting(
    place, monkeypatch, caplog
):
    def away():
        raise StoreUnavailable("SQLITE_BUSY")

    monkeypatch.setattr(place.bulk_unlinking, "unfinished", away)
    place.bulk_unlinking.resume()
    assert "SQLITE_BUSY" in caplog.text


def test_an_ended_link_is_deleted_for_good_with_its_place_in_a_request(place, second, links):
    bulk = ask(place, links)
    place.bulk_unlinking.approve(second, bulk.bulk_id, reason=CHECKED)
    with place.store.transaction() as transaction:
        assert all(transaction.delete_link(link_id) for link_id in links)
        assert transaction.bulk_links(bulk.bulk_id, 10) == []
    assert place.bulk_unlinking.find(second, bulk.bulk_id).ended == 7
    place.change(delete(BulkUnlinkingLinkRow))  # nothing refers to it
