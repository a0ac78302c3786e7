"""Several links end together: chosen in the list, requested by one, approved by another."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from bridge.links.bulk_unlinking import BulkUnlinkingService
from bridge.models import ApprovalReason, BulkUnlinkingState, BulkUnlinkReason, LinkState, UnlinkReason
from bridge.patrons.category import CategoryService
from bridge.rules import LinkPolicy

END, LIST = "/admin/links/end", "/admin/links/"
FILLED = {"reason": "suspected_misuse", "confirmed": "y"}
APPROVAL = {"approve-reason": "links_checked", "approve-confirmed": "y"}


def link_id(number):
    return f"{number:032x}"


@pytest.fixture
def many(world, links_of):
    """Twelve links, of the patrons 1 to 12."""
    links_of(1, 13)
    return [link_id(number) for number in range(1, 13)]


@pytest.fixture
def other(browser_of):
    """The browser of another person who may end links."""
    return browser_of("kanri")


def ask(world, link_ids):
    return world.services.bulk_unlinking.request(
        world.hanako, link_ids, reason=BulkUnlinkReason.SUSPECTED_MISUSE
    )


def state_of(world, bulk_id):
    return world.services.bulk_unlinking.find(world.hanako, bulk_id).state


def ended(world, link_ids):
    links = [world.services.registration.link(world.hanako, each) for each in link_ids]
    return [link.link_id for link in links if link.state is LinkState.ENDED]


def test_chosen_links_end_only_after_another_person_has_approved(world, desk, other, many):
    chosen = many[2:5]
    page = desk.post(END, LIST, {"ask": "chosen", "link_id": chosen}).text
    assert "3件の連携を解除しますか" in page
    assert "ほかの職員が申請を確認し" in page
    assert "field-error" not in page
    assert "field-error" in desk.post(END, LIST, {"link_id": chosen}).text
    answer = desk.post(END, LIST, {**FILLED, "link_id": chosen}, follow=True)
    assert "ほかの職員の承認が必要です" in answer.text
    address = answer.request.path
    assert "取り下げ" in answer.text
    assert "承認して連携を解除する" not in answer.text
    assert ended(world, many) == []
    assert "承認を待っている一括解除の申請が1件" in other.get("/admin/dashboard/").text
    assert "承認を待っている" not in desk.get("/admin/dashboard/").text
    page = other.get(address).text
    assert "山田 花子" in page
    assert "不正利用の疑い" in page
    assert "取り下げる" not in page
    answer = other.post(f"{address}/approve", address, APPROVAL, follow=True)
    assert "申請を承認しました。" in answer.text
    assert ended(world, many) == chosen
    audit = other.get("/admin/audit/").text
    assert "申請者 山田 花子" in audit
    assert "一括解除が完了" in audit
    assert "解除 3件" in audit
    assert "承認を待っている" not in other.get("/admin/dashboard/").text


def test_all_that_the_filters_find_are_asked_for_not_only_the_page(world, desk, links_of):
    links_of(1, 61)
    world.services.registration.unlink(world.hanako, link_id(7), reason=UnlinkReason.MISTAKE)
    narrowed = f"{END}?flt1_1=active"
    page = desk.post(narrowed, f"{LIST}?flt1_1=active", {"ask": "found"}).text
    assert "59件の連携を解除しますか" in page
    assert page.count('name="link_id"') == 0
    answer = desk.post(narrowed, LIST, {**FILLED, "expected": "59"}, follow=True)
    assert "59件の一括解除の申請" in answer.text
    assert "最初の" not in answer.text


def test_a_list_that_has_changed_meanwhile_is_asked_about_again(world, desk, many):
    answer = desk.post(END, LIST, {**FILLED, "expected": "11"})
    assert "一覧の内容が変わりました" in answer.text
    assert "12件の連携を解除しますか" in answer.text
    assert world.services.bulk_unlinking.unfinished() == []
    assert "承認待ち" not in desk.get("/admin/bulk/").text.partition("<tbody>")[2]


def test_one_link_is_ended_as_before_and_none_is_told(world, desk, many):
    answer = desk.post(END, LIST, {"ask": "chosen", "link_id": many[:1]})
    assert answer.location == f"/admin/links/{many[0]}/unlink"
    world.services.registration.unlink(world.hanako, many[0], reason=UnlinkReason.MISTAKE)
    for chosen in ({}, {"link_id": many[:1]}, {"link_id": ["x", "f" * 32]}):
        answer = desk.post(END, LIST, {"ask": "chosen", **chosen}, follow=True)
        assert "解除されていない連携を選んでください" in answer.text


def test_as_many_as_one_person_may_end_are_ended_at_once(world, desk, many):
    libraries = world.services.registration._environment.libraries
    libraries["chuo"] = replace(libraries["chuo"], links=LinkPolicy(ends_without_approval=3))
    assert "すぐに解除されます" in desk.post(END, LIST, {"ask": "chosen", "link_id": many[:3]}).text
    answer = desk.post(END, LIST, {**FILLED, "link_id": many[:3]}, follow=True)
    assert "3件の連携を解除しました" in answer.text
    assert ended(world, many) == many[:3]
    assert "まだ解除されません" in desk.post(END, LIST, {"ask": "chosen", "link_id": many[3:7]}).text


def test_a_request_that_names_too_many_is_refused(desk, many, monkeypatch):
    monkeypatch.setattr("bridge.admin.lists.MAXIMUM_LINKS", 11)
    assert "件数を超えています" in desk.post(END, LIST, {"ask": "found"}, follow=True).text


def test_who_made_a_request_is_refused_its_approval_and_withdraws_it(world, desk, many):
    bulk = ask(world, many)
    address = f"/admin/bulk/requests/{bulk.bulk_id}"
    assert "1人ではできません" in desk.post(f"{address}/approve", address, APPROVAL, follow=True).text
    decline = {"decline-reason": "unclear"}
    assert "1人ではできません" in desk.post(f"{address}/decline", address, decline, follow=True).text
    assert state_of(world, bulk.bulk_id) is BulkUnlinkingState.REQUESTED
    assert "取り下げました" in desk.post(f"{address}/withdraw", address, follow=True).text
    assert "申請は終わっています" in desk.post(f"{address}/withdraw", LIST, follow=True).text
    assert ended(world, many) == []


def test_an_approval_and_a_refusal_take_a_reason_and_an_approval_a_confirmation(world, desk, other, many):
    bulk = ask(world, many)
    address = f"/admin/bulk/requests/{bulk.bulk_id}"
    for step, form in (
        ("approve", {}),
        ("approve", {"approve-reason": "links_checked"}),
        ("approve", {"approve-confirmed": "y"}),
        ("approve", {"approve-reason": "unclear", "approve-confirmed": "y"}),
        ("decline", {}),
        ("decline", {"decline-reason": "links_checked"}),
    ):
        answer = other.post(f"{address}/{step}", address, form)
        assert "field-error" in answer.text
        assert 'name="approve-reason"' in answer.text
        assert 'name="decline-reason"' in answer.text
    assert state_of(world, bulk.bulk_id) is BulkUnlinkingState.REQUESTED
    answer = other.post(f"{address}/decline", address, {"decline-reason": "wrong_links"}, follow=True)
    assert "解除してはいけない連携が含まれている" in answer.text
    assert ended(world, many) == []


def test_an_auditor_looks_and_changes_nothing(world, browser_of, many):
    bulk = ask(world, many)
    auditor = browser_of("kansa")
    page = auditor.get(f"/admin/bulk/requests/{bulk.bulk_id}").text
    assert "12件の一括解除の申請" in page
    assert page.partition("<main")[2].count("<form") == 0
    links = auditor.get(LIST).text
    assert 'name="link_id"' not in links
    assert 'id="several"' not in links
    assert "承認を待っている" not in auditor.get("/admin/dashboard/").text


def test_a_request_shows_what_changes_and_leads_to_all_its_links(world, desk, other, many, links_of):
    links_of(20, 22, kind="ppid")
    for number in (3, 20):
        world.services.registration.unlink(world.hanako, link_id(number), reason=UnlinkReason.MISTAKE)
    bulk = ask(world, [*many, link_id(21)])
    world.services.registration.unlink(world.hanako, link_id(4), reason=UnlinkReason.MISTAKE)
    page = other.get(f"/admin/bulk/requests/{bulk.bulk_id}").text
    table = page.partition("<caption>")[2].partition("</table>")[0]
    assert re.findall(r'<td class="count"[^>]*>(\d+)</td>', table) == ["10", "0", "1", "1", "0", "0"]
    assert re.findall(r"<tr>\s*<td[^>]*>([^<]+)</td>", table)[0] == "カード本体"
    found = re.search(r'href="([^"]+)">連携の一覧ですべて見る', page)[1]
    listed = other.get(found).text
    assert "<small>12件</small>" in listed
    assert "できません" in other.get(f"{LIST}?flt6_6=all").text


def test_a_request_that_nobody_decided_in_time_is_shown_as_expired(world, desk, other, browser_of, many):
    bulk = ask(world, many)
    world.clock.now += timedelta(days=7)
    other = browser_of("kanri")
    page = other.get(f"/admin/bulk/requests/{bulk.bulk_id}").text
    assert "期限切れ" in page
    assert "approve-reason" not in page
    assert "期限切れ" in other.get("/admin/bulk/").text
    answer = other.post(f"/admin/bulk/requests/{bulk.bulk_id}/approve", LIST, APPROVAL, follow=True)
    assert "申請は終わっています" in answer.text


def test_what_was_cut_off_is_told_and_goes_on_when_somebody_says_so(world, desk, other, many):
    environment = world.services.registration._environment
    cut_off = BulkUnlinkingService(environment, CategoryService(environment), lambda _work: None)
    bulk = ask(world, many)
    kanri = world.services.staff.find_librarian("chuo", "kanri")
    cut_off.approve(kanri, bulk.bulk_id, reason=ApprovalReason.LINKS_CHECKED)
    address = f"/admin/bulk/requests/{bulk.bulk_id}"
    page = desk.get(address).text
    assert "残り12件" in page
    desk.post(f"{address}/continue", address)
    assert ended(world, many) == many
    assert "完了" in desk.get(address).text


def test_the_file_of_the_requests_names_nobody(world, desk, other, many):
    bulk = ask(world, many)
    other.post(
        f"/admin/bulk/requests/{bulk.bulk_id}/approve", "/admin/bulk/requests/" + bulk.bulk_id, APPROVAL
    )
    for path in ("bulk", "audit"):
        text = other.get(f"/admin/{path}/export.csv").text
        assert "山田" not in text
        assert "管理 正" not in text
        assert world.hanako.librarian_id not in text
        assert world.hanako.librarian_id[:8] in text


@pytest.mark.browser
def test_links_are_chosen_requested_and_approved_in_the_browser(
    world, page, staff, links_of, chromium, address, language
):
    links_of(1, 9, linked_at=world.clock.now - timedelta(days=200))
    links_of(9, 13, kind="mykey_id", linked_at=world.clock.now - timedelta(days=300))
    staff.come_to_the_desk()
    page.goto(LIST)
    for row in (1, 2, 3, 9, 10):
        page.locator(f"#link-{row}").check()
    page.locator("#several button").first.click()
    expect(page.locator("h1")).to_contain_text("5")
    page.locator("[name=reason]").nth(2).check()
    page.locator("[name=confirmed]").check()
    page.locator("main form button").click()
    page.wait_for_url("**/admin/bulk/requests/*")
    requested = page.url
    context = chromium.new_context(base_url=address, locale=language, viewport=page.viewport_size)
    second = context.new_page()
    second.goto("/admin/")
    second.locator("#login_name").fill("kanri")
    second.locator("#password").fill("correct horse battery staple")
    second.locator("main button").click()
    expect(second.locator("nav .waiting")).to_be_visible()
    second.goto(requested)
    second.locator("[name=approve-reason]").first.check()
    second.locator("[name=approve-confirmed]").check()
    second.locator("form[action$=approve] button").click()
    expect(second.locator(".notice.success")).to_be_visible()
    second.goto("/admin/bulk/")
    context.close()
