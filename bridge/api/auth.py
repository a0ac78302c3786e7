"""Who is calling: a terminal or a librarian by a bearer token (RFC 6750), a plugin by id and secret.

Id and secret come as RFC 7617 says.
"""

from __future__ import annotations

from werkzeug.datastructures import Authorization

from bridge.accounts.staff import StaffService
from bridge.api.errors import TerminalNotAuthenticated
from bridge.counter.koha_desk import DeskService
from bridge.errors import DeskClosed, PluginRefused
from bridge.models import Librarian, Terminal


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


def authenticate_librarian(
    authorization: Authorization | None, origin: str | None, desk: DeskService
) -> Librarian:
    """Return whose token for the desk it is; raises ``DeskClosed``, ``OriginRefused``."""
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise DeskClosed
    return desk.librarian_of(authorization.token, origin)


def plugin_credentials(authorization: Authorization | None) -> tuple[str, str]:
    """Return id and secret of the plugin that calls, not checked yet; raises ``PluginRefused``."""
    if authorization is None or authorization.type != "basic":
        raise PluginRefused
    plugin_id, secret = authorization.username or "", authorization.password or ""
    if not (plugin_id.isascii() and plugin_id.isalnum()):  # databases choke on a NUL
        raise PluginRefused
    return plugin_id, secret
