"""Asking others whether a certificate is revoked: OCSP over HTTP (RFC 6960), by POST or GET. Edge.

The address is configured. What a certificate says of CRLs is a directory name, from which nothing
can be fetched, and its OCSP address is open to registered verifiers only.

Nothing here raises for what a responder does or fails to do: the answer is then UNKNOWN with its
reason. How fresh an answer must be is for the caller's ``RevocationPolicy``; an answer without our
nonce is taken, since responders may give answers made in advance.
"""

from __future__ import annotations

import base64
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from urllib.parse import quote

import requests
import urllib3
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from jpki.certificate import SerialNumber, UserAuthenticationCertificate, supported_public_key
from jpki.errors import UnsupportedAlgorithm
from jpki.http_body import BodyTooLong, BodyTooSlow, read_chunks
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason, unknown_answer
from jpki.signature import is_signed_by
from jpki.trust import TrustAnchor

_log = logging.getLogger(__name__)

MAXIMUM_RESPONSE_SIZE = 64 * 1024
"""Bytes. An answer with two responder certificates has about 4,000."""

MAXIMUM_GET_LENGTH = 255
"""Octets. A request that is as long or longer once encoded goes by POST (RFC 6960, A.1)."""

NONCE_SIZE = 32
"""Octets (RFC 9654, 2.1)."""

_STATUSES = {
    ocsp.OCSPCertStatus.GOOD: RevocationStatus.GOOD,
    ocsp.OCSPCertStatus.REVOKED: RevocationStatus.REVOKED,
    ocsp.OCSPCertStatus.UNKNOWN: RevocationStatus.UNKNOWN,
}

_TRY_AGAIN = frozenset({ocsp.OCSPResponseStatus.TRY_LATER, ocsp.OCSPResponseStatus.INTERNAL_ERROR})

# What cryptography raises, early or late, for bytes that are no OCSP answer it can read.
_PARSE_FAILURES = (
    ValueError,
    TypeError,
    NotImplementedError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UserWarning,
)


class NoSource:
    """Where no source of revocation information is configured: everything is unknown."""

    name = "none"

    def check(
        self, certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Return UNKNOWN."""
        return unknown_answer(self.name, now, UnknownReason.NO_SOURCE)


class OcspSource:
    """An OCSP responder at a configured address.

    ``timeout`` (seconds) limits the connection, each wait for bytes and the whole answer. With
    ``prefer_get`` a request that is short enough goes by GET, as some responders want (RFC 6960, A.1).
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        session: requests.Session | None = None,
        name: str = "ocsp",
        prefer_get: bool = False,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.name = name
        self._url = url
        self._timeout = timeout
        self._session = session or requests.Session()
        self._prefer_get = prefer_get
        self._token_bytes = token_bytes

    def check(
        self, certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Ask about *certificate* and return what the responder says, or why that is not known."""
        builder = ocsp.OCSPRequestBuilder().add_certificate(
            certificate.x509, issuer.certificate, _name_hash()
        )
        return self._answer_to(builder, issuer, now)

    def check_serial_number(
        self, serial_number: SerialNumber, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Ask about a certificate that is not at hand, as ``check`` does."""
        name = hashes.Hash(_name_hash())
        name.update(issuer.certificate.subject.public_bytes())
        key_hash = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key).digest
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
            name.finalize(), key_hash, serial_number.value, _name_hash()
        )
        return self._answer_to(builder, issuer, now)

    def _answer_to(
        self, builder: ocsp.OCSPRequestBuilder, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        nonce = self._token_bytes(NONCE_SIZE)
        request = builder.add_extension(x509.OCSPNonce(nonce), critical=False).build()
        try:
            return self._ask(request, issuer, now, nonce)
        except _NoAnswer as problem:
            # The reason, never the request: it holds the serial number.
            _log.warning("%s: %s (%s)", self.name, problem.why.value, problem)
            return unknown_answer(self.name, now, problem.why)

    def _ask(
        self, request: ocsp.OCSPRequest, issuer: TrustAnchor, now: datetime, nonce: bytes
    ) -> RevocationAnswer:
        body = self._exchange(request.public_bytes(Encoding.DER))
        try:
            response = ocsp.load_der_ocsp_response(body)
            _check_response_status(response)
            _check_signature(response, issuer, now)
            _check_nonce(response, nonce)
            single = _find_single_response(response, request)
            return self._answer(single)
        except _PARSE_FAILURES as error:
            raise _NoAnswer(UnknownReason.MALFORMED, type(error).__name__) from None

    def _exchange(self, question: bytes) -> bytes:
        """Send a request and return the body of the answer, which may be anything."""
        deadline = time.monotonic() + self._timeout
        try:
            with self._session.send(
                self._session.prepare_request(self._http_request(question)),
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code != requests.codes.ok:
                    raise _NoAnswer(UnknownReason.UNREACHABLE, f"HTTP {response.status_code}")
                return b"".join(read_chunks(response, limit=MAXIMUM_RESPONSE_SIZE, deadline=deadline))
        except BodyTooLong:
            raise _NoAnswer(UnknownReason.MALFORMED, "too long") from None
        except BodyTooSlow:
            raise _NoAnswer(UnknownReason.UNREACHABLE, "too slow") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _NoAnswer(UnknownReason.UNREACHABLE, type(error).__name__) from None

    def _http_request(self, question: bytes) -> requests.Request:
        headers = {"Accept-Encoding": "identity"}
        if self._prefer_get:
            path = quote(base64.b64encode(question), safe="")
            if len(path) < MAXIMUM_GET_LENGTH:
                return requests.Request("GET", f"{self._url.rstrip('/')}/{path}", headers)
        headers["Content-Type"] = "application/ocsp-request"
        return requests.Request("POST", self._url, headers, data=question)

    def _answer(self, single: ocsp.OCSPSingleResponse) -> RevocationAnswer:
        status = _STATUSES[single.certificate_status]
        reason = single.revocation_reason
        unknown = status is RevocationStatus.UNKNOWN
        return RevocationAnswer(
            status,
            self.name,
            as_of=single.this_update_utc,
            next_update=single.next_update_utc,
            revoked_at=single.revocation_time_utc,
            reason=reason.value if reason is not None else None,
            why=UnknownReason.RESPONDER_SAYS_UNKNOWN if unknown else None,
        )


class _NoAnswer(Exception):
    """The status stays unknown, for this reason; does not leave the module."""

    def __init__(self, why: UnknownReason, detail: str) -> None:
        super().__init__(detail)
        self.why = why


def _name_hash() -> hashes.HashAlgorithm:
    # SHA-1 only names the issuer here, and is the one hash that every responder knows (RFC 5019, 2.1.1).
    return hashes.SHA1()  # noqa: S303


def _check_response_status(response: ocsp.OCSPResponse) -> None:
    status = response.response_status
    if status in _TRY_AGAIN:
        raise _NoAnswer(UnknownReason.UNREACHABLE, status.name)
    if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise _NoAnswer(UnknownReason.RESPONDER_SAYS_UNKNOWN, status.name)


def _check_nonce(response: ocsp.OCSPResponse, nonce: bytes) -> None:
    try:
        answered = response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return
    if not hmac.compare_digest(answered, nonce):
        raise _NoAnswer(UnknownReason.NOT_TRUSTED, "another nonce")


def _check_signature(response: ocsp.OCSPResponse, issuer: TrustAnchor, now: datetime) -> None:
    """Check that the CA, or a responder to which it delegates, signed (RFC 6960, 4.2.2.2).

    With the algorithms that certificates are signed with, and no others (``jpki.signature``).
    """
    delegated = (
        supported_public_key(certificate)
        for certificate in response.certificates
        if _is_delegated_responder(certificate, issuer, now)
    )
    for key in (issuer.public_key, *delegated):
        if is_signed_by(key, response.tbs_response_bytes, response.signature):
            return
    raise _NoAnswer(UnknownReason.NOT_TRUSTED, "signed by a stranger")


def _is_delegated_responder(certificate: x509.Certificate, issuer: TrustAnchor, now: datetime) -> bool:
    """Whether *issuer* itself made this certificate, for signing OCSP answers, and it is in force."""
    try:
        supported_public_key(certificate)
        certificate.verify_directly_issued_by(issuer.certificate)
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (UnsupportedAlgorithm, InvalidSignature, x509.ExtensionNotFound, *_PARSE_FAILURES):
        return False
    in_force = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    return in_force and ExtendedKeyUsageOID.OCSP_SIGNING in usages


def _find_single_response(response: ocsp.OCSPResponse, request: ocsp.OCSPRequest) -> ocsp.OCSPSingleResponse:
    for single in response.responses:
        if (
            single.serial_number == request.serial_number
            and single.issuer_key_hash == request.issuer_key_hash
            and single.issuer_name_hash == request.issuer_name_hash
        ):
            return single
    raise _NoAnswer(UnknownReason.NOT_TRUSTED, "an answer about another certificate")
