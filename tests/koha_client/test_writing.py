"""What the client writes, on every release; what it refuses to write, and that Koha stays as it was."""

import dataclasses
from datetime import date, timedelta

import pytest

from koha_client import (
    BadRequest,
    CardnumberRefused,
    Conflict,
    ExtendedAttribute,
    KohaForbidden,
    KohaRejected,
    NewPatron,
    PasswordFault,
    PasswordRefused,
    PasswordRules,
    PatronChangedMeanwhile,
    PatronNotFound,
    RecordNotFound,
    UnknownReference,
)
from koha_client.simulator import EDIT_BORROWERS, DemoPatron

FINE = DemoPatron.FINE.value
NEW = NewPatron("新規", "CPL", "PT", "20260000000094", "shinki", "七子", details={"city": "見本市"})
PASSWORD = "Tosho-2026"


def find(client, patron=DemoPatron.FINE):
    return client.find_patron_by_cardnumber(patron.value)


def test_a_patron_is_moved_into_another_category_and_back(client_of_any, state, clock):
    before = find(client_of_any)
    clock.moment += timedelta(seconds=1)

    moved = client_of_any.change_category(before.patron_id, "PT12", before.updated_on)

    assert moved.category_id == "PT12"
    assert moved.updated_on != before.updated_on
    assert state.category_of(state.get_patron(before.patron_id)).loan_limit == 12
    back = client_of_any.change_category(before.patron_id, "PT", moved.updated_on)
    assert dataclasses.replace(back, updated_on=before.updated_on) == before


def test_a_write_changes_nothing_else(client, state, clock):
    client.update_patron(51, {"city": "見本市", "opac_notes": "A note."}, find(client).updated_on)
    before = state.get_patron(51)
    clock.moment += timedelta(seconds=1)

    client.change_category(51, "PT12", find(client).updated_on)

    assert state.get_patron(51) == dataclasses.replace(before, category_id="PT12")


def test_a_patron_who_was_changed_meanwhile_is_left_alone(client, state, clock):
    read = find(client)
    clock.moment += timedelta(seconds=1)
    by_staff = dataclasses.replace(state.get_patron(51), category_id="K")
    state.put_patron(by_staff)

    with pytest.raises(PatronChangedMeanwhile):
        client.change_category(51, "PT12", read.updated_on)
    with pytest.raises(PatronChangedMeanwhile):
        client.change_category(51, "PT12", None)

    assert state.get_patron(51) == by_staff


def test_a_record_of_koha_s_may_be_written_back(client_of_any, any_koha, state, koha_record):
    record = koha_record(any_koha, 51)
    before = state.get_patron(51)

    written = client_of_any.update_patron(51, record, record["updated_on"])

    assert written.cardnumber == FINE
    assert state.get_patron(51).cardnumber == before.cardnumber


@pytest.fixture
def koha_record(transport, client_of):
    def read(server, patron_id):
        return client_of(server)._get_record(patron_id)

    return read


def test_a_category_that_does_not_exist_is_named(client_of_any, state):
    with pytest.raises(UnknownReference) as caught:
        client_of_any.change_category(51, "NOPE", find(client_of_any).updated_on)

    assert caught.value.field == "category_id"
    assert state.get_patron(51).category_id == "PT"


def test_an_unknown_field_is_refused_as_koha_refuses_it(client):
    with pytest.raises(BadRequest) as caught:
        client.update_patron(51, {"falseproperty": 1}, find(client).updated_on)

    assert caught.value.messages == ("/body: Properties not allowed: falseproperty.",)


def test_a_deleted_patron_is_not_found(client, state):
    read = find(client)
    state.remove_patron(51)

    with pytest.raises(PatronNotFound):
        client.get_patron(51)
    with pytest.raises(PatronNotFound):
        client.change_category(51, "PT12", read.updated_on)


def test_the_expiry_date_is_extended(client_of_any):
    patron = find(client_of_any, DemoPatron.EXPIRED)

    extended = client_of_any.extend_expiry(patron.patron_id, date(2028, 2, 29), patron.updated_on)

    assert extended.expiry_date == date(2028, 2, 29)
    assert not extended.is_expired(date(2028, 2, 29))


def test_a_new_card_ends_the_old_one_and_is_not_lost(client_of_any, state):
    lost = find(client_of_any, DemoPatron.CARD_LOST)

    renewed = client_of_any.change_cardnumber(lost.patron_id, "20260000000094", lost.updated_on)

    assert (renewed.patron_id, renewed.cardnumber) == (lost.patron_id, "20260000000094")
    assert not renewed.patron_card_lost
    assert client_of_any.find_patron_by_cardnumber(lost.cardnumber) is None
    assert state.get_patron(lost.patron_id).userid == "funshitsu"


def test_a_login_that_is_the_card_number_follows_it(client, state):
    state.put_patron(dataclasses.replace(state.get_patron(51), userid=FINE))

    client.change_cardnumber(51, "20260000000094", find(client).updated_on)

    assert state.get_patron(51).userid == "20260000000094"


def test_a_card_number_that_somebody_has_is_a_conflict(client_of_any, state):
    with pytest.raises(Conflict) as caught:
        client_of_any.change_cardnumber(51, DemoPatron.SECOND.value, find(client_of_any).updated_on)

    assert caught.value.field == "cardnumber"
    assert state.get_patron(51).cardnumber == FINE


@pytest.mark.parametrize("number", ["", " 1", "1 ", "1" * 33], ids=["none", "blank", "end", "long"])
def test_a_card_number_that_koha_would_not_keep_is_not_sent(client, koha, number):
    with pytest.raises(CardnumberRefused):
        client.change_cardnumber(51, number, "")
    with pytest.raises(CardnumberRefused):
        client.create_patron(dataclasses.replace(NEW, cardnumber=number))

    assert koha.tokens_granted == 0


def test_a_patron_is_created_with_koha_s_defaults(client_of_any, state, clock):
    created = client_of_any.create_patron(NEW)

    assert created.cardnumber == NEW.cardnumber
    assert (created.surname, created.firstname) == ("新規", "七子")
    assert created.expiry_date == clock().date().replace(year=2028)
    kept = state.get_patron(created.patron_id)
    assert (kept.userid, kept.password) == ("shinki", "")
    assert kept.details["city"] == "見本市"


def test_a_given_expiry_date_is_kept(client):
    created = client.create_patron(dataclasses.replace(NEW, expiry_date=date(2027, 3, 31)))

    assert created.expiry_date == date(2027, 3, 31)


def test_no_welcome_mail_is_sent_where_koha_can_be_asked(client_of_any, any_koha, state):
    client_of_any.create_patron(NEW)

    assert bool(state.welcome_mails) == (any_koha.version.value < "23.11")


def test_a_patron_is_created_once(client, state):
    client.create_patron(NEW)
    before = state.patrons()

    with pytest.raises(Conflict) as caught:
        client.create_patron(NEW)

    assert caught.value.field == "cardnumber"
    assert state.patrons() == before


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"category_id": "NOPE"}, UnknownReference),
        ({"library_id": "NOPE"}, UnknownReference),
        ({"userid": "tosho"}, BadRequest),
        ({"details": {"nope": 1}}, BadRequest),
        ({"details": {"date_of_birth": "1.4.1990"}}, BadRequest),
    ],
    ids=str,
)
def test_a_refused_patron_is_not_half_there(client, state, change, error):
    before = state.patrons()

    with pytest.raises(error):
        client.create_patron(dataclasses.replace(NEW, **change))

    assert state.patrons() == before


def test_a_password_is_the_second_step(client_of_any, state):
    created = client_of_any.create_patron(NEW)

    client_of_any.set_password(created.patron_id, PASSWORD, PasswordRules())

    assert state.get_patron(created.patron_id).password == PASSWORD


@pytest.mark.parametrize(
    ("password", "rules", "fault"),
    [
        ("Ab1", PasswordRules(), PasswordFault.TOO_SHORT),
        ("Ab", PasswordRules(minimum_length=0), PasswordFault.TOO_SHORT),
        (" Tosho2026", PasswordRules(), PasswordFault.SURROUNDED_BY_BLANKS),
        ("toshotosho", PasswordRules(), PasswordFault.TOO_WEAK),
    ],
    ids=["short", "under the floor", "blank", "weak"],
)
def test_a_password_against_the_rules_is_not_sent(client, koha, password, rules, fault):
    with pytest.raises(PasswordRefused) as caught:
        client.set_password(51, password, rules)

    assert caught.value.fault is fault
    assert koha.tokens_granted == 0


def test_a_password_that_koha_refuses_is_told_without_koha_s_words(client):
    with pytest.raises(PasswordRefused) as caught:
        client.set_password(51, "abc", PasswordRules(minimum_length=3, strong=False))

    assert caught.value.fault is PasswordFault.REFUSED_BY_KOHA
    assert caught.value.__context__ is None


def test_a_category_may_have_password_rules_of_its_own(client):
    category = dataclasses.replace(client.list_categories()[0], min_password_length=12)

    rules = PasswordRules(strong=False).for_category(category)

    assert rules == PasswordRules(minimum_length=12, strong=False)
    assert PasswordRules().for_category(
        dataclasses.replace(category, require_strong_password=False)
    ) == PasswordRules(minimum_length=12, strong=False)


def test_extended_attributes_are_added_changed_replaced_and_deleted(client_of_any):
    client = client_of_any
    added = client.add_extended_attribute(51, ExtendedAttribute("SCHOOL", "見本市立第一小学校"))

    assert client.list_extended_attributes(51) == [added]
    changed = client.change_extended_attribute(51, added.extended_attribute_id, "第二小学校")
    assert changed == dataclasses.replace(added, value="第二小学校")
    replaced = client.replace_extended_attributes(51, [ExtendedAttribute("STAFFNO", "7")])
    assert client.list_extended_attributes(51) == replaced
    client.delete_extended_attribute(51, replaced[0].extended_attribute_id)
    assert client.list_extended_attributes(51) == []


def test_attributes_against_their_type_are_refused_with_koha_s_code(client):
    client.add_extended_attribute(51, ExtendedAttribute("STAFFNO", "7"))
    refused = {
        "attribute_not_unique": (52, ExtendedAttribute("STAFFNO", "7")),
        "non_repeatable_attribute": (51, ExtendedAttribute("STAFFNO", "8")),
        "invalid_attribute_type": (51, ExtendedAttribute("NOPE", "8")),
    }

    for error_code, (patron_id, attribute) in refused.items():
        with pytest.raises(KohaRejected) as caught:
            client.add_extended_attribute(patron_id, attribute)
        assert caught.value.error_code == error_code


def test_an_attribute_that_is_not_there_is_not_a_missing_patron(client):
    with pytest.raises(RecordNotFound) as caught:
        client.delete_extended_attribute(51, 999)

    assert type(caught.value) is RecordNotFound
    with pytest.raises(PatronNotFound):
        client.list_extended_attributes(999)


def test_an_account_that_may_only_edit_cannot_write_patrons(client_of_any, any_koha, state):
    read = find(client_of_any)
    any_koha.permissions = frozenset({EDIT_BORROWERS})

    with pytest.raises(KohaForbidden) as caught:
        client_of_any.change_category(51, "PT12", read.updated_on)

    assert caught.value.required_permissions == ("borrowers:1",)
    assert state.get_patron(51).category_id == "PT"
