"""The list of libraries. They stand in the settings and not in the database: a service is asked for them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from flask import url_for
from flask_babel import LazyString, lazy_gettext
from markupsafe import Markup

from bridge.admin.base import signed_in_librarian
from bridge.admin.filters import OneOf
from bridge.admin.list_page import ListPage
from bridge.admin.words import LIBRARY_SYSTEMS, LIST_NAMES
from bridge.administration import LibraryEntry
from bridge.models import Permission

if TYPE_CHECKING:
    from bridge.services import Services

PRESENCE: Mapping[str, LazyString] = {"some": lazy_gettext("at least one"), "none": lazy_gettext("none")}


class OfSystem(OneOf):
    """By which way the bridge reaches the library's Koha."""

    def apply(self, query: Any, value: str | None, alias: Any = None) -> Any:
        """Narrow the entries, unless the field is empty."""
        return query if value is None else [entry for entry in query if entry.system == value]


class WithTerminals(OneOf):
    """Whether there is a place with a card reader."""

    def apply(self, query: Any, value: str | None, alias: Any = None) -> Any:
        """Narrow the entries, unless the field is empty."""
        if value is None:
            return query
        return [entry for entry in query if (entry.terminals > 0) is (value == "some")]


class LibraryList(ListPage):
    """The libraries that somebody administers."""

    needed = Permission.ADMINISTER
    column_list = ("name", "library_id", "system", "terminals", "staff")
    column_labels: ClassVar = {
        "name": lazy_gettext("Name"),
        "library_id": lazy_gettext("Library id"),
        "system": lazy_gettext("Connected to Koha over"),
        "terminals": lazy_gettext("Terminals"),
        "staff": lazy_gettext("Staff"),
    }
    column_formatters: ClassVar = {
        "name": lambda _view, _context, row, _name: Markup('<a href="{}">{}</a>').format(
            url_for("libraries.library", library_id=row.library_id), row.name
        ),
        "system": lambda _view, _context, row, _name: LIBRARY_SYSTEMS[row.system],
    }
    file_formatters: ClassVar = {"name": lambda _view, _context, row, _name: row.name}
    column_filters = (
        OfSystem(None, lazy_gettext("Connected to Koha over"), LIBRARY_SYSTEMS),
        WithTerminals(None, lazy_gettext("Terminals"), PRESENCE),
    )

    def __init__(self, services: Services) -> None:
        self.services = services
        super().__init__(LibraryEntry, name=LIST_NAMES["libraries"], endpoint="libraries", url="libraries")

    def get_list(
        self,
        page: int | None,
        sort_column: Any,
        sort_desc: bool,  # noqa: FBT001  # Flask-Admin's own signature
        search: str | None,
        filters: Sequence[tuple[int, str, str]] | None,
        execute: bool = True,  # noqa: FBT001, FBT002
        page_size: int | None = None,
    ) -> tuple[int, Sequence[LibraryEntry]]:
        """Return how many libraries are found, and those of a page in order; without a size all of them."""
        found = self.services.administration.libraries(signed_in_librarian())
        if search:
            found = [entry for entry in found if plain(search) in plain(f"{entry.name}\n{entry.library_id}")]
        for index, _, value in filters or ():
            narrowing = (self._filters or [])[index]
            found = narrowing.apply(found, narrowing.clean(value))
        if sort_column is not None:
            found = sorted(found, key=lambda entry: getattr(entry, sort_column), reverse=sort_desc)
        if not page_size:
            return len(found), found
        begin = (page or 0) * page_size
        return len(found), found[begin : begin + page_size]

    def get_pk_value(self, model: LibraryEntry) -> str:
        """Return the id of a library."""
        return model.library_id

    def init_search(self) -> bool:
        """Say that the list can be searched: by name and id."""
        return True

    def scaffold_list_columns(self) -> list[str]:
        """Return all columns."""
        return list(self.column_list)

    def scaffold_sortable_columns(self) -> dict[Any, Any]:
        """Return all columns: there are as many rows as a region has libraries."""
        return {column: column for column in self.column_list}

    def scaffold_list_form(self, *_values: Any, **_options: Any) -> Any:
        """There is nothing to edit, so there is no form."""
        return self.form_base_class


def plain(text: str) -> str:
    """Return a text in which full-width letters and capitals are the same as others."""
    return unicodedata.normalize("NFKC", text).casefold().strip()
