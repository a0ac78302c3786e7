"""Two generations of keys at once, and the way from one to the next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from secrets import token_bytes
from threading import Event

import pytest

from bridge.errors import AlreadyLinked
from bridge.keys import KeyRing, KeyUse, MasterKey
from bridge.models import CardLink, IdentifierKind, LinkState
from jpki.certificate import SerialNumber

OLD, NEW = MasterKey("k1", bytes(range(32))), MasterKey("k2", bytes(range(32, 64)))
ISSUER, SERIAL = bytes(20), SerialNumber(4711)
CENTRAL = "central"
TIME_LIMIT = 20

RINGS = {
    "both know both keys": ([NEW, OLD], [OLD, NEW]),
    "one does not know the new key yet": ([NEW, OLD], [OLD]),
    "the other way round": ([OLD], [NEW, OLD]),
}


def ring(*keys: MasterKey) -> KeyRing:
    return KeyRing(keys, token_bytes)


def link_directly(transaction, keys: KeyRing, clock, link_id: str, patron_id: int) -> None:
    """Add a link as the registration does, once it has looked."""
    identifiers = keys.identifiers(CENTRAL, IdentifierKind.SERIAL_NUMBER, ISSUER, SERIAL)
    if transaction.find_open_link(CENTRAL, identifiers) is not None:
        raise AlreadyLinked
    link = CardLink(
        link_id,
        CENTRAL,
        patron_id,
        identifiers[0].kind,
        LinkState.ACTIVE,
        clock.now.replace(year=2030),
        clock.now,
        "l1",
    )
    serial = keys.encrypt(KeyUse.SERIAL_ENCRYPTION, CENTRAL, link_id, b"")
    transaction.add_link(link, identifiers[0], serial, identifiers[1:])


@pytest.mark.parametrize(("first", "second"), RINGS.values(), ids=RINGS)
def test_two_nodes_with_other_keys_first_do_not_link_one_card_twice(store, clock, first, second):
    looked, finished = Event(), Event()

    def one() -> None:
        with store.transaction() as transaction:
            link_directly(transaction, ring(*first), clock, "link-1", 51)
            looked.set()
            # On PostgreSQL the other has looked meanwhile, and seen nothing of this.
            finished.wait(0.5)

    def other() -> None:
        assert looked.wait(TIME_LIMIT)
        try:
            with store.transaction() as transaction:
                link_directly(transaction, ring(*second), clock, "link-2", 52)
        finally:
            finished.set()

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(one), pool.submit(other)]
        assert calls[0].result(TIME_LIMIT) is None
        assert isinstance(calls[1].exception(TIME_LIMIT), AlreadyLinked)
    with store.transaction() as transaction:
        assert [link.link_id for link in transaction.open_links_of_patron(CENTRAL, 51)] == ["link-1"]
        assert transaction.open_links_of_patron(CENTRAL, 52) == []
