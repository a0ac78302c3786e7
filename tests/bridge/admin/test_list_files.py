"""What a list gives away as a file: what it shows, without names, for a spreadsheet in Japan."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest

from bridge.admin.csv_file import defused
from bridge.models import AuditTag, TerminalKind
from bridge.store import AuditEventRow

LISTS = ("links", "renewals", "bulk", "categories", "terminals", "revocation", "audit")


def table(answer):
    """The rows of a file, by a reader that knows nothing of how it was made."""
    assert answer.status_code == 200
    return list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("name", LISTS)
def test_excel_opens_each_file_as_it_is_meant(world, desk, name):
    world.link()
    answer = desk.get(f"/admin/{name}/export.csv")
    assert answer.data.startswith(b"\xef\xbb\xbf"), "the byte order mark"
    assert answer.data.endswith(b"\r\n")
    assert answer.content_type == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}-2026-11-20.csv"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert len({len(row) for row in table(answer)}) == 1


def test_a_file_has_all_that_the_filters_find_and_no_other_library(world, desk, browser_of):
    for cardnumber in ("2000100000033", "2000100000017"):
        world.link(cardnumber=cardnumber)
        world.clock.now += timedelta(minutes=1)
    world.link(world.north_librarian)
    head, *rows = table(desk.get("/admin/links/export.csv"))
    assert head[:3] == ["Kohaの利用者番号", "状態", "連携日時"]
    assert [row[:3] for row in rows] == [
        ["17", "有効", "2026-11-20 10:31"],
        ["33", "有効", "2026-11-20 10:30"],
    ]
    assert len(table(desk.get("/admin/links/export.csv?flt0_0=33"))) == 2
    assert len(table(browser_of("kita").get("/admin/links/export.csv"))) == 2


def test_the_page_leads_to_the_file_of_what_it_shows(world, desk):
    world.link()
    page = desk.get("/admin/links/?flt0_0=33&_external=1&_scheme=javascript").text
    assert 'href="/admin/links/export.csv?flt0_0=33&amp;_external=1&amp;_scheme=javascript" download' in page


@pytest.mark.parametrize("name", LISTS)
def test_no_file_names_anybody_or_a_card(world, desk, name):
    link = world.link()
    desk.get("/admin/links/export.csv")
    text = desk.get(f"/admin/{name}/export.csv").text
    for secret in ("山田", "花子", "図書 友子", "2000100000017", link.link_id):
        assert secret not in text


def test_the_file_of_the_staff_names_nobody(browser_of):
    text = browser_of("kouiki").get("/admin/librarians/export.csv").text
    assert "hanako" in text
    assert "山田" not in text
    assert "argon2" not in text


def test_that_a_list_was_taken_away_stands_in_the_audit_log(world, desk):
    desk.get("/admin/links/export.csv")
    with world.writing() as session:
        event = session.query(AuditEventRow).order_by(AuditEventRow.event_id.desc()).first()
        assert (event.tag, event.subject, event.actor_id, event.library_id) == (
            AuditTag.LIST_EXPORTED,
            "links",
            world.hanako.librarian_id,
            "chuo",
        )
    assert "一覧をファイルに保存" in desk.get("/admin/audit/").text


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠A1"]
)
def test_no_cell_is_taken_for_a_formula(cell):
    assert defused(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "17", "2026-11-20", "自動貸出機", "a=b"])
def test_a_cell_that_is_no_formula_stays_as_it_is(cell):
    assert defused(cell) == cell


def test_what_staff_typed_runs_in_no_spreadsheet(world, desk):
    world.services.staff.add_terminal(
        world.system,
        library_id="chuo",
        terminal_id="counter-9",
        name='=HYPERLINK("http://x","y")',
        kind=TerminalKind.COUNTER,
    )
    cells = [cell for row in table(desk.get("/admin/terminals/export.csv")) for cell in row]
    assert """'=HYPERLINK("http://x","y")""" in cells


def test_a_file_is_sent_as_it_is_made_and_longer_than_any_page(world, desk, many_links):
    answer = desk.client.get("/admin/links/export.csv", headers={"Accept-Language": "ja"}, buffered=False)
    assert answer.is_streamed
    assert len(table(answer)) == 1 + many_links


def test_a_list_is_counted_no_further_than_is_shown(world, desk, many_links):
    page = desk.get("/admin/links/").text
    assert "1,000件超" in page
    assert 'rel="next"' in page
    last = desk.get(f"/admin/links/?page={many_links // 50}").text
    assert 'rel="next"' not in last
    assert "21ページ目" in last
    assert "1件" in desk.get("/admin/links/?flt0_0=7").text


@pytest.fixture
def many_links(world, links_of):
    """More links than a list counts, made behind the program's back."""
    links_of(1, 1021)
    return 1020


def test_whose_certificate_ends_soon_is_listed_by_month(world, desk, links_of):
    links_of(1, 4, not_after=world.clock.now + timedelta(days=5))  # 25 November
    links_of(4, 6, not_after=world.clock.now + timedelta(days=30))  # 20 December
    links_of(6, 7, not_after=world.clock.now + timedelta(days=91))
    links_of(7, 8, not_after=world.clock.now - timedelta(days=1))

    def found(query=""):
        return [row[0] for row in table(desk.get(f"/admin/renewals/export.csv{query}"))[1:]]

    assert found() == ["1", "2", "3", "4", "5"]
    assert found("?flt0_0=2026-11") == ["1", "2", "3"]
    assert found("?flt0_0=2026-12") == ["4", "5"]
    assert found("?flt0_0=2027-02") == []
    assert found("?flt0_0=2027-03") == ["1", "2", "3", "4", "5"], "a month that is not offered"
    page = desk.get("/admin/renewals/").text
    assert "2026年11月" in page
    assert "2027年2月" in page
    assert "指定できません" in desk.get("/admin/renewals/?flt0_0=2026-13").text


def test_the_libraries_are_taken_away_as_a_file(world, browser_of):
    region = browser_of("kouiki")
    head, *entries = table(region.get("/admin/libraries/export.csv?search=chuo"))
    assert head == ["名称", "図書館ID", "Kohaとの接続方法", "端末", "職員"]
    assert entries == [["みどり市立中央図書館", "chuo", "SIP2のみ", "3", "3"]]
    with world.writing() as session:
        event = session.query(AuditEventRow).order_by(AuditEventRow.event_id.desc()).first()
        assert (event.tag, event.subject) == (AuditTag.LIST_EXPORTED, "libraries")
