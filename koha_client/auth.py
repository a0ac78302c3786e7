"""How we show Koha who we are, as ``requests`` authentication objects.

OAuth2 client credentials are the way. Basic is the fallback for a Koha where OAuth2 cannot be
switched on: each failed try counts towards ``FailedLoginAttempts`` and may lock the account.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from koha_client.errors import BadRequest, KohaRejected, KohaUnauthorized, MalformedAnswer, PreferenceOff
from koha_client.transport import Transport

RENEWAL_MARGIN_SECONDS = 60.0
"""A token is renewed this long before its end (Koha's tokens live for 3600 seconds)."""

_BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1: b64token


class BasicCredentials(HTTPBasicAuth):
    """User id and password of an account in Koha (preference ``RESTBasicAuth``)."""

    def __init__(self, userid: str, password: str) -> None:
        super().__init__(userid.encode(), password.encode())


class _NoCredentials(AuthBase):
    """For the token route. Without it ``requests`` would look into the user's ``.netrc``."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@dataclass(frozen=True)
class _Token:
    authorization: str = field(repr=False)
    renew_at: float


class OAuth2ClientCredentials(AuthBase):
    """A bearer token from Koha's ``/oauth/token``, fetched once for all threads and kept fresh.

    A 401 is met once with a fresh token, because a restarted Koha may have forgotten the old one.
    *clock* returns monotonic seconds. Requests under this authentication raise, beside their own
    errors, those of the token route; ``KohaUnauthorized`` where Koha refuses client id and secret.
    """

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: str,
        transport: Transport,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token_url = f"{base_url}/oauth/token"
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
        }
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._token: _Token | None = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign *request* (``requests`` calls this)."""
        request.headers["Authorization"] = self._authorization()
        request.hooks["response"].append(self._resend_if_unauthorized)
        return request

    def _authorization(self, refused: str | None = None) -> str:
        """Return a header value that is fresh and not *refused*."""
        with self._lock:
            token = self._token
            if token is None or token.authorization == refused or self._clock() >= token.renew_at:
                token = self._token = self._fetch()
            return token.authorization

    def _resend_if_unauthorized(self, response: requests.Response, **kwargs: Any) -> requests.Response:
        if response.status_code != requests.codes.unauthorized:
            return response
        response.close()
        request = response.request.copy()
        request.headers["Authorization"] = self._authorization(
            refused=response.request.headers["Authorization"]
        )
        # The adapter, not the session: a second 401 is not met again.
        second: requests.Response = response.connection.send(request, **kwargs)
        return second

    def _fetch(self) -> _Token:
        asked_at = self._clock()
        try:
            answer = self._transport.post_form(self._token_url, _NoCredentials(), self._form).json()
        except BadRequest:
            refusal: KohaUnauthorized = PreferenceOff(
                400, "Koha grants no tokens to clients", preference="RESTOAuth2ClientCredentials"
            )
        except KohaRejected as rejected:
            if rejected.status not in (401, 403):
                raise
            refusal = KohaUnauthorized(rejected.status, "Koha refuses the client id or secret")
        else:
            return _read_token(answer, asked_at)
        raise refusal


def _read_token(answer: object, asked_at: float) -> _Token:
    """Read ``{access_token, token_type: "Bearer", expires_in: seconds}``."""
    fields = answer if isinstance(answer, dict) else {}
    value, lifetime = fields.get("access_token"), fields.get("expires_in")
    if fields.get("token_type") != "Bearer":
        raise MalformedAnswer("the token's type is not Bearer")
    if not isinstance(value, str) or not _BEARER_TOKEN.fullmatch(value):
        raise MalformedAnswer("the token is missing or not a bearer token")
    if not isinstance(lifetime, int) or isinstance(lifetime, bool) or lifetime <= 0:
        raise MalformedAnswer("the token's lifetime is missing or not in seconds")
    margin = min(RENEWAL_MARGIN_SECONDS, lifetime / 2)
    return _Token(f"Bearer {value}", asked_at + lifetime - margin)
