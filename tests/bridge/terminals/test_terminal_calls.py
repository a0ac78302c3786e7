"""What a terminal asks and tells beside the two flows: enrolment, the long poll, its state."""

import threading
import time
from hashlib import sha256

import pytest

from bridge.agent.api_client import BridgeApi
from bridge.api.views import LONGEST_WAIT, preferred_wait
from bridge.models import Actor, ActorKind, TerminalReport
from bridge.terminals.watch import LOOK_INTERVAL

ACTOR = Actor(ActorKind.COMMAND, "test")
TOKEN = "made-at-the-terminal"
DIGEST = sha256(TOKEN.encode()).hexdigest()
STATE = {"reader": "missing", "output": "none", "version": "0.1.0"}
SOON = 20.0
"""Seconds that a paused machine does not use up, fewer than a wait lasts that nothing ends."""


def slug(response):
    assert response.mimetype == "application/problem+json"
    return response.get_json()["type"].removeprefix("urn:koha-jpki-bridge:problem:")


@pytest.fixture
def client(app):
    return app.test_client()


def call(client, method, path, token=None, headers=(), **body):
    headers = dict(headers) | ({"Authorization": f"Bearer {token}"} if token else {})
    return client.open(f"/api/v1{path}", method=method, headers=headers, **body)


# -- enrolment


@pytest.fixture
def code(bridge):
    drawn = bridge.services.enrolment.draw_code(ACTOR, library_id="chuo", terminal_id="counter-1")
    return drawn.code.grouped()


def enrol(client, code, digest=DIGEST):
    return call(client, "POST", "/enrolments", json={"code": code, "token_digest": digest})


def test_a_terminal_enrols_without_a_token_and_calls_with_its_own(client, bridge, code):
    response = enrol(client, code)
    assert response.status_code == 201
    assert response.get_json() == {
        "terminal_id": "counter-1",
        "library_id": "chuo",
        "library_name": "中央図書館",
        "kind": "counter",
    }
    assert call(client, "GET", "/terminal", TOKEN).status_code == 200
    assert slug(call(client, "GET", "/terminal", bridge.counter_token)) == "terminal-not-authenticated"


def test_a_code_used_twice_is_refused_by_its_own_problem(client, code):
    assert enrol(client, code).status_code == 201
    assert enrol(client, code).status_code == 201, "the same request again, for its answer was lost"
    response = enrol(client, code, "0" * 64)
    assert (response.status_code, slug(response)) == (409, "enrolment-code-used")


def test_an_old_code_is_refused(client, bridge, code):
    bridge.clock.advance(minutes=15)
    response = enrol(client, code)
    assert (response.status_code, slug(response)) == (410, "enrolment-code-expired")


def test_a_guesser_is_locked_out_and_told_until_when(client, bridge, code):
    unknown = [bridge.services.enrolment.draw_code(ACTOR, library_id="chuo", terminal_id="counter-1")]
    unknown += [
        bridge.services.enrolment.draw_code(ACTOR, library_id="chuo", terminal_id="counter-1")
        for _ in range(10)
    ]  # each replaces the one before
    for drawn in unknown[:-1]:
        response = enrol(client, drawn.code.value)
        assert (response.status_code, slug(response)) == (403, "enrolment-code-unknown")
    response = enrol(client, unknown[-1].code.value)
    assert (response.status_code, slug(response)) == (429, "enrolment-locked")
    assert response.get_json()["locked_until"] == "2026-11-02T01:01:00Z"
    assert slug(enrol(client, code)) == "enrolment-locked"


@pytest.mark.parametrize(
    "body",
    [
        {"code": "1", "token_digest": DIGEST.upper()},
        {"code": "1", "token_digest": DIGEST + "\n"},
        {"code": "1" * 33, "token_digest": DIGEST},
        {"code": 1, "token_digest": DIGEST},
        {"code": "1"},
        {"code": "1", "token_digest": DIGEST, "terminal_id": "counter-1"},
    ],
    ids=repr,
)
def test_a_malformed_enrolment_is_refused(client, body):
    response = call(client, "POST", "/enrolments", json=body)
    assert (response.status_code, slug(response)) == (400, "malformed-request")


# -- waiting


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=10", 10),
        ("respond-async, wait=5", 5),
        ("Wait = 7; foo=bar", 7),
        ("wait=100", LONGEST_WAIT),
        ("wait=0", 0),
        ("", None),
        ("wait", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("await=5", None),
        ("wait=99999999999", None),
    ],
)
def test_the_preference_is_read_as_rfc_7240_says(prefer, seconds):
    assert preferred_wait(prefer) == seconds


def test_without_the_preference_it_is_answered_at_once_and_has_a_tag(client, bridge):
    response = call(client, "GET", "/terminal", bridge.counter_token)
    assert "Preference-Applied" not in response.headers
    tag = response.headers["ETag"]
    again = call(client, "GET", "/terminal", bridge.counter_token, {"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)


def test_a_wait_without_a_change_ends_with_not_modified(client, bridge):
    tag = call(client, "GET", "/terminal", bridge.counter_token).headers["ETag"]
    begun = time.monotonic()
    response = call(
        client, "GET", "/terminal", bridge.counter_token, {"If-None-Match": tag, "Prefer": "wait=1"}
    )
    assert response.status_code == 304
    assert response.headers["Preference-Applied"] == "wait=1"
    assert 1 <= time.monotonic() - begun < SOON


def test_what_changed_since_the_last_answer_is_not_waited_for(client, bridge):
    tag = call(client, "GET", "/terminal", bridge.counter_token).headers["ETag"]
    bridge.start_link()
    begun = time.monotonic()
    response = call(
        client, "GET", "/terminal", bridge.counter_token, {"If-None-Match": tag, "Prefer": "wait=25"}
    )
    assert (response.status_code, response.get_json()["purpose"]) == (200, "link")
    assert time.monotonic() - begun < SOON


def test_an_agent_is_told_of_a_started_link_within_half_a_second(server, bridge):
    """Within two looks: one may have begun before the link. Seconds would be those of a busy machine."""
    watch = bridge.services.terminals.watch
    agent, told = BridgeApi(server.url, bridge.counter_token, 30.0), []
    assert agent.terminal().purpose is None
    thread = threading.Thread(target=lambda: told.append(agent.terminal(wait=25)))
    thread.start()
    while not watch._looks:
        time.sleep(0.01)
    bridge.start_link()
    looks = watch._looks
    thread.join(SOON)
    [state] = told
    assert (state.purpose, state.has_waited) == ("link", True)
    assert watch._looks <= looks + 2
    assert 2 * LOOK_INTERVAL < 0.5
    agent.close()


def test_a_terminal_that_is_removed_while_it_waits_is_a_stranger(client, bridge):
    answers = []

    def wait():
        answers.append(call(client, "GET", "/terminal", bridge.counter_token, {"Prefer": "wait=20"}))

    thread = threading.Thread(target=wait)
    thread.start()
    while not bridge.services.terminals.watch._looks:
        time.sleep(0.01)
    bridge.services.staff.remove_terminal(ACTOR, library_id="chuo", terminal_id="counter-1")
    bridge.services.terminals.watch.end_when(lambda: True)
    thread.join(90)
    assert slug(answers[0]) == "terminal-not-authenticated"


# -- the state of a terminal


def test_what_a_terminal_tells_is_kept(client, bridge):
    response = call(client, "POST", "/terminal/state", bridge.counter_token, json=STATE)
    assert (response.status_code, response.data) == (204, b"")
    (counter, _) = bridge.services.staff.terminals("chuo")
    assert (counter.report, counter.last_seen_at) == (
        TerminalReport("missing", "none", "0.1.0"),
        bridge.clock(),
    )


@pytest.mark.parametrize(
    "wrong", [{"reader": "broken"}, {"output": None}, {"version": ""}, {"version": "版"}, {"pin": "1234"}]
)
def test_a_wrong_state_is_refused(client, bridge, wrong):
    response = call(client, "POST", "/terminal/state", bridge.counter_token, json=STATE | wrong)
    assert (response.status_code, slug(response)) == (400, "malformed-request")
    assert bridge.services.staff.terminals("chuo")[0].report is None


def test_a_call_for_work_is_a_sign_of_life(client, bridge):
    call(client, "GET", "/terminal", bridge.counter_token)
    assert bridge.services.staff.terminals("chuo")[0].last_seen_at == bridge.clock()
