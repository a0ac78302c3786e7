"""The file in which links of another system come in, and go out: CSV with a heading. Pure.

Columns, in any order: ``identifier``; ``library_card`` or ``patron_id`` (Koha's number), or both, of which
either may be empty; ``valid_until``, a day such as 2030-03-31, which may be left out. Excel writes such
files as UTF-8 with a byte order mark or as CP932 (Shift_JIS); each is read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum, unique

from bridge.errors import LinkFileMalformed
from bridge.links.identifiers import ForeignIdentifier, IdentifierForms, IdentifierProblem
from bridge.models import IdentifierKind

IDENTIFIER, LIBRARY_CARD, PATRON_ID, VALID_UNTIL = "identifier", "library_card", "patron_id", "valid_until"
COLUMNS = (PATRON_ID, LIBRARY_CARD, IDENTIFIER, VALID_UNTIL)

MAXIMUM_PATRON_ID = 2**31 - 1
"""Koha's ``borrowers.borrowernumber`` is a 32-bit integer."""


@unique
class RowProblem(StrEnum):
    """Why a row is refused, besides ``IdentifierProblem``."""

    CELLS = "wrong-number-of-cells"
    NO_PATRON = "no-library-card-and-no-patron-id"
    PATRON_ID = "patron-id-is-no-number"
    DAY = "valid-until-is-no-day"
    NO_DAY = "no-valid-until"
    OVER = "valid-until-is-over"
    REPEATED = "identifier-in-the-file-twice"
    PATRON_NOT_FOUND = "patron-not-found"
    TWO_PATRONS = "library-card-and-patron-id-of-two-patrons"
    LINKED_TO_ANOTHER = "identifier-linked-to-another-patron"
    TOO_MANY_LINKS = "patron-has-too-many-links"


@dataclass(frozen=True)
class LinkRow:
    """A row that can be read. *line* is where it ends in the file; the first line is 1."""

    line: int
    identifier: ForeignIdentifier
    valid_until: date
    patron_id: int | None = None
    library_card: str | None = field(repr=False, default=None)


@dataclass(frozen=True)
class RefusedRow:
    """A row that is not taken, and why: the line's number, and nothing of what stands in it."""

    line: int
    problem: str


def decode_link_file(data: bytes) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark, or in CP932.

    Raises ``LinkFileMalformed``.
    """
    for encoding in ("utf-8-sig", "cp932"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise LinkFileMalformed("the file is neither UTF-8 nor CP932")


def read_link_file(
    text: str,
    kind: IdentifierKind,
    forms: IdentifierForms,
    *,
    today: date,
    usual_day: date | None = None,
) -> Iterator[LinkRow | RefusedRow]:
    """Yield every row, read or refused; empty lines are no rows.

    *usual_day* is until when a link is valid whose row does not say it. Raises ``LinkFileMalformed`` where
    the heading is not one, or the file ends in the middle of a cell.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: dict[str, int] = {}
    try:
        heading = _heading(next(reader, []))
        for cells in reader:
            if not any(cells):
                continue
            row = _row(reader.line_num, cells, heading, kind, forms, usual_day)
            if isinstance(row, LinkRow):
                if row.valid_until < today:
                    row = RefusedRow(row.line, RowProblem.OVER)
                elif row.identifier.value in lines:
                    row = RefusedRow(row.line, RowProblem.REPEATED)
                else:
                    lines[row.identifier.value] = row.line
            yield row
    except csv.Error:
        # The text of csv's own error can repeat what stands in the file.
        raise LinkFileMalformed(f"line {reader.line_num} is not CSV") from None


def write_link_file(rows: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Yield the file's lines, the heading first; each row is by ``COLUMNS``."""
    for cells in ({name: name for name in COLUMNS}, *rows):
        line = io.StringIO()
        csv.DictWriter(line, COLUMNS, lineterminator="\r\n").writerow(cells)  # RFC 4180
        yield line.getvalue()


def _heading(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    wanted = {IDENTIFIER} <= set(names) and bool({LIBRARY_CARD, PATRON_ID} & set(names))
    if not wanted or len(set(names)) != len(names) or not set(names) <= set(COLUMNS):
        raise LinkFileMalformed(
            "the first line must name the columns: identifier, library_card or patron_id, and valid_until "
            "if there is such a column"
        )
    return names


def _row(
    line: int,
    cells: list[str],
    heading: list[str],
    kind: IdentifierKind,
    forms: IdentifierForms,
    usual_day: date | None,
) -> LinkRow | RefusedRow:
    if len(cells) != len(heading):
        return RefusedRow(line, RowProblem.CELLS)
    values = {name: cell.strip() for name, cell in zip(heading, cells, strict=True)}
    identifier = forms.read(kind, values[IDENTIFIER])
    if isinstance(identifier, IdentifierProblem):
        return RefusedRow(line, identifier)
    try:
        patron_id = _patron_id(values.get(PATRON_ID, ""))
        day = _day(values.get(VALID_UNTIL, ""), usual_day)
    except _WrongCell as error:
        return RefusedRow(line, error.problem)
    library_card = values.get(LIBRARY_CARD) or None
    if patron_id is None and library_card is None:
        return RefusedRow(line, RowProblem.NO_PATRON)
    return LinkRow(line, identifier, day, patron_id, library_card)


class _WrongCell(Exception):
    def __init__(self, problem: RowProblem) -> None:
        super().__init__(problem.value)
        self.problem = problem


def _patron_id(cell: str) -> int | None:
    if not cell:
        return None
    if not (cell.isascii() and cell.isdigit() and len(cell) <= len(str(MAXIMUM_PATRON_ID))):
        raise _WrongCell(RowProblem.PATRON_ID)
    if not 0 < int(cell) <= MAXIMUM_PATRON_ID:
        raise _WrongCell(RowProblem.PATRON_ID)
    return int(cell)


def _day(cell: str, usual_day: date | None) -> date:
    if not cell:
        if usual_day is None:
            raise _WrongCell(RowProblem.NO_DAY)
        return usual_day
    try:
        return date.fromisoformat(cell)
    except ValueError:
        raise _WrongCell(RowProblem.DAY) from None
