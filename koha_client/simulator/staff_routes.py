"""The routes of the simulated Koha by which staff sign in: of a password, and of a permission."""

from __future__ import annotations

from http import HTTPStatus

from koha_client.simulator.exchange import RestExchange, is_permitted
from koha_client.simulator.replies import RestReply, bad_request, invalid, not_found

SUPERLIBRARIAN = "superlibrarian:1"
_VALIDATION_FAILED = "Validation failed"


def check_password(exchange: RestExchange) -> RestReply:
    """POST /auth/password/validation (Koha::REST::V1::Auth::Password)."""
    exchange.refuse_parameters()
    document = exchange.document
    if not isinstance(document, dict) or not isinstance(document.get("password"), str):
        raise invalid("/body/password", "Missing property.")
    userid, identifier = document.get("userid"), document.get("identifier")
    if userid is not None and identifier is not None:
        raise bad_request("Bad request. Only one identifier attribute can be passed.")
    patron = exchange.state.find_patron_by_identifier(userid or identifier or "")
    if patron is None or (userid and patron.userid.casefold() != userid.casefold()):
        raise bad_request(_VALIDATION_FAILED)
    if not exchange.state.check_password(patron, document["password"]):
        raise bad_request(_VALIDATION_FAILED)
    answer = {"cardnumber": patron.cardnumber, "patron_id": patron.patron_id, "userid": patron.userid}
    return RestReply(HTTPStatus.CREATED, answer)


def get_standing(exchange: RestExchange) -> RestReply:
    """GET /contrib/jpkibridge/staff/{patron_id}, of the bridge's plugin."""
    asked = dict(exchange.query)
    exchange.refuse_parameters(frozenset({"module", "permission"}))
    for name in ("module", "permission"):
        if not asked.get(name):
            raise invalid(f"/{name}", "Missing property.")
    patron = exchange.state.get_patron(exchange.identifier("patron_id"))
    if patron is None:
        raise not_found("Patron not found")
    permission = f"{asked['module']}:{asked['permission']}"
    limit = exchange.state.failed_login_attempts
    left = None if limit is None else limit - patron.login_attempts
    return RestReply(
        HTTPStatus.OK,
        {
            "patron_id": patron.patron_id,
            "userid": patron.userid or None,
            "permitted": is_permitted(patron.permissions, permission, SUPERLIBRARIAN),
            "tries_left": 0 if exchange.state.is_locked(patron) else left,
        },
    )
