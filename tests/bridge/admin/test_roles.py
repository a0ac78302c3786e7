"""Which role reaches which page, and that nobody reaches anything of another library."""

from __future__ import annotations

import re

import pytest

from bridge.admin.auth import OPEN_ENDPOINTS
from bridge.links.consent import STANDARD_VERSION
from bridge.models import (
    PERMISSIONS,
    REGION,
    BulkUnlinkingState,
    BulkUnlinkReason,
    LibrarianRole,
    Permission,
    TerminalKind,
)

LOG_INS = {
    LibrarianRole.LIBRARIAN: "hanako",
    LibrarianRole.ADMINISTRATOR: "kanri",
    LibrarianRole.AUDITOR: "kansa",
    LibrarianRole.REGION_ADMINISTRATOR: "kouiki",
}

ALL_STAFF = None
"""What is there for whoever is logged in: the own account, and nobody else's."""

COUNTER, RECORDS, ADMINISTER = Permission.WORK_AT_THE_COUNTER, Permission.SEE_RECORDS, Permission.ADMINISTER

NEEDED = {
    "counter.index": COUNTER,
    "counter.terminal": COUNTER,
    "counter.identify": COUNTER,
    "counter.restore": COUNTER,
    "counter.application_form": COUNTER,
    "counter.application_form_for_a_child": COUNTER,
    "counter.lost": COUNTER,
    "counter.watch": COUNTER,
    "counter.cancel": COUNTER,
    "counter.state": COUNTER,
    "counter.start": COUNTER,
    "dashboard.index": RECORDS,
    "dashboard.report": RECORDS,
    "dashboard.report_file": RECORDS,
    "links.index_view": RECORDS,
    "links.restore": COUNTER,
    "links.suspend": COUNTER,
    "links.unlink": COUNTER,
    "links.consent": RECORDS,
    "links.download": RECORDS,
    "links.end_several": COUNTER,
    "bulk.index_view": RECORDS,
    "bulk.download": RECORDS,
    "bulk.show": RECORDS,
    "bulk.approve": COUNTER,
    "bulk.decline": COUNTER,
    "bulk.withdraw": COUNTER,
    "bulk.carry_on": COUNTER,
    "categories.index_view": RECORDS,
    "categories.download": RECORDS,
    "terminals.index_view": RECORDS,
    "terminals.download": RECORDS,
    "audit.index_view": RECORDS,
    "audit.download": RECORDS,
    "libraries.index_view": ADMINISTER,
    "libraries.download": ADMINISTER,
    "libraries.library": ADMINISTER,
    "libraries.consent": ADMINISTER,
    "libraries.consent_version": ADMINISTER,
    "libraries.staff": ADMINISTER,
    "libraries.disable": ADMINISTER,
    "libraries.enable": ADMINISTER,
    "libraries.reset_password": ADMINISTER,
    "libraries.reset_second_factor": ADMINISTER,
    "libraries.unlock": ADMINISTER,
    "libraries.use_koha_password": ADMINISTER,
    "libraries.add_librarian": ADMINISTER,
    "libraries.enrol_terminal": ADMINISTER,
    "libraries.remove_terminal": ADMINISTER,
    "libraries.add_terminal": ADMINISTER,
    "renewals.index_view": RECORDS,
    "renewals.download": RECORDS,
    "revocation.index_view": RECORDS,
    "revocation.download": RECORDS,
    "librarians.index_view": ADMINISTER,
    "librarians.download": ADMINISTER,
    "account.index": ALL_STAFF,
    "account.change_password": ALL_STAFF,
    "account.second_factor": ALL_STAFF,
    "account.propose_second_factor": ALL_STAFF,
    "account.second_factor_picture": ALL_STAFF,
    "account.remove_second_factor": ALL_STAFF,
}
"""What each page and action asks for, by its endpoint; a page that is added must be put here."""

ANY_ID = "0123456789abcdef0123456789abcdef"


def pages(app):
    """Every page and action of the admin that is not open to strangers: endpoint, address, methods."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/admin/") and not is_front_door(rule.endpoint):
            yield rule.endpoint, re.sub(r"<[^>]+>", ANY_ID, rule.rule), rule.methods


def is_front_door(endpoint):
    return endpoint in OPEN_ENDPOINTS or endpoint.startswith("admin.")


def allows(role, endpoint):
    permission = NEEDED[endpoint]
    return permission is ALL_STAFF or role.may(permission)


def test_every_role_is_in_the_table():
    assert set(PERMISSIONS) == set(LibrarianRole) == set(LOG_INS)
    assert PERMISSIONS[LibrarianRole.REGION_ADMINISTRATOR] == {Permission.ADMINISTER}


def test_every_page_and_action_is_in_the_table(world):
    assert {endpoint for endpoint, _address, _methods in pages(world.app)} == set(NEEDED)


@pytest.mark.parametrize("role", LibrarianRole)
def test_a_role_reaches_the_pages_of_its_permissions_and_no_other(world, browser_of, role):
    browser = browser_of(LOG_INS[role])
    home = browser.get("/admin/").location
    for endpoint, address, methods in pages(world.app):
        allowed = allows(role, endpoint)
        if "GET" in methods:
            assert (browser.get(address).status_code != 403) is allowed, endpoint
        if "POST" in methods:
            assert (browser.post(address, home).status_code != 403) is allowed, endpoint


def test_a_stranger_reaches_none_of_them_with_a_token_of_the_log_in_page_or_without(world, stranger):
    for endpoint, address, methods in pages(world.app):
        if "GET" in methods:
            assert stranger.get(address).location.startswith("/admin/login"), endpoint
        if "POST" in methods:
            assert stranger.post(address, "/admin/login").location.startswith("/admin/login"), endpoint
            assert stranger.client.post(address).status_code == 400, endpoint


@pytest.mark.parametrize("role", LibrarianRole)
def test_no_role_does_anything_with_a_token_that_is_wrong_or_of_another_session(browser_of, world, role):
    other = browser_of("kita").get("/admin/account/").text
    foreign = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', other)[1]
    browser = browser_of(LOG_INS[role])
    for endpoint, address, methods in pages(world.app):
        for token in ("", "wrong", foreign) if "POST" in methods else ():
            answer = browser.client.post(address, data={"csrf_token": token})
            assert answer.status_code == 400, endpoint


@pytest.mark.parametrize("role", LibrarianRole)
def test_the_menu_shows_a_role_its_own_pages_only(browser_of, role):
    browser = browser_of(LOG_INS[role])
    page = browser.get(browser.get("/admin/").location).text
    menu = page.partition("<nav")[2].partition("</nav>")[0]
    shown = set(re.findall(r'href="/admin/([a-z]+)/"', menu))
    in_menu = {endpoint.partition(".")[0] for endpoint, permission in NEEDED.items() if permission}
    assert shown == {
        part for part in in_menu if any(allows(role, each) for each in NEEDED if each.startswith(f"{part}."))
    }


@pytest.fixture
def north(world):
    """What there is in the other library: a link, a request, a terminal, an account."""
    link = world.link(world.north_librarian)
    world.services.staff.add_terminal(
        world.system, library_id="kita", terminal_id="kita-2", name="分室", kind=TerminalKind.COUNTER
    )
    request = world.services.registration.start(
        world.north_librarian,
        terminal_id="kita-2",
        cardnumber="2000100000017",
        consent_version=STANDARD_VERSION,
    )
    asked = world.services.bulk_unlinking.request(
        world.north_librarian, [link.link_id], reason=BulkUnlinkReason.MISTAKE
    )
    return {
        "bulk/requests/{}": asked.bulk_id,
        **{
            f"bulk/requests/{{}}/{step}": asked.bulk_id
            for step in ("approve", "decline", "withdraw", "continue")
        },
        **{f"links/{{}}/{step}": link.link_id for step in ("unlink", "suspend", "restore")},
        "counter/requests/{}": request.request_id,
        "counter/requests/{}/state": request.request_id,
        "counter/requests/{}/cancel": request.request_id,
        "libraries/{}/": "kita",
        "libraries/{}/terminals/add": "kita",
        "libraries/{}/terminals/kita-2/remove": "kita",
        "libraries/{}/terminals/kita-2/enrol": "kita",
        "libraries/{}/staff/add": "kita",
        **{
            f"libraries/{{}}/staff/{world.north_librarian.librarian_id}{change}": "kita"
            for change in ("", "/disable", "/enable", "/unlock", "/password", "/koha")
        },
        "libraries/chuo/staff/{}": world.north_librarian.librarian_id,
        "libraries/chuo/staff/{}/password": world.north_librarian.librarian_id,
        "libraries/chuo/staff/{}/disable": world.north_librarian.librarian_id,
        "libraries/chuo/terminals/{}/remove": "kita-2",
        "libraries/chuo/terminals/{}/enrol": "kita-2",
    }


def answer_of(browser, method, address):
    answer = (
        browser.get(address)
        if method == "GET"
        else browser.post(address, "/admin/counter/", {"confirmed": "y"})
    )
    told = browser.get(answer.location).text if answer.status_code == 303 else answer.text
    notices = re.findall(r'<p class="notice[^>]*>([^<]*)</p>', told)
    return answer.status_code, (answer.location or "").replace(address, ""), notices


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_belongs_to_another_library_is_answered_as_what_does_not_exist(world, browser_of, north, method):
    browser = browser_of("kanri")
    for address, known in north.items():
        there = answer_of(browser, method, "/admin/" + address.format(known))
        nowhere = answer_of(browser, method, "/admin/" + address.format(ANY_ID))
        assert there == nowhere, (method, address)
        assert there[0] in (303, 404, 405), address
    assert world.services.registration.link(world.north_librarian, north["links/{}/unlink"]).ended_at is None
    asked = world.services.bulk_unlinking.find(world.north_librarian, north["bulk/requests/{}"])
    assert asked.state is BulkUnlinkingState.REQUESTED
    assert world.services.staff.get_librarian(world.north_librarian.librarian_id).active
    assert len(world.services.staff.terminals("kita")) == 2


def test_no_list_shows_anything_of_another_library(world, browser_of, north):
    foreign = {"kita-2", "きた", "北野 司", "分室"}
    browser = browser_of("kanri")
    lists = ("links", "renewals", "bulk", "categories", "terminals", "revocation", "audit", "librarians")
    files = [f"{page}/export.csv" for page in lists]
    figures = ("dashboard/", "dashboard/report", "dashboard/report.csv")
    for page in (*lists, *files, *figures, "libraries/", "libraries/chuo/"):
        text = browser.get(f"/admin/{page}", follow_redirects=True).text
        assert text
        assert [word for word in foreign if word in text] == [], page
    region = browser_of("kouiki")
    assert "きた町図書館" in region.get("/admin/libraries/").text
    assert "分室" in region.get("/admin/libraries/kita/").text


def test_the_region_administrator_belongs_to_no_library(world, browser_of):
    region = world.services.staff.find_librarian(REGION, "kouiki")
    page = browser_of("kouiki").get("/admin/libraries/").text
    assert region.library_id not in world.services.library_names
    assert "全館" in page
    assert "広域管理者" in page


def test_a_terminal_is_added_with_a_token_that_is_shown_once_and_removed(world, browser_of):
    region = browser_of("kouiki")
    add = "/admin/libraries/kita/terminals/add"
    page = region.post(
        add, add, {"terminal_id": "sc-1", "name": "自動貸出機", "kind": "self_check", "sip2_login": "sc"}
    ).text
    token = re.search("<code>([^<]+)</code>", page)[1]
    terminal = world.services.staff.terminal_for_token(token)
    assert (terminal.library_id, terminal.terminal_id, terminal.sip2_login) == ("kita", "sc-1", "sc")
    library = region.get("/admin/libraries/kita/").text
    assert "自動貸出機" in library
    assert token not in library
    remove = "/admin/libraries/kita/terminals/sc-1/remove"
    assert "確認" in region.post(remove, remove).text
    assert region.post(remove, remove, {"confirmed": "y"}).status_code == 303
    assert world.services.staff.terminal_for_token(token) is None


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ({"terminal_id": "x y", "name": "n", "kind": "counter"}, "半角"),
        ({"terminal_id": "x", "name": "n", "kind": "self_check"}, "SIP2ログイン名が必要"),
        ({"terminal_id": "x", "name": "n", "kind": "counter", "sip2_login": "sc"}, "SIP2ログイン名が必要"),
        ({"terminal_id": "x", "name": "", "kind": "counter"}, "入力してください"),
        ({"terminal_id": "x", "name": "n", "kind": "other"}, "field-error"),
    ],
)
def test_a_terminal_that_cannot_be_is_told_at_the_field(world, browser_of, form, word):
    add = "/admin/libraries/chuo/terminals/add"
    before = len(world.services.staff.terminals("chuo"))
    assert word in browser_of("kanri").post(add, add, form).text
    assert len(world.services.staff.terminals("chuo")) == before


def test_a_name_that_is_in_use_is_told_on_the_form(browser_of):
    add = "/admin/libraries/chuo/staff/add"
    form = {"login_name": "kita", "display_name": "だれか", "role": "librarian"}
    assert "使われています" in browser_of("kanri").post(add, add, form, follow=True).text


def test_a_member_of_staff_is_added_and_logs_in_with_the_password_that_was_shown(world, browser_of, stranger):
    add = "/admin/libraries/chuo/staff/add"
    form = {"login_name": "jiro", "display_name": "司書 次郎", "role": "auditor"}
    page = browser_of("kanri").post(add, add, form).text
    assert stranger.log_in("jiro", re.search("<code>([^<]+)</code>", page)[1]).status_code == 303
    assert world.services.staff.find_librarian("chuo", "jiro").role is LibrarianRole.AUDITOR


@pytest.mark.parametrize("role", ["region_administrator", "other", ""])
def test_a_library_has_no_region_administrator(world, browser_of, role):
    browser = browser_of("kanri")
    add = "/admin/libraries/chuo/staff/add"
    form = {"login_name": "jiro", "display_name": "次郎", "role": role}
    assert "field-error" in browser.post(add, add, form).text
    account = f"/admin/libraries/chuo/staff/{world.hanako.librarian_id}"
    assert "field-error" in browser.post(account, account, {"role": role}).text
    assert world.services.staff.get_librarian(world.hanako.librarian_id).role is LibrarianRole.LIBRARIAN


def test_a_role_counts_from_the_next_click(world, browser_of, desk):
    account = f"/admin/libraries/chuo/staff/{world.hanako.librarian_id}"
    assert desk.get("/admin/counter/").status_code == 200
    assert browser_of("kanri").post(account, account, {"role": "auditor"}).status_code == 303
    assert desk.get("/admin/counter/").status_code == 403


@pytest.mark.parametrize("change", ["disable", "password"])
def test_a_closed_account_or_a_new_password_logs_out_at_once(world, browser_of, desk, change):
    account = f"/admin/libraries/chuo/staff/{world.hanako.librarian_id}"
    browser_of("kanri").post(f"{account}/{change}", account)
    assert desk.get("/admin/counter/").location.startswith("/admin/login")


@pytest.mark.parametrize("change", ["disable", "enable", "unlock", "password"])
def test_nobody_changes_the_own_account(world, browser_of, change):
    browser = browser_of("kanri")
    own = world.services.staff.find_librarian("chuo", "kanri")
    account = f"/admin/libraries/chuo/staff/{own.librarian_id}"
    assert "自分のアカウントは変更できません" in browser.get(account).text
    answer = browser.post(f"{account}/{change}", "/admin/counter/", follow=True)
    assert "できません" in answer.text
    assert world.services.staff.find_librarian("chuo", "kanri") == own


def test_a_copied_cookie_is_worth_nothing_after_the_log_out(world, desk):
    cookie = desk.client.get_cookie("session").value
    desk.post("/admin/logout", "/admin/counter/")
    thief = world.app.test_client()
    thief.set_cookie("session", cookie)
    answer = thief.get("/admin/counter/", headers={"Accept-Language": "ja"})
    assert answer.location.startswith("/admin/login")


@pytest.mark.parametrize("other", [{"REMOTE_ADDR": "192.0.2.7"}, {"HTTP_USER_AGENT": "another browser"}])
def test_a_copied_cookie_is_worth_nothing_at_another_address_or_in_another_browser(world, desk, other):
    thief = world.app.test_client()
    thief.set_cookie("session", desk.client.get_cookie("session").value)
    assert thief.get("/admin/counter/").status_code == 200
    answer = thief.get("/admin/counter/", environ_overrides=other)
    assert answer.location.startswith("/admin/login")


def test_a_cookie_without_a_generation_is_worth_nothing(world, desk):
    with desk.client.session_transaction() as session:
        session["_user_id"] = world.hanako.librarian_id
    assert desk.get("/admin/counter/").location.startswith("/admin/login")
