"""Certificate revocation lists for a ``CardPki``: made by ``openssl ca``, or by program where openssl cannot.

openssl makes what a CA would. The program makes lists of a million entries, and lists that are wrong.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from jpki.simulator.pki import Authority

_OPENSSL_SETTINGS = """\
[ca]
default_ca = cards
[cards]
database = {directory}/index.txt
crlnumber = {number_file}
default_md = sha256
crl_extensions = extensions
[extensions]
authorityKeyIdentifier = keyid:always
"""

_SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
_CRL_REASON = bytes.fromhex("300c300a0603551d1504030a01")  # and the code
_VERSION_2 = bytes.fromhex("020101")
_SEQUENCE, _INTEGER, _BIT_STRING, _OCTET_STRING, _UTC_TIME, _EXTENSIONS = 0x30, 2, 3, 4, 0x17, 0xA0


class OpensslUnavailable(Exception):
    """The program openssl is not installed."""


def write_openssl_crl(
    directory: Path,
    file: Path,
    authority: Authority,
    *,
    number: int,
    validity: timedelta = timedelta(days=1),
) -> None:
    """Let ``openssl ca`` write *authority*'s CRL as PEM into *file*, issued at this moment.

    *directory* is one that ``CardPki.write`` filled; every card that its index calls revoked is listed.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        raise OpensslUnavailable("the program openssl is not installed")
    with tempfile.TemporaryDirectory() as folder:
        number_file, settings = Path(folder) / "number", Path(folder) / "openssl.cnf"
        digits = f"{number:X}"
        number_file.write_text(digits.zfill(len(digits) + len(digits) % 2) + "\n", "ascii")
        settings.write_text(_OPENSSL_SETTINGS.format(directory=directory, number_file=number_file), "utf-8")
        subprocess.run(
            [
                openssl,
                *("ca", "-gencrl", "-config", str(settings)),
                *("-cert", str(directory / f"{authority.value}.pem")),
                *("-keyfile", str(directory / f"{authority.value}.key")),
                *("-crlsec", str(int(validity.total_seconds()))),
                *("-out", str(file)),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )


@dataclass(frozen=True)
class RevokedCard:
    """One entry of a CRL made by program; *reason* is the code of RFC 5280, 5.3.1."""

    serial_number: int
    revoked_at: datetime
    reason: int = 4


def make_crl(
    issuer: x509.Certificate,
    key: rsa.RSAPrivateKey,
    cards: Iterable[RevokedCard],
    *,
    number: int | None,
    this_update: datetime,
    next_update: datetime | None,
    extensions: Sequence[x509.Extension[x509.ExtensionType]] = (),
    entry: bytes = b"",
) -> bytes:
    """Return the DER of *issuer*'s CRL, signed once with *key*; a million cards take some seconds.

    *number* None leaves out the CRL number, *next_update* None the time of the next one. *extensions* and
    the DER *entry* come on top of what a CRL has. What is asked for is made, sense or nonsense.
    """
    entries = b"".join(map(_entry, cards)) + entry
    key_identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_identifier)
    all_extensions = [x509.Extension(identifier.oid, critical=False, value=identifier), *extensions]
    if number is not None:
        value = x509.CRLNumber(number)
        all_extensions.append(x509.Extension(value.oid, critical=False, value=value))
    tbs = _tlv(
        _SEQUENCE,
        _VERSION_2
        + _SHA256_WITH_RSA
        + issuer.subject.public_bytes()
        + _time(this_update)
        + (_time(next_update) if next_update else b"")
        + (_tlv(_SEQUENCE, entries) if entries else b"")
        + _tlv(_EXTENSIONS, _tlv(_SEQUENCE, b"".join(map(_extension, all_extensions)))),
    )
    signature = key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    return _tlv(_SEQUENCE, tbs + _SHA256_WITH_RSA + _tlv(_BIT_STRING, b"\0" + signature))


def _entry(card: RevokedCard) -> bytes:
    serial = card.serial_number.to_bytes(card.serial_number.bit_length() // 8 + 1, "big")
    reason = _CRL_REASON + bytes((card.reason,))
    return _tlv(_SEQUENCE, _tlv(_INTEGER, serial) + _time(card.revoked_at) + reason)


def _extension(extension: x509.Extension[x509.ExtensionType]) -> bytes:
    critical = bytes.fromhex("0101ff") if extension.critical else b""
    return _tlv(
        _SEQUENCE,
        core.ObjectIdentifier(extension.oid.dotted_string).dump()
        + critical
        + _tlv(_OCTET_STRING, extension.value.public_bytes()),
    )


def _time(moment: datetime) -> bytes:
    return _tlv(_UTC_TIME, f"{moment.astimezone(UTC):%y%m%d%H%M%SZ}".encode())


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content
