"""The lists, the log-in page and the steps of a link in Chromium, in both languages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from bridge.models import UnlinkReason

pytestmark = pytest.mark.browser


def test_the_log_in_page_is_ready_for_typing(page, photograph):
    page.goto("/admin/")
    expect(page.locator("#login_name")).to_be_focused()
    photograph("login")


def test_the_lists_show_what_was_done(world, page, staff, photograph):
    for number in (17, 33, 17):
        world.clock.now += timedelta(minutes=7)
        link = world.link(cardnumber=f"20001000000{number}")
    world.services.registration.unlink(world.hanako, link.link_id, reason=UnlinkReason.CARD_LOST)
    world.clock.now += timedelta(minutes=9)
    staff.come_to_the_desk()
    for name in ("links", "terminals", "audit"):
        page.goto(f"/admin/{name}/")
        expect(page.locator("tbody tr").first).to_be_visible()
        photograph(name, keep=name in {"links", "audit"})


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
    expect(page.locator("tbody tr td").first).to_have_text("33")
    context.close()


def test_a_link_is_suspended_and_ended_with_a_reason(world, page, staff, photograph):
    link = world.link()
    staff.come_to_the_desk()
    staff.scan()
    page.locator(".linked a").first.click()
    photograph("suspend", keep=False)
    page.locator("[name=reason]").first.check()
    page.locator("main form button").click()
    page.wait_for_url("**/admin/links/")
    assert world.services.registration.link(world.hanako, link.link_id).suspended_reason == "card_mislaid"
    page.goto(f"/admin/links/{link.link_id}/unlink")
    page.locator("[name=reason]").first.focus()
    staff.press("Space", "Tab", "Space")
    photograph("unlink", keep=False)
    staff.press("Enter")
    page.wait_for_url("**/admin/links/")
    assert world.services.registration.link(world.hanako, link.link_id).ended_at is not None


def test_the_pages_for_administrators_are_accessible(page, staff, photograph):
    staff.log_in("kouiki")
    page.wait_for_url("**/admin/libraries/")
    photograph("libraries", keep=False)
    library = "/admin/libraries/chuo"
    for address in ("/", "/terminals/add", "/staff/add", "/terminals/counter-2/remove"):
        page.goto(f"{library}{address}")
        photograph("library", keep=False)
