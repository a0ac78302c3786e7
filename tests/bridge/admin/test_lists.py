"""The lists: read-only, of one's own library, in the library's time."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import event

from bridge.links.identifiers import IdentifierForms
from bridge.links.life import suspend_revoked
from bridge.links.transfer import LinkTransferService
from bridge.models import (
    Actor,
    ActorKind,
    BulkUnlinkReason,
    IdentifierKind,
    LibrarianRole,
    LinkState,
    UnlinkReason,
)
from bridge.store import CardLinkRow, SweptGroupRow
from bridge.store.tables import RevocationSweepRow
from jpki.revocation import RevocationAnswer, RevocationStatus

SWEEP = Actor(ActorKind.COMMAND, "sweep")
LISTS = ("links", "renewals", "bulk", "categories", "terminals", "revocation", "audit")


def rows(page):
    """The cells of a list, as text, without the one for what can be done."""
    body = re.search(r"<tbody>(.*)</tbody>", page, re.DOTALL).group(1)
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL):
        cells = re.findall(r"<td class=\"col[^>]*>(.*?)</td>", row, re.DOTALL)
        if cells:
            found.append([re.sub(r"<[^>]+>", "", cell).strip() for cell in cells])
    return found


@pytest.fixture
def links(world):
    """Three links of this library, one of the other."""
    made = []
    for cardnumber in ("2000100000017", "2000100000033", "2000100000017"):
        made.append(world.link(cardnumber=cardnumber))
        world.clock.now += timedelta(minutes=1)
    world.link(world.north_librarian)
    return made


def test_a_list_shows_its_own_library_only(desk, links, browser_of):
    assert [row[0] for row in rows(desk.get("/admin/links/").text)] == ["17", "33", "17"]
    assert "<small>3件</small>" in desk.get("/admin/links/").text
    assert len(rows(browser_of("kita").get("/admin/links/").text)) == 1
    assert "きたカウンター" not in desk.get("/admin/terminals/").text
    audit = desk.get("/admin/audit/").text
    assert "北野 司" not in audit
    assert "北野 司" in browser_of("kita").get("/admin/audit/").text


def test_a_link_shows_when_its_certificate_was_confirmed_and_why_it_is_suspended(world, desk, links):
    world.clock.now += timedelta(days=2)
    revoked = RevocationAnswer(RevocationStatus.REVOKED, "crl", world.clock.now, reason="superseded")
    with world.store.transaction() as transaction:
        suspend_revoked(
            world.services.registration._environment, transaction, "chuo", {links[2].link_id: revoked}, SWEEP
        )
    world.clock.now += timedelta(hours=3)
    desk.log_in()  # the time without a click was long
    shown = rows(desk.get("/admin/links/").text)
    (suspended,) = [row for row in shown if row[1] == "停止中"]
    assert "3 時間前" in suspended[5]
    assert "失効した" in suspended[-1]
    assert "更新されました" in suspended[-1]
    assert all("2 日前" in row[5] for row in shown if row is not suspended)
    assert "連携の停止" in desk.get("/admin/audit/").text


def test_links_whose_certificate_ends_soon_are_found(world, desk, links):
    filter_number = re.search(
        r'name="(flt\d+_\d+)"[^>]*>\s*<option value="">[^<]*</option>\s*<option value="30"',
        desk.get("/admin/links/").text,
    )[1]
    world.clock.now = links[0].not_after - timedelta(days=60)
    desk.log_in()  # the time without a click was long
    assert len(rows(desk.get(f"/admin/links/?{filter_number}=90").text)) == 3
    assert rows(desk.get(f"/admin/links/?{filter_number}=30").text) == []
    assert "できません" in desk.get(f"/admin/links/?{filter_number}=31").text


def test_the_link_of_another_library_cannot_be_ended(world, links, browser_of):
    north = browser_of("kita")
    address = f"/admin/links/{links[0].link_id}/unlink"
    assert north.get(address).status_code == 404
    answer = north.post(address, "/admin/links/", {"reason": "mistake", "confirmed": "y"}, follow=True)
    assert "その連携はありません。" in answer.text
    assert world.services.registration.link(world.hanako, links[0].link_id).state is LinkState.ACTIVE


def test_ending_a_link_takes_a_reason_and_a_confirmation(world, desk, links):
    address = f"/admin/links/{links[0].link_id}/unlink"
    for incomplete in (
        {},
        {"reason": "card_lost"},
        {"confirmed": "y"},
        {"reason": "spite", "confirmed": "y"},
    ):
        assert "field-error" in desk.post(address, address, incomplete).text
    assert world.services.registration.link(world.hanako, links[0].link_id).state is LinkState.ACTIVE
    answer = desk.post(address, address, {"reason": "card_lost", "confirmed": "y"}, follow=True)
    assert "連携を解除しました。" in answer.text
    link = world.services.registration.link(world.hanako, links[0].link_id)
    assert (link.state, link.ended_reason) == (LinkState.ENDED, UnlinkReason.CARD_LOST)
    assert "マイナンバーカードの紛失・盗難" in desk.get("/admin/audit/").text
    again = desk.post(address, "/admin/links/", {"reason": "card_lost", "confirmed": "y"}, follow=True)
    assert "その連携はありません。" in again.text


def test_an_ended_link_offers_no_end(world, desk, links):
    world.services.registration.unlink(world.hanako, links[0].link_id, reason=UnlinkReason.MISTAKE)
    page = desk.get("/admin/links/").text
    assert page.count("/unlink") == 2
    assert links[0].link_id not in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("flt0_0=33", ["33"]),
        ("flt0_0=34", []),
        ("flt0_0=&flt1_1=&flt2_2=&flt3_3=", ["17", "33", "17"]),
        ("flt1_1=ended", ["17"]),
        ("flt1_1=active&flt0_0=17", ["17"]),
        ("flt2_2=2027-11-20", ["17", "33", "17"]),
        ("flt2_2=2027-11-21", []),
        ("flt3_3=2027-11-20", ["17", "33", "17"]),
        ("flt3_3=2027-11-19", []),
        ("sort=0", ["17", "17", "33"]),
        ("sort=0&desc=1", ["33", "17", "17"]),
        ("sort=99", ["17", "33", "17"]),
        ("page=-3", ["17", "33", "17"]),
        ("page=7", []),
        ("page_size=-1", ["17", "33", "17"]),
    ],
)
def test_links_are_filtered_and_sorted(world, desk, links, query, found):
    world.services.registration.unlink(world.hanako, links[2].link_id, reason=UnlinkReason.MISTAKE)
    page = desk.get(f"/admin/links/?{query}")
    assert page.status_code == 200
    assert [row[0] for row in rows(page.text)] == found


@pytest.mark.parametrize(
    "query",
    ["flt0_0=x", "flt0_0=0", "flt0_0=99999999999999999999", "flt1_1=x", "flt2_2=yesterday", "flt3_3=1"],
)
def test_a_filter_value_that_cannot_be_meant_is_told_and_left_out(desk, links, query):
    page = desk.get(f"/admin/links/?{query}")
    assert page.status_code == 200
    assert "指定できません。" in page.text
    assert len(rows(page.text)) == 3


def test_a_day_begins_at_midnight_in_japan(world, browser_of):
    world.clock.now = world.clock.now.replace(hour=15, minute=10)  # 0:10 on the 21st in Tokyo
    world.link()
    desk = browser_of("hanako")
    assert rows(desk.get("/admin/links/").text)[0][2] == "2026年11月21日 0:10"
    assert "カードを連携" not in str(rows(desk.get("/admin/audit/?flt2_2=2026-11-20").text))
    assert "カードを連携" in str(rows(desk.get("/admin/audit/?flt1_1=2026-11-21").text))


@pytest.mark.parametrize("length", [8, 11, 32])
def test_the_audit_log_is_searched_by_number_and_kind(desk, links, length):
    page = desk.get(f"/admin/audit/?search={links[1].link_id[:length]}").text
    assert [row[1] for row in rows(page)] == ["カードを連携"]
    assert "番号（8桁以上）" in page
    assert rows(desk.get(f"/admin/audit/?search={links[1].link_id[:7]}").text) == []
    assert len(rows(desk.get("/admin/audit/?search=counter-1").text)) == 1
    page = desk.get("/admin/audit/?flt0_0=card_link:created").text
    assert [row[1] for row in rows(page)] == ["カードを連携"] * 3
    assert rows(desk.get("/admin/audit/?search=%25%27%22").text) == []


def test_the_newest_line_of_the_audit_log_comes_first(desk, links):
    lines = [row[1] for row in rows(desk.get("/admin/audit/").text)]
    assert lines[:2] == ["カードを連携", "連携を開始"]


def test_a_long_list_has_pages(world, desk):
    with world.writing() as session:
        session.add_all(
            CardLinkRow(
                link_id=f"{number:032x}",
                library_id="chuo",
                patron_id=number,
                kind="serial_number",
                key_id="k1",
                digest=f"{number:064x}",
                state="active",
                not_after=world.clock.now,
                linked_at=world.clock.now,
                linked_by=world.hanako.librarian_id,
            )
            for number in range(1, 121)
        )
    first = desk.get("/admin/links/?sort=0").text
    assert "3ページ中1ページ目" in first
    assert len(rows(first)) == 50
    following = re.search(r'rel="next" href="([^"]+)"', first).group(1).replace("&amp;", "&")
    assert rows(desk.get(following).text)[0][0] == "51"
    last = desk.get("/admin/links/?sort=0&page=2").text
    assert len(rows(last)) == 20
    assert 'rel="next"' not in last


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "path", ["new/", "edit/", "delete/", "details/", "action/", "ajax/update/", "export/csv/"]
)
def test_flask_admin_ways_to_change_rows_have_no_address(world, desk, name, path):
    assert desk.get(f"/admin/{name}/{path}").status_code == 404
    rules = {rule.rule for rule in world.app.url_map.iter_rules()}
    assert f"/admin/{name}/{path}" not in rules


@pytest.mark.parametrize("name", LISTS)
def test_a_list_asks_the_database_the_same_number_of_questions_for_many_rows(world, desk, name):
    def questions():
        asked = []

        def count(connection, cursor, statement, *rest):
            if statement.startswith("SELECT"):
                asked.append(statement)

        engine = world.store.scoped_session()().get_bind()
        event.listen(engine, "before_cursor_execute", count)
        desk.get(f"/admin/{name}/")
        event.remove(engine, "before_cursor_execute", count)
        return len(asked)

    world.link()
    before = questions()
    for _ in range(3):
        world.link(cardnumber="2000100000033")
    assert questions() == before


def test_what_people_are_called_is_text_and_no_markup(world, browser_of):
    world.services.staff.add_librarian(
        Actor(ActorKind.COMMAND, "tests"),
        library_id="chuo",
        login_name="bobby",
        display_name="<script>alert(1)</script>",
        role=LibrarianRole.ADMINISTRATOR,
        password="correct horse battery staple",
    )
    page = browser_of("bobby").get("/admin/audit/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.fixture
def taken_over(world):
    """A link of this library that came from another system."""
    transfer = LinkTransferService(
        world.services.registration._environment, IdentifierForms({IdentifierKind.MYKEY_ID: re.compile(".+")})
    )
    transfer.import_links(
        "chuo",
        b"identifier,library_card\nABCD1234,2000100000017\n",
        IdentifierKind.MYKEY_ID,
        SWEEP,
        usual_day=date(2030, 3, 31),
        dry_run=False,
    )


def test_a_link_that_was_taken_over_is_told_in_the_list_and_at_the_counter(desk, taken_over):
    (row,) = rows(desk.get("/admin/links/").text)
    assert row[1] == "有効（マイキーIDからの取込み）"
    counter = "/admin/counter/"
    page = desk.post(counter, counter, {"cardnumber": "2000100000017"}).text
    assert "マイキーIDから取り込んだ連携です" in page
    assert "ABCD1234" not in page


def test_links_are_found_by_what_they_are_kept_under(world, desk, taken_over):
    world.link(cardnumber="2000100000033")
    page = desk.get("/admin/links/").text
    options = re.findall(r'name="(flt\d+_\d+)"(?:(?!</select>).)*value="mykey_id"', page, re.DOTALL)
    assert [row[0] for row in rows(desk.get(f"/admin/links/?{options[-1]}=mykey_id").text)] == ["17"]
    assert [row[0] for row in rows(desk.get(f"/admin/links/?{options[-1]}=serial_number").text)] == ["33"]


def test_the_audit_log_is_narrowed_to_a_terminal_or_a_member_of_staff(world, desk, browser_of):
    world.link()
    world.link(cardnumber="2000100000033", terminal_id="counter-2")

    def found(query):
        return len(rows(desk.get(f"/admin/audit/?{query}").text))

    assert found("flt3_3=counter-1") == found("flt3_3=counter-2") > 0
    assert found("flt4_4=" + world.hanako.librarian_id) > 0
    auditor = world.services.staff.find_librarian("chuo", "kansa")
    assert found(f"flt4_4={auditor.librarian_id}") == 0
    assert "指定できません" in desk.get("/admin/audit/?flt3_3=kita-1").text
    assert "指定できません" in desk.get(f"/admin/audit/?flt4_4={world.north_librarian.librarian_id}").text


def test_the_staff_are_listed_for_who_administers_them(browser_of):
    own = rows(browser_of("kanri").get("/admin/librarians/").text)
    assert [row[1] for row in own] == ["hanako", "kanri", "kansa"]
    everybody = rows(browser_of("kouiki").get("/admin/librarians/").text)
    assert [(row[1], row[2]) for row in everybody] == [
        ("hanako", "みどり市立中央図書館"),
        ("kanri", "みどり市立中央図書館"),
        ("kansa", "みどり市立中央図書館"),
        ("kita", "きた町図書館"),
        ("kouiki", "全館"),
    ]


def test_a_locked_or_closed_account_is_told(world, browser_of, stranger):
    for _ in range(5):
        stranger.log_in("hanako", "wrong")
    world.services.staff.disable(
        world.system,
        library_id="chuo",
        librarian_id=world.services.staff.find_librarian("chuo", "kansa").librarian_id,
    )
    states = {row[1]: row[4] for row in rows(browser_of("kanri").get("/admin/librarians/").text)}
    assert states == {"hanako": "ロック中", "kanri": "有効", "kansa": "停止中"}


@pytest.fixture
def swept(world):
    """What the last sweep found of one CA, three hours ago."""
    moment = world.clock.now - timedelta(hours=3)
    with world.writing() as session:
        sweep = RevocationSweepRow(
            sweep_id="s1", started_at=moment, position="", good=1, suspended=0, unknown=0, finished_at=moment
        )
        session.add(sweep)
        session.flush()
        session.add(
            SweptGroupRow(
                library_id="chuo",
                issuer_key_identifier=bytes.fromhex("00112233445566"),
                key_id="k1",
                sweep_id="s1",
                tagged_before=moment,
                source="crl",
                as_of=moment,
            )
        )


def test_what_the_last_sweep_found_is_told_with_its_age(desk, browser_of, swept):
    (row,) = rows(desk.get("/admin/revocation/").text)
    assert row[0] == "00112233"
    assert row[1] == "失効リスト（CRL）"
    assert row[2] == row[4] == row[5] == "2026年11月20日 7:30"
    assert row[3] == "3 時間"
    assert rows(browser_of("kita").get("/admin/revocation/").text) == []


def test_a_link_and_a_request_are_searched_by_the_number_that_the_audit_log_shows(world, desk, links):
    asked = world.services.bulk_unlinking.request(
        world.hanako, [link.link_id for link in links], reason=BulkUnlinkReason.MISTAKE
    )
    for name, number in (("links", links[1].link_id), ("bulk", asked.bulk_id)):
        assert len(rows(desk.get(f"/admin/{name}/?search={number[:8]}").text)) == 1
        assert len(rows(desk.get(f"/admin/{name}/?search=+{number}+").text)) == 1
        assert rows(desk.get(f"/admin/{name}/?search=00000000").text) == []
        assert rows(desk.get(f"/admin/{name}/?search=%25").text) == []


FEW = {"SCAN anon_1", "SCAN swept_group_1"}
"""The rows that are counted, and the CAs."""


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("audit/?search=00112233", "ix_audit_event_subject (library_id=? AND subject>? AND subject<?)"),
        ("audit/?search=counter-1", "ix_audit_event_subject (library_id=? AND subject=?)"),
        ("links/?search=00112233", "sqlite_autoindex_card_link_1 (link_id=?)"),
        ("links/?search=00112233&flt1_1=active", "sqlite_autoindex_card_link_1 (link_id=?)"),
        (f"links/?flt6_6={'0' * 32}", "sqlite_autoindex_card_link_1 (link_id=?)"),
        ("bulk/?search=00112233", "sqlite_autoindex_bulk_unlinking_1 (bulk_id=?)"),
    ],
)
def test_a_search_looks_at_what_it_finds_and_not_at_every_row(world, desk, path, step):
    asked = []

    def note(connection, cursor, statement, parameters, *rest):
        if "LIMIT" in statement:
            asked.append((statement, parameters))

    engine = world.store.scoped_session()().get_bind()
    event.listen(engine, "before_cursor_execute", note)
    desk.get(f"/admin/{path}")
    event.remove(engine, "before_cursor_execute", note)
    assert len(asked) == 2, "the rows and their number"
    with engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            told = [line[-1] for line in plan if line[-1] not in FEW]
            assert [line for line in told if line.startswith("SCAN") or "(library_id=?)" in line] == [], told
            assert any(line.endswith(step) for line in told), told


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("links/", "ix_card_link_newest"),
        ("links/?flt1_1=suspended", "ix_card_link_state"),
        ("links/?sort=3", "ix_card_link_not_after"),
        ("renewals/", "ix_card_link_not_after"),
        ("bulk/", "ix_bulk_unlinking_newest"),
        ("bulk/?flt0_0=requested", "ix_bulk_unlinking_state"),
        ("categories/", "ix_category_move_newest"),
        ("audit/", "ix_audit_event_library"),
        ("audit/?flt0_0=card_link:refused", "ix_audit_event_tag"),
        ("audit/?flt3_3=counter-1", "ix_audit_event_terminal"),
        ("audit/?flt4_4=HANAKO", "ix_audit_event_librarian"),
    ],
)
def test_the_first_rows_of_a_list_come_from_an_index_in_their_order(world, desk, path, index):
    asked = []

    def note(connection, cursor, statement, parameters, *rest):
        if "LIMIT" in statement and "ORDER BY" in statement:
            asked.append((statement, parameters))

    engine = world.store.scoped_session()().get_bind()
    event.listen(engine, "before_cursor_execute", note)
    desk.get(f"/admin/{path.replace('HANAKO', world.hanako.librarian_id)}")
    event.remove(engine, "before_cursor_execute", note)
    ((statement, parameters),) = asked
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    steps = [step[-1] for step in plan]
    assert any(f"INDEX {index} " in step for step in steps), steps
    assert not [step for step in steps if "ORDER BY" in step], steps


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["chuo", "kita"]),
        ("search=kita", ["kita"]),
        ("search=ＫＩＴＡ", ["kita"]),
        ("search=みどり市", ["chuo"]),
        ("search=%25", []),
        ("sort=1&desc=1", ["kita", "chuo"]),
        ("sort=3", ["kita", "chuo"]),
        ("flt0_0=rest", []),
        ("flt0_0=sip2", ["chuo", "kita"]),
        ("flt1_1=some", ["chuo", "kita"]),
        ("flt1_1=none", []),
        ("flt1_1=none&flt0_0=", []),
        ("flt0_0=x", ["chuo", "kita"]),
        ("page=1", []),
        ("page=-1", ["chuo", "kita"]),
        ("page=99999999999999999999", []),
    ],
)
def test_the_libraries_are_listed_searched_sorted_and_filtered(browser_of, query, found):
    page = browser_of("kouiki").get(f"/admin/libraries/?{query}")
    assert page.status_code == 200
    assert [row[1] for row in rows(page.text)] == found


def test_the_list_of_libraries_leads_to_each_and_counts_what_it_has(world, browser_of):
    region = browser_of("kouiki")
    page = region.get("/admin/libraries/").text
    assert rows(page)[0] == ["みどり市立中央図書館", "chuo", "SIP2のみ", "3", "3"]
    assert 'href="/admin/libraries/chuo/"' in page
    world.services.staff.remove_terminal(world.system, library_id="kita", terminal_id="counter-1")
    assert rows(region.get("/admin/libraries/?flt1_1=none").text) == [
        ["きた町図書館", "kita", "SIP2のみ", "0", "1"]
    ]
    assert [row[1] for row in rows(browser_of("kanri").get("/admin/libraries/").text)] == ["chuo"]


def test_a_long_list_of_libraries_has_pages(world, browser_of):
    libraries = world.services.administration._environment.libraries
    for number in range(60):
        libraries[f"bunkan-{number:02}"] = replace(libraries["kita"], library_id=f"bunkan-{number:02}")
    region = browser_of("kouiki")
    first = region.get("/admin/libraries/?sort=1").text
    assert "2ページ中1ページ目" in first
    assert len(rows(first)) == 50
    assert rows(region.get("/admin/libraries/?sort=1&page=1").text)[0][1] == "bunkan-50"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("flt0_0=0011", 1),
        ("flt0_0=００１１２２３３", 1),
        ("flt0_0=1", 0),
        ("flt0_0=xyz", 1),
        ("flt1_1=crl", 1),
        ("flt1_1=ocsp", 0),
        ("flt2_2=2026-11-20", 1),
        ("flt3_3=2026-11-19", 0),
    ],
)
def test_what_the_last_sweep_found_is_filtered_by_ca_source_and_day(desk, swept, query, found):
    assert len(rows(desk.get(f"/admin/revocation/?{query}").text)) == found


def test_terminals_are_filtered_by_whether_they_are_in_use(world, desk):
    world.services.staff.remove_terminal(world.system, library_id="chuo", terminal_id="counter-2")
    assert len(rows(desk.get("/admin/terminals/?flt1_1=1").text)) == 2
    assert [row[2] for row in rows(desk.get("/admin/terminals/?flt1_1=0").text)] == ["counter-2"]
