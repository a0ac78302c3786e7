"""A certificate revocation list (失効リスト; RFC 5280, 5), read from its DER. Pure.

A national CRL has a million entries and more. So its head and its entries are read apart: the head is
parsed by cryptography, given the same CRL with its entries left out; the entries, nearly all alike,
by ``read_entries`` below, in one pass over the bytes.

Delta CRLs, indirect CRLs, CRLs of some reasons alone and critical extensions that are not known are
refused: none of them can prove that a certificate is good. Of a CRL that covers one distribution point
that point is kept: it is for ``jpki.crl_index`` to say for which certificates it counts.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from mmap import mmap
from typing import NamedTuple

from asn1crypto import core
from asn1crypto import crl as asn1
from cryptography import x509

from jpki.certificate import MAXIMUM_SERIAL_OCTETS, SIGNATURE_ALGORITHMS, CertificateType, find_extension
from jpki.crl_scope import scope_of_crl
from jpki.errors import (
    CrlExpired,
    CrlIssuerUnknown,
    CrlNotYetValid,
    InvalidCrlSignature,
    MalformedCrl,
    UnsupportedCrl,
)
from jpki.signature import is_signed_by
from jpki.trust import TrustAnchor, TrustStore

Buffer = bytes | mmap
"""The bytes of a CRL; a mapped file is read where it lies."""

CrlProgress = Callable[[int, int], None]
"""Called now and then with the bytes of entries that are done, and with all there are."""

REASON_NAMES = {
    0: "unspecified",
    1: "keyCompromise",
    2: "cACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    8: "removeFromCRL",
    9: "privilegeWithdrawn",
    10: "aACompromise",
}
"""RFC 5280, 5.3.1. An entry without a reason stands for unspecified."""

KNOWN_EXTENSIONS = frozenset(
    {x509.CRLNumber.oid, x509.AuthorityKeyIdentifier.oid, x509.IssuingDistributionPoint.oid}
)

_SEQUENCE, _INTEGER, _BIT_STRING = 0x30, 0x02, 0x03
_UTC_TIME, _GENERALIZED_TIME, _CRL_EXTENSIONS = 0x17, 0x18, 0xA0
_TIMES = (_UTC_TIME, _GENERALIZED_TIME)

_PARSE_FAILURES = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UserWarning,
)


CrlEntry = tuple[bytes, int, int]
"""Serial number, big-endian in 20 octets; when it was revoked, in seconds since 1970; reason code."""


@dataclass(frozen=True)
class CertificateRevocationList:
    """A CRL's head, and where in its bytes the rest lies. Make it with ``parse_crl``.

    ``entries`` is the range of bytes inside revokedCertificates, ``signed`` that of tbsCertList.
    ``distribution_point`` is the one that it covers, as ``jpki.crl_scope`` writes it; None where it
    covers all certificates of users.
    """

    issuer: x509.Name
    issuer_key_identifier: bytes
    number: int
    this_update: datetime
    next_update: datetime
    signature: bytes = field(repr=False)
    signed: range = field(repr=False)
    entries: range = field(repr=False)
    distribution_point: str | None = None


def parse_crl(data: Buffer) -> CertificateRevocationList:
    """Parse the head of exactly one DER CRL, X.509 v2, with CRL number, nextUpdate and issuer key.

    The entries are not looked at. Raises ``MalformedCrl`` (also for a file that is cut off) and
    ``UnsupportedCrl``.
    """
    outer = _element(data, 0, len(data), _SEQUENCE)
    if outer.end != len(data):
        raise MalformedCrl("bytes after the CRL")
    signed = _element(data, outer.content, outer.end, _SEQUENCE)
    parts = list(_children(data, signed))
    revoked = _find_revoked_certificates(parts)
    head = b"".join(data[part.start : part.end] for part in parts if part is not revoked)
    without_entries = _tlv(_SEQUENCE, _tlv(_SEQUENCE, head) + data[signed.end : outer.end])
    try:
        parsed = x509.load_der_x509_crl(without_entries)
        extensions = parsed.extensions
        issuer, this_update, next_update = (
            parsed.issuer,
            parsed.last_update_utc,
            parsed.next_update_utc,
        )
        algorithm = parsed.signature_algorithm_oid
    except _PARSE_FAILURES as error:
        raise MalformedCrl("not one DER CRL of RFC 5280") from error
    if algorithm not in SIGNATURE_ALGORITHMS:
        raise UnsupportedCrl("signed with an algorithm that is not relied on")
    if next_update is None:
        raise MalformedCrl("does not say when the next one comes")
    number, key_identifier, distribution_point = _read_extensions(extensions)
    return CertificateRevocationList(
        issuer=issuer,
        issuer_key_identifier=key_identifier,
        number=number,
        this_update=this_update,
        next_update=next_update,
        signature=parsed.signature,
        signed=range(signed.start, signed.end),
        entries=range(revoked.content, revoked.end) if revoked else range(0),
        distribution_point=distribution_point,
    )


def verify_crl(
    crl: CertificateRevocationList,
    data: Buffer,
    trust_store: TrustStore,
    now: datetime,
    *,
    clock_skew: timedelta = timedelta(minutes=5),
) -> TrustAnchor:
    """Return the CA that issued *crl*, which was parsed from *data*, and prove that it did.

    Raises ``CrlIssuerUnknown``, ``InvalidCrlSignature``, ``CrlNotYetValid`` and ``CrlExpired``.
    """
    issuer = _find_issuer(crl, trust_store)
    if not is_signed_by(issuer.public_key, data[crl.signed.start : crl.signed.stop], crl.signature):
        raise InvalidCrlSignature("not signed by the CA that it names")
    if crl.this_update > now + clock_skew:
        raise CrlNotYetValid(crl.this_update)
    if crl.next_update < now - clock_skew:
        raise CrlExpired(crl.next_update)
    return issuer


def _find_issuer(crl: CertificateRevocationList, trust_store: TrustStore) -> TrustAnchor:
    """Return the CA by its key identifier: all generations share one name."""
    for anchor in trust_store.anchors:
        if (
            anchor.key_identifier == crl.issuer_key_identifier
            and anchor.certificate.subject == crl.issuer
            and anchor.certificate_type is CertificateType.USER_AUTHENTICATION
        ):
            return anchor
    raise CrlIssuerUnknown("not issued by any imported CA for user authentication")


def _read_extensions(extensions: x509.Extensions) -> tuple[int, bytes, str | None]:
    """Return the CRL number, the identifier of the issuer's key and the one distribution point covered."""
    if find_extension(extensions, x509.DeltaCRLIndicator) is not None:
        raise UnsupportedCrl("a delta CRL")
    for extension in extensions:
        if extension.critical and extension.oid not in KNOWN_EXTENSIONS:
            raise UnsupportedCrl(f"the critical extension {extension.oid.dotted_string} is not known")
    try:
        number = extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        identifier = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound as error:
        raise MalformedCrl("without a CRL number or an authority key identifier") from error
    if identifier is None:
        raise MalformedCrl("the authority key identifier holds no key identifier")
    point = find_extension(extensions, x509.IssuingDistributionPoint)
    return number, identifier, None if point is None else scope_of_crl(point)


# --- DER ------------------------------------------------------------------------------------------


class _Element(NamedTuple):
    """Where one DER element begins, where its content begins, and where it ends."""

    tag: int
    start: int
    content: int
    end: int


def _element(data: Buffer, start: int, limit: int, tag: int | None = None) -> _Element:
    """Return the element at *start*, which ends at *limit* at the latest; X.690, 8.1 and 10.1."""
    if start + 2 > limit:
        raise MalformedCrl("cut off")
    found, first = data[start], data[start + 1]
    if tag is not None and found != tag:
        raise MalformedCrl("not a CRL")
    content, length = start + 2, first
    if first >= 0x80:
        octets = first & 0x7F
        content += octets
        length = int.from_bytes(data[start + 2 : min(content, limit)], "big")
        if not 1 <= octets <= 8 or length < 0x80 or length >> (8 * (octets - 1)) == 0:
            raise MalformedCrl("not DER")
    if content + length > limit:
        raise MalformedCrl("cut off")
    return _Element(found, start, content, content + length)


def _children(data: Buffer, parent: _Element) -> Iterator[_Element]:
    position = parent.content
    while position < parent.end:
        child = _element(data, position, parent.end)
        yield child
        position = child.end


def _tlv(tag: int, content: bytes) -> bytes:
    """Return a DER element."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _find_revoked_certificates(parts: list[_Element]) -> _Element | None:
    """Return revokedCertificates, the one SEQUENCE that follows a time (RFC 5280, 5.1)."""
    for before, part in pairwise(parts):
        if before.tag in _TIMES and part.tag == _SEQUENCE:
            return part
    return None


# --- Entries --------------------------------------------------------------------------------------
#
# An entry of a CRL, with the octets that JPKI's have (RFC 5280, 5.1.2.6):
#
#   30 LL                  SEQUENCE
#      02 NN <NN octets>     userCertificate
#      17 0D YYMMDD hhmmssZ  revocationDate
#      <the rest>            crlEntryExtensions, where there are any
#
# Entries differ in their serial numbers and hardly in anything else. So each other piece is checked
# once and then found in a table of pieces seen before, which costs a tenth of parsing it. An entry
# that does not fit the picture goes through asn1crypto.

_STEP = 1 << 20
"""Bytes of entries between two reports of progress."""

_REMEMBERED = 1 << 16
"""Pieces of a kind that are kept; an invalidityDate could make every one different."""

_TIME_LENGTH = 15
"""Octets of a UTCTime with its header."""


class _OtherShape(Exception):
    """The entry does not fit the picture above; it is not wrong for that."""


class _Pieces(dict[bytes, int]):
    """Pieces of entries seen before, and what they say."""

    def __init__(self, read: Callable[[bytes], int]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, piece: bytes) -> int:
        value = self._read(piece)
        if len(self) < _REMEMBERED:
            self[piece] = value
        return value


def read_entries(data: Buffer, entries: range, progress: CrlProgress) -> Iterator[list[CrlEntry]]:
    """Yield the entries of a CRL in batches, in their order.

    *entries* is where they lie in *data*. Raises ``MalformedCrl``, and ``UnsupportedCrl`` for a critical
    entry extension that is not known or that makes the CRL an indirect one.
    """
    lengths, days = _Pieces(_read_lengths), _Pieces(_read_day)
    times, reasons = _Pieces(_read_time_of_day), _Pieces(_read_reason)
    position = entries.start
    while position < entries.stop:
        batch: list[CrlEntry] = []
        limit = min(position + _STEP, entries.stop)
        while position < limit:
            try:
                packed = lengths[data[position : position + 5]]
                end = position + (packed >> 8)
                at = position + 4 + (packed & 0xFF)
                batch.append(
                    (
                        data[position + 4 : at].rjust(MAXIMUM_SERIAL_OCTETS, b"\0"),
                        days[data[at : at + 8]] + times[data[at + 8 : at + 15]],
                        reasons[data[at + 15 : end]],
                    )
                )
                position = end
            except _OtherShape:
                element = _element(data, position, entries.stop, _SEQUENCE)
                batch.append(_read_unusual_entry(data[element.start : element.end]))
                position = element.end
        if position > entries.stop:
            raise MalformedCrl("the last entry is cut off")
        yield batch
        progress(position - entries.start, len(entries))


def _read_lengths(head: bytes) -> int:
    """Return the lengths of the entry and of its serial number, packed, from its first five octets."""
    if len(head) < 5 or (head[0], head[2]) != (_SEQUENCE, _INTEGER):
        raise _OtherShape
    length, serial_octets, sign = head[1], head[3], head[4] & 0x80
    if sign or not 1 <= serial_octets <= MAXIMUM_SERIAL_OCTETS:
        raise _OtherShape
    if length >= 0x80 or length < 2 + serial_octets + _TIME_LENGTH:
        raise _OtherShape
    return (length + 2) << 8 | serial_octets


def _read_day(piece: bytes) -> int:
    """Return the seconds from 1970 to the day in a UTCTime's header and first six digits."""
    if piece[:2] != b"\x17\x0d" or not piece[2:].isdigit():
        raise _OtherShape
    year, month, day = int(piece[2:4]), int(piece[4:6]), int(piece[6:8])
    # RFC 5280, 4.1.2.5.1
    century = 1900 if year >= 50 else 2000
    try:
        return timegm(datetime(century + year, month, day).timetuple())  # noqa: DTZ001  # only a day
    except ValueError:
        raise MalformedCrl("a date that does not exist") from None


def _read_time_of_day(piece: bytes) -> int:
    if len(piece) != 7 or not piece[:6].isdigit() or piece[6:] != b"Z":
        raise _OtherShape
    hours, minutes, seconds = int(piece[:2]), int(piece[2:4]), int(piece[4:6])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise MalformedCrl("a time of day that does not exist")
    return hours * 3600 + minutes * 60 + seconds


def _read_reason(extensions: bytes) -> int:
    """Return the reason code in an entry's extensions, 0 where it says none."""
    if not extensions:
        return 0
    try:
        parsed = asn1.CRLEntryExtensions.load(extensions, strict=True)
        return _reason_of(parsed)
    except (ValueError, TypeError) as error:
        raise MalformedCrl("an entry that is not one of RFC 5280") from error


def _read_unusual_entry(der: bytes) -> CrlEntry:
    try:
        entry = asn1.RevokedCertificate.load(der, strict=True)
        serial_number = entry["user_certificate"].native
        revoked_at = entry["revocation_date"].native
        extensions = entry["crl_entry_extensions"]
        reason = 0 if isinstance(extensions, core.Void) else _reason_of(extensions)
    except (ValueError, TypeError) as error:
        raise MalformedCrl("an entry that is not one of RFC 5280") from error
    if serial_number < 0 or serial_number.bit_length() > 8 * MAXIMUM_SERIAL_OCTETS:
        raise MalformedCrl("an entry with a serial number that cannot be")
    return serial_number.to_bytes(MAXIMUM_SERIAL_OCTETS, "big"), int(revoked_at.timestamp()), reason


def _reason_of(extensions: asn1.CRLEntryExtensions) -> int:
    reason = 0
    for extension in extensions:
        name = extension["extn_id"].native
        if name == "crl_reason":
            reason = int(extension["extn_value"].parsed)
            if reason not in REASON_NAMES:
                raise MalformedCrl("an entry with a reason that does not exist")
        elif name == "certificate_issuer":
            raise UnsupportedCrl("an indirect CRL")
        elif extension["critical"].native:
            raise UnsupportedCrl("an entry has a critical extension that is not known")
    return reason
