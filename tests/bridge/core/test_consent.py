"""To what patrons agree: each library in its own words, and every wording to be read for good."""

from __future__ import annotations

from hashlib import sha256

import pytest
from sqlalchemy import update

from bridge.errors import ConsentChanged, ConsentMissing, ConsentNotFound, ConsentUnfit, LibraryNotFound
from bridge.links.consent import (
    MAXIMUM_LENGTH,
    STANDARD_VERSION,
    ConsentLanguage,
    ConsentPoint,
    ConsentProblem,
    find_standard,
    own_version,
    points_of,
    read_text,
    standard_wording,
)
from bridge.links.consent_service import ConsentService
from bridge.models import AuditTag
from bridge.store.tables import ConsentWordingRow

JAPANESE, ENGLISH = ConsentLanguage.JAPANESE, ConsentLanguage.ENGLISH
TEXTS = {
    JAPANESE: "保存するもの\n符号だけです。\n\n任意です。",
    ENGLISH: "What is kept\nA code.\n\nIt is up to you.",
}
OTHER_TEXTS = {**TEXTS, JAPANESE: "任意です。"}


@pytest.fixture
def consent(place):
    return ConsentService(place.environment)


@pytest.fixture
def change(place, consent):
    """Set the library's wording, for whoever has seen the one in force."""

    def put(texts=TEXTS, instead_of=None):
        before = instead_of or consent.in_force(place.library).wording.version
        return consent.change(place.command, place.library, texts, instead_of=before)

    return put


# The product's own

RELEASED = {
    "2026-11-21": "16b0967da423e0d42a504088fe0f97e9555f06a39d3f086002a48c5021a67ea9",
    "2026-11-21.2": "204d16274d46819f139d5863a3060d349d7bac3f121ac334d83acb67d137d8f8",
}
"""Version: fingerprint. What somebody has agreed to is never changed: a changed wording is a new version."""


@pytest.mark.parametrize(("version", "fingerprint"), RELEASED.items())
def test_a_wording_that_was_given_out_is_never_changed(version, fingerprint):
    assert find_standard(version).fingerprint == fingerprint


def test_the_standard_wording_is_one_that_was_given_out():
    assert standard_wording().version == STANDARD_VERSION
    assert STANDARD_VERSION in RELEASED


def test_the_version_that_bore_the_date_of_the_day_after_is_still_read():
    dated, redated = find_standard("2026-11-22"), find_standard("2026-11-21.2")
    assert (dated.version, dated.texts) == ("2026-11-22", redated.texts)


@pytest.mark.parametrize("version", ["", "2026", "../../setup", "2026-11-21.2.ja.txt", "2026-11-21-own1"])
def test_what_was_never_given_out_is_not_found(version):
    assert find_standard(version) is None


# Its form


def test_a_paragraph_has_a_heading_where_it_has_two_lines_or_more():
    text = "Heading\nfirst line\nsecond line\n\n\n \nalone"
    assert points_of(text) == (ConsentPoint("Heading", "first line\nsecond line"), ConsentPoint("", "alone"))


def test_a_text_is_kept_without_what_nobody_sees():
    typed = "\ufeff\r\n\r\n見出し  \r\n本文\u3000\r\n\r\n"
    assert read_text(typed, JAPANESE) == "見出し\n本文"
    assert read_text("見出し\n本文", JAPANESE) == "見出し\n本文"


@pytest.mark.parametrize("language", ConsentLanguage)
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ConsentProblem.EMPTY),
        (" \r\n\u3000\n", ConsentProblem.EMPTY),
        ("あ" * (MAXIMUM_LENGTH + 1), ConsentProblem.TOO_LONG),
        ("a\x00b", ConsentProblem.CONTROL_CHARACTER),
        ("a\x1b[0m", ConsentProblem.CONTROL_CHARACTER),
        ("a\ud800", ConsentProblem.CONTROL_CHARACTER),
    ],
)
def test_what_is_no_wording_is_refused_and_nothing_is_changed(
    place, consent, change, language, text, problem
):
    with pytest.raises(ConsentUnfit) as caught:
        change({**TEXTS, language: text})
    assert (caught.value.language, caught.value.problem) == (language, problem)
    assert consent.in_force(place.library).wording == standard_wording()
    assert place.audit(AuditTag.CONSENT_CHANGED) == []


def test_the_longest_wording_is_kept_whole(place, consent, change):
    change({**TEXTS, JAPANESE: "あ" * MAXIMUM_LENGTH})
    assert consent.in_force(place.library).wording.texts[JAPANESE] == "あ" * MAXIMUM_LENGTH


# A library's own


def test_a_library_without_a_wording_of_its_own_has_the_standard_one(place, consent):
    assert consent.in_force(place.library).wording == standard_wording()
    assert consent.in_force(place.library).set_at is None
    assert consent.own(place.library) == []


def test_a_wording_of_its_own_is_in_force_at_once_and_in_that_library_only(place, consent, change):
    wording = change()
    assert wording.version == own_version(place.clock().date(), 1)
    assert consent.in_force(place.library).wording == wording
    assert consent.in_force(place.library).set_at == place.clock()
    assert consent.in_force("harbour").wording == standard_wording()
    with pytest.raises(ConsentNotFound):
        consent.find("harbour", wording.version)


def test_a_link_keeps_its_version_and_what_was_agreed_to_is_read_word_for_word(place, consent, change):
    old = place.link(place.card())
    first = change()
    place.consent_version = first.version
    new = place.link(place.card())
    change(OTHER_TEXTS)
    assert (old.consent_version, new.consent_version) == (STANDARD_VERSION, first.version)
    assert consent.find(place.library, old.consent_version) == standard_wording()
    assert consent.find(place.library, new.consent_version).texts == TEXTS


def test_nobody_agrees_to_a_wording_that_is_no_longer_in_force(place, change):
    change()
    with pytest.raises(ConsentMissing):
        place.start()
    assert place.audit(AuditTag.LINK_REQUESTED) == []


def test_an_order_made_before_the_change_ends_under_the_wording_that_was_agreed_to(place, change):
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    change()
    assert place.complete_link(place.counter, card, challenge).consent_version == STANDARD_VERSION


def test_a_wording_that_is_in_force_already_gets_no_new_version(place, consent, change):
    first = change()
    typed_again = {language: f"\n{text}\r\n" for language, text in TEXTS.items()}
    assert change(typed_again) == first
    assert len(consent.own(place.library)) == len(place.audit(AuditTag.CONSENT_CHANGED)) == 1


def test_each_wording_has_a_version_of_its_own_though_the_day_is_the_same(consent, change, place):
    versions = [change(texts).version for texts in (TEXTS, OTHER_TEXTS, TEXTS)]
    assert len(set(versions)) == 3
    assert [each.wording.version for each in consent.own(place.library)] == versions[::-1]


def test_who_has_seen_another_wording_than_the_one_in_force_changes_nothing(place, consent, change):
    first = change()
    with pytest.raises(ConsentChanged):
        change(OTHER_TEXTS, instead_of=STANDARD_VERSION)
    assert consent.in_force(place.library).wording == first


def test_of_two_who_change_it_at_the_same_moment_one_is_told(place, change):
    wording = change()
    with pytest.raises(ConsentChanged), place.store.transaction() as transaction:
        transaction.add_consent(place.library, 1, wording, place.clock())


def test_the_change_stands_in_the_audit_log_with_what_was_before_and_the_new_text_s_hash(place, change):
    wording = change()
    (event,) = place.audit(AuditTag.CONSENT_CHANGED)
    assert (event.subject, event.actor_id) == (wording.version, place.command.actor_id)
    parts = "".join(f"{language}\0{TEXTS[language]}\0" for language in ("ja", "en"))
    assert event.details == {"before": STANDARD_VERSION, "sha256": sha256(parts.encode()).hexdigest()}


def test_by_the_hash_a_text_that_was_changed_by_hand_is_known(place, consent, change):
    wording = change()
    place.change(update(ConsentWordingRow).values(japanese="すべて保存します。"))
    (event,) = place.audit(AuditTag.CONSENT_CHANGED)
    assert consent.find(place.library, wording.version).fingerprint != event.details["sha256"]


def test_a_library_that_is_not_in_the_settings_has_no_wording(consent, place):
    for asked in (
        lambda: consent.in_force("nowhere"),
        lambda: consent.own("nowhere"),
        lambda: consent.find("nowhere", STANDARD_VERSION),
        lambda: consent.change(place.command, "nowhere", TEXTS, instead_of=STANDARD_VERSION),
    ):
        with pytest.raises(LibraryNotFound):
            asked()
