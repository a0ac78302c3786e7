"""The CRL of a nation: importing a million entries, finding one, opening the index."""

from __future__ import annotations

import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from bench import revocation_sweep
from bench.crl_iteration import count_entries
from bench.figure import Figure
from jpki.certificate import SerialNumber
from jpki.crl_index import CrlDirectory, CrlIndex
from jpki.simulator.crl import RevokedCard, make_crl
from jpki.simulator.pki import FIRST_SERIAL_NUMBER, Authority, CardPki
from jpki.trust import TrustStore, import_anchor

ENTRIES = 1_000_000
ISSUED = 30_000_000
"""Certificates among which the revoked ones are; a CRL lists them in the order of their revocation."""

LOOK_UPS = 100_000
ROUNDS = 3


def measure() -> Iterator[Figure]:
    """Yield the figures of issue "revocation"."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        serial_numbers = _prepare(folder)
        peers, imports, peaks = [], [], []
        for _ in range(ROUNDS):  # by turns, each in a process of its own, so that both see the same machine
            peers.append(_run("peer", folder)["seconds"])
            result = _run("import", folder)
            imports.append(result["seconds"])
            peaks.append(result["peak_mb"])
        import_seconds = min(imports)  # what others do on the machine only adds
        ratio = import_seconds / min(peers)
        yield Figure("revocation.crl_import_ratio", ratio, "ratio", 2, "lower")
        yield Figure("revocation.crl_import_peak_mb", max(peaks), "MB", 300, "lower")
        ratio = _look_up_ratio(folder, serial_numbers)
        yield Figure("revocation.lookup_vs_sqlite_select", ratio, "ratio", 2, "lower")
        opening = statistics.median(_run("open", folder)["seconds"] for _ in range(ROUNDS))
        yield from revocation_sweep.measure(
            folder, serial_numbers, range(FIRST_SERIAL_NUMBER, FIRST_SERIAL_NUMBER + ISSUED)
        )
        yield Figure("revocation.index_open_ratio", opening / import_seconds, "ratio", 0.02, "lower")


def _prepare(folder: Path) -> list[int]:
    """Write a CRL of a million entries and its CA; return the serial numbers in it."""
    now = datetime.now(UTC).replace(microsecond=0)
    pki = CardPki.create(now)
    authority = x509.load_der_x509_certificate(pki.ca_certificate(Authority.AUTHENTICATION_2))
    serial_numbers = random.Random(4).sample(
        range(FIRST_SERIAL_NUMBER, FIRST_SERIAL_NUMBER + ISSUED), ENTRIES
    )
    cards = (
        RevokedCard(number, now - timedelta(minutes=ENTRIES - position), reason=(1, 3, 4, 5, 6)[position % 5])
        for position, number in enumerate(serial_numbers)
    )
    crl = make_crl(
        authority,
        pki.keys.authorities[Authority.AUTHENTICATION_2],
        cards,
        number=7,
        this_update=now,
        next_update=now + timedelta(days=1),
    )
    (folder / "big.crl").write_bytes(crl)
    (folder / "ca.der").write_bytes(authority.public_bytes(Encoding.DER))
    return serial_numbers


def _run(part: str, folder: Path) -> dict[str, float]:
    """Run one part of this module in a process of its own."""
    finished = subprocess.run(
        [sys.executable, "-m", "bench.revocation", part, str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, peak_mb = finished.stdout.split()
    return {"seconds": float(seconds), "peak_mb": float(peak_mb)}


def _peer(folder: Path) -> float:
    """cryptography alone: load, check the signature, look at each entry once."""
    key = x509.load_der_x509_certificate((folder / "ca.der").read_bytes()).public_key()
    begun = time.perf_counter()
    crl = x509.load_der_x509_crl((folder / "big.crl").read_bytes())
    if not crl.is_signature_valid(key):
        raise ValueError("the bench's own CRL is not signed")
    if count_entries(crl) != ENTRIES:
        raise ValueError("entries are missing")
    return time.perf_counter() - begun


def _import(folder: Path) -> float:
    authority = (folder / "ca.der").read_bytes()
    fingerprint = x509.load_der_x509_certificate(authority).fingerprint(SHA256()).hex()
    trust_store = TrustStore([import_anchor(authority, {fingerprint}, allow_test=True)])
    for index in (folder / "crl").glob("*.crl-index"):
        index.unlink()
    begun = time.perf_counter()
    head = CrlDirectory(folder / "crl").import_crl(folder / "big.crl", trust_store, datetime.now(UTC))
    seconds = time.perf_counter() - begun
    if head.entry_count != ENTRIES:
        raise ValueError("entries are missing")
    return seconds


def _open(folder: Path) -> float:
    (path,) = (folder / "crl").glob("*.crl-index")
    begun = time.perf_counter()
    index = CrlIndex(path)
    index.find(SerialNumber(FIRST_SERIAL_NUMBER))
    return time.perf_counter() - begun


def _look_up_ratio(folder: Path, serial_numbers: list[int]) -> float:
    """A look-up in this process, which did not import, against a select by primary key in SQLite."""
    database = folder / "peer.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE revoked (serial_number INTEGER PRIMARY KEY, revoked_at INTEGER)")
        connection.executemany("INSERT INTO revoked VALUES (?, 0)", ((number,) for number in serial_numbers))
    connection.close()
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    # As in life, most cards that are looked up are not revoked.
    draw = random.Random(5)
    asked = draw.sample(serial_numbers, LOOK_UPS // 10)
    asked += [draw.randrange(FIRST_SERIAL_NUMBER, FIRST_SERIAL_NUMBER + ISSUED) for _ in range(LOOK_UPS)]
    draw.shuffle(asked)
    wanted = [SerialNumber(number) for number in asked]
    directory = CrlDirectory(folder / "crl")
    (key_identifier,) = (head.issuer_key_identifier for head in directory.heads())

    def ours() -> int:
        found = 0
        for serial_number in wanted:
            index = directory.find_index(key_identifier)
            found += index is not None and index.find(serial_number) is not None
        return found

    def theirs() -> int:
        select = "SELECT revoked_at FROM revoked WHERE serial_number = ?"
        return sum(connection.execute(select, (number,)).fetchone() is not None for number in asked)

    if ours() != theirs():
        raise ValueError("the two do not agree")
    ratios = [_seconds(ours) / _seconds(theirs) for _ in range(ROUNDS)]
    connection.close()
    return statistics.median(ratios)


def _peak_mb() -> float:
    """Return this process's peak of resident memory; ``ru_maxrss`` would count the parent's as well."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


_PARTS = {"peer": _peer, "import": _import, "open": _open}

if __name__ == "__main__":
    taken = _PARTS[sys.argv[1]](Path(sys.argv[2]))
    print(taken, _peak_mb())
