"""A library's own wording of the consent: changed on its page, shown at the desk and on the form."""

from __future__ import annotations

import re

import pytest

from bridge.links.consent import STANDARD_VERSION, standard_wording
from bridge.models import AuditTag
from bridge.store import AuditEventRow
from bridge.store.tables import ConsentWordingRow

PAGE = "/admin/libraries/chuo/consent"
GOOD = "2000100000017"
NEW = {
    "japanese": "残るもの\r\n符号だけです。\r\n\r\n任意です。",
    "english": "What stays\r\nA code.\r\n\r\nFree will.",
}


@pytest.fixture
def browser(browser_of):
    return browser_of("kanri")


@pytest.fixture
def put_in_force(browser):
    """Change the wording as an administrator does, in two steps."""

    def change(**changes):
        form = {**NEW, **changes, "instead_of": version_on(browser.get(PAGE))}
        compared = browser.post(PAGE, PAGE, form)
        assert compared.status_code == 200
        return browser.post(PAGE, PAGE, {**form, "confirmed": "y"}, follow=True)

    return change


def version_on(page):
    return re.search(r'name="instead_of"[^>]*value="([^"]+)"', page.text)[1]


def test_the_page_shows_the_wording_in_force_and_the_standard_one(browser):
    page = browser.get(PAGE).text
    assert page.count("連携は任意です。利用者カードはこれまでどおり使えます。") == 2
    assert STANDARD_VERSION in page
    assert PAGE in browser.get("/admin/libraries/chuo/").text


def test_before_and_after_are_shown_and_nothing_is_changed_yet(browser, world):
    form = {**NEW, "instead_of": STANDARD_VERSION}
    page = browser.post(PAGE, PAGE, form).text
    before, _, after = page.partition("<h3>変更後</h3>")
    assert "連携は任意です。" in before
    assert "<dt>残るもの</dt><dd>符号だけです。</dd>" in after
    assert 'name="confirmed" value="y"' in page
    assert world.services.consent.in_force("chuo").wording == standard_wording()


def test_a_confirmed_wording_is_in_force_at_the_desk_on_the_form_and_in_the_audit_log(
    put_in_force, browser, browser_of, world
):
    page = put_in_force().text
    version = world.services.consent.in_force("chuo").wording.version
    assert version != STANDARD_VERSION
    assert f"同意文面を{version}版に切り替えました" in page
    desk = browser_of("hanako")
    desk.choose_counter()
    for shown in (
        desk.post("/admin/counter/", "/admin/counter/", {"cardnumber": GOOD}),
        desk.get("/admin/counter/form"),
        desk.get("/admin/counter/form/child"),
    ):
        assert "<dt>残るもの</dt><dd>符号だけです。</dd>" in shown.text
        assert "<div><dd>任意です。</dd></div>" in shown.text
        assert version in shown.text
    session = world.store.scoped_session()
    events = session.query(AuditEventRow).filter_by(tag=AuditTag.CONSENT_CHANGED).all()
    session.remove()
    assert [(event.subject, event.details["before"]) for event in events] == [(version, STANDARD_VERSION)]
    assert "同意文面の変更" in browser_of("kansa").get("/admin/audit/").text


def test_the_english_wording_is_shown_on_english_pages(put_in_force, browser_of):
    put_in_force()
    desk = browser_of("hanako", "en")
    assert "<dt>What stays</dt><dd>A code.</dd>" in desk.get("/admin/counter/form").text


def test_what_a_link_was_agreed_to_is_read_from_its_page(world, put_in_force, browser_of):
    link = world.link()
    put_in_force()
    desk = browser_of("hanako")
    address = f"/admin/links/consent/{link.consent_version}"
    assert address in desk.get(f"/admin/links/{link.link_id}/suspend").text
    page = desk.get(address).text
    for language in ("ja", "en"):
        for point in standard_wording().points(language):
            assert point.wording.replace("'", "&#39;") in page


def test_an_earlier_wording_of_the_library_stays_on_its_page(put_in_force, browser, world):
    put_in_force()
    first = world.services.consent.in_force("chuo").wording.version
    put_in_force(japanese="別の文面です。")
    assert f"{PAGE}/{first}" in browser.get(PAGE).text
    assert "符号だけです。" in browser.get(f"{PAGE}/{first}").text


def test_a_version_that_there_never_was_is_not_shown(browser, browser_of):
    assert "その版の同意文面はありません" in browser.get(f"{PAGE}/x", follow_redirects=True).text
    desk = browser_of("hanako")
    assert "その版の同意文面はありません" in desk.get("/admin/links/consent/x", follow_redirects=True).text


def test_markup_in_a_wording_is_shown_as_text(put_in_force, browser_of, browser):
    form = {"japanese": "<script>alert(1)</script>", "english": "x", "instead_of": STANDARD_VERSION}
    assert "<script>alert" not in browser.post(PAGE, PAGE, form).text
    put_in_force(japanese="<script>alert(1)</script>")
    page = browser_of("hanako").get("/admin/counter/form").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"japanese": " \r\n "}, "入力してください"),
        ({"english": ""}, "入力してください"),
        ({"japanese": "あ" * 4001}, "4000文字以内"),
        ({"english": "a\x1bb"}, "印字できない文字"),
    ],
)
@pytest.mark.parametrize("confirmed", ["", "y"])
def test_what_is_no_wording_is_refused_at_its_field_and_what_was_typed_stands(
    browser, world, changes, words, confirmed
):
    form = {**NEW, **changes, "instead_of": STANDARD_VERSION, "confirmed": confirmed}
    page = browser.post(PAGE, PAGE, form).text
    assert words in page
    assert ("符号だけです。" in page) is ("japanese" not in changes)
    assert world.services.consent.in_force("chuo").wording == standard_wording()


@pytest.mark.parametrize("confirmed", ["", "y"])
def test_who_was_overtaken_is_told_and_keeps_what_was_typed(browser, put_in_force, world, confirmed):
    put_in_force(japanese="先に変えた文面です。")
    in_force = world.services.consent.in_force("chuo").wording
    form = {**NEW, "instead_of": STANDARD_VERSION, "confirmed": confirmed}
    page = browser.post(PAGE, PAGE, form)
    assert "ほかの管理者が先に同意文面を変更しました" in page.text
    assert "符号だけです。" in page.text
    assert version_on(page) == in_force.version
    assert world.services.consent.in_force("chuo").wording == in_force


def test_a_patron_who_read_the_old_wording_has_not_agreed_to_the_new_one(put_in_force, browser_of, world):
    desk = browser_of("hanako")
    desk.choose_counter()
    put_in_force()
    form = {
        "cardnumber": GOOD,
        "terminal_id": "counter-1",
        "consent_version": STANDARD_VERSION,
        "consented": "y",
    }
    page = desk.post("/admin/counter/start", "/admin/counter/", form, follow=True).text
    assert "同意文が変わりました" in page or "もう一度" in page
    assert world.services.registration.pending(world.counter) is None


def test_the_administrator_of_one_library_neither_sees_nor_changes_another_s_wording(browser, world):
    other = "/admin/libraries/kita/consent"
    for answer in (
        browser.get(other),
        browser.post(other, PAGE, {**NEW, "instead_of": STANDARD_VERSION, "confirmed": "y"}),
    ):
        assert answer.status_code == 303
    with world.writing() as session:
        assert session.query(ConsentWordingRow).count() == 0


def test_the_administrator_of_the_region_changes_it_for_a_library(browser_of, world):
    region = browser_of("kouiki")
    address = "/admin/libraries/kita/consent"
    form = {**NEW, "instead_of": STANDARD_VERSION, "confirmed": "y"}
    assert region.post(address, address, form).status_code == 303
    assert world.services.consent.in_force("kita").wording.version != STANDARD_VERSION
    assert world.services.consent.in_force("chuo").wording == standard_wording()
