"""The CRL in force, as a file for each issuer key in which a serial number is found at once. Edge.

A file is a line of JSON, the CRL's head, and the entries as records of equal length in the order of
their serial numbers. Every process maps it and searches it by halving, so all share one copy in memory
and opening it reads one line. A file is never changed: an import writes a new one and puts it in the
place of the old one, whose readers keep what they have until they ask again. What an import that was
killed left behind is removed by the next.

Why no database: SQLite takes twice as long to insert a million rows, and has nothing to offer to a
file that is written once.
"""

from __future__ import annotations

import binascii
import fcntl
import hashlib
import json
import mmap
import os
import tempfile
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from jpki.certificate import MAXIMUM_SERIAL_OCTETS, SerialNumber, UserAuthenticationCertificate
from jpki.crl import (
    REASON_NAMES,
    Buffer,
    CertificateRevocationList,
    CrlProgress,
    parse_crl,
    read_entries,
    verify_crl,
)
from jpki.crl_scope import distribution_points_of
from jpki.errors import CrlIndexDamaged, CrlOlderThanInForce, CrlTooLarge, MalformedCrl, UnsupportedCrl
from jpki.trust import TrustStore

MAXIMUM_CRL_SIZE = 256 * 1024 * 1024
"""Bytes. A million entries take 37 million."""

FORMAT = "koha-jpki crl index 1"

_RECORD = Struct(">20sqB")
"""Serial number; seconds since 1970; reason code of RFC 5280."""

_HEAD_SIZE = 4096
_WRITTEN_AT_ONCE = 10_000
_SUFFIX = ".crl-index"
_DRAFT = ".import-"
_LOCK = ".lock"

_PEM_BEGIN, _PEM_END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
_PEM_LINE = 1024


@dataclass(frozen=True)
class CrlHead:
    """What an index knows of its CRL. ``digest`` is the SHA-256 of the CRL's signature, in hex.

    ``distribution_point`` is the one that the CRL covers, None where it covers all certificates of users.
    """

    issuer_key_identifier: bytes
    number: int
    this_update: datetime
    next_update: datetime
    entry_count: int
    digest: str
    imported_at: datetime
    distribution_point: str | None = None


@dataclass(frozen=True)
class RevokedCertificateEntry:
    """One entry of a CRL; *reason* is the name of RFC 5280, 5.3.1."""

    serial_number: SerialNumber
    revoked_at: datetime
    reason: str


class CrlIndex:
    """One index file, opened. It stays as it is, whatever is imported after it."""

    def __init__(self, path: Path) -> None:
        """Open the file at *path*. Raises ``FileNotFoundError`` and ``CrlIndexDamaged``."""
        self._path = os.fspath(path)
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            self._identity = _identity(status)
            self.head, self._start = _read_head(file, path)
            if status.st_size != self._start + self.head.entry_count * _RECORD.size:
                raise CrlIndexDamaged(path)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._serial_numbers = _SerialNumbers(self._map, self._start, self.head.entry_count)

    def is_in_force(self) -> bool:
        """Whether no other file has taken this one's place. Raises ``FileNotFoundError``."""
        return _identity(os.stat(self._path)) == self._identity  # on the way of each look-up

    def find(self, serial_number: SerialNumber) -> RevokedCertificateEntry | None:
        """Return the entry of *serial_number*; None where the CRL does not list it."""
        wanted = serial_number.value.to_bytes(MAXIMUM_SERIAL_OCTETS, "big")
        position = bisect_left(self._serial_numbers, wanted)
        if position == len(self) or self._serial_numbers[position] != wanted:
            return None
        return self._record(self._start + position * _RECORD.size)

    def __len__(self) -> int:
        return self.head.entry_count

    def __iter__(self) -> Iterator[RevokedCertificateEntry]:
        """Yield all entries in the order of their serial numbers."""
        return map(self._record, range(self._start, len(self._map), _RECORD.size))

    def serial_numbers(self, octets: int = MAXIMUM_SERIAL_OCTETS) -> bytes:
        """Return the serial numbers alone, ascending, of each the last *octets* big-endian, in one string."""
        column = Struct(f"{MAXIMUM_SERIAL_OCTETS - octets}x{octets}s{_RECORD.size - MAXIMUM_SERIAL_OCTETS}x")
        with memoryview(self._map) as records:
            return b"".join(chain.from_iterable(column.iter_unpack(records[self._start :])))

    def _record(self, at: int) -> RevokedCertificateEntry:
        serial, seconds, reason = _RECORD.unpack_from(self._map, at)
        return RevokedCertificateEntry(
            SerialNumber(int.from_bytes(serial, "big")),
            datetime.fromtimestamp(seconds, UTC),
            REASON_NAMES[reason],
        )


class _SerialNumbers:
    """The serial numbers of an index, as ``bisect`` wants them."""

    def __init__(self, records: mmap.mmap, start: int, count: int) -> None:
        self._records = records
        self._start = start
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> bytes:
        at = self._start + position * _RECORD.size
        return self._records[at : at + MAXIMUM_SERIAL_OCTETS]


def no_progress(done: int, total: int) -> None:
    """Show nobody how far an import is."""


class CrlDirectory:
    """The indexes in force, one for each issuer key; safe for threads and processes.

    A CA that cuts its CRL into parts has one more for each of *distribution_points*: CRLs of those
    points, and of no others, may be imported. They are written as ``jpki.crl_scope`` writes them.
    """

    def __init__(self, directory: Path, distribution_points: Collection[str] = ()) -> None:
        self._directory = directory
        self._distribution_points = tuple(distribution_points)
        self._opened: dict[tuple[bytes, str | None], CrlIndex] = {}

    def find_index(
        self, issuer_key_identifier: bytes, distribution_point: str | None = None
    ) -> CrlIndex | None:
        """Return the index in force at this moment; None where no such CRL of this key was imported.

        Without *distribution_point* it is that of the whole CRL. Raises ``CrlIndexDamaged``.
        """
        place = issuer_key_identifier, distribution_point
        opened = self._opened.get(place)
        try:
            if opened is None or not opened.is_in_force():
                opened = self._opened[place] = CrlIndex(self._path(*place))
        except FileNotFoundError:
            return None
        return opened

    def find_covering(self, certificate: UserAuthenticationCertificate) -> Sequence[CrlIndex]:
        """Return the indexes in force that speak for *certificate*: the whole CRL's, and its parts'.

        Raises ``CrlIndexDamaged``.
        """
        points: Collection[str] = ()
        if self._distribution_points:
            points = distribution_points_of(certificate.x509).intersection(self._distribution_points)
        found = (self.find_index(certificate.issuer_key_identifier, point) for point in (None, *points))
        return [index for index in found if index is not None]

    def find_parts(self, issuer_key_identifier: bytes) -> Sequence[CrlIndex]:
        """Return the indexes in force of one distribution point each. Raises ``CrlIndexDamaged``."""
        found = (self.find_index(issuer_key_identifier, point) for point in self._distribution_points)
        return [index for index in found if index is not None]

    def heads(self) -> list[CrlHead]:
        """Return the heads of all CRLs in force. Raises ``CrlIndexDamaged``."""
        return [CrlIndex(path).head for path in sorted(self._directory.glob(f"*{_SUFFIX}"))]

    def import_crl(
        self, file: Path, trust_store: TrustStore, now: datetime, progress: CrlProgress = no_progress
    ) -> CrlHead:
        """Put the CRL in *file* (DER or PEM) in force, and return its head.

        The CRL that is in force already may be imported again. Whatever is raised, the index in force
        stays in force: ``CrlTooLarge``, what ``parse_crl``, ``verify_crl`` and ``read_entries`` raise,
        ``UnsupportedCrl`` for a distribution point that is not accepted, ``CrlOlderThanInForce``, and
        ``OSError`` for a file that cannot be read or a full disk.
        """
        with _mapped_der(file) as data:
            crl = parse_crl(data)
            issuer = verify_crl(crl, data, trust_store, now)
            point = crl.distribution_point
            if point is not None and point not in self._distribution_points:
                raise UnsupportedCrl(f"of one distribution point alone that is not accepted: {point}")
            with self._import_lock():
                in_force = self._find_head_in_force(issuer.key_identifier, point)
                if in_force is not None and _is_in_force(crl, in_force):
                    return in_force
                records = _sorted_records(data, crl, progress)
                head = CrlHead(
                    issuer_key_identifier=issuer.key_identifier,
                    number=crl.number,
                    this_update=crl.this_update,
                    next_update=crl.next_update,
                    entry_count=len(records),
                    digest=_digest(crl),
                    imported_at=now,
                    distribution_point=point,
                )
                self._put_in_force(head, records)
                return head

    @contextmanager
    def _import_lock(self) -> Iterator[None]:
        """Let one process at a time import, and remove what a killed one left behind."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left_behind in self._directory.glob(f"{_DRAFT}*"):
                left_behind.unlink()
            yield

    def _find_head_in_force(
        self, issuer_key_identifier: bytes, distribution_point: str | None
    ) -> CrlHead | None:
        try:
            return CrlIndex(self._path(issuer_key_identifier, distribution_point)).head
        except (FileNotFoundError, CrlIndexDamaged):
            return None  # a damaged index is healed by importing again

    def _put_in_force(self, head: CrlHead, records: list[bytes]) -> None:
        descriptor, draft = tempfile.mkstemp(dir=self._directory, prefix=_DRAFT)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_head_line(head))
                for start in range(0, len(records), _WRITTEN_AT_ONCE):
                    file.write(b"".join(records[start : start + _WRITTEN_AT_ONCE]))
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
            Path(draft).replace(self._path(head.issuer_key_identifier, head.distribution_point))
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        _sync_directory(self._directory)

    def _path(self, issuer_key_identifier: bytes, distribution_point: str | None) -> Path:
        name = issuer_key_identifier.hex()
        if distribution_point is not None:
            name += f"-{hashlib.sha256(distribution_point.encode()).hexdigest()}"
        return self._directory / f"{name}{_SUFFIX}"


@contextmanager
def _mapped_der(path: Path) -> Iterator[Buffer]:
    """Map the CRL in a DER or PEM file, unless it is too large."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAXIMUM_CRL_SIZE:
            raise CrlTooLarge(MAXIMUM_CRL_SIZE)
        if file.read(len(_PEM_BEGIN)) != _PEM_BEGIN:
            with _mapped(file) as data:
                yield data
            return
        with tempfile.TemporaryFile() as der:
            _decode_pem(file, der)
            with _mapped(der) as data:
                yield data


@contextmanager
def _mapped(file: BinaryIO) -> Iterator[Buffer]:
    if os.fstat(file.fileno()).st_size == 0:
        raise MalformedCrl("empty")  # and cannot be mapped
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _decode_pem(pem: BinaryIO, der: BinaryIO) -> None:
    """Decode one PEM block (RFC 7468), whose first characters have been read, line by line."""
    if pem.readline(_PEM_LINE).strip() != b"":
        raise MalformedCrl("not a PEM CRL")
    while (line := pem.readline(_PEM_LINE).strip()) != _PEM_END:
        if not line:
            raise MalformedCrl("cut off")
        try:
            der.write(binascii.a2b_base64(line, strict_mode=True))
        except binascii.Error as error:
            raise MalformedCrl("not a PEM CRL") from error
    if pem.readline(_PEM_LINE).strip() or pem.read(1):
        raise MalformedCrl("bytes after the CRL")
    der.flush()


def _is_in_force(crl: CertificateRevocationList, in_force: CrlHead) -> bool:
    """Whether *crl* is the one in force; raises ``CrlOlderThanInForce`` unless it is that or newer."""
    if crl.number == in_force.number and _digest(crl) == in_force.digest:
        return True
    if crl.number <= in_force.number:
        raise CrlOlderThanInForce(crl.number, in_force.number)
    return False


def _digest(crl: CertificateRevocationList) -> str:
    return hashlib.sha256(crl.signature).hexdigest()


def _sorted_records(data: Buffer, crl: CertificateRevocationList, progress: CrlProgress) -> list[bytes]:
    records: list[bytes] = []
    for batch in read_entries(data, crl.entries, progress):
        records += [_RECORD.pack(*entry) for entry in batch]
    records.sort()
    return records


def _head_line(head: CrlHead) -> bytes:
    values = {
        "format": FORMAT,
        "issuer_key_identifier": head.issuer_key_identifier.hex(),
        "number": head.number,
        "this_update": head.this_update.isoformat(),
        "next_update": head.next_update.isoformat(),
        "entry_count": head.entry_count,
        "digest": head.digest,
        "imported_at": head.imported_at.isoformat(),
        "distribution_point": head.distribution_point,
    }
    return json.dumps(values).encode() + b"\n"


def _read_head(file: BinaryIO, path: Path) -> tuple[CrlHead, int]:
    """Return the head and where the records begin."""
    line = file.readline(_HEAD_SIZE)
    try:
        values = json.loads(line)
        if values.pop("format") != FORMAT:
            raise CrlIndexDamaged(path)
        head = CrlHead(
            issuer_key_identifier=bytes.fromhex(values["issuer_key_identifier"]),
            number=int(values["number"]),
            this_update=datetime.fromisoformat(values["this_update"]),
            next_update=datetime.fromisoformat(values["next_update"]),
            entry_count=int(values["entry_count"]),
            digest=values["digest"],
            imported_at=datetime.fromisoformat(values["imported_at"]),
            distribution_point=values.get("distribution_point"),  # an index of before has none
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CrlIndexDamaged(path) from error
    return head, len(line)


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Return what tells a new file from the one that it replaced."""
    return status.st_ino, status.st_mtime_ns


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
