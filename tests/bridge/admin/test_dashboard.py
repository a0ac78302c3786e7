"""The dashboard and the report: counted right, rounded so that nobody is in them, and readable."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from bridge.admin.charts import Bar, bar_chart
from bridge.errors import NotAllowed
from bridge.models import ActorKind, AuditTag, UnlinkReason
from bridge.statistics import Condition, Party, published, share_of
from bridge.store.tables import AuditEventRow, CountedDayRow
from jpki.crl_index import CrlHead
from jpki.errors import CrlIndexDamaged

TODAY = date(2026, 11, 20)


@pytest.fixture
def happened(world):
    """Write events into the audit log behind the program's back: so many of one kind, at one moment."""
    sequence = iter(range(1_000, 100_000_000))

    def write(tag, times=1, *, at=None, terminal_id="counter-1", library_id="chuo", **details):
        with world.writing() as session:
            session.execute(
                insert(AuditEventRow),
                [
                    {
                        "at": at or world.clock.now,
                        "library_id": library_id,
                        "tag": tag,
                        "actor_kind": ActorKind.TERMINAL,
                        "actor_id": terminal_id or "",
                        "subject": "-",
                        "terminal_id": terminal_id,
                        "details": details,
                        "sequence": next(sequence),
                        "hash": b"",
                    }
                    for _ in range(times)
                ],
            )

    return write


def numbers(world, first=TODAY, last=TODAY):
    return world.services.statistics.numbers(world.hanako, first, last)


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, 0), (1, None), (4, None), (5, 5), (9, 5), (10, 10), (1234, 1230)],
)
def test_a_number_is_told_in_fives_and_not_below(count, told):
    assert published(count) == told


def test_the_difference_of_two_numbers_says_nothing_of_fewer_than_five():
    """Each difference that can be read is a multiple of five, whatever the true one is."""
    for small in range(1, 5):
        for rest in range(5, 100):
            assert (published(rest + small) - published(rest)) % 5 == 0


@pytest.mark.parametrize(
    ("part", "other", "share"), [(10, 30, 25), (0, 5, 0), (None, 5, None), (5, None, None), (0, 0, None)]
)
def test_a_share_is_told_where_both_parts_are(part, other, share):
    assert share_of(part, other) == share


def test_locked_and_wrong_pins_of_machines_and_counters_are_counted_together(world, happened):
    happened(AuditTag.LINK_REFUSED, 3, problem="pin-blocked")
    happened(AuditTag.SESSION_DENIED, 4, terminal_id="jidou-1", problem="pin-blocked")
    happened(AuditTag.PIN_WRONG, 2)
    assert (numbers(world).pin_blocks, numbers(world).wrong_pins) == (5, None)
    happened(AuditTag.PIN_WRONG, 9, terminal_id="jidou-1")
    found = numbers(world)
    assert (found.wrong_pins, found.refusals) == (10, 5)


def test_what_happened_is_counted_by_terminal_and_by_reason(world, happened):
    happened(AuditTag.LINK_CREATED, 12)
    happened(AuditTag.LINK_ENDED, 5)
    happened(AuditTag.SESSION_OPENED, 30, terminal_id="jidou-1")
    happened(AuditTag.PATRON_IDENTIFIED, 10)
    happened(AuditTag.LINK_REFUSED, 6, problem="pin-blocked")
    happened(AuditTag.SESSION_DENIED, 3, problem="not-linked", terminal_id="jidou-1")
    happened(AuditTag.SESSION_OPENED, 50, library_id="kita")
    found = numbers(world)
    assert (found.links_made, found.links_ended, found.uses) == (10, 5, 40)
    assert found.uses_by_terminal == {"jidou-1": 30, "counter-1": 10}
    assert (found.refusals, found.pin_blocks) == (5, 5)
    assert found.refusals_by_reason == {"pin-blocked": 5, "not-linked": None}
    assert found.self_check_share == 75


def test_what_is_told_alike_stands_in_an_order_that_says_nothing(world, happened):
    happened(AuditTag.SESSION_DENIED, 1, problem="link-ended")
    happened(AuditTag.SESSION_DENIED, 4, problem="not-linked")
    happened(AuditTag.SESSION_DENIED, 2, problem="already-linked")
    assert list(numbers(world).refusals_by_reason) == ["already-linked", "link-ended", "not-linked"]


def test_refusals_that_were_told_together_count_as_many(world, happened):
    happened(AuditTag.SESSION_DENIED, 5, problem="not-linked")
    happened(AuditTag.SESSION_DENIED, problem="not-linked", repeated="95", until="2026-11-20T01:00:00+00:00")
    assert numbers(world).refusals == 100


def test_a_day_is_one_of_the_library(world, happened):
    happened(AuditTag.LINK_CREATED, 5, at=datetime(2026, 11, 19, 14, 59, 59, tzinfo=UTC))
    happened(AuditTag.LINK_CREATED, 10, at=datetime(2026, 11, 19, 15, 0, tzinfo=UTC))
    assert numbers(world).links_made == 10
    yesterday = TODAY - timedelta(days=1)
    assert numbers(world, yesterday, yesterday).links_made == 5
    assert numbers(world, yesterday).links_made == 15


def test_a_day_that_is_over_is_counted_once(world, happened):
    happened(AuditTag.LINK_CREATED, 5, at=world.clock.now - timedelta(days=1))
    happened(AuditTag.LINK_CREATED, 5)
    first = TODAY - timedelta(days=2)
    assert numbers(world, first).links_made == 10
    with world.writing() as session:
        kept = session.scalars(select(CountedDayRow).order_by(CountedDayRow.day)).all()
        assert [row.day for row in kept] == [first, first + timedelta(days=1)]
        assert [row.counts for row in kept] == [[], [["card_link:created", "counter-1", "", 5]]]
        kept[1].counts = [["card_link:created", "counter-1", "", 100]]
    assert numbers(world, first).links_made == 105


def test_a_day_that_has_just_ended_is_not_kept_yet(world, happened):
    world.clock.now = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)  # 0:30 in Tokyo
    numbers(world)
    with world.writing() as session:
        assert session.scalars(select(CountedDayRow)).all() == []


def test_a_period_ends_today_at_the_latest(world):
    assert numbers(world, TODAY, TODAY + timedelta(days=3)).last == TODAY


@pytest.mark.parametrize("days", [-1, 366])
def test_a_period_that_cannot_be_is_an_error_of_the_program(world, days):
    with pytest.raises(ValueError, match="2026"):
        numbers(world, TODAY - timedelta(days=days))


def test_who_sees_no_records_gets_no_numbers(world):
    region = world.services.staff.find_librarian("*", "kouiki")
    statistics = world.services.statistics
    for question in (
        statistics.today,
        statistics.renewals,
        statistics.conditions,
        statistics.revocation_lists,
        lambda librarian: statistics.numbers(librarian, TODAY, TODAY),
    ):
        with pytest.raises(NotAllowed):
            question(region)


def test_renewals_are_counted_by_month_from_now_on(world, links_of):
    links_of(1, 8, not_after=world.clock.now + timedelta(days=5))
    links_of(8, 18, not_after=world.clock.now + timedelta(days=30))
    links_of(18, 20, not_after=world.clock.now + timedelta(days=60))
    links_of(20, 40, not_after=world.clock.now - timedelta(days=1))
    assert world.services.statistics.renewals(world.hanako) == {
        date(2026, 11, 1): 5,
        date(2026, 12, 1): 10,
        date(2027, 1, 1): None,
        date(2027, 2, 1): 0,
    }


def test_koha_is_in_trouble_until_it_answers_again(world, happened):
    def koha():
        return world.services.statistics.conditions(world.hanako)[0]

    assert koha() == Condition(Party.KOHA, None, None)
    assert koha().is_well
    happened(AuditTag.PATRON_LOOKED_UP)
    happened(AuditTag.SESSION_DENIED, problem="koha-not-reachable", at=world.clock.now + timedelta(minutes=1))
    assert not koha().is_well
    happened(AuditTag.SESSION_OPENED, at=world.clock.now + timedelta(minutes=2))
    assert koha().is_well
    happened(AuditTag.SESSION_DENIED, problem="revocation-unknown", at=world.clock.now + timedelta(minutes=3))
    assert koha().is_well
    assert not world.services.statistics.conditions(world.hanako)[1].is_well


def test_trouble_is_forgotten_after_a_day(world, happened):
    happened(AuditTag.SESSION_DENIED, problem="koha-not-reachable")
    world.clock.now += timedelta(hours=25)
    assert world.services.statistics.conditions(world.hanako)[0].failed_at is None


def head(world, **changes):
    standing = {
        "issuer_key_identifier": b"k",
        "number": 77,
        "this_update": world.clock.now - timedelta(hours=3),
        "next_update": world.clock.now + timedelta(hours=21),
        "entry_count": 1,
        "digest": "d",
        "imported_at": world.clock.now,
    }
    return CrlHead(**{**standing, **changes})


@pytest.mark.parametrize(
    ("changes", "state"), [({}, "正常"), ({"next_update": datetime(2026, 11, 20, tzinfo=UTC)}, "異常")]
)
def test_a_revocation_list_is_told_with_its_age(world, desk, monkeypatch, changes, state):
    monkeypatch.setattr(world.services.statistics, "_crl_heads", lambda: [head(world, **changes)])
    page = desk.get("/admin/dashboard/").text
    row = re.search(r"失効リスト（CRL）.*?</tr>", page, re.DOTALL)[0]
    assert "番号77、発行から3 時間" in row
    assert f">{state}<" in row


def test_a_revocation_list_that_cannot_be_read_is_told(world, desk, monkeypatch, tmp_path):
    def damaged():
        raise CrlIndexDamaged(tmp_path)

    monkeypatch.setattr(world.services.statistics, "_crl_heads", damaged)
    assert "読み取れません" in desk.get("/admin/dashboard/").text


def test_the_dashboard_shows_the_numbers_in_words(world, desk, happened, links_of):
    happened(AuditTag.LINK_CREATED, 7)
    happened(AuditTag.SESSION_OPENED, 3, terminal_id="jidou-1")
    happened(AuditTag.PATRON_IDENTIFIED, 25)
    happened(AuditTag.LINK_REFUSED, 11, problem="pin-blocked")
    page = desk.get("/admin/dashboard/").text
    tiles = dict(
        zip(
            re.findall(r"<dt>([^<]+?) <small>", page),
            re.findall(r"<dd>([^<]+)</dd>", page),
            strict=True,
        )
    )
    assert tiles == {
        "連携件数": "5",
        "利用回数": "25",
        "受付不可": "10",
        "暗証番号のロック": "10",
        "自動貸出機の割合": "–",
    }
    assert "5未満" in page
    assert "自動貸出機 1号機" in page
    assert "暗証番号がロックされています" in page
    assert "pin-blocked" not in page
    assert "2026年11月" in page
    assert "まだ接続がありません" in page, "the terminals"


def test_no_patron_is_in_the_dashboard_or_the_report(world, desk):
    for _ in range(6):
        link = world.link()
        world.services.registration.unlink_all(world.hanako, "2000100000017", reason=UnlinkReason.CARD_LOST)
    for page in (
        "",
        "report?first=2026-11-01&last=2026-11-20",
        "report.csv?first=2026-11-01&last=2026-11-20",
    ):
        text = desk.get(f"/admin/dashboard/{page}").text
        for secret in ("図書 友子", "2000100000017", link.link_id):
            assert secret not in text


def test_the_report_has_the_library_the_period_and_what_each_number_counts(world, desk, happened):
    happened(AuditTag.SESSION_OPENED, 20, terminal_id="jidou-1")
    page = desk.get("/admin/dashboard/report?first=2026-11-01&last=2026-11-20").text
    assert "みどり市立中央図書館" in page
    assert "2026年11月1日から2026年11月20日まで" in page
    assert "貸出冊数にはよりません" in page
    assert "5の倍数に切り捨て" in page


def test_without_a_period_the_report_is_of_last_month(desk):
    assert "2026年10月1日から2026年10月31日まで" in desk.get("/admin/dashboard/report").text


@pytest.mark.parametrize(
    "period",
    [
        "first=2026-11-20&last=2026-11-01",
        "first=2024-01-01&last=2026-01-01",
        "first=x&last=2026-01-01",
        "first=",
    ],
)
def test_a_period_that_cannot_be_is_told_at_the_field(desk, period):
    page = desk.get(f"/admin/dashboard/report?{period}")
    assert page.status_code == 200
    assert "field-error" in page.text
    assert desk.get(f"/admin/dashboard/report.csv?{period}").status_code == 302


def test_the_report_is_saved_for_excel(world, desk, happened):
    happened(AuditTag.SESSION_OPENED, 20, terminal_id="jidou-1")
    happened(AuditTag.LINK_REFUSED, 2, problem="certificate-expired")
    answer = desk.get("/admin/dashboard/report.csv?first=2026-11-01&last=2026-11-20")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="report-2026-11-01-2026-11-20.csv"'
    rows = list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"), newline="")))
    assert rows[:2] == [["図書館", "みどり市立中央図書館"], ["期間", "2026-11-01", "2026-11-20"]]
    assert ["自動貸出機 1号機", "20"] in rows
    assert any(row[:2] == ["受付不可", "5未満"] for row in rows)
    assert any(row[1:] == ["5未満"] and "有効期限" in row[0] for row in rows)


def test_a_chart_runs_nothing_styles_nothing_and_is_hidden_from_who_reads_aloud():
    drawing = bar_chart([Bar("1", 10, "10"), Bar("<2>", None, "5未満")])
    assert drawing.startswith("<svg")
    assert 'aria-hidden="true"' in drawing
    assert "5未満" in drawing
    assert "&lt;2&gt;" in drawing
    for unwanted in ("<script", "<style", "style=", "<!--", " id=", "onclick", "<defs"):
        assert unwanted not in drawing
    assert bar_chart([]) == ""
