"""The API's own description: whole, in two languages, and true of every answer the API gives."""

import re
import subprocess
import sys

import jsonschema
import pytest

from bridge.api.calls import CALLS, problems_of
from bridge.api.openapi import openapi_document
from bridge.api.problems import PROBLEMS
from bridge.models import Actor, ActorKind

JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
SCHEMATHESIS_SECONDS = 280
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)


def document_of(app, language):
    answer = app.test_client().get("/api/v1/openapi.json", headers={"Accept-Language": language})
    assert answer.status_code == 200
    assert answer.headers["Content-Language"] == language
    return answer.get_json()


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_document_is_served_without_a_token(app, language):
    document = document_of(app, language)
    assert document["openapi"] == "3.1.0"
    assert bool(JAPANESE.search(document["info"]["description"])) is (language == "ja")


def test_the_english_document_has_no_japanese_in_it(app):
    assert not JAPANESE.search(str(document_of(app, "en")))


def test_every_api_route_is_in_the_table_and_the_document(app):
    about_itself = {"api.openapi", "api.docs", "api.static"}
    routes = {
        (rule.rule.removeprefix("/api/v1").replace("<", "{").replace(">", "}"), method)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.") and rule.endpoint not in about_itself
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert routes == {(call.path, call.method) for call in CALLS}
    paths = openapi_document("/api/v1", "en")["paths"]
    assert routes == {(path, method.upper()) for path, calls in paths.items() for method in calls}


def test_every_problem_that_a_call_names_exists():
    for call in CALLS:
        assert set(problems_of(call)) <= PROBLEMS.keys()
        assert len(set(problems_of(call))) == len(problems_of(call))


def test_every_schema_in_the_document_is_one():
    for operations in openapi_document("/api/v1", "en")["paths"].values():
        for operation in operations.values():
            for schema in schemas_of(operation):
                jsonschema.Draft202012Validator.check_schema(schema)


def schemas_of(operation):
    holders = [operation["requestBody"]] if "requestBody" in operation else []
    for holder in [*holders, *operation["responses"].values()]:
        for content in holder.get("content", {}).values():
            yield content["schema"]


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_readable_page_shows_every_call_and_problem(app, language):
    answer = app.test_client().get("/api/v1/docs", headers={"Accept-Language": language})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert f'<html lang="{language}">' in page
    for call in CALLS:
        assert f"{call.method} /api/v1{call.path}" in page
        for slug in problems_of(call):
            assert f'id="{slug}"' in page
    if language == "en":
        assert not JAPANESE.search(page)


def token_of(bridge, caller):
    if caller != "librarian":
        return bridge.counter_token if caller == "counter" else bridge.self_check_token
    actor, desk = Actor(ActorKind.COMMAND, "test"), bridge.services.desk
    issued = desk.add_plugin(actor, library_id=bridge.librarian.library_id, name="Koha")
    desk.add_account(actor, koha_patron_id=8, librarian=bridge.librarian)
    return desk.open_by_plugin(issued.plugin.plugin_id, issued.secret, 8).token


@pytest.mark.parametrize("caller", ["counter", "self-check", "librarian"])
def test_schemathesis_finds_no_answer_that_the_document_does_not_foresee(server, bridge, caller, tmp_path):
    token = token_of(bridge, caller)
    paths = "^/desk" if caller == "librarian" else "^/(?!desk)"
    program = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    ended = subprocess.run(  # our own arguments, no shell
        [
            *program,
            f"{server.url}/api/v1/openapi.json",
            *("--header", f"Authorization: Bearer {token}"),
            *("--include-path-regex", paths),
            *("--checks", ",".join(CHECKS)),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "30"),
            *("--seed", "20261121", "--no-color", "--workers", "1"),
            *("--request-timeout", "60"),
            *("--suppress-health-check", "all", "--generation-database", ":memory:"),
        ],
        cwd=tmp_path,  # where it keeps what it found
        capture_output=True,
        text=True,
        timeout=SCHEMATHESIS_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    asked = any("/api/v1/desk/links" in line for line in server.recorder.journal)
    assert asked is (caller == "librarian")
