"""Names and numbers of the JPKI application: identifiers, files, labels, PIN limits. Pure.

No official card specification is public. Each table says which programs, written from measuring
cards, agree on it: OpenSC ``card-jpki.c`` and ``jpki.h``, myna ``src/jpki.rs``, jpki-rs
``ap/crypto.rs``, myna-card ``src/ap/jpki.rs``.
"""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum, unique

JPKI_APPLICATION_ID = bytes.fromhex("D392F000260100000001")
"""AID of the JPKI application (公的個人認証AP). OpenSC card-jpki.c, myna src/jpki.rs."""

ALLOWED_APPLICATION_IDS = frozenset({JPKI_APPLICATION_ID})
"""The applications this program may select. It has one entry, and it stays one entry.

The card's other applications hold the 12-digit My Number (個人番号), name and address; collecting
the number is unlawful outside the uses that 番号法 names. What a library's settings may add is in
``jpki.card_application``.
"""

FORBIDDEN_APPLICATION_IDS = (
    JPKI_APPLICATION_ID,  # has its own way in, ``jpki.card``
    bytes.fromhex("D3921000310001010408"),  # 券面事項入力補助AP: My Number, name, address
    bytes.fromhex("D3921000310001010402"),  # 券面事項確認AP: the face of the card
    bytes.fromhex("D3921000310001010401"),  # 住基AP
    bytes.fromhex("D3921000310001010100"),  # 共通カードAP
    bytes.fromhex("A0000001510000"),  # issuer security domain (GlobalPlatform)
)
"""What no setting may name: the card's own applications (OpenSC, myna, myna-card)."""


@unique
class ElementaryFile(bytes, Enum):
    """EF identifiers under the JPKI application (OpenSC card-jpki.c, myna src/jpki.rs, myna-card)."""

    SIGNATURE_CERTIFICATE = bytes.fromhex("0001")  # holds name, address, date of birth, sex
    SIGNATURE_CA_CERTIFICATE = bytes.fromhex("0002")
    TOKEN_INFORMATION = bytes.fromhex("0006")
    CERTIFICATE_AVAILABILITY = bytes.fromhex("0008")
    USER_AUTHENTICATION_CERTIFICATE = bytes.fromhex("000A")
    USER_AUTHENTICATION_CA_CERTIFICATE = bytes.fromhex("000B")
    USER_AUTHENTICATION_KEY = bytes.fromhex("0017")
    USER_AUTHENTICATION_PIN = bytes.fromhex("0018")
    SIGNATURE_KEY = bytes.fromhex("001A")
    SIGNATURE_PIN = bytes.fromhex("001B")

    @property
    def short_identifier(self) -> int:
        """Short file identifier: the low five bits of the identifier (myna-card, measured)."""
        return self.value[1] & 0x1F


READABLE_FILES = frozenset(
    {
        ElementaryFile.TOKEN_INFORMATION,
        ElementaryFile.USER_AUTHENTICATION_CERTIFICATE,
        ElementaryFile.USER_AUTHENTICATION_CA_CERTIFICATE,
    }
)
"""The files this program may read. The signature certificate is not one of them."""

ALLOWED_FILES = READABLE_FILES | {
    ElementaryFile.USER_AUTHENTICATION_KEY,
    ElementaryFile.USER_AUTHENTICATION_PIN,
}
"""The files this program may select: those of user authentication, never those of the signature."""


@unique
class Instruction(IntEnum):
    """INS bytes (ISO/IEC 7816-4 and 7816-8) that the JPKI application is known to answer."""

    VERIFY = 0x20
    CHANGE_REFERENCE_DATA = 0x24
    PERFORM_SECURITY_OPERATION = 0x2A
    SELECT = 0xA4
    READ_BINARY = 0xB0
    GET_RESPONSE = 0xC0


CLA_INTERINDUSTRY = 0x00
CLA_PROPRIETARY = 0x80
"""Class byte of the signature command alone (OpenSC card-jpki.c, myna src/jpki.rs)."""

SELECT_BY_NAME = 0x04
SELECT_FILE_UNDER_APPLICATION = 0x02
"""P1 of SELECT; 02 is the only form the card takes for a file (OpenSC pull request 801)."""

SELECT_WITHOUT_ANSWER = 0x0C
"""P2 of SELECT: no file control information wanted (ISO/IEC 7816-4)."""

CURRENT_FILE = 0x80
"""P2 of VERIFY and of the signature: the file selected last."""

SHORT_FILE_IDENTIFIER = 0x80
"""Or-ed to a short file identifier in P1 of READ BINARY and P2 of the others (myna-card)."""


@unique
class TokenKind(StrEnum):
    """Kinds of JPKI token, by the label in EF 0006 (myna src/jpki.rs, myna-card).

    The answer-to-reset tells nothing reliable: it changes with card generation and reader.
    """

    MY_NUMBER_CARD = "JPKIAPICCTOKEN2"
    BASIC_RESIDENT_REGISTER_CARD = "JPKIAPICCTOKEN"  # 住基カード; its JPKI service has ended
    ANDROID_PHONE = "JPKIAPGPSETOKEN"
    IPHONE = "JPKIAPIOSTOKEN"


TOKEN_LABEL_LENGTH = 32
"""Bytes of the label at the head of EF 0006 (CK_TOKEN_INFO of PKCS#11)."""

USER_AUTHENTICATION_PIN_LENGTH = 4
USER_AUTHENTICATION_PIN_TRIES = 3
"""JPKI_AUTH_PIN_MAX_TRIES, OpenSC jpki.h."""

SIGNATURE_PIN_TRIES = 5
"""JPKI_SIGN_PIN_MAX_TRIES, OpenSC jpki.h; for the simulator, this program never sends that PIN."""

SHA256_DIGEST_INFO_PREFIX = bytes.fromhex("3031300D060960864801650304020105000420")
"""DER of DigestInfo for SHA-256 up to the 32 bytes of the hash (RFC 8017, 9.2, note 1)."""

USER_AUTHENTICATION_POLICY_OID = "1.2.392.200149.8.5.1.3.30"
"""Certificate policy of the user authentication certificate (利用者証明用電子証明書)."""
