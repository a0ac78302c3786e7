"""The REST side of the simulated Koha: the routes that the client uses, over real HTTP on loopback.

Status codes and the three shapes of error bodies are Koha's (controller object, OpenAPI validator
object, array for an unknown query parameter). As in Koha, a bare ``?cardnumber=`` matches every
number that *contains* it, ``q`` compares exactly but without regard to case and width, and only the
permission decides what an account may see.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from koha_client.simulator.state import KohaState, SimulatedPatron

API_PATH = "/api/v1"
TOKEN_LIFETIME = timedelta(seconds=3600)
DEFAULT_PAGE_SIZE = 20
LIST_BORROWERS = "borrowers:list_borrowers"
EDIT_BORROWERS = "borrowers:edit_borrowers"

_CONTROL_PARAMETERS = frozenset({"q", "_match", "_order_by", "_page", "_per_page"})
_MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda value, wanted: wanted in value,
    "exact": lambda value, wanted: value == wanted,
    "starts_with": lambda value, wanted: value.startswith(wanted),
    "ends_with": lambda value, wanted: value.endswith(wanted),
}


@dataclass(frozen=True)
class _Reply:
    status: HTTPStatus
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)


class _Refused(Exception):
    """A route refuses with this reply."""

    def __init__(self, status: HTTPStatus, body: object) -> None:
        super().__init__(status)
        self.reply = _Reply(status, body)


class KohaRestServer:
    """A Koha that answers REST requests about the patrons of *state* until it is closed.

    ``permissions`` are those of the account that the API key belongs to and may be changed while
    the server runs, as may ``in_maintenance``. Basic authentication is off unless
    *basic_credentials* are given. Nothing is written to standard error.
    """

    def __init__(
        self,
        state: KohaState,
        *,
        client_id: str,
        client_secret: str,
        host: str = "127.0.0.1",
        port: int = 0,
        permissions: frozenset[str] = frozenset({LIST_BORROWERS}),
        basic_credentials: tuple[str, str] | None = None,
    ) -> None:
        self.permissions = permissions
        self.in_maintenance = False
        self.tokens_granted = 0
        self._state = state
        self._client = (client_id, client_secret)
        self._basic = basic_credentials
        self._tokens: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self._host = host
        self._server = _Server((host, port), _Handler)
        self._server.koha = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.server_address[1])

    @property
    def base_url(self) -> str:
        """The address of the API, as the client takes it."""
        return f"http://{self._host}:{self.port}{API_PATH}"

    def start(self) -> None:
        """Begin to answer, in threads of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and cut every connection."""
        self._server.shutdown()
        self._server.cut_connections()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def forget_tokens(self) -> None:
        """Let every token be unknown from now on, as after a restart of Koha."""
        with self._lock:
            self._tokens.clear()

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> _Reply:
        """Answer one request. Only the request handler calls this."""
        try:
            return self._route(method, target, authorization, body)
        except _Refused as refused:
            return refused.reply

    def _route(self, method: str, target: str, authorization: str, body: bytes) -> _Reply:
        parts = urlsplit(target)
        query = parse_qsl(parts.query, keep_blank_values=True)
        if (method, parts.path) == ("POST", f"{API_PATH}/oauth/token"):
            return self._grant_token(body)
        list_path = f"{API_PATH}/patrons"
        if method == "GET" and parts.path == list_path:
            self._authenticate(authorization)
            return self._list_patrons(parts.path, query)
        if method == "GET" and parts.path.startswith(f"{list_path}/"):
            self._authenticate(authorization)
            return self._get_patron(parts.path.removeprefix(f"{list_path}/"), query)
        raise _Refused(HTTPStatus.NOT_FOUND, _validator_error("/", "Not Found.", 404))

    def _grant_token(self, body: bytes) -> _Reply:
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials":
            raise _Refused(HTTPStatus.BAD_REQUEST, {"error": "Unimplemented grant type"})
        if (form.get("client_id"), form.get("client_secret")) != self._client:
            raise _Refused(HTTPStatus.FORBIDDEN, {"error": "unauthorized_client"})
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[token] = self._state.now() + TOKEN_LIFETIME
            self.tokens_granted += 1
        return _Reply(
            HTTPStatus.OK,
            {
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": int(TOKEN_LIFETIME.total_seconds()),
            },
        )

    def _authenticate(self, authorization: str) -> None:
        if self.in_maintenance:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "System is under maintenance."})
        scheme, _, credentials = authorization.partition(" ")
        if scheme == "Basic" and self._basic is None:
            raise _Refused(HTTPStatus.UNAUTHORIZED, {"error": "Basic authentication disabled"})
        if scheme == "Basic" and self._basic is not None:
            known = credentials == base64.b64encode(":".join(self._basic).encode()).decode()
        else:
            with self._lock:
                expires_at = self._tokens.get(credentials)
            known = scheme == "Bearer" and expires_at is not None and self._state.now() < expires_at
        if not known:
            raise _Refused(HTTPStatus.UNAUTHORIZED, {"error": "Authentication failure."})

    def _demand_one_of(self, *permissions: str) -> None:
        if self.permissions.isdisjoint(permissions):
            required = [dict([permission.split(":")]) for permission in permissions]
            raise _Refused(
                HTTPStatus.FORBIDDEN,
                {
                    "error": "Authorization failure. Missing required permission(s).",
                    "required_permissions": required[0] if len(required) == 1 else required,
                },
            )

    def _get_patron(self, patron_id: str, query: Sequence[tuple[str, str]]) -> _Reply:
        _refuse_unknown_parameters(query, frozenset())
        self._demand_one_of(LIST_BORROWERS, EDIT_BORROWERS)
        if not patron_id.isdecimal():
            raise _Refused(
                HTTPStatus.BAD_REQUEST,
                _validator_error("/patron_id", "Expected integer - got string.", 400),
            )
        patron = self._state.get_patron(int(patron_id))
        if patron is None:
            raise _Refused(HTTPStatus.NOT_FOUND, {"error": "Patron not found", "error_code": "not_found"})
        return _Reply(HTTPStatus.OK, self._record(patron))

    def _list_patrons(self, path: str, query: Sequence[tuple[str, str]]) -> _Reply:
        records = [self._record(patron) for patron in self._state.patrons()]
        searchable = frozenset(records[0]) if records else frozenset()
        _refuse_unknown_parameters(query, searchable | _CONTROL_PARAMETERS)
        self._demand_one_of(LIST_BORROWERS)
        parameters = dict(query)
        match = _MATCHES.get(parameters.get("_match", "contains"))
        if match is None:
            raise _Refused(HTTPStatus.BAD_REQUEST, _validator_error("/_match", "Not in enum list.", 400))
        conditions = [_read_q(value, searchable) for name, value in query if name == "q"]
        hits = [
            record
            for record in records
            if all(_fits(record, condition) for condition in conditions)
            and all(
                match(_folded(record[name]), _folded(value)) for name, value in query if name in searchable
            )
        ]
        return _page(path, parameters, hits, len(records))

    def _record(self, patron: SimulatedPatron) -> dict[str, Any]:
        """Return a patron as Koha's definition of the object has it; nulls are kept as Koha does."""
        expiry = patron.expiry_date
        return {
            "patron_id": patron.patron_id,
            "cardnumber": patron.cardnumber,
            "surname": patron.surname,
            "firstname": patron.firstname,
            "middle_name": None,
            "title": None,
            "other_name": None,
            "userid": patron.userid,
            "email": None,
            "phone": None,
            "date_of_birth": None,
            "library_id": patron.library_id,
            "category_id": patron.category_id,
            "date_enrolled": None,
            "expiry_date": None if expiry is None else expiry.isoformat(),
            "incorrect_address": patron.gone_no_address,
            "patron_card_lost": patron.card_lost,
            "expired": self._state.is_expired(patron),
            "restricted": patron.restriction is not None,
            "staff_notes": None,
            "opac_notes": patron.opac_note or None,
            "autorenew_checkouts": True,
            "privacy": 1,
            "privacy_guarantor_checkouts": 0,
            "privacy_guarantor_fines": False,
            "check_previous_checkout": "inherit",
            "updated_on": "2026-01-05T10:00:00+09:00",
            "last_seen": None,
            "lang": "default",
            "login_attempts": 0,
            "anonymized": False,
            "protected": False,
        }


def _validator_error(path: str, message: str, status: int) -> dict[str, object]:
    return {"errors": [{"message": message, "path": path}], "status": status}


def _refuse_unknown_parameters(query: Sequence[tuple[str, str]], known: frozenset[str]) -> None:
    unknown = [name for name, _ in query if name not in known]
    if unknown:
        raise _Refused(
            HTTPStatus.BAD_REQUEST,
            [{"path": f"/query/{name}", "message": "Malformed query string"} for name in unknown],
        )


def _read_q(text: str, searchable: frozenset[str]) -> dict[str, object]:
    """Read one ``q``: an object of fields and the values that they must equal."""
    try:
        condition = json.loads(text)
    except ValueError:
        condition = None
    if (
        not isinstance(condition, dict)
        or not searchable.issuperset(condition)
        or any(isinstance(value, (dict, list)) for value in condition.values())
    ):
        raise _Refused(HTTPStatus.BAD_REQUEST, {"error": "Invalid query", "error_code": "invalid_query"})
    return condition


def _fits(record: Mapping[str, Any], condition: Mapping[str, object]) -> bool:
    return all(_folded(record[name]) == _folded(wanted) for name, wanted in condition.items())


def _folded(value: object) -> str:
    """Return a value as a collation without case and width compares it."""
    return unicodedata.normalize("NFKC", str(value)).casefold()


def _page(path: str, parameters: Mapping[str, str], hits: Sequence[object], total: int) -> _Reply:
    try:
        page = int(parameters.get("_page", "1"))
        size = int(parameters.get("_per_page", str(DEFAULT_PAGE_SIZE)))
    except ValueError:
        raise _Refused(
            HTTPStatus.BAD_REQUEST, _validator_error("/_page", "Expected integer - got string.", 400)
        ) from None
    if size == -1:
        page, size = 1, max(len(hits), 1)
    if page < 1 or size < 1:
        raise _Refused(HTTPStatus.BAD_REQUEST, {"error": "Page size must be positive"})
    headers = {
        "X-Total-Count": str(len(hits)),
        "X-Base-Total-Count": str(total),
        "Link": ",".join(_links(path, parameters, page, size, len(hits))),
    }
    return _Reply(HTTPStatus.OK, list(hits[(page - 1) * size : page * size]), headers)


def _links(path: str, parameters: Mapping[str, str], page: int, size: int, hits: int) -> Iterator[str]:
    last = max(1, -(-hits // size))
    pages = {"prev": page - 1, "next": page + 1, "first": 1, "last": last}
    for relation, number in pages.items():
        if 1 <= number <= last:
            query = urlencode({**parameters, "_page": str(number), "_per_page": str(size)})
            yield f'<{path}?{query}>; rel="{relation}"'


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for them
    koha: KohaRestServer

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        """End the connections that clients keep open for later."""
        for connection in tuple(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # its client was faster


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one segment for head and body: two would wait for each other (Nagle)
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Write nothing: a request line may carry a card number."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        authorization = self.headers.get("Authorization", "")
        reply = self.server.koha.answer(self.command, self.path, authorization, body)
        content = json.dumps(reply.body, ensure_ascii=False).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        request_id = self.headers.get("x-koha-request-id")
        if request_id is not None and request_id.isdecimal():
            self.send_header("x-koha-request-id", request_id)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
