"""The window in which a librarian logs in for Koha's pages, where Koha has no plugin."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

ORIGIN = "https://staff.koha.example"
WINDOW = f"/admin/desk/?origin={ORIGIN}"
GOOD = {"login_name": "hanako", "password": "correct horse battery staple"}


@pytest.fixture(autouse=True)
def koha(world):
    """The library's Koha has an origin."""
    libraries = world.services.desk._environment.libraries
    libraries["chuo"] = replace(libraries["chuo"], koha_origins=frozenset({ORIGIN}))
    libraries["kita"] = replace(libraries["kita"], koha_origins=frozenset({"https://kita.example"}))


def test_the_window_says_which_koha_wants_it_and_keeps_its_opener(stranger):
    answer = stranger.get(WINDOW)
    assert answer.status_code == 200
    assert f"{ORIGIN} の職員用画面が" in answer.text
    assert answer.headers["Cross-Origin-Opener-Policy"] == "unsafe-none"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert stranger.get("/admin/login").headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize("origin", ["", "https://evil.example", f"{ORIGIN}/", "null"])
def test_a_page_that_is_no_koha_of_ours_gets_no_window(stranger, origin):
    assert "login_name" not in stranger.get(f"/admin/desk/?origin={origin}").text


def test_name_and_password_give_a_token_for_this_origin(stranger, world):
    page = stranger.post(WINDOW, WINDOW, GOOD).text
    assert re.search(r'data-origin="([^"]+)"', page).group(1) == ORIGIN
    token = re.search(r'data-token="([^"]+)"', page).group(1)
    assert world.services.desk.librarian_of(token, ORIGIN) == world.hanako
    assert stranger.get("/admin/").status_code == 302  # it is no log-in to the admin


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wrong"}, "ログイン"),
        ({"login_name": "kita"}, "このKohaはあなたの図書館のものとして登録されていません"),
        ({"login_name": "kansa"}, "この操作はできません"),
        ({"login_name": "kouiki"}, "この操作はできません"),
    ],
    ids=["wrong password", "another library", "auditor", "region"],
)
def test_who_may_not_gets_words_and_no_token(stranger, change, words):
    page = stranger.post(WINDOW, WINDOW, GOOD | change, follow=True).text
    assert words in page
    assert "data-token" not in page


def test_the_form_cannot_be_sent_by_another_site(world, stranger):
    assert stranger.client.post(WINDOW, data=GOOD).status_code == 400


def test_a_log_in_of_the_admin_opens_no_desk(desk):
    assert "data-token" not in desk.get(WINDOW).text
