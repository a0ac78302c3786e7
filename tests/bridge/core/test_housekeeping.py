"""Housekeeping: what lasted too long ends, what is over is deleted, and nothing else is touched."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from bridge.cli import main
from bridge.housekeeping import Chore, Housekeeping
from bridge.links.bulk_unlinking import BulkUnlinkingService
from bridge.models import (
    ApprovalReason,
    AuditTag,
    BulkUnlinkReason,
    CategoryMove,
    LibrarianRole,
    LinkState,
    MoveDirection,
    MoveState,
    SuspensionReason,
    UnlinkReason,
)
from bridge.patrons.category import CategoryService
from bridge.rules import STAFF_SUSPENSIONS, LinkPolicy
from jpki.simulator.pki import CardProfile


@pytest.fixture
def housekeep(place):
    service = Housekeeping(
        place.environment,
        CategoryService(place.environment),
        place.bulk_unlinking,
        place.command,
        account_gone=timedelta(days=7),
        session_retention=timedelta(days=30),
        idle_limit=timedelta(seconds=120),
    )

    def run(*, dry_run=False):
        done = [each for each in service.run(dry_run=dry_run) if each.count]
        return [(each.chore, each.reason or each.count) for each in done]

    return run


def link_of(place, link):
    return place.registration.link(place.librarian, link.link_id)


def everything(place):
    with place.store.transaction() as transaction:
        return [
            transaction._connection.execute(text(f"SELECT * FROM {table}")).all()
            for table in ("card_link", "link_request", "card_session", "audit_event", "challenge")
        ]


def set_policy(place, **changes):
    library = place.environment.libraries[place.library]
    changed = replace(library, links=replace(library.links, **changes))
    place.environment.libraries[place.library] = changed


def test_a_link_that_is_in_order_is_left(place, housekeep):
    link = place.link(place.card())
    before = everything(place)
    assert housekeep() == []
    assert everything(place) == before
    assert link_of(place, link).state is LinkState.ACTIVE


def test_a_link_whose_certificate_has_ended_ends(place, housekeep):
    link = place.link(place.card(CardProfile.EXPIRES_SOON))
    place.clock.now = link.not_after
    assert Chore.END_LINK not in [chore for chore, _ in housekeep()]
    place.clock.advance(seconds=1)
    assert housekeep() == [(Chore.END_LINK, "certificate-expired")]
    ended = link_of(place, link)
    assert (ended.state, ended.ended_reason) == (LinkState.ENDED, "certificate-expired")
    assert place.audit(AuditTag.LINK_ENDED)[-1].details == {"reason": "certificate-expired"}
    assert housekeep() == []


def test_a_link_that_has_grown_too_old_ends(place, housekeep):
    set_policy(place, maximum_age=timedelta(days=10))
    place.link(place.card())
    place.clock.advance(days=9)
    assert housekeep() == []
    place.clock.advance(days=1)
    assert housekeep() == [(Chore.END_LINK, "link-expired")]


def test_a_patron_who_has_left_koha_rests_at_first_and_ends_after_a_week(place, housekeep):
    card = place.card()
    link = place.link(card)
    opened = place.borrow(card)
    gone = place.koha.patrons.pop(51)
    assert housekeep() == [(Chore.SUSPEND_LINK, "account_gone")]
    assert type(place.resolve(opened)).__name__ == "NoLongerValid"
    place.clock.advance(days=6)
    assert housekeep() == []
    place.koha.patrons[51] = gone
    assert housekeep() == [(Chore.RESTORE_LINK, 1)]
    assert place.borrow(card)
    del place.koha.patrons[51]
    assert housekeep() == [(Chore.SUSPEND_LINK, "account_gone")]
    place.clock.advance(days=7)
    assert (Chore.END_LINK, "account_gone") in housekeep()
    assert link_of(place, link).ended_reason == "account_gone"


@pytest.mark.parametrize("reason", sorted(STAFF_SUSPENSIONS))
def test_a_link_that_staff_suspended_ends_too_when_its_patron_has_left_koha(place, housekeep, reason):
    link = place.link(place.card())
    place.registration.suspend(place.librarian, link.link_id, reason=reason)
    place.clock.advance(days=8)
    gone = place.koha.patrons.pop(51)
    assert housekeep() == []
    place.clock.advance(days=6)
    place.koha.patrons[51] = gone  # was it the wrong Koha? It rests for its own reason as before
    assert housekeep() == []
    assert link_of(place, link).suspended_reason == reason
    del place.koha.patrons[51]
    place.clock.advance(days=1)
    assert housekeep() == []
    place.clock.advance(days=6)
    assert housekeep() == []
    place.clock.advance(days=1)
    assert (Chore.END_LINK, "account_gone") in housekeep()
    assert link_of(place, link).ended_reason == "account_gone"


def test_a_dry_run_does_not_keep_that_a_patron_is_gone(place, housekeep):
    link = place.link(place.card())
    place.registration.suspend(place.librarian, link.link_id, reason=SuspensionReason.CARD_MISLAID)
    del place.koha.patrons[51]
    housekeep(dry_run=True)
    assert link_of(place, link).patron_gone_at is None
    housekeep()
    assert link_of(place, link).patron_gone_at == place.clock()


def test_a_koha_that_does_not_answer_says_nothing_of_its_patrons(place, housekeep):
    for _ in range(3):
        place.link(place.card())
    place.koha.reachable = False
    assert housekeep() == [(Chore.KOHA_NOT_REACHABLE, 1)]
    with place.store.transaction() as transaction:
        assert {link.state for link in transaction.open_links_of_patron(place.library, 51)} == {
            LinkState.ACTIVE
        }


def test_what_staff_suspended_is_not_restored_by_the_patron_s_being_there(place, housekeep):
    link = place.link(place.card())
    place.registration.suspend(place.librarian, link.link_id, reason=SuspensionReason.CARD_MISLAID)
    assert housekeep() == []
    assert link_of(place, link).state is LinkState.SUSPENDED


def test_an_ended_link_is_deleted_for_good_after_the_retention_and_the_audit_log_stays(place, housekeep):
    card = place.card()
    link = place.link(card)
    place.borrow(card)
    place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.PATRON_REQUEST)
    place.clock.advance(days=364)
    assert Chore.DELETE_LINK not in [chore for chore, _ in housekeep()]
    place.clock.advance(days=1)
    assert (Chore.DELETE_LINK, 1) in housekeep()
    links, requests, sessions, events, _ = everything(place)
    assert (links, requests, sessions) == ([], [], [])
    made, ended, deleted = (
        place.audit(tag)[-1] for tag in (AuditTag.LINK_CREATED, AuditTag.LINK_ENDED, AuditTag.LINK_DELETED)
    )
    assert made.subject == ended.subject == deleted.subject == link.link_id
    assert card.serial_number.to_bytes(20, "big").lstrip(b"\0").hex() not in str(events)
    assert place.cardnumber not in str(events)


def test_closed_sessions_and_requests_that_are_over_are_deleted_and_the_open_link_stays(place, housekeep):
    card = place.card()
    link = place.link(card)
    opened = place.borrow(card)
    place.borrowing.close(opened.session_id, "end_patron_session")
    place.clock.advance(days=31)
    assert housekeep() == [(Chore.DELETE_REQUESTS, 1), (Chore.DELETE_SESSIONS, 1)]
    assert link_of(place, link).state is LinkState.ACTIVE
    assert place.borrow(card)


def test_a_session_that_nobody_came_back_for_is_closed_and_its_card_number_wiped(place, housekeep):
    card = place.card()
    place.link(card)
    place.borrow(card)
    place.clock.advance(minutes=16)
    assert housekeep() == [(Chore.CLOSE_SESSION, 1)]
    _, _, sessions, _, _ = everything(place)
    assert sessions[0].cardnumber_ciphertext is None


def test_a_dry_run_says_the_same_and_writes_nothing(place, housekeep):
    set_policy(place, maximum_age=timedelta(days=40), retention=timedelta(days=20))
    first = place.link(place.card())
    place.registration.unlink(place.librarian, first.link_id, reason=UnlinkReason.MISTAKE)
    card = place.card()
    place.link(card)
    place.borrow(card)
    place.clock.advance(days=41)
    del place.koha.patrons[51]
    before = everything(place)
    foreseen = housekeep(dry_run=True)
    assert {chore for chore, _ in foreseen} >= {
        Chore.END_LINK,
        Chore.DELETE_LINK,
        Chore.CLOSE_SESSION,
        Chore.DELETE_REQUESTS,
    }
    assert everything(place) == before
    assert housekeep()
    assert housekeep() == []


def test_a_representative_s_link_ends_on_the_15th_birthday_of_the_library_s_calendar(place, housekeep):
    place.link_for_child(place.card(), date(2026, 11, 3))
    place.clock.advance(hours=11, minutes=59)
    assert housekeep() == []
    place.clock.advance(minutes=1)  # midnight in Tokyo
    assert housekeep() == [(Chore.END_LINK, "representation-over")]


def test_the_command_tells_what_it_did(installation):
    def run(*arguments):
        return CliRunner().invoke(main, ["--config", str(installation.path), *arguments])

    assert run("keys", "generate", str(installation.key_file)).exit_code == 0
    assert run("init-db").exit_code == 0
    result = run("housekeeping", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("dry run, nothing was written: end_link 0, ")
    finished = json.loads(run("housekeeping", "--json").stdout)
    assert (finished["dry_run"], finished["chores"]) == (False, [])
    assert set(finished["counts"]) == {chore.value for chore in Chore}
    assert LinkPolicy().retention == timedelta(days=365)


def test_the_link_by_which_a_patron_came_into_a_category_is_kept_until_the_way_back(place):
    """Over either kind of database: the deletion of links is the most that is asked of it here."""
    service = Housekeeping(
        place.environment,
        CategoryService(place.environment),
        place.bulk_unlinking,
        place.command,
        account_gone=timedelta(days=7),
        session_retention=timedelta(days=30),
        idle_limit=timedelta(seconds=120),
    )

    def deleted():
        done = list(service.run(dry_run=False))
        return {each.link_id for each in done if each.chore is Chore.DELETE_LINK}

    def move(link, direction, number):
        return CategoryMove(
            move_id=f"{number:032x}",
            library_id=place.library,
            link_id=link.link_id,
            patron_id=51,
            direction=direction,
            from_category="ADULT",
            to_category="LINKED",
            state=MoveState.DONE,
            created_at=place.clock(),
            updated_at=place.clock(),
        )

    set_policy(place, retention=timedelta(days=1))
    first, never_moved = place.link(place.card()), place.link(place.card())
    living = place.link(place.card())
    with place.store.transaction() as transaction:
        transaction.add_category_move(move(first, MoveDirection.LINKED, 1))
    for link in (first, never_moved):
        place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.MISTAKE)
    place.clock.advance(days=2)
    assert deleted() == {never_moved.link_id}
    with place.store.transaction() as transaction:
        transaction.add_category_move(move(living, MoveDirection.BACK, 2))
    assert deleted() == {first.link_id}
    assert link_of(place, living).state is LinkState.ACTIVE


def test_requests_to_end_many_links_expire_and_what_was_cut_off_goes_on(place, housekeep):
    links = [place.link(place.card()) for _ in range(2)]
    second = place.staff.add_librarian(
        place.command,
        library_id=place.library,
        login_name="jiro",
        display_name="jiro",
        role=LibrarianRole.LIBRARIAN,
        password=place.password,
    )
    categories = CategoryService(place.environment)
    cut_off = BulkUnlinkingService(place.environment, categories, lambda _work: None)
    asked, forgotten = (
        cut_off.request(place.librarian, [each.link_id for each in links], reason=BulkUnlinkReason.MISTAKE)
        for _ in range(2)
    )
    cut_off.approve(second, asked.bulk_id, reason=ApprovalReason.LIBRARY_DECISION)
    place.clock.now = forgotten.expires_at
    due = {(Chore.EXPIRE_BULK_UNLINKING, 1), (Chore.END_APPROVED_LINKS, 2)}
    assert due <= set(housekeep(dry_run=True))
    assert link_of(place, links[0]).ended_at is None
    assert due <= set(housekeep())
    assert {link_of(place, link).ended_reason for link in links} == {"mistake"}
    assert due.isdisjoint(housekeep())
