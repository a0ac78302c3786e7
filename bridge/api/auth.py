"""Which terminal is calling: ``Authorization: Bearer <terminal token>`` (RFC 6750)."""

from __future__ import annotations

from werkzeug.datastructures import Authorization

from bridge.api.errors import TerminalNotAuthenticated
from bridge.models import Terminal
from bridge.staff import StaffService


def authenticate(authorization: Authorization | None, staff: StaffService) -> Terminal:
    """Return the terminal that the token belongs to; raises ``TerminalNotAuthenticated``.

    The service looks up the token's digest, so that no comparison takes longer for a better guess.
    """
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise TerminalNotAuthenticated
    terminal = staff.terminal_for_token(authorization.token)
    if terminal is None or not terminal.active:
        raise TerminalNotAuthenticated
    return terminal
