"""The API's calls over the real services: the two flows, and what must be refused."""

import json
from base64 import b64decode, b64encode
from datetime import timedelta

import pytest

from bridge.api import MAXIMUM_BODY
from bridge.errors import KohaNotReachable
from bridge.models import Actor, ActorKind, LinkRequestState
from jpki.card import JpkiSession, Pin
from jpki.certificate import UserAuthenticationCertificate
from jpki.simulator.card import SimulatedConnection
from jpki.simulator.pki import CardProfile

PIN = "4937"
CARDNUMBER = "C0001234567"
NO_CHALLENGE = "0" * 32


class TerminalClient:
    """Calls the API as a terminal does."""

    def __init__(self, client, token):
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path):
        return self.client.get(f"/api/v1{path}", headers=self.headers)

    def post(self, path, body):
        return self.client.post(f"/api/v1{path}", json=body, headers=self.headers)

    def post_bytes(self, path, body, content_type="application/json"):
        return self.client.post(f"/api/v1{path}", data=body, headers=self.headers, content_type=content_type)

    def begin(self, card, purpose):
        return self.post("/challenges", {"purpose": purpose, "certificate": certificate_of(card)})

    def respond(self, challenge, card, signature=None):
        """Answer a challenge (the JSON of one) with the card's signature, or the one that is given."""
        signature = signature or sign(card, b64decode(challenge["message"]))
        body = {"certificate": certificate_of(card), "signature": b64encode(signature).decode()}
        return self.post(f"/challenges/{challenge['challenge_id']}/response", body)


def certificate_of(card):
    return b64encode(card.authentication.certificate_der).decode()


def serial_number_of(card):
    return UserAuthenticationCertificate.from_der(card.authentication.certificate_der).serial_number.value


def sign(card, message):
    with SimulatedConnection(card) as connection:
        session = JpkiSession(connection)
        session.verify_pin(Pin(PIN))
        return session.sign(message)


@pytest.fixture
def counter(app, bridge):
    return TerminalClient(app.test_client(), bridge.counter_token)


@pytest.fixture
def self_check(app, bridge):
    return TerminalClient(app.test_client(), bridge.self_check_token)


@pytest.fixture
def card(make_card):
    return make_card()


@pytest.fixture
def linked_card(card, bridge, counter):
    bridge.start_link()
    begun = counter.begin(card, "link").get_json()
    assert counter.respond(begun, card).status_code == 201
    return card


def slug(response):
    assert response.mimetype == "application/problem+json", response.get_data(as_text=True)
    assert response.get_json()["status"] == response.status_code
    assert response.headers["Cache-Control"] == "no-store"
    return response.get_json()["type"].removeprefix("urn:koha-jpki-bridge:problem:")


# -- the terminal and its purpose


def test_a_counter_has_a_purpose_while_a_request_is_open(counter, bridge):
    expected = {
        "terminal_id": "counter-1",
        "library_id": "chuo",
        "library_name": "中央図書館",
        "kind": "counter",
        "purpose": None,
        "open_session_id": None,
        "reads_card_number": False,
    }
    assert counter.get("/terminal").get_json() == expected
    bridge.start_link()
    assert counter.get("/terminal").get_json() == expected | {"purpose": "link"}
    bridge.clock.advance(minutes=6)
    assert counter.get("/terminal").get_json() == expected


def test_a_self_check_machine_always_borrows(self_check):
    answer = self_check.get("/terminal").get_json()
    assert (answer["kind"], answer["purpose"]) == ("self_check", "borrow")


# -- the two flows


def test_a_card_is_linked_at_the_counter(counter, bridge, card):
    request = bridge.start_link()
    begun = counter.begin(card, "link")
    assert begun.status_code == 201
    challenge = begun.get_json()
    assert challenge["expires_at"] == "2026-11-02T01:02:00Z"
    told = counter.post(
        f"/challenges/{challenge['challenge_id']}/progress",
        {"step": "pin_requested", "attempts_remaining": 3},
    )
    assert (told.status_code, told.data) == (204, b"")
    assert bridge.request(request).state is LinkRequestState.WAITING_FOR_PIN
    response = counter.respond(challenge, card)
    assert response.status_code == 201
    assert set(response.get_json()) == {"result", "not_after", "ends_at", "ends_because"}
    assert response.get_json()["result"] == "linked"
    assert bridge.request(request).state is LinkRequestState.COMPLETED


def test_a_linked_card_opens_a_session(self_check, bridge, linked_card):
    begun = self_check.begin(linked_card, "borrow")
    response = self_check.respond(begun.get_json(), linked_card)
    assert response.status_code == 201
    answer = response.get_json()
    assert (answer["result"], answer["expires_at"]) == ("session", "2026-11-02T01:15:00Z")
    resolved = bridge.services.borrowing.resolve("chuo", "sc1", answer["token"])
    assert resolved.cardnumber == CARDNUMBER


# -- who is calling


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer wrong wrong"},
        {"Authorization": "Bearer \xff\xfe"},
        {"Authorization": "Basic dXNlcjpwYXNzd29yZA=="},
        {"Authorization": "Token {token}"},
        {"X-Token": "{token}"},
        {"Cookie": "token={token}"},
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/terminal"),
        ("POST", "/challenges"),
        ("POST", f"/challenges/{NO_CHALLENGE}/progress"),
        ("POST", f"/challenges/{NO_CHALLENGE}/response"),
    ],
)
def test_without_a_known_token_there_is_only_401(app, bridge, headers, method, path):
    headers = {name: value.replace("{token}", bridge.counter_token) for name, value in headers.items()}
    before = bridge.rows()
    response = app.test_client().open(f"/api/v1{path}", method=method, headers=headers)
    assert (response.status_code, slug(response)) == (401, "terminal-not-authenticated")
    assert "Bearer" in response.headers["WWW-Authenticate"]
    assert bridge.rows() == before


def test_a_removed_terminal_is_a_stranger(counter, bridge):
    actor = Actor(ActorKind.COMMAND, "test")
    bridge.services.staff.remove_terminal(actor, library_id="chuo", terminal_id="counter-1")
    assert slug(counter.get("/terminal")) == "terminal-not-authenticated"


# -- bad input: nothing stored, nothing logged


GOOD_BASE64 = b64encode(b"0" * 100).decode()

BAD_INPUT = {
    "not JSON": ("/challenges", b"{", "application/json", 400, "malformed-request"),
    "not base64": (
        "/challenges",
        json.dumps({"purpose": "link", "certificate": "4937!"}).encode(),
        "application/json",
        400,
        "malformed-request",
    ),
    "a field too many": (
        "/challenges",
        json.dumps({"purpose": "link", "certificate": GOOD_BASE64, "pin": PIN}).encode(),
        "application/json",
        400,
        "malformed-request",
    ),
    "a form": (
        "/challenges",
        b"purpose=link",
        "application/x-www-form-urlencoded",
        415,
        "unsupported-media-type",
    ),
    "text": ("/challenges", b"{}", "text/plain", 415, "unsupported-media-type"),
    "too large": ("/challenges", b" " * (MAXIMUM_BODY + 1), "application/json", 413, "request-too-large"),
    "progress of no challenge": (
        f"/challenges/{NO_CHALLENGE}/progress",
        b'{"step": "given_up"}',
        "application/json",
        404,
        "challenge-unknown",
    ),
    "progress of no step": (
        f"/challenges/{NO_CHALLENGE}/progress",
        b'{"step": "borrowed"}',
        "application/json",
        400,
        "malformed-request",
    ),
    "an id with a NUL": (
        "/challenges/a%00b/progress",
        b'{"step": "given_up"}',
        "application/json",
        404,
        "challenge-unknown",
    ),
    "an id of ten thousand characters": (
        f"/challenges/{'a' * 10_000}/progress",
        b'{"step": "given_up"}',
        "application/json",
        404,
        "challenge-unknown",
    ),
}


@pytest.mark.parametrize(("path", "body", "kind", "status", "problem"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_a_typed_problem_and_nothing_is_stored(
    counter, bridge, caplog, path, body, kind, status, problem
):
    caplog.set_level(1)
    bridge.start_link()
    before = bridge.rows()
    response = counter.post_bytes(path, body, kind)
    assert (response.status_code, slug(response)) == (status, problem)
    assert bridge.rows() == before
    assert PIN not in caplog.text + response.get_data(as_text=True)
    assert bridge.counter_token not in caplog.text


@pytest.mark.parametrize("der", [b"", b"\x30\x82", b"not a certificate", bytes(1600)], ids=repr)
def test_a_certificate_that_is_none_is_malformed(counter, bridge, der):
    bridge.start_link()
    body = {"purpose": "link", "certificate": b64encode(der).decode()}
    assert slug(counter.post("/challenges", body)) == "malformed-certificate"


# -- refused before the PIN


BAD_CARDS = {
    CardProfile.EXPIRED: "certificate-expired",
    CardProfile.NOT_YET_VALID: "certificate-not-yet-valid",
    CardProfile.FOREIGN_CA: "untrusted-issuer",
    CardProfile.SIGNATURE_CERTIFICATE: "wrong-certificate-type",
    CardProfile.WRONG_POLICY: "wrong-certificate-policy",
    CardProfile.RSA_1024: "unsupported-algorithm",
}


@pytest.mark.parametrize(("profile", "problem"), BAD_CARDS.items(), ids=lambda value: str(value))
def test_a_bad_card_gets_no_challenge(counter, bridge, make_card, profile, problem):
    request = bridge.start_link()
    response = counter.begin(make_card(profile), "link")
    assert slug(response) == problem
    assert bridge.request(request).problem == problem
    assert bridge.rows()["challenge"] == "[]"


def test_an_expired_certificate_says_since_when(counter, bridge, make_card):
    bridge.start_link()
    body = counter.begin(make_card(CardProfile.EXPIRED), "link").get_json()
    assert body["not_after"] == "2026-11-01T14:59:59Z"


def test_a_revoked_card_gets_no_challenge(counter, bridge, card):
    bridge.start_link()
    bridge.revocations.revoked.add(serial_number_of(card))
    response = counter.begin(card, "link")
    assert (response.status_code, slug(response)) == (403, "certificate-revoked")


def test_no_word_on_revocation_is_no_good_word(counter, bridge, card):
    bridge.start_link()
    bridge.revocations.down = True
    response = counter.begin(card, "link")
    assert (response.status_code, slug(response)) == (503, "revocation-unknown")
    assert response.json["why"] == "unreachable"


def test_without_a_request_no_card_is_linked(counter, card):
    assert slug(counter.begin(card, "link")) == "no-link-request"


def test_a_card_is_linked_once(counter, bridge, linked_card):
    bridge.start_link()
    assert slug(counter.begin(linked_card, "link")) == "already-linked"


def test_a_card_never_linked_does_not_borrow(self_check, card):
    response = self_check.begin(card, "borrow")
    assert (response.status_code, slug(response)) == (403, "not-linked")


@pytest.mark.parametrize(("terminal", "purpose"), [("counter", "borrow"), ("self_check", "link")])
def test_a_purpose_belongs_to_its_kind_of_terminal(request, card, terminal, purpose):
    response = request.getfixturevalue(terminal).begin(card, purpose)
    assert (response.status_code, slug(response)) == (403, "wrong-terminal-kind")


# -- refused after it


def test_an_expired_challenge_is_refused(counter, bridge, card):
    bridge.start_link()
    challenge = counter.begin(card, "link").get_json()
    bridge.clock.advance(seconds=120)
    response = counter.respond(challenge, card)
    assert (response.status_code, slug(response)) == (410, "challenge-expired")
    assert response.get_json()["expired_at"] == challenge["expires_at"]


def test_a_replayed_response_is_refused(self_check, linked_card):
    challenge = self_check.begin(linked_card, "borrow").get_json()
    signature = sign(linked_card, b64decode(challenge["message"]))
    assert self_check.respond(challenge, linked_card, signature).status_code == 201
    response = self_check.respond(challenge, linked_card, signature)
    assert (response.status_code, slug(response)) == (409, "challenge-already-used")


def test_a_signature_of_another_message_is_refused(self_check, linked_card):
    challenge = self_check.begin(linked_card, "borrow").get_json()
    response = self_check.respond(challenge, linked_card, sign(linked_card, b"another"))
    assert (response.status_code, slug(response)) == (403, "invalid-signature")


def test_another_card_cannot_answer(self_check, linked_card, make_card):
    challenge = self_check.begin(linked_card, "borrow").get_json()
    assert slug(self_check.respond(challenge, make_card())) == "wrong-certificate"


def test_a_counter_cannot_answer_for_a_self_check_machine(counter, self_check, linked_card):
    challenge = self_check.begin(linked_card, "borrow").get_json()
    assert slug(counter.respond(challenge, linked_card)) == "challenge-unknown"


def test_a_response_to_no_challenge_is_refused(counter, card):
    challenge = {"challenge_id": NO_CHALLENGE, "message": b64encode(b"m").decode()}
    response = counter.respond(challenge, card)
    assert (response.status_code, slug(response)) == (404, "challenge-unknown")


def test_an_expired_library_card_does_not_borrow(self_check, bridge, linked_card):
    bridge.patrons.change(expiry_date=bridge.clock().date() - timedelta(days=1))
    challenge = self_check.begin(linked_card, "borrow").get_json()
    assert slug(self_check.respond(challenge, linked_card)) == "library-card-expired"


def test_koha_out_of_reach_is_said(self_check, bridge, linked_card):
    challenge = self_check.begin(linked_card, "borrow").get_json()
    bridge.patrons.failure = KohaNotReachable()
    response = self_check.respond(challenge, linked_card)
    assert (response.status_code, slug(response)) == (503, "koha-not-reachable")


# -- secrets


def test_no_secret_of_either_flow_is_logged_or_stored_in_the_clear(counter, self_check, bridge, card, caplog):
    caplog.set_level(1)
    bridge.start_link()
    counter.respond(counter.begin(card, "link").get_json(), card)
    token = self_check.respond(self_check.begin(card, "borrow").get_json(), card).get_json()["token"]
    serial_number = serial_number_of(card)
    secrets = [
        bridge.counter_token,
        bridge.self_check_token,
        token,
        CARDNUMBER,
        "甲野",
        str(serial_number),
        f"{serial_number:x}",
    ]
    for secret in secrets:
        assert secret not in caplog.text
        for table, rows in bridge.rows().items():
            assert secret not in rows, table
