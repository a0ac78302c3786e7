"""A JPKI card in software: it answers APDUs as measured cards do, and fails as they do when told to.

The rules come from OpenSC ``card-jpki.c``, myna and myna-card; where these are silent a comment says
"chosen". No real secret belongs in here: a card file carries the PIN in the clear.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed

from jpki.apdu import MAXIMUM_EXPECTED, CommandApdu
from jpki.connection import SmartCardConnection
from jpki.constants import (
    CLA_INTERINDUSTRY,
    CLA_PROPRIETARY,
    CURRENT_FILE,
    JPKI_APPLICATION_ID,
    SELECT_BY_NAME,
    SELECT_FILE_UNDER_APPLICATION,
    SHORT_FILE_IDENTIFIER,
    TOKEN_LABEL_LENGTH,
    USER_AUTHENTICATION_PIN_TRIES,
    ElementaryFile,
    Instruction,
    TokenKind,
)
from jpki.errors import CardRemoved
from jpki.simulator.pki import CardKey, CardMaterial
from jpki.status import StatusWord

CONTACTLESS_ATR = bytes.fromhex("3B888001004B51FFB381D1000F")
"""PC/SC's answer-to-reset for a contactless My Number Card (pcsc-tools, smartcard_list.txt)."""

CARD_FILE_FORMAT = "koha-jpki-bridge/simulated-card/1"

_FILE_SIZE = 0x800  # chosen: the real size of a certificate's file is not public
_FILLER = b"\xff"  # myna-card, measured
_LONGEST_PIN = 16
_LONGEST_DIGEST_INFO = 245  # 256 bytes of RSA-2048 less the 11 of PKCS#1 v1.5 padding
_LOG_LENGTH = 1000


@dataclass(frozen=True)
class CardFaults:
    """What a simulated card does otherwise than a well-behaved one in a good reader.

    Expired, foreign, revoked or P-384 certificates are no faults of the card: issue them with
    ``jpki.simulator.pki`` and put them on one.

    * ``first_answer_is_6f00``: the first command after power-on is answered 6F00.
    * ``blocked_status_word``: answer to a PIN where none is left, 6984 or 6983.
    * ``blocked_query_status_word``: answer to an empty VERIFY then; OpenSC wants 63C0.
    * ``verified_query_is_9000``: an empty VERIFY is answered 9000 while the PIN is verified.
    * ``tear_after``: the card is taken away after so many more commands were answered.
    * ``torn_command_is_executed``: the command that meets the tear is executed, its answer lost.
    * ``answers_61xx``: answers with data are fetched with GET RESPONSE, as at T=0.
    * ``answers_6cxx``: reading more than there is (or than the limit) is answered 6Cxx.
    * ``read_limit``: READ BINARY of more bytes is answered 6700.
    * ``short_file_identifiers``: False: a reference by short file identifier is answered 6A86.
    * ``four_byte_commands``: False: a command of four bytes is answered 6700.
    * ``wrong_key``: signatures are made with a key that is not the certificate's.
    * ``token_label``: the label in EF 0006.
    * ``certificate_needs_pin``: the certificate is readable after the PIN only, as on a phone.
    * ``certificate_absent``: there is no user authentication certificate.
    * ``apdu_milliseconds``, ``signature_milliseconds``: how long a command takes, and a signature; a real
      card needs about 10 and 300.
    """

    first_answer_is_6f00: bool = False
    blocked_status_word: int = StatusWord.REFERENCE_DATA_NOT_USABLE
    blocked_query_status_word: int = StatusWord.REFERENCE_DATA_NOT_USABLE
    verified_query_is_9000: bool = False
    tear_after: int | None = None
    torn_command_is_executed: bool = False
    answers_61xx: bool = False
    answers_6cxx: bool = False
    read_limit: int | None = None
    short_file_identifiers: bool = True
    four_byte_commands: bool = True
    wrong_key: bool = False
    token_label: str = TokenKind.MY_NUMBER_CARD.value
    certificate_needs_pin: bool = False
    certificate_absent: bool = False
    apdu_milliseconds: int = 0
    signature_milliseconds: int = 0


class CardTorn(Exception):
    """The card was taken away before it could answer."""


@dataclass
class Credential:
    """One certificate with its CA, key and PIN; a card has one or two, see ``SimulatedCard``.

    ``attempts`` is what a right PIN restores; ``attempts_remaining`` survives power-off.
    """

    certificate_der: bytes = field(repr=False)
    private_key: CardKey = field(repr=False)
    ca_certificate_der: bytes = field(repr=False)
    pin: str = field(repr=False)
    attempts: int
    attempts_remaining: int

    @classmethod
    def from_material(
        cls, material: CardMaterial, pin: str, attempts: int = USER_AUTHENTICATION_PIN_TRIES
    ) -> Self:
        """Return what the test PKI issued, behind *pin*."""
        return cls(
            material.certificate_der,
            material.private_key,
            material.ca_certificate_der,
            pin,
            attempts,
            attempts,
        )


@dataclass(frozen=True)
class CityApplication:
    """An application of a city (条例利用) with one file, which anybody may read. All of it is made up."""

    application_id: bytes
    file_id: bytes
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class _Slot:
    """Where a credential lies on the card."""

    certificate: ElementaryFile
    ca_certificate: ElementaryFile
    key: ElementaryFile
    pin: ElementaryFile


_AUTHENTICATION = _Slot(
    ElementaryFile.USER_AUTHENTICATION_CERTIFICATE,
    ElementaryFile.USER_AUTHENTICATION_CA_CERTIFICATE,
    ElementaryFile.USER_AUTHENTICATION_KEY,
    ElementaryFile.USER_AUTHENTICATION_PIN,
)
_SIGNATURE = _Slot(
    ElementaryFile.SIGNATURE_CERTIFICATE,
    ElementaryFile.SIGNATURE_CA_CERTIFICATE,
    ElementaryFile.SIGNATURE_KEY,
    ElementaryFile.SIGNATURE_PIN,
)


class _Refusal(Exception):
    """The card's answer is a status word without data."""

    def __init__(self, status_word: int) -> None:
        super().__init__(f"{status_word:04X}")
        self.status_word = status_word


class SimulatedCard:
    """A card with a user authentication credential and, if given, one for signatures.

    ``power_on``, ``power_off`` and ``reset`` are the reader's; ``exchange`` answers one command.
    Attempts remaining survive power-off; a verified PIN survives a reset but not power-off
    (myna-card, measured). ``apdu_log`` holds commands and status words with PINs masked.
    """

    def __init__(
        self,
        authentication: Credential,
        signature: Credential | None = None,
        *,
        faults: CardFaults | None = None,
        atr: bytes = CONTACTLESS_ATR,
        city_application: CityApplication | None = None,
    ) -> None:
        self.atr = atr
        self.city_application = city_application
        self.faults = faults or CardFaults()
        self.apdu_log: deque[str] = deque(maxlen=_LOG_LENGTH)
        self.apdu_count = 0
        self.verify_count = 0
        self.powered = False
        self._credentials = {_AUTHENTICATION: authentication}
        if signature is not None:
            self._credentials[_SIGNATURE] = signature
        self._verified: set[_Slot] = set()
        self._clear_selection()

    @property
    def faults(self) -> CardFaults:
        """What the card does wrong; setting it starts the count of ``tear_after`` anew."""
        return self._faults

    @faults.setter
    def faults(self, faults: CardFaults) -> None:
        self._faults = faults
        self._answers_until_tear = faults.tear_after

    @classmethod
    def from_material(
        cls, material: CardMaterial, pin: str = "1234", faults: CardFaults | None = None
    ) -> Self:
        """Return a card for user authentication alone, as a child's card is."""
        return cls(Credential.from_material(material, pin), faults=faults)

    @property
    def authentication(self) -> Credential:
        """The credential for user authentication."""
        return self._credentials[_AUTHENTICATION]

    # -- power

    def power_on(self) -> None:
        """Give power; no application is selected and no PIN verified."""
        self.power_off()
        self.powered = True
        self._first_command = True

    def power_off(self) -> None:
        """Take power away."""
        self.powered = False
        self._verified.clear()
        self._clear_selection()

    def reset(self) -> None:
        """Warm reset: the selection is lost, a verified PIN is not."""
        self._clear_selection()
        self._first_command = True

    def _clear_selection(self) -> None:
        self._application_selected = False
        self._city_selected = False
        self._city_file_selected = False
        self._current: ElementaryFile | None = None
        self._first_command = False
        self._waiting = b""

    # -- commands

    def exchange(self, apdu: bytes) -> bytes:
        """Answer one command: data and the two bytes of the status word.

        Raises ``CardTorn`` where a fault says so, and without power.
        """
        if not self.powered:
            raise CardTorn
        torn = self._answers_until_tear == 0
        if torn:
            self.faults = replace(self.faults, tear_after=None)
            if not self.faults.torn_command_is_executed:
                self.power_off()
                raise CardTorn
        elif self._answers_until_tear is not None:
            self._answers_until_tear -= 1
        self._take_time(apdu)
        data, status_word = self._answer(apdu)
        if torn:
            self.power_off()
            raise CardTorn
        return data + struct.pack(">H", status_word)

    def _take_time(self, apdu: bytes) -> None:
        signs = apdu[1:2] == bytes((Instruction.PERFORM_SECURITY_OPERATION,))
        milliseconds = self.faults.signature_milliseconds if signs else self.faults.apdu_milliseconds
        if milliseconds:
            time.sleep(milliseconds / 1000)

    def _answer(self, apdu: bytes) -> tuple[bytes, int]:
        self.apdu_count += 1
        try:
            command = CommandApdu.decode(apdu)
        except ValueError:
            self.apdu_log.append("malformed or extended -> 6700")
            return b"", StatusWord.WRONG_LENGTH
        try:
            data, status_word = self._handle(command), int(StatusWord.SUCCESS)
        except _Refusal as refusal:
            data, status_word = b"", refusal.status_word
        if command.ins == Instruction.GET_RESPONSE and self._waiting:
            status_word = self._status_word_of_waiting()
        elif data and self.faults.answers_61xx and command.ins != Instruction.GET_RESPONSE:
            data, self._waiting = b"", data
            status_word = self._status_word_of_waiting()
        self.apdu_log.append(f"{command!r} -> {status_word:04X}")
        return data, status_word

    def _handle(self, command: CommandApdu) -> bytes:
        first, self._first_command = self._first_command, False
        if first and self.faults.first_answer_is_6f00:
            raise _Refusal(StatusWord.NO_PRECISE_DIAGNOSIS)
        if command.cla not in (CLA_INTERINDUSTRY, CLA_PROPRIETARY):
            raise _Refusal(StatusWord.CLASS_NOT_SUPPORTED)
        handlers: Mapping[tuple[int, int], Callable[[CommandApdu], bytes]] = {
            (CLA_INTERINDUSTRY, Instruction.SELECT): self._select,
            (CLA_INTERINDUSTRY, Instruction.READ_BINARY): self._read_binary,
            (CLA_INTERINDUSTRY, Instruction.VERIFY): self._verify,
            (CLA_PROPRIETARY, Instruction.PERFORM_SECURITY_OPERATION): self._sign,
            (CLA_INTERINDUSTRY, Instruction.GET_RESPONSE): self._get_response,
        }
        handler = handlers.get((command.cla, command.ins))
        if handler is None:
            raise _Refusal(StatusWord.INSTRUCTION_NOT_SUPPORTED)
        return handler(command)

    def _get_response(self, command: CommandApdu) -> bytes:
        if not self._waiting or command.le is None:
            raise _Refusal(StatusWord.CONDITIONS_NOT_SATISFIED)
        data, self._waiting = self._waiting[: command.le], self._waiting[command.le :]
        return data

    def _status_word_of_waiting(self) -> int:
        return 0x6100 | min(len(self._waiting), MAXIMUM_EXPECTED) % MAXIMUM_EXPECTED

    def _select(self, command: CommandApdu) -> bytes:
        city = self.city_application
        if command.p1 == SELECT_BY_NAME:
            is_city = city is not None and command.data == city.application_id
            if command.data != JPKI_APPLICATION_ID and not is_city:
                raise _Refusal(StatusWord.FILE_NOT_FOUND)  # chosen: the selection stays
            self._application_selected, self._city_selected = not is_city, is_city
            self._city_file_selected = False
            self._current = None
        elif command.p1 == SELECT_FILE_UNDER_APPLICATION and self._city_selected:
            self._city_file_selected = city is not None and command.data == city.file_id
            if not self._city_file_selected:
                raise _Refusal(StatusWord.FILE_NOT_FOUND)
        elif command.p1 == SELECT_FILE_UNDER_APPLICATION:
            self._current = self._find(lambda file: file.value == command.data)
        else:
            raise _Refusal(StatusWord.INCORRECT_PARAMETERS)
        return b""

    def _read_binary(self, command: CommandApdu) -> bytes:
        offset = command.p1 << 8 | command.p2
        if command.p1 & SHORT_FILE_IDENTIFIER:
            self._current, offset = self._by_short_identifier(command.p1), command.p2
        content = self._content_of_current_file()[offset:]
        if not content:
            raise _Refusal(StatusWord.OFFSET_OUTSIDE_FILE)
        if command.data or command.le is None:
            raise _Refusal(StatusWord.WRONG_LENGTH)
        limit = self.faults.read_limit or MAXIMUM_EXPECTED
        available = min(len(content), limit)
        if command.le > available and self.faults.answers_6cxx:
            raise _Refusal(0x6C00 | available)
        if command.le > limit:
            raise _Refusal(StatusWord.WRONG_LENGTH)
        return content[: command.le]

    def _verify(self, command: CommandApdu) -> bytes:
        if command.p1 != 0:
            raise _Refusal(StatusWord.INCORRECT_PARAMETERS)
        if not command.data and command.le is None and not self.faults.four_byte_commands:
            raise _Refusal(StatusWord.WRONG_LENGTH)
        slot = self._slot_named(command.p2, lambda slot: slot.pin)
        if command.data:
            self._present_pin(slot, command.data)
        elif slot not in self._verified or not self.faults.verified_query_is_9000:
            attempts = self._credentials[slot].attempts_remaining
            raise _Refusal(0x63C0 | attempts if attempts else self.faults.blocked_query_status_word)
        return b""

    def _present_pin(self, slot: _Slot, presented: bytes) -> None:
        self.verify_count += 1
        credential = self._credentials[slot]
        if credential.attempts_remaining == 0:
            raise _Refusal(self.faults.blocked_status_word)
        if len(presented) > _LONGEST_PIN:
            raise _Refusal(StatusWord.WRONG_LENGTH)
        if presented != credential.pin.encode("ascii"):
            self._verified.discard(slot)  # chosen: a wrong PIN takes back an earlier right one
            credential.attempts_remaining -= 1
            raise _Refusal(0x63C0 | credential.attempts_remaining)
        credential.attempts_remaining = credential.attempts
        self._verified.add(slot)

    def _sign(self, command: CommandApdu) -> bytes:
        if command.p1 != 0:
            raise _Refusal(StatusWord.INCORRECT_PARAMETERS)
        slot = self._slot_named(command.p2, lambda slot: slot.key)
        if slot not in self._verified:
            raise _Refusal(StatusWord.SECURITY_STATUS_NOT_SATISFIED)
        if not 0 < len(command.data) <= _LONGEST_DIGEST_INFO:
            raise _Refusal(StatusWord.WRONG_LENGTH)
        key = self._credentials[slot].private_key
        try:
            return _raw_signature(_stranger_of(key) if self.faults.wrong_key else key, command.data)
        except ValueError:
            raise _Refusal(StatusWord.WRONG_LENGTH) from None

    # -- files

    def _files(self) -> Mapping[ElementaryFile, bytes | None]:
        """Return what is on the card: content, or None for a file that cannot be read."""
        files: dict[ElementaryFile, bytes | None] = {
            ElementaryFile.TOKEN_INFORMATION: _token_information(self.faults.token_label),
            ElementaryFile.CERTIFICATE_AVAILABILITY: self._availability(),
        }
        for slot, credential in self._credentials.items():
            files[slot.certificate] = _filled(credential.certificate_der)
            files[slot.ca_certificate] = _filled(credential.ca_certificate_der)
            files[slot.key] = None
            files[slot.pin] = None
        if self.faults.certificate_absent:
            del files[ElementaryFile.USER_AUTHENTICATION_CERTIFICATE]
        return files

    def _availability(self) -> bytes:
        signature = 0x8F if _SIGNATURE in self._credentials else 0x00
        authentication = 0x00 if self.faults.certificate_absent else 0x8F
        return bytes((signature, authentication, 0x00))

    def _find(self, matches: Callable[[ElementaryFile], bool]) -> ElementaryFile:
        for file in self._files() if self._application_selected else ():
            if matches(file):
                return file
        raise _Refusal(StatusWord.FILE_NOT_FOUND)

    def _by_short_identifier(self, reference: int) -> ElementaryFile:
        if not self.faults.short_file_identifiers or reference & 0x60:
            raise _Refusal(StatusWord.INCORRECT_PARAMETERS)
        return self._find(lambda file: file.short_identifier == reference & 0x1F)

    def _content_of_current_file(self) -> bytes:
        if self._city_file_selected and self.city_application is not None:
            return self.city_application.content
        if self._current is None:
            raise _Refusal(StatusWord.NO_CURRENT_FILE)
        content = self._files()[self._current]
        if content is None:
            raise _Refusal(StatusWord.INCOMPATIBLE_FILE)
        protection = {_SIGNATURE.certificate: _SIGNATURE}
        if self.faults.certificate_needs_pin:
            protection[_AUTHENTICATION.certificate] = _AUTHENTICATION
        slot = protection.get(self._current)
        if slot is not None and slot not in self._verified:
            raise _Refusal(StatusWord.SECURITY_STATUS_NOT_SATISFIED)
        return content

    def _slot_named(self, reference: int, file_of: Callable[[_Slot], ElementaryFile]) -> _Slot:
        """Return the slot whose PIN or key *reference* (P2) names."""
        file = self._current
        if reference != CURRENT_FILE:
            file = self._by_short_identifier(reference)
        if file is None:
            raise _Refusal(StatusWord.NO_CURRENT_FILE)
        for slot in self._credentials:
            if file_of(slot) is file:
                return slot
        raise _Refusal(StatusWord.INCOMPATIBLE_FILE)

    # -- the card file

    def save(self, path: Path) -> None:
        """Write the card as a JSON file that its owner alone can read.

        Keys: ``format``, ``atr`` (hex), ``faults`` (the fields of ``CardFaults``), ``authentication``
        and ``signature`` (or null), each with ``certificate`` and ``ca_certificate`` (base64 of DER),
        ``private_key`` (PEM, PKCS#8), ``pin``, ``attempts`` and ``attempts_remaining``; and
        ``city_application`` (its fields in hex, or null).
        """
        document = {
            "format": CARD_FILE_FORMAT,
            "atr": self.atr.hex(),
            "faults": asdict(self.faults),
            "authentication": _credential_to_json(self.authentication),
            "signature": _credential_to_json(self._credentials.get(_SIGNATURE)),
            "city_application": self.city_application
            and {name: value.hex() for name, value in asdict(self.city_application).items()},
        }
        with open(path, "w", opener=_private, encoding="utf-8") as file:
            json.dump(document, file, indent=2)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a card file. Raises ``ValueError`` where it is not one."""
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("format") != CARD_FILE_FORMAT:
            raise ValueError("not a simulated card's file")
        signature = document["signature"]
        city = document.get("city_application")
        return cls(
            _credential_from_json(document["authentication"]),
            _credential_from_json(signature) if signature else None,
            faults=CardFaults(**document["faults"]),
            atr=bytes.fromhex(document["atr"]),
            city_application=city
            and CityApplication(**{name: bytes.fromhex(value) for name, value in city.items()}),
        )


class SimulatedConnection(SmartCardConnection):
    """A powered simulated card in the same process; ``close``, or the end of ``with``, powers it off.

    Once the card is torn away every command raises ``CardRemoved``; a new connection is the card
    laid down again.
    """

    def __init__(self, card: SimulatedCard) -> None:
        self._card = card
        self._present = True
        card.power_on()

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        """Let the card answer. Raises ``CardRemoved``."""
        if not self._present:
            raise CardRemoved("the card was removed")
        try:
            answer = self._card.exchange(apdu)
        except CardTorn:
            self._present = False
            raise CardRemoved("the card was removed") from None
        return answer[:-2], int.from_bytes(answer[-2:], "big")

    def close(self) -> None:
        """Power the card off."""
        self._present = False
        self._card.power_off()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _filled(content: bytes) -> bytes:
    size = -(-len(content) // _FILE_SIZE) * _FILE_SIZE
    return content.ljust(size, _FILLER)


def _token_information(label: str) -> bytes:
    """Return EF 0006: CK_TOKEN_INFO of PKCS#11 in 160 bytes, values of a test card (myna-card)."""
    return (
        label.encode("ascii").ljust(TOKEN_LABEL_LENGTH)
        + b"1".rjust(32, b"0")  # manufacturer
        + b"E16R01NJ".ljust(16)  # model
        + b"0" * 16  # serial number of the token
        + struct.pack(">7L", 0x0000040D, 1, 0, 1, 0, 16, 6)  # flags, sessions, PIN lengths
        + b"\xff" * 16  # memory: not told
        + b"03"  # hardware version
        + b"01"  # firmware version
        + b"9" * 16  # clock: none
    )


def _raw_signature(key: CardKey, data: bytes) -> bytes:
    """Sign the bytes as they are; the card does not look whether they are a DigestInfo (myna)."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), NoDigestInfo())
    # Chosen: no card with an elliptic key exists yet. It takes a SHA-384 hash and answers DER.
    return key.sign(data, ec.ECDSA(Prehashed(hashes.SHA384())))


@functools.cache
def _stranger_rsa_key(size: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def _stranger_of(key: CardKey) -> CardKey:
    """Return a key of the same kind that is not *key*."""
    if isinstance(key, rsa.RSAPrivateKey):
        return _stranger_rsa_key(key.key_size)
    return ec.generate_private_key(key.curve)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _credential_to_json(credential: Credential | None) -> dict[str, Any] | None:
    if credential is None:
        return None
    private_key = credential.private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "certificate": base64.b64encode(credential.certificate_der).decode("ascii"),
        "ca_certificate": base64.b64encode(credential.ca_certificate_der).decode("ascii"),
        "private_key": private_key.decode("ascii"),
        "pin": credential.pin,
        "attempts": credential.attempts,
        "attempts_remaining": credential.attempts_remaining,
    }


def _credential_from_json(document: Mapping[str, Any]) -> Credential:
    private_key = serialization.load_pem_private_key(document["private_key"].encode("ascii"), None)
    if not isinstance(private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError("a card's key is RSA or on an elliptic curve")  # noqa: TRY004 - of the file
    return Credential(
        certificate_der=base64.b64decode(document["certificate"]),
        private_key=private_key,
        ca_certificate_der=base64.b64decode(document["ca_certificate"]),
        pin=document["pin"],
        attempts=document["attempts"],
        attempts_remaining=document["attempts_remaining"],
    )
