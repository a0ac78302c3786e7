"""How Koha searches lists: ``q``, parameters with ``_match``, ``_order_by`` and pages.

A bare parameter matches every value that *contains* it. Comparison is that of Koha's database: without
regard to case and width.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from koha_client.simulator.replies import (
    RestRefusal,
    RestReply,
    bad_request,
    invalid,
    unknown_parameters,
)

DEFAULT_PAGE_SIZE = 20
"""Koha's preference RESTdefaultPageSize."""

Record = Mapping[str, Any]

_CONTROL_PARAMETERS = frozenset({"q", "_match", "_order_by", "_page", "_per_page"})

_MATCHES: Mapping[str, Callable[[str, str], bool]] = MappingProxyType(
    {
        "contains": lambda value, wanted: wanted in value,
        "exact": lambda value, wanted: value == wanted,
        "starts_with": lambda value, wanted: value.startswith(wanted),
        "ends_with": lambda value, wanted: value.endswith(wanted),
    }
)

_OPERATORS: Mapping[str, Callable[[str, Any], bool]] = MappingProxyType(
    {
        "=": lambda value, wanted: value == _folded(wanted),
        "!=": lambda value, wanted: value != _folded(wanted),
        "<": lambda value, wanted: value < _folded(wanted),
        ">": lambda value, wanted: value > _folded(wanted),
        "<=": lambda value, wanted: value <= _folded(wanted),
        ">=": lambda value, wanted: value >= _folded(wanted),
        "-like": lambda value, wanted: _is_like(value, wanted),
        "-not_like": lambda value, wanted: not _is_like(value, wanted),
        "-in": lambda value, wanted: value in map(_folded, wanted),
        "-not_in": lambda value, wanted: value not in map(_folded, wanted),
    }
)


_JUNCTIONS: Mapping[str, Callable[[Iterable[bool]], bool]] = MappingProxyType({"-and": all, "-or": any})


def search(
    path: str, query: Sequence[tuple[str, str]], records: Sequence[Record], fields: frozenset[str]
) -> RestReply:
    """Answer a list's route: the page of *records* that fits *query*, with Koha's paging headers."""
    refuse_unknown_parameters(query, fields | _CONTROL_PARAMETERS)
    parameters = dict(query)
    match = _MATCHES.get(parameters.get("_match", "contains"))
    if match is None:
        raise invalid("/_match", "Not in enum list: contains, exact, starts_with, ends_with.")
    conditions = [_read_q(value, fields) for name, value in query if name == "q"]
    wanted = [(name, _folded(value)) for name, value in query if name in fields]
    hits = [
        record
        for record in records
        if all(_fits(record, condition) for condition in conditions)
        and all(match(_folded(record[name]), value) for name, value in wanted)
    ]
    _sort(hits, parameters.get("_order_by", ""), fields)
    return _page(path, parameters, hits, len(records))


def refuse_unknown_parameters(query: Sequence[tuple[str, str]], known: frozenset[str]) -> None:
    """Raise Koha's 400 for the parameters of *query* that are not *known*."""
    unknown = [name for name, _ in query if name not in known]
    if unknown:
        raise unknown_parameters(unknown)


def _read_q(text: str, fields: frozenset[str]) -> Any:
    try:
        condition = json.loads(text)
    except ValueError:
        raise _invalid_query() from None
    _check_condition(condition, fields)
    return condition


def _check_condition(condition: object, fields: frozenset[str]) -> None:
    """Refuse a ``q`` that Koha would not understand."""
    if isinstance(condition, list) and condition:
        for inner in condition:
            _check_condition(inner, fields)
    elif isinstance(condition, dict):
        for name, wanted in condition.items():
            if name in _JUNCTIONS:
                _check_condition(wanted, fields)
            elif name.removeprefix("me.") not in fields:
                raise _invalid_query()
            else:
                _check_comparison(wanted)
    else:
        raise _invalid_query()


def _check_comparison(wanted: object) -> None:
    if isinstance(wanted, list):
        for inner in wanted:
            _check_comparison(inner)
    elif isinstance(wanted, dict):
        for operator, operand in wanted.items():
            if operator not in _OPERATORS or isinstance(operand, list) is not operator.endswith("in"):
                raise _invalid_query()


def _fits(record: Record, condition: Any) -> bool:
    """Whether a record fits one ``q``: an object is an AND of its fields, an array an OR."""
    if isinstance(condition, list):
        return any(_fits(record, inner) for inner in condition)
    return all(_fits_part(record, name, wanted) for name, wanted in condition.items())


def _fits_part(record: Record, name: str, wanted: Any) -> bool:
    if name in _JUNCTIONS:
        return _JUNCTIONS[name](_fits(record, inner) for inner in wanted)
    return _compares(_folded(record[name.removeprefix("me.")]), wanted)


def _compares(value: str, wanted: object) -> bool:
    if isinstance(wanted, list):
        return any(_compares(value, inner) for inner in wanted)
    if isinstance(wanted, dict):
        return all(_OPERATORS[operator](value, operand) for operator, operand in wanted.items())
    return value == _folded(wanted)


def _invalid_query() -> RestRefusal:
    return bad_request("Invalid query", error_code="invalid_query")


def _folded(value: object) -> str:
    """Return a value as a collation without case and width compares it."""
    return unicodedata.normalize("NFKC", str(value)).casefold()


def _is_like(value: str, pattern: object) -> bool:
    """SQL's LIKE: ``%`` is any text, ``_`` any character."""
    expression = re.escape(_folded(pattern)).replace("%", ".*").replace("_", ".")
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _sort(hits: list[Record], order_by: str, fields: frozenset[str]) -> None:
    for term in reversed([term for term in order_by.split(",") if term]):
        # An unencoded "+" of a query string arrives as a blank.
        name = term.lstrip("+- ")
        if name not in fields:
            raise bad_request("Invalid order_by", error_code="invalid_query")
        hits.sort(key=partial(_sort_key, name), reverse=term.startswith("-"))


def _sort_key(name: str, record: Record) -> tuple[bool, int, str]:
    """Numbers by size, before texts by letters."""
    value = record[name]
    is_number = isinstance(value, int)
    return not is_number, value if is_number else 0, _folded(value)


def _page(path: str, parameters: Mapping[str, str], hits: Sequence[Record], total: int) -> RestReply:
    try:
        page = int(parameters.get("_page", "1"))
        size = int(parameters.get("_per_page", str(DEFAULT_PAGE_SIZE)))
    except ValueError:
        raise invalid("/_page", "Expected integer - got string.") from None
    if size == -1:
        page, size = 1, max(len(hits), 1)
    if page < 1 or size < 1:
        raise bad_request("Page size must be positive")
    headers = {
        "X-Total-Count": str(len(hits)),
        "X-Base-Total-Count": str(total),
        "Link": ",".join(_links(path, parameters, page, size, len(hits))),
    }
    return RestReply(HTTPStatus.OK, list(hits[(page - 1) * size : page * size]), headers)


def _links(path: str, parameters: Mapping[str, str], page: int, size: int, hits: int) -> Iterator[str]:
    last = max(1, -(-hits // size))
    pages = {"prev": page - 1, "next": page + 1, "first": 1, "last": last}
    for relation, number in pages.items():
        if 1 <= number <= last:
            query = urlencode({**parameters, "_page": str(number), "_per_page": str(size)})
            yield f'<{path}?{query}>; rel="{relation}"'
