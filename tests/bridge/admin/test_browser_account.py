"""The second factor and the rules of a library in Chromium: by keyboard alone, and accessible."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import expect
from pyotp import TOTP

PASSWORD = "correct horse battery staple"

pytestmark = pytest.mark.browser


def test_a_second_factor_is_set_up_and_used_by_keyboard_alone(world, page, staff):
    staff.log_in()
    page.wait_for_url("**/admin/counter/**")
    page.goto("/admin/account/")
    page.goto("/admin/account/second-factor")
    expect(page.locator("#password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#code")).to_be_focused()
    expect(page.locator("img.qr")).to_have_js_property("complete", value=True)
    assert page.locator("img.qr").evaluate("picture => picture.naturalWidth") > 100
    app = TOTP(page.locator("code").inner_text().replace(" ", ""))
    page.keyboard.type(app.at(world.clock()))
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/counter/**")
    world.clock.now += timedelta(minutes=1)
    page.context.clear_cookies()
    staff.log_in()
    expect(page.locator("#code")).to_be_focused()
    page.keyboard.type(app.at(world.clock()))
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/counter/**")
    page.goto("/admin/account/")
