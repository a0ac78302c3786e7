"""What the patron reads on the page, in the languages of the page.

Japanese and English stand in the tables of ``bridge.agent.screen`` and below; the other languages in
``translations/*.toml``, one file each, with the same names: a step's name in lower case, an error's class,
a refusal's slug. Where the patron can do nothing but ask the staff, a language may leave out why and say
that alone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from enum import StrEnum, unique
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from bridge.agent.errors import AgentError, BridgeProblem
from bridge.agent.page.state import Notice
from bridge.agent.screen import (
    ERROR_WORDS,
    PROBLEM_WORDS,
    STEP_WORDS,
    Language,
    VisitStep,
    Words,
    words_for,
)
from jpki.errors import JpkiError


@unique
class PageLanguage(StrEnum):
    """The languages of the page, as BCP 47 tags."""

    JAPANESE = "ja"
    EASY_JAPANESE = "ja-x-easy"
    """やさしい日本語: short sentences, easy words, readings in kana."""

    ENGLISH = "en"
    CHINESE = "zh-Hans"
    KOREAN = "ko"
    PORTUGUESE = "pt"
    VIETNAMESE = "vi"


LANGUAGE_NAMES: Mapping[PageLanguage, str] = MappingProxyType(
    {
        PageLanguage.JAPANESE: "日本語",
        PageLanguage.EASY_JAPANESE: "やさしい日本語",
        PageLanguage.ENGLISH: "English",
        PageLanguage.CHINESE: "简体中文",
        PageLanguage.KOREAN: "한국어",
        PageLanguage.PORTUGUESE: "Português",
        PageLanguage.VIETNAMESE: "Tiếng Việt",
    }
)
"""Each in its own words, as on the buttons."""

PAGE_WORDS: Mapping[str, Words] = MappingProxyType(
    {
        "title": Words("マイナンバーカード", "My Number Card"),
        "languages": Words("言語", "Language"),
        "attempts_remaining": Words("あと{attempts_remaining}回", "{attempts_remaining} tries left"),
        "typed": Words("{count}桁入力しました", "{count} digits typed"),
        "delete": Words("1字消す", "Delete"),
        "give_up": Words("やめる", "Stop"),
        "time_left": Words("残り{seconds}秒", "{seconds} seconds left"),
        "time_warning": Words(
            "まもなく時間切れになります。残り{seconds}秒",
            "Time is nearly up: {seconds} seconds left",
        ),
        "card_forgotten": Words(
            "カードをお忘れになっていませんか。お取りください。",
            "You have left your card. Please take it.",
        ),
        "scan_barcode": Words(
            "このバーコードを自動貸出機に読み取らせてください。",
            "Hold this barcode to the self-check machine's scanner.",
        ),
        "agent_gone": Words(
            "この画面は今使えません。職員にお声がけください。",
            "This screen cannot be used now. Please ask the staff.",
        ),
        "privacy": Words(
            "暗証番号はカードにだけ送られ、保存されません。",
            "Your PIN goes to the card alone and is not kept.",
        ),
    }
)
"""The words around the messages."""


_YEAR_MONTH_DAY = "{0.year}年{0.month}月{0.day}日"
_DAY_MONTH_YEAR = "{0.day:02}/{0.month:02}/{0.year}"

DATES: Mapping[PageLanguage, str] = MappingProxyType(
    {
        PageLanguage.JAPANESE: _YEAR_MONTH_DAY,
        PageLanguage.EASY_JAPANESE: "{0.year}ねん {0.month}がつ {0.day}にち",
        PageLanguage.ENGLISH: "{0:%B} {0.day}, {0.year}",
        PageLanguage.CHINESE: _YEAR_MONTH_DAY,
        PageLanguage.KOREAN: "{0.year}년 {0.month}월 {0.day}일",
        PageLanguage.PORTUGUESE: _DAY_MONTH_YEAR,
        PageLanguage.VIETNAMESE: _DAY_MONTH_YEAR,
    }
)
"""How each language writes a day."""

ASK_STAFF = "ask_staff"
"""The name, among a translation's errors, of what is said where there is no sentence of its own."""


def offered_languages() -> tuple[PageLanguage, ...]:
    """Return the languages that the page speaks, in the order of their buttons."""
    spoken = (Language.JAPANESE.value, Language.ENGLISH.value)
    return tuple(each for each in PageLanguage if each.value in spoken or _translation_file(each).is_file())


def page_word(name: str, language: PageLanguage, **values: object) -> str:
    """Return one of the words around the messages."""
    return _sentence("page", name, PAGE_WORDS[name], language, values)


def sentence(notice: Notice, language: PageLanguage) -> str:
    """Return what the patron reads of *notice*."""
    if isinstance(notice.what, VisitStep):
        step = notice.what
        values = dict(notice.values)
        if isinstance(day := values.get("date"), str):
            values["date"] = DATES[language].format(date.fromisoformat(day))
        return _sentence("steps", step.name.lower(), STEP_WORDS[step], language, values)
    return _error_sentence(notice.what, language)


def all_words() -> Mapping[str, Mapping[str, Words]]:
    """Return every sentence in Japanese and English, by section and name: what a translation must have."""
    return {
        "steps": {step.name.lower(): words for step, words in STEP_WORDS.items()},
        "errors": {error.__name__: words for error, words in ERROR_WORDS.items()},
        "problems": dict(PROBLEM_WORDS),
        "page": dict(PAGE_WORDS),
    }


@cache
def translation(language: PageLanguage) -> Mapping[str, Mapping[str, str]]:
    """Return the sentences of a language that has a file of its own, by section and name."""
    return tomllib.loads(_translation_file(language).read_text(encoding="utf-8"))


def _error_sentence(error: JpkiError | AgentError, language: PageLanguage) -> str:
    if isinstance(error, BridgeProblem):
        if error.slug not in PROBLEM_WORDS:
            return words_for(error, _nearest(language))
        return _sentence("problems", error.slug, PROBLEM_WORDS[error.slug], language, {})
    row = next(base for base in type(error).__mro__ if base in ERROR_WORDS)
    values = {"attempts_remaining": getattr(error, "attempts_remaining", None), "reason": error}
    return _sentence("errors", row.__name__, ERROR_WORDS[row], language, values)


def _sentence(
    section: str, name: str, words: Words, language: PageLanguage, values: Mapping[str, object]
) -> str:
    if language in (PageLanguage.JAPANESE, PageLanguage.ENGLISH):
        return words.fill(_nearest(language), **values)
    words_of = translation(language)
    sentence = words_of[section].get(name) or words_of["errors"][ASK_STAFF]
    return sentence.format_map(values)


def _nearest(language: PageLanguage) -> Language:
    japanese = (PageLanguage.JAPANESE, PageLanguage.EASY_JAPANESE)
    return Language.JAPANESE if language in japanese else Language.ENGLISH


def _translation_file(language: PageLanguage) -> Traversable:
    return files("bridge.agent.page") / "translations" / f"{language.value}.toml"
