"""One conversation with the JPKI application of a card, over any ``SmartCardConnection``. Pure logic.

The order that spends nothing needlessly is: ``JpkiSession(connection)`` → ``read_certificate`` →
(somebody judges it) → ``attempts_remaining`` → ``verify_pin`` → ``sign`` → power off, which is the
connection's affair. Nothing here is ever sent twice, with two exceptions that spend no try: the very
first SELECT after 6F00, and a read in another length or addressing that the card prefers.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from cryptography import exceptions, x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from jpki import der
from jpki.apdu import MAXIMUM_EXPECTED, CommandApdu
from jpki.connection import SmartCardConnection
from jpki.constants import (
    ALLOWED_APPLICATION_IDS,
    ALLOWED_FILES,
    CLA_INTERINDUSTRY,
    CLA_PROPRIETARY,
    CURRENT_FILE,
    JPKI_APPLICATION_ID,
    READABLE_FILES,
    SELECT_BY_NAME,
    SELECT_FILE_UNDER_APPLICATION,
    SELECT_WITHOUT_ANSWER,
    SHA256_DIGEST_INFO_PREFIX,
    SHORT_FILE_IDENTIFIER,
    TOKEN_LABEL_LENGTH,
    USER_AUTHENTICATION_PIN_LENGTH,
    ElementaryFile,
    Instruction,
    TokenKind,
)
from jpki.errors import (
    ApduRefused,
    CardError,
    CertificateNotPresent,
    LastAttemptProtected,
    MalformedCardData,
    MalformedPin,
    NotAMyNumberCard,
    PinAlreadyVerified,
    PinBlockedError,
    ReaderFailure,
    UnsupportedAlgorithm,
    UnsupportedToken,
)
from jpki.status import PIN_BLOCKED, StatusWord, attempts_in, error_for

CAUTIOUS_READ = 224
"""Bytes per READ BINARY where a reader fails at 256 (jpki-web reads so throughout)."""

MAXIMUM_CERTIFICATE_LENGTH = 0x8000
"""READ BINARY addresses 15 bits of offset."""

PROTECTED_ATTEMPTS = 1
"""With so many attempts remaining a wrong PIN blocks the card, so the patron must insist."""

_MAXIMUM_CHAINED_ANSWER = 0x1000

_SHORT_IDENTIFIER_REFUSED = frozenset(
    {
        StatusWord.INCOMPATIBLE_FILE,
        StatusWord.NO_CURRENT_FILE,
        StatusWord.FILE_NOT_FOUND,
        StatusWord.INCORRECT_PARAMETERS,
        StatusWord.REFERENCED_DATA_NOT_FOUND,
        StatusWord.OFFSET_OUTSIDE_FILE,
    }
)
"""Answers that say "I do not know what you refer to". Nothing was done, no try was spent."""

_EMPTY_VERIFY = CommandApdu(CLA_INTERINDUSTRY, Instruction.VERIFY, 0x00, CURRENT_FILE)
"""VERIFY without a PIN asks how many attempts remain, and spends none."""

_GET_RESPONSE = CommandApdu(CLA_INTERINDUSTRY, Instruction.GET_RESPONSE, 0x00, 0x00)


class Pin:
    """The four digits that a patron typed (利用者証明用電子証明書の暗証番号).

    Cannot be printed, compared or pickled. Raises ``MalformedPin`` unless the text is exactly four
    ASCII digits; full-width digits are not.
    """

    __slots__ = ("_digits",)

    def __init__(self, digits: str) -> None:
        well_formed = digits.isascii() and digits.isdigit()
        if not well_formed or len(digits) != USER_AUTHENTICATION_PIN_LENGTH:
            raise MalformedPin("a PIN is exactly four digits")
        self._digits = digits

    def ascii_bytes(self) -> bytes:
        """Return the digits as the card wants them. For the VERIFY command and nothing else."""
        return self._digits.encode("ascii")

    def __repr__(self) -> str:
        return "Pin(****)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a PIN is not to be stored")


class GuardedConnection(SmartCardConnection):
    """The last gate before the card: what is not on the list does not pass.

    The list: select the JPKI application and its files for user authentication; read the token
    label, the certificate and its CA; query and verify the user authentication PIN; sign with the
    user authentication key. Raises ``ApduRefused`` for anything else, before the card sees it. So
    neither the My Number nor the signature certificate with name and address can be reached.
    """

    def __init__(self, connection: SmartCardConnection) -> None:
        self._connection = connection

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        """Pass *apdu* on if it is on the list."""
        try:
            command = CommandApdu.decode(apdu)
        except ValueError as error:
            raise ApduRefused("not a short command APDU") from error
        if not _is_allowed(command):
            raise ApduRefused(f"{command!r} is not one of the commands this program may send")
        return self._connection.send_and_receive(apdu)


def _references(files: frozenset[ElementaryFile]) -> frozenset[int]:
    return frozenset(SHORT_FILE_IDENTIFIER | file.short_identifier for file in files)


_READ_REFERENCES = _references(READABLE_FILES)
_PIN_REFERENCES = _references(frozenset({ElementaryFile.USER_AUTHENTICATION_PIN})) | {CURRENT_FILE}
_KEY_REFERENCES = _references(frozenset({ElementaryFile.USER_AUTHENTICATION_KEY})) | {CURRENT_FILE}


def _is_allowed(command: CommandApdu) -> bool:
    match command:
        case CommandApdu(cla=0x00, ins=Instruction.SELECT, p1=0x04, p2=0x0C):
            return command.data in ALLOWED_APPLICATION_IDS
        case CommandApdu(cla=0x00, ins=Instruction.SELECT, p1=0x02, p2=0x0C):
            return command.data in ALLOWED_FILES
        case CommandApdu(cla=0x00, ins=Instruction.READ_BINARY):
            return command.p1 < SHORT_FILE_IDENTIFIER or command.p1 in _READ_REFERENCES
        case CommandApdu(cla=0x00, ins=Instruction.VERIFY, p1=0x00):
            return command.p2 in _PIN_REFERENCES
        case CommandApdu(cla=0x80, ins=Instruction.PERFORM_SECURITY_OPERATION, p1=0x00):
            return command.p2 in _KEY_REFERENCES
        case CommandApdu(cla=0x00, ins=Instruction.GET_RESPONSE, p1=0x00, p2=0x00):
            return True
    return False


class JpkiSession:
    """The JPKI application of one card, selected, for as long as the connection is held.

    Raises ``NotAMyNumberCard`` where the application cannot be selected and ``UnsupportedToken``
    where it calls itself by no label we know. Every method may raise a ``ReaderError``, and
    ``CardError`` for a refusal that has no name of its own.

    A label of a phone or of the old card is told by ``token``; every other method then raises
    ``UnsupportedToken``, before the card is asked anything.

    Files are addressed by short file identifiers, which saves a SELECT each. The first refusal
    teaches the session that this card or reader does not take them; it then selects.
    """

    def __init__(self, connection: SmartCardConnection) -> None:
        self._connection = GuardedConnection(connection)
        self._use_short_file_identifiers = True
        self._current_file: ElementaryFile | None = None
        self._longest_read = MAXIMUM_EXPECTED
        self._certificate: bytes | None = None
        self._last_query: int | None = None
        self._select_application()
        self._token = self._read_token_kind()

    @property
    def token(self) -> TokenKind:
        """What kind of token this is, by its label; never by the answer-to-reset."""
        return self._token

    def read_certificate(self) -> bytes:
        """Return the DER of the user authentication certificate (利用者証明用電子証明書).

        Needs no PIN, and proves nothing: only ``sign`` does. Raises ``CertificateNotPresent``,
        ``MalformedCardData``.
        """
        self._certificate = self._read_der(ElementaryFile.USER_AUTHENTICATION_CERTIFICATE)
        return self._certificate

    def read_ca_certificate(self) -> bytes:
        """Return the DER of the CA certificate that the card carries; being there is no proof.

        Raises ``CertificateNotPresent``, ``MalformedCardData``.
        """
        return self._read_der(ElementaryFile.USER_AUTHENTICATION_CA_CERTIFICATE)

    def attempts_remaining(self) -> int:
        """Return how many PIN attempts are left, 0 where the PIN is blocked. Spends none.

        Raises ``PinAlreadyVerified`` where the card holds a PIN verified before: power it off and
        begin again.
        """
        self._last_query = self._query_attempts()
        return 0 if self._last_query in PIN_BLOCKED else self._last_query & 0x0F

    def verify_pin(self, pin: Pin, *, patron_insists: bool = False) -> None:
        """Present the PIN, once, after asking how many attempts remain.

        An answer that ``attempts_remaining`` got in this session counts, until a PIN is presented.
        With one attempt left nothing is sent and ``LastAttemptProtected`` is raised, unless
        *patron_insists*: the patron was told that a wrong PIN now blocks the card.

        Raises ``InvalidPinError``, ``PinBlockedError``, ``PinAlreadyVerified``. After
        ``CardRemoved`` it is unknown whether an attempt was spent: ask ``attempts_remaining`` in a
        new session before asking the patron anything.
        """
        queried = self._last_query or self._query_attempts()
        self._last_query = None
        if queried in PIN_BLOCKED:
            raise PinBlockedError(queried)
        attempts = queried & 0x0F
        if attempts <= PROTECTED_ATTEMPTS and not patron_insists:
            raise LastAttemptProtected(attempts)
        # The query was answered under this reference, so VERIFY needs no second form.
        file = ElementaryFile.USER_AUTHENTICATION_PIN
        if not self._use_short_file_identifiers:
            self._select_file(file)
        verify = replace(_EMPTY_VERIFY, p2=self._reference_to(file), data=pin.ascii_bytes())
        _, status_word = self._send(verify)
        if status_word != StatusWord.SUCCESS:
            raise error_for(status_word)

    def sign(self, message: bytes) -> bytes:
        """Return the card's signature over *message*, in as many bytes as its key makes.

        RSA: PKCS#1 v1.5 with SHA-256. P-384: ECDSA with SHA-384, DER. Which one is seen in the
        certificate, which is read if it was not yet. Raises ``CardError`` with status word 6982
        where the PIN was not verified, ``UnsupportedAlgorithm`` for any other kind of key.
        """
        data = _to_be_signed(self._certificate or self.read_certificate(), message)
        command = CommandApdu(
            CLA_PROPRIETARY,
            Instruction.PERFORM_SECURITY_OPERATION,
            0x00,
            CURRENT_FILE,
            data,
            le=MAXIMUM_EXPECTED,
        )
        signature, status_word = self._send_to(ElementaryFile.USER_AUTHENTICATION_KEY, command)
        if status_word != StatusWord.SUCCESS:
            raise error_for(status_word)
        return signature

    # -- application and label

    def _select_application(self) -> None:
        select = CommandApdu(
            CLA_INTERINDUSTRY,
            Instruction.SELECT,
            SELECT_BY_NAME,
            SELECT_WITHOUT_ANSWER,
            JPKI_APPLICATION_ID,
        )
        _, status_word = self._send(select)
        if status_word == StatusWord.NO_PRECISE_DIAGNOSIS:
            _, status_word = self._send(select)
        if status_word != StatusWord.SUCCESS:
            raise NotAMyNumberCard(status_word)

    def _read_token_kind(self) -> TokenKind:
        file = ElementaryFile.TOKEN_INFORMATION
        label = self._read_from_start(file, TOKEN_LABEL_LENGTH)[:TOKEN_LABEL_LENGTH]
        text = label.decode("ascii", errors="replace").strip("\0 \t\r\n")
        try:
            return TokenKind(text)
        except ValueError:
            raise UnsupportedToken(text) from None

    def _require_my_number_card(self) -> None:
        if self._token is not TokenKind.MY_NUMBER_CARD:
            raise UnsupportedToken(self._token.value)

    # -- PIN

    def _query_attempts(self) -> int:
        """Return the status word of an empty VERIFY: 63Cx, or one of ``PIN_BLOCKED``."""
        self._require_my_number_card()
        file = ElementaryFile.USER_AUTHENTICATION_PIN
        _, status_word = self._send_to(file, _EMPTY_VERIFY)
        if status_word == StatusWord.WRONG_LENGTH:  # from readers that refuse four-byte commands
            _, status_word = self._send_to(file, replace(_EMPTY_VERIFY, le=MAXIMUM_EXPECTED))
        if status_word == StatusWord.SUCCESS:
            raise PinAlreadyVerified(status_word)
        if status_word not in PIN_BLOCKED and attempts_in(status_word) is None:
            raise CardError(status_word)
        return status_word

    # -- files

    def _read_der(self, file: ElementaryFile) -> bytes:
        """Read the one DER object at the head of *file*; what fills the file up is left."""
        self._require_my_number_card()
        try:
            content = self._read_from_start(file, MAXIMUM_EXPECTED)
        except CardError as error:
            if error.status_word == StatusWord.FILE_NOT_FOUND:
                raise CertificateNotPresent(error.status_word) from None
            raise
        length = der.total_length(content[: der.HEAD_LENGTH])
        if length > MAXIMUM_CERTIFICATE_LENGTH:
            raise MalformedCardData(f"a certificate of {length} bytes")
        while len(content) < length:
            offset = len(content)
            more, status_word = self._read_binary(offset >> 8, offset & 0xFF, length - offset)
            content += _content(more, status_word)
        return content[:length]

    def _read_from_start(self, file: ElementaryFile, length: int) -> bytes:
        if self._use_short_file_identifiers:
            data, status_word = self._read_binary(self._reference_to(file), 0x00, length)
            if not self._is_refused(status_word):
                self._current_file = file
                return _content(data, status_word)
        self._select_file(file)
        return _content(*self._read_binary(0x00, 0x00, length))

    def _read_binary(self, p1: int, p2: int, length: int) -> tuple[bytes, int]:
        """Read at most *length* bytes, in the longest read that this reader is known to take."""
        longest = min(length, self._longest_read)
        command = CommandApdu(CLA_INTERINDUSTRY, Instruction.READ_BINARY, p1, p2, le=longest)
        try:
            data, status_word = self._exchange(command)
        except ReaderFailure:
            if longest <= CAUTIOUS_READ:
                raise
        else:
            if status_word != StatusWord.WRONG_LENGTH or longest <= CAUTIOUS_READ:
                return data, status_word
        self._longest_read = CAUTIOUS_READ
        return self._exchange(replace(command, le=CAUTIOUS_READ))

    def _select_file(self, file: ElementaryFile) -> None:
        if self._current_file is file:
            return
        _, status_word = self._send(
            CommandApdu(
                CLA_INTERINDUSTRY,
                Instruction.SELECT,
                SELECT_FILE_UNDER_APPLICATION,
                SELECT_WITHOUT_ANSWER,
                file.value,
            )
        )
        if status_word != StatusWord.SUCCESS:
            raise error_for(status_word)
        self._current_file = file

    # -- addressing

    def _reference_to(self, file: ElementaryFile) -> int:
        """Return what stands for *file* in a command: its short identifier, or "selected last"."""
        if self._use_short_file_identifiers:
            return SHORT_FILE_IDENTIFIER | file.short_identifier
        return CURRENT_FILE

    def _is_refused(self, status_word: int) -> bool:
        """Tell whether a reference by short identifier was refused, and remember it."""
        if status_word in _SHORT_IDENTIFIER_REFUSED:
            self._use_short_file_identifiers = False
        return not self._use_short_file_identifiers

    def _send_to(self, file: ElementaryFile, command: CommandApdu) -> tuple[bytes, int]:
        """Send a command about *file*, which P2 names; select it first where that is needed."""
        if self._use_short_file_identifiers:
            answer = self._exchange(replace(command, p2=self._reference_to(file)))
            if not self._is_refused(answer[1]):
                return answer
        self._select_file(file)
        return self._exchange(replace(command, p2=CURRENT_FILE))

    # -- transport

    def _exchange(self, command: CommandApdu) -> tuple[bytes, int]:
        """Send a command with an answer, following 6Cxx and 61xx, which T=0 readers expose."""
        data, status_word = self._send(command)
        if status_word >> 8 == 0x6C:
            data, status_word = self._send(replace(command, le=status_word & 0xFF or 256))
        while status_word >> 8 == 0x61:
            more, status_word = self._send(replace(_GET_RESPONSE, le=status_word & 0xFF or 256))
            data += more
            if not more or len(data) > _MAXIMUM_CHAINED_ANSWER:
                raise MalformedCardData("an answer without end")
        return data, status_word

    def _send(self, command: CommandApdu) -> tuple[bytes, int]:
        return self._connection.send_and_receive(command.encode())


def _content(data: bytes, status_word: int) -> bytes:
    """Return what a READ BINARY brought; raise where it brought nothing."""
    if status_word not in (StatusWord.SUCCESS, StatusWord.END_OF_FILE):
        raise error_for(status_word)
    if not data:
        raise MalformedCardData("an empty answer to READ BINARY")
    return data


def _to_be_signed(certificate_der: bytes, message: bytes) -> bytes:
    """Return the bytes that the card turns into a signature over *message*."""
    try:
        public_key = x509.load_der_x509_certificate(certificate_der).public_key()
    except (ValueError, x509.InvalidVersion, exceptions.UnsupportedAlgorithm) as error:
        raise MalformedCardData("the certificate on the card has no readable key") from error
    if isinstance(public_key, rsa.RSAPublicKey):
        return SHA256_DIGEST_INFO_PREFIX + hashlib.sha256(message).digest()
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name == "secp384r1":
        return hashlib.sha384(message).digest()
    raise UnsupportedAlgorithm("neither RSA nor P-384")
