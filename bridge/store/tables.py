"""The tables, as mapped classes. Queries are in the modules beside this one.

Ids are 32 hex digits of random bytes unless a person chose them. Nothing here names a patron:
``patron_id`` is Koha's number, and what identifies a card is a keyed digest or a ciphertext.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum as PythonEnum
from typing import Any, ClassVar, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship

from bridge.models import (
    ActorKind,
    AuditTag,
    BulkUnlinkingState,
    BulkUnlinkReason,
    IdentifierKind,
    LibrarianRole,
    LinkRequestState,
    LinkState,
    MoveDirection,
    MoveState,
    OutputState,
    ReaderState,
    TerminalKind,
    TerminalReport,
)
from bridge.store.columns import UtcDateTime
from jpki.challenge import ChallengePurpose
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason

NAMING_CONVENTION = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name, so that a migration can take it away again."""


def _values(enum: type[PythonEnum]) -> list[str]:
    return [member.value for member in enum]


def _words(enum: type[PythonEnum]) -> Enum:
    """Keep an enum as its value in a plain text column: a new member needs no migration."""
    return Enum(enum, native_enum=False, length=64, values_callable=_values)


class Base(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar = {
        str: String(255),
        datetime: UtcDateTime,
        list[str]: JSON(none_as_null=True),
        ActorKind: _words(ActorKind),
        AuditTag: _words(AuditTag),
        BulkUnlinkingState: _words(BulkUnlinkingState),
        BulkUnlinkReason: _words(BulkUnlinkReason),
        ChallengePurpose: _words(ChallengePurpose),
        IdentifierKind: _words(IdentifierKind),
        LibrarianRole: _words(LibrarianRole),
        LinkRequestState: _words(LinkRequestState),
        LinkState: _words(LinkState),
        MoveDirection: _words(MoveDirection),
        MoveState: _words(MoveState),
        OutputState: _words(OutputState),
        ReaderState: _words(ReaderState),
        RevocationStatus: _words(RevocationStatus),
        TerminalKind: _words(TerminalKind),
        UnknownReason: _words(UnknownReason),
    }


def table_under(row: type[Base]) -> Table:
    """Return the table under a mapped class."""
    return cast("Table", row.__table__)


class TerminalRow(Base):
    """A place with a card reader. A removed one stays, without its token and its SIP2 log-in.

    ``enrolled_at`` is when the code of ``enrolment_digest`` was used; the four columns at the end are
    what the agent there last told.
    """

    __tablename__ = "terminal"
    __table_args__ = (
        UniqueConstraint("library_id", "sip2_login", name="uq_terminal_sip2_login"),
        UniqueConstraint("token_digest"),
        Index("uq_terminal_enrolment_digest", "enrolment_digest", unique=True),
    )

    library_id: Mapped[str] = mapped_column(primary_key=True)
    terminal_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[TerminalKind]
    sip2_login: Mapped[str | None]
    active: Mapped[bool]
    token_digest: Mapped[str | None]
    enrolment_digest: Mapped[str | None]
    enrolment_expires_at: Mapped[datetime | None]
    enrolled_at: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    reader: Mapped[ReaderState | None]
    output: Mapped[OutputState | None]
    agent_version: Mapped[str | None]

    @property
    def report(self) -> TerminalReport | None:
        """What the agent there last told of itself, whole."""
        return last_report(self)


def last_report(terminal: TerminalRow | Row[Any]) -> TerminalReport | None:
    """Return what the agent at a terminal last told of itself, whole."""
    if terminal.reader is None or terminal.output is None or terminal.agent_version is None:
        return None
    return TerminalReport(terminal.reader, terminal.output, terminal.agent_version)


class LibrarianRow(Base):
    """A member of staff."""

    __tablename__ = "librarian"
    __table_args__ = (
        UniqueConstraint("login_name"),
        Index("uq_librarian_koha_patron", "library_id", "koha_patron_id", unique=True),
    )

    librarian_id: Mapped[str] = mapped_column(primary_key=True)
    library_id: Mapped[str]
    login_name: Mapped[str]
    display_name: Mapped[str]
    role: Mapped[LibrarianRole]
    active: Mapped[bool]
    password_hash: Mapped[str]
    failed_log_ins: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]
    session_generation: Mapped[int] = mapped_column(default=0, server_default="0")
    second_factor_key_id: Mapped[str | None]
    second_factor_nonce: Mapped[bytes | None]
    second_factor_ciphertext: Mapped[bytes | None]
    second_factor_confirmed_at: Mapped[datetime | None]
    second_factor_last_step: Mapped[int | None] = mapped_column(BigInteger)
    koha_patron_id: Mapped[int | None] = mapped_column(Integer)


class ConsentWordingRow(Base):
    """A library's own wording of the consent, word for word. Rows are added, never changed."""

    __tablename__ = "consent_wording"
    __table_args__ = (
        UniqueConstraint("library_id", "version"),
        CheckConstraint("revision >= 1", name="revision_from_one"),
    )

    library_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    version: Mapped[str]
    japanese: Mapped[str] = mapped_column(Text)
    english: Mapped[str] = mapped_column(Text)
    set_at: Mapped[datetime]


class KohaPluginRow(Base):
    """A Koha whose plugin may open the desk, and the SHA-256 of its secret."""

    __tablename__ = "koha_plugin"

    plugin_id: Mapped[str] = mapped_column(primary_key=True)
    library_id: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    secret_digest: Mapped[str]
    failures: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]


class KohaAccountRow(Base):
    """Which librarian somebody is who signs in to Koha's staff pages."""

    __tablename__ = "koha_account"

    library_id: Mapped[str] = mapped_column(primary_key=True)
    koha_patron_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    librarian_id: Mapped[str] = mapped_column(ForeignKey("librarian.librarian_id"))


class DeskPassRow(Base):
    """A librarian's token for the desk, as a digest; deleted soon after it is over."""

    __tablename__ = "desk_pass"

    token_digest: Mapped[str] = mapped_column(primary_key=True)
    librarian_id: Mapped[str] = mapped_column(ForeignKey("librarian.librarian_id"), index=True)
    plugin_id: Mapped[str | None] = mapped_column(ForeignKey("koha_plugin.plugin_id"), index=True)
    session_generation: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class CardLinkRow(Base):
    """A link. Once ended it recognises nobody: identifier and serial number are wiped.

    ``slot`` numbers the open links of one patron from 1, so that two counters cannot both make the last
    one that is allowed. ``replaces`` may name a link that has been deleted since.
    """

    __tablename__ = "card_link"
    __table_args__ = (
        Index(
            "uq_card_link_open_identifier",
            "library_id",
            "kind",
            "key_id",
            "digest",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index(
            "ix_card_link_keys",
            "key_id",
            "serial_key_id",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        *(
            Index(
                f"uq_card_link_open_{patron}_slot",
                "library_id",
                patron,
                "slot",
                unique=True,
                sqlite_where=text("ended_at IS NULL"),
                postgresql_where=text("ended_at IS NULL"),
            )
            for patron in ("patron_id", "patron_reference")
        ),
        UniqueConstraint("replaces"),
        Index("ix_card_link_patron", "library_id", "patron_id"),
        Index("ix_card_link_linked_at", "linked_at", "link_id"),
        # By which a list shows its first rows without looking at the others.
        Index("ix_card_link_newest", "library_id", "linked_at"),
        Index("ix_card_link_state", "library_id", "state", "linked_at"),
        Index("ix_card_link_not_after", "library_id", "not_after"),
        Index("ix_card_link_patron_reference", "library_id", "patron_reference"),
        # All that a sweep reads of a link that is not revoked.
        Index(
            "ix_card_link_swept",
            "library_id",
            "issuer_key_identifier",
            "serial_key_id",
            "revocation_tag",
            sqlite_where=text("state = 'active' AND kind = 'serial_number'"),
            postgresql_where=text("state = 'active' AND kind = 'serial_number'"),
        ),
        CheckConstraint("(ended_at IS NULL) = (digest IS NOT NULL)", name="open_has_identifier"),
        CheckConstraint("patron_id IS NULL OR patron_reference IS NULL", name="patron_has_one_name"),
        CheckConstraint(
            "ended_at IS NOT NULL OR patron_id IS NOT NULL OR patron_reference IS NOT NULL",
            name="open_has_patron",
        ),
        CheckConstraint("state IN ('active', 'suspended', 'ended')", name="known_state"),
        CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ended_at_its_end"),
        CheckConstraint("ended_at IS NULL OR ended_reason IS NOT NULL", name="ended_for_a_reason"),
        CheckConstraint(
            "state <> 'suspended' OR (suspended_at IS NOT NULL AND suspended_reason IS NOT NULL)",
            name="suspended_for_a_reason",
        ),
        CheckConstraint(
            "(represented_until IS NULL) = (representative_checks IS NULL)", name="represented_was_checked"
        ),
        CheckConstraint("slot >= 1", name="slot_from_one"),
    )

    link_id: Mapped[str] = mapped_column(primary_key=True)
    library_id: Mapped[str]
    patron_id: Mapped[int | None] = mapped_column(Integer)
    patron_reference: Mapped[str | None]
    kind: Mapped[IdentifierKind]
    key_id: Mapped[str]
    digest: Mapped[str | None]
    serial_key_id: Mapped[str | None]
    serial_nonce: Mapped[bytes | None]
    serial_ciphertext: Mapped[bytes | None]
    issuer_key_identifier: Mapped[bytes | None]
    revocation_tag: Mapped[int | None] = mapped_column(BigInteger)
    tagged_at: Mapped[datetime | None]
    state: Mapped[LinkState]
    not_after: Mapped[datetime]
    linked_at: Mapped[datetime]
    linked_by: Mapped[str]
    last_used_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    ended_reason: Mapped[str | None]
    revocation_status: Mapped[RevocationStatus | None]
    revocation_source: Mapped[str | None]
    revocation_as_of: Mapped[datetime | None]
    revocation_reason: Mapped[str | None]
    suspended_at: Mapped[datetime | None]
    suspended_reason: Mapped[str | None]
    patron_gone_at: Mapped[datetime | None]
    slot: Mapped[int] = mapped_column(default=1)
    consent_version: Mapped[str | None]
    consented_at: Mapped[datetime | None]
    represented_until: Mapped[date | None]
    representative_checks: Mapped[list[str] | None]
    replaces: Mapped[str | None]

    swept: Mapped[SweptGroupRow | None] = relationship(
        primaryjoin=lambda: is_swept_by_group(CardLinkRow, SweptGroupRow),
        viewonly=True,
        lazy="joined",
    )

    @property
    def last_answer(self) -> RevocationAnswer | None:
        """What was last known of the certificate: of itself, or of all that a sweep found not revoked."""
        return last_answer(self, None if self.swept is None else self.swept.answer)


def last_answer(link: CardLinkRow | Row[Any], swept: RevocationAnswer | None) -> RevocationAnswer | None:
    """Return what was last known of a link's certificate, *swept* being what a sweep said of its group."""
    if link.revocation_status is None or link.revocation_source is None or link.revocation_as_of is None:
        return swept
    own = RevocationAnswer(
        link.revocation_status,
        link.revocation_source,
        link.revocation_as_of,
        reason=link.revocation_reason,
    )
    is_newer = swept is not None and own.status is RevocationStatus.GOOD and own.as_of < swept.as_of
    return swept if is_newer else own


def is_swept_by_group(link: Any, group: Any) -> ColumnElement[bool]:
    """Return when a swept group speaks for a link; both mapped classes or tables' columns."""
    return and_(
        link.state == LinkState.ACTIVE,
        foreign(link.library_id) == group.library_id,
        foreign(link.issuer_key_identifier) == group.issuer_key_identifier,
        foreign(link.serial_key_id) == group.key_id,
        link.tagged_at < group.tagged_before,
    )


class CardClaimRow(Base):
    """A card's digest under one master key, held by its open link: no second link can be made.

    A link has a claim under every key of whoever made it, because the digests of one card under two
    keys have nothing in common that an index could compare.
    """

    __tablename__ = "card_claim"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    library_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[IdentifierKind] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    link_id: Mapped[str] = mapped_column(ForeignKey("card_link.link_id"), index=True)


class CategoryMoveRow(Base):
    """A patron's move between categories in Koha: made, to be made, or left alone."""

    __tablename__ = "category_move"
    __table_args__ = (
        Index("ix_category_move_patron", "library_id", "patron_id", "sequence"),
        Index("ix_category_move_state", "library_id", "state"),
        Index("ix_category_move_newest", "library_id", "updated_at"),
        UniqueConstraint("move_id"),
    )

    sequence: Mapped[int] = mapped_column(
        # SQLite numbers rows by itself only where the type is exactly INTEGER.
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    )
    move_id: Mapped[str]
    library_id: Mapped[str]
    link_id: Mapped[str] = mapped_column(ForeignKey("card_link.link_id"))
    patron_id: Mapped[int] = mapped_column(Integer)
    direction: Mapped[MoveDirection]
    from_category: Mapped[str]
    to_category: Mapped[str]
    state: Mapped[MoveState]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    attempts: Mapped[int]
    problem: Mapped[str | None]


class BulkUnlinkingRow(Base):
    """A librarian's request to end many links, and what another one said to it."""

    __tablename__ = "bulk_unlinking"
    __table_args__ = (
        Index("ix_bulk_unlinking_newest", "library_id", "requested_at"),
        Index("ix_bulk_unlinking_state", "library_id", "state", "requested_at"),
        CheckConstraint(
            "state IN ('requested', 'approved', 'executed', 'declined', 'withdrawn', 'expired')",
            name="known_state",
        ),
        CheckConstraint("decided_by <> requested_by", name="decided_by_another"),
        CheckConstraint(
            "(state IN ('approved', 'executed', 'declined')) = "
            "(decided_by IS NOT NULL AND decided_at IS NOT NULL AND decision IS NOT NULL)",
            name="decided_with_a_reason",
        ),
        CheckConstraint(
            "(state IN ('requested', 'approved')) = (closed_at IS NULL)", name="closed_at_its_end"
        ),
        CheckConstraint("ended + skipped <= link_count", name="counts_what_it_names"),
    )

    bulk_id: Mapped[str] = mapped_column(primary_key=True)
    library_id: Mapped[str]
    reason: Mapped[BulkUnlinkReason]
    state: Mapped[BulkUnlinkingState]
    link_count: Mapped[int]
    requested_by: Mapped[str] = mapped_column(ForeignKey("librarian.librarian_id"))
    requested_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    decided_by: Mapped[str | None] = mapped_column(ForeignKey("librarian.librarian_id"))
    decided_at: Mapped[datetime | None]
    decision: Mapped[str | None]
    ended: Mapped[int]
    skipped: Mapped[int]
    closed_at: Mapped[datetime | None]


class BulkUnlinkingLinkRow(Base):
    """A link that a request names; ``ended`` says what came of it, and nothing until then."""

    __tablename__ = "bulk_unlinking_link"
    __table_args__ = (
        Index(
            "ix_bulk_unlinking_link_to_end",
            "bulk_id",
            "link_id",
            sqlite_where=text("ended IS NULL"),
            postgresql_where=text("ended IS NULL"),
        ),
    )

    bulk_id: Mapped[str] = mapped_column(ForeignKey("bulk_unlinking.bulk_id"), primary_key=True)
    link_id: Mapped[str] = mapped_column(ForeignKey("card_link.link_id"), primary_key=True, index=True)
    ended: Mapped[bool | None]


class LinkRequestRow(Base):
    """A librarian's order to link the next card at a counter."""

    __tablename__ = "link_request"
    __table_args__ = (
        ForeignKeyConstraint(["library_id", "terminal_id"], ["terminal.library_id", "terminal.terminal_id"]),
        Index(
            "uq_link_request_open",
            "library_id",
            "terminal_id",
            unique=True,
            sqlite_where=text("state IN ('waiting_for_card', 'waiting_for_pin')"),
            postgresql_where=text("state IN ('waiting_for_card', 'waiting_for_pin')"),
        ),
        Index("ix_link_request_terminal", "library_id", "terminal_id", "expires_at"),
    )

    request_id: Mapped[str] = mapped_column(primary_key=True)
    library_id: Mapped[str]
    terminal_id: Mapped[str]
    patron_id: Mapped[int | None] = mapped_column(Integer)
    patron_reference: Mapped[str | None]
    librarian_id: Mapped[str] = mapped_column(ForeignKey("librarian.librarian_id"))
    purpose: Mapped[ChallengePurpose]
    state: Mapped[LinkRequestState]
    started_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    problem: Mapped[str | None]
    problem_why: Mapped[str | None]
    attempts_remaining: Mapped[int | None]
    link_id: Mapped[str | None] = mapped_column(ForeignKey("card_link.link_id"))
    consent_version: Mapped[str | None]
    represented_until: Mapped[date | None]
    representative_checks: Mapped[list[str] | None]
    replaces: Mapped[str | None]


class ChallengeRow(Base):
    """A challenge on its way; deleted soon after it can no longer be answered."""

    __tablename__ = "challenge"

    challenge_id: Mapped[str] = mapped_column(primary_key=True)
    purpose: Mapped[ChallengePurpose]
    library_id: Mapped[str]
    terminal_id: Mapped[str]
    nonce: Mapped[bytes]
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    certificate_digest: Mapped[bytes]
    revocation_status: Mapped[RevocationStatus | None]
    revocation_source: Mapped[str | None]
    revocation_as_of: Mapped[datetime | None]
    revocation_next_update: Mapped[datetime | None]
    revocation_reason: Mapped[str | None]
    revocation_why: Mapped[UnknownReason | None]
    link_request_id: Mapped[str | None] = mapped_column(ForeignKey("link_request.request_id"))
    used_at: Mapped[datetime | None]


class RevocationSweepRow(Base):
    """A sweep over all active links. One that was cut off goes on where it stopped."""

    __tablename__ = "revocation_sweep"

    sweep_id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    position_at: Mapped[datetime | None]
    position: Mapped[str]
    good: Mapped[int]
    suspended: Mapped[int]
    unknown: Mapped[int]
    finished_at: Mapped[datetime | None]


class SweptGroupRow(Base):
    """What the last sweep has said at once of the links of one library, CA key and master key: GOOD.

    It holds for those that are active and were tagged before ``tagged_before``.
    """

    __tablename__ = "swept_group"

    library_id: Mapped[str] = mapped_column(primary_key=True)
    issuer_key_identifier: Mapped[bytes] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(primary_key=True)
    sweep_id: Mapped[str] = mapped_column(ForeignKey("revocation_sweep.sweep_id"))
    tagged_before: Mapped[datetime]
    source: Mapped[str]
    as_of: Mapped[datetime]

    sweep: Mapped[RevocationSweepRow] = relationship(viewonly=True, lazy="joined", innerjoin=True)

    @property
    def answer(self) -> RevocationAnswer:
        """What holds for each of those links."""
        return swept_answer(self.source, self.as_of)


def swept_answer(source: str, as_of: datetime) -> RevocationAnswer:
    """Return what a sweep says of a group at once."""
    return RevocationAnswer(RevocationStatus.GOOD, source, as_of)


class CardSessionRow(Base):
    """The time in which a token stands for a patron. The card number is wiped at the end."""

    __tablename__ = "card_session"
    __table_args__ = (
        ForeignKeyConstraint(["library_id", "terminal_id"], ["terminal.library_id", "terminal.terminal_id"]),
        UniqueConstraint("library_id", "token_digest", name="uq_card_session_token_digest"),
        Index(
            "uq_card_session_open",
            "link_id",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        CheckConstraint("(closed_at IS NULL) = (cardnumber_ciphertext IS NOT NULL)", name="closed_is_wiped"),
    )

    session_id: Mapped[str] = mapped_column(primary_key=True)
    library_id: Mapped[str]
    terminal_id: Mapped[str]
    link_id: Mapped[str] = mapped_column(ForeignKey("card_link.link_id"))
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    closed_reason: Mapped[str | None]
    token_key_id: Mapped[str]
    token_digest: Mapped[str]
    cardnumber_key_id: Mapped[str | None]
    cardnumber_nonce: Mapped[bytes | None]
    cardnumber_ciphertext: Mapped[bytes | None]
    revocation_status: Mapped[RevocationStatus | None]
    revocation_source: Mapped[str | None]
    revocation_as_of: Mapped[datetime | None]
    revocation_next_update: Mapped[datetime | None]


class TokenGuessesRow(Base):
    """Tokens that were worth nothing at a machine, named by its SIP2 log-in; one row for each machine."""

    __tablename__ = "token_guesses"

    library_id: Mapped[str] = mapped_column(primary_key=True)
    sip2_login: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]
    refused: Mapped[int]
    wrong: Mapped[int]
    locked_until: Mapped[datetime | None]
    last_digest: Mapped[str]


class AuditEventRow(Base):
    """One line of the audit log. Only ever added: triggers refuse UPDATE and DELETE.

    ``sequence`` counts the events of one library without gaps; ``hash`` chains them (``bridge.audit.chain``).
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        Index("ix_audit_event_library", "library_id", "at"),
        Index("ix_audit_event_tag", "library_id", "tag", "at"),
        Index("ix_audit_event_terminal", "library_id", "terminal_id", "at"),
        Index("ix_audit_event_subject", "library_id", "subject", "at"),
        Index(
            "ix_audit_event_librarian",
            "library_id",
            "actor_id",
            "at",
            sqlite_where=text("actor_kind = 'librarian'"),
            postgresql_where=text("actor_kind = 'librarian'"),
        ),
        UniqueConstraint("library_id", "sequence", name="uq_audit_event_sequence"),
    )

    event_id: Mapped[int] = mapped_column(
        # SQLite numbers rows by itself only where the type is exactly INTEGER.
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    )
    at: Mapped[datetime]
    library_id: Mapped[str]
    tag: Mapped[AuditTag]
    actor_kind: Mapped[ActorKind]
    actor_id: Mapped[str]
    subject: Mapped[str]
    terminal_id: Mapped[str | None]
    details: Mapped[dict[str, str]] = mapped_column(JSON)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes]


class AuditHeadRow(Base):
    """The last event of a library's audit log, sealed under a key that is not in the database.

    Whoever appends locks it, so that the chain never forks. ``repetitions_end_at`` is when the first
    window of counted repetitions ends.
    """

    __tablename__ = "audit_head"

    library_id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes]
    seal_key_id: Mapped[str | None]
    seal: Mapped[bytes | None]
    repetitions_end_at: Mapped[datetime | None]


class AuditRepetitionRow(Base):
    """Equal refusals within one window: the first few are events of their own, the others are counted."""

    __tablename__ = "audit_repetition"

    library_id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    tag: Mapped[AuditTag]
    actor_kind: Mapped[ActorKind]
    actor_id: Mapped[str]
    subject: Mapped[str]
    terminal_id: Mapped[str | None]
    details: Mapped[dict[str, str]] = mapped_column(JSON)
    times: Mapped[int] = mapped_column(BigInteger)
    ends_at: Mapped[datetime]
    last_at: Mapped[datetime]


class CountedDayRow(Base):
    """The numbers of a library's day that is over: of each kind of event tag, terminal, problem, times."""

    __tablename__ = "counted_day"

    library_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    counts: Mapped[list[list[Any]]] = mapped_column(JSON)


class KeyCheckRow(Base):
    """A value that only the right master key gives, so that a wrong one is noticed at the start."""

    __tablename__ = "key_check"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    check_value: Mapped[str]
    retired_at: Mapped[datetime | None]
