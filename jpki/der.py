"""Length of a DER object from its first bytes (X.690, 8.1.3 and 10.1). Pure.

For reading a certificate out of a file that is longer than the certificate. What is inside the
object is not looked at.
"""

from __future__ import annotations

from jpki.errors import MalformedCardData

SEQUENCE = 0x30
HEAD_LENGTH = 4
"""Bytes that suffice to know the length of any object up to 65,539 bytes."""


def total_length(head: bytes) -> int:
    """Return the length in bytes, header included, of the SEQUENCE that begins with *head*.

    Raises ``MalformedCardData`` where *head* is not the head of a DER SEQUENCE, is too short to
    tell, or where the length takes more than two bytes.
    """
    if len(head) < 2 or head[0] != SEQUENCE:
        raise MalformedCardData("no DER SEQUENCE")
    first = head[1]
    if first < 0x80:
        return 2 + first
    octets = first & 0x7F
    if octets not in (1, 2) or len(head) < 2 + octets:
        raise MalformedCardData("a DER length that does not fit a certificate on a card")
    length = int.from_bytes(head[2 : 2 + octets], "big")
    shortest = 0x80 if octets == 1 else 0x100
    if length < shortest:
        raise MalformedCardData("a DER length that is not in its shortest form")
    return 2 + octets + length
