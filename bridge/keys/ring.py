"""The master key, and everything that is made with it.

The key file is kept outside the database, readable by the service alone. Each line is
``<key_id> <base64 of 32 bytes>``; the first key is the current one, the others are kept so that what
was made with them can still be found and read. Lines that are empty or begin with ``#`` do not count.

From each master key HKDF-SHA-256 (RFC 5869) derives one key for each library and each use, so that
two libraries' records cannot be joined and no key serves two purposes.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique
from itertools import chain
from pathlib import Path
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.audit.chain import ChainHead
from bridge.enrolment_code import EnrolmentCode
from bridge.errors import KeyProblem, NameTaken
from bridge.links.identifiers import ForeignIdentifier
from bridge.links.serial_record import read_serial_record
from bridge.models import REGION, CardIdentifier, IdentifierKind, SessionToken
from bridge.ports import AuditSeal, EncryptedValue, KeyedRecord, RandomBytes, Store, Transaction
from jpki.certificate import MAXIMUM_SERIAL_OCTETS, SerialNumber

KEY_LENGTH = 32
SIV_KEY_LENGTH = 64  # RFC 5297: two keys of 32 bytes for AES-256
NONCE_LENGTH = 12  # NIST SP 800-38D, 8.2: 96 bits
KEY_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
TAGGED_OCTETS = 16
"""Octets of a serial number that its revocation tag is made of, the last: one block of AES."""

_TAG = Struct("<q8x")
"""A tag is half of an encrypted block, as the signed integer that databases keep."""

DERIVATION_LABEL = "koha-jpki-bridge/key/v1"


@unique
class KeyUse(StrEnum):
    """What a derived key is for."""

    IDENTIFIER_DIGEST = "identifier-digest"
    SERIAL_ENCRYPTION = "serial-encryption"
    TOKEN_DIGEST = "token-digest"  # noqa: S105  # not a password
    CARDNUMBER_ENCRYPTION = "cardnumber-encryption"
    PATRON_REFERENCE = "patron-reference"
    ENROLMENT_CODE = "enrolment-code"
    SECOND_FACTOR = "second-factor"
    AUDIT_SEAL = "audit-seal"
    REVOCATION_TAG = "revocation-tag"
    KEY_CHECK = "key-check"


@dataclass(frozen=True)
class MasterKey:
    """One line of the key file."""

    key_id: str
    secret: bytes = field(repr=False)

    def derive(self, use: KeyUse, library_id: str = "", length: int = KEY_LENGTH) -> bytes:
        """Return the key of one library for one use, *length* bytes of it."""
        info = _join(DERIVATION_LABEL.encode(), use.encode(), library_id.encode())
        return HKDF(SHA256(), length, salt=None, info=info).derive(self.secret)

    def check_value(self) -> str:
        """Return a value that shows which key this is and tells nothing about it, as hex."""
        return self.derive(KeyUse.KEY_CHECK).hex()


@dataclass(frozen=True)
class TokenDigest:
    """What is kept of a session token."""

    key_id: str
    digest: str = field(repr=False)


class KeyRing:
    """All master keys, the current one first.

    New records are made with the current key; look-ups ask under every key.
    """

    def __init__(self, keys: Sequence[MasterKey], random_bytes: RandomBytes) -> None:
        if not keys:
            raise KeyProblem("there is no master key")
        self._keys = {key.key_id: key for key in keys}
        if len(self._keys) != len(keys):
            raise KeyProblem("two master keys have the same id")
        self._current = keys[0]
        self._random_bytes = random_bytes
        # Made once for each key, use and library: every visit needs several, a sweep a million.
        self._derived: dict[tuple[str, KeyUse, str], bytes] = {}
        self._ciphers: dict[tuple[str, KeyUse, str], AESGCM] = {}

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def identifier(
        self,
        library_id: str,
        kind: IdentifierKind,
        issuer_key_identifier: bytes,
        serial_number: SerialNumber,
    ) -> CardIdentifier:
        """Return what a new link is kept under: the card's identifier under the current key."""
        return self.identifiers(library_id, kind, issuer_key_identifier, serial_number)[0]

    def identifiers(
        self,
        library_id: str,
        kind: IdentifierKind,
        issuer_key_identifier: bytes,
        serial_number: SerialNumber,
    ) -> tuple[CardIdentifier, ...]:
        """Return the card's identifier under every key, the current one first.

        The digest is HMAC-SHA-256 over kind, issuer key identifier and serial number: a serial
        number alone could be found by counting, and repeats with each CA generation.
        """
        message = _join(kind.encode(), issuer_key_identifier, serial_number.to_bytes())
        return tuple(
            CardIdentifier(
                kind, key.key_id, _hmac(self._derive(key, KeyUse.IDENTIFIER_DIGEST, library_id), message)
            )
            for key in self._keys.values()
        )

    def foreign_identifiers(
        self, library_id: str, identifier: ForeignIdentifier
    ) -> tuple[CardIdentifier, ...]:
        """Return what another system's identifier is kept under, that for a new link first."""
        message = _join(identifier.kind.encode(), identifier.value.encode())
        return tuple(
            CardIdentifier(
                identifier.kind,
                key.key_id,
                _hmac(self._derive(key, KeyUse.IDENTIFIER_DIGEST, library_id), message),
            )
            for key in self._keys.values()
        )

    def identifiers_of_record(
        self, library_id: str, kind: IdentifierKind, record: bytes
    ) -> tuple[CardIdentifier, ...]:
        """Return the identifiers of what is encrypted with a link: a serial record, or another's identifier.

        Raises ``MalformedCertificate`` for a serial record that is none.
        """
        if kind is IdentifierKind.SERIAL_NUMBER:
            return self.identifiers(library_id, kind, *read_serial_record(record))
        return self.foreign_identifiers(library_id, ForeignIdentifier(kind, record.decode()))

    def token_digest(self, library_id: str, token: SessionToken) -> TokenDigest:
        """Return what is kept of a new token."""
        return self.token_digests(library_id, token)[0]

    def token_digests(self, library_id: str, token: SessionToken) -> tuple[TokenDigest, ...]:
        """Return under what a token may have been kept, the current key first."""
        return tuple(
            TokenDigest(
                key.key_id,
                _hmac(self._derive(key, KeyUse.TOKEN_DIGEST, library_id), token.value.encode()),
            )
            for key in self._keys.values()
        )

    def enrolment_digests(self, code: EnrolmentCode) -> tuple[str, ...]:
        """Return under what an enrolment code may have been kept, that for a new one first.

        Keyed, for 40 bits could be searched; the same for all libraries, since the code names none.
        """
        return tuple(
            _hmac(key.derive(KeyUse.ENROLMENT_CODE, REGION), code.value.encode())
            for key in self._keys.values()
        )

    def patron_references(self, library_id: str, cardnumber: str) -> tuple[str, ...]:
        """Return what a patron without an id may have been kept under, that for a new link first.

        ``<key_id>:<base64>`` of the card number under AES-256-SIV (RFC 5297): in one library the same
        number gives the same text, so that it can be looked up, and only the key turns it back.
        """
        return tuple(
            f"{key.key_id}:{base64.b64encode(sealed).decode()}"
            for key in self._keys.values()
            for sealed in [_reference_cipher(key, library_id).encrypt(cardnumber.encode(), None)]
        )

    def cardnumber_of(self, library_id: str, patron_reference: str) -> str:
        """Return the card number that a reference was made of. Raises ``KeyProblem``."""
        key_id, _, sealed = patron_reference.partition(":")
        key = self._keys.get(key_id)
        if key is None:
            raise KeyProblem(f"the master key {key_id} is missing")
        try:
            return _reference_cipher(key, library_id).decrypt(base64.b64decode(sealed), None).decode()
        except (InvalidTag, binascii.Error):
            raise KeyProblem(f"a value does not open with the key {key_id}") from None

    def encrypt(self, use: KeyUse, library_id: str, record_id: str, plaintext: bytes) -> EncryptedValue:
        """Encrypt *plaintext* for one record: it opens for that library and that record only."""
        nonce = self._random_bytes(NONCE_LENGTH)
        cipher = self._cipher(self._current, use, library_id)
        ciphertext = cipher.encrypt(nonce, plaintext, _join(library_id.encode(), record_id.encode()))
        return EncryptedValue(self._current.key_id, nonce, ciphertext)

    def decrypt(self, use: KeyUse, library_id: str, record_id: str, encrypted: EncryptedValue) -> bytes:
        """Return what was encrypted for this record.

        Raises ``KeyProblem`` where the key is not in the ring, or the value was made for another
        record or changed.
        """
        key = self._keys.get(encrypted.key_id)
        if key is None:
            raise KeyProblem(f"the master key {encrypted.key_id} is missing")
        try:
            return self._cipher(key, use, library_id).decrypt(
                encrypted.nonce,
                encrypted.ciphertext,
                _join(library_id.encode(), record_id.encode()),
            )
        except InvalidTag:
            raise KeyProblem(f"a value does not open with the key {encrypted.key_id}") from None

    def revocation_tag(self, library_id: str, key_id: str, serial_number: SerialNumber) -> int:
        """Return the revocation tag of one serial number; see ``revocation_tags``."""
        octets = serial_number.value.to_bytes(MAXIMUM_SERIAL_OCTETS, "big")[-TAGGED_OCTETS:]
        (tag,) = self.revocation_tags(library_id, key_id, octets)
        return tag

    def revocation_tags(self, library_id: str, key_id: str, serial_numbers: bytes) -> Iterator[int]:
        """Return the tags of serial numbers, of each of which the last ``TAGGED_OCTETS`` are given.

        A tag is AES-256 of that one block, cut to 64 bits, under a key of its own: a pseudorandom
        function like the digest of ``identifiers``, but a million take a twentieth of a second. Equal
        serial numbers have equal tags; the rare tag that two serial numbers share is told apart by
        opening the link's serial number. Raises ``KeyProblem`` where the key is not in the ring.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise KeyProblem(f"the master key {key_id} is missing")
        # Block by block is what is wanted here: no message, but many inputs of one function.
        cipher = Cipher(AES256(key.derive(KeyUse.REVOCATION_TAG, library_id)), ECB())  # noqa: S305
        return chain.from_iterable(_TAG.iter_unpack(cipher.encryptor().update(serial_numbers)))

    def seal_head(self, head: ChainHead) -> AuditSeal:
        """Return the seal of an audit log's last event: only who has the key can make it."""
        return self._seal(self._current, head)

    def is_sealed(self, head: ChainHead, seal: AuditSeal) -> bool:
        """Say whether *seal* belongs to *head*. Raises ``KeyProblem`` where its key is not in the ring."""
        key = self._keys.get(seal.key_id)
        if key is None:
            raise KeyProblem(f"the master key {seal.key_id} is missing")
        return hmac.compare_digest(self._seal(key, head).mac, seal.mac)

    @property
    def current_key_id(self) -> str:
        """The key with which new records are made."""
        return self._current.key_id

    @property
    def key_ids(self) -> tuple[str, ...]:
        """All keys, the current one first."""
        return tuple(self._keys)

    def check(self, transaction: Transaction) -> None:
        """Make sure that these are the keys the data was made with. Raises ``KeyProblem``.

        So that a key that is missing, or another one now, is noticed at the start and not at the first
        patron.
        """
        retired, uses = transaction.retired_keys(), transaction.key_uses()
        if self._current.key_id in retired:
            raise KeyProblem(f"the master key {self._current.key_id} was retired: take its line away")
        known = transaction.key_checks()
        missing = sorted({*known, *uses} - set(self._keys))
        if missing:
            raise KeyProblem("; ".join(_missing(key_id, uses.get(key_id, {})) for key_id in missing))
        for key_id, check_value in known.items():
            if not hmac.compare_digest(self._keys[key_id].check_value(), check_value):
                raise KeyProblem(f"the master key {key_id} is not the one data was made with")

    def confirm(self, store: Store) -> None:
        """Do what ``check`` does, remember new keys, and leave out those that are retired.

        Raises ``KeyProblem``.
        """
        try:
            self._confirm(store)
        except NameTaken:  # another program met the same new key at this moment: compare with it
            self._confirm(store)

    def _seal(self, key: MasterKey, head: ChainHead) -> AuditSeal:
        message = _join(head.library_id.encode(), head.sequence.to_bytes(8, "big"), head.hash)
        derived = self._derive(key, KeyUse.AUDIT_SEAL, head.library_id)
        return AuditSeal(key.key_id, hmac.digest(derived, message, "sha256"))

    def _derive(self, key: MasterKey, use: KeyUse, library_id: str) -> bytes:
        try:
            return self._derived[key.key_id, use, library_id]
        except KeyError:
            return self._derived.setdefault((key.key_id, use, library_id), key.derive(use, library_id))

    def _cipher(self, key: MasterKey, use: KeyUse, library_id: str) -> AESGCM:
        try:
            return self._ciphers[key.key_id, use, library_id]
        except KeyError:
            cipher = AESGCM(key.derive(use, library_id))
            return self._ciphers.setdefault((key.key_id, use, library_id), cipher)

    def _confirm(self, store: Store) -> None:
        with store.transaction() as transaction:
            # Read before they are checked: a value that another program adds meanwhile is either checked
            # as well, or in the way of ours.
            known, retired = transaction.key_checks(), transaction.retired_keys()
            self.check(transaction)
            for key in self._keys.values():
                if key.key_id not in {*known, *retired}:
                    transaction.add_key_check(key.key_id, key.check_value())
            unused = retired - set(transaction.key_uses())
        self._keys = {key_id: key for key_id, key in self._keys.items() if key_id not in unused}


def load_key_ring(path: Path, random_bytes: RandomBytes) -> KeyRing:
    """Read the key file. Raises ``KeyProblem`` where it is missing, unsafe or malformed."""
    try:
        with path.open(encoding="ascii") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise KeyProblem(f"{path} can be read by others: its mode must be 0600")
            lines = file.read().splitlines()
    except OSError as error:
        raise KeyProblem(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyProblem(f"{path} is not a key file") from None
    return parse_key_ring("\n".join(lines), str(path), random_bytes)


def parse_key_ring(text: str, where: str, random_bytes: RandomBytes) -> KeyRing:
    """Read the lines of a key file; *where* they came from is told with a mistake. Raises ``KeyProblem``."""
    keys = [
        _parse_line(line, f"{where}, line {number}")
        for number, line in enumerate(text.splitlines(), start=1)
        if _is_key_line(line)
    ]
    return KeyRing(keys, random_bytes)


def write_new_key_file(path: Path, random_bytes: RandomBytes) -> str:
    """Write a file with one new key, readable by its owner only; return the key's id.

    Raises ``KeyProblem`` where the file exists: a key that is overwritten loses every link.
    """
    key_id, line = _new_line(random_bytes)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyProblem(f"{path} exists and is not overwritten") from None
    except OSError as error:
        raise KeyProblem(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()
        raise KeyProblem(f"{path} cannot be written: {error.strerror}") from None
    return key_id


def add_key_to_file(path: Path, random_bytes: RandomBytes) -> str:
    """Write a new key behind the others of a key file; return its id.

    Nothing is made with it before it stands first. Raises ``KeyProblem``.
    """
    load_key_ring(path, random_bytes)
    key_id, line = _new_line(random_bytes)
    _replace_file(path, [*path.read_text("ascii").splitlines(), line])
    return key_id


def put_key_first(path: Path, key_id: str) -> None:
    """Make a key of a key file the current one. Raises ``KeyProblem``."""
    ring = load_key_ring(path, os.urandom)
    if key_id not in ring.key_ids:
        raise KeyProblem(f"{path} has no key {key_id}")
    lines = path.read_text("ascii").splitlines()
    chosen = next(line for line in lines if line.strip().partition(" ")[0] == key_id)
    lines.remove(chosen)
    first = next((at for at, line in enumerate(lines) if _is_key_line(line)), len(lines))
    _replace_file(path, [*lines[:first], chosen, *lines[first:]])


def _replace_file(path: Path, lines: Sequence[str]) -> None:
    """Put a key file in the place of *path*, whole or not at all; owner and mode stay."""
    before = path.stat()
    beside = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
                file.write("".join(f"{line}\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise KeyProblem(f"{beside} cannot be written: {error.strerror}") from None


def _new_line(random_bytes: RandomBytes) -> tuple[str, str]:
    key_id = f"key-{random_bytes(4).hex()}"
    return key_id, f"{key_id} {base64.b64encode(random_bytes(KEY_LENGTH)).decode()}"


def _is_key_line(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _missing(key_id: str, uses: Mapping[KeyedRecord, int]) -> str:
    begun = f"the master key {key_id}, which data was made with, is missing"
    if not uses:
        return f"{begun}: nothing is kept under it; put it back, or run koha-jpki keys retire {key_id}"
    lost = ", ".join(f"{record} {number}" for record, number in uses.items())
    return f"{begun}: {lost} cannot be read without it; put it back from the copy in the safe"


def _parse_line(line: str, where: str) -> MasterKey:
    key_id, _, encoded = line.strip().partition(" ")
    if not KEY_ID.fullmatch(key_id):
        raise KeyProblem(f"{where}: the key id is not of small letters, digits and hyphens")
    try:
        secret = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        raise KeyProblem(f"{where}: the key is not base64") from None
    if len(secret) != KEY_LENGTH:
        raise KeyProblem(f"{where}: the key is {len(secret)} bytes long, not {KEY_LENGTH}")
    return MasterKey(key_id, secret)


def _reference_cipher(key: MasterKey, library_id: str) -> AESSIV:
    return AESSIV(key.derive(KeyUse.PATRON_REFERENCE, library_id, SIV_KEY_LENGTH))


def _hmac(key: bytes, message: bytes) -> str:
    return hmac.digest(key, message, "sha256").hex()


def _join(*parts: bytes) -> bytes:
    """Put parts together so that no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)
