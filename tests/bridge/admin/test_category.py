"""The change of patron category at the counter: told before the link, its outcome after, all in a list."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from bridge.admin.progress import present
from bridge.errors import CategoryRefused, KohaNotReachable
from bridge.links.consent import STANDARD_VERSION
from bridge.models import LinkRequest, LinkRequestState, MoveDirection, MoveState
from bridge.ports import CategoryDetails

GOOD = "2000100000017"


def find(desk, cardnumber=GOOD):
    return desk.post("/admin/counter/", "/admin/counter/", {"cardnumber": cardnumber}).text


def unlink(desk, link):
    address = f"/admin/links/{link.link_id}/unlink"
    return desk.post(address, address, {"reason": "patron_request", "confirmed": "y"}, follow=True).text


def rows(page):
    cells = re.findall(r'<td class="col-(\w+)"[^>]*>(.*?)</td>', page, re.DOTALL)
    return [(name, text.strip()) for name, text in cells]


def test_the_counter_is_told_of_the_move_before_the_link(desk, categories):
    page = find(desk)
    assert "一般 (一般) → 一般（連携） (一般12)" in page
    assert "登録料" not in page


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (CategoryDetails("一般12", "", Decimal(300)), "登録料300を請求"),
        (CategoryDetails("一般12", "", None, can_be_guarantee=False), "保護者"),
    ],
)
def test_the_counter_is_told_of_fees_and_guarantors(desk, categories, after, words):
    categories.known["一般12"] = after
    assert words in find(desk)


def test_the_counter_is_told_what_koha_does_not_say(desk, categories):
    del categories.known["一般12"]
    assert "一覧にありません" in find(desk)
    categories.known.clear()
    assert "確認できません" in find(desk)


def test_a_patron_whose_category_stays_sees_nothing_of_it(desk, categories, world):
    world.link()
    assert "利用者区分が変わります" not in find(desk)


def test_the_outcome_stands_under_the_link_and_under_its_end(desk, categories, world):
    form = {
        "cardnumber": GOOD,
        "terminal_id": "counter-1",
        "consent_version": STANDARD_VERSION,
        "consented": "y",
    }
    watch = desk.post("/admin/counter/start", "/admin/counter/", form).location
    reader = world.reader(world.card())
    reader.lay_card()
    link = reader.enter_pin("1234")
    progress = desk.get(f"{watch}/state").get_json()
    assert (progress["is_open"], progress["tone"]) == (False, "success")
    assert progress["details"][-1] == "Kohaの利用者区分を変更しました。 (一般 → 一般12)"
    page = unlink(desk, link)
    assert "利用者区分を変更しました" in page
    assert "一般12 → 一般" in page


@pytest.mark.parametrize(
    ("error", "reason"), [(KohaNotReachable(), "応答"), (CategoryRefused(), "管理者に連絡")]
)
def test_a_move_that_failed_is_told_and_listed_as_to_be_tried_again(desk, categories, world, error, reason):
    link = world.link()
    categories.error = error
    world.clock.now += timedelta(minutes=1)
    page = unlink(desk, link)
    assert "後でもう一度試します" in page
    assert reason in page
    listed = dict(rows(desk.get("/admin/categories/").text)[:8])
    assert (listed["state"], listed["attempts"]) == ("再試行します", "1")
    assert reason in listed["problem"]
    assert len(rows(desk.get("/admin/categories/?flt1_1=failed").text)) == 8


def test_the_page_waits_for_the_first_attempt_only_and_the_desk_for_none(world, categories):
    link = world.link()
    move = world.services.categories.move_of_link("chuo", link.link_id, MoveDirection.LINKED)
    request = LinkRequest(
        "r", "chuo", "counter-1", 17, "l", LinkRequestState.COMPLETED, move.created_at, link.not_after
    )
    with world.app.test_request_context():
        for state, is_final in ((MoveState.PENDING, False), (MoveState.FAILED, True), (MoveState.DONE, True)):
            progress = present(request, link.not_after, replace(move, state=state))
            assert (progress.is_open, progress.is_final, progress.tone) == (False, is_final, "success")
            assert progress.details[-1].endswith("(一般 → 一般12)")


def test_a_library_on_sip2_alone_says_what_its_links_cannot_do(desk, world):
    libraries = world.services.registration._environment.libraries
    records = libraries["chuo"].patrons.records
    records[GOOD] = replace(records[GOOD], patron_id=None, expiry_date=None)
    page = find(desk)
    assert "SIP2だけで接続しています" in page
    assert page.count("不明") == 2  # the number and the last valid day
    link = world.link()
    assert link.patron_id is None
    assert dict(rows(desk.get("/admin/links/").text))["patron_id"] == "不明"
    assert "もう一度連携が必要" in page
