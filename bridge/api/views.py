"""The calls of the API. Each parses, asks one service, and renders; errors go to the handlers."""

from __future__ import annotations

from flask import Response, request
from werkzeug.exceptions import UnsupportedMediaType

from bridge.api.auth import authenticate
from bridge.api.schemas import (
    BeginRequest,
    ProgressReport,
    ResponseRequest,
    challenge_answer,
    challenge_id_in_path,
    identified_answer,
    linked_answer,
    session_answer,
    terminal_answer,
)
from bridge.models import Terminal, TerminalKind
from bridge.services import Services
from jpki.challenge import ChallengePurpose

Answer = tuple[dict[str, object], int]


class ApiViews:
    """The views, bound to the services; every one of them asks first which terminal is calling."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def terminal(self) -> Answer:
        """``GET /terminal``."""
        terminal = self._caller()
        name = self._services.library_names[terminal.library_id]
        return terminal_answer(terminal, name, self._purpose(terminal)), 200

    def begin(self) -> Answer:
        """``POST /challenges``."""
        terminal = self._caller()
        body = BeginRequest.from_body(_json_body())
        match body.purpose:
            case ChallengePurpose.LINK:
                challenge = self._services.registration.begin(terminal, body.certificate)
            case ChallengePurpose.IDENTIFY:
                challenge = self._services.identification.begin(terminal, body.certificate)
            case ChallengePurpose.BORROW:
                challenge = self._services.borrowing.begin(terminal, body.certificate)
        return challenge_answer(challenge), 201

    def progress(self, challenge_id: str) -> Response:
        """``POST /challenges/{id}/progress``."""
        terminal = self._caller()
        challenge_id = challenge_id_in_path(challenge_id)
        body = ProgressReport.from_body(_json_body())
        self._services.registration.progress(terminal, challenge_id, body.step, body.attempts_remaining)
        return Response(status=204)

    def respond(self, challenge_id: str) -> Answer:
        """``POST /challenges/{id}/response``: a counter links or identifies, a self-check machine borrows."""
        terminal = self._caller()
        challenge_id = challenge_id_in_path(challenge_id)
        body = ResponseRequest.from_body(_json_body())
        if terminal.kind is TerminalKind.COUNTER:
            if self._services.identification.purpose_of(challenge_id) is ChallengePurpose.IDENTIFY:
                self._services.identification.complete(
                    terminal, challenge_id, body.certificate, body.signature
                )
                return identified_answer(), 201
            link = self._services.registration.complete(
                terminal, challenge_id, body.certificate, body.signature
            )
            ending = self._services.registration.ending_of(link)
            return linked_answer(ending, self._services.clock()), 201
        opened = self._services.borrowing.complete(terminal, challenge_id, body.certificate, body.signature)
        return session_answer(opened), 201

    def _caller(self) -> Terminal:
        return authenticate(request.authorization, self._services.staff)

    def _purpose(self, terminal: Terminal) -> ChallengePurpose | None:
        if terminal.kind is TerminalKind.SELF_CHECK:
            return ChallengePurpose.BORROW
        request = self._services.registration.pending(terminal)
        return None if request is None else request.purpose


def _json_body() -> bytes:
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    return request.get_data(cache=False)
