"""What belongs to another library is answered by every service as what does not exist."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.administration import AdministrationService
from bridge.borrowing import Borrower
from bridge.errors import BridgeError, NotAllowed
from bridge.links.consent import STANDARD_VERSION
from bridge.links.consent_service import ConsentService
from bridge.links.records import LinkRecordService
from bridge.models import (
    REGION,
    LibrarianRole,
    SuspensionReason,
    TerminalKind,
    UnlinkReason,
)
from bridge.patrons.category import CategoryService
from bridge.terminals.enrolment import EnrolmentService

UNKNOWN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def there(place):
    """A librarian and an administrator of the other library."""
    foreign = replace(place.librarian, library_id=place.other_library)
    return foreign, replace(foreign, librarian_id="a" * 32, role=LibrarianRole.ADMINISTRATOR)


@pytest.fixture
def administration(place):
    environment = place.environment
    return AdministrationService(
        environment, place.staff, EnrolmentService(environment), ConsentService(environment), {}, {}
    )


def calls(place, there, administration):
    """By name a call from the other library, with the id of something of this one, and that id."""
    librarian, administrator = there
    registration, staff = place.registration, place.staff
    records = LinkRecordService(place.environment, CategoryService(place.environment))
    link_id = place.link(place.card()).link_id
    request_id = place.start(place.second_counter).request_id
    library_id, person_id = place.library, place.librarian.librarian_id
    elsewhere = place.other_library
    yield from (
        ("link", lambda found: registration.link(librarian, found), link_id),
        ("unlink", lambda found: registration.unlink(librarian, found, reason=UnlinkReason.MISTAKE), link_id),
        (
            "suspend",
            lambda found: registration.suspend(librarian, found, reason=SuspensionReason.CARD_MISLAID),
            link_id,
        ),
        ("restore", lambda found: registration.restore(librarian, found), link_id),
        ("request", lambda found: registration.request(librarian, found), request_id),
        ("cancel", lambda found: registration.cancel(librarian, found), request_id),
        (
            "start at a terminal",
            lambda found: registration.start(
                librarian, terminal_id=found, cardnumber="H-1", consent_version=STANDARD_VERSION
            ),
            "counter-1",
        ),
        ("records: show", lambda found: records.link(elsewhere, found), link_id),
        (
            "records: end",
            lambda found: records.end(elsewhere, found, UnlinkReason.MISTAKE, place.command),
            link_id,
        ),
        ("library", lambda found: administration.library(administrator, found), library_id),
        (
            "add a terminal",
            lambda found: administration.add_terminal(
                administrator,
                found,
                terminal_id="x",
                name="x",
                kind=TerminalKind.COUNTER,
                sip2_login=None,
            ),
            library_id,
        ),
        (
            "add a librarian",
            lambda found: administration.add_librarian(
                administrator, found, login_name="x", display_name="x", role=LibrarianRole.AUDITOR
            ),
            library_id,
        ),
        (
            "remove a terminal",
            lambda found: administration.remove_terminal(administrator, elsewhere, found),
            "counter-1",
        ),
        (
            "draw a code for a terminal",
            lambda found: administration.draw_enrolment_code(administrator, elsewhere, found),
            "counter-1",
        ),
        ("disable", lambda found: administration.disable(administrator, elsewhere, found), person_id),
        ("enable", lambda found: administration.enable(administrator, elsewhere, found), person_id),
        ("unlock", lambda found: administration.unlock(administrator, elsewhere, found), person_id),
        (
            "change a role",
            lambda found: administration.change_role(administrator, elsewhere, found, LibrarianRole.AUDITOR),
            person_id,
        ),
        (
            "reset a password",
            lambda found: administration.reset_password(administrator, elsewhere, found),
            person_id,
        ),
        ("find staff", lambda found: staff.find_librarian(elsewhere, found), "hanako"),
    )


def told(call, found):
    with pytest.raises(BridgeError) as caught:
        call(found)
    return type(caught.value), str(caught.value)


def test_every_service_answers_what_is_another_librarys_as_what_does_not_exist(place, there, administration):
    for name, call, foreign in calls(place, there, administration):
        answer = told(call, foreign)
        assert answer == told(call, UNKNOWN), name
        assert answer[0] is not NotAllowed, name
        assert answer[0].slug.endswith("-not-found"), name


def test_the_region_administrator_reaches_no_link_patron_or_request(place, administration):
    link_id = place.link(place.card()).link_id
    region = replace(
        place.librarian, library_id=REGION, role=LibrarianRole.REGION_ADMINISTRATOR, librarian_id="b" * 32
    )
    registration = place.registration
    for call in (
        lambda: registration.find_patron(region, place.cardnumber),
        lambda: registration.unlink(region, link_id, reason=UnlinkReason.MISTAKE),
        lambda: registration.suspend(region, link_id, reason=SuspensionReason.CARD_MISLAID),
        lambda: registration.restore(region, link_id),
        lambda: registration.cancel(region, link_id),
        lambda: registration.start(
            region,
            terminal_id="counter-2",
            cardnumber=place.cardnumber,
            consent_version=STANDARD_VERSION,
        ),
    ):
        with pytest.raises(NotAllowed):
            call()
    assert told(lambda found: registration.link(region, found), link_id)[0].slug == "link-not-found"
    seen = administration.libraries(region)
    assert [library.library_id for library in seen] == [place.library, place.other_library]
    assert place.cardnumber not in repr(seen)


def test_who_does_not_administer_sees_no_settings(place, administration):
    for role in (LibrarianRole.LIBRARIAN, LibrarianRole.AUDITOR):
        with pytest.raises(NotAllowed):
            administration.libraries(replace(place.librarian, role=role))


def test_a_token_of_one_library_is_nothing_at_the_machines_of_the_other(place):
    card = place.card()
    place.link(card)
    place.add_terminal("check-1", TerminalKind.SELF_CHECK, "sc1", library=place.other_library)
    token = place.borrow(card).token.value
    there = place.borrowing.resolve(place.other_library, "sc1", token)
    unknown = place.borrowing.resolve(place.other_library, "sc1", token[:-1] + str((int(token[-1]) + 1) % 10))
    assert not isinstance(there, Borrower)
    assert there == unknown
    assert isinstance(place.borrowing.resolve(place.library, "sc1", token), Borrower)
