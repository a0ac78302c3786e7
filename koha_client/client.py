"""The client of Koha's REST API: finding and reading patrons. It never writes."""

from __future__ import annotations

import json
import logging

from requests.auth import AuthBase

from koha_client.errors import (
    InMaintenance,
    KohaForbidden,
    KohaRejected,
    KohaUnauthorized,
    KohaUnavailable,
    MalformedAnswer,
    SeveralPatrons,
)
from koha_client.models import Health, HealthState, Patron
from koha_client.transport import Transport

logger = logging.getLogger(__name__)


class KohaClient:
    """One Koha, seen through the account that *auth* stands for. Safe to share among threads.

    *base_url* is the address of the API itself, such as ``https://koha.example.jp/api/v1``.

    Every method but ``check_health`` raises ``KohaUnavailable`` where there is no usable answer and
    ``KohaRejected`` where Koha refuses. A patron that the account may not see looks absent: give it
    the permission ``view_borrower_infos_from_any_libraries``.
    """

    def __init__(self, base_url: str, auth: AuthBase, transport: Transport) -> None:
        self._base_url = base_url
        self._auth = auth
        self._transport = transport

    def find_patron_by_cardnumber(self, cardnumber: str) -> Patron | None:
        """Return the one patron with exactly this card number, None if there is none.

        Koha's own comparison knows neither case nor width, so that the number found is compared
        again here. Raises ``SeveralPatrons``.
        """
        if not cardnumber:
            return None
        # The bare parameter ``cardnumber`` would match any number that contains it.
        patrons = self._search({"cardnumber": cardnumber}, at_most=2)
        if len(patrons) > 1:
            raise SeveralPatrons
        return next((patron for patron in patrons if patron.cardnumber == cardnumber), None)

    def get_patron(self, patron_id: int) -> Patron:
        """Return a patron. Raises ``PatronNotFound``."""
        record = self._get(f"/patrons/{patron_id}")
        if not isinstance(record, dict):
            raise MalformedAnswer("the answer is not a patron")
        patron = Patron.from_json(record)
        if patron.patron_id != patron_id:
            raise MalformedAnswer("the answer is another patron")
        return patron

    def check_health(self) -> Health:
        """Say whether Koha answers, knows us and lets us search patrons. Reads no patron."""
        try:
            self._search({"patron_id": 0}, at_most=1)
        except KohaUnauthorized:
            return Health(HealthState.UNAUTHORIZED)
        except KohaForbidden as forbidden:
            return Health(HealthState.FORBIDDEN, forbidden.required_permissions)
        except InMaintenance:
            return Health(HealthState.IN_MAINTENANCE)
        except (KohaRejected, MalformedAnswer):
            return Health(HealthState.NOT_KOHA)
        except KohaUnavailable:
            return Health(HealthState.UNREACHABLE)
        return Health(HealthState.OK)

    def _search(self, query: dict[str, str | int], *, at_most: int) -> list[Patron]:
        records = self._get("/patrons", {"q": json.dumps(query), "_per_page": str(at_most)})
        if not isinstance(records, list) or not all(isinstance(item, dict) for item in records):
            raise MalformedAnswer("the answer is not a list of patrons")
        return [Patron.from_json(record) for record in records]

    def _get(self, route: str, params: dict[str, str] | None = None) -> object:
        answer = self._transport.get(f"{self._base_url}{route}", self._auth, params)
        logger.debug("GET %s: %d", route, answer.status)
        return answer.json()
