"""The sweep of a million links against the CRL of a million entries."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from zoneinfo import ZoneInfo

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import insert, update

from bench.crl_iteration import count_entries
from bench.figure import Figure
from bridge.environment import Environment, Library
from bridge.keys.ring import TAGGED_OCTETS, KeyRing, KeyUse, MasterKey
from bridge.links.serial_record import write_serial_record
from bridge.models import Actor, ActorKind, IdentifierKind, LinkState
from bridge.revocation.sources import CrlSweepSource
from bridge.revocation.sweep import RevocationSweep
from bridge.rules import RevocationRule
from bridge.store import CardLinkRow, SqlStore, open_engine, upgrade
from jpki.certificate import SerialNumber
from jpki.crl_index import CrlDirectory
from jpki.trust import TrustStore, import_anchor

LINKS = 1_000_000
REVOKED = 1_000
"""Of a million links; the sweep of every night finds far fewer."""

LIBRARY_ID = "central"
KEY_ID = "bench"
ROWS_AT_ONCE = 10_000
ROUNDS = 3


def measure(folder: Path, serial_numbers: list[int], issued: range) -> Iterator[Figure]:
    """Yield the figures of the sweep.

    *folder* holds ``ca.der``, ``big.crl`` and its index in ``crl``, as ``bench.revocation`` leaves them.
    The peer is one iteration over the CRL with cryptography, as in the peer of the import. What others do
    on the machine only adds, so the best of a few rounds counts on either side.
    """
    _make_links(folder, serial_numbers, issued)
    iterations, sweeps, peaks = [], [], []
    for _ in range(ROUNDS):
        iterations.append(_run("iterate", folder)[0])
        seconds, peak_mb = _run("sweep", folder)
        _undo(folder)
        sweeps.append(seconds)
        peaks.append(peak_mb)
    yield Figure("revocation.sweep_ratio", min(sweeps) / min(iterations), "ratio", 10, "lower")
    yield Figure("revocation.sweep_peak_mb", max(peaks), "MB", 500, "lower")


def _run(part: str, folder: Path) -> tuple[float, float]:
    """Run one part of this module in a process of its own; return its seconds and its peak in MB."""
    finished = subprocess.run(
        [sys.executable, "-m", "bench.revocation_sweep", part, str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, peak_mb = finished.stdout.split()
    return float(seconds), float(peak_mb)


def _iterate(folder: Path) -> float:
    crl = x509.load_der_x509_crl((folder / "big.crl").read_bytes())
    begun = time.perf_counter()
    count_entries(crl)
    return time.perf_counter() - begun


def _sweep(folder: Path) -> float:
    environment = _environment(folder)
    authority = (folder / "ca.der").read_bytes()
    fingerprint = x509.load_der_x509_certificate(authority).fingerprint(SHA256()).hex()
    sweep = RevocationSweep(
        environment,
        TrustStore([import_anchor(authority, {fingerprint}, allow_test=True)]),
        [CrlSweepSource(CrlDirectory(folder / "crl"))],
        {LIBRARY_ID: RevocationRule()},
        Actor(ActorKind.COMMAND, "bench"),
    )
    begun = time.perf_counter()
    *_, last = sweep.run()
    seconds = time.perf_counter() - begun
    if (last.state.checked, last.state.suspended, last.state.unknown) != (LINKS, REVOKED, 0):
        raise ValueError(f"the sweep found {last.state}")
    return seconds


def _make_links(folder: Path, serial_numbers: list[int], issued: range) -> None:
    """Fill a database as a bridge would, but for what a sweep does not read."""
    environment = _environment(folder)
    (issuer,) = (head.issuer_key_identifier for head in CrlDirectory(folder / "crl").heads())
    draw = random.Random(6)
    revoked = set(serial_numbers)
    good = [number for number in draw.sample(issued, 2 * LINKS) if number not in revoked]
    linked = draw.sample(serial_numbers, REVOKED) + good[: LINKS - REVOKED]
    draw.shuffle(linked)
    now = datetime.now(UTC)
    with open_engine(_url(folder)).begin() as connection:
        for start in range(0, LINKS, ROWS_AT_ONCE):
            rows = []
            numbers = linked[start : start + ROWS_AT_ONCE]
            octets = b"".join(number.to_bytes(TAGGED_OCTETS, "big") for number in numbers)
            tags = environment.keys.revocation_tags(LIBRARY_ID, KEY_ID, octets)
            for number, tag in zip(numbers, tags, strict=True):
                link_id = environment.new_id()
                record = write_serial_record(issuer, SerialNumber(number))
                serial = environment.keys.encrypt(KeyUse.SERIAL_ENCRYPTION, LIBRARY_ID, link_id, record)
                linked_at = now - timedelta(seconds=LINKS - start - len(rows))
                rows.append(
                    {
                        "link_id": link_id,
                        "library_id": LIBRARY_ID,
                        "patron_id": number,
                        "kind": IdentifierKind.SERIAL_NUMBER,
                        "key_id": serial.key_id,
                        "digest": sha256(link_id.encode()).hexdigest(),
                        "serial_key_id": serial.key_id,
                        "serial_nonce": serial.nonce,
                        "serial_ciphertext": serial.ciphertext,
                        "issuer_key_identifier": issuer,
                        "revocation_tag": tag,
                        "tagged_at": linked_at,
                        "state": LinkState.ACTIVE,
                        "not_after": now + timedelta(days=1000),
                        "linked_at": linked_at,
                        "linked_by": "bench",
                    }
                )
            connection.execute(insert(CardLinkRow), rows)


def _undo(folder: Path) -> None:
    """Make the links that a sweep suspended active again."""
    with open_engine(_url(folder)).begin() as connection:
        connection.execute(
            update(CardLinkRow)
            .where(CardLinkRow.state == LinkState.SUSPENDED)
            .values(state=LinkState.ACTIVE, suspended_at=None, suspended_reason=None)
        )


def _url(folder: Path) -> str:
    return f"sqlite:///{folder}/links.sqlite3"


def _environment(folder: Path) -> Environment:
    engine = open_engine(_url(folder))
    upgrade(engine)
    library = Library(LIBRARY_ID, LIBRARY_ID, ZoneInfo("Asia/Tokyo"), _NoPatrons())
    return Environment(
        SqlStore(engine),
        KeyRing([MasterKey(KEY_ID, bytes(32))], os.urandom),
        {LIBRARY_ID: library},
        lambda: datetime.now(UTC),
        os.urandom,
    )


class _NoPatrons:
    """A library system that nobody asks: the sweep knows no patrons."""

    def find_by_cardnumber(self, cardnumber: str) -> None:
        raise NotImplementedError

    def get(self, patron_id: int) -> None:
        raise NotImplementedError


def _peak_mb() -> float:
    """Return this process's peak of resident memory; ``ru_maxrss`` would count the parent's as well."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


_PARTS = {"iterate": _iterate, "sweep": _sweep}

if __name__ == "__main__":
    taken = _PARTS[sys.argv[1]](Path(sys.argv[2]))
    print(taken, _peak_mb())
