"""What every list of the admin is: a page with a form of filters, pages of rows, and a file of all of them.

Where the rows come from is for the lists: ``bridge.admin.lists`` reads the database,
``bridge.admin.library_list`` asks a service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from flask import request, url_for
from flask_admin import expose
from flask_admin.model import BaseModelView
from flask_babel import format_date, format_datetime, gettext, lazy_gettext

from bridge.admin.base import StaffView, may, signed_in_librarian
from bridge.admin.csv_file import csv_response
from bridge.admin.filters import FieldFilter
from bridge.models import Permission

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue
    from flask_admin import Admin
    from flask_admin.model.base import ViewArgs

MADE_ID = re.compile("[0-9a-f]{32}")

SHORT_ID = 8
"""So many digits of an id are shown; two ids that agree in them are the same for the eye."""

LAST_PAGE = 10**12
"""Beyond what any list holds, and as an offset still within 64 bits."""

DATE_AND_TIME = lazy_gettext("MMM d, y, HH:mm")
"""A pattern of Unicode's CLDR (TR 35), so that each language has its own order."""

DAY_IN_FILE, MOMENT_IN_FILE = "y-MM-dd", "y-MM-dd HH:mm"
"""Patterns for CSV files, which any spreadsheet takes for a date and a time."""

COUNTED_TO = 1_000
"""Rows. Beyond it a list says that there are more: to count a million takes longer than to show fifty."""


class ListPage(StaffView, BaseModelView):
    """A read-only list. Only the list and its file have addresses: what is not routed needs no guard.

    A file holds the rows that the filters find, all pages of them. It has no name of anybody: who is
    named on the screen stands there with an id. ``file_formatters`` are its formatters where they differ.
    """

    can_create = can_edit = can_delete = False
    can_set_page_size = True
    page_size = 50
    page_size_options = (50, 100, 200)
    list_template = "bridge/list.html"
    column_display_actions = False
    column_type_formatters: ClassVar = {
        type(None): lambda _view, _value, _name: "",
        datetime: lambda _view, value, _name: format_datetime(value, str(DATE_AND_TIME)),
    }
    column_type_formatters_export: ClassVar = {
        type(None): lambda _view, _value, _name: "",
        datetime: lambda _view, value, _name: format_datetime(value, MOMENT_IN_FILE),
    }
    file_formatters: ClassVar[Mapping[str, Any]] = {}
    addresses: ClassVar = frozenset({"index_view", "download"})
    needed: ClassVar = Permission.SEE_RECORDS
    has_row_actions = False
    can_choose_rows = False
    _urls: list[tuple[Any, ...]]

    def is_accessible(self) -> bool:
        """Keep everybody away whose role has not what the list needs."""
        return may(self.needed)

    def create_blueprint(self, admin: Admin) -> Any:
        """Leave out the addresses that Flask-Admin has for creating, editing and deleting."""
        self.column_formatters_export = {**self.column_formatters, **self.file_formatters}
        self._urls = [rule for rule in self._urls if rule[1] in self.addresses]
        return super().create_blueprint(admin)

    def scaffold_form(self) -> Any:
        """There is nothing to edit, so there is no form."""
        return self.form_base_class

    def search_words(self) -> str:
        """Return what the field of the search is called."""
        return str(gettext("Search for"))

    def render(self, template: str, **values: Any) -> str:
        """Add what the filter form shows to what Flask-Admin gives the list."""
        values["filter_values"] = {index: value for index, _, value in values.get("active_filters") or ()}
        values["narrowed"] = any(values["filter_values"].values()) or bool(values.get("search"))
        values["counted_to"] = COUNTED_TO
        values["file_url"] = self._with_filters("download")
        return super().render(template, **values)

    @expose("/export.csv")
    def download(self) -> ResponseReturnValue:
        """Return what the filters find as a file, and let the audit log tell of it."""
        found = self._found()
        self.services.staff.list_exported(signed_in_librarian(), self.endpoint)
        day = format_date(self.services.clock(), DAY_IN_FILE)
        return csv_response(f"{self.endpoint}-{day}", self._file_rows(found))

    def get_invalid_value_msg(self, value: str, filter: FieldFilter) -> str:  # noqa: A002  # Flask-Admin's name
        """Say which field of the filter form held nothing that can be meant."""
        words: str = gettext("“%(value)s” is not possible for “%(field)s”.", value=value, field=filter.name)
        return words

    def _with_filters(self, page: str) -> str:
        """Return the address of another page of the view, with what narrows the list now."""
        return f"{url_for(f'.{page}')}?{request.query_string.decode('ascii', 'replace')}"

    def _found(self) -> Any:
        """Return all rows that the filters of this request find, in the order of the list."""
        arguments = self._get_list_extra_args()
        sorted_by = self._get_column_by_idx(arguments.sort)
        _, found = self.get_list(
            0,
            None if sorted_by is None else sorted_by[0],
            arguments.sort_desc,
            arguments.search,
            arguments.filters,
            execute=False,
            page_size=0,
        )
        return found

    def _file_rows(self, found: Any) -> Iterator[Sequence[str]]:
        columns = self.get_export_columns()
        yield [str(words) for _, words in columns]
        for row in found:
            yield [str(self.get_export_value(row, column)) for column, _ in columns]

    def _get_list_extra_args(self) -> ViewArgs:
        arguments = super()._get_list_extra_args()
        # A negative or a huge offset is an error of the database, not a page.
        arguments.page = min(max(arguments.page, 0), LAST_PAGE)
        arguments.extra_args = {}
        return arguments


def short(word: str) -> str:
    """Return the beginning of an id that the program made; an id that a person chose is shown whole."""
    return word[:SHORT_ID] if MADE_ID.fullmatch(word) else word
