"""What stands between us and what the bridge wants of Koha, in words for ``doctor``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, unique
from types import MappingProxyType

from koha_client.errors import (
    InMaintenance,
    KohaError,
    KohaForbidden,
    KohaRejected,
    KohaUnauthorized,
    MalformedAnswer,
    NotOffered,
    PluginMissing,
    PreferenceOff,
    TlsFailed,
)


@unique
class Ability(Enum):
    """What the bridge may want to do with a Koha."""

    FIND_PATRONS = "find and read patrons"
    CHANGE_PATRONS = "change patrons and move them between categories"
    SET_PASSWORDS = "set passwords"
    READ_ATTRIBUTES = "read and write extended attributes"
    LIST_CATEGORIES = "list patron categories"
    LIST_LIBRARIES = "list libraries"
    SEE_CHECKOUTS = "see a patron's checkouts"
    SEE_HOLDS = "see a patron's holds"
    SEE_CIRCULATION_RULES = "see circulation rules"
    CHECK_PASSWORDS = "check passwords"
    SEE_STAFF_PERMISSIONS = "see the permissions of staff"


@unique
class HealthState(Enum):
    """What stands between us and Koha."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    TLS_FAILED = "tls_failed"
    IN_MAINTENANCE = "in_maintenance"
    UNAUTHORIZED = "unauthorized"
    PREFERENCE_OFF = "preference_off"
    FORBIDDEN = "forbidden"
    NOT_OFFERED = "not_offered"
    PLUGIN_MISSING = "plugin_missing"
    NOT_KOHA = "not_koha"


_ADVICE: Mapping[HealthState, str] = MappingProxyType(
    {
        HealthState.OK: "",
        HealthState.UNREACHABLE: "Koha does not answer. Check its address and the network.",
        HealthState.TLS_FAILED: "Koha's TLS certificate is not trusted. Check the address and the CA.",
        HealthState.IN_MAINTENANCE: "Koha is under maintenance; wait until that has ended.",
        HealthState.UNAUTHORIZED: "Koha does not know the account. Check client id and secret "
        "(Koha: the account's patron page > More > Manage API keys).",
        HealthState.PREFERENCE_OFF: "Switch on the preference {preference} "
        "(Koha: Administration > Web services).",
        HealthState.FORBIDDEN: "The account may not {ability}. Give it the permission {permissions}.",
        HealthState.NOT_OFFERED: "This Koha is too old to {ability}; that needs {version}.",
        HealthState.PLUGIN_MISSING: "The bridge's plugin is needed to {ability}. Install it, or its newest "
        "version, in Koha (Koha: Administration > Manage plugins) and restart Koha.",
        HealthState.NOT_KOHA: "What answers is not Koha's REST API. Its address ends in /api/v1.",
    }
)


@dataclass(frozen=True)
class Health:
    """The outcome of a check of one ability; each detail only where its state is about it."""

    state: HealthState
    missing_permissions: tuple[str, ...] = ()
    ability: Ability = Ability.FIND_PATRONS
    preference: str = ""
    version: str = ""

    @property
    def advice(self) -> str:
        """What the administrator should do, as a sentence; empty where all is well."""
        return _ADVICE[self.state].format(
            ability=self.ability.value,
            permissions=" or ".join(self.missing_permissions),
            preference=self.preference,
            version=self.version,
        )


_STATES: Mapping[type[KohaError], HealthState] = MappingProxyType(
    {
        TlsFailed: HealthState.TLS_FAILED,
        InMaintenance: HealthState.IN_MAINTENANCE,
        MalformedAnswer: HealthState.NOT_KOHA,
        PreferenceOff: HealthState.PREFERENCE_OFF,
        KohaUnauthorized: HealthState.UNAUTHORIZED,
        KohaForbidden: HealthState.FORBIDDEN,
        NotOffered: HealthState.NOT_OFFERED,
        PluginMissing: HealthState.PLUGIN_MISSING,
        KohaRejected: HealthState.NOT_KOHA,
        KohaError: HealthState.UNREACHABLE,
    }
)


def health_for_error(ability: Ability, error: KohaError) -> Health:
    """Return what *error* says about *ability*."""
    state = next(_STATES[parent] for parent in type(error).__mro__ if parent in _STATES)
    return Health(
        state,
        ability=ability,
        missing_permissions=error.required_permissions if isinstance(error, KohaForbidden) else (),
        preference=error.preference if isinstance(error, PreferenceOff) else "",
        version=error.first_version if isinstance(error, NotOffered) else "",
    )
