"""The words of the patron's page: every language says what the patron must do, with the same figures."""

import string

import pytest

from bridge.agent.errors import BridgeProblem, BridgeUnreachable
from bridge.agent.page.state import Notice
from bridge.agent.page.words import (
    ASK_STAFF,
    LANGUAGE_NAMES,
    PageLanguage,
    all_words,
    offered_languages,
    sentence,
    translation,
)
from bridge.agent.screen import VisitStep
from jpki.errors import InvalidPinError

TRANSLATED = [each for each in PageLanguage if each not in (PageLanguage.JAPANESE, PageLanguage.ENGLISH)]
STAFF = "職員にお声がけください"


def names_in(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_the_page_offers_every_language_by_its_own_name():
    assert offered_languages() == tuple(PageLanguage)
    assert LANGUAGE_NAMES.keys() == set(PageLanguage)


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_has_no_name_that_the_page_does_not_know(language):
    known = {section: set(words) for section, words in all_words().items()}
    known["errors"].add(ASK_STAFF)
    assert translation(language).keys() == known.keys()
    for section, sentences in translation(language).items():
        assert set(sentences) <= known[section]


@pytest.mark.parametrize("language", TRANSLATED)
def test_whatever_the_patron_can_mend_alone_is_translated(language):
    missing = [
        f"{section}.{name}"
        for section, words in all_words().items()
        for name, (japanese, _english) in words.items()
        if STAFF not in japanese and name not in translation(language)[section]
    ]
    assert missing == []
    assert set(all_words()["page"]) == set(translation(language)["page"])


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_sentence_tells_the_same_figures(language):
    for section, sentences in translation(language).items():
        for name, text in sentences.items():
            original = all_words()[section].get(name)
            assert text == text.strip()
            assert names_in(text) == (names_in(original.ja) if original else set()), name


@pytest.mark.parametrize("language", PageLanguage)
def test_every_language_speaks_of_steps_errors_and_refusals(language):
    said = {
        sentence(Notice(VisitStep.LINKED, {"date": "2031-01-01"}), language),
        sentence(Notice(InvalidPinError(0x63C2, attempts_remaining=2)), language),
        sentence(Notice(BridgeUnreachable()), language),
        sentence(Notice(problem("not-linked")), language),
        sentence(Notice(problem("key-problem")), language),
    }
    assert len(said) >= 4
    assert all(said)
    assert "2031" in "".join(said)


@pytest.mark.parametrize(
    ("language", "written"),
    [
        (PageLanguage.JAPANESE, "2031年2月1日"),
        (PageLanguage.ENGLISH, "February 1, 2031"),
        (PageLanguage.KOREAN, "2031년 2월 1일"),
        (PageLanguage.VIETNAMESE, "01/02/2031"),
    ],
)
def test_every_language_writes_a_day_its_own_way(language, written):
    assert written in sentence(Notice(VisitStep.LINKED, {"date": "2031-02-01"}), language)


def problem(slug):
    return BridgeProblem(slug, status=403, title="", detail=None, data={})
