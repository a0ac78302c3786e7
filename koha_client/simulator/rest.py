"""The REST side of the simulated Koha, over real HTTP on loopback, as any release from 22.11 on.

Status codes, the three shapes of error bodies, permissions and search are Koha's; which route a
release has and what it demands of the account stands in ``koha_client.versions``.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from koha_client.errors import BASIC_AUTHENTICATION_DISABLED
from koha_client.simulator import library_routes, patron_routes, staff_routes
from koha_client.simulator.exchange import RestExchange, is_permitted
from koha_client.simulator.replies import RestRefusal, RestReply, bad_request, invalid, refusal
from koha_client.simulator.state import KohaState
from koha_client.versions import LEAST_PERMISSIONS, NEWEST, KohaVersion, Route

API_PATH = "/api/v1"
TOKEN_LIFETIME = timedelta(seconds=3600)
_SHUTDOWN_POLL_SECONDS = 0.01

_HANDLERS: Mapping[Route, Callable[[RestExchange], RestReply]] = MappingProxyType(
    {
        Route.LIST_PATRONS: patron_routes.list_patrons,
        Route.GET_PATRON: patron_routes.get_patron,
        Route.ADD_PATRON: patron_routes.add_patron,
        Route.UPDATE_PATRON: patron_routes.update_patron,
        Route.SET_PASSWORD: patron_routes.set_password,
        Route.LIST_ATTRIBUTES: patron_routes.list_attributes,
        Route.ADD_ATTRIBUTE: patron_routes.add_attribute,
        Route.REPLACE_ATTRIBUTES: patron_routes.replace_attributes,
        Route.CHANGE_ATTRIBUTE: patron_routes.change_attribute,
        Route.DELETE_ATTRIBUTE: patron_routes.delete_attribute,
        Route.LIST_CATEGORIES: library_routes.list_categories,
        Route.LIST_LIBRARIES: library_routes.list_libraries,
        Route.LIST_CHECKOUTS: library_routes.list_checkouts,
        Route.LIST_HOLDS: library_routes.list_holds,
        Route.LIST_ITEMS: library_routes.list_items,
        Route.LIST_CIRCULATION_RULES: library_routes.list_circulation_rules,
        Route.CHECK_PASSWORD: staff_routes.check_password,
        Route.GET_STAFF_STANDING: staff_routes.get_standing,
    }
)

_PATTERNS: Mapping[Route, re.Pattern[str]] = MappingProxyType(
    {route: re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route.path)) for route in Route}
)


class KohaRestServer:
    """A Koha that answers REST requests about the patrons of *state* until it is closed.

    ``permissions`` are those of the account that the API key belongs to, *account_library_id* is its
    home library. ``permissions``, ``in_maintenance`` and ``grants_tokens`` (the preference
    RESTOAuth2ClientCredentials) may be changed while the server runs, and so may ``has_plugin``, whether
    the bridge's plugin is installed. Basic authentication is off
    unless *basic_credentials* are given. Nothing is written to standard error.
    """

    def __init__(
        self,
        state: KohaState,
        *,
        client_id: str,
        client_secret: str,
        host: str = "127.0.0.1",
        port: int = 0,
        version: KohaVersion = NEWEST,
        permissions: frozenset[str] = LEAST_PERMISSIONS,
        account_library_id: str = "CPL",
        basic_credentials: tuple[str, str] | None = None,
    ) -> None:
        self.permissions = permissions
        self.in_maintenance = False
        self.grants_tokens = True
        self.has_plugin = True
        self.tokens_granted = 0
        self.version = version
        self._state = state
        self._client = (client_id, client_secret)
        self._account_library_id = account_library_id
        self._basic = basic_credentials
        self._tokens: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self._host = host
        self._server = _Server((host, port), _Handler)
        self._server.koha = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_SHUTDOWN_POLL_SECONDS,))

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

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> RestReply:
        """Answer one request; *headers* have small letters. Only the request handler calls this."""
        try:
            return self._answer(method, target, headers, body)
        except RestRefusal as refused:
            return refused.reply

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> RestReply:
        parts = urlsplit(target)
        if (method, parts.path) == ("POST", f"{API_PATH}/oauth/token"):
            return self._grant_token(body)
        route, ids = self._find_route(method, parts.path)
        self._authenticate(headers.get("authorization", ""))
        self._demand_one_of(*route.permissions(self.version))
        return _HANDLERS[route](
            RestExchange(
                state=self._state,
                version=self.version,
                path=parts.path,
                ids=ids,
                query=parse_qsl(parts.query, keep_blank_values=True),
                headers=headers,
                body=body,
                permissions=self.permissions,
                account_library_id=self._account_library_id,
            )
        )

    def _find_route(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        found = {
            route.method: (route, match.groupdict())
            for route, pattern in _PATTERNS.items()
            if self.version.is_at_least(route.first_version)
            and (self.has_plugin or not route.of_plugin)
            and (match := pattern.fullmatch(path.removeprefix(API_PATH)))
        }
        if not found or not path.startswith(API_PATH):
            raise invalid("/", "Not Found.", HTTPStatus.NOT_FOUND)
        if method not in found:
            raise invalid("/", "Method Not Allowed.", HTTPStatus.METHOD_NOT_ALLOWED)
        return found[method]

    def _grant_token(self, body: bytes) -> RestReply:
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        if not self.grants_tokens or form.get("grant_type") != "client_credentials":
            raise bad_request("Unimplemented grant type")
        if (form.get("client_id"), form.get("client_secret")) != self._client:
            raise refusal(HTTPStatus.FORBIDDEN, "unauthorized_client")
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[token] = self._state.now() + TOKEN_LIFETIME
            self.tokens_granted += 1
        return RestReply(
            HTTPStatus.OK,
            {
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": int(TOKEN_LIFETIME.total_seconds()),
            },
        )

    def _authenticate(self, authorization: str) -> None:
        if self.in_maintenance:
            raise refusal(HTTPStatus.SERVICE_UNAVAILABLE, "System is under maintenance.")
        scheme, _, credentials = authorization.partition(" ")
        if scheme == "Basic" and self._basic is None:
            raise refusal(HTTPStatus.UNAUTHORIZED, BASIC_AUTHENTICATION_DISABLED)
        if scheme == "Basic" and self._basic is not None:
            known = credentials == base64.b64encode(":".join(self._basic).encode()).decode()
        else:
            with self._lock:
                expires_at = self._tokens.get(credentials)
            known = scheme == "Bearer" and expires_at is not None and self._state.now() < expires_at
        if not known:
            raise refusal(HTTPStatus.UNAUTHORIZED, "Authentication failure.")

    def _demand_one_of(self, *permissions: str) -> None:
        if not is_permitted(self.permissions, *permissions):
            required = [dict([permission.split(":")]) for permission in permissions]
            raise refusal(
                HTTPStatus.FORBIDDEN,
                "Authorization failure. Missing required permission(s).",
                required_permissions=required[0] if len(required) == 1 else required,
            )


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

    def do_PUT(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Write nothing: a request line may carry a card number."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.koha.answer(self.command, self.path, headers, body)
        content = b"" if reply.body is None else json.dumps(reply.body, ensure_ascii=False).encode()
        self.send_response(reply.status)
        if content:
            self.send_header("Content-Type", "application/json;charset=UTF-8")
        if reply.status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(content)))
        request_id = headers.get("x-koha-request-id")
        if request_id is not None and request_id.isdecimal():
            self.send_header("x-koha-request-id", request_id)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
