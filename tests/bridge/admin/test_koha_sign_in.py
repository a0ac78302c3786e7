"""Sign-in with Koha's password on the admin's pages, against a simulated Koha."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from bridge.errors import LibraryNotFound, NotAllowed
from bridge.models import AuditTag, LibrarianRole, PasswordSource
from bridge.store import AuditEventRow

PASSWORD = "correct horse battery staple"
STAFF = "/admin/libraries/chuo/staff"
HINT = "Kohaのパスワードでログインするアカウント"


@pytest.fixture
def switched_on(world, staff_koha):
    """The central library lets its staff sign in with Koha's password; nobody does yet."""
    staff_koha.switch_on(world.services.staff._environment, "chuo")
    return staff_koha


@pytest.fixture
def koha(world, switched_on):
    """Hanako does."""
    world.services.staff.use_koha_password(
        world.system,
        library_id="chuo",
        librarian_id=world.hanako.librarian_id,
        koha_patron_id=switched_on.hanako,
    )
    return switched_on


@pytest.fixture
def signed_in(koha, stranger):
    assert stranger.log_in(password=koha.password).status_code == 303
    return stranger


def try_log_in(browser, login_name, password):
    form = {"login_name": login_name, "password": password}
    return browser.post("/admin/login", "/admin/login", form, follow=True)


def hanako_of(world):
    return world.services.staff.find_librarian("chuo", "hanako")


def test_where_no_library_has_it_switched_on_no_page_speaks_of_it(world, stranger, browser_of):
    assert HINT not in stranger.get("/admin/login").text
    administrator = browser_of("kanri")
    for page in (f"{STAFF}/{world.hanako.librarian_id}", f"{STAFF}/add"):
        assert "borrowernumber" not in administrator.get(page).text
    answer = administrator.post(
        f"{STAFF}/{world.hanako.librarian_id}/koha", f"{STAFF}/add", {"koha_patron_id": "801"}, follow=True
    )
    assert "ログインできません" in answer.text
    assert hanako_of(world).password_source is PasswordSource.BRIDGE


def test_koha_s_password_opens_the_admin(koha, stranger):
    assert HINT in stranger.get("/admin/login").text
    assert stranger.log_in(password=koha.password).location == "/admin/"
    assert stranger.get("/admin/counter/").status_code == 200


@pytest.mark.parametrize("name", ["hanako", "nobody", "kanri"])
def test_the_same_words_for_an_unknown_name_and_a_wrong_password(koha, stranger, name):
    page = stranger.post(
        "/admin/login", "/admin/login", {"login_name": name, "password": "wrong"}, follow=True
    )
    assert "ログイン名またはパスワードが違います" in page.text
    koha.server.in_maintenance = True
    page = stranger.post(
        "/admin/login", "/admin/login", {"login_name": name, "password": "wrong"}, follow=True
    )
    assert "Kohaのパスワードを確認できません" in page.text


def test_who_lacks_the_permission_is_told_so(koha, stranger):
    koha.change(koha.hanako, permissions=frozenset())
    page = try_log_in(stranger, "hanako", koha.password)
    assert "図書館が求めるKohaの権限がありません" in page.text
    assert stranger.get("/admin/counter/").location.startswith("/admin/login")


def test_a_session_ends_with_the_permission_and_says_why(world, koha, signed_in):
    koha.change(koha.hanako, permissions=frozenset())
    assert signed_in.get("/admin/counter/").status_code == 200  # asked a moment ago
    world.clock.now += timedelta(minutes=5)
    assert signed_in.get("/admin/counter/").location == "/admin/login"
    assert "図書館が求めるKohaの権限がありません" in signed_in.get("/admin/login").text
    koha.change(koha.hanako, permissions=frozenset({"circulate:1"}))
    assert signed_in.get("/admin/counter/").location.startswith("/admin/login?")  # it is over


def test_a_session_rests_while_koha_is_away_and_can_still_be_ended(world, koha, signed_in):
    world.clock.now += timedelta(minutes=5)
    koha.server.in_maintenance = True
    for address in ("/admin/counter/", "/admin/links/", "/admin/account/", "/admin/no/such/page"):
        answer = signed_in.get(address)
        assert answer.status_code == 503, address
        assert "ログインはそのままです" in answer.text
    koha.server.in_maintenance = False
    world.clock.now += timedelta(minutes=1)
    page = signed_in.get("/admin/counter/")
    assert page.status_code == 200
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)[1]
    world.clock.now += timedelta(minutes=5)
    koha.server.in_maintenance = True
    assert signed_in.client.post("/admin/logout", data={"csrf_token": token}).location == "/admin/login"


def test_whoever_has_a_password_of_this_system_works_on_while_koha_is_away(world, koha, browser_of):
    administrator = browser_of("kanri")
    koha.server.in_maintenance = True
    world.clock.now += timedelta(minutes=5)
    assert administrator.get("/admin/libraries/").status_code == 200
    assert browser_of("kanri").get("/admin/libraries/").status_code == 200


def test_the_own_account_leads_to_koha_for_another_password(koha, signed_in):
    page = signed_in.get("/admin/account/").text
    assert "パスワードの変更はKohaで" in page
    assert 'name="new"' not in page
    form = {"current": koha.password, "new": "a new and long password", "again": "a new and long password"}
    page = signed_in.post("/admin/account/password", "/admin/account/second-factor", form, follow=True)
    assert "Kohaのパスワードです" in page.text


def test_an_administrator_switches_an_account_to_koha_and_back(
    world, switched_on, browser_of, desk, stranger
):
    administrator, account = browser_of("kanri"), f"{STAFF}/{world.hanako.librarian_id}"
    assert "このシステムのパスワード" in administrator.get(account).text
    answer = administrator.post(f"{account}/koha", account, {"koha_patron_id": "801"}, follow=True)
    assert "Kohaのパスワードでログインします" in answer.text
    assert desk.get("/admin/counter/").location.startswith("/admin/login")
    assert stranger.log_in(password=switched_on.password).status_code == 303
    assert "borrowernumber 801" in administrator.get(account).text
    shown = administrator.post(f"{account}/password", account).text
    assert stranger.log_in(password=re.search("<code>([^<]+)</code>", shown)[1]).location == "/admin/"
    assert hanako_of(world).password_source is PasswordSource.BRIDGE
    with world.store.scoped_session()() as session:
        tags = {row.tag for row in session.query(AuditEventRow)}
    assert {AuditTag.LIBRARIAN_PASSWORD_OF_KOHA, AuditTag.LIBRARIAN_PASSWORD_RESET} <= tags


@pytest.mark.parametrize(
    ("number", "word"),
    [
        ("", "入力してください"),
        ("0", "1以上の整数"),
        ("-5", "1以上の整数"),
        ("2147483648", "1以上の整数"),
        ("802", "図書館が求めるKohaの権限がありません"),
        ("999", "該当する人がいません"),
    ],
)
def test_a_number_that_cannot_be_is_told_and_changes_nothing(world, switched_on, browser_of, number, word):
    account = f"{STAFF}/{world.hanako.librarian_id}"
    answer = browser_of("kanri").post(f"{account}/koha", account, {"koha_patron_id": number}, follow=True)
    assert word in answer.text
    assert "field-error" in answer.text
    assert f'action="{account}"' in answer.text  # the form of the role is still sent to where it belongs
    assert hanako_of(world) == world.hanako


def test_nobody_switches_the_own_account_nor_one_of_another_library(world, switched_on, browser_of):
    switched_on.switch_on(world.services.staff._environment, "kita")
    find = world.services.staff.find_librarian
    administrator, librarian, other = find("chuo", "kanri"), find("chuo", "hanako"), find("kita", "kita")
    browser, own = browser_of("kanri"), f"{STAFF}/{administrator.librarian_id}"
    assert "koha_patron_id" not in browser.get(own).text
    answer = browser.post(f"{own}/koha", f"{STAFF}/add", {"koha_patron_id": "801"}, follow=True)
    assert "できません" in answer.text
    administration = world.services.administration
    new = {"login_name": "new", "display_name": "新", "role": LibrarianRole.LIBRARIAN, "koha_patron_id": 801}
    for who, error in ((administrator, LibraryNotFound), (librarian, NotAllowed)):
        with pytest.raises(error):
            administration.use_koha_password(who, "kita", other.librarian_id, 801)
        with pytest.raises(error):
            administration.add_librarian_of_koha(who, "kita", **new)
    assert [find(one.library_id, one.login_name) for one in (administrator, other)] == [administrator, other]
    assert switched_on.asked == []


def test_a_new_account_signs_in_with_koha_s_password_from_the_beginning(
    world, switched_on, browser_of, stranger
):
    form = {"login_name": "atarashi", "display_name": "新人", "role": "librarian", "koha_patron_id": "801"}
    answer = browser_of("kanri").post(f"{STAFF}/add", f"{STAFF}/add", form, follow=True)
    assert "追加しました" in answer.text
    assert stranger.log_in("atarashi", switched_on.password).location == "/admin/"
    assert world.services.staff.find_librarian("chuo", "atarashi").role is LibrarianRole.LIBRARIAN


def test_a_new_account_without_a_number_gets_a_password_of_this_system(switched_on, browser_of, stranger):
    form = {"login_name": "atarashi", "display_name": "新人", "role": "librarian", "koha_patron_id": ""}
    shown = browser_of("kanri").post(f"{STAFF}/add", f"{STAFF}/add", form).text
    assert stranger.log_in("atarashi", re.search("<code>([^<]+)</code>", shown)[1]).location == "/admin/"


@pytest.mark.browser
def test_somebody_signs_in_with_koha_s_password_in_a_browser(
    world, koha, page, staff, language, assert_accessible, keep_screenshot
):
    page.goto("/admin/")
    expect(page.locator("#login_name")).to_be_focused()
    assert_accessible(page)
    keep_screenshot(page, f"login-koha-{language}")
    staff.log_in()  # with the password of before
    expect(page.locator(".notice.danger")).to_be_visible()
    expect(page.locator("#login_name")).to_be_focused()
    page.keyboard.type("hanako")
    page.keyboard.press("Tab")
    page.keyboard.type(koha.password)
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/counter/**")
    page.goto("/admin/account/")
    assert_accessible(page)
    koha.change(koha.hanako, permissions=frozenset())
    world.clock.now += timedelta(minutes=5)
    page.goto("/admin/counter/")
    page.wait_for_url("**/admin/login")
    expect(page.locator(".notice.danger")).to_contain_text("Koha")
    assert_accessible(page)


@pytest.mark.browser
def test_an_administrator_gives_an_account_koha_s_password_in_a_browser(
    world, switched_on, page, staff, assert_accessible
):
    staff.log_in("kanri")
    page.wait_for_url("**/admin/counter/**")
    page.goto(f"{STAFF}/{world.hanako.librarian_id}")
    assert_accessible(page)
    page.fill("#koha_patron_id", "801")
    page.press("#koha_patron_id", "Enter")
    page.wait_for_url("**/admin/libraries/chuo/")
    expect(page.locator(".notice.success")).to_contain_text("Koha")
    page.goto(f"{STAFF}/add")
    assert_accessible(page)
