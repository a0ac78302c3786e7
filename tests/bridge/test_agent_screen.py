"""The patron always has words, in both languages, and they never hold a secret."""

import io
import re
import string
from datetime import UTC, datetime

import pytest

from bridge.agent import errors as agent_errors
from bridge.agent.errors import BridgeProblem
from bridge.agent.screen import (
    ERROR_WORDS,
    PROBLEM_WORDS,
    STEP_WORDS,
    Language,
    TerminalScreen,
    VisitStep,
    local_date,
    words_for,
)
from bridge.api.problems import PROBLEMS
from jpki import errors as jpki_errors

NEVER_AT_THE_READER = (
    jpki_errors.CertificateError,  # the agent passes the certificate on unread ...
    jpki_errors.TrustError,
    jpki_errors.CrlError,
    jpki_errors.PlatformMappingError,
    jpki_errors.InvalidSignature,
)
AT_THE_READER_ALL_THE_SAME = jpki_errors.UnsupportedAlgorithm  # ... but for the kind of its key


def leaves(base):
    below = base.__subclasses__()
    return [leaf for subclass in below for leaf in leaves(subclass)] if below else [base]


REACHING_THE_AGENT = [
    *(leaf for leaf in leaves(jpki_errors.JpkiError) if not issubclass(leaf, NEVER_AT_THE_READER)),
    AT_THE_READER_ALL_THE_SAME,
    jpki_errors.CardError,  # a status word that has no name
    *(leaf for leaf in leaves(agent_errors.AgentError) if leaf is not BridgeProblem),
]


def has_words(words):
    assert re.search(r"[ぁ-ん]", words.ja)
    assert re.fullmatch(r"[ -~]+", words.en)
    names = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in words]
    assert names[0] == names[1], "both languages say the same"
    assert names[0] <= {"attempts_remaining", "date", "reason"}
    return True


@pytest.mark.parametrize("error", REACHING_THE_AGENT, ids=lambda error: error.__name__)
def test_every_error_that_reaches_the_agent_has_words(error):
    nearest = next(base for base in error.__mro__ if base in ERROR_WORDS)
    assert nearest is not jpki_errors.JpkiError, "the general words are for what is not known today"
    assert has_words(ERROR_WORDS[nearest])


def test_every_problem_of_the_api_has_words_and_no_other():
    assert set(PROBLEM_WORDS) == set(PROBLEMS)


@pytest.mark.parametrize("slug", PROBLEM_WORDS)
def test_a_problem_has_words_in_both_languages(slug):
    assert has_words(PROBLEM_WORDS[slug])


@pytest.mark.parametrize("step", VisitStep)
def test_every_step_has_words_in_both_languages(step):
    assert has_words(STEP_WORDS[step])


def problem(slug, title="題"):
    return BridgeProblem(slug, status=403, title=title, detail=None, data={})


def test_a_problem_of_a_newer_bridge_has_the_bridges_own_title():
    assert words_for(problem("of-tomorrow", title="明日の問題"), Language.JAPANESE) == "明日の問題"


def test_the_tries_left_are_told():
    wrong = jpki_errors.InvalidPinError(0x63C2, attempts_remaining=2)
    assert "あと2回" in words_for(wrong, Language.JAPANESE)
    assert "2 tries left" in words_for(wrong, Language.ENGLISH)
    assert "1 try" in words_for(jpki_errors.LastAttemptProtected(1), Language.ENGLISH)


def test_an_error_nobody_foresaw_still_has_words():
    assert "カード" in words_for(jpki_errors.JpkiError(), Language.JAPANESE)


def test_the_screen_writes_lines_in_its_language():
    stream = io.StringIO()
    screen = TerminalScreen(stream, Language.ENGLISH)
    screen.show_step(VisitStep.LINKED, date="2030-02-17")
    screen.show_error(problem("not-linked"))
    first, second = stream.getvalue().splitlines()
    assert "2030-02-17" in first
    assert second == PROBLEM_WORDS["not-linked"].en


def test_a_validity_ends_on_its_day_in_japan():
    assert local_date(datetime(2030, 2, 17, 14, 59, 59, tzinfo=UTC)) == "2030-02-17"
    assert local_date(datetime(2030, 2, 17, 15, 0, 0, tzinfo=UTC)) == "2030-02-18"
