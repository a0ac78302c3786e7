"""Chromium with axe-core as the judge of what it shows; drawn examples that are the same each time."""

import os
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import sync_playwright

# Hypothesis' own profile for such use: no stop-watch, no dice. New examples are for `make fuzz` to find.
settings.load_profile("ci")

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
    "--enable-blink-features=ComputedAccessibilityInfo",  # scripts read the names that a screen reader speaks
]
IMAGES = Path(__file__).parents[1] / "docs/images"
AXE = Path(__file__).parents[1] / ".cache/axe/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""Tags of axe-core's rules: WCAG 2.2 AA, of which JIS X 8341-3 AA is a part, and good practice."""

JUDGE = """
async (rules) => {
  const result = await axe.run(document, { runOnly: rules, resultTypes: ["violations"], preload: false,
    selectors: false });
  return result.violations.flatMap((each) =>
    each.nodes.map((node) => `${each.id}: ${each.help}\\n${node.html}\\n${node.failureSummary}`));
}
"""

LAYOUT = """
() => {
  const complaints = [];
  const wide = document.scrollingElement.scrollWidth;
  if (wide > window.innerWidth) complaints.push(`the page is ${wide} pixels wide`);
  const isUnseen = (element) => getComputedStyle(element).clipPath === "inset(50%)"; // for ears alone
  const lines = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    const parent = text.parentElement;
    if (!text.data.trim() || !parent.checkVisibility({ visibilityProperty: true })) continue;
    const around = [];
    for (let element = parent; element; element = element.parentElement) around.push(element);
    if (around.some(isUnseen) || parent.closest(".skip, select, script, noscript")) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    const cuts = (element) => ["hidden", "clip"].includes(getComputedStyle(element).overflowX);
    const cutters = around.filter(cuts);
    for (const box of range.getClientRects()) {
      if (box.width < 1 || box.height < 1) continue;
      if (box.right > window.innerWidth + 1 || box.left < -1) complaints.push(`outside: ${text.data.trim()}`);
      for (const cutter of cutters) {
        const frame = cutter.getBoundingClientRect();
        if (box.right > frame.right + 1 || box.left < frame.left - 1)
          complaints.push(`cut: ${text.data.trim()}`);
      }
      lines.push({ box, text });
    }
  }
  for (const [place, { box, text }] of lines.entries()) {
    for (const other of lines.slice(place + 1)) {
      if (other.text === text) continue;
      const across = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
      // A line's box is higher than its letters: what touches is not yet on top of each other.
      const down = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
      if (across > 2 && down > 0.4 * Math.min(box.height, other.box.height))
        complaints.push(`on top of each other: ${text.data.trim()} / ${other.text.data.trim()}`);
    }
  }
  for (const element of document.querySelectorAll("body *")) {
    const isScrolled = ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    if (isScrolled && element.scrollWidth > element.clientWidth + 1 && element.checkVisibility())
      complaints.push(`scrolls sideways within the page: ${element.outerHTML.slice(0, 80)}`);
  }
  return [complaints, document.body.innerText.replace(/\\s/g, "")];
}
"""
"""What is wrong with how a page is laid out at its width, and all words that can be read on it."""

WATCH_FOCUS = """
() => {
  const stops = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const group = (element) => (element.type === "radio" ? `radio:${element.name}` : element);
  const isStop = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.disabled;
  window.focusWalk = {
    wanted: [...new Set([...document.querySelectorAll(stops)].filter(isStop).map(group))],
    reached: [],
    complaints: [],
  };
  const walk = window.focusWalk;
  const told = (element) => (element.outerHTML ?? String(element)).slice(0, 120);
  const note = (event) => {
    const element = event.target;
    const place = walk.wanted.indexOf(group(element));
    if (place === -1 || walk.reached.includes(place)) return;
    walk.reached.push(place);
    const style = getComputedStyle(element);
    if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2)
      walk.complaints.push(`no focus to be seen: ${told(element)}`);
    const box = element.getBoundingClientRect();
    const isInView = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    if (!isInView) walk.complaints.push(`the focus is out of sight: ${told(element)}`);
  };
  document.addEventListener("focusin", note);
  walk.end = () => {
    document.removeEventListener("focusin", note);
    const ordered = walk.reached.every((place, index) => index === 0 || place > walk.reached[index - 1]);
    if (!ordered) walk.complaints.push(`out of order: ${walk.reached}`);
    for (const [place, element] of walk.wanted.entries())
      if (!walk.reached.includes(place)) walk.complaints.push(`not reached: ${told(element)}`);
    return walk.complaints;
  };
  document.activeElement?.blur();
  getSelection().removeAllRanges();
  document.body.tabIndex = -1; // the walk begins at the top of the page
  document.body.focus();
  document.body.removeAttribute("tabindex");
  return walk.wanted.length;
}
"""

MOST_STOPS_OF_A_FIELD = 6
"""A day's field has year, month, day and a calendar, each a stop of the Tab key."""

DESKTOP = {"width": 1280, "height": 860}

NARROWEST = {"width": 320, "height": 640}
"""CSS pixels: WCAG 2.1, 1.4.10 Reflow."""

ZOOMED = {"width": 640, "height": 430}
"""What the desktop's window is at 200 %: WCAG 2.1, 1.4.4 Resize Text."""


def troubles_at(page, size, *, with_axe):
    """Return what is wrong with a page at a size, and all words on it."""
    page.set_viewport_size(size)
    complaints, words = page.evaluate(LAYOUT)
    if with_axe:
        complaints += page.evaluate(JUDGE, RULES)
    return [f"at {size['width']} pixels: {complaint}" for complaint in complaints], words


def troubles_of_sight(page, axe, judged_sizes):
    """Return what is wrong with a page as it stands: its layout at every width, axe-core's part at some.

    Neither at 320 pixels nor at 200 % may a page scroll sideways, cut words, put them on top of each other or
    lose any.
    """
    # As an expression, not as a script of the page: the page's own policy would forbid that.
    page.evaluate(axe)
    found, words = [], {}
    own = page.viewport_size
    for size in (NARROWEST, ZOOMED, own):
        complaints, words[size["width"]] = troubles_at(page, size, with_axe=size in judged_sizes)
        found += complaints
    if len(set(words.values())) > 1:
        found.append(f"the words differ by width: {words}")
    return found


def troubles_of_focus(page):
    """Walk through a page with the Tab key alone; return where the focus is lost, hidden or caught."""
    wanted = page.evaluate(WATCH_FOCUS)
    for _ in range(wanted + MOST_STOPS_OF_A_FIELD * page.locator("input[type=date]:visible").count()):
        page.keyboard.press("Tab")
    return page.evaluate("focusWalk.end()")


# Not for the session: while Playwright is up, no test may have an event loop of its own.
@pytest.fixture(scope="module")
def chromium_in():
    """Return a function that gives Chromium as somebody has it who uses a language.

    Chromium's own words, such as those of a day's field, are in the language of the browser, not of the page;
    without the package chromium-l10n they are English.
    """
    with sync_playwright() as playwright, ExitStack() as browsers:

        @cache
        def launch(language):
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=CHROMIUM_ARGUMENTS,
                env={**os.environ, "LANGUAGE": language},
                timeout=120_000,  # milliseconds
            )
            return browsers.enter_context(browser)

        yield launch


@pytest.fixture(scope="module")
def chromium(chromium_in):
    return chromium_in("en")


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core."""
    return AXE.read_text(encoding="utf-8")  # .ci/setup test installs it


@pytest.fixture(scope="session")
def assert_accessible(axe):
    """Return a function that fails where anything can be seen to be wrong with a page as it stands now."""

    def judge(page):
        troubles = troubles_of_sight(page, axe, [page.viewport_size])
        assert troubles == [], "\n".join((page.url, *troubles))

    return judge


@pytest.fixture(scope="session")
def find_troubles(axe):
    """Return a function that tells all that is wrong with a page as it stands now.

    At 200 % the style sheets are those of the narrowest width, so axe-core judges at two widths. Where only
    the words are others than before, one is enough. What the Tab key reaches is the same in every language:
    it need not be tried in each.
    """

    def find(page, *, by_keyboard=True, only_words_are_new=False):
        own = page.viewport_size
        sight = troubles_of_sight(page, axe, [own] if only_words_are_new else [NARROWEST, own])
        return [*sight, *(troubles_of_focus(page) if by_keyboard else ())]

    return find


@pytest.fixture(scope="session")
def keep_screenshot():
    """Return a function that keeps a picture of a page in ``docs/images`` where ``make images`` runs."""

    def keep(page, name, *, full_page=False):
        if os.environ.get("KEEP_SCREENSHOTS") == "1":
            page.screenshot(path=IMAGES / f"{name}.png", full_page=full_page)

    return keep


@pytest.fixture(scope="session")
def kept_screenshots():
    """Return a function that names the pictures that are in ``docs/images`` now."""
    return lambda: {path.stem for path in IMAGES.glob("*.png")}
