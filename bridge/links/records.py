"""Links as the commands on the server see them: read, and ended by who administers the server."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.environment import Environment
from bridge.errors import LinkNotFound
from bridge.links.life import end
from bridge.models import Actor, CardLink, UnlinkReason
from bridge.patrons.category import CategoryService

LINKS_AT_ONCE = 1000


class LinkRecordService:
    """The links of one library at a time; another library's are not found."""

    def __init__(self, environment: Environment, categories: CategoryService) -> None:
        self._environment = environment
        self._categories = categories

    def links(self, library_id: str, *, with_ended: bool) -> Iterator[CardLink]:
        """Yield the links of a library, in the order of their ids. Raises ``LibraryNotFound``."""
        self._environment.library(library_id)
        position = ""
        while True:
            with self._environment.store.transaction() as transaction:
                found = transaction.links_of_library(
                    library_id, with_ended=with_ended, position=position, limit=LINKS_AT_ONCE
                )
            yield from found
            if len(found) < LINKS_AT_ONCE:
                return
            position = found[-1].link_id

    def link(self, library_id: str, link_id: str) -> CardLink:
        """Return a link, ended or not. Raises ``LibraryNotFound``, ``LinkNotFound``."""
        self._environment.library(library_id)
        with self._environment.store.transaction() as transaction:
            link = transaction.find_link(library_id, link_id)
        if link is None:
            raise LinkNotFound
        return link

    def end(self, library_id: str, link_id: str, reason: UnlinkReason, actor: Actor) -> CardLink:
        """End a link; sessions that run on it end at once. Raises ``LibraryNotFound``, ``LinkNotFound``.

        A patron whom the link had moved into another category is then moved back.
        """
        self._environment.library(library_id)
        with self._environment.store.transaction() as transaction:
            link = end(self._environment, transaction, library_id, link_id, reason, actor)
            if link.patron_id is not None:
                self._categories.plan(transaction, library_id, patron_id=link.patron_id, link_id=link_id)
        if link.patron_id is not None:
            self._categories.run(library_id, link.patron_id, actor)
        return link
