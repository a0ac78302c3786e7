"""What is refused before any page: other hosts, too many log-ins, forged forwarding headers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.app import create_app_from
from config.settings import WebSettings

WEB = WebSettings("127.0.0.1", 0, secret_key="not a secret: a test", secure_cookies=False)
WRONG = {"login_name": "hanako", "password": "wrong"}


@pytest.fixture
def app_with(world):
    def make(**changes):
        return create_app_from(world.services, world.store.scoped_session(), replace(WEB, **changes))

    return make


@pytest.mark.parametrize(
    "host", ["evil.example", "jpki.example.jp.evil.example", "localhost", "", "[::1", "jpki.example.jp@evil"]
)
@pytest.mark.parametrize("path", ["/admin/", "/admin/login", "/api/v1/terminal", "/admin/assets/admin.css"])
def test_a_request_for_another_host_is_refused(app_with, host, path):
    client = app_with(hosts=("jpki.example.jp",)).test_client()
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert "evil" not in answer.text
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("language", "words"),
    [("ja", "このアドレスでは利用できません。"), ("en", "This system is not reached by this address.")],
)
def test_who_came_by_another_host_is_told_so_and_led_nowhere(app_with, language, words):
    client = app_with(hosts=("jpki.example.jp",)).test_client()
    page = client.get("/admin/login", headers={"Host": "evil.example", "Accept-Language": language}).text
    assert words in page
    assert "<a " not in page


@pytest.mark.parametrize("host", ["jpki.example.jp", "JPKI.example.jp:8443", "[2001:db8::1]:443"])
def test_a_request_for_one_of_our_hosts_is_answered(app_with, host):
    client = app_with(hosts=("jpki.example.jp", "2001:db8::1")).test_client()
    assert client.get("/admin/login", headers={"Host": host}).status_code == 200


def test_without_the_setting_the_bridge_is_reached_on_loopback_alone(app_with):
    client = app_with().test_client()
    assert client.get("/admin/login", headers={"Host": "127.0.0.1:8080"}).status_code == 200
    assert client.get("/admin/login", headers={"Host": "jpki.example.jp"}).status_code == 400


def test_whoever_watches_may_ask_by_any_name(app_with):
    answer = app_with(hosts=("jpki.example.jp",)).test_client().get("/healthz", headers={"Host": "10.0.0.1"})
    assert answer.json == {"status": "ok"}


def test_one_address_tries_so_many_log_ins_and_no_more(app_with, browser_on):
    browser = browser_on(app_with(log_ins_per_address=3))
    for _ in range(3):
        assert browser.post("/admin/login", "/admin/login", WRONG).status_code == 303
    answer = browser.post("/admin/login", "/admin/login", WRONG)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 300
    assert "接続元" in answer.text
    assert browser.get("/admin/login").status_code == 200


@pytest.mark.parametrize("path", ["/admin/login/code", "/admin/desk/"])
def test_codes_and_the_window_for_koha_count_as_log_ins_do(app_with, browser_on, path):
    browser = browser_on(app_with(log_ins_per_address=3))
    for _ in range(3):
        assert browser.post(path, "/admin/login", {"code": "123456"}).status_code != 429
    assert browser.post(path, "/admin/login", {"code": "123456"}).status_code == 429
    assert browser.post("/admin/login", "/admin/login", WRONG).status_code == 429


@pytest.mark.parametrize(("hops", "last"), [(0, 429), (1, 303)])
def test_forwarded_addresses_count_only_behind_ones_own_proxies(app_with, browser_on, hops, last):
    browser = browser_on(app_with(log_ins_per_address=2, proxy_hops=hops))
    for place in range(3):
        browser.client.environ_base["HTTP_X_FORWARDED_FOR"] = f"192.0.2.{place}"
        answer = browser.post("/admin/login", "/admin/login", WRONG)
    assert answer.status_code == last


def test_an_address_that_a_client_claims_before_the_proxys_own_word_counts_for_nothing(app_with, browser_on):
    browser = browser_on(app_with(log_ins_per_address=2, proxy_hops=1))
    for place in range(3):
        browser.client.environ_base["HTTP_X_FORWARDED_FOR"] = f"198.51.100.{place}, 192.0.2.1"
        answer = browser.post("/admin/login", "/admin/login", WRONG)
    assert answer.status_code == 429


def test_a_forwarded_host_counts_for_nothing(app_with):
    client = app_with(hosts=("jpki.example.jp",), proxy_hops=1).test_client()
    headers = {"Host": "evil.example", "X-Forwarded-Host": "jpki.example.jp"}
    assert client.get("/admin/login", headers=headers).status_code == 400


def test_every_page_forbids_inline_scripts_frames_and_other_hosts(app_with):
    answer = app_with(secure_cookies=True).test_client().get("/admin/login")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
