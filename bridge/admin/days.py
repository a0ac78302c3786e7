"""Days as they stand on Japanese paper: by era, by western year, or by both. Pure."""

from __future__ import annotations

from datetime import date
from enum import StrEnum, unique


@unique
class Calendar(StrEnum):
    """By which calendar a printed day is written (the setting ``web.calendar``)."""

    BOTH = "both"
    ERA = "era"
    WESTERN = "western"


ERAS: tuple[tuple[date, str], ...] = ((date(2019, 5, 1), "令和"),)
"""First day and name, the newest first (元号を改める政令, 平成31年政令第143号). No older day is printed."""

FIRST_YEAR = "元"


def japanese_day(day: date, calendar: Calendar) -> str:
    """Return a day from 2019-05-01 on in Japanese, such as 令和8年11月20日（2026年）."""
    if calendar is Calendar.WESTERN:
        return f"{day.year}年{day.month}月{day.day}日"
    first_day, era = next(era for era in ERAS if day >= era[0])
    year = day.year - first_day.year + 1
    by_era = f"{era}{FIRST_YEAR if year == 1 else year}年{day.month}月{day.day}日"
    return by_era if calendar is Calendar.ERA else f"{by_era}（{day.year}年）"
