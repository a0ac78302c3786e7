"""Asking a platform operator's REST service whether a certificate is revoked. Edge."""

from __future__ import annotations

import logging
import time
from datetime import datetime

import requests
import urllib3

from jpki.certificate import UserAuthenticationCertificate
from jpki.http_body import BodyTooLong, BodyTooSlow, read_chunks
from jpki.platform_mapping import PlatformMapping
from jpki.revocation import RevocationAnswer, UnknownReason, unknown_answer
from jpki.trust import TrustAnchor

_log = logging.getLogger(__name__)

MAXIMUM_ANSWER_SIZE = 256 * 1024
"""Bytes; the answer about one certificate has some hundred."""


class PlatformSource:
    """A platform operator's service, as a ``PlatformMapping`` describes it.

    ``timeout`` (seconds) limits the connection, each wait for bytes and the whole answer. Redirects are
    not followed. The answer is not signed: it is believed because TLS proves who gave it.
    """

    def __init__(
        self,
        mapping: PlatformMapping,
        *,
        timeout: float,
        session: requests.Session | None = None,
        name: str = "platform",
    ) -> None:
        self.name = name
        self._mapping = mapping
        self._timeout = timeout
        self._session = session or requests.Session()

    def check(
        self, certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Ask about *certificate* and return what the service says, or why that is not known."""
        deadline = time.monotonic() + self._timeout
        try:
            with self._session.request(
                self._mapping.method,
                self._mapping.url_for(certificate),
                data=self._mapping.body_for(certificate),
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "Content-Type": "application/json",
                    **self._mapping.headers,
                },
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = b"".join(read_chunks(response, limit=MAXIMUM_ANSWER_SIZE, deadline=deadline))
        except BodyTooLong:
            return self._no_answer(now, UnknownReason.MALFORMED, "too long")
        except BodyTooSlow:
            return self._no_answer(now, UnknownReason.UNREACHABLE, "too slow")
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            return self._no_answer(now, UnknownReason.UNREACHABLE, type(error).__name__)
        answer = self._mapping.read(response.status_code, content, certificate, self.name, now)
        if answer.why is not None:
            _log.warning("%s: %s (HTTP %d)", self.name, answer.why.value, response.status_code)
        return answer

    def _no_answer(self, now: datetime, why: UnknownReason, reason: str) -> RevocationAnswer:
        # The reason, never the request: it holds the serial number.
        _log.warning("%s: %s (%s)", self.name, why.value, reason)
        return unknown_answer(self.name, now, why)
