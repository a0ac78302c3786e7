"""Koha's releases from 22.11 on, and what each asks of an account, as one table of routes. Pure.

Sources: ``api/v1/swagger/paths`` and the release notes of Koha. The client names a route of this table
for whatever it does, learns from 404 or 405 that a server is older than the route, and says so with
its release; the simulator plays any of these releases from the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from types import MappingProxyType


@unique
class KohaVersion(Enum):
    """The half-yearly releases, oldest first."""

    V22_11 = "22.11"
    V23_05 = "23.05"
    V23_11 = "23.11"
    V24_05 = "24.05"
    V24_11 = "24.11"
    V25_05 = "25.05"
    V25_11 = "25.11"

    def is_at_least(self, other: KohaVersion) -> bool:
        """Whether this release is *other* or newer."""
        return self.value >= other.value


OLDEST = KohaVersion.V22_11
NEWEST = KohaVersion.V25_11

WHOLE_MODULE = "1"
"""Koha's word for a permission on all of a module, as in ``borrowers:1``."""

CHECK_PASSWORDS = "borrowers:api_validate_password"
LIST_BORROWERS = "borrowers:list_borrowers"
EDIT_BORROWERS = "borrowers:edit_borrowers"
ALL_BORROWERS = f"borrowers:{WHOLE_MODULE}"
SEE_ALL_LIBRARIES = "borrowers:view_borrower_infos_from_any_libraries"
CATALOGUE = f"catalogue:{WHOLE_MODULE}"
CIRCULATE = "circulate:circulate_remaining_permissions"
MANAGE_BOOKINGS = "circulate:manage_bookings"
MANAGE_PATRON_CATEGORIES = "parameters:manage_patron_categories"
PLACE_HOLDS = "reserveforothers:place_holds"

LEAST_PERMISSIONS = frozenset({ALL_BORROWERS, CATALOGUE, CIRCULATE, MANAGE_PATRON_CATEGORIES, PLACE_HOLDS})
"""What an account needs for everything that ``KohaClient`` can do, on every release."""

Permissions = Mapping[KohaVersion, tuple[str, ...]]
"""From which release on a route wants one of which permissions."""


def _since(table: Mapping[KohaVersion, tuple[str, ...]]) -> Permissions:
    return MappingProxyType(dict(table))


@dataclass(frozen=True)
class RouteDescription:
    """A method and a path below ``/api/v1``, its first release and its permissions.

    ``of_plugin`` for what is not Koha's own: the bridge's plugin brings it.
    """

    method: str
    path: str
    permissions: Permissions = field(repr=False)
    first_version: KohaVersion = OLDEST
    of_plugin: bool = False


_V22, _V24_05, _V24_11 = KohaVersion.V22_11, KohaVersion.V24_05, KohaVersion.V24_11
_EDIT = _since({_V22: (EDIT_BORROWERS,)})
_ALL = _since({_V22: (ALL_BORROWERS,)})
_PATRON = "/patrons/{patron_id}"
_ATTRIBUTES = f"{_PATRON}/extended_attributes"
_ATTRIBUTE = f"{_ATTRIBUTES}/{{extended_attribute_id}}"


@unique
class Route(Enum):
    """Every route that the client or the simulator speaks."""

    LIST_PATRONS = RouteDescription(
        "GET",
        "/patrons",
        _since(
            {
                _V22: (
                    EDIT_BORROWERS,
                    "tools:label_creator",
                    "serials:routing",
                    "acquisition:order_manage",
                ),
                _V24_11: (LIST_BORROWERS,),  # Bug 29509
            }
        ),
    )
    GET_PATRON = RouteDescription(
        "GET", _PATRON, _since({_V22: (EDIT_BORROWERS,), _V24_11: (LIST_BORROWERS, EDIT_BORROWERS)})
    )
    ADD_PATRON = RouteDescription("POST", "/patrons", _EDIT)
    # The first release that is content with edit_borrowers is not known; the whole module always does.
    UPDATE_PATRON = RouteDescription("PUT", _PATRON, _ALL)
    SET_PASSWORD = RouteDescription("POST", f"{_PATRON}/password", _ALL)
    LIST_ATTRIBUTES = RouteDescription("GET", _ATTRIBUTES, _EDIT)
    ADD_ATTRIBUTE = RouteDescription("POST", _ATTRIBUTES, _EDIT)
    REPLACE_ATTRIBUTES = RouteDescription("PUT", _ATTRIBUTES, _EDIT)
    CHANGE_ATTRIBUTE = RouteDescription("PATCH", _ATTRIBUTE, _EDIT)
    DELETE_ATTRIBUTE = RouteDescription("DELETE", _ATTRIBUTE, _EDIT)
    LIST_CATEGORIES = RouteDescription(
        "GET",
        "/patron_categories",
        _since({_V24_05: (MANAGE_PATRON_CATEGORIES,)}),
        _V24_05,  # Bug 26297
    )
    LIST_LIBRARIES = RouteDescription("GET", "/libraries", _since({_V22: (CATALOGUE,)}))
    LIST_CHECKOUTS = RouteDescription(
        "GET", "/checkouts", _since({_V22: (CIRCULATE,), _V24_11: (CIRCULATE, MANAGE_BOOKINGS)})
    )
    LIST_HOLDS = RouteDescription("GET", "/holds", _since({_V22: (PLACE_HOLDS,)}))
    LIST_ITEMS = RouteDescription("GET", "/items", _since({_V22: (CATALOGUE,)}))
    LIST_CIRCULATION_RULES = RouteDescription(
        "GET",
        "/circulation_rules",
        _since({_V24_11: (CIRCULATE,)}),
        _V24_11,  # Bug 36641
    )
    # The first release that is content with api_validate_password is not known for sure; the whole module
    # always does.
    CHECK_PASSWORD = RouteDescription(
        "POST",
        "/auth/password/validation",
        _since({_V22: (ALL_BORROWERS,), _V24_11: (CHECK_PASSWORDS,)}),
    )
    GET_STAFF_STANDING = RouteDescription(
        "GET", "/contrib/jpkibridge/staff/{patron_id}", _EDIT, of_plugin=True
    )

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.value.method

    @property
    def path(self) -> str:
        """The path below ``/api/v1``, with the names of its ids in braces."""
        return self.value.path

    @property
    def of_plugin(self) -> bool:
        """Whether the bridge's plugin brings the route."""
        return self.value.of_plugin

    @property
    def first_version(self) -> KohaVersion:
        """The first release that has the route."""
        return self.value.first_version

    def permissions(self, version: KohaVersion) -> tuple[str, ...]:
        """Return the permissions of which the route wants one, in *version*."""
        return next(
            wanted
            for since, wanted in reversed(tuple(self.value.permissions.items()))
            if version.is_at_least(since)
        )
