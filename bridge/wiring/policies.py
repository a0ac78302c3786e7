"""Settings -> the policies by which the services decide; a library's own word stands before everybody's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.library_policies import LibraryPolicies
from bridge.links.identifiers import IdentifierForms
from bridge.models import IdentifierKind
from bridge.rules import LinkPolicy, OutagePolicy, RevocationRule
from bridge.terminals.machines import MachinePolicies, MachinePolicy, ScreenLanguage
from bridge.tokens import CheckDigit, TokenPolicy, TokenShape
from config import (
    IdentifierSettings,
    LibraryLinkSettings,
    LibraryRevocationSettings,
    LibrarySettings,
    LinkSettings,
    RevocationSettings,
    SelfCheckSettings,
    Settings,
    Sip2Settings,
)
from jpki.revocation import RevocationPolicy


def identifier_forms(identifiers: IdentifierSettings) -> IdentifierForms:
    """Return what the identifiers of other systems look like."""
    forms = (
        (IdentifierKind.PPID, identifiers.ppid),
        (IdentifierKind.MYKEY_ID, identifiers.mykey_id),
        (IdentifierKind.CARD_AP_NUMBER, identifiers.card_ap_number),
    )
    return IdentifierForms({kind: re.compile(form) for kind, form in forms if form is not None})


def link_policy(own: LibraryLinkSettings, everywhere: LinkSettings) -> LinkPolicy:
    """Return what a library demands of its links."""
    days = own.maximum_age_days or everywhere.maximum_age_days
    return LinkPolicy(
        maximum_age=None if days is None else timedelta(days=days),
        maximum_per_patron=own.maximum_per_patron or everywhere.maximum_per_patron,
        retention=timedelta(days=own.retention_days or everywhere.retention_days),
        ends_without_approval=everywhere.ends_without_approval,
        approval_time=timedelta(days=everywhere.approval_days),
    )


def token_policy(settings: Settings) -> TokenPolicy:
    """Return what tokens look like, at which machine, and how long they live."""
    tokens = settings.tokens
    return TokenPolicy(
        shape=TokenShape(tokens.prefix, tokens.length, CheckDigit(tokens.check_digit)),
        lifetime=timedelta(minutes=tokens.lifetime_minutes),
        idle_limit=timedelta(seconds=tokens.idle_seconds),
        shapes={
            (library.library_id, machine.sip2_login): TokenShape(
                machine.token_prefix or tokens.prefix,
                machine.token_length or tokens.length,
                CheckDigit(machine.token_check_digit or tokens.check_digit),
            )
            for library in settings.libraries
            for machine in library.self_check
        },
    )


def source_names(settings: Settings, library: LibrarySettings) -> Sequence[str]:
    """Return the sources of revocation that a library asks, in their order."""
    return library.revocation.sources or settings.revocation.sources


def revocation_rules(settings: Settings) -> Mapping[str, RevocationRule]:
    """Return every library's rule, by library."""
    return {
        library.library_id: revocation_rule(settings.revocation, library.revocation)
        for library in settings.libraries
    }


def revocation_rule(everywhere: RevocationSettings, own: LibraryRevocationSettings) -> RevocationRule:
    """Return how fresh an answer must be, and what to do without one."""
    maximum_age = timedelta(minutes=own.maximum_age_minutes or everywhere.maximum_age_minutes)
    return RevocationRule(
        RevocationPolicy(maximum_age),
        OutagePolicy(own.outage_policy or everywhere.outage_policy),
        timedelta(hours=own.last_known_good_hours or everywhere.last_known_good_hours),
    )


def library_policies(settings: Settings, library: LibrarySettings) -> LibraryPolicies:
    """Return a library's policies as the administration shows them."""
    tokens = token_policy(settings)
    own = {place: shape for place, shape in tokens.shapes.items() if place[0] == library.library_id}
    return LibraryPolicies(
        source_names(settings, library),
        revocation_rule(settings.revocation, library.revocation),
        link_policy(library.links, settings.links),
        replace(tokens, shapes={place: shape for place, shape in own.items() if shape != tokens.shape}),
        SecondFactorPolicy(settings.web.second_factor),
        library.linked_category or {},
        None if library.koha_sign_in is None else library.koha_sign_in.permission,
    )


def machine_policies(library: LibrarySettings, sip2: Sip2Settings) -> MachinePolicies:
    """Return how each of a library's self-check machines is served."""
    usual = MachinePolicy(
        language=ScreenLanguage(sip2.language),
        character_set=sip2.character_set,
        show_token=sip2.show_token,
        plastic_cards=sip2.plastic_cards,
    )
    return MachinePolicies(
        usual,
        {machine.sip2_login: _machine(machine, usual) for machine in library.self_check},
        None if sip2.expiry_field is None else sip2.expiry_field.encode("ascii"),
    )


def _machine(machine: SelfCheckSettings, usual: MachinePolicy) -> MachinePolicy:
    return MachinePolicy(
        language=usual.language if machine.language is None else ScreenLanguage(machine.language),
        character_set=machine.character_set or usual.character_set,
        show_token=usual.show_token if machine.show_token is None else machine.show_token,
        plastic_cards=usual.plastic_cards if machine.plastic_cards is None else machine.plastic_cards,
    )
