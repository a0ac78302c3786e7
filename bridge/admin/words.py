"""What the admin says: one sentence or label for each word that programs use. Tables, nothing else.

English is the source language of the catalogues in ``translations/``. Each sentence about a problem
says what is the matter and what the librarian can do; none blames the patron.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from types import MappingProxyType

from flask_babel import LazyString, lazy_gettext

from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.administration import LibrarySystem
from bridge.links.consent import MAXIMUM_LENGTH
from bridge.models import (
    ActorKind,
    ApprovalReason,
    AuditTag,
    BulkUnlinkingState,
    BulkUnlinkReason,
    ConsentLanguage,
    ConsentProblem,
    DeclineReason,
    IdentifierKind,
    LibrarianRole,
    LinkEndReason,
    LinkRequestState,
    LinkState,
    MoveDirection,
    MoveState,
    OutputState,
    ReaderState,
    RepresentativeCheck,
    SuspensionReason,
    TerminalKind,
    UnlinkReason,
)
from bridge.statistics import Party
from jpki.revocation import CERTIFICATE_HOLD, UnknownReason

PROBLEMS: Mapping[str, LazyString] = MappingProxyType(
    {
        # the certificate
        "certificate-expired": lazy_gettext(
            "The card's certificate has expired. The patron can renew it at the city office."
        ),
        "certificate-revoked": lazy_gettext(
            "The card's certificate has been revoked. The patron should ask at the city office."
        ),
        "certificate-not-yet-valid": lazy_gettext("The card's certificate is not valid yet."),
        "revocation-unknown": lazy_gettext(
            "Whether the certificate is still valid could not be confirmed just now, so the card was not "
            "accepted. Please try again later."
        ),
        "malformed-certificate": lazy_gettext("The card's certificate could not be read."),
        "untrusted-issuer": lazy_gettext(
            "The card's certificate was issued by an authority that this system does not know."
        ),
        "wrong-certificate-type": lazy_gettext("The certificate is not one for user authentication."),
        "wrong-certificate-policy": lazy_gettext("The certificate is not one for user authentication."),
        "unsupported-algorithm": lazy_gettext(
            "The certificate uses a method that this system does not accept."
        ),
        # the answer of the card
        "invalid-signature": lazy_gettext("The card's answer was not correct. Please start again."),
        "malformed-challenge": lazy_gettext("The card's answer was not correct. Please start again."),
        "challenge-unknown": lazy_gettext("The card's answer was not correct. Please start again."),
        "challenge-expired": lazy_gettext("The card's answer came too late. Please start again."),
        "challenge-already-used": lazy_gettext("The card's answer had been used before. Please start again."),
        "wrong-terminal": lazy_gettext("The answer came from another terminal. Please start again."),
        "wrong-certificate": lazy_gettext("The card was changed on the way. Please start again."),
        # the work at the reader
        "pin-wrong": lazy_gettext("The PIN was wrong. The patron may try again."),
        "pin-blocked": lazy_gettext(
            "The PIN is locked. The library cannot unlock it: the city office can, or, for who knows the "
            "password for signatures, the smartphone app and a convenience store. The library card works as "
            "before."
        ),
        "card-removed": lazy_gettext(
            "The card was taken off the reader too early. Please lay it down again."
        ),
        "given-up": lazy_gettext("The patron stopped before entering the PIN."),
        # links
        "already-linked": lazy_gettext(
            "This card is linked already, and a card can be linked to one patron only. To whom it is linked "
            "is not shown."
        ),
        "linked-meanwhile": lazy_gettext(
            "Another card was being linked to this patron at the same moment. Please start again."
        ),
        "too-many-links": lazy_gettext(
            "The patron has as many linked cards as this library allows. Please end a link first, or choose "
            "the one that the new card replaces."
        ),
        "consent-missing": lazy_gettext(
            "The patron has not agreed yet, or the wording has changed. Please read it together again."
        ),
        "consent-unfit": lazy_gettext("This is no wording to which anybody could agree."),
        "consent-changed": lazy_gettext(
            "Somebody else has changed the wording meanwhile. Please look at it and change it again."
        ),
        "consent-not-found": lazy_gettext("There is no such wording."),
        "representation-incomplete": lazy_gettext(
            "Every point of the checklist is needed, and the child's 15th birthday."
        ),
        "representation-over": lazy_gettext(
            "From the 15th birthday on only the patron in person can link the card. Please link it again."
        ),
        "link-expired": lazy_gettext(
            "The link is older than this library lets links become. Please link the card again."
        ),
        "retention-over": lazy_gettext("The time for which this record is kept is over."),
        "step-not-possible": lazy_gettext("This is not possible with the link as it stands now."),
        "not-linked": lazy_gettext("This card is not linked."),
        "link-suspended": lazy_gettext(
            "The link is suspended. Once the patron has a new certificate, end it and link the card again."
        ),
        "link-ended": lazy_gettext("The link has ended."),
        "link-not-found": lazy_gettext("There is no such link, or it has ended."),
        "bulk-unlinking-not-found": lazy_gettext("There is no such request to end links."),
        "bulk-unlinking-over": lazy_gettext(
            "This request is over: it was decided or withdrawn, or nobody decided it in time."
        ),
        "second-person-needed": lazy_gettext(
            "One person may not do this alone. Another member of staff must approve it."
        ),
        "too-many-links-at-once": lazy_gettext(
            "These are more links than one request can name. Please narrow the list."
        ),
        "no-link-request": lazy_gettext("No link has been started at this terminal."),
        "link-request-pending": lazy_gettext(
            "This terminal is already waiting for a card. Finish or cancel that first."
        ),
        "link-request-not-found": lazy_gettext("There is no such request, or it is over already."),
        # the library card
        "patron-not-found": lazy_gettext("Koha knows no patron with this library card number."),
        "library-card-expired": lazy_gettext("The library card has expired. Please renew it in Koha first."),
        "library-card-lost": lazy_gettext(
            "The library card is reported lost. Please settle that in Koha first."
        ),
        "patron-restricted": lazy_gettext("The patron is restricted in Koha."),
        # the system
        "koha-not-reachable": lazy_gettext("Koha does not answer. Please try again in a moment."),
        "patron-changed": lazy_gettext("Somebody was changing the patron in Koha at the same time."),
        "category-refused": lazy_gettext(
            "Koha does not allow this change of category. Please tell the administrator."
        ),
        "wrong-terminal-kind": lazy_gettext("This terminal is not a counter terminal."),
        "terminal-not-found": lazy_gettext("There is no such terminal."),
        "library-not-found": lazy_gettext("This library is not in the settings."),
        "enrolment-code-unknown": lazy_gettext("There is no such enrolment code."),
        "enrolment-code-expired": lazy_gettext("The enrolment code has expired. Please draw a new one."),
        "enrolment-code-used": lazy_gettext("The enrolment code has been used. Please draw a new one."),
        "enrolment-locked": lazy_gettext("Too many enrolment codes were wrong. Please wait a minute."),
        "not-allowed": lazy_gettext("Your account may not do this."),
        "plugin-not-authenticated": lazy_gettext("The Koha plugin could not be recognised."),
        "plugin-not-found": lazy_gettext("There is no such Koha plugin."),
        "librarian-not-authenticated": lazy_gettext("The log-in is over. Please log in again."),
        "origin-not-allowed": lazy_gettext(
            "This Koha is not one of your library's. Please tell the administrator."
        ),
        "librarian-not-found": lazy_gettext("There is no such member of staff."),
        "log-in-failed": lazy_gettext("The log-in name or the password is wrong."),
        "second-factor-needed": lazy_gettext(
            "This account needs a code of the authenticator app, too. Who has none yet sets it up in the "
            "admin."
        ),
        "second-factor-refused": lazy_gettext(
            "The code was not accepted. Each code is good once: wait for the next one. After several wrong "
            "tries the account is locked for a while."
        ),
        "password-refused": lazy_gettext(
            "The password is wrong. After several wrong tries the account is locked for a while."
        ),
        "password-unfit": lazy_gettext("The new password must be another one, of at least 12 characters."),
        "password-of-koha": lazy_gettext("This password is Koha's. It is changed in Koha."),
        "password-not-checked": lazy_gettext(
            "Koha does not answer, so Koha's passwords cannot be checked now. Please try again in a moment. "
            "With a password of this system, please check log-in name and password."
        ),
        "koha-sign-in-off": lazy_gettext("Staff of this library do not sign in with Koha's password."),
        "koha-account-taken": lazy_gettext("Another account signs in with this borrowernumber."),
        "koha-account-not-found": lazy_gettext("Koha knows nobody with this borrowernumber."),
        "koha-permission-missing": lazy_gettext(
            "Koha does not give this account the permission that the library asks for. Please tell the "
            "administrator."
        ),
        "standing-unknown": lazy_gettext(
            "Koha does not answer, so it is not known whether you may go on. You stay logged in; please try "
            "again in a moment."
        ),
        "name-taken": lazy_gettext("This name is in use."),
        "identifier-kind-not-used": lazy_gettext("Links by this kind of identifier are not used here."),
        "link-file-malformed": lazy_gettext("The file cannot be read."),
        "wrong-role": lazy_gettext("This role is not possible here."),
        "key-in-use": lazy_gettext("The system is not set up correctly. Please tell the administrator."),
        "key-problem": lazy_gettext("The system is not set up correctly. Please tell the administrator."),
        "store-problem": lazy_gettext("The system is not set up correctly. Please tell the administrator."),
        "audit-file-malformed": lazy_gettext(
            "Something went wrong in the system. Please tell the administrator."
        ),
        "store-unavailable": lazy_gettext(
            "The database cannot be used just now; nothing was changed. Please try again in a moment, and "
            "tell the administrator if it stays like this."
        ),
        "internal-error": lazy_gettext("Something went wrong in the system. Please tell the administrator."),
    }
)
"""Every slug of ``bridge.errors`` and the steps of an agent that end badly, in plain words."""

LINK_STATES: Mapping[str, LazyString] = MappingProxyType(
    {
        LinkState.ACTIVE: lazy_gettext("Active"),
        LinkState.SUSPENDED: lazy_gettext("Suspended"),
        LinkState.ENDED: lazy_gettext("Ended"),
    }
)

IDENTIFIER_KINDS: Mapping[str, LazyString] = MappingProxyType(
    {
        IdentifierKind.SERIAL_NUMBER: lazy_gettext("The card itself"),
        IdentifierKind.PPID: lazy_gettext("Platform pseudonym (PPID)"),
        IdentifierKind.MYKEY_ID: lazy_gettext("MyKeyID"),
        IdentifierKind.CARD_AP_NUMBER: lazy_gettext("Card application number"),
    }
)
"""What a link is kept under."""

REQUEST_STATES: Mapping[LinkRequestState, LazyString] = MappingProxyType(
    {
        LinkRequestState.WAITING_FOR_CARD: lazy_gettext("Please lay the My Number Card on the reader."),
        LinkRequestState.WAITING_FOR_PIN: lazy_gettext(
            "The certificate is good. The patron is being asked for the PIN."
        ),
        LinkRequestState.COMPLETED: lazy_gettext("The card is linked."),
        LinkRequestState.REFUSED: lazy_gettext("The card could not be linked."),
        LinkRequestState.CANCELLED: lazy_gettext("The link was cancelled. Nothing was kept."),
        LinkRequestState.EXPIRED: lazy_gettext("Time has run out. Nothing was kept."),
    }
)

IDENTIFICATION_STATES: Mapping[LinkRequestState, LazyString] = MappingProxyType(
    {
        **REQUEST_STATES,
        LinkRequestState.COMPLETED: lazy_gettext("The patron is known."),
        LinkRequestState.REFUSED: lazy_gettext("It could not be told whose card it is."),
        LinkRequestState.CANCELLED: lazy_gettext("The question was cancelled. Nothing was kept."),
    }
)
"""The same where the card was not to be linked, but its patron to be told."""

TERMINAL_KINDS: Mapping[str, LazyString] = MappingProxyType(
    {
        TerminalKind.COUNTER: lazy_gettext("Counter"),
        TerminalKind.SELF_CHECK: lazy_gettext("Self-check machine"),
    }
)

READER_STATES: Mapping[ReaderState, LazyString] = MappingProxyType(
    {
        ReaderState.READY: lazy_gettext("Reader ready"),
        ReaderState.MISSING: lazy_gettext("Reader missing"),
        ReaderState.NO_SERVICE: lazy_gettext("Reader service not running"),
    }
)

OUTPUT_STATES: Mapping[OutputState, LazyString] = MappingProxyType(
    {
        OutputState.READY: lazy_gettext("output ready"),
        OutputState.UNAVAILABLE: lazy_gettext("output not available"),
        OutputState.NONE: lazy_gettext("no output"),
    }
)

LIBRARIAN_ROLES: Mapping[str, LazyString] = MappingProxyType(
    {
        LibrarianRole.LIBRARIAN: lazy_gettext("Librarian"),
        LibrarianRole.ADMINISTRATOR: lazy_gettext("Administrator"),
        LibrarianRole.AUDITOR: lazy_gettext("Auditor"),
        LibrarianRole.REGION_ADMINISTRATOR: lazy_gettext("Region administrator"),
    }
)

ACTOR_KINDS: Mapping[str, LazyString] = MappingProxyType(
    {
        ActorKind.LIBRARIAN: lazy_gettext("Staff"),
        ActorKind.TERMINAL: lazy_gettext("Terminal"),
        ActorKind.PROXY: lazy_gettext("SIP2 proxy"),
        ActorKind.COMMAND: lazy_gettext("Server command"),
        ActorKind.PLUGIN: lazy_gettext("Koha plugin"),
    }
)

AUDIT_TAGS: Mapping[str, LazyString] = MappingProxyType(
    {
        AuditTag.LINK_REQUESTED: lazy_gettext("Link started"),
        AuditTag.LINK_REQUEST_CANCELLED: lazy_gettext("Link cancelled"),
        AuditTag.LINK_CREATED: lazy_gettext("Card linked"),
        AuditTag.LINK_REFUSED: lazy_gettext("Link refused"),
        AuditTag.LINK_ENDED: lazy_gettext("Link ended"),
        AuditTag.LINK_SUSPENDED: lazy_gettext("Link suspended"),
        AuditTag.LINK_IMPORTED: lazy_gettext("Link taken over from another system"),
        AuditTag.LINKS_EXPORTED: lazy_gettext("Links written to a file"),
        AuditTag.LINK_RESTORED: lazy_gettext("Link restored"),
        AuditTag.LINK_DELETED: lazy_gettext("Ended link deleted for good"),
        AuditTag.BULK_UNLINKING_REQUESTED: lazy_gettext("End of several links requested"),
        AuditTag.BULK_UNLINKING_APPROVED: lazy_gettext("End of several links approved"),
        AuditTag.BULK_UNLINKING_DECLINED: lazy_gettext("End of several links declined"),
        AuditTag.BULK_UNLINKING_WITHDRAWN: lazy_gettext("Request to end several links withdrawn"),
        AuditTag.BULK_UNLINKING_EXPIRED: lazy_gettext("Request to end several links expired"),
        AuditTag.BULK_UNLINKING_EXECUTED: lazy_gettext("End of several links completed"),
        AuditTag.IDENTIFICATION_REQUESTED: lazy_gettext("Asked whose card it is"),
        AuditTag.IDENTIFICATION_CANCELLED: lazy_gettext("Question whose card it is cancelled"),
        AuditTag.IDENTIFICATION_REFUSED: lazy_gettext("Question whose card it is refused"),
        AuditTag.PATRON_IDENTIFIED: lazy_gettext("Patron identified by card"),
        AuditTag.PATRON_LOOKED_UP: lazy_gettext("Patron looked up at the counter"),
        AuditTag.LINK_UPGRADED: lazy_gettext("Link now points to the Koha patron number"),
        AuditTag.CATEGORY_MOVED: lazy_gettext("Patron category changed"),
        AuditTag.CATEGORY_LEFT_ALONE: lazy_gettext("Patron category left as it is"),
        AuditTag.CATEGORY_MOVE_FAILED: lazy_gettext("Patron category not changed yet"),
        AuditTag.SESSION_OPENED: lazy_gettext("Self-check session opened"),
        AuditTag.SESSION_FOR_REVIEW: lazy_gettext("Card accepted without an answer: to be reviewed"),
        AuditTag.SESSION_DENIED: lazy_gettext("Self-check session refused"),
        AuditTag.PIN_WRONG: lazy_gettext("Wrong PIN"),
        AuditTag.SESSION_CLOSED: lazy_gettext("Self-check session closed"),
        AuditTag.SESSION_ANOTHER_PATRON: lazy_gettext("Alarm: Koha answered about another patron"),
        AuditTag.SESSION_GUESSING: lazy_gettext("Alarm: tokens were guessed at a self-check machine"),
        AuditTag.TERMINAL_ADDED: lazy_gettext("Terminal added"),
        AuditTag.TERMINAL_REMOVED: lazy_gettext("Terminal removed"),
        AuditTag.TERMINAL_ELSEWHERE: lazy_gettext("Alarm: a self-check machine logged in from elsewhere"),
        AuditTag.TERMINAL_CODE_DRAWN: lazy_gettext("Enrolment code drawn"),
        AuditTag.TERMINAL_ENROLLED: lazy_gettext("Terminal enrolled"),
        AuditTag.TERMINAL_ENROLMENT_REFUSED: lazy_gettext("Enrolment refused"),
        AuditTag.TERMINAL_ENROLMENT_GUESSING: lazy_gettext("Alarm: enrolment codes were guessed"),
        AuditTag.LIBRARIAN_ADDED: lazy_gettext("Staff account added"),
        AuditTag.LIBRARIAN_DISABLED: lazy_gettext("Staff account closed"),
        AuditTag.LIBRARIAN_ENABLED: lazy_gettext("Staff account opened again"),
        AuditTag.LIBRARIAN_ROLE_CHANGED: lazy_gettext("Staff role changed"),
        AuditTag.LIBRARIAN_PASSWORD_RESET: lazy_gettext("Password set anew"),
        AuditTag.LIBRARIAN_PASSWORD_CHANGED: lazy_gettext("Own password changed"),
        AuditTag.SECOND_FACTOR_SET_UP: lazy_gettext("Second factor set up"),
        AuditTag.SECOND_FACTOR_REMOVED: lazy_gettext("Own second factor removed"),
        AuditTag.SECOND_FACTOR_RESET: lazy_gettext("Second factor reset"),
        AuditTag.LIBRARIAN_PASSWORD_OF_KOHA: lazy_gettext("Signs in with Koha's password from now on"),
        AuditTag.KOHA_PERMISSION_MISSING: lazy_gettext("Koha does not permit it (any more)"),
        AuditTag.LIBRARIAN_UNLOCKED: lazy_gettext("Staff account unlocked"),
        AuditTag.LOGIN_SUCCEEDED: lazy_gettext("Logged in"),
        AuditTag.LOGIN_FAILED: lazy_gettext("Log-in failed"),
        AuditTag.LOGGED_OUT: lazy_gettext("Logged out"),
        AuditTag.LIST_EXPORTED: lazy_gettext("List taken away as a file"),
        AuditTag.DESK_OPENED: lazy_gettext("Desk opened in Koha"),
        AuditTag.KOHA_ACCOUNT_ADDED: lazy_gettext("Koha account given to a member of staff"),
        AuditTag.KOHA_ACCOUNT_REMOVED: lazy_gettext("Koha account taken from a member of staff"),
        AuditTag.PLUGIN_ADDED: lazy_gettext("Koha plugin added"),
        AuditTag.PLUGIN_REMOVED: lazy_gettext("Koha plugin removed"),
        AuditTag.PLUGIN_REFUSED: lazy_gettext("Alarm: wrong secret of a Koha plugin"),
        AuditTag.CONSENT_CHANGED: lazy_gettext("Wording of the consent changed"),
        AuditTag.AUDIT_SEALED: lazy_gettext("Audit log sealed"),
        AuditTag.KEYS_ROTATED: lazy_gettext("Links brought under a new master key"),
        AuditTag.KEY_RETIRED: lazy_gettext("Master key retired"),
    }
)

SECOND_FACTOR_POLICIES: Mapping[SecondFactorPolicy, LazyString] = MappingProxyType(
    {
        SecondFactorPolicy.OPTIONAL: lazy_gettext(
            "Staff may set one up; then their log-in asks for a code, too. Nobody must."
        ),
        SecondFactorPolicy.ADMINISTRATORS: lazy_gettext(
            "Administrators log in with a code, too; all others may set it up."
        ),
        SecondFactorPolicy.EVERYONE: lazy_gettext("Everybody logs in with a code, too."),
    }
)

UNLINK_REASONS: Mapping[str, LazyString] = MappingProxyType(
    {
        UnlinkReason.PATRON_REQUEST: lazy_gettext("The patron wishes it"),
        UnlinkReason.CARD_LOST: lazy_gettext("The My Number Card is lost or stolen"),
        UnlinkReason.MISTAKE: lazy_gettext("Linked by mistake"),
    }
)

BULK_UNLINK_REASONS: Mapping[str, LazyString] = MappingProxyType(
    {
        BulkUnlinkReason.MISTAKE: lazy_gettext("Linked by mistake"),
        BulkUnlinkReason.PATRON_REQUEST: lazy_gettext("The patron wishes it"),
        BulkUnlinkReason.SUSPECTED_MISUSE: lazy_gettext("Misuse is suspected"),
        BulkUnlinkReason.NOT_USED: lazy_gettext("Not used for a long time"),
        BulkUnlinkReason.SERVICE_ENDED: lazy_gettext("The library ends the service"),
    }
)
"""Why several links end at once."""

BULK_UNLINKING_STATES: Mapping[str, LazyString] = MappingProxyType(
    {
        BulkUnlinkingState.REQUESTED: lazy_gettext("Waiting for approval"),
        BulkUnlinkingState.APPROVED: lazy_gettext("Approved, links are ending"),
        BulkUnlinkingState.EXECUTED: lazy_gettext("Completed"),
        BulkUnlinkingState.DECLINED: lazy_gettext("Declined"),
        BulkUnlinkingState.WITHDRAWN: lazy_gettext("Withdrawn"),
        BulkUnlinkingState.EXPIRED: lazy_gettext("Expired"),
    }
)

APPROVAL_REASONS: Mapping[str, LazyString] = MappingProxyType(
    {
        ApprovalReason.LINKS_CHECKED: lazy_gettext("I have looked at these links, and they are to end"),
        ApprovalReason.LIBRARY_DECISION: lazy_gettext("The library has decided it"),
    }
)

DECLINE_REASONS: Mapping[str, LazyString] = MappingProxyType(
    {
        DeclineReason.WRONG_LINKS: lazy_gettext("Links are named that must not end"),
        DeclineReason.NOT_NEEDED: lazy_gettext("It is not needed any more"),
        DeclineReason.UNCLEAR: lazy_gettext("It is not clear why they are to end"),
    }
)

LINK_END_REASONS: Mapping[str, LazyString] = MappingProxyType(
    {
        LinkEndReason.RELINKED: lazy_gettext("Replaced by a new link"),
        LinkEndReason.IDENTIFIER_REPLACED: lazy_gettext("Replaced by a link with the card itself"),
        LinkEndReason.ACCOUNT_GONE: lazy_gettext("The patron is no longer in Koha"),
        LinkEndReason.CERTIFICATE_EXPIRED: lazy_gettext("The certificate has expired"),
        LinkEndReason.LINK_EXPIRED: lazy_gettext("The link had reached its greatest age"),
        LinkEndReason.REPRESENTATION_OVER: lazy_gettext("The child has turned 15"),
    }
)
"""Why a link ended that nobody ended by hand."""

SUSPENSION_REASONS: Mapping[str, LazyString] = MappingProxyType(
    {
        SuspensionReason.CARD_MISLAID: lazy_gettext("The card cannot be found just now"),
        SuspensionReason.PATRON_REQUEST: lazy_gettext("The patron wishes it"),
        SuspensionReason.SUSPECTED_MISUSE: lazy_gettext("Misuse is suspected"),
        SuspensionReason.CERTIFICATE_REVOKED: lazy_gettext("The certificate has been revoked"),
        SuspensionReason.ACCOUNT_GONE: lazy_gettext("The patron is no longer in Koha"),
    }
)


CONSENT_LANGUAGES: Mapping[ConsentLanguage, LazyString] = MappingProxyType(
    {
        ConsentLanguage.JAPANESE: lazy_gettext("Japanese wording"),
        ConsentLanguage.ENGLISH: lazy_gettext("English wording"),
    }
)

CONSENT_PROBLEMS: Mapping[str, LazyString] = MappingProxyType(
    {
        ConsentProblem.EMPTY: lazy_gettext("Please fill in this field."),
        ConsentProblem.TOO_LONG: lazy_gettext(
            "At most %(num)s characters: it has to fit on one page.", num=MAXIMUM_LENGTH
        ),
        ConsentProblem.CONTROL_CHARACTER: lazy_gettext("There is a character in it that cannot be printed."),
    }
)
"""Why a text is no wording of the consent."""

REPRESENTATIVE_CHECKS: Mapping[str, LazyString] = MappingProxyType(
    {
        RepresentativeCheck.CHILDS_LIBRARY_CARD: lazy_gettext("The child's library card is here."),
        RepresentativeCheck.CHILDS_CARD_AND_PIN: lazy_gettext(
            "The child's My Number Card is here, and the representative knows its PIN."
        ),
        RepresentativeCheck.REPRESENTATIVES_IDENTITY: lazy_gettext(
            "The representative has shown an identity paper."
        ),
        RepresentativeCheck.LIVING_TOGETHER: lazy_gettext(
            "It shows that the representative and the child live together."
        ),
        RepresentativeCheck.NAME_AND_ADDRESS: lazy_gettext("It shows name and address."),
        RepresentativeCheck.PUBLIC_ISSUER: lazy_gettext("It was issued by a public body."),
    }
)
"""What staff tick for a child under 15. Only the ticks are kept."""

MOVE_DIRECTIONS: Mapping[str, LazyString] = MappingProxyType(
    {
        MoveDirection.LINKED: lazy_gettext("Card linked"),
        MoveDirection.BACK: lazy_gettext("Link ended"),
    }
)
"""Why a patron changes the category."""

MOVE_STATES: Mapping[str, LazyString] = MappingProxyType(
    {
        MoveState.PENDING: lazy_gettext("To be done"),
        MoveState.FAILED: lazy_gettext("Will be tried again"),
        MoveState.DONE: lazy_gettext("Changed"),
        MoveState.LEFT_ALONE: lazy_gettext("Left as it is"),
        MoveState.SUPERSEDED: lazy_gettext("No longer needed"),
    }
)

MOVE_OUTCOMES: Mapping[MoveState, LazyString] = MappingProxyType(
    {
        MoveState.PENDING: lazy_gettext("The patron category is being changed in Koha."),
        MoveState.FAILED: lazy_gettext(
            "The patron category could not be changed in Koha just now. It will be tried again."
        ),
        MoveState.DONE: lazy_gettext("The patron category was changed in Koha."),
        MoveState.LEFT_ALONE: lazy_gettext(
            "The patron category was changed in Koha by somebody else and is left as it is."
        ),
        MoveState.SUPERSEDED: lazy_gettext("The patron category is not changed any more."),
    }
)
"""What the counter is told about a change of category, after a link or its end."""

SESSION_ENDS: Mapping[str, LazyString] = MappingProxyType(
    {
        "end_patron_session": lazy_gettext("Ended by the patron"),
        "another_patron": lazy_gettext("Another patron came"),
        "idle": lazy_gettext("Nothing was done for a while"),
        "disconnected": lazy_gettext("The machine was disconnected"),
        "superseded": lazy_gettext("The same card began anew"),
        "overdue": lazy_gettext("Time had run out"),
    }
)
"""What ended a session at a self-check machine: the words of ``sip2_adapter`` and ``bridge.borrowing``."""

REASONS: Mapping[str, LazyString] = MappingProxyType(
    {
        # why nobody could tell whether a certificate is revoked
        UnknownReason.RESPONDER_SAYS_UNKNOWN.value: lazy_gettext(
            "The source does not know this certificate."
        ),
        UnknownReason.UNREACHABLE.value: lazy_gettext("The source of revocation information did not answer."),
        UnknownReason.STALE.value: lazy_gettext("What the source knows is too old."),
        UnknownReason.NOT_TRUSTED.value: lazy_gettext("The source's answer was not signed as it must be."),
        UnknownReason.MALFORMED.value: lazy_gettext("The source's answer could not be read."),
        UnknownReason.NO_SOURCE.value: lazy_gettext("No source of revocation information is set up for it."),
        # why a certificate was revoked (RFC 5280, 5.3.1, as the CPS of JPKI uses it)
        "unspecified": lazy_gettext("No reason is given."),
        "keyCompromise": lazy_gettext("The card's key may be known to others."),
        "cACompromise": lazy_gettext("The authority's key may be known to others."),
        "affiliationChanged": lazy_gettext("What the certificate says has changed."),
        "superseded": lazy_gettext("It was replaced by a new certificate."),
        "cessationOfOperation": lazy_gettext("It is no longer used."),
        CERTIFICATE_HOLD: lazy_gettext("It is suspended for the time being, as after a lost card."),
        "removeFromCRL": lazy_gettext("It was taken off the list of suspended certificates."),
        "privilegeWithdrawn": lazy_gettext("Its use was withdrawn."),
        "aACompromise": lazy_gettext("The authority's key may be known to others."),
    }
)
"""What tells apart refusals of one kind (``bridge.errors.why_of``)."""

LIST_NAMES: Mapping[str, LazyString] = MappingProxyType(
    {
        "links": lazy_gettext("Links"),
        "renewals": lazy_gettext("Renewals"),
        "bulk": lazy_gettext("Bulk unlinking"),
        "categories": lazy_gettext("Category changes"),
        "terminals": lazy_gettext("Terminals"),
        "revocation": lazy_gettext("Revocation state"),
        "audit": lazy_gettext("Audit log"),
        "librarians": lazy_gettext("Staff"),
        "libraries": lazy_gettext("Libraries"),
    }
)
"""The lists by the first part of their address, which is also how the audit log names them."""

LIBRARY_SYSTEMS: Mapping[str, LazyString] = MappingProxyType(
    {
        LibrarySystem.REST: lazy_gettext("Koha's REST API"),
        LibrarySystem.SIP2: lazy_gettext("SIP2 alone"),
    }
)

REVOCATION_SOURCES: Mapping[str, LazyString] = MappingProxyType(
    {
        "crl": lazy_gettext("Revocation list (CRL)"),
        "ocsp": lazy_gettext("OCSP responder"),
        "platform": lazy_gettext("Platform operator"),
    }
)
"""By whose word certificates are good: the words of ``revocation.sources`` in the settings."""

PARTIES: Mapping[Party, LazyString] = MappingProxyType(
    {
        Party.KOHA: lazy_gettext("Koha"),
        Party.REVOCATION: lazy_gettext("Source of revocation information"),
    }
)

HEALTH: Mapping[bool, LazyString] = MappingProxyType(
    {True: lazy_gettext("in order"), False: lazy_gettext("trouble")}
)


@unique
class Figure(StrEnum):
    """A number of the dashboard and the report."""

    LINKS_MADE = "links_made"
    LINKS_ENDED = "links_ended"
    USES = "uses"
    USES_SELF_CHECK = "uses_self_check"
    USES_COUNTER = "uses_counter"
    REFUSALS = "refusals"
    PIN_BLOCKS = "pin_blocks"
    WRONG_PINS = "wrong_pins"
    SELF_CHECK_SHARE = "self_check_share"


@dataclass(frozen=True)
class FigureWords:
    """What a number is called, and what it counts."""

    name: LazyString
    meaning: LazyString


FIGURES: Mapping[Figure, FigureWords] = MappingProxyType(
    {
        Figure.LINKS_MADE: FigureWords(
            lazy_gettext("Cards linked"),
            lazy_gettext("Links of a My Number Card to a patron that were made at a counter."),
        ),
        Figure.LINKS_ENDED: FigureWords(
            lazy_gettext("Links ended"),
            lazy_gettext("Links that ended, by hand or by themselves, those replaced by a new one included."),
        ),
        Figure.USES: FigureWords(
            lazy_gettext("Uses"),
            lazy_gettext("Times that a linked card stood for its patron, at a machine or at a counter."),
        ),
        Figure.USES_SELF_CHECK: FigureWords(
            lazy_gettext("Uses at self-check machines"),
            lazy_gettext(
                "Sessions that a linked card opened at a self-check machine, however much was lent."
            ),
        ),
        Figure.USES_COUNTER: FigureWords(
            lazy_gettext("Uses at counters"),
            lazy_gettext("Times that a counter found a patron by a linked card. Making a link is no use."),
        ),
        Figure.REFUSALS: FigureWords(
            lazy_gettext("Refusals"),
            lazy_gettext(
                "Times that a card was not accepted, at a machine or at a counter, whatever the reason; each "
                "try counts."
            ),
        ),
        Figure.PIN_BLOCKS: FigureWords(
            lazy_gettext("Locked PINs"),
            lazy_gettext(
                "Refusals at a counter or a self-check machine because the card's PIN was locked, there or "
                "before."
            ),
        ),
        Figure.WRONG_PINS: FigureWords(
            lazy_gettext("Wrong PINs"),
            lazy_gettext("Times that a PIN was wrong and tries were left, at a counter or a machine."),
        ),
        Figure.SELF_CHECK_SHARE: FigureWords(
            lazy_gettext("Share of self-check machines"),
            lazy_gettext(
                "Of 100 uses so many were at self-check machines, from the rounded numbers. A dash stands "
                "where one of them is not told."
            ),
        ),
    }
)
"""The numbers in their order, with their definitions."""

MOMENTS: Mapping[str, LazyString] = MappingProxyType(
    {
        "as_of": lazy_gettext("as of %(moment)s"),
        "until": lazy_gettext("the last time on %(moment)s"),
    }
)
"""How a detail of the audit log that is a moment is told."""

DETAILS: Mapping[str, LazyString] = MappingProxyType(
    {
        "bulk": lazy_gettext("request %(word)s"),
        "requested_by": lazy_gettext("requested by %(word)s"),
        "links": lazy_gettext("links: %(word)s"),
        "ended": lazy_gettext("ended: %(word)s"),
        "skipped": lazy_gettext("skipped: %(word)s"),
    }
)
"""How a detail of the audit log that is a number or somebody is told."""

LANGUAGES: Mapping[str, str] = MappingProxyType({"ja": "日本語", "en": "English"})
"""The languages of the admin, each by its own name."""


def words_of(word: str | None) -> str:
    """Return the sentence for a word that a link or the audit log keeps; an unknown word as it is."""
    if word is None:
        return ""
    tables = (
        UNLINK_REASONS,
        BULK_UNLINK_REASONS,
        APPROVAL_REASONS,
        DECLINE_REASONS,
        LINK_END_REASONS,
        SUSPENSION_REASONS,
        SESSION_ENDS,
        PROBLEMS,
        LIBRARIAN_ROLES,
    )
    return str(next((table[word] for table in tables if word in table), word))


def words_of_why(why: str | None) -> str:
    """Return the sentence for what tells refusals of one kind apart.

    A revocation and a session may both have been "superseded", which is not the same.
    """
    return str(REASONS[why]) if why is not None and why in REASONS else words_of(why)
