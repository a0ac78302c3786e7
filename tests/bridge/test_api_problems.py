"""Every error has its row in the table of problems, and every row is well formed."""

import logging
import re
from datetime import UTC, datetime

import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestTimeout

from bridge.api.errors import ApiError, MalformedRequest, RequestFault, TerminalNotAuthenticated
from bridge.api.problems import FAULT_DETAILS, HTTP_SLUGS, PROBLEMS, TYPE_PREFIX, render_problem
from bridge.errors import JPKI_SLUGS, BridgeError, Denied, NoSuchPatron, slug_of
from bridge.rules import DenialReason
from jpki import errors as jpki_errors

NEVER_ON_THE_SERVER = (
    # The agent's side: readers, cards and PINs.
    jpki_errors.ReaderError,
    jpki_errors.CardError,
    jpki_errors.ApduRefused,
    jpki_errors.UnsupportedToken,
    jpki_errors.MalformedCardData,
    jpki_errors.MalformedPin,
    jpki_errors.LastAttemptProtected,
    # The operator's commands that import a CA or a CRL, and the settings of a platform's service.
    jpki_errors.TrustError,
    jpki_errors.CrlError,
    jpki_errors.PlatformMappingError,
)


def leaves(base):
    below = base.__subclasses__()
    return [leaf for subclass in below for leaf in leaves(subclass)] if below else [base]


SERVER_SIDE = [leaf for leaf in leaves(jpki_errors.JpkiError) if not issubclass(leaf, NEVER_ON_THE_SERVER)]


@pytest.mark.parametrize("error", SERVER_SIDE, ids=lambda error: error.__name__)
def test_every_jpki_error_that_reaches_the_server_has_a_row(error):
    assert JPKI_SLUGS[error] in PROBLEMS


@pytest.mark.parametrize("error", leaves(BridgeError), ids=lambda error: error.__name__)
def test_every_bridge_error_has_a_row(error):
    if error is not Denied:  # its slugs are the reasons'
        assert error.slug != BridgeError.slug
        assert error.slug in PROBLEMS


@pytest.mark.parametrize("reason", DenialReason)
def test_every_denial_has_a_row(reason):
    assert slug_of(Denied(reason)) in PROBLEMS


@pytest.mark.parametrize("error", leaves(ApiError), ids=lambda error: error.__name__)
def test_every_error_of_the_api_has_a_row(error):
    assert error.slug in PROBLEMS


def test_no_row_is_left_over():
    slugs = {error.slug for error in leaves(BridgeError) + leaves(ApiError) if error is not Denied}
    slugs |= set(JPKI_SLUGS.values()) | {reason.value for reason in DenialReason}
    slugs |= set(HTTP_SLUGS.values()) | {"http-error"}
    assert slugs == set(PROBLEMS)


@pytest.mark.parametrize("slug", PROBLEMS)
def test_a_row_has_words_in_both_languages(slug):
    row = PROBLEMS[slug]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", slug)
    assert re.search(r"[ぁ-ん一-龥]", row.title_ja)
    assert re.fullmatch(r"[ -~]+", row.title_en)
    assert 400 <= row.status < 600


@pytest.mark.parametrize("fault", RequestFault)
def test_every_fault_is_explained_in_both_languages(fault):
    japanese, english = FAULT_DETAILS[fault]
    assert re.search(r"[ぁ-ん一-龥]", japanese)
    assert re.fullmatch(r"[ -~]+", english)


@pytest.fixture
def render():
    app = Flask("test")

    def rendered(error, language=None):
        headers = {"Accept-Language": language} if language else {}
        with app.test_request_context("/api/v1/terminal", headers=headers):
            return render_problem(error)

    return rendered


def test_a_problem_is_rendered_as_rfc_9457_says(render):
    response = render(jpki_errors.CertificateExpired(datetime(2026, 2, 17, 14, 59, 59, tzinfo=UTC)))
    assert response.status_code == 403
    assert response.mimetype == "application/problem+json"
    assert response.get_json() == {
        "type": TYPE_PREFIX + "certificate-expired",
        "title": "電子証明書の有効期間が過ぎています",
        "status": 403,
        "not_after": "2026-02-17T14:59:59Z",
    }


@pytest.mark.parametrize(
    ("language", "chosen"),
    [(None, "ja"), ("en", "en"), ("en-GB,en;q=0.8", "en"), ("de", "ja"), ("ja,en;q=0.5", "ja"), ("*", "ja")],
)
def test_the_language_is_the_requests_or_japanese(render, language, chosen):
    response = render(MalformedRequest(RequestFault.MISSING, "purpose"), language)
    row = PROBLEMS["malformed-request"]
    assert response.headers["Content-Language"] == chosen
    assert response.get_json()["title"] == (row.title_en if chosen == "en" else row.title_ja)
    assert response.get_json()["detail"] == FAULT_DETAILS[RequestFault.MISSING][chosen == "en"]


def test_a_malformed_request_names_fault_and_field(render):
    body = render(MalformedRequest(RequestFault.NOT_BASE64, "certificate")).get_json()
    assert (body["fault"], body["field"]) == ("not-base64", "certificate")
    assert "field" not in render(MalformedRequest(RequestFault.NOT_JSON)).get_json()


def test_a_stranger_is_told_how_to_authenticate(render):
    response = render(TerminalNotAuthenticated())
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_what_werkzeug_refuses_is_a_problem_too(render):
    assert render(NotFound()).get_json()["type"] == TYPE_PREFIX + "not-found"
    response = render(MethodNotAllowed(valid_methods=["GET"]))
    assert (response.status_code, response.headers["Allow"]) == (405, "GET")
    assert render(RequestTimeout()).get_json()["status"] == 408


@pytest.mark.parametrize(
    "error", [ValueError("secret"), KeyError("secret"), HTTPException("secret"), NoSuchPatron("secret")]
)
def test_the_text_of_an_error_never_reaches_the_answer_or_the_log(render, caplog, error):
    caplog.set_level(1)
    assert "secret" not in render(error).get_data(as_text=True)
    assert "secret" not in caplog.text


def test_an_unforeseen_error_is_logged_by_type_and_place(render, caplog):
    def fail():
        raise ZeroDivisionError("of a secret")

    try:
        fail()
    except ZeroDivisionError as error:
        response = render(error)
    assert response.status_code == 500
    assert response.get_json()["type"] == TYPE_PREFIX + "internal-error"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "ZeroDivisionError" in record.message
    assert "test_api_problems.py" in record.message
