"""Chromium, and axe-core as the judge of what it shows: for the admin's pages and the patron's."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
IMAGES = Path(__file__).parents[2] / "docs/images"
AXE = Path(__file__).parents[2] / ".cache/axe/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""Tags of axe-core's rules: WCAG 2.2 AA, of which JIS X 8341-3 AA is a part, and good practice."""

JUDGE = """
async (rules) => {
  const result = await axe.run(document, { runOnly: rules, resultTypes: ["violations"] });
  return result.violations.flatMap((each) =>
    each.nodes.map((node) => `${each.id}: ${each.help}\\n${node.html}\\n${node.failureSummary}`));
}
"""

NARROWEST = 320
"""CSS pixels: WCAG 2.1, 1.4.10 Reflow."""

ZOOMED = 640
"""What 1280 pixels are at 200 %."""


# Not for the session: while Playwright is up, no test may have an event loop of its own.
@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def assert_accessible():
    """Return a function that fails where axe-core finds anything wrong with a page as it stands now.

    Neither at 320 pixels nor at 200 % may a page scroll sideways.
    """
    axe = AXE.read_text(encoding="utf-8")  # .ci/setup test installs it

    def judge(page):
        # As an expression, not as a script of the page: the page's own policy would forbid that.
        page.evaluate(axe)
        violations = page.evaluate(JUDGE, RULES)
        assert violations == [], "\n".join(violations)
        size = page.viewport_size
        for width in (NARROWEST, ZOOMED):
            page.set_viewport_size({"width": width, "height": size["height"]})
            wide = page.evaluate("document.scrollingElement.scrollWidth")
            assert wide <= width, f"{page.url} is {wide} pixels wide at {width}"
        page.set_viewport_size(size)

    return judge


@pytest.fixture(scope="session")
def keep_screenshot():
    """Return a function that keeps a picture of a page in ``docs/images`` where ``make images`` runs."""

    def keep(page, name, *, full_page=False):
        if os.environ.get("KEEP_SCREENSHOTS") == "1":
            page.screenshot(path=IMAGES / f"{name}.png", full_page=full_page)

    return keep
