"""The API's own description: an OpenAPI 3.1 document, generated from the table of calls. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from importlib.metadata import version
from itertools import groupby

from bridge.api.calls import CALLS, Call, problems_of
from bridge.api.fields import Bilingual, JsonSchema
from bridge.api.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX, ProblemType
from bridge.api.schemas import MAXIMUM_ID

OPENAPI_VERSION = "3.1.0"

TITLE = Bilingual("koha-jpki-bridge 端末API", "koha-jpki-bridge terminal API")
ABOUT = Bilingual(
    "カード読み取り機のそばの端末が使うAPIです。登録のほかは端末のトークンを要し、"
    "誤りはapplication/problem+json（RFC 9457）で返ります。",
    "For the terminals beside the card readers. All calls but the enrolment want the terminal's token; "
    "errors are application/problem+json (RFC 9457).",
)
CHALLENGE_ID = Bilingual("beginで受け取ったチャレンジのID", "The challenge's id, as begin gave it")
TOKEN = Bilingual("端末のトークン", "The terminal's token")
DONE = Bilingual("できた", "Done")
UNCHANGED = Bilingual("変わっていない（本文なし）", "Nothing has changed, no body")
NO_BODY = Bilingual("できた（本文なし）", "Done, no body")
PROBLEM_TYPE = Bilingual(
    "問題の種類。この値は変わらない", "The kind of problem; a released value never changes"
)
PROBLEM_TITLE = Bilingual("人が読む題", "The title, for people")
PROBLEM_DETAIL = Bilingual("さらに詳しい説明", "What exactly is wrong")


def openapi_document(server_url: str, language: str) -> JsonSchema:
    """Return the document in ``ja`` or ``en`` for the API whose root is *server_url*."""
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": TITLE.in_language(language),
            "description": ABOUT.in_language(language),
            "version": version("koha-jpki-bridge"),
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "servers": [{"url": server_url}],
        "security": [{"terminal": []}],
        "paths": {
            path: {call.method.lower(): _operation(call, language) for call in calls}
            for path, calls in groupby(CALLS, key=lambda call: call.path)
        },
        "components": {
            "securitySchemes": {
                "terminal": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": TOKEN.in_language(language),
                }
            },
        },
    }


def problem_rows(slugs: Iterable[str]) -> list[tuple[str, ProblemType]]:
    """Return problem types by slug, sorted by status and name."""
    return sorted(((slug, PROBLEMS[slug]) for slug in set(slugs)), key=lambda row: (row[1].status, row[0]))


def _operation(call: Call, language: str) -> JsonSchema:
    operation: JsonSchema = {
        "operationId": call.operation_id,
        "summary": call.summary.in_language(language),
        "responses": _responses(call, language),
    }
    if call.details is not None:
        operation["description"] = call.details.in_language(language)
    if not call.authenticated:
        operation["security"] = []
    if "{challenge_id}" in call.path:
        operation["parameters"] = [
            {
                "name": "challenge_id",
                "in": "path",
                "required": True,
                "description": CHALLENGE_ID.in_language(language),
                "schema": {"type": "string", "pattern": f"^[A-Za-z0-9]{{1,{MAXIMUM_ID}}}$"},
            }
        ]
    if call.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": call.body.schema(language)}},
        }
    return operation


def _responses(call: Call, language: str) -> JsonSchema:
    responses: JsonSchema = {str(int(call.status)): _success(call, language)}
    if call.may_wait:
        responses[str(int(HTTPStatus.NOT_MODIFIED))] = {"description": UNCHANGED.in_language(language)}
    for status, rows in groupby(problem_rows(problems_of(call)), key=lambda row: row[1].status):
        responses[str(int(status))] = _refusal(status, list(rows), language)
    return responses


def _success(call: Call, language: str) -> JsonSchema:
    if not call.answers:
        return {"description": NO_BODY.in_language(language)}
    schemas = [answer.schema(language) for answer in call.answers]
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {
        "description": DONE.in_language(language),
        "content": {"application/json": {"schema": schema}},
    }


def _refusal(status: HTTPStatus, rows: list[tuple[str, ProblemType]], language: str) -> JsonSchema:
    titles = (problem.title_en if language == "en" else problem.title_ja for _, problem in rows)
    return {
        "description": " / ".join(titles),
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "type": {
                            "type": "string",
                            "enum": [TYPE_PREFIX + slug for slug, _ in rows],
                            "description": PROBLEM_TYPE.in_language(language),
                        },
                        "title": {"type": "string", "description": PROBLEM_TITLE.in_language(language)},
                        "status": {"type": "integer", "const": int(status)},
                        "detail": {"type": "string", "description": PROBLEM_DETAIL.in_language(language)},
                        **{name: {"type": "string"} for _, problem in rows for name in problem.members},
                    },
                    "required": ["type", "title", "status"],
                }
            }
        },
    }
