"""The desk's calls. Each asks first whose token it is, then one service; errors go to the handlers.

Pages of the configured Kohas, and no others, may call from a browser (CORS, Fetch standard 3.2). No cookie
counts here, so none is allowed along.
"""

from __future__ import annotations

from flask import Response, request
from flask_babel import get_locale

from bridge.api.auth import authenticate_librarian, plugin_credentials
from bridge.api.desk_schemas import (
    ACCOUNT_SHAPE,
    CARDNUMBER,
    CARDNUMBER_SHAPE,
    IDENTIFICATION_SHAPE,
    KOHA_PATRON_ID,
    REASON,
    TERMINAL_ID,
    UNLINK_SHAPE,
    StartLinkRequest,
    cardnumber_answer,
    desk_answer,
    opened_answer,
    patron_answer,
    request_answer,
)
from bridge.api.schemas import id_in_path
from bridge.api.views import Answer, json_body
from bridge.errors import LinkNotFound, LinkRequestNotFound, OriginRefused
from bridge.models import Librarian, TerminalKind
from bridge.services import Services

CORS_MAXIMUM_AGE = 600
"""Seconds for which a browser need not ask again."""

CORS_METHODS = "GET, POST"
CORS_HEADERS = "Authorization, Content-Type"


class DeskViews:
    """The views of the desk, bound to the services."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def open_desk(self) -> Answer:
        """``POST /desk/passes``. A browser has no business here: the secret is for Koha's server."""
        plugin_id, secret = plugin_credentials(request.authorization)
        if "Origin" in request.headers:
            raise OriginRefused
        koha_patron_id = KOHA_PATRON_ID.read(ACCOUNT_SHAPE.parse(json_body()))
        opened = self._services.desk.open_by_plugin(plugin_id, secret, koha_patron_id)
        remaining = opened.expires_at - self._services.clock()
        return opened_answer(opened, int(remaining.total_seconds())), 201

    def desk(self) -> Answer:
        """``GET /desk``."""
        librarian = self._librarian()
        terminals = [
            terminal
            for terminal in self._services.staff.terminals(librarian.library_id)
            if terminal.kind is TerminalKind.COUNTER
        ]
        name = self._services.library_names[librarian.library_id]
        consent = self._services.consent.in_force(librarian.library_id).wording
        return desk_answer(librarian, name, terminals, consent, str(get_locale())), 200

    def look_up(self) -> Answer:
        """``POST /desk/patron``."""
        librarian = self._librarian()
        cardnumber = CARDNUMBER.read(CARDNUMBER_SHAPE.parse(json_body()))
        return patron_answer(self._services.registration.find_patron(librarian, cardnumber)), 200

    def start_identification(self) -> Answer:
        """``POST /desk/identifications``."""
        librarian = self._librarian()
        terminal_id = TERMINAL_ID.read(IDENTIFICATION_SHAPE.parse(json_body()))
        started = self._services.identification.start(librarian, terminal_id=terminal_id)
        return request_answer(started), 201

    def start_link(self) -> Answer:
        """``POST /desk/links``."""
        librarian = self._librarian()
        body = StartLinkRequest.from_body(json_body())
        started = self._services.registration.start(
            librarian,
            terminal_id=body.terminal_id,
            cardnumber=body.cardnumber,
            consent_version=body.consent_version,
            replaces=body.replaces,
        )
        return request_answer(started), 201

    def watch_request(self, request_id: str) -> Answer:
        """``GET /desk/requests/{id}``."""
        librarian = self._librarian()
        request_id = id_in_path(request_id, LinkRequestNotFound)
        return request_answer(self._services.registration.request(librarian, request_id)), 200

    def cancel_request(self, request_id: str) -> Answer:
        """``POST /desk/requests/{id}/cancellation``."""
        librarian = self._librarian()
        request_id = id_in_path(request_id, LinkRequestNotFound)
        return request_answer(self._services.registration.cancel(librarian, request_id)), 200

    def identified_patron(self, request_id: str) -> Answer:
        """``POST /desk/requests/{id}/patron``."""
        librarian = self._librarian()
        request_id = id_in_path(request_id, LinkRequestNotFound)
        return cardnumber_answer(self._services.identification.patron(librarian, request_id)), 200

    def unlink(self, link_id: str) -> Response:
        """``POST /desk/links/{id}/end``."""
        librarian = self._librarian()
        link_id = id_in_path(link_id, LinkNotFound)
        reason = REASON.read(UNLINK_SHAPE.parse(json_body()))
        self._services.registration.unlink(librarian, link_id, reason=reason)
        return Response(status=204)

    def allow_origin(self, response: Response) -> Response:
        """Tell the browser whether the page that asks may read the answer."""
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin is None or not self._services.desk.is_koha(origin):
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = CORS_METHODS
            response.headers["Access-Control-Allow-Headers"] = CORS_HEADERS
            response.headers["Access-Control-Max-Age"] = str(CORS_MAXIMUM_AGE)
        return response

    def _librarian(self) -> Librarian:
        return authenticate_librarian(
            request.authorization, request.headers.get("Origin"), self._services.desk
        )
