from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from koha_client import (
    CirculationRules,
    ExtendedAttribute,
    KohaLibrary,
    MalformedAnswer,
    NewPatron,
    Patron,
    PatronCategory,
    PatronCheckout,
    PatronHold,
)

RECORD = {
    "patron_id": 51,
    "cardnumber": "20260000000018",
    "surname": "図書",
    "firstname": "太郎",
    "library_id": "CPL",
    "category_id": "PT",
    "expiry_date": "2027-03-31",
    "restricted": False,
    "patron_card_lost": False,
    "incorrect_address": False,
    "updated_on": "2026-01-05T10:00:00+09:00",
}
ABSENT = object()


def record_with(name, value):
    record = {**RECORD, name: value}
    if value is ABSENT:
        del record[name]
    return record


def test_a_record_is_read():
    patron = Patron.from_json({**RECORD, "a_field_of_tomorrow": 1})

    assert patron.expiry_date == date(2027, 3, 31)
    assert patron.updated_on == "2026-01-05T10:00:00+09:00"


BAD_VALUES = [
    *(("patron_id", value) for value in ("51", True, 0, None, 5.0, ABSENT)),
    *(("cardnumber", value) for value in (None, "", 20260000000018, ABSENT)),
    *(("library_id", value) for value in (None, "", 1, ABSENT)),
    *(("category_id", value) for value in (None, "", 1, ABSENT)),
    *(("expiry_date", value) for value in ("", "31.3.2027", 20270331, False, ABSENT)),
    *(("restricted", value) for value in (None, 0, "false", ABSENT)),
    *(("patron_card_lost", value) for value in (0, "false", ABSENT)),
    *(("incorrect_address", value) for value in (0, "false", ABSENT)),
    *(("surname", value) for value in (1, [])),
    *(("firstname", value) for value in (1, [])),
    *(("updated_on", value) for value in (1, [])),
]


@pytest.mark.parametrize(
    ("name", "value"),
    BAD_VALUES,
    ids=[f"{name}: {'absent' if value is ABSENT else value!r}" for name, value in BAD_VALUES],
)
def test_a_bad_field_is_named_and_never_guessed(name, value):
    with pytest.raises(MalformedAnswer, match=f"a patron's {name} is") as caught:
        Patron.from_json(record_with(name, value))

    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "name", ["expiry_date", "patron_card_lost", "incorrect_address", "surname", "updated_on"]
)
def test_null_is_read_where_koha_allows_it(name):
    patron = Patron.from_json(record_with(name, None))

    assert getattr(patron, name) in (None, False, "")


def test_a_card_without_an_end_does_not_expire():
    assert not Patron.from_json(record_with("expiry_date", None)).is_expired(date.max)


def test_card_number_and_name_are_not_in_the_repr():
    text = repr(Patron.from_json(RECORD))

    assert "51" in text
    assert not any(secret in text for secret in ("20260000000018", "図書", "太郎"))


def test_a_new_patron_shows_neither_name_nor_number_nor_login():
    text = repr(NewPatron("図書", "CPL", "PT", "20260000000018", "tosho", "太郎", details={"city": "見本市"}))

    assert not any(secret in text for secret in ("20260000000018", "図書", "太郎", "tosho", "見本市"))
    assert "7" not in repr(ExtendedAttribute("STAFFNO", "7"))


CATEGORY = {
    "patron_category_id": "PT12",
    "name": "一般（12冊）",
    "enrolment_period": 24,
    "enrolment_period_date": None,
    "enrolment_fee": 0.1,
    "can_be_guarantee": True,
    "min_password_length": None,
}


def test_a_category_is_read_and_what_koha_does_not_say_is_none():
    category = PatronCategory.from_json(CATEGORY)

    assert (category.category_id, category.enrolment_period) == ("PT12", 24)
    assert category.enrolment_fee == Decimal("0.1")
    assert category.can_be_guarantee is True
    assert category.min_password_length is None
    assert category.require_strong_password is None


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        (PatronCategory, {}),
        (PatronCategory, {**CATEGORY, "enrolment_period": "24"}),
        (PatronCategory, {**CATEGORY, "enrolment_period_date": "soon"}),
        (PatronCategory, {**CATEGORY, "enrolment_period_date": 5}),
        (PatronCategory, {**CATEGORY, "enrolment_fee": "1"}),
        (PatronCategory, {**CATEGORY, "can_be_guarantee": 1}),
        (KohaLibrary, {"library_id": "CPL"}),
        (PatronCheckout, {"checkout_id": 1, "patron_id": 51, "due_date": "2026-12-04"}),
        (PatronCheckout, {"checkout_id": 1, "patron_id": 51, "due_date": "soon"}),
        (PatronCheckout, {"checkout_id": 0, "patron_id": 51, "due_date": "2026-12-04T23:59:00Z"}),
        (PatronHold, {"hold_id": 1, "patron_id": True, "biblio_id": 1}),
        (ExtendedAttribute, {"value": "x"}),
        (KohaLibrary, []),
    ],
    ids=str,
)
def test_a_record_that_koha_would_not_send_is_refused(kind, record):
    with pytest.raises(MalformedAnswer) as caught:
        kind.from_json(record)

    assert caught.value.__context__ is None


def test_a_checkout_s_moment_has_its_offset():
    record = {"checkout_id": 1, "patron_id": 51, "due_date": "2026-12-04T14:59:00Z"}

    assert PatronCheckout.from_json(record).due_date == datetime(2026, 12, 4, 14, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("months", "fixed", "first_day", "last_day"),
    [
        (24, None, date(2026, 4, 1), date(2028, 4, 1)),
        (1, None, date(2027, 1, 31), date(2027, 2, 28)),
        (1, None, date(2028, 1, 31), date(2028, 2, 29)),
        (11, None, date(2026, 12, 15), date(2027, 11, 15)),
        (0, None, date(2026, 12, 15), date(2026, 12, 15)),
        (24, "2027-03-31", date(2026, 4, 1), date(2027, 3, 31)),
        (None, None, date(2026, 4, 1), None),
    ],
    ids=["months", "short month", "leap year", "year's end", "no time", "fixed date", "no end"],
)
def test_a_card_lasts_as_long_as_its_category_says(months, fixed, first_day, last_day):
    record = {**CATEGORY, "enrolment_period": months, "enrolment_period_date": fixed}

    assert PatronCategory.from_json(record).expiry_of_enrolment(first_day) == last_day


@pytest.mark.parametrize(
    ("record", "limit"),
    [
        ({"patron_maxissueqty": "12", "maxissueqty": "6"}, 6),
        ({"patron_maxissueqty": 12, "maxissueqty": ""}, 12),
        ({"patron_maxissueqty": None}, None),
        ([{"maxissueqty": 0}], 0),
    ],
    ids=str,
)
def test_the_smaller_limit_counts_and_none_is_no_limit(record, limit):
    assert CirculationRules.from_json(record).loan_limit == limit


@pytest.mark.parametrize(
    "record", [[], [{}, {}], "text", {"maxissueqty": "many"}, {"maxissueqty": True}], ids=str
)
def test_rules_that_are_none_are_refused(record):
    with pytest.raises(MalformedAnswer):
        CirculationRules.from_json(record)
