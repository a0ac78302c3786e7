from datetime import date

import pytest

from koha_client import MalformedAnswer, Patron

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
