"""Linking a card to a patron at the counter (連携登録), and ending a link.

Koha and the revocation source are asked outside database transactions: neither may hold a lock
while somebody else's server thinks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bridge.counter.service import (
    REQUEST_LIFETIME,
    CounterService,
    librarian_actor,
    require_counter,
    require_counter_role,
)
from bridge.environment import Environment, Library
from bridge.errors import (
    AlreadyLinked,
    BridgeError,
    ConsentMissing,
    Denied,
    LinkNotFound,
    NoSuchPatron,
    NotAllowed,
    StoreUnavailable,
    slug_of,
    why_of,
)
from bridge.keys.ring import KeyUse
from bridge.links.consent_service import wording_in_force
from bridge.links.identifiers import IdentifierProblem
from bridge.links.life import end, restore, suspend
from bridge.links.serial_record import write_serial_record
from bridge.models import (
    Actor,
    ActorKind,
    AuditTag,
    CardLink,
    IdentifierKind,
    Librarian,
    LinkEndReason,
    LinkRequest,
    LinkRequestState,
    LinkState,
    Representation,
    SuspensionReason,
    Terminal,
    UnlinkReason,
)
from bridge.patrons.category import CategoryService
from bridge.ports import EncryptedValue, PatronRecord, RevocationTag, Transaction
from bridge.rules import (
    STAFF_SUSPENSIONS,
    Decision,
    LinkEnding,
    LinkPolicy,
    LinkStep,
    judge_number_of_links,
    judge_step,
    may_link,
    may_represent,
)
from bridge.verification import CardVerification
from jpki.certificate import UserAuthenticationCertificate
from jpki.challenge import Challenge, ChallengePurpose, VerifiedCard
from jpki.errors import JpkiError
from jpki.revocation import RevocationAnswer

logger = logging.getLogger(__name__)

NO_LINK = "-"
"""In the audit log, where a patron was looked up who has no link, or nobody was found."""


@dataclass(frozen=True)
class PatronSummary:
    """A patron as the counter sees one before a link is started."""

    patron: PatronRecord
    open_links: Sequence[CardLink]
    decision: Decision


class RegistrationService(CounterService):
    """Requests for a link, the link itself, and its end.

    What a librarian does raises ``NotAllowed`` where the role does not permit it; ``request`` and
    ``link`` only show, and any role may look.
    """

    purpose = ChallengePurpose.LINK

    def __init__(
        self, environment: Environment, verification: CardVerification, categories: CategoryService
    ) -> None:
        super().__init__(environment)
        self._verification = verification
        self._categories = categories

    def find_patron(self, librarian: Librarian, cardnumber: str) -> PatronSummary:
        """Show a patron, by library card. Raises ``NoSuchPatron``, ``KohaNotReachable``.

        Who looked at whose links is written into the audit log; a patron without one is not named there.
        """
        require_counter_role(librarian)
        try:
            summary = self._summarise(librarian, cardnumber)
        except NoSuchPatron as error:
            self._record_look_up(librarian, [], problem=error.slug)
            raise
        self._record_look_up(librarian, summary.open_links)
        return summary

    def start(
        self,
        librarian: Librarian,
        *,
        terminal_id: str,
        cardnumber: str,
        consent_version: str,
        representation: Representation | None = None,
        replaces: str | None = None,
    ) -> LinkRequest:
        """Order the next card at a counter terminal to be linked to a patron, for five minutes.

        *consent_version* names the wording to which the patron, or who represents it, has agreed;
        *representation* is what was checked of a representative. With *replaces* the new link takes the
        place of an open one of the same patron.

        Raises ``TerminalNotFound``, ``WrongTerminalKind``, ``ConsentMissing``, ``LinkRequestPending``,
        ``Denied``, ``LinkNotFound`` for *replaces*, and what ``find_patron`` raises.
        """
        require_counter_role(librarian)
        self._find_counter(librarian, terminal_id)
        self._require_consent(librarian.library_id, consent_version)
        now = self._environment.clock()
        library = self._environment.library(librarian.library_id)
        if representation is not None:
            _require(may_represent(representation.until, representation.checks, library.today(now)))
        summary = self._summarise(librarian, cardnumber)
        _require(summary.decision)
        others = [link for link in summary.open_links if link.link_id != replaces]
        if replaces is not None and len(others) == len(summary.open_links):
            raise LinkNotFound
        staying = [link for link in others if not _gives_way(link, library)]
        _require(judge_number_of_links(len(staying), library.links))
        request = LinkRequest(
            request_id=self._environment.new_id(),
            library_id=librarian.library_id,
            terminal_id=terminal_id,
            patron_id=summary.patron.patron_id,
            librarian_id=librarian.librarian_id,
            state=LinkRequestState.WAITING_FOR_CARD,
            started_at=now,
            expires_at=now + REQUEST_LIFETIME,
            patron_reference=self._reference_to(librarian.library_id, summary.patron),
            consent_version=consent_version,
            representation=representation,
            replaces=replaces,
        )
        with self._environment.store.transaction() as transaction:
            transaction.add_link_request(request)
            self._record(
                transaction, AuditTag.LINK_REQUESTED, request, librarian_actor(librarian), request.request_id
            )
        return request

    def reads_card_number(self, library_id: str) -> bool:
        """Whether a library has its counters read the number of the city's card application."""
        return self._environment.library(library_id).card_number_forms is not None

    def begin(self, terminal: Terminal, certificate_der: bytes, card_number: str | None = None) -> Challenge:
        """Check the card on the reader; return the challenge it shall sign.

        *card_number* is the number of the city's card application, where it was read. Whatever stands
        against the card ends the request, before the PIN. Raises ``WrongTerminalKind``, ``NoLinkRequest``,
        ``AlreadyLinked``, and what ``CardVerification.check`` and ``issue`` raise.
        """
        require_counter(terminal)
        request = self._require_pending(terminal)
        try:
            card = self._verification.check(certificate_der)
            identifiers = self._verification.identifiers(terminal.library_id, card.certificate)
            with self._environment.store.reading() as transaction:
                linked = transaction.find_open_link(terminal.library_id, identifiers)
                numbered = self._find_by_card_number(transaction, terminal.library_id, card_number)
            if linked is not None and linked.link_id != request.replaces:
                raise AlreadyLinked
            if numbered is not None and _is_known_to_differ(numbered.patron_id, request.patron_id):
                raise AlreadyLinked
            return self._verification.issue(
                ChallengePurpose.LINK, terminal, card, link_request_id=request.request_id
            )
        except (BridgeError, JpkiError) as error:
            self._refuse(terminal, request.request_id, slug_of(error), why=why_of(error))
            raise

    def complete(
        self,
        terminal: Terminal,
        challenge_id: str,
        certificate_der: bytes,
        signature: bytes,
        card_number: str | None = None,
    ) -> CardLink:
        """Make the link, if the signature proves the card and Koha still knows the patron.

        An imported link under *card_number* is the one that the new link is written down to replace.
        The patron is then moved into the category for linked patrons; that this fails undoes nothing.

        Raises ``ChallengeUnknown``, ``ChallengeAlreadyUsed``, ``NoLinkRequest``,
        ``AlreadyLinked``, ``NoSuchPatron``, ``KohaNotReachable``, and what
        ``CardVerification.prove`` and ``rely_on`` raise. Nothing is stored then but the refusal.
        """
        require_counter(terminal)
        request_id = None
        try:
            with self._verification.answering(challenge_id, ChallengePurpose.LINK, terminal) as pending:
                request_id = pending.link_request_id
                verified = self._verification.prove(pending, terminal, certificate_der, signature)
                with self._environment.store.reading() as transaction:
                    request = self._open(transaction, terminal.library_id, request_id)
                patron = self._ask_koha(request)
                answer = self._verification.await_answer(pending)
                # Nothing was known before: in an outage there is nothing that could stand for the answer.
                self._verification.rely_on(terminal.library_id, verified.certificate.not_after, answer)
                link = self._link(challenge_id, request, patron, verified, answer, card_number)
        except (BridgeError, JpkiError) as error:
            self._refuse(terminal, request_id, slug_of(error), why=why_of(error))
            raise
        self._move(link, Actor(ActorKind.LIBRARIAN, request.librarian_id))
        return link

    def link(self, librarian: Librarian, link_id: str) -> CardLink:
        """Return a link of the librarian's library, ended or not. Raises ``LinkNotFound``."""
        with self._environment.store.reading() as transaction:
            link = transaction.find_link(librarian.library_id, link_id)
        if link is None:
            raise LinkNotFound
        return link

    def unlink(self, librarian: Librarian, link_id: str, *, reason: UnlinkReason) -> CardLink:
        """End a link; sessions that run on it end at once. Raises ``LinkNotFound``.

        A patron whom the link had moved into another category is then moved back. Nothing but the library
        card, or the list of links, is needed for it: the My Number Card may be lost.
        """
        require_counter_role(librarian)
        actor = librarian_actor(librarian)
        with self._environment.store.transaction() as transaction:
            link = self._end(transaction, librarian.library_id, link_id, reason, actor)
        self._move(link, actor)
        return link

    def unlink_all(
        self, librarian: Librarian, cardnumber: str, *, reason: UnlinkReason
    ) -> Sequence[CardLink]:
        """End every link of a patron, by library card; return them. All or nothing.

        Raises ``LinkNotFound`` where there is none, and what ``find_patron`` raises.
        """
        patron = self.find_patron(librarian, cardnumber).patron
        library_id, actor = librarian.library_id, librarian_actor(librarian)
        references = self._environment.keys.patron_references(library_id, patron.cardnumber)
        with self._environment.store.transaction() as transaction:
            # Asked again, with nobody adding one: another counter may have linked or ended one meanwhile.
            links = transaction.open_links_of_patron(library_id, patron.patron_id, references, to_add=True)
            ended = [self._end(transaction, library_id, link.link_id, reason, actor) for link in links]
        if not ended:
            raise LinkNotFound
        self._move(ended[0], actor)
        return ended

    def suspend(self, librarian: Librarian, link_id: str, *, reason: SuspensionReason) -> CardLink:
        """Let a link rest, for one of the reasons that staff may give; sessions on it end at once.

        Raises ``LinkNotFound``, and ``Denied`` where it rests or has ended already.
        """
        require_counter_role(librarian)
        if reason not in STAFF_SUSPENSIONS:
            raise NotAllowed
        library_id = librarian.library_id
        with self._environment.store.transaction() as transaction:
            suspended = suspend(
                self._environment, transaction, library_id, link_id, reason, librarian_actor(librarian)
            )
            link = transaction.find_link(library_id, link_id)
        if link is None:
            raise LinkNotFound
        if not suspended:
            _require(judge_step(link.state, LinkStep.SUSPEND, link.suspended_reason))
        return link

    def restore(self, librarian: Librarian, link_id: str) -> CardLink:
        """Let a link that staff suspended be used again.

        Raises ``LinkNotFound``, and ``Denied`` where it is not suspended, or rests for a reason that staff
        cannot take away.
        """
        require_counter_role(librarian)
        with self._environment.store.transaction() as transaction:
            return restore(
                self._environment, transaction, librarian.library_id, link_id, librarian_actor(librarian)
            )

    def judge_library_card(self, librarian: Librarian, patron: PatronRecord) -> Decision:
        """Return whether a patron's library card is in order today in the librarian's library."""
        library = self._environment.library(librarian.library_id)
        return may_link(patron.standing, library.today(self._environment.clock()))

    def policy(self, librarian: Librarian) -> LinkPolicy:
        """Return what the librarian's library demands of its links."""
        return self._environment.library(librarian.library_id).links

    def ending_of(self, link: CardLink) -> LinkEnding:
        """Return when a link ends by itself at the latest, and why."""
        return self._environment.library(link.library_id).ending_of(link)

    def _end(
        self,
        transaction: Transaction,
        library_id: str,
        link_id: str,
        reason: UnlinkReason | LinkEndReason,
        actor: Actor,
    ) -> CardLink:
        link = end(self._environment, transaction, library_id, link_id, reason, actor)
        if link.patron_id is not None:
            self._categories.plan(transaction, library_id, patron_id=link.patron_id, link_id=link_id)
        return link

    def _summarise(self, librarian: Librarian, cardnumber: str) -> PatronSummary:
        library = self._environment.library(librarian.library_id)
        patron = library.patrons.find_by_cardnumber(cardnumber)
        if patron is None:
            raise NoSuchPatron
        references = self._environment.keys.patron_references(library.library_id, patron.cardnumber)
        with self._environment.store.reading() as transaction:
            open_links = transaction.open_links_of_patron(library.library_id, patron.patron_id, references)
        today = library.today(self._environment.clock())
        return PatronSummary(patron, open_links, may_link(patron.standing, today))

    def _record_look_up(self, librarian: Librarian, links: Sequence[CardLink], **details: str) -> None:
        with self._environment.store.transaction() as transaction:
            for subject in [link.link_id for link in links] or [NO_LINK]:
                transaction.add_audit_event(
                    self._environment.event(
                        AuditTag.PATRON_LOOKED_UP,
                        librarian.library_id,
                        librarian_actor(librarian),
                        subject,
                        **details,
                    )
                )

    def _require_consent(self, library_id: str, version: str) -> None:
        """Raise ``ConsentMissing`` where *version* is not the wording in force."""
        with self._environment.store.reading() as transaction:
            in_force = wording_in_force(transaction, library_id)
        if version != in_force.version:
            raise ConsentMissing

    def _ask_koha(self, request: LinkRequest) -> PatronRecord:
        library = self._environment.library(request.library_id)
        patron = self._environment.patron_of(request)
        _require(may_link(patron.standing, library.today(self._environment.clock())))
        return patron

    def _move(self, link: CardLink, actor: Actor) -> None:
        if link.patron_id is not None:
            # The link stands, or has ended, whatever comes now; a move that is left is made at night.
            with suppress(StoreUnavailable):
                self._categories.run(link.library_id, link.patron_id, actor)

    def _reference_to(self, library_id: str, patron: PatronRecord) -> str | None:
        """Return what a patron without an id is kept under."""
        if patron.patron_id is not None:
            return None
        return self._environment.keys.patron_references(library_id, patron.cardnumber)[0]

    def _link(
        self,
        challenge_id: str,
        request: LinkRequest,
        patron: PatronRecord,
        verified: VerifiedCard,
        answer: RevocationAnswer,
        card_number: str | None,
    ) -> CardLink:
        identifiers = self._verification.identifiers(request.library_id, verified.certificate)
        link = self._new_link(request, patron, verified.certificate, identifiers[0].kind, answer)
        serial, tag = self._sealed_serial(link, verified.certificate)
        with self._environment.store.transaction() as transaction:
            transaction.consume_challenge(challenge_id, link.linked_at)
            self._open(transaction, request.library_id, request.request_id)
            actor = Actor(ActorKind.LIBRARIAN, request.librarian_id)
            if request.replaces is not None:
                end(
                    self._environment,
                    transaction,
                    link.library_id,
                    request.replaces,
                    LinkEndReason.RELINKED,
                    actor,
                )
            if transaction.find_open_link(request.library_id, identifiers) is not None:
                raise AlreadyLinked
            numbered = self._find_by_card_number(transaction, link.library_id, card_number)
            link = self._in_place_of_imported(transaction, link, patron, actor, numbered)
            self._require_room(transaction, link, patron)
            transaction.add_link(link, identifiers[0], serial, identifiers[1:], tag)
            if link.patron_id is not None:
                self._categories.plan(
                    transaction,
                    link.library_id,
                    patron_id=link.patron_id,
                    link_id=link.link_id,
                    category_id=patron.category_id,
                )
            transaction.update_link_request(
                replace(request, state=LinkRequestState.COMPLETED, problem=None, link_id=link.link_id)
            )
            replaces = {} if link.replaces is None else {"replaces": link.replaces}
            self._record(transaction, AuditTag.LINK_CREATED, request, actor, link.link_id, **replaces)
        return link

    def _new_link(
        self,
        request: LinkRequest,
        patron: PatronRecord,
        certificate: UserAuthenticationCertificate,
        kind: IdentifierKind,
        answer: RevocationAnswer,
    ) -> CardLink:
        return CardLink(
            link_id=self._environment.new_id(),
            library_id=request.library_id,
            patron_id=patron.patron_id,
            kind=kind,
            state=LinkState.ACTIVE,
            not_after=certificate.not_after,
            linked_at=self._environment.clock(),
            linked_by=request.librarian_id,
            patron_reference=self._reference_to(request.library_id, patron),
            revocation=answer,
            consent_version=request.consent_version,
            consented_at=request.started_at,
            representation=request.representation,
            replaces=request.replaces,
        )

    def _sealed_serial(
        self, link: CardLink, certificate: UserAuthenticationCertificate
    ) -> tuple[EncryptedValue, RevocationTag]:
        """Return what a link keeps of its certificate's serial number, and by what a sweep knows it."""
        keys = self._environment.keys
        issuer, serial_number = certificate.issuer_key_identifier, certificate.serial_number
        record = write_serial_record(issuer, serial_number)
        serial = keys.encrypt(KeyUse.SERIAL_ENCRYPTION, link.library_id, link.link_id, record)
        return serial, RevocationTag(
            issuer, keys.revocation_tag(link.library_id, serial.key_id, serial_number)
        )

    def _find_by_card_number(
        self, transaction: Transaction, library_id: str, card_number: str | None
    ) -> CardLink | None:
        """Return the open link under the number that the card carries, where there is one.

        The number proves nothing, so nothing is granted on its word; one that is not of the library's form
        is left unread.
        """
        forms = self._environment.library(library_id).card_number_forms
        if card_number is None or forms is None:
            return None
        number = forms.read(IdentifierKind.CARD_AP_NUMBER, card_number)
        if isinstance(number, IdentifierProblem):
            logger.warning("%s: a card's number is not of the form in the settings", library_id)
            return None
        identifiers = self._environment.keys.foreign_identifiers(library_id, number)
        return transaction.find_open_link(library_id, identifiers)

    def _in_place_of_imported(
        self,
        transaction: Transaction,
        link: CardLink,
        patron: PatronRecord,
        actor: Actor,
        numbered: CardLink | None,
    ) -> CardLink:
        """End the patron's links under another system's identifiers; return *link*, which follows them.

        It is written down to replace *numbered*, by which the card itself was known, rather than another.
        Raises ``AlreadyLinked`` where *numbered* is another patron's: one card is one patron.
        """
        library = self._environment.library(link.library_id)
        references = self._environment.keys.patron_references(link.library_id, patron.cardnumber)
        own = transaction.open_links_of_patron(link.library_id, patron.patron_id, references)
        if numbered is not None:
            if numbered.link_id not in {each.link_id for each in own}:
                raise AlreadyLinked
            if link.replaces is None and _gives_way(numbered, library):
                link = replace(link, replaces=numbered.link_id)
        for each in own:
            if _gives_way(each, library):
                reason = LinkEndReason.IDENTIFIER_REPLACED
                end(self._environment, transaction, link.library_id, each.link_id, reason, actor)
                link = replace(link, replaces=link.replaces or each.link_id)
        return link

    def _require_room(self, transaction: Transaction, link: CardLink, patron: PatronRecord) -> None:
        """Raise ``Denied`` where the patron has as many open links as one may have."""
        references = self._environment.keys.patron_references(link.library_id, patron.cardnumber)
        open_links = transaction.open_links_of_patron(
            link.library_id, patron.patron_id, references, to_add=True
        )
        _require(judge_number_of_links(len(open_links), self._environment.library(link.library_id).links))


def _require(decision: Decision) -> None:
    if decision.denial is not None:
        raise Denied(decision.denial, decision.why)


def _is_known_to_differ(patron_id: int | None, other: int | None) -> bool:
    """Whether two patrons are not the same. Without both ids only Koha can tell, which ``complete`` asks."""
    return None not in (patron_id, other) and patron_id != other


def _gives_way(link: CardLink, library: Library) -> bool:
    """Whether a link under another system's identifier ends when its patron lays the card."""
    return library.replace_imported_links and link.kind is not IdentifierKind.SERIAL_NUMBER
