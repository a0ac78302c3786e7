"""The second factor of a log-in: a code of six digits that an authenticator app shows (TOTP, RFC 6238). Pure.

SHA-1, six digits and thirty seconds are what every app takes; RFC 6238, 1.2, names them as the usual ones.
"""

from __future__ import annotations

import base64
import hmac
from datetime import datetime
from enum import StrEnum, unique

from pyotp import TOTP

from bridge.models import LibrarianRole, Permission

SECRET_LENGTH = 20
"""Bytes: as long as the output of HMAC-SHA-1 (RFC 4226, 4, R6)."""

STEP = 30
"""Seconds in which one code is shown (RFC 6238, 5.2)."""

DRIFT = 1
"""Steps before and after the present one that count: clocks differ, and typing takes time (RFC 6238, 5.2)."""

ISSUER = "koha-jpki"
"""What an app writes over the code."""


@unique
class SecondFactorPolicy(StrEnum):
    """Who must log in with a second factor; everybody may."""

    OPTIONAL = "optional"
    ADMINISTRATORS = "administrators"
    EVERYONE = "everyone"

    def requires(self, role: LibrarianRole) -> bool:
        """Return whether who has this role must have one."""
        if self is SecondFactorPolicy.ADMINISTRATORS:
            return role.may(Permission.ADMINISTER)
        return self is SecondFactorPolicy.EVERYONE


def matching_step(secret: bytes, code: str, now: datetime) -> int | None:
    """Return the step of time (since 1970) whose code this is, if it is near *now*; None otherwise."""
    totp = TOTP(_base32(secret))
    present = int(now.timestamp()) // STEP
    found = None
    for step in range(present - DRIFT, present + DRIFT + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()):
            found = step
    return found


def provisioning_uri(secret: bytes, login_name: str) -> str:
    """Return what the QR code holds that an app scans. It is as secret as the secret."""
    return TOTP(_base32(secret)).provisioning_uri(name=login_name, issuer_name=ISSUER)


def grouped(secret: bytes) -> str:
    """Return the secret as one types it into an app: base32 in groups of four."""
    text = _base32(secret)
    return " ".join(text[place : place + 4] for place in range(0, len(text), 4))


def _base32(secret: bytes) -> str:
    return base64.b32encode(secret).decode()
