"""The desk's calls: who may make them, from which pages, and what they tell."""

import pytest

from bridge.links.consent import STANDARD_VERSION
from bridge.models import Actor, ActorKind, AgentStep, ConsentLanguage, LibrarianRole
from jpki.card import JpkiSession, Pin
from jpki.simulator.card import SimulatedConnection

ORIGIN = "https://staff.koha.example"
OTHER_ORIGIN = "https://staff.kita.example"
CARDNUMBER = "C0001234567"
NAME = "甲野花子"
PIN = "4937"
BORROWERNUMBER = 8
SYSTEM = Actor(ActorKind.COMMAND, "test")
CORS = ("Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers")


class Koha:
    """What Koha's server and Koha's page do."""

    def __init__(self, bridge, app):
        self.client = app.test_client()
        self.origin, self.token, self.language = ORIGIN, None, "ja"
        desk = bridge.services.desk
        self.plugin = desk.add_plugin(SYSTEM, library_id="chuo", name="Koha")
        desk.add_account(SYSTEM, koha_patron_id=BORROWERNUMBER, librarian=bridge.librarian)

    def open(self, *, secret=None, plugin_id=None, body=None, headers=None):
        return self.client.post(
            "/api/v1/desk/passes",
            json=body or {"koha_patron_id": BORROWERNUMBER},
            auth=(plugin_id or self.plugin.plugin.plugin_id, secret or self.plugin.secret),
            headers=headers or {},
        )

    def sign_in(self):
        answer = self.open()
        assert answer.status_code == 201
        self.token = answer.json["token"]
        return self

    def call(self, method, path, **values):
        headers = {"Accept-Language": self.language}
        if self.origin is not None:
            headers["Origin"] = self.origin
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return self.client.open(f"/api/v1/desk{path}", method=method, headers=headers, **values)

    def get(self, path=""):
        return self.call("GET", path)

    def post(self, path, **body):
        return self.call("POST", path, **({"json": body} if body else {}))


@pytest.fixture
def koha(bridge, app):
    return Koha(bridge, app)


@pytest.fixture
def page(koha):
    return koha.sign_in()


def problem(answer):
    return answer.status_code, answer.json["type"].rpartition(":")[2]


def lay_card(bridge, service, card):
    """Do at the counter's reader what the agent does."""
    terminal = bridge.services.staff.terminal_for_token(bridge.counter_token)
    session = JpkiSession(SimulatedConnection(card))
    certificate = session.read_certificate()
    challenge = service.begin(terminal, certificate)
    service.progress(terminal, challenge.challenge_id, AgentStep.PIN_REQUESTED, 3)

    def enter_pin():
        session.verify_pin(Pin(PIN))
        service.complete(terminal, challenge.challenge_id, certificate, session.sign(challenge.message()))

    return enter_pin


# --- opening


def test_the_plugins_secret_gives_a_token_for_ten_minutes(koha, bridge):
    answer = koha.open()
    assert answer.status_code == 201
    assert answer.json["expires_in"] == 600
    assert answer.headers["Cache-Control"] == "no-store"
    koha.token = answer.json["token"]
    assert koha.get().json["librarian_name"] == "佐藤"
    bridge.clock.advance(minutes=10)
    assert problem(koha.get()) == (401, "librarian-not-authenticated")


def test_a_browser_cannot_use_the_secret(koha):
    answer = koha.open(headers={"Origin": ORIGIN})
    assert problem(answer) == (403, "origin-not-allowed")
    assert not any(name in answer.headers for name in CORS)


@pytest.mark.parametrize(
    "wrong", [{"secret": "wrong"}, {"plugin_id": "00"}, {"plugin_id": "a\0b"}, {"secret": "秘密"}]
)
def test_a_wrong_secret_is_refused(koha, wrong):
    answer = koha.open(**wrong)
    assert problem(answer) == (401, "plugin-not-authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_five_wrong_secrets_lock_the_plugin_for_a_minute(koha, bridge):
    for _ in range(5):
        koha.open(secret="wrong")
    assert problem(koha.open()) == (401, "plugin-not-authenticated")
    bridge.clock.advance(minutes=1)
    assert koha.open().status_code == 201


def test_a_terminals_token_opens_no_desk(koha, bridge):
    koha.token = bridge.counter_token
    assert problem(koha.get()) == (401, "librarian-not-authenticated")
    answer = koha.client.post(
        "/api/v1/desk/passes", headers={"Authorization": f"Bearer {koha.token}"}, json={}
    )
    assert problem(answer) == (401, "plugin-not-authenticated")


def test_the_desks_token_is_none_of_a_terminal(page):
    answer = page.client.get("/api/v1/terminal", headers={"Authorization": f"Bearer {page.token}"})
    assert problem(answer) == (401, "terminal-not-authenticated")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"koha_patron_id": "8"}, "wrong-type"),
        ({"koha_patron_id": True}, "wrong-type"),
        ({"koha_patron_id": 0}, "not-allowed"),
        ({"koha_patron_id": 2**31}, "not-allowed"),
        ({"koha_patron_id": 8, "userid": "sato"}, "unknown"),
    ],
)
def test_what_is_no_borrowernumber_is_refused(koha, body, fault):
    answer = koha.open(body=body)
    assert problem(answer) == (400, "malformed-request")
    assert answer.json["fault"] == fault


def test_an_unknown_member_of_staff_is_refused(koha):
    assert problem(koha.open(body={"koha_patron_id": 9})) == (404, "librarian-not-found")


# --- pages of other origins


def preflight(koha, path, origin, method="POST"):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return koha.client.options(f"/api/v1{path}", headers=headers)


@pytest.mark.parametrize("path", ["/desk", "/desk/links", "/desk/requests/1/patron", "/desk/links/1/end"])
def test_a_page_of_koha_may_ask(koha, path):
    answer = preflight(koha, path, ORIGIN)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://staff.koha.example",
        f"{ORIGIN}.evil.example",
        f"{ORIGIN}:8443",
        "null",
        "*",
    ],
)
def test_a_foreign_page_may_not(page, origin):
    answer = preflight(page, "/desk", origin)
    assert not any(name in answer.headers for name in CORS)
    assert "Origin" in answer.headers["Vary"]
    page.origin = origin
    answer = page.get()
    assert problem(answer) == (403, "origin-not-allowed")
    assert not any(name in answer.headers for name in CORS)


def test_a_page_of_another_librarys_koha_reads_why_and_no_more(page):
    page.origin = OTHER_ORIGIN
    answer = page.get()
    assert problem(answer) == (403, "origin-not-allowed")
    assert answer.headers["Access-Control-Allow-Origin"] == OTHER_ORIGIN


@pytest.mark.parametrize(
    "path", ["/desk/passes", "/terminal", "/challenges", "/openapi.json", "/docs", "/nowhere"]
)
def test_everything_else_stays_without_cors(koha, path):
    for answer in (
        preflight(koha, path, ORIGIN),
        koha.client.get(f"/api/v1{path}", headers={"Origin": ORIGIN}),
    ):
        assert not any(name in answer.headers for name in CORS)


def test_no_cookie_is_set_or_read(page):
    answer = page.get()
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers


# --- the work


def test_the_desk_names_its_own_counters_and_the_wording(page):
    told = page.get().json
    assert told["library_name"] == "中央図書館"
    assert told["terminals"] == [{"terminal_id": "counter-1", "name": "窓口1"}]
    assert told["consent_version"] == STANDARD_VERSION
    assert len(told["consent"]) > 3
    page.language = "en"
    assert page.get().json["consent"][0].startswith("How the service works\nThe service is provided")


def test_the_desk_gives_the_wording_that_the_library_has_set(page, bridge):
    consent = bridge.services.consent
    texts = {language: f"{language}\nfirst line\nsecond line\n\nalone" for language in ConsentLanguage}
    changed = consent.change(SYSTEM, "chuo", texts, instead_of=STANDARD_VERSION)
    told = page.get().json
    assert told["consent_version"] == changed.version
    assert told["consent"] == ["ja\nfirst line\nsecond line", "alone"]


def test_a_card_is_linked_and_its_patron_found_by_it(page, bridge, make_card):
    card = make_card()
    assert page.post("/patron", cardnumber=CARDNUMBER).json == {
        "links": [],
        "problem": None,
        "problem_words": None,
    }
    started = page.post(
        "/links", terminal_id="counter-1", cardnumber=CARDNUMBER, consent_version=STANDARD_VERSION
    )
    assert started.status_code == 201
    path = f"/requests/{started.json['request_id']}"
    assert started.json["state"] == "waiting_for_card"
    enter_pin = lay_card(bridge, bridge.services.registration, card)
    assert page.get(path).json["details"] == ["残り3回試せます。"]
    enter_pin()
    linked = page.get(path).json
    assert (linked["state"], linked["is_open"], linked["tone"]) == ("completed", False, "success")
    assert linked["headline"] == "連携が完了しました。"

    links = page.post("/patron", cardnumber=CARDNUMBER).json["links"]
    assert [each["state"] for each in links] == ["active"]
    started = page.post("/identifications", terminal_id="counter-1")
    path = f"/requests/{started.json['request_id']}"
    assert problem(page.post(f"{path}/patron")) == (404, "link-request-not-found")  # not answered yet
    lay_card(bridge, bridge.services.identification, card)()
    assert page.get(path).json["headline"] == "利用者を確認しました。"
    assert page.post(f"{path}/patron").json == {"cardnumber": CARDNUMBER}
    bridge.clock.advance(minutes=5)
    assert problem(page.post(f"{path}/patron")) == (404, "link-request-not-found")

    again = page.post(
        "/links",
        terminal_id="counter-1",
        cardnumber=CARDNUMBER,
        consent_version=STANDARD_VERSION,
        replaces=links[0]["link_id"],
    )
    assert again.status_code == 201
    path = f"/requests/{again.json['request_id']}"
    assert page.post(f"{path}/cancellation").json["state"] == "cancelled"
    assert problem(page.post(f"{path}/cancellation")) == (404, "link-request-not-found")

    assert page.post(f"/links/{links[0]['link_id']}/end", reason="patron_request").status_code == 204
    assert page.post("/patron", cardnumber=CARDNUMBER).json["links"] == []
    gone = page.post(f"/links/{links[0]['link_id']}/end", reason="mistake")
    assert problem(gone) == (404, "link-not-found")


def test_nothing_of_the_patron_is_told_but_the_card_number(page, bridge, make_card):
    page.post("/links", terminal_id="counter-1", cardnumber=CARDNUMBER, consent_version=STANDARD_VERSION)
    lay_card(bridge, bridge.services.registration, make_card())()
    assert NAME not in page.post("/patron", cardnumber=CARDNUMBER).text


def test_who_did_not_ask_is_not_told_whose_card_it_was(page, bridge, make_card):
    page.post("/links", terminal_id="counter-1", cardnumber=CARDNUMBER, consent_version=STANDARD_VERSION)
    card = make_card()
    lay_card(bridge, bridge.services.registration, card)()
    request_id = page.post("/identifications", terminal_id="counter-1").json["request_id"]
    lay_card(bridge, bridge.services.identification, card)()
    colleague = bridge.services.staff.add_librarian(
        SYSTEM,
        library_id="chuo",
        login_name="suzuki",
        display_name="鈴木",
        role=LibrarianRole.LIBRARIAN,
        password="correct horse",
    )
    bridge.services.desk.add_account(SYSTEM, koha_patron_id=9, librarian=colleague)
    page.token = page.open(body={"koha_patron_id": 9}).json["token"]
    assert problem(page.post(f"/requests/{request_id}/patron")) == (404, "link-request-not-found")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/identifications", {"terminal_id": "north-1"}, (404, "terminal-not-found")),
        ("/identifications", {"terminal_id": "self-check-1"}, (403, "wrong-terminal-kind")),
        ("/identifications", {"terminal_id": "x y"}, (400, "malformed-request")),
        ("/patron", {"cardnumber": "UNKNOWN"}, (404, "patron-not-found")),
        ("/patron", {"cardnumber": "１２３"}, (400, "malformed-request")),
        ("/requests/nowhere/patron", {}, (404, "link-request-not-found")),
        ("/requests/%00/cancellation", {}, (404, "link-request-not-found")),
        ("/links/nowhere/end", {"reason": "mistake"}, (404, "link-not-found")),
        ("/links/nowhere/end", {"reason": "because"}, (400, "malformed-request")),
        (
            "/links",
            {"terminal_id": "counter-1", "cardnumber": CARDNUMBER, "consent_version": "old"},
            (409, "consent-missing"),
        ),
    ],
)
def test_what_is_not_there_or_not_the_librarys_is_refused(page, path, body, expected):
    assert problem(page.post(path, **body)) == expected


def test_another_librarys_librarian_sees_no_request_of_this_one(page, bridge):
    request_id = page.post("/identifications", terminal_id="counter-1").json["request_id"]
    plugin = bridge.services.desk.add_plugin(SYSTEM, library_id="kita", name="Koha")
    bridge.services.desk.add_account(SYSTEM, koha_patron_id=1, librarian=bridge.other_librarian)
    opened = page.open(plugin_id=plugin.plugin.plugin_id, secret=plugin.secret, body={"koha_patron_id": 1})
    page.token, page.origin = opened.json["token"], OTHER_ORIGIN
    assert page.get().json["terminals"] == [{"terminal_id": "north-1", "name": "北窓口"}]
    assert problem(page.get(f"/requests/{request_id}")) == (404, "link-request-not-found")
    assert problem(page.post(f"/requests/{request_id}/cancellation")) == (404, "link-request-not-found")


def test_a_second_order_at_one_counter_is_refused(page):
    page.post("/identifications", terminal_id="counter-1")
    assert problem(page.post("/identifications", terminal_id="counter-1")) == (409, "link-request-pending")


def test_who_became_auditor_meanwhile_is_refused(page, bridge):
    bridge.services.staff.change_role(
        SYSTEM,
        library_id="chuo",
        librarian_id=bridge.librarian.librarian_id,
        role=LibrarianRole.AUDITOR,
    )
    assert problem(page.post("/identifications", terminal_id="counter-1")) == (403, "not-allowed")


def test_neither_token_nor_secret_nor_card_number_is_kept_or_logged(page, bridge, caplog):
    caplog.set_level(0)
    page.post("/patron", cardnumber=CARDNUMBER)
    everything = repr(bridge.rows()) + caplog.text
    for secret in (page.token, page.plugin.secret, CARDNUMBER, NAME):
        assert secret not in everything
