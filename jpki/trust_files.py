"""The directory of imported CA certificates. Edge.

A file in it is worth nothing by itself: each load compares its fingerprint with the pinned ones
again, so that neither a file put there by another hand nor a pin taken back goes unnoticed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from jpki.errors import CertificateError, TrustError, TrustFileRefused
from jpki.trust import TrustAnchor, TrustStore, import_anchor

SUFFIXES = frozenset({".pem", ".cer", ".crt", ".der"})


def load_directory(
    directory: Path, pinned_fingerprints: Collection[str], *, allow_test: bool = False
) -> TrustStore:
    """Return the anchors in the certificate files of *directory*.

    One file that is not accepted refuses the whole directory: with ``TrustFileRefused``, which names
    it. A directory that does not exist, or a file that cannot be read, is an ``OSError``.
    """
    anchors = []
    for path in sorted(directory.iterdir()):
        if path.suffix not in SUFFIXES:
            continue
        try:
            anchors.append(import_anchor(path.read_bytes(), pinned_fingerprints, allow_test=allow_test))
        except (CertificateError, TrustError) as error:
            raise TrustFileRefused(path, error) from error
    return TrustStore(anchors)


def write_anchor(directory: Path, anchor: TrustAnchor) -> Path:
    """Write *anchor* as PEM into *directory*, making it if need be, and return the file's path.

    The name comes from kind and fingerprint, so importing twice leaves one file. The file appears
    whole or not at all.
    """
    directory.mkdir(parents=True, exist_ok=True)
    kind = anchor.certificate_type.name.lower().replace("_", "-")
    path = directory / f"{kind}-{anchor.fingerprint[:16].lower()}.pem"
    descriptor, draft = tempfile.mkstemp(dir=directory, prefix=".import-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(anchor.certificate.public_bytes(Encoding.PEM))
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return path
