"""What is encrypted with a link: all that a digest under a new key, and a sweep, need. Pure.

One byte with the length of the issuer key identifier, the identifier, the serial number big-endian.
"""

from __future__ import annotations

from jpki.certificate import SerialNumber


def write_serial_record(issuer_key_identifier: bytes, serial_number: SerialNumber) -> bytes:
    """Return the bytes to encrypt."""
    return len(issuer_key_identifier).to_bytes(1, "big") + issuer_key_identifier + serial_number.to_bytes()


def read_serial_record(record: bytes) -> tuple[bytes, SerialNumber]:
    """Return issuer key identifier and serial number. Raises ``MalformedCertificate``."""
    end = 1 + record[0] if record else 1
    return record[1:end], SerialNumber(int.from_bytes(record[end:], "big"))
