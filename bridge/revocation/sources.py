"""Whom a sweep asks: the CRLs in force, or a source that is asked about one link after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Protocol

from bridge.keys.ring import TAGGED_OCTETS
from jpki.certificate import SerialNumber
from jpki.circuit_breaker import CircuitBreaker
from jpki.crl_index import CrlDirectory, CrlIndex, RevokedCertificateEntry
from jpki.errors import CrlIndexDamaged
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason, unknown_answer
from jpki.trust import TrustAnchor


@dataclass(frozen=True)
class CompleteList:
    """All that is revoked of one CA, or of a part, and the answer for whatever of it is not on the list."""

    good: RevocationAnswer
    index: CrlIndex = field(repr=False)

    @cached_property
    def tagged(self) -> bytes:
        """The serial numbers on the list, as ``bridge.keys.ring.KeyRing.revocation_tags`` takes them."""
        return self.index.serial_numbers(TAGGED_OCTETS)

    def check(self, serial_number: SerialNumber) -> RevocationAnswer:
        """Return what the list says of one certificate."""
        entry = self.index.find(serial_number)
        return self.good if entry is None else _revoked(self.good, entry)


class SweepSource(Protocol):
    """Something that knows of many certificates by their serial numbers."""

    def find_list(self, issuer: TrustAnchor) -> CompleteList | None:
        """Return the list of all that is revoked, where the source has one of this CA."""

    def check_all(
        self, serial_numbers: Sequence[SerialNumber], issuer: TrustAnchor, now: datetime
    ) -> Iterator[RevocationAnswer]:
        """Yield what is known of each, in the same order; UNKNOWN where it is not."""


class CrlSweepSource:
    """The CRLs in force. All that one does not list share one answer."""

    name = "crl"

    def __init__(self, directory: CrlDirectory) -> None:
        self._directory = directory
        self._opened: dict[bytes, CompleteList] = {}

    def find_list(self, issuer: TrustAnchor) -> CompleteList | None:
        """See ``SweepSource``. It stays as it is, whatever is imported meanwhile."""
        opened = self._open(issuer)
        return None if opened.parts else opened.whole

    def check_all(
        self, serial_numbers: Sequence[SerialNumber], issuer: TrustAnchor, now: datetime
    ) -> Iterator[RevocationAnswer]:
        """See ``SweepSource``. One batch is held against the CRLs of one moment."""
        opened = self._open(issuer)
        unknown = unknown_answer(self.name, now, opened.why)
        return (opened.check(serial_number, unknown) for serial_number in serial_numbers)

    def _open(self, issuer: TrustAnchor) -> _OpenedCrls:
        try:
            index = self._directory.find_index(issuer.key_identifier)
            parts = self._directory.find_parts(issuer.key_identifier)
        except CrlIndexDamaged:
            return _OpenedCrls(None, (), UnknownReason.MALFORMED)
        except OSError:
            return _OpenedCrls(None, (), UnknownReason.UNREACHABLE)
        return _OpenedCrls(
            None if index is None else self._list(issuer, index), [_complete_list(part) for part in parts]
        )

    def _list(self, issuer: TrustAnchor, index: CrlIndex) -> CompleteList:
        """Return the same list for the same index: it keeps what it has worked out."""
        opened = self._opened.get(issuer.key_identifier)
        if opened is None or opened.index is not index:
            opened = self._opened[issuer.key_identifier] = _complete_list(index)
        return opened


@dataclass(frozen=True)
class _OpenedCrls:
    """The CRLs of one CA: the whole one, and those of one distribution point each.

    A link does not keep of which distribution point its certificate is. So a part tells who is revoked,
    since a CA gives a serial number once, and never who is good.
    """

    whole: CompleteList | None
    parts: Sequence[CompleteList]
    why: UnknownReason = UnknownReason.NO_SOURCE

    def check(self, serial_number: SerialNumber, unknown: RevocationAnswer) -> RevocationAnswer:
        for part in self.parts:
            answer = part.check(serial_number)
            if answer.status is RevocationStatus.REVOKED:
                return answer
        return unknown if self.whole is None else self.whole.check(serial_number)


def _complete_list(index: CrlIndex) -> CompleteList:
    head = index.head
    good = RevocationAnswer(RevocationStatus.GOOD, CrlSweepSource.name, head.this_update, head.next_update)
    return CompleteList(good, index)


def _revoked(good: RevocationAnswer, entry: RevokedCertificateEntry) -> RevocationAnswer:
    return replace(good, status=RevocationStatus.REVOKED, revoked_at=entry.revoked_at, reason=entry.reason)


class SerialNumberSource(Protocol):
    """A source that can be asked about a certificate that is not at hand."""

    def check_serial_number(
        self, serial_number: SerialNumber, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Return what the source says. It never raises."""


class PacedSource:
    """Asks a source about one certificate after the other, at most ``per_second`` of them.

    A source that does not answer is left alone for a while; what would be asked meanwhile is UNKNOWN.
    """

    name = "paced"

    def __init__(
        self,
        source: SerialNumberSource,
        per_second: float,
        breaker: CircuitBreaker,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._interval = 1 / per_second
        self._breaker = breaker
        self._pause = pause

    def find_list(self, issuer: TrustAnchor) -> CompleteList | None:
        """See ``SweepSource``: it can only be asked one by one."""
        return None

    def check_all(
        self, serial_numbers: Sequence[SerialNumber], issuer: TrustAnchor, now: datetime
    ) -> Iterator[RevocationAnswer]:
        """See ``SweepSource``."""
        for serial_number in serial_numbers:
            self._pause(self._interval)
            yield self._check(serial_number, issuer, now)

    def _check(self, serial_number: SerialNumber, issuer: TrustAnchor, now: datetime) -> RevocationAnswer:
        if not self._breaker.may_ask(now):
            return unknown_answer(self.name, now, UnknownReason.UNREACHABLE)
        answer = self._source.check_serial_number(serial_number, issuer, now)
        if answer.why is UnknownReason.UNREACHABLE:
            self._breaker.failed(now)
        else:
            self._breaker.succeeded()
        return answer
