"""Links made over SIP2 alone, brought to the patron's id as soon as the library system tells it.

Such a link points to a card number, and breaks when the patron gets a new library card. Koha's REST
API gives the id that survives it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bridge.environment import Environment
from bridge.errors import NoSuchPatron
from bridge.models import Actor, AuditTag, CardLink
from bridge.ports import PatronRecord


def upgrade_link(environment: Environment, link: CardLink, patron: PatronRecord, actor: Actor) -> CardLink:
    """Let *link* point to the id of *patron*, whom it was found to belong to; return it as it is then.

    The card number is wiped from the link. A link that has an id, or a patron without one, is left.
    """
    if link.patron_id is not None or patron.patron_id is None:
        return link
    with environment.store.transaction() as transaction:
        if transaction.set_patron_of_link(link.link_id, patron.patron_id):
            transaction.add_audit_event(
                environment.event(AuditTag.LINK_UPGRADED, link.library_id, actor, link.link_id)
            )
    return replace(link, patron_id=patron.patron_id, patron_reference=None)


def upgrade_links(
    environment: Environment, library_id: str, actor: Actor, *, dry_run: bool
) -> Iterator[tuple[CardLink, bool]]:
    """Upgrade every link of a library that can be; yield each with whether it was, or would be.

    A link whose card number nobody has any more stays as it is. Raises ``KohaNotReachable``.
    """
    with environment.store.reading() as transaction:
        links = transaction.links_by_reference(library_id)
    for link in links:
        try:
            patron = environment.patron_of(link)
        except NoSuchPatron:
            yield link, False
            continue
        upgraded = replace(link, patron_id=patron.patron_id)
        if not dry_run:
            upgraded = upgrade_link(environment, link, patron, actor)
        yield upgraded, patron.patron_id is not None
