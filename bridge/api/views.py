"""The calls of the API. Each parses, asks one service, and renders; errors go to the handlers."""

from __future__ import annotations

import re
import time
from hashlib import sha256
from http import HTTPStatus

from flask import Response, jsonify, request
from werkzeug.datastructures import ETags
from werkzeug.exceptions import UnsupportedMediaType

from bridge.api.auth import authenticate
from bridge.api.schemas import (
    BeginRequest,
    EnrolRequest,
    ProgressReport,
    ResponseRequest,
    challenge_answer,
    challenge_id_in_path,
    enrolled_answer,
    identified_answer,
    linked_answer,
    report_in_body,
    session_answer,
    terminal_answer,
)
from bridge.models import Terminal, TerminalKind
from bridge.services import Services
from jpki.challenge import ChallengePurpose

Answer = tuple[dict[str, object], int]

LONGEST_WAIT = 25
"""Seconds. Web servers in front of the bridge give up after 60, some address translation after 30."""

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*(\d{1,9})\s*(?=$|[,;])", re.IGNORECASE)


class ApiViews:
    """The views, bound to the services; every one of them asks first which terminal is calling."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def terminal(self) -> Response:
        """``GET /terminal``: at once, or as soon as the answer is not the one that the caller has."""
        terminal = self._caller()
        self._services.terminals.seen(terminal)
        body, subject = self._look(terminal)
        seconds = preferred_wait(request.headers.get("Prefer", ""))
        has_waited = seconds is not None
        if seconds is not None:
            known = request.if_none_match or ETags([entity_tag(body)])
            deadline = time.monotonic() + seconds
            while has_waited and known.contains(entity_tag(body)) and time.monotonic() < deadline:
                has_waited = self._services.terminals.wait(terminal, subject, deadline - time.monotonic())
                terminal = self._caller()  # it may have been removed meanwhile
                body, subject = self._look(terminal)
        response = jsonify(body)
        response.set_etag(entity_tag(body))
        response.make_conditional(request)
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            response.set_data(b"")
        if has_waited:
            response.headers["Preference-Applied"] = f"wait={seconds}"
        return response

    def report_state(self) -> Response:
        """``POST /terminal/state``."""
        terminal = self._caller()
        self._services.terminals.report(terminal, report_in_body(json_body()))
        return Response(status=204)

    def enrol(self) -> Answer:
        """``POST /enrolments``: the one call that needs no token, for it makes one good."""
        body = EnrolRequest.from_body(json_body())
        terminal = self._services.enrolment.enrol(body.code, body.token_digest)
        return enrolled_answer(terminal, self._services.library_names[terminal.library_id]), 201

    def begin(self) -> Answer:
        """``POST /challenges``."""
        terminal = self._caller()
        body = BeginRequest.from_body(json_body())
        match body.purpose:
            case ChallengePurpose.LINK:
                challenge = self._services.registration.begin(terminal, body.certificate, body.card_number)
            case ChallengePurpose.IDENTIFY:
                challenge = self._services.identification.begin(terminal, body.certificate)
            case ChallengePurpose.BORROW:
                challenge = self._services.borrowing.begin(terminal, body.certificate)
        return challenge_answer(challenge), 201

    def progress(self, challenge_id: str) -> Response:
        """``POST /challenges/{id}/progress``."""
        terminal = self._caller()
        challenge_id = challenge_id_in_path(challenge_id)
        body = ProgressReport.from_body(json_body())
        if terminal.kind is TerminalKind.COUNTER:
            self._services.registration.progress(terminal, challenge_id, body.step, body.attempts_remaining)
        else:
            self._services.borrowing.progress(terminal, challenge_id, body.step)
        return Response(status=204)

    def respond(self, challenge_id: str) -> Answer:
        """``POST /challenges/{id}/response``: a counter links or identifies, a self-check machine borrows."""
        terminal = self._caller()
        challenge_id = challenge_id_in_path(challenge_id)
        body = ResponseRequest.from_body(json_body())
        if terminal.kind is TerminalKind.COUNTER:
            if self._services.identification.purpose_of(challenge_id) is ChallengePurpose.IDENTIFY:
                self._services.identification.complete(
                    terminal, challenge_id, body.certificate, body.signature
                )
                return identified_answer(), 201
            link = self._services.registration.complete(
                terminal, challenge_id, body.certificate, body.signature, body.card_number
            )
            ending = self._services.registration.ending_of(link)
            return linked_answer(ending, self._services.clock()), 201
        opened = self._services.borrowing.complete(terminal, challenge_id, body.certificate, body.signature)
        return session_answer(opened), 201

    def _caller(self) -> Terminal:
        return authenticate(request.authorization, self._services.staff)

    def _look(self, terminal: Terminal) -> tuple[dict[str, object], str | None]:
        """Return the answer of this moment, and the id of what is open at the terminal."""
        name = self._services.library_names[terminal.library_id]
        if terminal.kind is TerminalKind.SELF_CHECK:
            session_id = self._services.terminals.open_subject(terminal)
            return terminal_answer(terminal, name, ChallengePurpose.BORROW, session_id), session_id
        pending = self._services.registration.pending(terminal)
        if pending is None:
            return terminal_answer(terminal, name, None, None), None
        reads = pending.purpose is ChallengePurpose.LINK and self._services.registration.reads_card_number(
            terminal.library_id
        )
        answer = terminal_answer(terminal, name, pending.purpose, None, reads_card_number=reads)
        return answer, pending.request_id


def entity_tag(body: dict[str, object]) -> str:
    """Return what tells one answer from another."""
    return sha256(repr(body).encode()).hexdigest()[:32]


def preferred_wait(prefer: str) -> int | None:
    """Return the seconds of ``wait`` in a Prefer header (RFC 7240, 4.3), at most ``LONGEST_WAIT``."""
    found = _WAIT.search(prefer)
    return None if found is None else min(int(found[1]), LONGEST_WAIT)


def json_body() -> bytes:
    """Return the request's body; raises ``UnsupportedMediaType`` where it does not say that it is JSON."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    return request.get_data(cache=False)
