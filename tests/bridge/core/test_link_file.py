"""The file of links from another system: read row by row, and refused without repeating what it says."""

from __future__ import annotations

import re
from datetime import date

import pytest

from bridge.errors import LinkFileMalformed
from bridge.links.file import (
    LinkRow,
    RefusedRow,
    RowProblem,
    decode_link_file,
    read_link_file,
    write_link_file,
)
from bridge.links.identifiers import IMPORTED_KINDS, ForeignIdentifier, IdentifierForms, IdentifierProblem
from bridge.models import IdentifierKind

TODAY = date(2026, 11, 2)
KIND = IdentifierKind.PPID
FORMS = IdentifierForms(dict.fromkeys(IMPORTED_KINDS, re.compile(r"[A-Za-z0-9]{8}")))


def read(text, **more):
    return list(read_link_file(text, KIND, FORMS, today=TODAY, **{"usual_day": date(2030, 3, 31), **more}))


@pytest.mark.parametrize("kind", IMPORTED_KINDS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("abcd1234", "abcd1234"),
        (" abcd1234\t", "abcd1234"),
        ("ＡＢＣＤ１２３４", "ABCD1234"),
        ("\u3000abcd1234", "abcd1234"),
        ("", IdentifierProblem.EMPTY),
        (" \u3000", IdentifierProblem.EMPTY),
        ("abcd123", IdentifierProblem.NOT_OF_THIS_FORM),
        ("abcd1234\nabcd1234", IdentifierProblem.NOT_OF_THIS_FORM),
        ("図書館図書館図書", IdentifierProblem.NOT_OF_THIS_FORM),
        ("a" * 200, IdentifierProblem.NOT_OF_THIS_FORM),
    ],
)
def test_an_identifier_is_read_in_the_one_way_it_is_written(kind, text, value):
    wanted = value if isinstance(value, IdentifierProblem) else ForeignIdentifier(kind, value)
    assert FORMS.read(kind, text) == wanted


def test_an_identifier_does_not_print_itself():
    row = LinkRow(2, ForeignIdentifier(KIND, "abcd1234"), TODAY, library_card="2000100000017")
    assert "abcd1234" not in repr(row)
    assert "2000100000017" not in repr(row)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_files_are_read_as_spreadsheets_write_them(encoding, line_end):
    text = line_end.join(["library_card,identifier", "カード１,ａｂｃｄ１２３４", "", '"2,x",efgh5678'])
    rows = read(decode_link_file(text.encode(encoding)))
    assert [(row.line, row.library_card, row.identifier.value) for row in rows] == [
        (2, "カード１", "abcd1234"),
        (4, "2,x", "efgh5678"),
    ]


def test_a_file_in_another_encoding_is_refused():
    with pytest.raises(LinkFileMalformed, match="neither UTF-8 nor CP932"):
        decode_link_file("図書館".encode("utf-16"))


@pytest.mark.parametrize(
    "heading",
    [
        "",
        "identifier",
        "library_card",
        "abcd1234,library_card",
        "identifier,identifier,library_card",
        "identifier,library_card,name",
    ],
)
def test_a_heading_that_is_none_is_refused_without_repeating_it(heading):
    with pytest.raises(LinkFileMalformed) as caught:
        read(f"{heading}\nabcd1234,1\n")
    assert "abcd" not in str(caught.value)


@pytest.mark.parametrize("broken", ['"abcd1234,1', '"abcd1234"x,1'])
def test_a_line_that_is_not_csv_is_named_by_its_number(broken):
    with pytest.raises(LinkFileMalformed) as caught:
        read(f"identifier,library_card\nefgh5678,2\n{broken}\n")
    assert str(caught.value) == "line 3 is not CSV"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ("abcd1234,1", RowProblem.CELLS),
        ("abcd1234,1,,,", RowProblem.CELLS),
        (",1,,", IdentifierProblem.EMPTY),
        ("abc,1,,", IdentifierProblem.NOT_OF_THIS_FORM),
        ("abcd1234,,,", RowProblem.NO_PATRON),
        ("abcd1234,,x,", RowProblem.PATRON_ID),
        ("abcd1234,,0,", RowProblem.PATRON_ID),
        ("abcd1234,,-1,", RowProblem.PATRON_ID),
        ("abcd1234,,１,", RowProblem.PATRON_ID),
        ("abcd1234,,2147483648,", RowProblem.PATRON_ID),
        ("abcd1234,,99999999999999999999,", RowProblem.PATRON_ID),
        ("abcd1234,1,,31.3.2030", RowProblem.DAY),
        ("abcd1234,1,,2026-11-01", RowProblem.OVER),
    ],
)
def test_a_row_is_refused_by_its_line_and_reason(cells, problem):
    text = f"identifier,library_card,patron_id,valid_until\nefgh5678,2,,\n{cells}\n"
    good, refused = read(text)
    assert isinstance(good, LinkRow)
    assert refused == RefusedRow(3, problem)


def test_a_row_without_a_last_day_needs_one_from_the_command():
    (refused,) = read("identifier,library_card\nabcd1234,1\n", usual_day=None)
    assert refused == RefusedRow(2, RowProblem.NO_DAY)


def test_an_identifier_that_comes_twice_is_refused_the_second_time():
    rows = read("identifier,library_card\nabcd1234,1\nＡＢＣＤ1234,1\nabcd1234,2\n")
    assert [type(row) for row in rows] == [LinkRow, LinkRow, RefusedRow]
    assert rows[2] == RefusedRow(4, RowProblem.REPEATED)


def test_what_is_written_is_read_again():
    row = {"patron_id": "51", "library_card": "", "identifier": "abcd1234", "valid_until": "2030-03-31"}
    text = "".join(write_link_file([row]))
    (again,) = read(text, usual_day=None)
    assert (again.patron_id, again.library_card) == (51, None)
    assert (again.identifier.value, again.valid_until) == ("abcd1234", date(2030, 3, 31))
