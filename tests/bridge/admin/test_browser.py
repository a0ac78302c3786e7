"""The lists, the log-in page and the steps of a link in Chromium, in both languages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from bridge.models import ActorKind, AuditTag, UnlinkReason
from bridge.store import AuditEventRow

pytestmark = pytest.mark.browser

REPORT = "dashboard/report?first=2026-11-01&last=2026-11-20"


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


def test_the_dashboard_and_the_report_are_read_on_any_screen(page, staff, photograph, busy_month):
    staff.come_to_the_desk()
    for name, path in (("dashboard", "dashboard/"), ("report", REPORT), ("renewals", "renewals/")):
        page.goto(f"/admin/{path}")
        expect(page.locator("tbody tr").first).to_be_visible()
        photograph(name, full_page=name != "renewals")
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


@pytest.fixture
def busy_month(world, links_of):
    """What a library has in its audit log after a month with many patrons."""
    links_of(1, 64, not_after=world.clock.now + timedelta(days=5))
    links_of(64, 90, not_after=world.clock.now + timedelta(days=30))
    links_of(90, 93, not_after=world.clock.now + timedelta(days=70))
    told = [
        *[(AuditTag.LINK_CREATED, "counter-1", {})] * 37,
        *[(AuditTag.SESSION_OPENED, "jidou-1", {})] * 214,
        *[(AuditTag.PATRON_IDENTIFIED, "counter-1", {})] * 58,
        *[(AuditTag.PATRON_IDENTIFIED, "counter-2", {})] * 3,
        *[(AuditTag.SESSION_DENIED, "jidou-1", {"problem": "not-linked"})] * 21,
        *[(AuditTag.LINK_REFUSED, "counter-1", {"problem": "pin-blocked"})] * 6,
        *[(AuditTag.LINK_REFUSED, "counter-1", {"problem": "certificate-expired"})] * 3,
    ]
    with world.writing() as session:
        session.add_all(
            AuditEventRow(
                at=world.clock.now - timedelta(hours=number % 9),
                library_id="chuo",
                tag=tag,
                actor_kind=ActorKind.TERMINAL,
                actor_id=terminal_id,
                subject="-",
                terminal_id=terminal_id,
                details=details,
                sequence=10_000 + number,
                hash=b"",
            )
            for number, (tag, terminal_id, details) in enumerate(told)
        )


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
