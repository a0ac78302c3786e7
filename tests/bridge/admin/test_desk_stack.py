"""The desk on real parts but for card and Koha: gunicorn, the agent's process, pcscd, OCSP, Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from bridge.demo.stack import LIBRARIAN, PIN, running_stack
from koha_client.simulator.demo_data import DemoPatron

pytestmark = [pytest.mark.browser, pytest.mark.pcsc]


def test_a_card_is_linked_and_then_tells_whose_it_is(chromium, tmp_path):
    with running_stack(tmp_path, lambda words: None, with_reader=True) as stack:
        context = chromium.new_context(base_url=stack.bridge_url, locale="ja")
        page = context.new_page()
        page.goto("/admin/")
        expect(page.locator("#login_name")).to_be_focused()
        page.keyboard.type(LIBRARIAN.login_name)
        page.keyboard.press("Tab")
        page.keyboard.type(LIBRARIAN.password)
        page.keyboard.press("Enter")

        expect(page.locator("#cardnumber")).to_be_focused()  # the only counter is chosen already
        page.keyboard.type(DemoPatron.FINE.value)
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_be_focused()
        name = page.locator("h1").inner_text()
        page.keyboard.press("L")
        expect(page.locator("#status")).to_contain_text("マイナンバーカードを読取部に置いてください。")
        visit_the_counter(stack)
        expect(page.locator("#status")).to_contain_text("連携が完了しました。")
        expect(page.locator("#next")).to_be_focused()
        page.keyboard.press("Enter")

        expect(page.locator("#cardnumber")).to_be_focused()
        page.keyboard.press("F2")
        expect(page.locator("#status")).to_contain_text("マイナンバーカードを読取部に置いてください。")
        visit_the_counter(stack)
        expect(page.locator("#number")).to_have_text(DemoPatron.FINE.value)
        expect(page.locator("h1")).to_have_text(name)
        page.keyboard.press("Escape")
        expect(page.locator("#cardnumber")).to_be_focused()
        context.close()


def visit_the_counter(stack):
    """Lay the card, type the PIN, take the card: the patron's part, while the desk's page lives on."""
    visit = stack.table.visit(
        stack.cards.resident, bridge_url=stack.bridge_url, token_file=stack.counter.token_file, pin=PIN
    )
    assert visit.exit_code == 0, visit.screen
