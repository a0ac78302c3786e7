"""The bridge's own errors. Each carries data and a stable ``slug``.

The slug names the problem everywhere: in the API's problem ``type``, in the audit log, on the
counter page. It never changes once released. Sentences for people are made at the edges.

::

    BridgeError
    ├ Denied(reason)               a rule said no
    ├ AlreadyLinked                the card has a link in this library
    ├ NoLinkRequest                no librarian started a link at this counter
    ├ LinkRequestPending           this counter is already waiting for a card
    ├ LinkRequestNotFound
    ├ LinkNotFound                 no such link
    ├ NotLinked                    the card has no link in this library
    ├ PatronNotFound               Koha knows no such library card
    ├ KohaNotReachable             Koha did not answer, or refused us
    ├ WrongTerminalKind            a counter's purpose at a self-check machine, or the reverse
    ├ TerminalNotFound
    ├ LibrarianNotFound
    ├ NameTaken                    the name or id is in use
    └ KeyProblem                   the master key is missing, unsafe or not the one data was made with
"""

from __future__ import annotations

from typing import ClassVar

from bridge.rules import DenialReason


class BridgeError(Exception):
    """Base of the tree; never raised itself."""

    slug: ClassVar[str] = "internal-error"


class Denied(BridgeError):
    """A rule said no; ``slug`` is the reason's own."""

    def __init__(self, reason: DenialReason) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.slug = reason.value  # type: ignore[misc]  # one class, one slug per reason


class AlreadyLinked(BridgeError):
    """The card already has a link in this library."""

    slug = "already-linked"


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


class NotLinked(BridgeError):
    """The card is good but was never linked in this library."""

    slug = "not-linked"


class PatronNotFound(BridgeError):
    """Koha knows no patron with this library card, or not any more."""

    slug = "patron-not-found"


class KohaNotReachable(BridgeError):
    """Koha did not answer, or refused the bridge's own account."""

    slug = "koha-not-reachable"


class WrongTerminalKind(BridgeError):
    """The purpose does not belong to this kind of terminal."""

    slug = "wrong-terminal-kind"


class TerminalNotFound(BridgeError):
    """No such terminal in this library."""

    slug = "terminal-not-found"


class LibrarianNotFound(BridgeError):
    """No such librarian in this library."""

    slug = "librarian-not-found"


class NameTaken(BridgeError):
    """The id or log-in name is in use."""

    slug = "name-taken"


class KeyProblem(BridgeError):
    """The master key is missing, readable by others, malformed, or not the one data was made with."""

    slug = "key-problem"
