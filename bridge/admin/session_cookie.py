"""The signed cookie of a session, which a clock that steps back a little does not make worthless."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import SignatureExpired, TimestampSigner, URLSafeTimedSerializer

LARGEST_STEP_BACK = timedelta(minutes=5)
"""A clock that is set right by more than this ends the sessions."""


class _PatientSigner(TimestampSigner):
    def unsign(self, signed_value: str | bytes, max_age: int | None = None, *rest: Any, **named: Any) -> Any:
        """Do as itsdangerous does, but take what was signed a moment from now."""
        try:
            return super().unsign(signed_value, max_age, *rest, **named)
        except SignatureExpired as expired:
            now = self.timestamp_to_datetime(self.get_timestamp())
            if expired.date_signed is None or not now < expired.date_signed <= now + LARGEST_STEP_BACK:
                raise
        return super().unsign(signed_value, None, *rest, **named)


class PatientSessions(SecureCookieSessionInterface):
    """Flask's own sessions. It takes a cookie that was signed a second from now for expired.

    So a clock that is set right by a second would log everybody out. How long a session lasts is decided by
    the time of its last use, which a step back lengthens no more than it is wide.
    """

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Return Flask's serializer with the patient signer."""
        serializer = super().get_signing_serializer(app)
        if serializer is not None:
            serializer.signer = _PatientSigner
        return serializer
