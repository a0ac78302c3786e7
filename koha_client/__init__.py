"""A client of Koha's REST API: exact patron look-up, typed errors, bounded answers."""

from koha_client.auth import BasicCredentials, OAuth2ClientCredentials
from koha_client.client import KohaClient
from koha_client.errors import (
    BadRequest,
    Conflict,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    InMaintenance,
    KohaError,
    KohaForbidden,
    KohaRejected,
    KohaUnauthorized,
    KohaUnavailable,
    MalformedAnswer,
    PatronNotFound,
    ReadTimedOut,
    RequestNotSent,
    Retry,
    ServerFailed,
    SeveralPatrons,
    TlsFailed,
)
from koha_client.models import Health, HealthState, Patron
from koha_client.transport import Transport

__all__ = [
    "BadRequest",
    "BasicCredentials",
    "Conflict",
    "ConnectFailed",
    "ConnectTimedOut",
    "ConnectionLost",
    "Health",
    "HealthState",
    "InMaintenance",
    "KohaClient",
    "KohaError",
    "KohaForbidden",
    "KohaRejected",
    "KohaUnauthorized",
    "KohaUnavailable",
    "MalformedAnswer",
    "OAuth2ClientCredentials",
    "Patron",
    "PatronNotFound",
    "ReadTimedOut",
    "RequestNotSent",
    "Retry",
    "ServerFailed",
    "SeveralPatrons",
    "TlsFailed",
    "Transport",
]
