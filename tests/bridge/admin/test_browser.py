"""The lists, the log-in page and the steps of a link in Chromium, in both languages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from bridge.models import UnlinkReason

pytestmark = pytest.mark.browser

REPORT = "dashboard/report?first=2026-11-01&last=2026-11-20"


def test_the_log_in_page_is_ready_for_typing(page):
    page.goto("/admin/")
    expect(page.locator("#login_name")).to_be_focused()


def test_the_lists_show_what_was_done(world, page, staff):
    for number in (17, 33, 17):
        world.clock.now += timedelta(minutes=7)
        link = world.link(cardnumber=f"20001000000{number}")
    world.services.registration.unlink(world.hanako, link.link_id, reason=UnlinkReason.CARD_LOST)
    world.clock.now += timedelta(minutes=9)
    staff.come_to_the_desk()
    for name in ("links", "terminals", "audit"):
        page.goto(f"/admin/{name}/")
        expect(page.locator("tbody tr").first).to_be_visible()


def test_the_dashboard_and_the_report_are_read_on_any_screen(page, staff, busy_month):
    staff.come_to_the_desk()
    for path in ("dashboard/", REPORT, "renewals/"):
        page.goto(f"/admin/{path}")
        expect(page.locator("tbody tr").first).to_be_visible()
    page.goto("/admin/dashboard/")
    expect(page.locator(".chart svg rect.rect").last).to_be_visible()
    colour = page.locator(".chart svg rect.rect").last.evaluate("bar => getComputedStyle(bar).fill")
    assert colour == "rgb(34, 58, 112)", "the style sheet reaches the chart"


def test_the_report_is_printed_without_what_is_for_the_screen(page, staff, busy_month, tmp_path):
    staff.come_to_the_desk()
    page.goto(f"/admin/{REPORT}")
    page.emulate_media(media="print")
    expect(page.locator("header")).to_be_hidden()
    expect(page.locator("form.filters")).to_be_hidden()
    expect(page.locator("h1")).to_be_visible()
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    page.emulate_media(media="screen")


def test_the_filter_of_a_list_works_without_scripts(world, chromium, address):
    for number in (17, 33):
        world.link(cardnumber=f"20001000000{number}")
    context = chromium.new_context(base_url=address, locale="ja", java_script_enabled=False)
    page = context.new_page()
    page.goto("/admin/")
    page.locator("#login_name").fill("hanako")
    page.locator("#password").fill("correct horse battery staple")
    page.locator("main button").click()
    page.goto("/admin/links/")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("#flt0_0").fill("33")
    page.locator(".filters button").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("td.col-patron_id")).to_have_text("33")
    context.close()


def test_a_link_is_suspended_and_ended_with_a_reason(world, page, staff):
    link = world.link()
    staff.come_to_the_desk()
    staff.scan()
    page.locator(".linked a").first.click()
    page.locator("[name=reason]").first.check()
    page.locator("main form button").click()
    page.wait_for_url("**/admin/links/")
    assert world.services.registration.link(world.hanako, link.link_id).suspended_reason == "card_mislaid"
    page.goto(f"/admin/links/{link.link_id}/unlink")
    page.locator("[name=reason]").first.focus()
    staff.press("Space", "Tab", "Space")
    staff.press("Enter")
    page.wait_for_url("**/admin/links/")
    assert world.services.registration.link(world.hanako, link.link_id).ended_at is not None
