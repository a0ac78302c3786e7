"""The agent's end of the API, against a real HTTP server that says what each test scripts."""

import inspect
import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest
import requests

from bridge.agent.api_client import (
    BridgeApi,
    IssuedChallenge,
    Linked,
    OutputStatus,
    ProgressStep,
    ReaderStatus,
    SessionOpened,
    TerminalState,
)
from bridge.agent.errors import BridgeAnswerMalformed, BridgeProblem, BridgeUnreachable, WrongSettings
from bridge.models import AgentStep, OutputState, ReaderState
from jpki.challenge import ChallengePurpose

TOKEN = "terminal-token-of-the-test"
TERMINAL = {
    "terminal_id": "counter-1",
    "library_id": "chuo",
    "library_name": "中央図書館",
    "kind": "counter",
    "purpose": "link",
}


class Recorded:
    def __init__(self):
        self.requests = []
        self.answer = (200, "application/json", b"{}", {})


@contextmanager
def serving(recorded):
    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            recorded.requests.append((self.command, self.path, dict(self.headers), body))
            status, kind, content, headers = recorded.answer
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": len(content), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        do_GET = answer  # noqa: N815  # the name is http.server's
        do_POST = answer  # noqa: N815  # the name is http.server's

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def recorded():
    return Recorded()


@pytest.fixture
def api(recorded):
    with serving(recorded) as url:
        api = BridgeApi(url, TOKEN, 10.0)
        yield api
        api.close()


def says(recorded, body, status=200, kind="application/json", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    recorded.answer = (status, kind, content, headers)


def test_the_terminal_is_asked_for_with_the_token(api, recorded):
    says(recorded, TERMINAL)
    assert api.terminal() == TerminalState(
        "counter-1", "chuo", "中央図書館", "counter", ChallengePurpose.LINK
    )
    ((method, path, headers, body),) = recorded.requests
    assert (method, path, body) == ("GET", "/api/v1/terminal", b"")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Accept-Language"] == "ja"


def test_no_work_is_no_purpose(api, recorded):
    says(recorded, TERMINAL | {"purpose": None})
    assert api.terminal().purpose is None


def test_to_wait_it_tells_what_it_knows_and_remembers_that_when_nothing_changes(api, recorded):
    says(recorded, TERMINAL | {"open_session_id": "5"}, ETag='"a"')
    known = api.terminal(wait=25)
    assert (known.open_session_id, known.has_waited) == ("5", False)
    says(recorded, b"", 304, ETag='"a"', **{"Preference-Applied": "wait=25"})
    assert api.terminal(wait=25) == replace(known, has_waited=True)
    first, second = (headers for _, _, headers, _ in recorded.requests)
    assert (first["Prefer"], "If-None-Match" in first) == ("wait=25", False)
    assert (second["Prefer"], second["If-None-Match"]) == ("wait=25", '"a"')


def test_not_modified_is_no_answer_to_who_knows_nothing(api, recorded):
    says(recorded, b"", 304)
    with pytest.raises(BridgeAnswerMalformed):
        api.terminal()


def test_the_state_of_reader_and_output_is_told(api, recorded):
    says(recorded, b"", 204)
    api.report_state(ReaderStatus.MISSING, OutputStatus.READY)
    ((method, path, _, body),) = recorded.requests
    assert (method, path) == ("POST", "/api/v1/terminal/state")
    told = {"reader": "missing", "output": "ready", "version": version("koha-jpki-bridge")}
    assert json.loads(body) == told


def test_the_words_for_reader_and_output_are_those_of_the_api():
    assert {each.value for each in ReaderStatus} == {each.value for each in ReaderState}
    assert {each.value for each in OutputStatus} == {each.value for each in OutputState}


def test_a_challenge_is_begun(api, recorded):
    says(recorded, {"challenge_id": "a1", "message": "bWVzc2FnZQ==", "expires_in": 120}, 201)
    begun = api.begin(ChallengePurpose.BORROW, b"DER")
    assert begun == IssuedChallenge("a1", b"message", timedelta(seconds=120))
    method, path, _, body = recorded.requests[0]
    assert (method, path) == ("POST", "/api/v1/challenges")
    assert json.loads(body) == {"purpose": "borrow", "certificate": "REVS"}


def test_the_steps_are_those_of_the_api():
    assert {step.value for step in ProgressStep} == {step.value for step in AgentStep}


def test_progress_is_told(api, recorded):
    says(recorded, b"", 204)
    api.progress("a1", ProgressStep.PIN_WRONG, 2)
    api.progress("a1", ProgressStep.GIVEN_UP)
    assert recorded.requests[0][1] == "/api/v1/challenges/a1/progress"
    assert [json.loads(request[3]) for request in recorded.requests] == [
        {"step": "pin_wrong", "attempts_remaining": 2},
        {"step": "given_up"},
    ]


def test_a_response_makes_a_link_or_a_session(api, recorded):
    says(recorded, {"result": "linked", "not_after": "2030-02-17T14:59:59Z"}, 201)
    assert api.respond("a1", b"DER", b"SIG") == Linked(datetime(2030, 2, 17, 14, 59, 59, tzinfo=UTC))
    says(
        recorded,
        {"result": "session", "session_id": "5", "token": "98123", "expires_at": "2026-11-01T09:15:00Z"},
        201,
    )
    opened = api.respond("a1", b"DER", b"SIG")
    assert isinstance(opened, SessionOpened)
    assert opened.token == "98123"
    assert "98123" not in repr(opened)


def test_a_response_of_neither_kind_is_malformed(api, recorded):
    says(recorded, {"result": "both"}, 201)
    with pytest.raises(BridgeAnswerMalformed):
        api.respond("a1", b"DER", b"SIG")


def test_an_id_cannot_lead_to_another_path(api, recorded):
    says(recorded, b"", 204)
    api.progress("../../admin?x=", ProgressStep.GIVEN_UP)
    assert recorded.requests[0][1] == "/api/v1/challenges/..%2F..%2Fadmin%3Fx%3D/progress"


def test_a_problem_is_raised_with_its_slug_and_data(api, recorded):
    problem = {
        "type": "urn:koha-jpki-bridge:problem:certificate-expired",
        "title": "題",
        "status": 403,
        "not_after": "2026-01-01T00:00:00Z",
    }
    says(recorded, problem, 403, "application/problem+json")
    with pytest.raises(BridgeProblem) as refused:
        api.begin(ChallengePurpose.LINK, b"DER")
    error = refused.value
    assert (error.slug, error.status, error.title, error.detail) == ("certificate-expired", 403, "題", None)
    assert error.data == {"not_after": "2026-01-01T00:00:00Z"}


MALFORMED = {
    "HTML": (200, b"<html>"),
    "not an object": (200, b"[]"),
    "nothing": (200, b""),
    "a member missing": (200, b'{"terminal_id": "x"}'),
    "a member of another type": (200, json.dumps(TERMINAL | {"kind": 1}).encode()),
    "an unknown purpose": (200, json.dumps(TERMINAL | {"purpose": "return"}).encode()),
    "HTML of a proxy": (502, b"<html>"),
    "a problem of somebody else": (403, b'{"type": "about:blank", "title": "no"}'),
    "an error without type": (500, b"{}"),
    "nested a hundred thousand times": (200, b"[" * 100_000),
}


@pytest.mark.parametrize(("status", "content"), MALFORMED.values(), ids=MALFORMED)
def test_an_answer_that_cannot_be_is_malformed(api, recorded, status, content):
    says(recorded, content, status)
    with pytest.raises(BridgeAnswerMalformed):
        api.terminal()


@pytest.mark.parametrize("message", ["***", "", 5])
def test_a_challenge_that_cannot_be_is_malformed(api, recorded, message):
    says(recorded, {"challenge_id": "a", "message": message or None, "expires_in": 120}, 201)
    with pytest.raises(BridgeAnswerMalformed):
        api.begin(ChallengePurpose.LINK, b"DER")


@pytest.mark.parametrize("moment", ["soon", "2026-11-01T09:00:00"])
def test_a_moment_without_zone_is_malformed(api, recorded, moment):
    says(recorded, {"result": "linked", "not_after": moment}, 201)
    with pytest.raises(BridgeAnswerMalformed):
        api.respond("a", b"DER", b"signature")


@pytest.mark.parametrize("seconds", [None, 0, -1, 1.5, True, "120", 10**6])
def test_a_lifetime_that_cannot_be_is_malformed(api, recorded, seconds):
    says(recorded, {"challenge_id": "a", "message": "bQ==", "expires_in": seconds}, 201)
    with pytest.raises(BridgeAnswerMalformed):
        api.begin(ChallengePurpose.LINK, b"DER")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(api, recorded, status):
    says(recorded, TERMINAL, status, Location="/elsewhere")
    with pytest.raises(BridgeAnswerMalformed):
        api.terminal()
    assert [request[1] for request in recorded.requests] == ["/api/v1/terminal"]


def test_no_answer_is_unreachable_and_says_nothing_of_the_request():
    with serving(Recorded()) as url:
        pass
    api = BridgeApi(url, TOKEN, 10.0)
    with pytest.raises(BridgeUnreachable) as unreachable:
        api.respond("a1", b"DER", b"SIG")
    assert str(unreachable.value) == "ConnectionError"
    assert unreachable.value.__cause__ is None
    api.close()


def test_every_error_of_requests_is_one_that_is_mapped():
    errors = [error for _, error in inspect.getmembers(requests.exceptions, inspect.isclass)]
    own = [
        error
        for error in errors
        if error.__module__ == requests.exceptions.__name__ and not issubclass(error, Warning)
    ]
    assert own
    assert all(issubclass(error, requests.RequestException) for error in own)


@pytest.mark.parametrize(
    "url",
    [
        "http://bridge.example",
        "http://192.0.2.1:8080",
        "http://127.0.0.1.example",
        "ftp://127.0.0.1",
        "bridge.example",
        "https://",
        "https://[::1",
        "",
    ],
)
def test_an_address_that_would_show_the_token_is_refused(url):
    with pytest.raises(WrongSettings) as refused:
        BridgeApi(url, TOKEN, 10.0)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://bridge.example/", "http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost"]
)
def test_https_or_loopback_is_taken(url):
    BridgeApi(url, TOKEN, 10.0).close()


def test_a_proxy_of_the_environment_does_not_see_loopback(api, recorded, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    says(recorded, TERMINAL)
    assert api.terminal().terminal_id == "counter-1"


def test_a_netrc_does_not_replace_the_token(api, recorded, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(netrc))
    says(recorded, TERMINAL)
    api.terminal()
    assert recorded.requests[0][2]["Authorization"] == f"Bearer {TOKEN}"


def test_the_token_is_not_logged(api, recorded, caplog):
    caplog.set_level(1, logger="urllib3")
    says(recorded, TERMINAL)
    api.terminal()
    assert caplog.records, "urllib3 does log the request"
    assert TOKEN not in caplog.text
