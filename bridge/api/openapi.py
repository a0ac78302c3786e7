"""The API's own description: an OpenAPI 3.1 document, generated from the table of calls. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from importlib.metadata import version
from itertools import groupby

from bridge.api.calls import CALLS, Call, Caller, problems_of
from bridge.api.fields import Bilingual, JsonSchema
from bridge.api.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX, ProblemType
from bridge.api.schemas import MAXIMUM_ID

OPENAPI_VERSION = "3.1.0"

TITLE = Bilingual("koha-jpki-bridge API", "koha-jpki-bridge API")
ABOUT = Bilingual(
    "カード読み取り機のそばの端末と、Kohaの職員用画面（/desk）が使うAPIです。端末は登録のほかは端末のトークン、"
    "職員用画面は職員の短時間のトークンを要し、誤りはapplication/problem+json（RFC 9457）で返ります。",
    "For the terminals beside the card readers, and for Koha's staff pages (/desk). A terminal's calls but "
    "the enrolment want the terminal's token, those of the desk the librarian's short-lived one; errors are "
    "application/problem+json (RFC 9457).",
)
PATH_IDS = {
    "challenge_id": Bilingual("beginで受け取ったチャレンジのID", "The challenge's id, as begin gave it"),
    "request_id": Bilingual("受付のID", "The order's id, as its start gave it"),
    "link_id": Bilingual("連携のID", "The link's id, as look_up gave it"),
}
CREDENTIALS = {
    Caller.TERMINAL: ("bearer", Bilingual("端末のトークン", "The terminal's token")),
    Caller.LIBRARIAN: ("bearer", Bilingual("職員の短時間のトークン", "The librarian's short-lived token")),
    Caller.PLUGIN: ("basic", Bilingual("KohaプラグインのIDと秘密", "Id and secret of Koha's plugin")),
}
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
        "paths": {
            path: {call.method.lower(): _operation(call, language) for call in calls}
            for path, calls in groupby(CALLS, key=lambda call: call.path)
        },
        "components": {
            "securitySchemes": {
                caller.value: {
                    "type": "http",
                    "scheme": scheme,
                    "description": description.in_language(language),
                }
                for caller, (scheme, description) in CREDENTIALS.items()
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
        "security": [] if call.caller is Caller.ANYBODY else [{call.caller.value: []}],
        "responses": _responses(call, language),
    }
    if call.details is not None:
        operation["description"] = call.details.in_language(language)
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": description.in_language(language),
            "schema": {"type": "string", "pattern": f"^[A-Za-z0-9]{{1,{MAXIMUM_ID}}}$"},
        }
        for name, description in PATH_IDS.items()
        if f"{{{name}}}" in call.path
    ]
    if parameters:
        operation["parameters"] = parameters
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
