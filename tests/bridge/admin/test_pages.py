"""What holds for every page: its words, its language, its safety, and that nothing comes from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

import bridge.admin
from bridge.admin import words
from bridge.admin.progress import (
    END_NAMES,
    STATE_WORDS,
    STATUS_WORDS,
    STEP_NAMES,
    STOPPED_AT,
    Step,
    StepStatus,
)
from bridge.counter.service import AGENT_STEPS
from bridge.errors import JPKI_SLUGS, BridgeError, Denied, NotLinked
from bridge.links.consent import STANDARD_VERSION
from bridge.models import (
    ActorKind,
    ApprovalReason,
    AuditTag,
    BulkUnlinkingState,
    BulkUnlinkReason,
    DeclineReason,
    IdentifierKind,
    LibrarianRole,
    LinkRequestState,
    LinkState,
    MoveDirection,
    MoveState,
    OutputState,
    ReaderState,
    TerminalKind,
    TerminalReport,
    UnlinkReason,
)
from bridge.rules import DenialReason
from jpki.challenge import ChallengePurpose
from jpki.crl import REASON_NAMES
from jpki.revocation import UnknownReason
from sip2_adapter.resolver import SessionEnd

AT_A_COUNTER = {ChallengePurpose.LINK, ChallengePurpose.IDENTIFY}
ADMIN = Path(bridge.admin.__file__).parent
TRANSLATIONS = ADMIN / "translations"
JAPANESE = TRANSLATIONS / "ja" / "LC_MESSAGES"

ALLOWED_ENGLISH = {
    "English",  # the language, by its own name
    "Enter",  # keys
    "Esc",
    "F2",
    "Koha",
    "SIP2",
    "ID",
    "PPID",
    "CSV",
    "A4",
    "CRL",
    "OCSP",
}
FROM_DATA = {
    "counter-1",
    "counter-2",
    "counter-3",
    "jidou-1",
    "sc-chuo-1",
    "tests",
    "chuo",
    "kita",
    "hanako",
    "kansa",
    "kanri",
    "kouiki",
}
"""Ids that the operator chose: shown as they are."""


OWN_LISTS = ("links", "renewals", "bulk", "categories", "terminals", "revocation", "audit")


class Page(HTMLParser):
    """What can be read on a page, and what it loads."""

    READABLE = {"title", "placeholder", "aria-label", "alt"}

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.inputs, self.labels = [], [], [], set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.words += [value for name, value in attrs if name in self.READABLE and value]
        if tag == "label":
            self.labels.add(attributes.get("for"))
        if tag in ("input", "select", "textarea") and attributes.get("type") != "hidden":
            self.inputs.append(attributes)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def every_page(world, browser_of, stranger):
    """Return a function that opens every page, in every state that has words of its own."""

    def open_pages(language):
        stranger.language = language
        link = world.link()
        world.services.registration.unlink(world.hanako, link.link_id, reason=UnlinkReason.MISTAKE)
        link = world.link(cardnumber="2000100000033")
        desk = browser_of("hanako", language)
        counter, start = "/admin/counter/", "/admin/counter/start"
        yield stranger.get("/admin/login")
        yield stranger.post("/admin/login", "/admin/login", {"login_name": "", "password": ""})
        world.services.terminals.seen(world.counter)
        desk.get("/admin/links/export.csv")
        for page in ("counter", "nowhere", "dashboard", *OWN_LISTS):
            yield desk.get(f"/admin/{page}/")
        yield desk.post(counter, counter, {"cardnumber": "2000100000017"})
        yield desk.post("/admin/counter/terminal", counter)
        desk.choose_counter()
        for page in ("", "terminal", "form", "form/child"):
            yield desk.get(f"/admin/counter/{page}")
        yield desk.get("/admin/dashboard/report")
        yield desk.get("/admin/dashboard/report?first=2026-11-01&last=2026-11-20")
        yield desk.get("/admin/dashboard/report?first=2026-11-20&last=2026-11-01")
        yield desk.get("/admin/links/?flt0_0=x&flt1_1=ended")
        unlink = f"/admin/links/{link.link_id}/unlink"
        yield desk.get(unlink)
        yield desk.post(unlink, unlink)
        for cardnumber in ("", "2000100000017", "2000100000025", "2000100000033", "2000100000041"):
            yield desk.post(counter, counter, {"cardnumber": cardnumber})
        yield desk.post(start, counter, {"cardnumber": "2000100000017"})
        desk_form = {"cardnumber": "2000100000017", "terminal_id": "counter-1"}
        form = {**desk_form, "consent_version": STANDARD_VERSION, "consented": "y"}
        yield desk.post(start, counter, desk_form)
        yield desk.post(start, counter, {**form, "represented": "y"})
        yield desk.post("/admin/counter/lost", counter, {"cardnumber": "2000100000033"})
        suspend, restore = (f"/admin/links/{link.link_id}/{step}" for step in ("suspend", "restore"))
        yield desk.get(suspend)
        yield desk.post(suspend, suspend)
        yield desk.post(suspend, suspend, {"reason": "card_mislaid"}, follow=True)
        yield desk.post(counter, counter, {"cardnumber": "2000100000033"})
        yield desk.get(restore)
        yield desk.post(restore, restore, follow=True)
        yield from bulk_unlinking_pages(world, desk, browser_of("kanri", language))
        watch = desk.post(start, counter, form).location
        yield desk.get(watch)
        yield desk.get(counter)
        reader = world.reader(world.card())
        reader.lay_card()
        yield desk.get(watch)
        reader.enter_pin("0000")
        yield desk.get(watch)
        yield desk.post(f"{watch}/cancel", watch, follow=True)
        yield from answers_of(world, desk)
        yield desk.client.post(start, headers={"Accept-Language": language})
        yield desk.post("/admin/logout", counter, follow=True)
        yield from administration_pages(world, browser_of("kouiki", language))

    return open_pages


def bulk_unlinking_pages(world, desk, other):
    """Requests to end several links, in every state, as who made them and as who decides sees them."""
    links = [world.link(cardnumber="2000100000017", terminal_id="counter-2").link_id for _ in range(2)]
    end, page = "/admin/links/end", "/admin/links/"
    form = {"link_id": links, "reason": "mistake", "confirmed": "y"}
    yield desk.post(end, page, {"link_id": links, "ask": "chosen"})
    yield desk.post(end, page, {"link_id": links})
    yield desk.post(end, page, {"ask": "found"})
    yield desk.post(end, page, {**form, "expected": "99"})
    yield desk.post(end, page, {"ask": "chosen"}, follow=True)
    first, second, third = (desk.post(end, page, form).location for _ in range(3))
    yield desk.get(first)
    yield desk.get("/admin/bulk/")
    yield other.get("/admin/dashboard/")
    yield other.get(first)
    yield other.post(f"{first}/approve", first)
    yield other.post(f"{first}/decline", first)
    yield other.post(f"{first}/decline", first, {"decline-reason": "unclear"}, follow=True)
    yield desk.post(f"{second}/withdraw", second, follow=True)
    approval = {"approve-reason": "links_checked", "approve-confirmed": "y"}
    yield other.post(f"{third}/approve", third, approval, follow=True)
    yield other.get("/admin/bulk/")
    yield other.get("/admin/audit/")


def answers_of(world, desk):
    """Whose card it is: asked, waiting, answered, refused, and read too late."""
    asked = desk.post("/admin/counter/identify", "/admin/counter/").location
    yield desk.get(asked)
    reader = world.identifying_reader(world.linked_card())
    reader.lay_card()
    yield desk.get(asked)
    reader.enter_pin("1234")
    yield desk.get(asked)
    world.clock.now += timedelta(minutes=6)
    yield desk.get(asked)
    refused = desk.post("/admin/counter/identify", "/admin/counter/").location
    with pytest.raises(NotLinked):
        world.identifying_reader(world.card()).lay_card()
    yield desk.get(refused)


def administration_pages(world, region):
    """The pages for administrators, with every state of an account."""
    library = "/admin/libraries/chuo"
    yield region.get("/admin/libraries/")
    yield region.get("/admin/librarians/")
    yield region.get(f"{library}/")
    yield region.get(f"{library}/terminals/counter-2/remove")
    enrol = f"{library}/terminals/counter-2/enrol"
    yield region.get(enrol)
    yield region.post(enrol, enrol)
    for reader in ReaderState:
        for output in OutputState:
            world.services.terminals.report(world.counter, TerminalReport(reader, output, "0.1.0"))
            yield region.get(f"{library}/")
    for form in ("terminals/add", "staff/add"):
        yield region.get(f"{library}/{form}")
        yield region.post(f"{library}/{form}", f"{library}/{form}")
    yield from pages_of_the_consent(region, f"{library}/consent")
    account = f"{library}/staff/{world.hanako.librarian_id}"
    yield region.get(account)
    for change in ("disable", "enable", "password"):
        yield region.post(f"{account}/{change}", account, follow=True)
        yield region.get(account)
    terminal = {"terminal_id": "counter-3", "name": "分館", "kind": "counter"}
    yield region.post(f"{library}/terminals/add", f"{library}/terminals/add", terminal)
    yield region.get("/admin/links/")


def pages_of_the_consent(region, page):
    """The wording: to be changed, unfit, compared, changed, overtaken, and read."""
    wording = {"japanese": "任意です。", "english": "", "instead_of": STANDARD_VERSION}
    yield region.get(page)
    yield region.post(page, page, wording)
    wording["english"] = "Free will."
    yield region.post(page, page, wording)
    yield region.post(page, page, {**wording, "confirmed": "y"}, follow=True)
    yield region.post(page, page, wording)
    yield region.get(f"{page}/{STANDARD_VERSION}")


def test_no_english_is_left_on_a_japanese_page(every_page):
    for answer in every_page("ja"):
        text = re.sub(r"<code>.*?</code>", "", answer.text)  # names and values of settings, tokens, passwords
        text = re.sub(r'<(dl|textarea)\b[^>]* lang="en".*?</\1>', "", text, flags=re.DOTALL)
        text = re.sub(r"[0-9-]+-own[0-9]+", "", text)  # versions of a library's own wording
        text = " ".join(Page(text).words)
        for known in sorted(FROM_DATA, key=len, reverse=True):  # one id may be part of another
            text = text.replace(known, "")
        text = re.sub(r"\b[0-9a-f]{8}\b", "", text)  # the numbers of the audit log
        english = set(re.findall(r"[A-Za-z][A-Za-z0-9]+", text)) - ALLOWED_ENGLISH
        assert english == set(), answer.request.path


@pytest.mark.parametrize("language", ["ja", "en"])
def test_every_page_names_its_language_and_labels_its_fields(every_page, language):
    for answer in every_page(language):
        page = Page(answer.text)
        path = answer.request.path
        assert ("html", {"lang": language}) in page.tags, path
        assert [tag for tag, _ in page.tags].count("h1") == 1, path
        assert [field for field in page.inputs if field.get("id") not in page.labels] == [], path
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), path


def test_no_page_has_inline_script_or_style_or_loads_from_elsewhere(every_page):
    for answer in every_page("ja"):
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        for tag, attributes in Page(answer.text).tags:
            assert tag != "style"
            assert tag != "script" or "src" in attributes
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            for name in ("src", "href", "action"):
                assert attributes.get(name, "/").startswith(("/", "#")), (answer.request.path, attributes)
                assert not attributes.get(name, "").startswith("//")


def luminance(colour):
    """WCAG 2.1, relative luminance of an sRGB colour ``#rrggbb``."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("text", "ground", "ratio"),
    [
        *(
            (text, ground, 4.5)
            for text in ("ink", "soft", "indigo")
            for ground in ("paper", "ground", "indigo-pale")
        ),
        *((colour, f"{colour}-pale", 4.5) for colour in ("green", "red", "amber")),
        *(("paper", ground, 4.5) for ground in ("indigo", "indigo-dark", "green", "red")),
        ("red", "paper", 4.5),
        ("edge", "paper", 3),
        ("focus", "paper", 3),
        ("focus", "ground", 3),
    ],
)
def test_colours_have_the_contrast_of_wcag_aa(text, ground, ratio):
    css = (ADMIN / "static" / "admin.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css))
    darker, lighter = sorted((luminance(colours[text]), luminance(colours[ground])))
    assert (lighter + 0.05) / (darker + 0.05) >= ratio


def all_errors(tree):
    for error in tree.__subclasses__():
        yield error
        yield from all_errors(error)


def test_every_problem_has_words():
    slugs = {error.slug for error in all_errors(BridgeError) if error is not Denied}
    slugs |= {*JPKI_SLUGS.values(), *DenialReason, BridgeError.slug}
    slugs |= {problem for _, problem in AGENT_STEPS.values() if problem}
    assert slugs - set(words.PROBLEMS) == set()
    assert set(STOPPED_AT) <= set(words.PROBLEMS)


@pytest.mark.parametrize(
    ("table", "members"),
    [
        (words.LINK_STATES, LinkState),
        (words.IDENTIFIER_KINDS, IdentifierKind),
        (words.REQUEST_STATES, LinkRequestState),
        (words.TERMINAL_KINDS, TerminalKind),
        (words.READER_STATES, ReaderState),
        (words.OUTPUT_STATES, OutputState),
        (words.LIBRARIAN_ROLES, LibrarianRole),
        (words.ACTOR_KINDS, ActorKind),
        (words.AUDIT_TAGS, AuditTag),
        (words.UNLINK_REASONS, UnlinkReason),
        (words.BULK_UNLINK_REASONS, BulkUnlinkReason),
        (words.BULK_UNLINKING_STATES, BulkUnlinkingState),
        (words.APPROVAL_REASONS, ApprovalReason),
        (words.DECLINE_REASONS, DeclineReason),
        (words.MOVE_DIRECTIONS, MoveDirection),
        (words.MOVE_STATES, MoveState),
        (words.MOVE_OUTCOMES, MoveState),
        (words.REVOCATION_SOURCES, ["crl", "ocsp", "platform"]),
        (words.REASONS, [*(why.value for why in UnknownReason), *REASON_NAMES.values()]),
        (words.SESSION_ENDS, [*SessionEnd, "superseded", "overdue"]),
        (STEP_NAMES, set(Step) - {Step.END}),
        (END_NAMES, AT_A_COUNTER),
        (STATE_WORDS, AT_A_COUNTER),
        *((table, LinkRequestState) for table in STATE_WORDS.values()),
        (STATUS_WORDS, StepStatus),
    ],
)
def test_every_word_of_the_program_has_words_for_people(table, members):
    assert set(table) == set(members)


@pytest.fixture(scope="module")
def japanese():
    with (JAPANESE / "messages.po").open("rb") as file:
        return read_po(file, locale="ja")


def test_the_japanese_catalogue_has_every_message_and_no_other(japanese, tmp_path):
    template = tmp_path / "messages.pot"
    command = [sys.executable, "-m", "babel.messages.frontend", "--quiet", "extract"]
    options = ["-F", str(TRANSLATIONS / "babel.ini"), "-k", "lazy_gettext", "-o", str(template), str(ADMIN)]
    subprocess.run([*command, *options], check=True, timeout=120)
    with template.open("rb") as file:
        wanted = {message.id for message in read_po(file) if message.id}
    assert {message.id for message in japanese if message.id} == wanted


def test_every_japanese_message_is_translated_and_sure(japanese):
    for message in japanese:
        if message.id:
            assert message.string, message.id
            assert "" not in message.string if isinstance(message.string, tuple) else True
            assert not message.fuzzy, message.id
            assert list(message.check(japanese)) == [], message.id


def test_the_compiled_catalogue_is_the_one_that_can_be_read(japanese):
    with (JAPANESE / "messages.mo").open("rb") as file:
        assert sorted(pairs(read_mo(file))) == sorted(pairs(japanese))


def pairs(catalogue):
    """Singular, plural and translations as lists: the two readers differ in list or tuple."""
    return [(list(message.id), list(message.string)) for message in catalogue if message.id]
