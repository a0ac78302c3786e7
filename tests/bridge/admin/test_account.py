"""The pages of one's own account, and the log-in in two halves."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from pyotp import TOTP

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import STEP, SecondFactorPolicy
from bridge.models import AuditTag
from bridge.store import AuditEventRow

ACCOUNT = "/admin/account/"
SET_UP = "/admin/account/second-factor"
CODE = "/admin/login/code"
PASSWORD = "correct horse battery staple"


class App:
    """The authenticator app on somebody's telephone."""

    def __init__(self, world, page):
        self.world = world
        secret = re.search("<code>([A-Z2-7 ]+)</code>", page)[1]
        self.totp = TOTP(secret.replace(" ", ""))

    def next(self):
        """Wait for a code that was not used yet."""
        self.world.clock.now += timedelta(seconds=2 * STEP)
        return self.totp.at(self.world.clock())


def set_up(world, browser):
    browser.post(f"{SET_UP}/new", SET_UP, {"password": PASSWORD})
    app = App(world, browser.get(SET_UP).text)
    answer = browser.post(SET_UP, SET_UP, {"code": app.next()})
    assert answer.location == "/admin/"
    return app


@pytest.fixture
def app(world, desk):
    """Hanako's app, set up."""
    return set_up(world, desk)


def test_who_set_a_second_factor_up_is_asked_for_a_code_after_the_password(stranger, app):
    answer = stranger.log_in(aim="?next=/admin/links/")
    assert answer.location == f"{CODE}?next=/admin/links/"
    assert "認証アプリ" in stranger.get(CODE).text
    assert stranger.get("/admin/links/").location.startswith("/admin/login")
    answer = stranger.post(f"{CODE}?next=/admin/links/", CODE, {"code": app.next()})
    assert answer.location == "/admin/links/"
    assert stranger.get("/admin/links/").status_code == 200


def test_half_a_log_in_lives_five_minutes_and_opens_nothing(world, stranger, app):
    stranger.log_in()
    for address in ("/admin/", "/admin/counter/", ACCOUNT, f"{SET_UP}/picture.svg"):
        assert stranger.get(address).location.startswith("/admin/login?"), address
    world.clock.now += timedelta(minutes=5, seconds=1)
    assert stranger.get(CODE).location.startswith("/admin/login")


def test_a_wrong_code_is_told_on_the_same_page(stranger, app):
    stranger.log_in()
    wrong = "000000" if app.next() != "000000" else "111111"
    answer = stranger.post(CODE, CODE, {"code": wrong})
    assert answer.location == CODE
    assert "受け付けられませんでした" in stranger.get(CODE).text


@pytest.mark.parametrize("code", ["", "12345", "abcdef"])
def test_what_is_no_code_is_told_at_the_field(stranger, app, code):
    stranger.log_in()
    assert "field-error" in stranger.post(CODE, CODE, {"code": code}).text


def test_a_code_in_two_groups_or_full_width_digits_is_taken(stranger, app):
    stranger.log_in()
    code = app.next().translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    assert stranger.post(CODE, CODE, {"code": f"{code[:3]} {code[3:]}"}).status_code == 303


def test_the_picture_is_there_while_the_secret_does_not_count_and_not_after(world, desk):
    assert desk.get(f"{SET_UP}/picture.svg").status_code == 404
    desk.post(f"{SET_UP}/new", SET_UP, {"password": PASSWORD})
    picture = desk.get(f"{SET_UP}/picture.svg")
    assert picture.mimetype == "image/svg+xml"
    assert picture.headers["Cache-Control"] == "no-store"
    assert "style" not in picture.text
    app = App(world, desk.get(SET_UP).text)
    desk.post(SET_UP, SET_UP, {"code": app.next()})
    assert desk.get(f"{SET_UP}/picture.svg").status_code == 404
    assert desk.get(SET_UP).location == ACCOUNT


def test_a_wrong_password_draws_no_secret(desk):
    desk.post(f"{SET_UP}/new", SET_UP, {"password": "wrong"})
    page = desk.get(SET_UP).text
    assert "パスワードが違います" in page
    assert "<img class" not in page


def test_it_is_removed_by_a_code(world, desk, stranger, app):
    assert desk.post(f"{SET_UP}/remove", ACCOUNT, {"code": app.next()}).location == ACCOUNT
    assert stranger.log_in().location == "/admin/"


def test_an_administrator_resets_a_second_factor(world, browser_of, desk, stranger, app):
    account = f"/admin/libraries/chuo/staff/{world.hanako.librarian_id}"
    administrator = browser_of("kanri")
    assert "2段階認証を初期化" in administrator.get(account).text
    assert administrator.post(f"{account}/second-factor", account).status_code == 303
    assert desk.get("/admin/counter/").location.startswith("/admin/login")
    assert stranger.log_in().location == "/admin/"
    with world.store.scoped_session()() as session:
        assert AuditTag.SECOND_FACTOR_RESET in {row.tag for row in session.query(AuditEventRow)}


def test_who_must_have_one_is_led_to_the_set_up_before_anything_else(world, browser_of):
    staff = world.services.staff
    own_account = OwnAccountService(staff._environment, staff, SecondFactorPolicy.ADMINISTRATORS)
    object.__setattr__(world.services, "own_account", own_account)
    administrator = browser_of("kanri")
    for address in ("/admin/counter/", "/admin/libraries/", ACCOUNT, "/admin/no/such/page"):
        assert administrator.get(address).location == SET_UP, address
    start = administrator.post("/admin/counter/start", SET_UP, {"cardnumber": "2000100000017"})
    assert start.location == SET_UP
    assert "2段階認証が必要です" in administrator.get(SET_UP).text
    set_up(world, administrator)
    assert administrator.get("/admin/counter/").status_code == 200
    assert browser_of("hanako").get("/admin/counter/").status_code == 200


def test_the_own_password_is_changed_and_other_browsers_are_logged_out(desk, browser_of, stranger):
    other = browser_of("hanako")
    new = "a new and long password"
    form = {"current": PASSWORD, "new": new, "again": new}
    assert desk.post(f"{ACCOUNT}password", ACCOUNT, form).location == ACCOUNT
    assert "変更しました" in desk.get(ACCOUNT).text
    assert other.get("/admin/counter/").location.startswith("/admin/login")
    assert stranger.log_in(password=new).status_code == 303


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ({"current": PASSWORD, "new": "short", "again": "short"}, "12文字以上"),
        ({"current": PASSWORD, "new": "a new and long password", "again": "another"}, "一致しません"),
        (
            {"current": "", "new": "a new and long password", "again": "a new and long password"},
            "field-error",
        ),
        (
            {"current": "wrong", "new": "a new and long password", "again": "a new and long password"},
            "違います",
        ),
        ({"current": PASSWORD, "new": PASSWORD, "again": PASSWORD}, "現在と異なる"),
    ],
)
def test_a_password_that_cannot_be_changed_so_is_told(desk, stranger, form, word):
    assert word in desk.post(f"{ACCOUNT}password", ACCOUNT, form, follow=True).text
    assert stranger.log_in().status_code == 303


@pytest.mark.parametrize("login_name", ["hanako", "kansa", "kanri", "kouiki"])
def test_everybody_has_the_page_of_the_own_account(browser_of, login_name):
    browser = browser_of(login_name)
    assert browser.get(ACCOUNT).status_code == 200
    assert login_name in browser.get(ACCOUNT).text
