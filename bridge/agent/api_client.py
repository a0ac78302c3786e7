"""The bridge's HTTP API as the agent uses it; see docs/architecture.md, "HTTP API".

Redirects are never followed and nothing is sent twice: after a time-out of ``respond`` it is unknown
whether the response counted. The token goes into one header and nowhere else.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum, unique
from importlib.metadata import version
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase

from bridge.agent.errors import BridgeAnswerMalformed, BridgeProblem, BridgeUnreachable, WrongSettings
from jpki.challenge import ChallengePurpose

CONNECT_TIMEOUT = 5.0
"""Seconds until the bridge must have accepted the connection."""

LONGEST_LIFETIME = 3600
"""Seconds. A bridge that gives a challenge more has another notion of time."""

PROBLEM_TYPE_PREFIX = "urn:koha-jpki-bridge:problem:"
RFC9457_MEMBERS = frozenset({"type", "title", "status", "detail", "instance"})


@unique
class ProgressStep(StrEnum):
    """What the bridge is told of the work at the reader; the words are the API's."""

    PIN_REQUESTED = "pin_requested"
    PIN_WRONG = "pin_wrong"
    PIN_BLOCKED = "pin_blocked"
    CARD_REMOVED = "card_removed"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class TerminalState:
    """Where this agent stands, and what a card laid now would be used for.

    ``open_session_id`` is that of the session which was opened here last, while it is open. ``has_waited``
    is false where the bridge answered at once although it was asked to wait: too many wait there.
    ``reads_card_number`` asks for the number of the city's card application, of a card to be linked.
    """

    terminal_id: str
    library_id: str
    library_name: str
    kind: str
    purpose: ChallengePurpose | None
    open_session_id: str | None = None
    has_waited: bool = False
    reads_card_number: bool = False


@dataclass(frozen=True)
class EnrolledTerminal:
    """Which terminal this one is, now that it has enrolled."""

    terminal_id: str
    library_id: str
    library_name: str
    kind: str


@unique
class ReaderStatus(StrEnum):
    """What the bridge is told of the card reader; the words are the API's."""

    READY = "ready"
    MISSING = "missing"
    NO_SERVICE = "no_service"


@unique
class OutputStatus(StrEnum):
    """What the bridge is told of the way to the self-check machine; the words are the API's."""

    READY = "ready"
    UNAVAILABLE = "unavailable"
    NONE = "none"


@dataclass(frozen=True)
class IssuedChallenge:
    """What the card is to sign, and for how long after it was asked for the bridge takes the answer."""

    challenge_id: str
    message: bytes
    lifetime: timedelta


@dataclass(frozen=True)
class Ending:
    """The link ends soon: *why* is the slug of the problem that the card meets from then on."""

    at: datetime
    why: str


@dataclass(frozen=True)
class Linked:
    """The card is linked to the patron until *not_after*; *ending* is there if that is soon."""

    not_after: datetime
    ending: Ending | None = None


@dataclass(frozen=True)
class Identified:
    """The librarian who asked whose card it is has the answer."""


@dataclass(frozen=True)
class SessionOpened:
    """The card stands for its patron here; *token* is what the machine takes for a library card.

    *ending* is there if the link ends soon. The token is dead once ``TerminalState.open_session_id`` is
    not *session_id* any more.
    """

    expires_at: datetime
    token: str = field(repr=False)
    ending: Ending | None = None
    session_id: str = ""


class BridgeApi:
    """The calls of one terminal.

    *base_url* is ``https://…``; plain ``http`` is taken on loopback alone, since the terminal token and
    the certificate would travel readable; anything else raises ``WrongSettings``. Without a *token* only
    ``enrol`` is answered. *timeout* is how many
    seconds an answer may take, *language* (``ja``, ``en``) that of the problems' titles.
    Every call raises ``BridgeUnreachable``, ``BridgeProblem`` or ``BridgeAnswerMalformed``.
    """

    def __init__(self, base_url: str, token: str | None, timeout: float, language: str = "ja") -> None:
        scheme = _checked_scheme(base_url)
        self._base_url = base_url.rstrip("/") + "/api/v1"
        self._answer_timeout = timeout
        self._known: tuple[str, TerminalState] | None = None
        self._session = requests.Session()
        # A proxy of the environment must not see what travels readable.
        self._session.trust_env = scheme == "https"
        self._session.auth = _TerminalToken(token)
        self._session.headers["Accept-Language"] = language

    def terminal(self, wait: int = 0) -> TerminalState:
        """Ask where this agent stands and what it is to do.

        With *wait* (seconds, at most 25) as soon as that is not what this method returned last, or after
        that time.
        """
        headers = {}
        if wait:
            headers["Prefer"] = f"wait={wait}"
            if self._known is not None:
                headers["If-None-Match"] = self._known[0]
        response = self._send("GET", "/terminal", headers=headers, timeout=self._answer_timeout + wait)
        has_waited = "Preference-Applied" in response.headers
        if response.status_code == requests.codes.not_modified and self._known is not None:
            return replace(self._known[1], has_waited=has_waited)
        answer = _successful(response)
        state = TerminalState(
            _text(answer, "terminal_id"),
            _text(answer, "library_id"),
            _text(answer, "library_name"),
            _text(answer, "kind"),
            _purpose(answer),
            None if answer.get("open_session_id") is None else _text(answer, "open_session_id"),
            has_waited,
            answer.get("reads_card_number") is True,
        )
        tag = response.headers.get("ETag")
        self._known = None if tag is None else (tag, state)
        return state

    def report_state(self, reader: ReaderStatus, output: OutputStatus) -> None:
        """Tell how reader and output are: when that changes, and every half minute."""
        body = {"reader": reader.value, "output": output.value, "version": version("koha-jpki-bridge")}
        self._call("POST", "/terminal/state", body)

    def enrol(self, code: str, token_digest: str) -> EnrolledTerminal:
        """Let the bridge know this terminal's token, of which *token_digest* is the SHA-256 in hex.

        May be sent again where no answer came.
        """
        answer = self._call("POST", "/enrolments", {"code": code, "token_digest": token_digest})
        return EnrolledTerminal(
            _text(answer, "terminal_id"),
            _text(answer, "library_id"),
            _text(answer, "library_name"),
            _text(answer, "kind"),
        )

    def begin(
        self, purpose: ChallengePurpose, certificate: bytes, card_number: str | None = None
    ) -> IssuedChallenge:
        """Ask for a challenge for this certificate (DER), and this number of the city's card application."""
        body = {"purpose": purpose.value, "certificate": _base64(certificate), **_number(card_number)}
        answer = self._call("POST", "/challenges", body)
        return IssuedChallenge(
            _text(answer, "challenge_id"), _bytes(answer, "message"), _seconds(answer, "expires_in")
        )

    def progress(self, challenge_id: str, step: ProgressStep, attempts_remaining: int | None = None) -> None:
        """Tell how far the work at the reader has come."""
        body: dict[str, object] = {"step": step.value}
        if attempts_remaining is not None:
            body["attempts_remaining"] = attempts_remaining
        self._call("POST", _challenge_path(challenge_id, "progress"), body)

    def respond(
        self, challenge_id: str, certificate: bytes, signature: bytes, card_number: str | None = None
    ) -> Linked | Identified | SessionOpened:
        """Send the signature, once, with what ``begin`` was given."""
        body = {
            "certificate": _base64(certificate),
            "signature": _base64(signature),
            **_number(card_number),
        }
        answer = self._call("POST", _challenge_path(challenge_id, "response"), body)
        if answer.get("result") == "linked":
            return Linked(_moment(answer, "not_after"), _ending(answer))
        if answer.get("result") == "identified":
            return Identified()
        if answer.get("result") == "session":
            return SessionOpened(
                _moment(answer, "expires_at"),
                _text(answer, "token"),
                _ending(answer),
                _text(answer, "session_id"),
            )
        raise BridgeAnswerMalformed("result")

    def close(self) -> None:
        """Close the connection to the bridge."""
        self._session.close()

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Mapping[str, object]:
        return _successful(self._send(method, path, body))

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                self._base_url + path,
                json=body,
                headers=headers,
                timeout=(CONNECT_TIMEOUT, timeout or self._answer_timeout),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # The exception of requests holds the whole request; its type says enough.
            raise BridgeUnreachable(type(error).__name__) from None


class _TerminalToken(AuthBase):
    """Sets the Authorization header; as ``auth`` it also keeps requests from reading ``~/.netrc``."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _checked_scheme(base_url: str) -> str:
    try:
        address = urlsplit(base_url)
        host = address.hostname
    except ValueError:
        raise WrongSettings("the bridge's address is not a URL") from None
    if address.scheme not in ("http", "https") or not host:
        raise WrongSettings("the bridge's address must begin with https://")
    if address.scheme == "http" and not _is_loopback(host):
        raise WrongSettings("the bridge's address must be https, except on this machine itself")
    return address.scheme


def _successful(response: requests.Response) -> Mapping[str, object]:
    if response.status_code == requests.codes.no_content:
        return {}
    answer = _json_object(response)
    if response.ok and not response.is_redirect:
        return answer
    raise _problem(response, answer)


def _challenge_path(challenge_id: str, call: str) -> str:
    return f"/challenges/{quote(challenge_id, safe='')}/{call}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _problem(response: requests.Response, answer: Mapping[str, object]) -> BridgeProblem:
    kind = _text(answer, "type")
    if not kind.startswith(PROBLEM_TYPE_PREFIX):
        raise BridgeAnswerMalformed("type")
    detail = answer.get("detail")
    return BridgeProblem(
        kind.removeprefix(PROBLEM_TYPE_PREFIX),
        status=response.status_code,
        title=_text(answer, "title"),
        detail=detail if isinstance(detail, str) else None,
        data={name: value for name, value in answer.items() if name not in RFC9457_MEMBERS},
    )


def _json_object(response: requests.Response) -> Mapping[str, object]:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        raise BridgeAnswerMalformed(f"status {response.status_code}, not JSON") from None
    if not isinstance(answer, dict):
        raise BridgeAnswerMalformed("not an object")
    return answer


def _purpose(answer: Mapping[str, object]) -> ChallengePurpose | None:
    if answer.get("purpose") is None:
        return None
    try:
        return ChallengePurpose(_text(answer, "purpose"))
    except ValueError:
        raise BridgeAnswerMalformed("purpose") from None


def _ending(answer: Mapping[str, object]) -> Ending | None:
    if answer.get("ends_at") is None:
        return None
    return Ending(_moment(answer, "ends_at"), _text(answer, "ends_because"))


def _text(answer: Mapping[str, object], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str):
        raise BridgeAnswerMalformed(name)
    return value


def _bytes(answer: Mapping[str, object], name: str) -> bytes:
    try:
        return b64decode(_text(answer, name), validate=True)
    except ValueError:
        raise BridgeAnswerMalformed(name) from None


def _moment(answer: Mapping[str, object], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(answer, name))
    except ValueError:
        raise BridgeAnswerMalformed(name) from None
    if moment.tzinfo is None:
        raise BridgeAnswerMalformed(name)
    return moment


def _seconds(answer: Mapping[str, object], name: str) -> timedelta:
    seconds = answer.get(name)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds <= LONGEST_LIFETIME:
        raise BridgeAnswerMalformed(name)
    return timedelta(seconds=seconds)


def _number(card_number: str | None) -> Mapping[str, str]:
    return {} if card_number is None else {"card_number": card_number}


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
