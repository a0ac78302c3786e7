"""What a platform operator's REST service asks and answers, as its contract describes it. Pure.

Each operator (プラットフォーム事業者) has an interface of its own, under contract; none is built in here. A
TOML file maps it: where the certificate goes in the request, and where status and times stand in the
answer. ``docs/platform-example.toml`` shows and explains every line.
"""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from jpki.certificate import UserAuthenticationCertificate
from jpki.errors import PlatformMappingError
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason, unknown_answer

PLACEHOLDERS: Mapping[str, Callable[[UserAuthenticationCertificate], str]] = {
    "{certificate_base64}": lambda certificate: base64.b64encode(certificate.der).decode(),
    "{certificate_pem}": lambda certificate: certificate.x509.public_bytes(Encoding.PEM).decode(),
    "{certificate_sha256}": lambda certificate: certificate.digest.hex(),
    "{serial_number}": lambda certificate: str(certificate.serial_number.value),
    "{serial_number_hex}": lambda certificate: certificate.serial_number.to_bytes().hex(),
    "{issuer_key_identifier}": lambda certificate: certificate.issuer_key_identifier.hex(),
}
"""What a request may say of a certificate; hex is in lower case."""

_TOP_KEYS = frozenset({"method", "url", "headers", "body", "answer"})
_ANSWER_KEYS = frozenset(
    {"status", "as_of", "next_update", "revoked_at", "reason", "echo", "statuses", "reasons", "http_statuses"}
)
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class PlatformAnswerMapping:
    """Where an answer says what. Places are JSON pointers (RFC 6901), such as ``/result/status``.

    ``statuses`` and ``http_statuses`` give the meaning of the operator's words and of HTTP status codes;
    any other word or code leaves the status unknown. ``echo`` names places that must repeat what was
    asked, so that an answer about another certificate is not taken.
    """

    status: str | None
    as_of: str | None
    next_update: str | None
    revoked_at: str | None
    reason: str | None
    statuses: Mapping[str, RevocationStatus]
    http_statuses: Mapping[int, RevocationStatus]
    reasons: Mapping[str, str]
    echo: Mapping[str, str]


@dataclass(frozen=True)
class PlatformMapping:
    """One operator's service; read it with ``from_toml``. Headers hold a secret and are not printed."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: Any
    answer: PlatformAnswerMapping

    @classmethod
    def from_toml(cls, content: bytes, token: str | None = None) -> PlatformMapping:
        """Read a mapping from TOML; *token* takes the place of ``{token}`` in its headers.

        Raises ``PlatformMappingError``, which says what is wrong and repeats no value.
        """
        try:
            document = tomllib.loads(content.decode())
        except UnicodeDecodeError:
            raise PlatformMappingError("not UTF-8 text") from None
        except tomllib.TOMLDecodeError as error:
            raise PlatformMappingError(f"not TOML: {error}") from None
        _refuse_unknown(document, _TOP_KEYS, "")
        method = _word(document, "method", "POST")
        if method not in ("GET", "POST"):
            raise PlatformMappingError("method: expected GET or POST")
        headers = _table(document, "headers", str)
        if token is None and any("{token}" in value for value in headers.values()):
            raise PlatformMappingError("headers: there is no token to put in")
        return cls(
            method=method,
            url=_url(document),
            headers={name: value.replace("{token}", token or "") for name, value in headers.items()},
            body=document.get("body"),
            answer=_read_answer(document.get("answer", {})),
        )

    def url_for(self, certificate: UserAuthenticationCertificate) -> str:
        """Return the address to ask, with what it says of *certificate* put in."""
        return _fill(self.url, certificate, lambda value: quote(value, safe=""))

    def body_for(self, certificate: UserAuthenticationCertificate) -> bytes | None:
        """Return the JSON to send, or None where nothing is sent."""
        if self.body is None:
            return None
        return json.dumps(_fill_all(self.body, certificate)).encode()

    def read(
        self,
        http_status: int,
        content: bytes,
        certificate: UserAuthenticationCertificate,
        source: str,
        now: datetime,
    ) -> RevocationAnswer:
        """Return what an answer says about *certificate*; UNKNOWN for one that fits nowhere."""
        answer = self.answer
        if http_status in answer.http_statuses:
            status = answer.http_statuses[http_status]
            why = UnknownReason.RESPONDER_SAYS_UNKNOWN if status is RevocationStatus.UNKNOWN else None
            return RevocationAnswer(status, source, now, why=why)
        if http_status != 200 or answer.status is None:
            return unknown_answer(source, now, UnknownReason.UNREACHABLE)
        try:
            document = json.loads(content)
            if any(
                str(_find(document, place)).lower() != _fill(asked, certificate).lower()
                for place, asked in answer.echo.items()
            ):
                return unknown_answer(source, now, UnknownReason.NOT_TRUSTED)
            return self._read_document(document, source, now)
        except (ValueError, LookupError, TypeError, RecursionError):
            return unknown_answer(source, now, UnknownReason.MALFORMED)

    def _read_document(self, document: object, source: str, now: datetime) -> RevocationAnswer:
        answer = self.answer
        word = str(_find(document, answer.status or ""))
        status = answer.statuses.get(word, RevocationStatus.UNKNOWN)
        revoked = status is RevocationStatus.REVOKED
        reason = _find_optional(document, answer.reason) if revoked else None
        return RevocationAnswer(
            status,
            source,
            as_of=_moment(_find(document, answer.as_of)) if answer.as_of else now,
            next_update=_optional_moment(_find_optional(document, answer.next_update)),
            revoked_at=_optional_moment(_find_optional(document, answer.revoked_at)) if revoked else None,
            reason=None if reason is None else answer.reasons.get(str(reason), "unspecified"),
            why=UnknownReason.RESPONDER_SAYS_UNKNOWN if status is RevocationStatus.UNKNOWN else None,
        )


def _read_answer(table: object) -> PlatformAnswerMapping:
    if not isinstance(table, dict):
        raise PlatformMappingError("answer: expected a table")
    _refuse_unknown(table, _ANSWER_KEYS, "answer.")
    statuses = _statuses(table, "statuses")
    http_statuses = _statuses(table, "http_statuses")
    if not all(code.isdecimal() and code.isascii() for code in http_statuses):
        raise PlatformMappingError("answer.http_statuses: expected codes such as 410")
    if RevocationStatus.GOOD not in (*statuses.values(), *http_statuses.values()):
        raise PlatformMappingError("answer: nothing means good")
    places = {
        name: _place(table, name) for name in ("status", "as_of", "next_update", "revoked_at", "reason")
    }
    if statuses and places["status"] is None:
        raise PlatformMappingError("answer.status: missing")
    return PlatformAnswerMapping(
        **places,
        statuses=statuses,
        http_statuses={int(code): status for code, status in http_statuses.items()},
        reasons=_table(table, "reasons", str),
        echo=_table(table, "echo", str),
    )


def _statuses(table: dict[str, Any], name: str) -> dict[str, RevocationStatus]:
    try:
        return {word: RevocationStatus(value) for word, value in _table(table, name, str).items()}
    except ValueError:
        raise PlatformMappingError(f"answer.{name}: expected good, revoked or unknown") from None


def _refuse_unknown(table: dict[str, Any], known: frozenset[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            raise PlatformMappingError(f"{prefix}{key}: unknown setting")


def _word(table: dict[str, Any], name: str, default: str) -> str:
    value = table.get(name, default)
    if not isinstance(value, str):
        raise PlatformMappingError(f"{name}: expected a text")
    return value


def _table(table: dict[str, Any], name: str, kind: type) -> dict[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(item, kind) for item in value.values()):
        raise PlatformMappingError(f"{name}: expected a table of texts")
    return value


def _place(table: dict[str, Any], name: str) -> str | None:
    value = table.get(name)
    if value is not None and not (isinstance(value, str) and value.startswith("/")):
        raise PlatformMappingError(f"answer.{name}: expected a JSON pointer such as /result/status")
    return value


def _url(document: dict[str, Any]) -> str:
    url = _word(document, "url", "")
    parts = urlsplit(url)
    if not parts.hostname or "{" in parts.netloc:
        raise PlatformMappingError("url: missing")
    # The answer is not signed: that it comes from the operator is proven by TLS alone.
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise PlatformMappingError("url: must be https")
    return url


def _fill(
    text: str,
    certificate: UserAuthenticationCertificate,
    escape: Callable[[str], str] = lambda value: value,
) -> str:
    for placeholder, value in PLACEHOLDERS.items():
        if placeholder in text:
            text = text.replace(placeholder, escape(value(certificate)))
    return text


def _fill_all(value: Any, certificate: UserAuthenticationCertificate) -> Any:
    """Return a JSON value with the placeholders in all its strings filled."""
    if isinstance(value, str):
        return _fill(value, certificate)
    if isinstance(value, dict):
        return {name: _fill_all(inner, certificate) for name, inner in value.items()}
    if isinstance(value, list):
        return [_fill_all(inner, certificate) for inner in value]
    return value


def _find(document: object, pointer: str) -> object:
    """Return the value at a JSON pointer (RFC 6901); raises ``LookupError`` where there is none."""
    value = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value[name]
        elif isinstance(value, list) and name.isdecimal():
            value = value[int(name)]
        else:
            raise LookupError(pointer)
    return value


def _find_optional(document: object, pointer: str | None) -> object | None:
    if pointer is None:
        return None
    try:
        return _find(document, pointer)
    except LookupError:
        return None


def _moment(value: object) -> datetime:
    """Return a time given as RFC 3339 with its offset; raises ``ValueError`` or ``TypeError``."""
    if not isinstance(value, str):
        raise TypeError("a time that is no text")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a time without its offset")
    return moment.astimezone(UTC)


def _optional_moment(value: object | None) -> datetime | None:
    return None if value is None else _moment(value)
