"""The kinds of fields in a request's body. One value reads a field and describes it in JSON Schema.

So what the API takes and what its document says (``bridge.api.openapi``) cannot drift apart.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, NoReturn, Protocol, TypeVar

from bridge.api.errors import MalformedRequest, RequestFault

JsonSchema = dict[str, object]
"""A schema of JSON Schema 2020-12, as OpenAPI 3.1 takes it."""

Word = TypeVar("Word", bound=StrEnum)


class Bilingual(NamedTuple):
    """A text for the vendor's engineer, in the two languages of the API's document."""

    ja: str
    en: str

    def in_language(self, language: str) -> str:
        """Return the text in ``ja`` or ``en``."""
        return self.en if language == "en" else self.ja


@dataclass(frozen=True)
class WordField(Generic[Word]):
    """One word of a list."""

    name: str
    words: type[Word]
    description: Bilingual
    required: bool = True

    def read(self, fields: Mapping[str, object]) -> Word:
        """Raises ``MalformedRequest``."""
        try:
            return self.words(_text(fields, self.name))
        except ValueError:
            raise MalformedRequest(RequestFault.NOT_ALLOWED, self.name) from None

    def schema(self, language: str) -> JsonSchema:
        """Return what may stand in the field."""
        return {
            "type": "string",
            "enum": [word.value for word in self.words],
            "description": self.description.in_language(language),
        }


@dataclass(frozen=True)
class TextField:
    """A text of at most *maximum* characters that matches *pattern* as a whole."""

    name: str
    pattern: str
    maximum: int
    description: Bilingual
    required: bool = True

    def read(self, fields: Mapping[str, object]) -> str:
        """Raises ``MalformedRequest``."""
        text = _text(fields, self.name)
        if len(text) > self.maximum:
            raise MalformedRequest(RequestFault.TOO_LONG, self.name)
        if not re.fullmatch(self.pattern, text):
            raise MalformedRequest(RequestFault.NOT_ALLOWED, self.name)
        return text

    def schema(self, language: str) -> JsonSchema:
        """Return what may stand in the field."""
        return {
            "type": "string",
            "pattern": f"^(?:{self.pattern})$",
            "maxLength": self.maximum,
            "description": self.description.in_language(language),
        }


@dataclass(frozen=True)
class Base64Field:
    """At most *maximum* bytes, in base64 with padding (RFC 4648, 4)."""

    name: str
    maximum: int
    description: Bilingual
    required: bool = True

    def read(self, fields: Mapping[str, object]) -> bytes:
        """Raises ``MalformedRequest``."""
        try:
            data = b64decode(_text(fields, self.name), validate=True)
        except ValueError:
            raise MalformedRequest(RequestFault.NOT_BASE64, self.name) from None
        if len(data) > self.maximum:
            raise MalformedRequest(RequestFault.TOO_LONG, self.name)
        return data

    def schema(self, language: str) -> JsonSchema:
        """Return what may stand in the field."""
        return {
            "type": "string",
            "contentEncoding": "base64",
            "pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
            "maxLength": 4 * -(-self.maximum // 3),
            "description": self.description.in_language(language),
        }


@dataclass(frozen=True)
class SmallNumberField:
    """A whole number from 0 to *maximum*, or null; it may be left out."""

    name: str
    maximum: int
    description: Bilingual
    required: bool = False

    def read(self, fields: Mapping[str, object]) -> int | None:
        """Raises ``MalformedRequest``."""
        value = fields.get(self.name)
        if value is None:
            return None
        if type(value) is not int:  # a bool is an int to isinstance
            raise MalformedRequest(RequestFault.WRONG_TYPE, self.name)
        if not 0 <= value <= self.maximum:
            raise MalformedRequest(RequestFault.NOT_ALLOWED, self.name)
        return value

    def schema(self, language: str) -> JsonSchema:
        """Return what may stand in the field."""
        return {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": self.maximum,
            "description": self.description.in_language(language),
        }


@dataclass(frozen=True)
class NumberField:
    """A whole number from *minimum* to *maximum*."""

    name: str
    minimum: int
    maximum: int
    description: Bilingual
    required: bool = True

    def read(self, fields: Mapping[str, object]) -> int:
        """Raises ``MalformedRequest``."""
        value = fields[self.name]
        if type(value) is not int:  # a bool is an int to isinstance
            raise MalformedRequest(RequestFault.WRONG_TYPE, self.name)
        if not self.minimum <= value <= self.maximum:
            raise MalformedRequest(RequestFault.NOT_ALLOWED, self.name)
        return value

    def schema(self, language: str) -> JsonSchema:
        """Return what may stand in the field."""
        return {
            "type": "integer",
            "minimum": self.minimum,
            "maximum": self.maximum,
            "description": self.description.in_language(language),
        }


class RequestField(Protocol):
    """What a body's shape needs to know of a field."""

    @property
    def name(self) -> str:
        """The field's name in the JSON object."""

    @property
    def required(self) -> bool:
        """Whether a body without it is refused."""

    def schema(self, language: str) -> JsonSchema:
        """Return what may stand in the field."""


@dataclass(frozen=True)
class BodyShape:
    """The fields of one body, and no others."""

    fields: tuple[RequestField, ...]

    def parse(self, body: bytes) -> Mapping[str, object]:
        """Return the body's fields by name, none of them read yet. Raises ``MalformedRequest``."""
        found = _object(body)
        for name in sorted(field.name for field in self.fields if field.required):
            if name not in found:
                raise MalformedRequest(RequestFault.MISSING, name)
        if found.keys() - {field.name for field in self.fields}:
            raise MalformedRequest(RequestFault.UNKNOWN)
        return found

    def schema(self, language: str) -> JsonSchema:
        """Return the schema of the whole body."""
        return {
            "type": "object",
            "properties": {field.name: field.schema(language) for field in self.fields},
            "required": [field.name for field in self.fields if field.required],
            "additionalProperties": False,
        }


@dataclass(frozen=True)
class AnswerField:
    """A field that always stands in an answer; *words* or *constant* where it is one of few."""

    name: str
    json_type: str
    description: Bilingual
    format: str | None = None
    words: type[StrEnum] | None = None
    constant: str | None = None
    nullable: bool = False

    def schema(self, language: str) -> JsonSchema:
        """Return what may stand in the field."""
        schema: JsonSchema = {"type": [self.json_type, "null"] if self.nullable else self.json_type}
        if self.format is not None:
            schema["format"] = self.format
        if self.words is not None:
            schema["enum"] = [*(word.value for word in self.words), *([None] if self.nullable else [])]
        if self.constant is not None:
            schema["const"] = self.constant
        return schema | {"description": self.description.in_language(language)}


@dataclass(frozen=True)
class AnswerList:
    """A list that always stands in an answer: of objects, or of texts where *items* is None."""

    name: str
    description: Bilingual
    items: AnswerShape | None = None

    def schema(self, language: str) -> JsonSchema:
        """Return what may stand in the list."""
        items: JsonSchema = {"type": "string"} if self.items is None else self.items.schema(language)
        return {"type": "array", "items": items, "description": self.description.in_language(language)}


@dataclass(frozen=True)
class AnswerShape:
    """The fields of one answer. A later release may add some, so a caller leaves unknown ones alone."""

    fields: tuple[AnswerField | AnswerList, ...]

    def schema(self, language: str) -> JsonSchema:
        """Return the schema of the whole answer."""
        return {
            "type": "object",
            "properties": {field.name: field.schema(language) for field in self.fields},
            "required": [field.name for field in self.fields],
        }


def _object(body: bytes) -> Mapping[str, object]:
    try:
        fields = json.loads(body.decode("utf-8"), object_pairs_hook=_unrepeated, parse_constant=_not_a_number)
    except (ValueError, RecursionError):  # RecursionError: brackets nested by the thousand
        raise MalformedRequest(RequestFault.NOT_JSON) from None
    if not isinstance(fields, dict):
        raise MalformedRequest(RequestFault.NOT_AN_OBJECT)
    return fields


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # RFC 8259, 4: which of two equal names counts is not defined.
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedRequest(RequestFault.REPEATED)
    return fields


def _not_a_number(_constant: str) -> NoReturn:
    # Python reads NaN and Infinity; RFC 8259 has neither.
    raise MalformedRequest(RequestFault.NOT_JSON)


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise MalformedRequest(RequestFault.WRONG_TYPE, name)
    return value
