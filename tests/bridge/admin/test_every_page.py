"""Every page of the server in every state: WCAG 2.2 AA at three widths, and each control by the Tab key.

``STATES`` is the one table of them. A page that is added to the application and not put there fails a test.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from playwright.sync_api import expect
from pyotp import TOTP
from werkzeug.exceptions import HTTPException

from bridge.api.calls import CALLS
from bridge.counter.service import AGENT_STEPS
from bridge.errors import LinkNotFound, StoreUnavailable
from bridge.links.consent import STANDARD_VERSION
from bridge.models import ApprovalReason, BulkUnlinkReason, LinkRequestState, SuspensionReason, UnlinkReason
from jpki.challenge import ChallengePurpose

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery staple"
KOHA = "https://staff.koha.example"
WINDOW = {"width": 1280, "height": 860}
TIME_LIMIT = 60_000  # milliseconds
FINE, EXPIRED, RESTRICTED, LOST = (f"20001000000{number}" for number in (17, 25, 33, 41))
LIBRARY = "/admin/libraries/chuo"
STANDARD_WORDING = f"/admin/links/consent/{STANDARD_VERSION}"

NO_PAGES = {
    "healthz": "JSON",
    "assets.static": "style sheets and scripts",
    "api.static": "the style sheet of the API's description",
    "api.openapi": "JSON",
    **{f"api.{call.operation_id}": "JSON" for call in CALLS if call.method == "GET"},
    "admin.index": "leads on to the first page of the role",
    "counter.state": "JSON for the desk's script",
    "account.second_factor_picture": "the picture on account.second_factor",
    "dashboard.report_file": "CSV",
    **{
        f"{name}.download": "CSV"
        for name in (
            "links",
            "renewals",
            "categories",
            "terminals",
            "revocation",
            "audit",
            "librarians",
            "bulk",
            "libraries",
        )
    },
}
"""What answers GET and is no page, and why."""


SENT_ALONE = {
    "bulk.approve",
    "bulk.decline",
    "counter.start",
    "libraries.reset_password",
    "account.change_password",
    "account.propose_second_factor",
}
"""What answers POST alone: with the page of the form that was not complete."""


@dataclass(frozen=True)
class State:
    """One state of a page: the endpoint that answers it, if any, and how somebody brings it about.

    *picture* is its name in ``docs/images``, where it is kept; *whole* shows what is below the window, too.
    """

    endpoint: str | None
    name: str
    open: Callable[[Visit], None]
    picture: str | None = None
    whole: bool = False


class Visit:
    """A browser at the server, and what its pages show."""

    def __init__(self, world, page, staff, monkeypatch):
        self.world, self.page, self.staff, self.monkeypatch = world, page, staff, monkeypatch
        self.answered_by = None
        page.on("response", self._note)

    def _note(self, response):
        if response.headers.get("content-type", "").startswith("text/html") and response.status != 303:
            path = response.url.partition("//")[2].partition("/")[2].partition("?")[0]
            adapter = self.world.app.url_map.bind("")
            self.answered_by = None
            with suppress(HTTPException):  # no such page
                self.answered_by = adapter.match(f"/{path}", response.request.method)[0]

    def go(self, address):
        self.page.goto(address)
        self.page.wait_for_load_state()

    def send(self, address, **fields):
        """Open a page, fill its main form in and send it by Enter or its first button."""
        self.go(address)
        for name, value in fields.items():
            field = self.page.locator(f"main form [name={name}]").first
            if field.get_attribute("type") in ("radio", "checkbox"):
                self.page.locator(f"main form [name={name}][value='{value}']").check()
            else:
                field.fill(value)
        self.press("main form button")

    def press(self, selector):
        """Press a button and wait until its page is there."""
        with self.page.expect_event("framenavigated"):
            self.page.locator(selector).first.click()
        self.page.wait_for_load_state()

    def scan(self, cardnumber):
        self.go("/admin/counter/")
        self.staff.await_the_next()
        self.staff.scan(cardnumber)

    def desk_key(self, key, shows):
        self.page.keyboard.press(key)
        self.page.locator(shows).first.wait_for()
        expect(self.page.locator("#main")).not_to_have_attribute("aria-busy", "true")


def at(address):
    """Open an address."""
    return lambda visit: visit.go(address)


def sent(address, **fields):
    """Send the form of a page."""
    return lambda visit: visit.send(address, **fields)


# -- the desk


def scanned(cardnumber):
    return lambda visit: visit.scan(cardnumber)


def key_after_scan(cardnumber, key, shows):
    def open_state(visit):
        visit.scan(cardnumber)
        visit.desk_key(key, shows)

    return open_state


def unknown_card(visit):
    visit.go("/admin/counter/")
    visit.page.keyboard.type("2000100009999")
    visit.page.keyboard.press("Enter")
    visit.page.locator("main > .notice.danger").wait_for()


def incomplete_checklist(visit):
    key_after_scan(FINE, "C", "details[open]")(visit)
    visit.page.locator("details[open] button").click()
    visit.page.locator("details .field-error").first.wait_for()


def suspended_link(visit):
    link = visit.world.link(cardnumber=RESTRICTED)
    visit.world.services.registration.suspend(
        visit.world.hanako, link.link_id, reason=SuspensionReason.CARD_MISLAID
    )
    visit.scan(RESTRICTED)


def ordered(world, purpose):
    """Order the next card at the first counter; what was ordered before is over."""
    pending = world.services.registration.pending(world.counter)
    if pending is not None:
        world.services.registration.cancel(world.hanako, pending.request_id)
    if purpose is ChallengePurpose.IDENTIFY:
        return world.services.identification.start(world.hanako, terminal_id="counter-1")
    return world.services.registration.start(
        world.hanako, terminal_id="counter-1", cardnumber=FINE, consent_version=STANDARD_VERSION
    )


def watched(purpose, state, problem):
    def open_state(visit):
        request = ordered(visit.world, purpose)
        with visit.world.store.transaction() as transaction:
            transaction.update_link_request(
                replace(request, state=state, problem=problem, attempts_remaining=2)
            )
        visit.go(f"/admin/counter/requests/{request.request_id}")
        visit.page.locator("#headline").wait_for()

    return open_state


def linked(visit):
    request = ordered(visit.world, ChallengePurpose.LINK)
    reader = visit.world.reader(visit.world.card())
    reader.lay_card()
    reader.enter_pin("1234")
    visit.go(f"/admin/counter/requests/{request.request_id}")


def identified(visit):
    card = visit.world.linked_card(RESTRICTED)
    request = ordered(visit.world, ChallengePurpose.IDENTIFY)
    reader = visit.world.identifying_reader(card)
    reader.lay_card()
    reader.enter_pin("1234")
    visit.go(f"/admin/counter/requests/{request.request_id}")
    expect(visit.page.locator("#number")).to_have_text(RESTRICTED)


def under_way(visit):
    ordered(visit.world, ChallengePurpose.LINK)
    visit.go("/admin/counter/")


SHOWN_REQUESTS = sorted(
    {
        *((state, None) for state in LinkRequestState if state is not LinkRequestState.COMPLETED),
        *AGENT_STEPS.values(),
        (LinkRequestState.REFUSED, "certificate-revoked"),
        (LinkRequestState.REFUSED, "invalid-signature"),
    },
    key=str,
)
"""Each state of an order, each step that an agent tells of, and a refusal at each step."""

PICTURED_REQUESTS = {
    (ChallengePurpose.LINK, LinkRequestState.WAITING_FOR_CARD, None): "counter-waiting",
    (ChallengePurpose.LINK, LinkRequestState.WAITING_FOR_PIN, None): "counter-pin",
    (ChallengePurpose.LINK, LinkRequestState.REFUSED, "certificate-revoked"): "counter-refused",
}

DESK = [
    State("counter.terminal", "which counter", at("/admin/counter/terminal"), "desk-choose"),
    State("counter.index", "ready for a card", at("/admin/counter/"), "desk"),
    State("counter.index", "unknown card", unknown_card),
    State("counter.index", "not linked", scanned(FINE), "counter-start"),
    State("counter.index", "expired", scanned(EXPIRED)),
    State("counter.index", "restricted", scanned(RESTRICTED)),
    State("counter.index", "lost library card", scanned(LOST)),
    State(
        "counter.index",
        "checklist for a child",
        key_after_scan(FINE, "C", "details[open]"),
        "desk-child",
        whole=True,
    ),
    State(
        "counter.start", "checklist not complete", incomplete_checklist, "desk-child-incomplete", whole=True
    ),
    *(
        State(
            "counter.watch",
            f"{purpose}, {state}, {problem}",
            watched(purpose, state, problem),
            PICTURED_REQUESTS.get((purpose, state, problem)),
        )
        for purpose in (ChallengePurpose.LINK, ChallengePurpose.IDENTIFY)
        for state, problem in SHOWN_REQUESTS
    ),
    State("counter.index", "an order under way", under_way),
    State("counter.watch", "linked", linked, "counter-linked"),
    State("counter.index", "linked", scanned(FINE), "desk-linked"),
    State(
        "counter.index",
        "asked whether the card is lost",
        key_after_scan(FINE, "x", "details[open]"),
        "desk-lost",
        whole=True,
    ),
    State("counter.index", "re-linking a child", key_after_scan(FINE, "C", "details[open]")),
    State("counter.watch", "identified", identified, "desk-answer"),
    State("counter.index", "suspended", suspended_link, "desk-suspended"),
    State("counter.application_form", "to be printed", at("/admin/counter/form"), "form", whole=True),
    State(
        "counter.application_form_for_a_child",
        "to be printed",
        at("/admin/counter/form/child"),
        "form-child",
        whole=True,
    ),
]


# -- lists and figures


def link_step(step, **fields):
    def open_state(visit):
        registration = visit.world.services.registration
        with suppress(LinkNotFound):
            registration.unlink_all(visit.world.hanako, FINE, reason=UnlinkReason.MISTAKE)
        link = visit.world.link()
        if step == "restore":
            registration.suspend(visit.world.hanako, link.link_id, reason=SuspensionReason.CARD_MISLAID)
        address = f"/admin/links/{link.link_id}/{step}"
        visit.send(address) if fields.get("empty") else visit.go(address)

    return open_state


def many_links(visit):
    visit.page.goto("/admin/links/?page=1")


RECORDS = [
    State("dashboard.index", "after a month", at("/admin/dashboard/"), "dashboard", whole=True),
    State("dashboard.report", "of which period", at("/admin/dashboard/report")),
    State(
        "dashboard.report",
        "of a period",
        at("/admin/dashboard/report?first=2026-11-01&last=2026-11-20"),
        "report",
        whole=True,
    ),
    State("dashboard.report", "backwards", at("/admin/dashboard/report?first=2026-11-20&last=2026-11-01")),
    *(
        State(f"{name}.index_view", "with entries", at(f"/admin/{name}/"), name)
        for name in ("links", "renewals", "categories", "terminals", "revocation", "audit")
    ),
    State("links.index_view", "second page", many_links),
    State("links.index_view", "nothing found", at("/admin/links/?flt0_0=999999")),
    State("links.consent", "standard wording", at(STANDARD_WORDING), "links-consent"),
    State("links.unlink", "which reason", link_step("unlink"), "unlink"),
    State("links.unlink", "no reason", link_step("unlink", empty=True)),
    State("links.suspend", "which reason", link_step("suspend"), "suspend"),
    State("links.suspend", "no reason", link_step("suspend", empty=True)),
    State("links.restore", "asked", link_step("restore"), "restore"),
    State("admin.nowhere", "no such page", at("/admin/nowhere/"), "problem"),
]


# -- administration


def staff_page(login_name, prepare=lambda visit, librarian: None):
    def open_state(visit):
        librarian = visit.world.services.staff.find_librarian("chuo", login_name)
        prepare(visit, librarian)
        visit.go(f"{LIBRARY}/staff/{librarian.librarian_id}")

    return open_state


def closed(visit, librarian):
    kanri = visit.world.services.staff.find_librarian("chuo", "kanri")
    visit.world.services.administration.disable(kanri, "chuo", librarian.librarian_id)


def new_password(visit):
    staff_page("hanako")(visit)
    visit.press("form[action$='/password'] button")


def terminal_added(visit):
    visit.go(f"{LIBRARY}/terminals/add")
    visit.page.locator("[name=terminal_id]").fill("counter-9")
    visit.page.locator("[name=name]").fill("分館カウンター")
    visit.page.locator("[name=kind][value=counter]").check()
    visit.press("main form button")
    visit.page.locator("dd code").wait_for()


def librarian_added(visit):
    visit.go(f"{LIBRARY}/staff/add")
    visit.page.locator("[name=login_name]").fill("jiro")
    visit.page.locator("[name=display_name]").fill("司書 次郎")
    visit.page.locator("[name=role][value=librarian]").check()
    visit.press("main form button")
    visit.page.locator("dd code").wait_for()


def role_changed(visit):
    staff_page("kansa")(visit)
    visit.page.locator("[name=role][value=librarian]").check()
    visit.press("main form button")


OWN_WORDING = {"japanese": "同意の内容\n図書館の言葉です。", "english": "Consent\nThe library's own words."}


def own_wording(visit):
    visit.send(f"{LIBRARY}/consent", **OWN_WORDING)
    visit.press("main form button")


def read_own_wording(visit):
    visit.go(f"{LIBRARY}/consent")
    visit.press("main li a")


ADMINISTRATION = [
    State("libraries.index_view", "all", at("/admin/libraries/"), "libraries"),
    State("librarians.index_view", "with entries", at("/admin/librarians/"), "librarians"),
    State("libraries.library", "with terminals, staff, rules", at(f"{LIBRARY}/"), "library", whole=True),
    State("libraries.consent", "standard wording", at(f"{LIBRARY}/consent"), "consent", whole=True),
    State("libraries.consent", "no wording", sent(f"{LIBRARY}/consent", japanese="")),
    State(
        "libraries.consent",
        "before and after",
        sent(f"{LIBRARY}/consent", **OWN_WORDING),
        "consent-change",
        whole=True,
    ),
    State("libraries.consent", "own wording", own_wording),
    State("libraries.consent_version", "own wording", read_own_wording, "consent-wording"),
    State("libraries.add_terminal", "empty", at(f"{LIBRARY}/terminals/add"), "add-terminal"),
    State("libraries.add_terminal", "incomplete", sent(f"{LIBRARY}/terminals/add")),
    State("libraries.add_terminal", "token shown once", terminal_added, "token"),
    State(
        "libraries.remove_terminal", "asked", at(f"{LIBRARY}/terminals/counter-2/remove"), "remove-terminal"
    ),
    State("libraries.remove_terminal", "not confirmed", sent(f"{LIBRARY}/terminals/counter-2/remove")),
    State("libraries.enrol_terminal", "asked", at(f"{LIBRARY}/terminals/counter-2/enrol"), "enrol-terminal"),
    State(
        "libraries.enrol_terminal",
        "code shown once",
        sent(f"{LIBRARY}/terminals/counter-2/enrol"),
        "enrolment-code",
    ),
    State("libraries.add_librarian", "empty", at(f"{LIBRARY}/staff/add"), "add-librarian"),
    State("libraries.add_librarian", "incomplete", sent(f"{LIBRARY}/staff/add")),
    State("libraries.add_librarian", "password shown once", librarian_added),
    State("libraries.staff", "open account", staff_page("hanako"), "librarian"),
    State("libraries.staff", "own account", staff_page("kanri")),
    State("libraries.reset_password", "shown once", new_password),
    State("libraries.library", "role changed", role_changed),
    State("libraries.staff", "closed account", staff_page("hanako", closed)),
]


# -- several links that end together, for which a second person is needed


def chosen_links(visit):
    visit.go("/admin/links/")
    for box in visit.page.locator("[name=link_id]").all()[:5]:
        box.check()


def asked_about_chosen_links(visit):
    chosen_links(visit)
    visit.press("#several button")


def no_reason_for_several(visit):
    asked_about_chosen_links(visit)
    visit.press("main form button")


def requested(visit):
    asked_about_chosen_links(visit)
    visit.page.locator("[name=reason]").first.check()
    visit.page.locator("[name=confirmed]").check()
    visit.press("main form button")
    visit.page.wait_for_url("**/admin/bulk/requests/*")


def request_of_another(visit):
    kanri = visit.world.services.staff.find_librarian("chuo", "kanri")
    link_ids = [f"{number:032x}" for number in range(1010, 1040)]
    bulk = visit.world.services.bulk_unlinking.request(
        kanri, link_ids, reason=BulkUnlinkReason.SUSPECTED_MISUSE
    )
    visit.go(f"/admin/bulk/requests/{bulk.bulk_id}")
    visit.bulk = bulk


def sent_empty(step):
    def open_state(visit):
        visit.go(f"/admin/bulk/requests/{visit.bulk.bulk_id}")
        visit.press(f"form[action$='/{step}'] button")

    return open_state


def approved(visit):
    visit.world.services.bulk_unlinking.approve(
        visit.world.hanako, visit.bulk.bulk_id, reason=ApprovalReason.LINKS_CHECKED
    )
    visit.go(f"/admin/bulk/requests/{visit.bulk.bulk_id}")


SEVERAL = [
    State("links.index_view", "some are chosen", chosen_links, "links-chosen"),
    State("links.end_several", "asked", asked_about_chosen_links, "bulk-ask", whole=True),
    State("links.end_several", "no reason", no_reason_for_several),
    State("bulk.show", "the own request", requested, "bulk-requested", whole=True),
    State("bulk.show", "the request of another", request_of_another, "bulk-approve", whole=True),
    State("bulk.approve", "nothing entered", sent_empty("approve")),
    State("bulk.decline", "nothing entered", sent_empty("decline")),
    State("bulk.show", "done", approved),
    State("bulk.index_view", "with requests", at("/admin/bulk/"), "bulk"),
]


# -- the own account, and what goes wrong


def half_logged_in(visit):
    """Set the second factor up, log out, and give the password."""
    visit.send("/admin/account/second-factor", password=PASSWORD)
    app = TOTP(visit.page.locator("code").inner_text().replace(" ", ""))
    visit.page.locator("#code").fill(app.at(visit.world.clock()))
    visit.press("main form button")
    visit.page.context.clear_cookies()
    visit.send("/admin/login", login_name="hanako", password=PASSWORD)
    visit.app = app


def logged_in_with_second_factor(visit):
    visit.world.clock.now += timedelta(minutes=1)
    visit.send(visit.page.url, code=visit.app.at(visit.world.clock()))
    visit.go("/admin/account/")


def wrong_code(visit):
    visit.send(visit.page.url, code="12345")


def password_not_repeated(visit):
    visit.go("/admin/account/")
    visit.press("form[action$='/password'] button")


def too_old(visit):
    """Send a form whose token is worth nothing any more."""
    visit.go("/admin/account/")
    visit.page.evaluate("document.querySelectorAll('[name=csrf_token]').forEach((e) => (e.value = 'old'))")
    visit.press("form[action$='/password'] button")


def failing(error):
    def open_state(visit):
        def fail(*_arguments, **_values):
            raise error

        with visit.monkeypatch.context() as patch:
            patch.setattr(visit.world.services.registration, "policy", fail)
            visit.go("/admin/counter/form")

    return open_state


ACCOUNT = [
    State("account.index", "without second factor", at("/admin/account/"), "account"),
    State("account.change_password", "nothing entered", password_not_repeated),
    State("account.change_password", "open too long", too_old),
    State("account.second_factor", "to begin", at("/admin/account/second-factor")),
    State("account.propose_second_factor", "nothing entered", sent("/admin/account/second-factor")),
    State("account.second_factor", "wrong password", sent("/admin/account/second-factor", password="x")),
    State(
        "account.second_factor",
        "picture",
        sent("/admin/account/second-factor", password=PASSWORD),
        "second-factor",
    ),
    State("account.second_factor", "no code", sent("/admin/account/second-factor", code="")),
    State("libraries.index_view", "not allowed", at("/admin/libraries/")),
    State("counter.application_form", "database away", failing(StoreUnavailable("locked"))),
    State("counter.application_form", "unforeseen", failing(ZeroDivisionError())),
]

SECOND_HALF = [
    State("admin.second_factor", "asked for the code", half_logged_in, "code"),
    State("admin.second_factor", "no code", wrong_code),
    State("account.index", "with second factor", logged_in_with_second_factor),
]


def logged_out(visit):
    visit.go("/admin/login")
    visit.staff.log_in()
    visit.page.locator("header form button:not([name])").wait_for()
    visit.press("header form button:not([name])")


SEND_OFTEN = """
async (times) => {
  const form = document.querySelector("main form");
  for (let sent = 0; sent < times; sent++)
    await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
}
"""


def too_many_tries(visit):
    visit.go("/admin/login")
    visit.page.evaluate(SEND_OFTEN, visit.world.log_ins_per_address)
    visit.press("main form button")


def window_for_koha(visit):
    visit.go(f"/admin/desk/?origin={KOHA}")


def asked_for_elsewhere(visit):
    """Reach the server by a name that it does not have: to a browser each of these is this machine."""
    visit.page.goto(visit.page.url.replace("127.0.0.1", "elsewhere.localhost"))


FRONT_DOOR = [
    State(None, "no such page", at("/nowhere"), "error"),
    State("api.docs", "of every call", at("/api/v1/docs"), "api"),
    State("admin.log_in", "empty", at("/admin/login"), "login"),
    State("admin.log_in", "nothing entered", sent("/admin/login")),
    State("admin.log_in", "wrong password", sent("/admin/login", login_name="hanako", password="wrong")),
    State("admin.log_in", "logged out", logged_out),
    State("desk_window.sign_in", "asked", window_for_koha, "koha-window"),
    State("desk_window.sign_in", "nothing entered", sent(f"/admin/desk/?origin={KOHA}")),
    State(
        "desk_window.sign_in",
        "opened",
        sent(f"/admin/desk/?origin={KOHA}", login_name="hanako", password=PASSWORD),
    ),
    State("admin.log_in", "too many tries", too_many_tries),
    State("admin.log_in", "by another name", asked_for_elsewhere),
]

VISITS = {
    "front door": (None, FRONT_DOOR),
    "desk": ("hanako", DESK),
    "records": ("hanako", RECORDS),
    "several links": ("hanako", SEVERAL),
    "administration": ("kanri", ADMINISTRATION),
    "region": ("kouiki", ADMINISTRATION[:1]),
    "account": ("hanako", ACCOUNT),
    "second factor": ("hanako", SECOND_HALF),
}
"""The states of all pages, and who sees them; None is a stranger. Each visit begins at a new server."""


@pytest.fixture
def visit(chromium_in, address, language, world, busy_month, hands_at, monkeypatch):
    libraries = world.services.desk._environment.libraries
    libraries["chuo"] = replace(libraries["chuo"], koha_origins=frozenset({KOHA}))
    context = chromium_in(language).new_context(base_url=address, locale=language, viewport=WINDOW)
    context.set_default_timeout(TIME_LIMIT)
    page = context.new_page()
    yield Visit(world, page, hands_at(page), monkeypatch)
    context.close()


@pytest.mark.parametrize("name", VISITS)
def test_every_state_of_a_page_is_accessible_at_every_width_and_by_keyboard(
    visit, find_troubles, keep_screenshot, language, name
):
    login_name, states = VISITS[name]
    if login_name:
        visit.staff.log_in(login_name)
        visit.page.wait_for_url(lambda url: "login" not in url)
    if name == "desk":
        visit.page.locator("[data-key='1']").click()
        visit.staff.await_the_next()
    troubles = []
    for state in states:
        state.open(visit)
        assert visit.answered_by == state.endpoint, state
        assert visit.page.locator("html").get_attribute("lang") == language, state
        if state.picture:
            keep_screenshot(visit.page, f"{state.picture}-{language}", full_page=state.whole)
        found = find_troubles(visit.page, by_keyboard=language == "ja")
        troubles += [f"{state.endpoint}, {state.name}: {trouble}" for trouble in found]
    assert troubles == [], "\n\n".join(troubles)


def test_no_page_is_missing_in_the_table(world):
    there = {rule.endpoint for rule in world.app.url_map.iter_rules() if "GET" in rule.methods}
    in_table = {state.endpoint for _login_name, states in VISITS.values() for state in states}
    assert there - in_table - set(NO_PAGES) == set()
    assert set(NO_PAGES) - there == set()


def test_every_page_has_a_picture_in_both_languages(kept_screenshots):
    states = [state for _login_name, states in VISITS.values() for state in states]
    pages = {state.endpoint for state in states if state.endpoint not in SENT_ALONE}
    assert pages - {state.endpoint for state in states if state.picture} == set()
    wanted = {f"{state.picture}-{language}" for state in states if state.picture for language in ("ja", "en")}
    assert wanted - kept_screenshots() == set()
