"""The parts of Koha's records that the bridge uses, under Koha's own names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from koha_client.errors import MalformedAnswer


@dataclass(frozen=True)
class Patron:
    """A patron (利用者) as Koha's REST API shows one.

    ``expiry_date`` is the last valid day of the library card, None if Koha holds none. The name is
    for the librarian's eyes at the counter; it is never stored and never printed.
    """

    patron_id: int
    library_id: str
    category_id: str
    expiry_date: date | None
    restricted: bool
    patron_card_lost: bool
    cardnumber: str = field(repr=False)
    surname: str = field(repr=False, default="")
    firstname: str = field(repr=False, default="")
    updated_on: str | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Patron:
        """Check and read one patron object; raises ``MalformedAnswer`` naming the first bad field."""
        raise MalformedAnswer("not written yet")
