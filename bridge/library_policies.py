"""What a library's settings amount to, those for all libraries included: for who administers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.rules import LinkPolicy, RevocationRule
from bridge.tokens import TokenPolicy


@dataclass(frozen=True)
class LibraryPolicies:
    """The rules in force in one library. ``sources`` are asked about revocation, in their order.

    ``linked_category`` gives, by category, the one for patrons with a linked card. ``koha_permission`` is
    what staff must have in Koha to sign in with its password; None where nobody does.
    """

    sources: Sequence[str]
    revocation: RevocationRule
    links: LinkPolicy
    tokens: TokenPolicy
    second_factor: SecondFactorPolicy
    linked_category: Mapping[str, str] = field(default_factory=dict)
    koha_permission: str | None = None
