"""What the bridge remembers and decides about, as plain values.

No database, no web and no clock in here: ``bridge.store`` keeps these values, the services make
them. Every time is an aware UTC ``datetime``. What must not be printed is left out of every repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum, unique
from types import MappingProxyType

from jpki.challenge import ChallengePurpose
from jpki.revocation import RevocationAnswer


@unique
class TerminalKind(StrEnum):
    """Where a card reader stands."""

    COUNTER = "counter"
    SELF_CHECK = "self_check"


@unique
class ReaderState(StrEnum):
    """What an agent tells of its card reader."""

    READY = "ready"
    MISSING = "missing"
    NO_SERVICE = "no_service"
    """The reader service (pcscd) of its machine does not run."""


@unique
class OutputState(StrEnum):
    """What an agent tells of the way by which it hands tokens to the self-check machine."""

    READY = "ready"
    UNAVAILABLE = "unavailable"
    NONE = "none"
    """There is none: at a counter no token is made."""


@dataclass(frozen=True)
class TerminalReport:
    """What the agent at a terminal last told of itself. ``version`` is that of its program."""

    reader: ReaderState
    output: OutputState
    version: str


@dataclass(frozen=True)
class TerminalEnrolment:
    """The code that was last drawn for a terminal: until when it is good, and when it was used."""

    library_id: str
    terminal_id: str
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True)
class OpenWork:
    """What is open at a terminal until a moment: a link request at a counter, or a card session.

    ``subject`` is its id.
    """

    library_id: str
    terminal_id: str
    subject: str
    until: datetime


@dataclass(frozen=True)
class Terminal:
    """A place with a card reader (端末): a counter PC or a self-check machine (自動貸出機).

    ``sip2_login`` is the log-in (CN) with which the self-check machine at this place speaks SIP2;
    a token made for this terminal is worth something on that log-in only. ``last_seen_at`` is when its
    agent last called, to half a minute.
    """

    terminal_id: str
    library_id: str
    name: str
    kind: TerminalKind
    sip2_login: str | None = None
    active: bool = True
    last_seen_at: datetime | None = field(default=None, compare=False)
    report: TerminalReport | None = field(default=None, compare=False)


@unique
class IdentifierKind(StrEnum):
    """What a card is recognised by."""

    SERIAL_NUMBER = "serial_number"
    PPID = "ppid"
    MYKEY_ID = "mykey_id"
    CARD_AP_NUMBER = "card_ap_number"


@dataclass(frozen=True)
class CardIdentifier:
    """What a link is kept under: a keyed digest, different in every library.

    ``digest`` is hex of HMAC-SHA-256 under the library's own key ``key_id``, so that two libraries
    cannot join their links and nobody without the key can find a card by counting serial numbers.
    """

    kind: IdentifierKind
    key_id: str
    digest: str = field(repr=False)


@unique
class LinkState(StrEnum):
    """The life of a link."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    ENDED = "ended"


@unique
class UnlinkReason(StrEnum):
    """Why staff end a link; a list, so that nobody's name is typed into the audit log."""

    PATRON_REQUEST = "patron_request"
    CARD_LOST = "card_lost"
    MISTAKE = "mistake"


@unique
class LinkEndReason(StrEnum):
    """Why a link ended that nobody ended by hand."""

    RELINKED = "relinked"
    IDENTIFIER_REPLACED = "identifier_replaced"
    ACCOUNT_GONE = "account_gone"
    CERTIFICATE_EXPIRED = "certificate-expired"
    LINK_EXPIRED = "link-expired"
    REPRESENTATION_OVER = "representation-over"


@unique
class BulkUnlinkReason(StrEnum):
    """Why staff end many links at once; where a word is that of another table it means the same."""

    MISTAKE = "mistake"
    PATRON_REQUEST = "patron_request"
    SUSPECTED_MISUSE = "suspected_misuse"
    NOT_USED = "not_used"
    SERVICE_ENDED = "service_ended"


@unique
class SuspensionReason(StrEnum):
    """Why a link rests. Staff choose among the first three."""

    CARD_MISLAID = "card_mislaid"
    PATRON_REQUEST = "patron_request"
    SUSPECTED_MISUSE = "suspected_misuse"
    CERTIFICATE_REVOKED = "certificate-revoked"
    ACCOUNT_GONE = "account_gone"


@unique
class ConsentLanguage(StrEnum):
    """The languages in which every wording is kept."""

    JAPANESE = "ja"
    ENGLISH = "en"


@unique
class ConsentProblem(StrEnum):
    """Why a text is no wording."""

    EMPTY = "empty"
    TOO_LONG = "too-long"
    CONTROL_CHARACTER = "control-character"


@unique
class RepresentativeCheck(StrEnum):
    """What staff look at before a legal representative (法定代理人) links the card of a child under 15.

    That it was looked at is kept, never a copy of the paper or what it says.
    """

    CHILDS_LIBRARY_CARD = "childs_library_card"
    CHILDS_CARD_AND_PIN = "childs_card_and_pin"
    REPRESENTATIVES_IDENTITY = "representatives_identity"
    LIVING_TOGETHER = "living_together"
    NAME_AND_ADDRESS = "name_and_address"
    PUBLIC_ISSUER = "public_issuer"


@dataclass(frozen=True)
class Representation:
    """A child's link made by a legal representative.

    ``until`` is the child's 15th birthday: from that day on only the child itself can link the card. It
    is all that is kept of the date of birth. ``checks`` are the points that staff ticked.
    """

    until: date
    checks: frozenset[RepresentativeCheck]


@dataclass(frozen=True)
class CardLink:
    """A My Number Card linked to a patron (連携登録).

    It points to Koha's ``patron_id``, which survives a new library card, never to ``cardnumber``.
    Where the library system tells no such number (SIP2 alone), ``patron_id`` is None and
    ``patron_reference`` holds the card number, encrypted, until the number is known or the link ends.
    ``not_after`` is the end of the certificate's validity; the link cannot outlive it.
    ``revocation`` is the last answer about the certificate that was GOOD or REVOKED;
    ``suspended_reason`` is the ``SuspensionReason`` for which it rests.
    ``consent_version`` names the wording to which the patron agreed before ``linked_by`` at
    ``consented_at``; None for a link that is older than this record. ``representation`` was checked by the
    same person at the same time. ``replaces`` is the link that this one took the place of.
    ``patron_gone_at`` is since when the library system does not know the patron of a link that rested
    already for another reason.
    """

    link_id: str
    library_id: str
    patron_id: int | None
    kind: IdentifierKind
    state: LinkState
    not_after: datetime
    linked_at: datetime
    linked_by: str
    last_used_at: datetime | None = None
    ended_at: datetime | None = None
    ended_reason: str | None = None
    patron_reference: str | None = field(repr=False, default=None)
    revocation: RevocationAnswer | None = None
    suspended_at: datetime | None = None
    suspended_reason: str | None = None
    consent_version: str | None = None
    consented_at: datetime | None = None
    representation: Representation | None = None
    replaces: str | None = None
    patron_gone_at: datetime | None = None

    def is_living(self, now: datetime) -> bool:
        """Whether the link has neither ended nor outlived its certificate."""
        return self.ended_at is None and now <= self.not_after


@unique
class ApprovalReason(StrEnum):
    """Why a second person approves that many links end."""

    LINKS_CHECKED = "links_checked"
    LIBRARY_DECISION = "library_decision"


@unique
class DeclineReason(StrEnum):
    """Why a second person declines it."""

    WRONG_LINKS = "wrong_links"
    NOT_NEEDED = "not_needed"
    UNCLEAR = "unclear"


@unique
class BulkUnlinkingState(StrEnum):
    """How far a request to end many links has come."""

    REQUESTED = "requested"
    APPROVED = "approved"
    """Its links are being ended; what is left after a break goes on."""
    EXECUTED = "executed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


@dataclass(frozen=True)
class BulkUnlinking:
    """A request to end many links (一括解除), which another person of the library decides.

    ``link_count`` links were named when it was made. ``decided_by`` is never who requested it;
    ``decision`` is the ``ApprovalReason`` or ``DeclineReason``. ``ended`` and ``skipped`` count what is
    done so far: a link that had ended already by then is skipped. ``closed_at`` is when nothing was left
    to do.
    """

    bulk_id: str
    library_id: str
    reason: BulkUnlinkReason
    link_count: int
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    state: BulkUnlinkingState = BulkUnlinkingState.REQUESTED
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision: str | None = None
    ended: int = 0
    skipped: int = 0
    closed_at: datetime | None = None

    def state_at(self, now: datetime) -> BulkUnlinkingState:
        """Return the state; one that nobody decided in time has expired, told or not."""
        is_overdue = self.state is BulkUnlinkingState.REQUESTED and now >= self.expires_at
        return BulkUnlinkingState.EXPIRED if is_overdue else self.state


@unique
class LinkRequestState(StrEnum):
    """How far a link that a librarian started has come; the counter page shows it."""

    WAITING_FOR_CARD = "waiting_for_card"
    WAITING_FOR_PIN = "waiting_for_pin"
    COMPLETED = "completed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_open(self) -> bool:
        """Whether the request can still become a link."""
        return self in (LinkRequestState.WAITING_FOR_CARD, LinkRequestState.WAITING_FOR_PIN)


@unique
class AgentStep(StrEnum):
    """What an agent tells of the work at its reader, between the challenge and the response."""

    PIN_REQUESTED = "pin_requested"
    PIN_WRONG = "pin_wrong"
    PIN_BLOCKED = "pin_blocked"
    CARD_REMOVED = "card_removed"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class LinkRequest:
    """A librarian's order for the next card at one counter terminal: to link it, or to tell whose it is.

    Where it is to be linked, ``patron_id`` or ``patron_reference`` name the patron; where its patron is
    asked for, ``link_id`` is the answer.

    ``problem`` is the slug of the last refusal (``bridge.errors``), so that the page can say what, and
    ``problem_why`` tells apart what one slug covers (``bridge.errors.why_of``);
    ``attempts_remaining`` is what the card last answered, if the agent has told it. ``patron_id`` and
    ``patron_reference``, ``consent_version``, ``representation`` and ``replaces`` are those of ``CardLink``.
    """

    request_id: str
    library_id: str
    terminal_id: str
    patron_id: int | None
    librarian_id: str
    state: LinkRequestState
    started_at: datetime
    expires_at: datetime
    problem: str | None = None
    attempts_remaining: int | None = None
    link_id: str | None = None
    problem_why: str | None = None
    patron_reference: str | None = field(repr=False, default=None)
    consent_version: str | None = None
    representation: Representation | None = None
    replaces: str | None = None
    purpose: ChallengePurpose = ChallengePurpose.LINK


@unique
class MoveDirection(StrEnum):
    """Whether a patron goes into the category for linked patrons, or back where it came from."""

    LINKED = "linked"
    BACK = "back"


@unique
class MoveState(StrEnum):
    """How far a move between categories has come."""

    PENDING = "pending"
    FAILED = "failed"
    DONE = "done"
    LEFT_ALONE = "left_alone"
    SUPERSEDED = "superseded"

    @property
    def is_open(self) -> bool:
        """Whether the move is still to be made: a failed one is tried again."""
        return self in (MoveState.PENDING, MoveState.FAILED)


@dataclass(frozen=True)
class CategoryMove:
    """A patron's move between two categories (利用者区分) in Koha, for a link made or ended.

    ``problem`` is the slug of what stood against the last attempt (``bridge.errors``). A patron whom
    staff moved meanwhile, or who is gone, is left alone; a move is superseded by the next one of the
    same patron.
    """

    move_id: str
    library_id: str
    link_id: str
    patron_id: int
    direction: MoveDirection
    from_category: str
    to_category: str
    state: MoveState
    created_at: datetime
    updated_at: datetime
    attempts: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class SessionToken:
    """The one-time token that a self-check machine takes for a scanned library card: digits."""

    value: str = field(repr=False)


@dataclass(frozen=True)
class CardSession:
    """The time in which a token stands for a patron at one self-check machine.

    ``revocation`` is the answer that let it be opened; it must stay fresh as long as the session is used.
    """

    session_id: str
    library_id: str
    terminal_id: str
    link_id: str
    opened_at: datetime
    expires_at: datetime
    cardnumber: str = field(repr=False)
    last_used_at: datetime | None = None
    closed_at: datetime | None = None
    revocation: RevocationAnswer | None = None


@unique
class ActorKind(StrEnum):
    """Who did something."""

    LIBRARIAN = "librarian"
    TERMINAL = "terminal"
    PROXY = "proxy"
    COMMAND = "command"
    PLUGIN = "plugin"


@dataclass(frozen=True)
class Actor:
    """Who did something: a librarian, a terminal, the SIP2 proxy, a command on the server, Koha's plugin."""

    kind: ActorKind
    actor_id: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.actor_id}"


@unique
class AuditTag(StrEnum):
    """What happened, as ``subject:action`` (the grammar of Warehouse's event tags)."""

    LINK_REQUESTED = "card_link:requested"
    LINK_REQUEST_CANCELLED = "card_link:request_cancelled"
    LINK_CREATED = "card_link:created"
    LINK_REFUSED = "card_link:refused"
    LINK_ENDED = "card_link:ended"
    LINK_SUSPENDED = "card_link:suspended"
    LINK_IMPORTED = "card_link:imported"
    LINKS_EXPORTED = "card_link:exported"
    LINK_RESTORED = "card_link:restored"
    LINK_DELETED = "card_link:deleted"
    LINK_UPGRADED = "card_link:upgraded"
    BULK_UNLINKING_REQUESTED = "bulk_unlinking:requested"
    BULK_UNLINKING_APPROVED = "bulk_unlinking:approved"
    BULK_UNLINKING_DECLINED = "bulk_unlinking:declined"
    BULK_UNLINKING_WITHDRAWN = "bulk_unlinking:withdrawn"
    BULK_UNLINKING_EXPIRED = "bulk_unlinking:expired"
    BULK_UNLINKING_EXECUTED = "bulk_unlinking:executed"
    IDENTIFICATION_REQUESTED = "identification:requested"
    IDENTIFICATION_CANCELLED = "identification:cancelled"
    IDENTIFICATION_REFUSED = "identification:refused"
    PATRON_IDENTIFIED = "identification:completed"
    PATRON_LOOKED_UP = "patron:looked_up"
    CATEGORY_MOVED = "patron_category:moved"
    CATEGORY_LEFT_ALONE = "patron_category:left_alone"
    CATEGORY_MOVE_FAILED = "patron_category:move_failed"
    SESSION_OPENED = "card_session:opened"
    SESSION_FOR_REVIEW = "card_session:for_review"
    SESSION_DENIED = "card_session:denied"
    PIN_WRONG = "terminal:pin_wrong"
    SESSION_CLOSED = "card_session:closed"
    SESSION_ANOTHER_PATRON = "card_session:another_patron"
    SESSION_GUESSING = "card_session:guessing"
    TERMINAL_ADDED = "terminal:added"
    TERMINAL_REMOVED = "terminal:removed"
    TERMINAL_ELSEWHERE = "terminal:login_from_elsewhere"
    TERMINAL_CODE_DRAWN = "terminal:enrolment_code"
    TERMINAL_ENROLLED = "terminal:enrolled"
    TERMINAL_ENROLMENT_REFUSED = "terminal:enrolment_refused"
    TERMINAL_ENROLMENT_GUESSING = "terminal:enrolment_guessing"
    LIBRARIAN_ADDED = "librarian:added"
    LIBRARIAN_DISABLED = "librarian:disabled"
    LIBRARIAN_ENABLED = "librarian:enabled"
    LIBRARIAN_ROLE_CHANGED = "librarian:role:change"
    LIBRARIAN_PASSWORD_RESET = "librarian:password:reset"  # noqa: S105  # not a password
    LIBRARIAN_PASSWORD_CHANGED = "librarian:password:change"  # noqa: S105  # not a password
    LIBRARIAN_PASSWORD_OF_KOHA = "librarian:password:koha"  # noqa: S105  # not a password
    KOHA_PERMISSION_MISSING = "librarian:koha_permission:missing"
    LIBRARIAN_UNLOCKED = "librarian:unlocked"
    SECOND_FACTOR_SET_UP = "librarian:second_factor:set_up"
    SECOND_FACTOR_REMOVED = "librarian:second_factor:removed"
    SECOND_FACTOR_RESET = "librarian:second_factor:reset"
    LOGIN_SUCCEEDED = "librarian:login:success"
    LOGIN_FAILED = "librarian:login:failure"
    LOGGED_OUT = "librarian:logout"
    LIST_EXPORTED = "list:exported"
    DESK_OPENED = "librarian:desk:opened"
    KOHA_ACCOUNT_ADDED = "librarian:koha_account:added"
    KOHA_ACCOUNT_REMOVED = "librarian:koha_account:removed"
    PLUGIN_ADDED = "koha_plugin:added"
    PLUGIN_REMOVED = "koha_plugin:removed"
    PLUGIN_REFUSED = "koha_plugin:refused"
    CONSENT_CHANGED = "consent:changed"
    AUDIT_SEALED = "audit_log:sealed"
    KEYS_ROTATED = "master_key:rotated"
    KEY_RETIRED = "master_key:retired"


REPEATABLE_TAGS = frozenset(
    {
        AuditTag.LINK_REFUSED,
        AuditTag.SESSION_DENIED,
        AuditTag.PIN_WRONG,
        AuditTag.SESSION_ANOTHER_PATRON,
        AuditTag.SESSION_GUESSING,
        AuditTag.TERMINAL_ELSEWHERE,
        AuditTag.LOGIN_FAILED,
        AuditTag.KOHA_PERMISSION_MISSING,
        AuditTag.TERMINAL_ENROLMENT_REFUSED,
        AuditTag.TERMINAL_ENROLMENT_GUESSING,
        AuditTag.PLUGIN_REFUSED,
    }
)
"""What a stranger, or a terminal that runs wild, can bring about without end: repetitions are counted."""


@dataclass(frozen=True)
class AuditEvent:
    """One line of the audit log (監査記録): references only, never a name, card number or identifier.

    ``subject`` is the id of what it happened to (link, session, request, terminal, librarian).
    ``details`` are short words such as ``{"problem": "certificate-expired"}``.
    """

    tag: AuditTag
    library_id: str
    actor: Actor
    subject: str
    at: datetime
    terminal_id: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)


REGION = "*"
"""In place of a library's id: all libraries of the settings. No library can have this id."""


@unique
class Permission(StrEnum):
    """What a role may do; each page and each service of the admin asks for one of these."""

    WORK_AT_THE_COUNTER = "work_at_the_counter"
    SEE_RECORDS = "see_records"
    ADMINISTER = "administer"


@unique
class LibrarianRole(StrEnum):
    """What a member of staff is."""

    LIBRARIAN = "librarian"
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"
    REGION_ADMINISTRATOR = "region_administrator"

    def may(self, permission: Permission) -> bool:
        """Whether this role has a permission."""
        return permission in PERMISSIONS[self]

    @property
    def is_region_wide(self) -> bool:
        """Whether who has this role belongs to no library, and administers all of them."""
        return self is LibrarianRole.REGION_ADMINISTRATOR


PERMISSIONS: Mapping[LibrarianRole, frozenset[Permission]] = MappingProxyType(
    {
        LibrarianRole.LIBRARIAN: frozenset({Permission.WORK_AT_THE_COUNTER, Permission.SEE_RECORDS}),
        LibrarianRole.ADMINISTRATOR: frozenset(Permission),
        LibrarianRole.AUDITOR: frozenset({Permission.SEE_RECORDS}),
        LibrarianRole.REGION_ADMINISTRATOR: frozenset({Permission.ADMINISTER}),
    }
)
"""The table of roles.

Records are links, changes of category and the audit log, of one's own library. To administer is to see
settings, and to manage terminals and staff: of one's own library, or as region administrator of all; who
does that for all libraries reaches no link, patron or session in any of them.
"""


@unique
class PasswordSource(StrEnum):
    """Who knows the password of a librarian."""

    BRIDGE = "bridge"
    KOHA = "koha"


@dataclass(frozen=True)
class Librarian:
    """A member of staff with a log-in to the admin, belonging to one library or to the ``REGION``.

    ``session_generation`` goes up when the sessions that were begun so far shall be worth nothing.
    ``has_second_factor`` once a second factor was set up and confirmed. ``koha_patron_id`` is the
    borrowernumber of whose password in Koha is asked for; None where the bridge keeps one of its own.
    """

    librarian_id: str
    library_id: str
    login_name: str
    display_name: str
    role: LibrarianRole
    active: bool = True
    session_generation: int = 0
    has_second_factor: bool = False
    koha_patron_id: int | None = None

    @property
    def password_source(self) -> PasswordSource:
        """Who knows the password."""
        return PasswordSource.BRIDGE if self.koha_patron_id is None else PasswordSource.KOHA


@dataclass(frozen=True)
class KohaPlugin:
    """A Koha whose plugin may open the desk (``bridge.counter.koha_desk``) for librarians signed in there."""

    plugin_id: str
    library_id: str
    name: str


@dataclass(frozen=True)
class KohaAccount:
    """Which librarian somebody is who signs in to Koha's staff pages.

    ``koha_patron_id`` is Koha's borrowernumber: a user id can be changed by whoever may edit patrons.
    """

    library_id: str
    koha_patron_id: int
    librarian_id: str


@dataclass(frozen=True)
class DeskPass:
    """For how long a librarian may work at the desk with one token.

    ``plugin_id`` is None where the librarian gave name and password.
    """

    librarian_id: str
    session_generation: int
    plugin_id: str | None
    expires_at: datetime
