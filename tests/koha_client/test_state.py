import dataclasses
import threading
from datetime import timedelta
from decimal import Decimal

import pytest

from koha_client.simulator import Block, DemoItem, DemoPatron
from koha_client.simulator.demo_data import ADULT

BOOK = DemoItem.STARS_IN_WINTER.value
OTHER_BOOK = DemoItem.BIRDS_OF_THE_RIVER.value


@pytest.fixture
def patron_of(state):
    return lambda role: state.find_patron_by_identifier(role.value)


def test_a_patron_is_found_by_card_number_or_userid_in_any_case(state, patron_of):
    fine = patron_of(DemoPatron.FINE)

    assert fine.name == "太郎 図書"
    assert state.find_patron_by_identifier("TOSHO") == fine
    assert state.find_patron_by_identifier("nobody") is None


def test_a_userid_goes_before_a_card_number(state, patron_of):
    fine = patron_of(DemoPatron.FINE)
    second = dataclasses.replace(patron_of(DemoPatron.SECOND), userid=fine.cardnumber)
    state.put_patron(second)

    assert state.find_patron_by_identifier(fine.cardnumber) == second


def test_every_demo_card_number_is_fourteen_digits_and_no_token():
    for patron in DemoPatron:
        assert len(patron.value) == 14
        assert patron.value.isdecimal()
        assert not patron.value.startswith("98")


def test_a_book_is_lent_and_taken_back(state, patron_of, clock):
    fine = patron_of(DemoPatron.FINE)

    lent = state.check_out(fine, BOOK)

    assert lent.ok
    assert not lent.renewed
    assert lent.screen_message == ""
    assert lent.loan.due_at == clock().replace(hour=23, minute=59) + timedelta(days=14)
    assert state.loans_of(fine) == [lent.loan]
    assert state.loan_of_item(BOOK) == lent.loan
    assert lent.item == state.item(BOOK)

    taken = state.check_in(BOOK)

    assert taken.ok
    assert taken.patron == fine
    assert state.loans_of(fine) == []


REFUSALS = {
    DemoPatron.EXPIRED: "Patron expired on 2026-11-19",
    DemoPatron.RESTRICTED: "Patron debarred",
    DemoPatron.CARD_LOST: "Patron blocked",
    DemoPatron.LIMIT_REACHED: "Item cannot be issued: TOO_MANY",
}


@pytest.mark.parametrize(("role", "words"), REFUSALS.items(), ids=lambda value: getattr(value, "name", ""))
def test_a_blocked_patron_is_refused_in_koha_s_words(state, patron_of, role, words):
    refused = state.check_out(patron_of(role), BOOK)

    assert not refused.ok
    assert refused.screen_message == words
    assert state.loan_of_item(BOOK) is None


@pytest.mark.parametrize("role", [DemoPatron.FINE, DemoPatron.CHILD, DemoPatron.EXPIRES_TODAY])
def test_a_good_patron_may_borrow_and_so_on_the_card_s_last_day(state, patron_of, role):
    assert state.blocks(patron_of(role)) == frozenset()
    assert state.check_out(patron_of(role), BOOK).ok


def test_restricted_wins_over_expired_and_expired_over_fines(state, patron_of):
    expired = patron_of(DemoPatron.EXPIRED)
    all_at_once = dataclasses.replace(expired, restriction="No", fines=Decimal(999))
    without_restriction = dataclasses.replace(all_at_once, restriction=None)
    fines_alone = dataclasses.replace(patron_of(DemoPatron.FINE), fines=Decimal(999))

    assert state.check_out(all_at_once, BOOK).screen_message == "Patron debarred"
    assert state.check_out(without_restriction, BOOK).screen_message.startswith("Patron expired")
    assert state.check_out(fines_alone, BOOK).screen_message == "Patron has fines"


def test_fines_block_only_above_the_limit(state, patron_of):
    at_limit = dataclasses.replace(patron_of(DemoPatron.FINE), fines=ADULT.fines_limit)
    above = dataclasses.replace(at_limit, fines=ADULT.fines_limit + 1)

    assert state.blocks(at_limit) == frozenset()
    assert state.blocks(above) == {Block.FINES}


def test_an_off_line_loan_looks_at_no_patron_block(state, patron_of):
    assert state.check_out(patron_of(DemoPatron.EXPIRED), BOOK, no_block=True).ok


def test_items_that_cannot_be_lent_are_refused_in_koha_s_words(state, patron_of):
    fine, second = patron_of(DemoPatron.FINE), patron_of(DemoPatron.SECOND)
    state.check_out(second, BOOK)

    words = {
        barcode: state.check_out(fine, barcode).screen_message
        for barcode in (DemoItem.DICTIONARY.value, BOOK, "nope")
    }

    assert words == {
        DemoItem.DICTIONARY.value: "Issue failed : NOT_FOR_LOAN",
        BOOK: "Item already checked out to another patron.  Please return item for check-in.",
        "nope": "Invalid Item",
    }
    assert state.check_out(None, BOOK).screen_message == "Invalid Patron"


def test_checking_out_again_renews_until_the_limit(state, patron_of, clock):
    fine = patron_of(DemoPatron.FINE)
    first = state.check_out(fine, BOOK).loan
    clock.moment += timedelta(days=3)

    again = state.check_out(fine, BOOK)
    refused = state.check_out(fine, BOOK)

    assert again.ok
    assert again.renewed
    assert again.screen_message == "Item already checked out to you: renewing item."
    assert again.loan.due_at == first.due_at + timedelta(days=3)
    assert refused.screen_message == "Issue failed : NO_MORE_RENEWALS"


def test_renewals_are_refused_in_koha_s_words(state, patron_of):
    fine, limit_reached = patron_of(DemoPatron.FINE), patron_of(DemoPatron.LIMIT_REACHED)
    state.check_out(fine, BOOK)

    assert state.renew(fine, BOOK).renewed
    assert state.renew(fine, BOOK).screen_message == "Item has reached maximum renewals"
    assert state.renew(fine, OTHER_BOOK).screen_message == "Item not checked out to 太郎 図書"
    assert state.renew(limit_reached, BOOK).screen_message == "Item not checked out to 四郎 満冊"
    restricted = patron_of(DemoPatron.RESTRICTED)
    assert state.renew(restricted, BOOK).screen_message == "Renewals not allowed."
    assert state.renew(None, BOOK).screen_message == "Invalid Patron"


def test_returns_that_are_none_are_refused_in_koha_s_words(state):
    assert state.check_in(BOOK).screen_message == "Item not checked out"
    assert state.check_in("nope").screen_message == "Invalid Item"


GREETINGS = {
    DemoPatron.FINE: "Greetings from Koha. ",
    DemoPatron.EXPIRED: "Greetings from Koha. Your account has expired as of 2026-11-19",
    DemoPatron.EXPIRES_TODAY: "Greetings from Koha. Your card will expire on 2026-11-20",
    DemoPatron.RESTRICTED: "Greetings from Koha.  -- Overdue since spring",
    DemoPatron.CARD_LOST: "Greetings from Koha.  -- Borrower's card reported lost.",
}


@pytest.mark.parametrize(("role", "words"), GREETINGS.items(), ids=lambda value: getattr(value, "name", ""))
def test_the_greeting_is_koha_s(state, patron_of, role, words):
    assert state.greeting(patron_of(role)) == words


def test_the_greeting_has_koha_s_order(state, patron_of):
    everything = dataclasses.replace(
        patron_of(DemoPatron.EXPIRED),
        opac_note="A note.",
        fines=Decimal("999.5"),
        restriction="Restricted",
        gone_no_address=True,
    )

    assert state.greeting(everything) == (
        "Greetings from Koha. A note. Your account has expired as of 2026-11-19"
        " -- Patron blocked by fines -- Patron owes 999.50"
        " -- Restricted -- Borrower has no valid address."
    )
    assert state.greeting(None) == "Invalid cardnumber"


def test_a_card_without_an_end_has_no_expiry_sentence(state, patron_of):
    endless = dataclasses.replace(patron_of(DemoPatron.FINE), expiry_date=None)

    assert state.greeting(endless) == "Greetings from Koha. "
    assert not state.is_expired(endless)


def test_a_loan_is_overdue_after_its_last_day(state, patron_of, clock):
    fine = patron_of(DemoPatron.FINE)
    loan = state.check_out(fine, BOOK).loan

    clock.moment = loan.due_at
    assert state.overdue_loans_of(fine) == []
    clock.moment += timedelta(minutes=1)
    assert state.overdue_loans_of(fine) == [loan]


def test_one_copy_is_lent_once_however_many_ask(state, patron_of):
    patrons = [patron_of(role) for role in (DemoPatron.FINE, DemoPatron.SECOND, DemoPatron.CHILD)]
    barrier = threading.Barrier(len(patrons))
    results = []

    def ask(patron):
        barrier.wait(90)
        results.append(state.check_out(patron, BOOK).ok)

    threads = [threading.Thread(target=ask, args=(patron,)) for patron in patrons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    assert sorted(results) == [False, False, True]


def test_a_hold_keeps_others_away_and_is_filled_by_its_patron(state, patron_of):
    fine, second = patron_of(DemoPatron.FINE), patron_of(DemoPatron.SECOND)

    hold = state.place_hold(second, BOOK, "CPL")

    assert state.holds_of(second) == state.queue_of(BOOK) == [hold]
    assert state.check_out(fine, BOOK).screen_message == "Item is reserved for another patron upon return."
    assert state.check_out(second, BOOK).ok
    assert state.queue_of(BOOK) == []


def test_a_returned_item_goes_to_the_hold_shelf(state, patron_of, clock):
    fine, second, child = (patron_of(role) for role in (DemoPatron.FINE, DemoPatron.SECOND, DemoPatron.CHILD))
    state.check_out(fine, BOOK)
    state.place_hold(second, BOOK, "EPL")
    state.place_hold(child, BOOK, "nowhere")

    returned = state.check_in(BOOK)

    assert returned.held_for == second
    assert [hold.waiting_since for hold in state.queue_of(BOOK)] == [clock().date(), None]
    assert [hold.pickup_library_id for hold in state.queue_of(BOOK)] == ["EPL", "CPL"]
    assert state.check_out(fine, BOOK).screen_message == "Item is on hold for another patron."


def test_what_others_wait_for_is_not_renewed(state, patron_of):
    fine = patron_of(DemoPatron.FINE)
    state.check_out(fine, BOOK)
    state.place_hold(patron_of(DemoPatron.SECOND), BOOK, "CPL")

    assert state.renew(fine, BOOK).screen_message == "Item unavailable due to outstanding holds"
    assert state.check_out(fine, BOOK).screen_message == "Issue failed : NO_MORE_RENEWALS"


def test_holds_that_make_no_sense_are_refused(state, patron_of):
    fine = patron_of(DemoPatron.FINE)
    state.check_out(fine, BOOK)
    state.place_hold(fine, OTHER_BOOK, "CPL")

    assert state.place_hold(fine, BOOK, "CPL") is None
    assert state.place_hold(fine, OTHER_BOOK, "CPL") is None
    assert state.place_hold(patron_of(DemoPatron.EXPIRED), OTHER_BOOK, "CPL") is None
    assert state.place_hold(fine, "nope", "CPL") is None
    assert state.place_hold(None, OTHER_BOOK, "CPL") is None


def test_paying_lifts_the_block(state, patron_of):
    owing = dataclasses.replace(patron_of(DemoPatron.FINE), fines=Decimal(600))
    state.put_patron(owing)

    assert not state.pay(owing, Decimal(0))
    assert not state.pay(None, Decimal(1))
    assert state.pay(owing, Decimal(600))
    assert state.check_out(patron_of(DemoPatron.FINE), BOOK).ok


def test_a_category_decides_how_many_items_a_patron_may_have(state, patron_of):
    volumes = [item.value for item in DemoItem if item.name.startswith("VOLUME")]
    fine = patron_of(DemoPatron.FINE)

    answers = [state.check_out(fine, barcode).screen_message for barcode in volumes]
    linked = dataclasses.replace(fine, category_id="PT12")
    state.put_patron(linked)

    assert answers == [""] * 6 + ["Item cannot be issued: TOO_MANY"]
    assert state.check_out(linked, volumes[6]).ok
