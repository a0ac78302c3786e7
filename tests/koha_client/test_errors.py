import inspect
import re

import pytest
import requests
from requests import exceptions

import koha_client
from koha_client import (
    BadRequest,
    Conflict,
    InMaintenance,
    KohaError,
    KohaForbidden,
    KohaRejected,
    KohaUnauthorized,
    KohaUnavailable,
    PatronNotFound,
    Retry,
    ServerFailed,
    errors,
)
from koha_client.transport import ERRORS, error_for_exception

EXCEPTIONS_OF_REQUESTS = [
    value
    for value in vars(exceptions).values()
    if inspect.isclass(value) and issubclass(value, exceptions.RequestException)
]


def test_every_exception_of_requests_has_its_row():
    assert set(EXCEPTIONS_OF_REQUESTS) == set(ERRORS)


@pytest.mark.parametrize("kind", EXCEPTIONS_OF_REQUESTS, ids=lambda kind: kind.__name__)
def test_an_exception_of_requests_becomes_ours_without_its_words(kind):
    exception = kind.__new__(kind)
    requests.RequestException.__init__(exception, "http://koha/?q=20260000000018")

    error = error_for_exception(exception)

    assert isinstance(error, KohaUnavailable)
    assert "2026" not in f"{error!r} {error}"


def test_an_exception_that_requests_may_add_is_translated_like_its_parent():
    class NewTimeout(exceptions.ReadTimeout):
        pass

    assert type(error_for_exception(NewTimeout())) is koha_client.ReadTimedOut


def drawn_tree():
    """Return name -> (parent's name, rest of the line) as the docstring draws them."""
    tree = {"KohaError": ("Exception", "")}
    path = ["KohaError"]
    for line in errors.__doc__.splitlines():
        row = re.fullmatch(r"    ((?:[│ ]  )*)[├└] (\w+)(.*)", line)
        if row:
            depth = len(row[1]) // 3 + 1
            path[depth:] = [row[2]]
            tree[row[2]] = (path[depth - 1], row[3])
    return tree


ERROR_CLASSES = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, KohaError)
]


def test_the_drawn_tree_is_the_tree():
    drawn = {name: parent for name, (parent, _) in drawn_tree().items()}

    assert {kind.__name__: kind.__base__.__name__ for kind in ERROR_CLASSES} == drawn


DRAWN_RULES = {"safe": Retry.SAFE, "if": Retry.IF_IDEMPOTENT, "never": Retry.NEVER}


@pytest.mark.parametrize("kind", ERROR_CLASSES, ids=lambda kind: kind.__name__)
def test_the_retry_rule_is_in_the_type_as_drawn(kind):
    _, _, drawn = drawn_tree()[kind.__name__][1].partition("retry: ")

    assert not drawn or kind.retry is DRAWN_RULES[re.match(r"\w+", drawn)[0]]


ANSWERS = [
    (400, {"error": "Bad", "error_code": "invalid_query"}, BadRequest),
    (400, {"errors": [{"message": "Read-only.", "path": "/body"}], "status": 400}, BadRequest),
    (400, [{"path": "/query/foo", "message": "Malformed query string"}], BadRequest),
    (400, None, BadRequest),
    (401, {"error": "Authentication failure."}, KohaUnauthorized),
    (403, {"error": "...", "required_permissions": {"borrowers": "1"}}, KohaForbidden),
    (403, {"error": "unauthorized_client"}, KohaRejected),
    (404, {"error": "Patron not found"}, PatronNotFound),
    (404, {"errors": [{"message": "Not Found.", "path": "/"}], "status": 404}, KohaRejected),
    (404, None, KohaRejected),
    (409, {"error": "...", "conflict": "borrowers.cardnumber"}, Conflict),
    (409, {"error": "...", "conflict": ["strange"]}, Conflict),
    (418, "text", KohaRejected),
    (500, {"error": "Something went wrong", "error_code": "internal_server_error"}, ServerFailed),
    (503, {"error": "System is under maintenance."}, InMaintenance),
    (503, None, ServerFailed),
]


@pytest.mark.parametrize(("status", "body", "kind"), ANSWERS, ids=str)
def test_a_refusal_has_its_type(status, body, kind):
    assert type(errors.error_for_answer(status, body)) is kind


def test_a_refusal_carries_what_koha_said():
    object_shape = errors.error_for_answer(400, {"error": "Bad", "error_code": "invalid_query"})
    array_shape = errors.error_for_answer(400, [{"path": "/query/foo", "message": "Malformed"}])
    conflict = errors.error_for_answer(409, {"conflict": "borrowers.cardnumber"})

    assert (object_shape.messages, object_shape.error_code) == (("Bad",), "invalid_query")
    garbage = errors.error_for_answer(400, {"errors": ["x", {"message": 3}, {"message": "y"}]})
    assert garbage.messages == (": y",)
    assert array_shape.messages == ("/query/foo: Malformed",)
    assert conflict.field == "cardnumber"


def test_koha_s_words_are_not_in_the_text_of_a_refusal():
    error = errors.error_for_answer(400, {"error": "Problem with 20260000000018"})

    assert "2026" not in f"{error!r} {error}"


@pytest.mark.parametrize(
    ("required", "permissions"),
    [
        ({"borrowers": "list_borrowers"}, ("borrowers:list_borrowers",)),
        ([{"borrowers": "a"}, {"tools": "b"}], ("borrowers:a", "tools:b")),
        ({"borrowers": ["a", "b"]}, ("borrowers:a", "borrowers:b")),
        ("superlibrarian", ("superlibrarian",)),
    ],
    ids=str,
)
def test_permissions_are_named_in_koha_s_terms(required, permissions):
    error = errors.error_for_answer(403, {"required_permissions": required})

    assert error.required_permissions == permissions


def test_the_public_names_are_those_that_can_be_imported():
    public = {
        name
        for name, value in vars(koha_client).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }

    assert public == set(koha_client.__all__)
