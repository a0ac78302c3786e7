"""The seams of the bridge's services: what they need of the outside, as Protocols.

``bridge.store`` implements ``Store`` over SQLAlchemy, ``bridge.wiring`` adapts the Koha client to
``PatronDirectory``. Services and their tests know these names only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum, unique
from typing import NamedTuple, Protocol

from bridge.audit.chain import ChainedEvent, ChainedRow, ChainHead, EventColumns
from bridge.guessing import Guesses
from bridge.links.consent import ConsentWording, OwnConsent
from bridge.models import (
    AuditEvent,
    AuditTag,
    BulkUnlinking,
    BulkUnlinkingState,
    CardIdentifier,
    CardLink,
    CardSession,
    CategoryMove,
    DeskPass,
    IdentifierKind,
    KohaAccount,
    KohaPlugin,
    Librarian,
    LibrarianRole,
    LinkRequest,
    LinkState,
    MoveDirection,
    MoveState,
    OpenWork,
    SuspensionReason,
    Terminal,
    TerminalEnrolment,
    TerminalReport,
)
from bridge.rules import PatronStanding
from jpki.challenge import Challenge
from jpki.revocation import RevocationAnswer

Clock = Callable[[], datetime]
"""Returns the present moment, aware, in UTC."""

RandomBytes = Callable[[int], bytes]
"""Returns that many unpredictable bytes (``secrets.token_bytes``)."""


ChangeCounter = Callable[[], int]
"""Returns another number after anybody, in any process, has committed a change to the database."""


@dataclass(frozen=True)
class PatronRecord:
    """A patron as the library system shows one to the bridge; the name is for the counter's screen.

    ``patron_id`` is None where the library system does not tell it. ``expired`` is its own word, where
    it tells no date. ``version`` changes with every change of the patron.
    """

    patron_id: int | None
    category_id: str
    expiry_date: date | None
    restricted: bool
    card_lost: bool
    cardnumber: str = field(repr=False)
    name: str = field(repr=False, default="")
    expired: bool = False
    version: str | None = None

    @property
    def standing(self) -> PatronStanding:
        """What the rules need of it."""
        return PatronStanding(self.expiry_date, self.restricted, self.card_lost, self.expired)


class PatronDirectory(Protocol):
    """The library system of one library: over REST, or over SIP2 alone, where no patron has an id."""

    def find_by_cardnumber(self, cardnumber: str) -> PatronRecord | None:
        """Return the one patron with exactly this card number. Raises ``KohaNotReachable``."""

    def get(self, patron_id: int) -> PatronRecord:
        """Return a patron. Raises ``NoSuchPatron``, ``KohaNotReachable``."""


@dataclass(frozen=True)
class CategoryDetails:
    """What the library system tells of a patron category (利用者区分); None is what it does not say.

    A patron who is moved into it may be charged ``enrolment_fee``, and loses the guarantors where
    ``can_be_guarantee`` is false.
    """

    category_id: str
    name: str = ""
    enrolment_fee: Decimal | None = None
    can_be_guarantee: bool | None = None


class PatronCategories(Protocol):
    """The categories of one library's patrons."""

    def describe(self, category_ids: Sequence[str]) -> Mapping[str, CategoryDetails]:
        """Return what is known of categories; one that is not listed is left out.

        Empty where the library system does not list categories, or not to us.
        """

    def move(self, patron: PatronRecord, category_id: str) -> None:
        """Move a patron who is still as *patron* says.

        Raises ``PatronChanged``, ``CategoryRefused``, ``NoSuchPatron``, ``KohaNotReachable``.
        """


@dataclass(frozen=True)
class KohaStanding:
    """What Koha says of one of its staff. ``permitted`` is about the permission that the library asks for.

    ``tries_left`` counts the wrong passwords until Koha locks the account; None where it never does.
    ``userid`` is None for who cannot sign in to Koha.
    """

    permitted: bool
    tries_left: int | None
    userid: str | None = field(repr=False)


class KohaStaff(Protocol):
    """Staff as one library's Koha knows them."""

    def standing(self, koha_patron_id: int) -> KohaStanding | None:
        """Return somebody's standing, None where there is nobody. Raises ``KohaNotReachable``."""

    def is_password_of(self, koha_patron_id: int, userid: str, password: str) -> bool:
        """Return whether the password is right; a wrong one counts in Koha. Raises ``KohaNotReachable``."""


@dataclass(frozen=True)
class PendingChallenge:
    """A challenge on its way, and the revocation answer; None until the source has answered."""

    challenge: Challenge
    revocation: RevocationAnswer | None
    link_request_id: str | None = None


@dataclass(frozen=True)
class EncryptedValue:
    """What only the key outside the database can read: a serial number or a card number.

    AES-256-GCM under the library's key ``key_id``; ``nonce`` is 12 bytes, ``ciphertext`` ends in the
    16-byte tag.
    """

    key_id: str
    nonce: bytes
    ciphertext: bytes = field(repr=False)


class EventCount(NamedTuple):
    """How often something of one kind happened; terminal and problem are empty where none is told."""

    tag: AuditTag
    terminal_id: str
    problem: str
    times: int


class AuditSeal(NamedTuple):
    """HMAC-SHA-256 over the head of an audit log, under a library's key of its own."""

    key_id: str
    mac: bytes


class AuditSealer(Protocol):
    """Whoever holds the keys that are not in the database."""

    def seal_head(self, head: ChainHead) -> AuditSeal:
        """Return the seal of *head* under the current key."""

    def is_sealed(self, head: ChainHead, seal: AuditSeal) -> bool:
        """Say whether *seal* is that of *head*. Raises ``KeyProblem`` where its key is missing."""


@dataclass(frozen=True)
class AuditBlock:
    """Events that follow each other. ``columns`` is None where a log that is whole has none.

    ``rows`` reads the same events one by one, before the next block is asked for.
    """

    columns: EventColumns | None
    rows: Callable[[], Iterator[ChainedRow]]


@dataclass(frozen=True)
class AuditSnapshot:
    """One library's audit log at one moment, as ``events`` or as ``blocks``.

    Either holds every event, whatever its number is, and can be gone through once.
    """

    library_id: str
    head: ChainHead | None
    seal: AuditSeal | None
    total: int
    events: Iterator[ChainedRow]
    blocks: Iterator[AuditBlock]


class AuditReader(Protocol):
    """Where the audit logs are read by whoever checks or exports them."""

    def libraries(self) -> Sequence[str]:
        """Return the libraries that have an audit log, or had one, by id."""

    def snapshot(self, library_id: str) -> AbstractContextManager[AuditSnapshot]:
        """Open a library's log; writers are not held up meanwhile, and memory does not grow with it."""

    def last_sequence(self, library_id: str) -> int:
        """Return the number of a library's last event, 0 where there is none."""

    def events_after(self, library_id: str, sequence: int) -> Iterator[ChainedEvent]:
        """Yield a library's events after the one of that number."""


@unique
class KeyedRecord(StrEnum):
    """What is kept under a master key."""

    LINK = "links"
    LIBRARY_CARD = "library card numbers"
    LINK_REQUEST = "open requests"
    SESSION = "open sessions"
    SECOND_FACTOR = "second factors"
    AUDIT_SEAL = "audit seals"


class KeyedLink(NamedTuple):
    """Of an open link what is under a master key. ``serial`` is None where it is lost."""

    link_id: str
    linked_at: datetime
    library_id: str
    identifier: CardIdentifier
    serial: EncryptedValue | None
    patron_reference: str | None


@dataclass(frozen=True)
class RevocationTag:
    """By what a sweep finds the link of a revoked certificate: its CA key, and a tag of its serial number.

    The tag is made with the master key that also encrypted the serial number; see
    ``bridge.keys.ring.KeyRing.revocation_tags``.
    """

    issuer_key_identifier: bytes
    value: int = field(repr=False)


class LinkGroup(NamedTuple):
    """The links of one library whose tags can be compared: of one CA key, made with one master key.

    Without an issuer: links that bear no tag.
    """

    library_id: str
    issuer_key_identifier: bytes | None
    key_id: str | None


class SweptLink(NamedTuple):
    """Of an active link what a sweep needs to ask about it by itself."""

    link_id: str
    linked_at: datetime
    library_id: str
    serial: EncryptedValue | None


class ExpiringLink(NamedTuple):
    """An open link whose certificate ends soon."""

    link_id: str
    library_id: str
    not_after: datetime


@dataclass(frozen=True)
class RevocationSweepState:
    """How far a sweep over all active links has come, and what was found.

    ``position`` is the last link that is done and ``position_at`` when it was made; at first none.
    """

    sweep_id: str
    started_at: datetime
    position_at: datetime | None = None
    position: str = ""
    good: int = 0
    suspended: int = 0
    unknown: int = 0
    finished_at: datetime | None = None

    @property
    def checked(self) -> int:
        """Number of links that are done."""
        return self.good + self.suspended + self.unknown


@dataclass(frozen=True)
class SecondFactor:
    """What is kept of a second factor: its secret, encrypted, and the last step of time that was used.

    It counts from ``confirmed_at``; until then its secret is shown to who sets it up.
    """

    secret: EncryptedValue
    confirmed_at: datetime | None = None
    last_step: int | None = None


NO_PASSWORD = "!"  # noqa: S105  # what no password has as its hash


@dataclass(frozen=True)
class LibrarianAccount:
    """A librarian, and what a log-in is checked against.

    ``password_hash`` is ``NO_PASSWORD`` where Koha has the password.
    """

    librarian: Librarian
    failed_log_ins: int
    locked_until: datetime | None
    password_hash: str = field(repr=False)
    second_factor: SecondFactor | None = None


@dataclass(frozen=True)
class PluginCredentials:
    """A plugin, and what its secret is checked against."""

    plugin: KohaPlugin
    failures: int
    locked_until: datetime | None
    secret_digest: str = field(repr=False)


class Transaction(Protocol):
    """What can be read and written in one database transaction. All or nothing."""

    # terminals and librarians
    def add_terminal(self, terminal: Terminal, token_digest: str) -> None:
        """Raises ``NameTaken`` where the id or the SIP2 log-in is in use.

        The id of a removed terminal is free again.
        """

    def remove_terminal(self, library_id: str, terminal_id: str) -> Terminal:
        """Take the terminal's token and log-in away. Raises ``TerminalNotFound``."""

    def find_terminal(self, library_id: str, terminal_id: str) -> Terminal | None: ...
    def find_terminal_by_token(self, token_digest: str) -> Terminal | None: ...
    def find_terminal_by_sip2_login(self, library_id: str, sip2_login: str) -> Terminal | None: ...
    def terminals(self, library_id: str) -> Sequence[Terminal]: ...
    def count_terminals(self) -> Mapping[str, int]:
        """Return how many active terminals each library has, by its id."""

    def count_librarians(self) -> Mapping[str, int]:
        """Return how many accounts of staff each library has, disabled ones too, by its id."""

    def set_enrolment_code(
        self, library_id: str, terminal_id: str, digest: str, expires_at: datetime
    ) -> None:
        """Let an active terminal enrol by the code of this digest, and by no other, until a moment."""

    def find_enrolment(self, digests: Sequence[str]) -> TerminalEnrolment | None:
        """Return the enrolment of a code, used or not; who wants to use it too waits for this transaction."""

    def enrol_terminal(self, library_id: str, terminal_id: str, token_digest: str, at: datetime) -> Terminal:
        """Give an active terminal another token, and use its code up.

        Raises ``TerminalNotFound``, and ``NameTaken`` where another terminal has this token.
        """

    def see_terminal(
        self, library_id: str, terminal_id: str, at: datetime, report: TerminalReport | None = None
    ) -> None:
        """Remember when an active terminal called last, and what it told of itself, if it did."""

    def open_work(self, idle_limit: timedelta, terminal: Terminal | None = None) -> Sequence[OpenWork]:
        """Return the link requests and card sessions that are open, at one terminal or at all.

        The oldest first. A session that is not used for *idle_limit* is open no longer.
        """

    def add_librarian(self, librarian: Librarian, password_hash: str) -> None:
        """Raises ``NameTaken``, ``KohaAccountTaken``."""

    def find_librarian(self, librarian_id: str) -> Librarian | None: ...
    def find_account(self, login_name: str) -> LibrarianAccount | None: ...
    def account_of(self, librarian_id: str) -> LibrarianAccount | None:
        """Return the account of a librarian by id."""

    def accounts(self, library_id: str) -> Sequence[LibrarianAccount]:
        """Return the accounts of a library or of the region, disabled ones too, by log-in name."""

    def set_librarian_active(self, librarian_id: str, *, active: bool) -> None: ...
    def set_librarian_role(self, librarian_id: str, role: LibrarianRole) -> None: ...
    def end_admin_sessions(self, librarian_id: str) -> None:
        """Raise the librarian's session generation: no session begun so far is worth anything."""

    def count_failed_log_in(self, librarian_id: str, now: datetime) -> int | None:
        """Add one failure; return how many there are since the last success, None while locked."""

    def lock_account(self, librarian_id: str, until: datetime) -> None:
        """Lock the account for a time; the failures go on being counted after it."""

    def take_back_failure(self, librarian_id: str, locked_until: datetime | None) -> None:
        """Count one failure less, and end the lock that it brought, if it brought one."""

    def clear_failed_log_ins(self, librarian_id: str) -> None: ...
    def set_password_hash(self, librarian_id: str, password_hash: str) -> None: ...
    def set_password_source(self, librarian_id: str, koha_patron_id: int | None, password_hash: str) -> None:
        """Let the password be that of an account in Koha, or with None the bridge's own.

        Raises ``KohaAccountTaken`` where that is another librarian's of the same library.
        """

    def propose_second_factor(self, librarian_id: str, secret: EncryptedValue) -> None:
        """Keep a secret that does not count yet, in place of whatever was kept."""

    def confirm_second_factor(self, librarian_id: str, step: int, at: datetime) -> bool:
        """Let the proposed second factor count; say whether there was one."""

    def use_second_factor_step(self, librarian_id: str, step: int) -> bool:
        """Use up a step and all before it; say False where it was used up already."""

    def remove_second_factor(self, librarian_id: str) -> None:
        """Forget it, and its secret."""

    def second_factors_to_rotate(self, key_id: str) -> Sequence[LibrarianAccount]:
        """Return the accounts whose second factor is under another master key than *key_id*."""

    def rotate_second_factor(self, librarian_id: str, before: EncryptedValue, after: EncryptedValue) -> None:
        """Keep a secret under another master key, unless it was replaced meanwhile."""

    # the desk in Koha's staff pages
    # the wording of the consent
    def add_consent(self, library_id: str, revision: int, wording: ConsentWording, at: datetime) -> None:
        """Keep a library's own wording for good. Raises ``ConsentChanged`` where the revision is there."""

    def last_consent(self, library_id: str) -> OwnConsent | None:
        """Return the wording that a library set last."""

    def find_consent(self, library_id: str, version: str) -> OwnConsent | None: ...
    def consents(self, library_id: str) -> Sequence[OwnConsent]:
        """Return every wording that a library set, the last one first."""

    def add_plugin(self, plugin: KohaPlugin, secret_digest: str) -> None: ...
    def remove_plugin(self, library_id: str, plugin_id: str) -> KohaPlugin:
        """Take a plugin away, and every pass that was given through it. Raises ``PluginNotFound``."""

    def plugins(self, library_id: str) -> Sequence[KohaPlugin]: ...
    def find_plugin(self, plugin_id: str) -> PluginCredentials | None: ...
    def set_plugin_failures(self, plugin_id: str, failures: int, locked_until: datetime | None) -> None: ...

    def add_koha_account(self, account: KohaAccount) -> None:
        """Raises ``NameTaken`` where the account is somebody's already."""

    def remove_koha_account(self, library_id: str, koha_patron_id: int) -> KohaAccount:
        """Take an account away, and every pass of its librarian. Raises ``LibrarianNotFound``."""

    def koha_accounts(self, library_id: str) -> Sequence[KohaAccount]: ...
    def find_koha_account(self, library_id: str, koha_patron_id: int) -> KohaAccount | None: ...

    def add_desk_pass(self, desk_pass: DeskPass, token_digest: str) -> None: ...
    def find_desk_pass(self, token_digest: str) -> DeskPass | None: ...
    def delete_desk_passes(self, expired_until: datetime) -> None: ...

    # links
    def add_link(
        self,
        link: CardLink,
        identifier: CardIdentifier,
        serial: EncryptedValue,
        also: Sequence[CardIdentifier] = (),
        tag: RevocationTag | None = None,
    ) -> None:
        """Raises ``AlreadyLinked`` where the card has a link that has not ended.

        *also* are its identifiers under the other keys: a node that does not use the same one meets them.
        ``LinkedMeanwhile`` where another card is being linked to the same patron at this moment.
        A link without a *tag* gets it from the next sweep.
        """

    def find_link(self, library_id: str, link_id: str) -> CardLink | None: ...
    def find_open_link(self, library_id: str, identifiers: Sequence[CardIdentifier]) -> CardLink | None:
        """Return the link that has not ended under any of *identifiers* (one per digest key)."""

    def open_links_of_patron(
        self,
        library_id: str,
        patron_id: int | None,
        patron_references: Sequence[str] = (),
        *,
        to_add: bool = False,
    ) -> Sequence[CardLink]:
        """Return the links of a patron that have not ended, under the id or any of the references.

        With *to_add* nobody else who asks so gets an answer for this library until the transaction is over.
        """

    def links_of_library(
        self, library_id: str, *, with_ended: bool, position: str, limit: int
    ) -> Sequence[CardLink]:
        """Return the next links of a library after the id *position*, in the order of their ids."""

    def links_with_identifiers(
        self, library_id: str, kind: IdentifierKind, position: str, limit: int
    ) -> Sequence[tuple[CardLink, EncryptedValue]]:
        """Return the next open links of one kind, in the order of their ids, with their identifiers."""

    def links_by_reference(self, library_id: str) -> Sequence[CardLink]:
        """Return the links that have not ended and point to a card number, the oldest first."""

    def set_patron_of_link(self, link_id: str, patron_id: int) -> bool:
        """Let a link that points to a card number point to a patron; say whether it still did the former.

        Raises ``LinkedMeanwhile`` where a card is being linked to this patron at this moment.
        """

    def end_link(self, library_id: str, link_id: str, reason: str, at: datetime) -> CardLink:
        """End a link; what identifies the card is wiped.

        Raises ``LinkNotFound`` where there is none or it has ended already.
        """

    def use_link(self, link_id: str, at: datetime, answer: RevocationAnswer) -> bool:
        """Keep when an active link was last used, and what is known of its certificate, as below.

        Say False where it is not active. Nobody can suspend or end it until the transaction is over.
        """

    def remember_revocation(self, link_ids: Sequence[str], answer: RevocationAnswer) -> None:
        """Keep what is known of the certificates of links, unless something newer is."""

    def suspend_links(
        self,
        library_id: str,
        link_ids: Sequence[str],
        reason: SuspensionReason,
        at: datetime,
        answer: RevocationAnswer | None = None,
    ) -> frozenset[str]:
        """Suspend the active ones of some links, and keep *answer* with them; return which they were."""

    def set_patron_gone(self, link_id: str, at: datetime | None) -> None:
        """Keep since when the patron of a suspended link is gone; None where the patron is there."""

    def restore_link(
        self, library_id: str, link_id: str, reasons: Collection[SuspensionReason]
    ) -> CardLink | None:
        """Let a link that is suspended for one of *reasons* be active; return it, None where it is not so."""

    def outlived_links(
        self,
        library_id: str,
        *,
        now: datetime,
        linked_until: datetime | None,
        today: date,
        position: str,
        limit: int,
    ) -> Sequence[CardLink]:
        """Return the next links of a library that have not ended but lasted too long, by their ids.

        Their certificate has ended, they were made until *linked_until*, or a representative made them for
        a child who is 15 *today*.
        """

    def deletable_links(
        self, library_id: str, ended_until: datetime, position: str, limit: int
    ) -> Sequence[CardLink]:
        """Return the next links of a library that ended until then, in the order of their ids.

        A link that the way back to a patron's former category depends on is left out.
        """

    def delete_link(self, link_id: str) -> bool:
        """Delete an ended link and all that refers to it; say whether it was there, and ended."""

    def delete_link_requests(self, expired_until: datetime, limit: int) -> int:
        """Delete requests that could be answered until then; return how many."""

    def delete_sessions(self, closed_until: datetime, limit: int) -> int:
        """Delete sessions that were closed until then; return how many."""

    def count_over(self, before: datetime) -> tuple[int, int]:
        """Return how many requests and sessions the two functions above would delete."""

    def tag_link(self, link_id: str, tag: RevocationTag | None, at: datetime) -> None:
        """Give an active link its tag; None takes it away, from one that no sweep can speak for."""

    def active_link_groups(self) -> Mapping[LinkGroup, int]:
        """Return the groups of all active links by serial number, and how many each has."""

    def count_unswept_links(self) -> int:
        """Return how many active links are under another identifier than a serial number."""

    def revocation_tags(self, group: LinkGroup) -> set[int]:
        """Return the tags of the active links of a group, of which no two bear the same."""

    def active_links_with_tags(self, group: LinkGroup, tags: Sequence[int]) -> Sequence[SweptLink]:
        """Return the active links of a group that bear one of *tags*."""

    def active_links_after(
        self, position_at: datetime | None, position: str, limit: int, but_for: Collection[LinkGroup] = ()
    ) -> Sequence[SweptLink]:
        """Return the next active links by serial number but for those of some groups, as they were made."""

    def expiring_links(self, after: datetime, until: datetime) -> Sequence[ExpiringLink]:
        """Return the open links whose certificate's validity ends in that time, the earliest first."""

    # sweeps
    def open_sweep(self, sweep: RevocationSweepState, resume_after: datetime) -> RevocationSweepState:
        """Return the sweep that is under way since *resume_after*; where there is none, begin *sweep*."""

    def advance_sweep(self, before: RevocationSweepState, after: RevocationSweepState) -> bool:
        """Keep *after*, unless another run has brought the sweep on since *before*: then False."""

    def swept_groups(self, sweep_id: str) -> Collection[LinkGroup]:
        """Return the groups that a sweep has done at once."""

    def keep_swept_group(
        self, group: LinkGroup, sweep_id: str, tagged_before: datetime, answer: RevocationAnswer
    ) -> None:
        """Keep that *answer* holds for the active links of a group that were tagged before a moment."""

    # moves between categories
    def add_category_move(self, move: CategoryMove) -> None: ...
    def last_category_move(self, library_id: str, patron_id: int) -> CategoryMove | None:
        """Return the latest move of a patron that was not superseded."""

    def category_move_of_link(
        self, library_id: str, link_id: str, direction: MoveDirection
    ) -> CategoryMove | None:
        """Return the latest move that a link brought about."""

    def update_category_move(self, move: CategoryMove, *, unless: Collection[MoveState]) -> bool:
        """Keep state, attempts, problem and time; say whether the state was none of *unless* before."""

    def patrons_with_categories(self, library_id: str) -> Sequence[int]:
        """Return the patrons who have an open link, a move to be made, or one that has not been undone."""

    # requests to end many links
    def add_bulk_unlinking(self, bulk: BulkUnlinking, link_ids: Sequence[str]) -> BulkUnlinking:
        """Keep a request for those of some links that are of its library and have not ended.

        Return it with their number.
        """

    def find_bulk_unlinking(
        self, library_id: str, bulk_id: str, *, to_change: bool = False
    ) -> BulkUnlinking | None:
        """Return a request; *to_change* keeps it from others until the transaction is over."""

    def bulk_unlinkings(self, library_id: str, state: BulkUnlinkingState) -> Sequence[BulkUnlinking]:
        """Return a library's requests in a state, the oldest first."""

    def count_waiting_bulk_unlinkings(self, library_id: str, now: datetime, *, but_of: str) -> int:
        """Count a library's requests that can be decided now by one librarian: those of others."""

    def update_bulk_unlinking(self, bulk: BulkUnlinking) -> None:
        """Keep state, decision and counts of a request."""

    def count_bulk_links(self, bulk_id: str) -> Mapping[tuple[IdentifierKind, LinkState], int]:
        """Count the links of a request as they are now."""

    def bulk_links(self, bulk_id: str, limit: int) -> Sequence[CardLink]:
        """Return the first links of a request, as they are now, in the order of their ids."""

    def bulk_links_to_end(self, bulk_id: str, limit: int) -> Sequence[str]:
        """Return the next links of a request of which nothing is kept yet, in the order of their ids."""

    def keep_bulk_outcomes(self, bulk_id: str, link_ids: Sequence[str], ended: Collection[str]) -> None:
        """Keep what came of links of a request: those of *ended* ended, the others had before."""

    # link requests
    def add_link_request(self, request: LinkRequest) -> None:
        """Raises ``LinkRequestPending`` where the terminal has an open one that has not expired."""

    def find_link_request(self, library_id: str, request_id: str) -> LinkRequest | None: ...
    def find_open_link_request(self, terminal: Terminal, now: datetime) -> LinkRequest | None: ...
    def update_link_request(self, request: LinkRequest) -> None:
        """Raises ``LinkRequestNotFound`` where the request is not open any more."""

    # challenges
    def add_challenge(self, pending: PendingChallenge) -> None: ...
    def find_challenge(self, challenge_id: str) -> PendingChallenge | None:
        """Return a challenge, used or not."""

    def unused_challenge(self, challenge_id: str) -> PendingChallenge:
        """Return a challenge that may be answered. Raises what ``consume_challenge`` raises."""

    def set_challenge_revocation(self, challenge_id: str, answer: RevocationAnswer) -> None:
        """Keep the revocation answer that came after the challenge was given out."""

    def consume_challenge(self, challenge_id: str, now: datetime) -> None:
        """Use a challenge up, once: of two at the same moment, one wins.

        Raises ``jpki``'s ``ChallengeUnknown``, ``ChallengeAlreadyUsed``.
        """

    def purge_challenges(self, before: datetime) -> int: ...

    # card sessions
    def add_session(
        self,
        session: CardSession,
        token_key_id: str,
        token_digest: str,
        cardnumber: EncryptedValue,
    ) -> None: ...
    def find_session_by_token(
        self, library_id: str, token_digests: Sequence[str]
    ) -> tuple[CardSession, EncryptedValue | None] | None:
        """Return the session and its card number; a closed one has none left."""

    def is_token_taken(self, library_id: str, token_digests: Sequence[str]) -> bool:
        """Say whether any session, open or not, has a token under any of these."""

    def touch_session(self, session_id: str, at: datetime) -> None: ...
    def close_session(self, session_id: str, at: datetime, reason: str) -> CardSession | None:
        """Close and wipe the card number; return the session if it was open, None otherwise."""

    def open_session_of_link(self, link_id: str) -> CardSession | None:
        """Return the session that runs on a link: there is one at the most."""

    def open_sessions_of_links(self, link_ids: Collection[str]) -> Sequence[CardSession]: ...
    def overdue_sessions(self, now: datetime, idle_since: datetime) -> Sequence[CardSession]:
        """Return the open sessions that have expired, or were last used before *idle_since*.

        Those that another transaction is changing just now are left out.
        """

    # guessed tokens
    def find_guesses(self, library_id: str, sip2_login: str, *, to_change: bool = False) -> Guesses | None:
        """Return what was kept of a machine; *to_change* where ``keep_guesses`` follows."""

    def keep_guesses(self, library_id: str, sip2_login: str, guesses: Guesses) -> None:
        """Keep what a machine presented that was worth nothing, in place of what was kept before."""

    # audit
    def add_audit_event(self, event: AuditEvent) -> None:
        """Append an event when the transaction commits, as the last thing that it does.

        Equal refusals in quick succession (``REPEATABLE_TAGS``) are counted, and told with one event.
        """

    def seal_audit_log(self, library_id: str) -> None:
        """Let the head of a library's audit log be its last event, sealed, whatever stood against it.

        Raises ``LibraryNotFound`` where the library has no log.
        """

    def reseal_audit_logs(self, key_id: str) -> None:
        """Seal under the current key *key_id* what is rightly sealed under another."""

    # statistics
    def count_events(
        self, library_id: str, tags: Collection[AuditTag], begin: datetime, end: datetime
    ) -> Sequence[EventCount]:
        """Count a library's events from *begin* to before *end*; refusals that were told together as many."""

    def counted_days(self, library_id: str, first: date, last: date) -> Mapping[date, Sequence[EventCount]]:
        """Return what was kept of days from *first* to *last*."""

    def keep_counted_days(self, library_id: str, days: Mapping[date, Sequence[EventCount]]) -> None:
        """Keep the counts of days that are over."""

    def last_event_at(self, library_id: str, tags: Collection[AuditTag]) -> datetime | None:
        """Return when any of these last happened in a library."""

    def last_refusals(
        self, library_id: str, tags: Collection[AuditTag], since: datetime
    ) -> Mapping[str, datetime]:
        """Return by problem when it last refused somebody, from *since* on."""

    def count_links_ending(self, library_id: str, begin: datetime, end: datetime) -> int:
        """Count the open links whose certificate's validity ends from *begin* to before *end*."""

    def last_sweep_ended_at(self) -> datetime | None:
        """Return when a sweep over all links last came to its end."""

    # keys
    def key_checks(self) -> Mapping[str, str]:
        """Return the check value of each master key that data was made with, by key id; no retired ones."""

    def add_key_check(self, key_id: str, check_value: str) -> None:
        """Remember that data is made with this key. Raises ``NameTaken`` where that is remembered."""

    def retired_keys(self) -> frozenset[str]:
        """Return the keys that are not used any more."""

    def retire_key(self, key_id: str, at: datetime) -> bool:
        """Remember that a key is not used any more; say whether data was ever made with it.

        What is left under it, beside what else the same cards are claimed under, is deleted.
        """

    def key_uses(self) -> Mapping[str, Mapping[KeyedRecord, int]]:
        """Return, by key id, how much is kept under each key and would be lost with it."""

    def count_links_to_rotate(self, key_id: str) -> int:
        """Return how many open links have anything under another key than *key_id*."""

    def links_to_rotate(
        self, key_id: str, after: tuple[datetime, str] | None, limit: int
    ) -> Sequence[KeyedLink]:
        """Return the next of these in the order in which they were made, kept from others meanwhile."""

    def rotate_link(
        self,
        link: KeyedLink,
        identifier: CardIdentifier,
        serial: EncryptedValue,
        patron_reference: str | None,
    ) -> bool:
        """Keep a link under other keys; say False where another link claims the same card.

        It loses its tag, which the next sweep makes anew.
        """

    def expire_link_requests(self, now: datetime) -> None:
        """Wipe the card numbers of the requests whose time is over."""


class Store(Protocol):
    """Where the bridge remembers."""

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[Transaction]:
        """Commit at the end of the block; roll back on any exception.

        A power cut takes nothing away that was committed. Without *durable* it may take the last such
        transactions, so that nobody waits for the disk: for challenges and sessions, which are worth
        nothing after it, and for no link and no key. Everything else, such as the death of this program,
        takes nothing away either.

        Raises ``StoreUnavailable`` where the database cannot do it now; then nothing was stored.
        """

    def reading(self) -> AbstractContextManager[Transaction]:
        """Read one snapshot: nothing can be written in the block.

        Raises ``StoreUnavailable`` as above.
        """

    def change_counter(self) -> ChangeCounter | None:
        """Return what tells whether anything has changed; None where asking is no quicker than looking.

        For one thread, which may ask as often as it likes.
        """
