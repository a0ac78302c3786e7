"""The page's state as the browser gets it: JSON with all words in the patron's language. Pure."""

from __future__ import annotations

from bridge.agent.page.state import PIN_WARNING, Notice, PageState, Tone
from bridge.agent.page.words import (
    LANGUAGE_NAMES,
    PageLanguage,
    offered_languages,
    page_word,
    sentence,
)
from bridge.agent.screen import VisitStep

PIN_DIGITS = 4


def render(state: PageState, now: float, language: PageLanguage) -> dict[str, object]:
    """Return what the page's script shows. The PIN is not among it, nor is the token."""
    tone = state.tone(now)
    return {
        "version": state.version,
        "tone": tone.value,
        "is_idle": state.notice.is_idle,
        "headline": sentence(state.notice, language),
        "notice": _second_line(state, tone, language),
        "warning": "" if state.warning is None else sentence(state.warning, language),
        "question": _question(state, now, language),
        "barcode": page_word("scan_barcode", language) if state.barcode is not None else None,
        "language": language.value,
    }


def page_frame(language: PageLanguage) -> dict[str, object]:
    """Return the words that stay while the page is open."""
    names = ("title", "languages", "delete", "give_up", "agent_gone", "privacy", "time_left", "time_warning")
    keep = {"seconds": "{seconds}"}
    return {
        "language": language.value,
        "words": {name: page_word(name, language, **keep) for name in names},
        "languages": [{"tag": each.value, "name": LANGUAGE_NAMES[each]} for each in offered_languages()],
    }


def _second_line(state: PageState, tone: Tone, language: PageLanguage) -> str:
    if tone is Tone.ALARM:
        return page_word("card_forgotten", language)
    if state.card_left_at is not None:
        return sentence(Notice(VisitStep.TAKE_CARD), language)
    return ""


def _question(state: PageState, now: float, language: PageLanguage) -> dict[str, object] | None:
    question = state.question
    if question is None:
        return None
    attempts = state.attempts_remaining
    return {
        "ticket": question.ticket,
        "keys": question.keys,
        "digits": PIN_DIGITS,
        "seconds": max(0, int(question.deadline - now)),
        "warn_at": int(PIN_WARNING),
        "typed": [page_word("typed", language, count=count) for count in range(PIN_DIGITS + 1)],
        "attempts_remaining": ""
        if attempts is None
        else page_word("attempts_remaining", language, attempts_remaining=attempts),
    }
