"""Who gets into the admin, and who does not."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest
from flask import Flask
from itsdangerous import TimestampSigner
from sqlalchemy import select

from bridge.admin import init_admin
from bridge.admin.auth import OPEN_ENDPOINTS, local_path
from bridge.app import create_app_from
from bridge.links.consent import STANDARD_VERSION
from bridge.models import AuditTag
from bridge.rate_limit import RateLimit
from bridge.store import AuditEventRow, LibrarianRow
from config.settings import WebSettings

ANY_ID = "0123456789abcdef0123456789abcdef"


def admin_addresses(app, method):
    """Every address under /admin, with some id where one is asked for."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/admin") and method in rule.methods and rule.endpoint not in OPEN_ENDPOINTS:
            yield re.sub(r"<[^>]+>", ANY_ID, rule.rule)


def audit_tags(world):
    with world.store.scoped_session()() as session:
        return list(session.scalars(select(AuditEventRow.tag).order_by(AuditEventRow.event_id)))


def test_a_stranger_reaches_nothing_but_the_log_in_page(world, stranger):
    addresses = list(admin_addresses(world.app, "GET"))
    assert len(addresses) > 5
    for address in addresses:
        answer = stranger.get(address)
        assert answer.status_code == 302, address
        assert answer.location.startswith("/admin/login?"), address


def test_a_stranger_with_a_csrf_token_of_the_log_in_page_changes_nothing(world, stranger):
    addresses = list(admin_addresses(world.app, "POST"))
    assert len(addresses) > 3
    for address in addresses:
        answer = stranger.post(address, "/admin/login")
        assert answer.location.startswith("/admin/login?"), address


def test_what_is_open_to_strangers_is_four_addresses():
    about_log_in = {"admin.log_in", "admin.second_factor", "admin.choose_language", "desk_window.sign_in"}
    assert about_log_in | {"assets.static"} == OPEN_ENDPOINTS


def test_the_second_half_of_the_log_in_is_nothing_without_the_first(stranger):
    assert stranger.get("/admin/login/code").location.startswith("/admin/login")
    answer = stranger.post("/admin/login/code", "/admin/login", {"code": "123456"})
    assert answer.location.startswith("/admin/login")


def test_an_address_that_does_not_exist_leads_a_stranger_to_the_log_in_page(stranger):
    assert stranger.get("/admin/no/such/page").location.startswith("/admin/login?")
    assert stranger.get("/admin").location.startswith("/admin/login?")


def test_who_is_logged_in_is_told_that_an_address_does_not_exist(desk):
    answer = desk.get("/admin/no/such/page")
    assert answer.status_code == 404
    assert "そのページはありません。" in answer.text


def test_every_post_without_a_csrf_token_is_refused(world, desk):
    for address in [*admin_addresses(world.app, "POST"), "/admin/login", "/admin/language"]:
        assert desk.client.post(address).status_code == 400, address


def test_a_log_in_page_left_open_overnight_is_shown_again(stranger):
    answer = stranger.client.post("/admin/login", data={"login_name": "hanako", "password": "x"})
    assert answer.status_code == 400
    assert 'name="password"' in answer.text


def test_the_right_password_opens_the_counter(desk):
    assert desk.get("/admin/").location == "/admin/counter/"
    assert "山田 花子" in desk.get("/admin/counter/").text


def test_a_wrong_name_and_a_wrong_password_get_the_same_words(world, stranger):
    answers = []
    for login_name, password in (("hanako", "wrong"), ("nobody", "wrong")):
        stranger.log_in(login_name, password)
        text = stranger.get("/admin/login").text
        assert "ログイン名またはパスワードが違います。" in text
        answers.append(re.sub(r'value="[^"]*"', "", text))
    assert answers[0] == answers[1]


def test_log_ins_are_audited_failed_ones_too(world, stranger):
    stranger.log_in("hanako", "wrong")
    stranger.log_in("hanako")
    assert audit_tags(world)[-2:] == [AuditTag.LOGIN_FAILED, AuditTag.LOGIN_SUCCEEDED]


def test_nothing_of_the_session_before_the_log_in_counts_after_it(stranger):
    page = stranger.get("/admin/login").text
    old_token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page).group(1)
    with stranger.client.session_transaction() as session:
        session["planted"] = "by somebody else"
    assert stranger.log_in().status_code == 303
    with stranger.client.session_transaction() as session:
        assert "planted" not in session
    assert stranger.client.post("/admin/logout", data={"csrf_token": old_token}).status_code == 400


def test_the_session_cookie_is_kept_from_scripts_and_other_sites(stranger):
    cookie = stranger.log_in().headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


def test_with_https_every_cookie_is_for_https_alone(world):
    web = WebSettings("127.0.0.1", 0, secret_key="not a secret: a test", secure_cookies=True)
    app = create_app_from(world.services, world.store.scoped_session(), web)
    cookies = app.test_client().get("/admin/login").headers.getlist("Set-Cookie")
    assert any(cookie.startswith("session=") and "Secure" in cookie for cookie in cookies)


def test_after_the_log_in_the_librarian_is_where_she_wanted_to_be(stranger):
    assert stranger.log_in(aim="?next=/admin/links/").location == "/admin/links/"


@pytest.mark.parametrize(
    "target",
    [
        "https://example.net/admin/",
        "//example.net/admin/",
        "/\\example.net",
        "\\\\example.net",
        "/admin/\\example.net",
        "/administrator",
        "/api/v1/terminal",
        "javascript:alert(1)",
        " /admin/",
        "/admin@example.net",
        "/admin/\r\nLocation: https://example.net/",
        "/admin/\t/example.net",
        "/admin/\0",
        "/admin/\ud800",
        "",
        None,
    ],
)
def test_an_address_elsewhere_is_no_aim(target):
    assert local_path(target) == "/admin/"


@pytest.mark.parametrize("aim", ["https://example.net/", "//example.net", "/admin/%0d%0aLocation:%20https:"])
def test_a_log_in_never_redirects_to_another_site(stranger, aim):
    assert stranger.log_in(aim=f"?next={aim}").location == "/admin/"


METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "POST")

OTHER_SPELLINGS = (
    "//admin/counter/",
    "/admin;/counter/",
    "/admin//counter/",
    "/admin/login/../counter/",
    "/admin/%2e%2e/admin/counter/",
    "/%61dmin/counter/",
    "/ADMIN/counter/",
    "/admin/assets/../../app.py",
)


def test_no_other_spelling_or_method_leads_a_stranger_past_the_log_in_page(stranger):
    for path in OTHER_SPELLINGS:
        for method in METHODS:
            answer = stranger.client.open(path, method=method)
            says_nothing = (method, answer.text) == ("OPTIONS", "")
            assert says_nothing or answer.status_code in {302, 308, 400, 404}, (method, path)


def test_no_kind_of_body_stands_in_for_a_csrf_token(world, desk):
    for address in admin_addresses(world.app, "POST"):
        for kind in ("application/json", "text/plain", "multipart/form-data"):
            answer = desk.client.post(address, data='{"csrf_token": "x"}', content_type=kind)
            assert answer.status_code == 400, (address, kind)


@pytest.mark.parametrize(("minutes", "status"), [(4, 200), (6, 302)])
def test_a_clock_that_is_set_back_a_little_logs_nobody_out(desk, monkeypatch, minutes, status):
    earlier = int(time.time()) - 60 * minutes
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _signer: earlier)
    assert desk.get("/admin/links/").status_code == status


def test_who_does_nothing_for_half_an_hour_is_logged_out(world, desk):
    world.clock.now += timedelta(minutes=29)
    assert desk.get("/admin/counter/").status_code == 200
    world.clock.now += timedelta(minutes=31)
    assert desk.get("/admin/counter/").location.startswith("/admin/login?")
    assert "しばらく操作がなかったため" in desk.get("/admin/login").text


def test_a_page_that_asks_by_itself_does_not_keep_the_session_alive(world, desk):
    request = world.services.registration.start(
        world.hanako,
        terminal_id="counter-1",
        cardnumber="2000100000017",
        consent_version=STANDARD_VERSION,
    )
    for _ in range(4):
        world.clock.now += timedelta(minutes=9)
        answer = desk.get(f"/admin/counter/requests/{request.request_id}/state")
    assert answer.status_code == 302


def test_who_has_logged_out_is_a_stranger(desk):
    assert desk.post("/admin/logout", "/admin/counter/", follow=True).text.count("ログアウトしました。") == 1
    assert desk.get("/admin/counter/").location.startswith("/admin/login?")


def test_a_librarian_whose_account_is_closed_is_out_at_the_next_click(world, desk):
    with world.writing() as session:
        session.get(LibrarianRow, world.hanako.librarian_id).active = False
    assert desk.get("/admin/counter/").location.startswith("/admin/login?")


def test_pages_are_not_kept_by_the_browser(desk):
    assert desk.get("/admin/counter/").headers["Cache-Control"] == "no-store"


def test_an_auditor_reads_the_lists_and_links_nothing(world, browser_of):
    link = world.link()
    auditor = browser_of("kansa")
    assert auditor.get("/admin/").location == "/admin/links/"
    page = auditor.get("/admin/links/")
    assert page.status_code == 200
    assert "unlink" not in page.text
    assert "/admin/counter/" not in page.text
    assert auditor.get("/admin/audit/").status_code == 200
    assert auditor.get("/admin/counter/").status_code == 403
    start = {"cardnumber": "2000100000017", "terminal_id": "counter-1"}
    assert auditor.post("/admin/counter/start", "/admin/links/", start).status_code == 403
    end = {"reason": "mistake", "confirmed": "y"}
    assert auditor.post(f"/admin/links/{link.link_id}/unlink", "/admin/links/", end).status_code == 403


def test_the_admin_is_not_put_on_an_application_without_csrf_protection(world):
    limits = {"idle_limit": timedelta(minutes=30), "log_ins": RateLimit(1, timedelta(minutes=1))}
    with pytest.raises(RuntimeError, match="CSRFProtect"):
        init_admin(Flask("bare"), world.services, world.store.scoped_session(), **limits)


def test_the_language_is_the_browsers_until_the_librarian_chooses(stranger):
    english = {"Accept-Language": "en-GB,en;q=0.9"}
    client = stranger.client
    assert '<html lang="en">' in client.get("/admin/login", headers=english).text
    assert '<html lang="ja">' in client.get("/admin/login", headers={"Accept-Language": "de"}).text
    assert '<html lang="ja">' in client.get("/admin/login").text
    stranger.post("/admin/language?next=/admin/links/", "/admin/login", {"language": "en"})
    assert '<html lang="en">' in stranger.get("/admin/login").text
    stranger.log_in()
    assert '<html lang="en">' in stranger.get("/admin/counter/").text


def test_a_language_that_does_not_exist_changes_nothing(stranger):
    stranger.post("/admin/language", "/admin/login", {"language": "tlh"})
    assert '<html lang="ja">' in stranger.get("/admin/login").text
