"""CSV files that a spreadsheet opens as they are meant: in UTF-8, and without running anything in them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence

from flask import Response, stream_with_context

BYTE_ORDER_MARK = "\ufeff"
"""By this Excel knows UTF-8; without it a Japanese Excel reads Shift_JIS."""

FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a cell for a formula (OWASP, CSV Injection), full-width forms too."""


class _Echo:
    """A file that gives back what is written."""

    def write(self, text: str) -> str:
        return text


def defused(cell: str) -> str:
    """Return a cell as a text that no spreadsheet calculates."""
    return f"'{cell}" if cell.startswith(FORMULA_BEGINNINGS) else cell


def csv_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a file (RFC 4180), each with its CRLF, the first with the byte order mark."""
    writer = csv.writer(_Echo())
    mark = BYTE_ORDER_MARK
    for row in rows:
        yield mark + writer.writerow([defused(cell) for cell in row])
        mark = ""


def csv_response(name: str, rows: Iterable[Sequence[str]]) -> Response:
    """Return rows as a file to be kept, sent as it is made. *name* is ASCII, without the ending."""
    return Response(
        stream_with_context(csv_lines(rows)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )
