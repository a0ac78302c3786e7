"""The tables of ``docs/sip2.md``, made from the grammar. Pure."""

from __future__ import annotations

from sip2_adapter.fields import SECRET_FIELDS, FieldId
from sip2_adapter.grammar import MESSAGES, REQUESTS, MessageSpec


def messages_table_markdown() -> str:
    """Return every request and its answer: code, name, fixed and variable fields."""
    lines = [
        "| Code | Message | Answer | Fixed fields (width) | Required | Optional | 1.00 |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [*REQUESTS.values(), *(spec for spec in MESSAGES.values() if spec.code not in REQUESTS)]
    lines.extend(_row(spec) for spec in rows)
    return "\n".join(lines)


def fields_table_markdown() -> str:
    """Return every field identifier with its name and the messages that carry it."""
    lines = ["| Id | Field | In | Never logged |", "|---|---|---|---|"]
    for field_id in FieldId:
        codes = [spec.code.decode() for spec in MESSAGES.values() if field_id in spec.fields]
        if field_id in (FieldId.SEQUENCE_NUMBER, FieldId.CHECKSUM):
            codes = ["all"]
        secret = "yes" if field_id in SECRET_FIELDS else ""
        lines.append(
            f"| {field_id.decode()} | {_words(field_id.name)} | {' '.join(sorted(codes))} | {secret} |"
        )
    return "\n".join(lines)


def patron_codes() -> tuple[str, str]:
    """Return the codes of the requests and of the answers in which token and card number change places."""
    requests = sorted(spec.code.decode() for spec in REQUESTS.values() if spec.names_patron)
    answers = sorted(
        spec.code.decode() for spec in MESSAGES.values() if spec.names_patron and spec.code not in REQUESTS
    )
    return " ".join(requests), " ".join(answers)


def _row(spec: MessageSpec) -> str:
    fixed = ", ".join(f"{_words(field.name)} ({field.width})" for field in spec.fixed)
    required = " ".join(field_id.decode() for field_id in spec.required)
    optional = " ".join(field_id.decode() for field_id in spec.optional)
    answer = spec.response.decode() if spec.response else "–"
    old = "" if spec.protocol_1 is None else "yes"
    return f"| {spec.code.decode()} | {spec.name} | {answer} | {fixed} | {required} | {optional} | {old} |"


def _words(name: str) -> str:
    return name.lower().replace("_", " ")
