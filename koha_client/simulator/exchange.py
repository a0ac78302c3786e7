"""One request to the simulated Koha's REST side, with all that a route needs to answer it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from koha_client.simulator.query import refuse_unknown_parameters
from koha_client.simulator.replies import invalid
from koha_client.simulator.state import KohaState
from koha_client.versions import WHOLE_MODULE, KohaVersion


def is_permitted(held: frozenset[str], *wanted: str) -> bool:
    """Whether *held* contains one of the permissions *wanted*, or the whole of its module."""
    return any(
        permission in held or f"{permission.partition(':')[0]}:{WHOLE_MODULE}" in held
        for permission in wanted
    )


@dataclass(frozen=True)
class RestExchange:
    """A request that is authenticated and permitted; ``ids`` are the texts in the path."""

    state: KohaState
    version: KohaVersion
    path: str
    ids: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    permissions: frozenset[str]
    account_library_id: str

    @property
    def document(self) -> object:
        """The JSON value of the body, None where there is none."""
        try:
            value: object = json.loads(self.body)
        except ValueError:
            return None
        return value

    @property
    def embeds(self) -> frozenset[str]:
        """What ``x-koha-embed`` asks for."""
        return frozenset(part.strip() for part in self.headers.get("x-koha-embed", "").split(","))

    def identifier(self, name: str) -> int:
        """Return one of Koha's numbers from the path; raises the validator's 400."""
        if not self.ids[name].isdecimal():
            raise invalid(f"/{name}", "Expected integer - got string.")
        return int(self.ids[name])

    def may(self, *permissions: str) -> bool:
        """Whether the account has one of these permissions."""
        return is_permitted(self.permissions, *permissions)

    def refuse_parameters(self, known: frozenset[str] = frozenset()) -> None:
        """Raise Koha's 400 for query parameters that are not *known*."""
        refuse_unknown_parameters(self.query, known)
