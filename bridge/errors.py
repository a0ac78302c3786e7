"""The bridge's own errors. Each carries data and a stable ``slug``.

The slug names the problem everywhere: in the API's problem ``type``, in the audit log, on the
counter page. It never changes once released. Sentences for people are made at the edges.

::

    BridgeError
    ├ Denied(reason)               a rule said no
    ├ AlreadyLinked                the card has a link in this library
    ├ LinkedMeanwhile              another card was linked to the patron at the same moment
    ├ ConsentMissing               the patron has not agreed to the wording in force
    ├ ConsentUnfit(language, problem) a text that is no wording of the consent
    ├ ConsentChanged               somebody else changed the wording meanwhile
    ├ ConsentNotFound              no such version of the wording
    ├ NoLinkRequest                no librarian started a link at this counter
    ├ LinkRequestPending           this counter is already waiting for a card
    ├ LinkRequestNotFound
    ├ LinkNotFound                 no such link
    ├ BulkUnlinkingNotFound        no such request to end many links
    ├ BulkUnlinkingOver            it was decided, withdrawn or has expired
    ├ SecondPersonNeeded           one person may not do this alone
    ├ TooManyLinksAtOnce           more links than one request may name
    ├ NotLinked                    the card has no link in this library
    ├ NoSuchPatron                 Koha knows no such library card
    ├ KohaNotReachable             Koha did not answer, or refused us
    ├ PatronChanged                somebody changed the patron while we were about to
    ├ CategoryRefused              Koha does not let us move a patron into this category
    ├ WrongTerminalKind            a counter's purpose at a self-check machine, or the reverse
    ├ NotAllowed                   the role of this member of staff does not permit it
    ├ LibraryNotFound
    ├ TerminalNotFound
    ├ EnrolmentCodeUnknown         no terminal enrols by this code
    ├ EnrolmentCodeExpired         the code is older than its time
    ├ EnrolmentCodeUsed            a terminal has enrolled by this code already
    ├ EnrolmentLocked(until)       so many codes were wrong that none is taken for a while
    ├ LibrarianNotFound
    ├ PluginRefused                the plugin's id and secret do not belong together
    ├ PluginNotFound
    ├ DeskClosed                   the desk's token is unknown, over or taken back
    ├ OriginRefused                the page that asks belongs to no Koha of the library
    ├ LogInFailed                  unknown name, wrong password, or locked after too many of these
    ├ SecondFactorNeeded(librarian) the password was right, and a code is asked for after it
    ├ SecondFactorRefused          a wrong or used code, none that could be asked for, or locked
    ├ OwnPasswordRefused           the own password is wrong, or the account locked
    ├ PasswordUnfit                a new password is too short, or not a new one
    ├ PasswordOfKoha               the password is Koha's and is changed there
    ├ PasswordNotChecked           Koha does not answer, so its passwords cannot be checked
    ├ KohaSignInOff                the library does not let staff sign in with Koha's password
    ├ KohaAccountTaken             another account of the library signs in by this borrowernumber
    ├ KohaAccountNotFound          Koha knows nobody by this borrowernumber
    ├ KohaPermissionMissing        the password was right, but Koha does not give the permission asked for
    ├ StandingUnknown              Koha does not say whether somebody who is logged in is still permitted
    ├ NameTaken                    the name or id is in use
    ├ IdentifierKindNotUsed        the settings do not state the form of this kind of identifier
    ├ LinkFileMalformed            a file of links that cannot be read
    ├ WrongRole                    the role is not one of that library's, or of the region's, staff
    ├ KeyProblem                   the master key is missing, unsafe or not the one data was made with
    ├ KeyInUse                     something is kept under the master key that shall be retired
    ├ AuditFileMalformed           a file that is no exported audit log
    ├ StoreProblem                 the database is missing, or of another version of the program
    └ StoreUnavailable             the database cannot be used just now; nothing was stored

The errors of ``jpki`` reach the same places; ``slug_of`` names those too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from bridge.rules import DenialReason
from jpki import errors as jpki_errors
from jpki.revocation import RevocationAnswer

if TYPE_CHECKING:
    from bridge.models import ConsentLanguage, ConsentProblem, Librarian


class BridgeError(Exception):
    """Base of the tree; never raised itself."""

    slug: ClassVar[str] = "internal-error"


class Denied(BridgeError):
    """A rule said no; ``slug`` is the reason's own, ``why`` that of ``bridge.rules.Decision``.

    ``revocation`` is the answer that spoke against the certificate, where one did.
    """

    def __init__(
        self, reason: DenialReason, why: str | None = None, revocation: RevocationAnswer | None = None
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.why = why
        self.revocation = revocation
        self.slug = reason.value  # type: ignore[misc]  # one class, one slug per reason


class AlreadyLinked(BridgeError):
    """The card already has a link in this library."""

    slug = "already-linked"


class LinkedMeanwhile(BridgeError):
    """Another card was linked to the same patron at the same moment, at another counter."""

    slug = "linked-meanwhile"


class ConsentMissing(BridgeError):
    """The patron has not agreed to the wording that is in force, or it changed while the page was open."""

    slug = "consent-missing"


class ConsentUnfit(BridgeError):
    """A text in *language* that is no wording of the consent, for *problem*; nothing was changed."""

    slug = "consent-unfit"

    def __init__(self, language: ConsentLanguage, problem: ConsentProblem) -> None:
        super().__init__(f"{language}: {problem}")
        self.language = language
        self.problem = problem


class ConsentChanged(BridgeError):
    """Somebody else changed the library's wording since it was read; nothing was written."""

    slug = "consent-changed"


class ConsentNotFound(BridgeError):
    """No wording of this version is or was in force in this library."""

    slug = "consent-not-found"


class NoLinkRequest(BridgeError):
    """A card was laid at a counter where no librarian had started a link."""

    slug = "no-link-request"


class LinkRequestPending(BridgeError):
    """The counter terminal is already waiting for a card."""

    slug = "link-request-pending"


class LinkRequestNotFound(BridgeError):
    """No such link request in this library."""

    slug = "link-request-not-found"


class LinkNotFound(BridgeError):
    """No such link in this library, or it has ended."""

    slug = "link-not-found"


class BulkUnlinkingNotFound(BridgeError):
    """No such request to end many links in this library."""

    slug = "bulk-unlinking-not-found"


class BulkUnlinkingOver(BridgeError):
    """The request to end many links was decided or withdrawn, or nobody decided it in time."""

    slug = "bulk-unlinking-over"


class SecondPersonNeeded(BridgeError):
    """So many links end only if another person of the library than the one who asks approves it."""

    slug = "second-person-needed"


class TooManyLinksAtOnce(BridgeError):
    """One request names no more than ``bridge.links.bulk_unlinking.MAXIMUM_LINKS`` links."""

    slug = "too-many-links-at-once"


class NotLinked(BridgeError):
    """The card is good but was never linked in this library."""

    slug = "not-linked"


class NoSuchPatron(BridgeError):
    """Koha knows no patron with this library card, or not any more."""

    slug = "patron-not-found"


class KohaNotReachable(BridgeError):
    """Koha did not answer, or refused the bridge's own account."""

    slug = "koha-not-reachable"


class PatronChanged(BridgeError):
    """The patron was changed in Koha since it was read; nothing was written."""

    slug = "patron-changed"


class CategoryRefused(BridgeError):
    """Koha knows no such category, or its account for the bridge may not change patrons."""

    slug = "category-refused"


class WrongTerminalKind(BridgeError):
    """The purpose does not belong to this kind of terminal."""

    slug = "wrong-terminal-kind"


class NotAllowed(BridgeError):
    """The librarian's role does not permit it."""

    slug = "not-allowed"


class LibraryNotFound(BridgeError):
    """No library of this id stands in the settings."""

    slug = "library-not-found"


class TerminalNotFound(BridgeError):
    """No such terminal in this library."""

    slug = "terminal-not-found"


class EnrolmentCodeUnknown(BridgeError):
    """No terminal enrols by this code: it is mistyped, or a newer one was drawn."""

    slug = "enrolment-code-unknown"


class EnrolmentCodeExpired(BridgeError):
    """The code was not used in time."""

    slug = "enrolment-code-expired"


class EnrolmentCodeUsed(BridgeError):
    """A terminal has enrolled by this code, with another key than this."""

    slug = "enrolment-code-used"


class EnrolmentLocked(BridgeError):
    """So many codes were wrong, from wherever, that none is taken before *locked_until*."""

    slug = "enrolment-locked"

    def __init__(self, locked_until: datetime) -> None:
        super().__init__("too many wrong codes")
        self.locked_until = locked_until


class LibrarianNotFound(BridgeError):
    """No such librarian in this library."""

    slug = "librarian-not-found"


class PluginRefused(BridgeError):
    """The plugin is unknown, its secret wrong, or it is locked after too many wrong ones."""

    slug = "plugin-not-authenticated"


class PluginNotFound(BridgeError):
    """No such plugin in this library."""

    slug = "plugin-not-found"


class DeskClosed(BridgeError):
    """The librarian's token for the desk is missing, unknown, over, or was taken back."""

    slug = "librarian-not-authenticated"


class OriginRefused(BridgeError):
    """The page that asks does not come from a Koha of the librarian's library."""

    slug = "origin-not-allowed"


class LogInFailed(BridgeError):
    """The name is unknown, the password wrong, or the account locked: which of them is not said."""

    slug = "log-in-failed"


class SecondFactorNeeded(BridgeError):
    """The password of *librarian* was right; who gave it is logged in only after a code."""

    slug = "second-factor-needed"

    def __init__(self, librarian: Librarian) -> None:
        super().__init__()
        self.librarian = librarian


class SecondFactorRefused(BridgeError):
    """The code is wrong, was used before, or the account is locked: which of them is not said."""

    slug = "second-factor-refused"


class OwnPasswordRefused(BridgeError):
    """Who is logged in did not give the own password, or is locked after too many wrong ones."""

    slug = "password-refused"


class PasswordUnfit(BridgeError):
    """A new password is too short, too long, or the one that it shall replace."""

    slug = "password-unfit"


class PasswordOfKoha(BridgeError):
    """The account has no password here: it is Koha's, and is changed there."""

    slug = "password-of-koha"


class PasswordNotChecked(BridgeError):
    """Koha does not answer. Said to whoever is refused then, so that it tells nothing of a name."""

    slug = "password-not-checked"


class KohaSignInOff(BridgeError):
    """No staff of this library, or of the region, sign in with Koha's password."""

    slug = "koha-sign-in-off"


class KohaAccountTaken(BridgeError):
    """Another account of the same library signs in with the password of this account in Koha."""

    slug = "koha-account-taken"


class KohaAccountNotFound(BridgeError):
    """Koha knows nobody by the borrowernumber that an account shall sign in with."""

    slug = "koha-account-not-found"


class KohaPermissionMissing(BridgeError):
    """Somebody is known to Koha, but does not have the permission that the library asks for."""

    slug = "koha-permission-missing"


class StandingUnknown(BridgeError):
    """Koha does not answer whether somebody who is logged in may go on. The session is not ended."""

    slug = "standing-unknown"


class NameTaken(BridgeError):
    """The id or log-in name is in use."""

    slug = "name-taken"


class IdentifierKindNotUsed(BridgeError):
    """Links by this kind of identifier are not used: the settings do not state its form."""

    slug = "identifier-kind-not-used"


class LinkFileMalformed(BridgeError):
    """A file of links cannot be read at all; the text says where, and nothing of what stands there."""

    slug = "link-file-malformed"


class WrongRole(BridgeError):
    """A library's staff cannot have the region's role, nor the region's staff a library's."""

    slug = "wrong-role"


class KeyProblem(BridgeError):
    """The master key is missing, readable by others, malformed, or not the one data was made with."""

    slug = "key-problem"


class KeyInUse(BridgeError):
    """Something is kept under the master key that shall be retired: ``uses`` says how much of what."""

    slug = "key-in-use"

    def __init__(self, uses: Mapping[str, int]) -> None:
        super().__init__("kept under it: " + ", ".join(f"{what} {number}" for what, number in uses.items()))
        self.uses = uses


class AuditFileMalformed(BridgeError):
    """A line of a file is not what an export or a check of the audit log wrote."""

    slug = "audit-file-malformed"


class StoreProblem(BridgeError):
    """The database has not been set up, or was set up by another version of the program."""

    slug = "store-problem"


class StoreUnavailable(BridgeError):
    """The database cannot be reached, is full, or was held by another program for too long.

    Nothing was stored. ``code`` is the database's own name for the cause, such as ``SQLITE_FULL``.
    """

    slug = "store-unavailable"

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


JPKI_SLUGS: Mapping[type[jpki_errors.JpkiError], str] = MappingProxyType(
    {
        jpki_errors.MalformedCertificate: "malformed-certificate",
        jpki_errors.UntrustedIssuer: "untrusted-issuer",
        jpki_errors.CertificateExpired: "certificate-expired",
        jpki_errors.CertificateNotYetValid: "certificate-not-yet-valid",
        jpki_errors.WrongCertificateType: "wrong-certificate-type",
        jpki_errors.WrongCertificatePolicy: "wrong-certificate-policy",
        jpki_errors.UnsupportedAlgorithm: "unsupported-algorithm",
        jpki_errors.InvalidSignature: "invalid-signature",
        jpki_errors.MalformedChallenge: "malformed-challenge",
        jpki_errors.ChallengeUnknown: "challenge-unknown",
        jpki_errors.ChallengeExpired: "challenge-expired",
        jpki_errors.ChallengeAlreadyUsed: "challenge-already-used",
        jpki_errors.WrongTerminal: "wrong-terminal",
        jpki_errors.WrongCertificate: "wrong-certificate",
    }
)
"""The stable slugs of what ``jpki`` raises on the server's side: a certificate or a challenge refused."""


def slug_of(error: BridgeError | jpki_errors.JpkiError) -> str:
    """Return the stable name of a refusal; an error without one is the program's own fault."""
    if isinstance(error, BridgeError):
        return error.slug
    return JPKI_SLUGS.get(type(error), BridgeError.slug)


def why_of(error: BridgeError | jpki_errors.JpkiError) -> str | None:
    """Return what tells apart refusals of one slug, such as ``unreachable``; None for most errors."""
    return error.why if isinstance(error, Denied) else None
