"""The kinds of values a setting can have: how each is described, and how it is read. Pure.

A kind's description stands in the README's table and in the sentence that refuses a wrong value, so
that both always say the same. A refusal never repeats the value: it may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit


class WrongValue(Exception):
    """The value is not of the kind. It is not repeated here."""


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    ``read(value, directory)`` returns the value as the program uses it or raises ``WrongValue``;
    *directory* is where the settings file is, the start of every relative path.
    """

    description: str
    read: Callable[[object, Path], object]


def text(description: str, pattern: str = r"(?s).*\S.*") -> Kind:
    """Return the kind of a string that matches *pattern* as a whole."""

    def read(value: object, _: Path) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise WrongValue
        return value

    return Kind(description, read)


def choice(options: Iterable[str], convert: Callable[[str], object] = str) -> Kind:
    """Return the kind of a string that is one of *options*."""
    allowed = tuple(options)

    def read(value: object, _: Path) -> object:
        if not isinstance(value, str) or value not in allowed:
            raise WrongValue
        return convert(value)

    return Kind("one of " + ", ".join(f"`{option}`" for option in allowed), read)


def whole_number(minimum: int, maximum: int) -> Kind:
    """Return the kind of an integer in a closed range."""

    def read(value: object, _: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongValue  # TOML's true is an int to Python
        if not minimum <= value <= maximum:
            raise WrongValue
        return value

    return Kind(f"whole number, {minimum} to {maximum}", read)


def _read_day(value: object, _: Path) -> date:
    if isinstance(value, datetime):
        raise WrongValue  # a datetime is a date to Python
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise WrongValue from None


DAY = Kind("day, such as `2026-04-01`", _read_day)


def number(minimum: float, maximum: float) -> Kind:
    """Return the kind of a number in a closed range; ``nan`` and ``inf`` are outside every range."""

    def read(value: object, _: Path) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise WrongValue
        if not minimum <= value <= maximum:
            raise WrongValue
        return float(value)

    return Kind(f"number, {minimum:g} to {maximum:g}", read)


def list_of(element: Kind, description: str) -> Kind:
    """Return the kind of a list with at least one element, each of kind *element*."""

    def read(value: object, directory: Path) -> tuple[object, ...]:
        if not isinstance(value, list) or not value:
            raise WrongValue
        return tuple(element.read(item, directory) for item in value)

    return Kind(description, read)


def table_of(key: Kind, element: Kind, description: str) -> Kind:
    """Return the kind of a table whose keys are of kind *key* and whose values of kind *element*."""

    def read(value: object, directory: Path) -> Mapping[object, object]:
        if not isinstance(value, dict):
            raise WrongValue
        return MappingProxyType(
            {key.read(name, directory): element.read(item, directory) for name, item in value.items()}
        )

    return Kind(description, read)


def _read_boolean(value: object, _: Path) -> bool:
    if not isinstance(value, bool):
        raise WrongValue
    return value


def _read_regular_expression(value: object, _: Path) -> str:
    try:
        if isinstance(value, str) and value:
            return re.compile(value).pattern
    except re.error:
        pass
    raise WrongValue


def carries_password(url: str) -> bool:
    """Whether a URL names a password: before its host, or in its query as libpq allows."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False  # no URL at all; its kind refuses it
    return parts.password is not None or "password" in parts.query.lower()


def _read_path(value: object, directory: Path) -> Path:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise WrongValue
    return directory / value


def _read_network(value: object, _: Path) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if not isinstance(value, str):
        raise WrongValue
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:  # among them a network with bits after its prefix
        raise WrongValue from error


def _read_time_zone(value: object, _: Path) -> str:
    if not isinstance(value, str):
        raise WrongValue
    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, OSError, ValueError) as error:  # unknown; a folder; a path out of the database
        raise WrongValue from error
    return value


def _split_http_url(value: object) -> SplitResult:
    """Return the parts of a plain http(s) URL: a host, no user, no query, no fragment."""
    if not isinstance(value, str) or re.search(r"[\s\\]", value):
        raise WrongValue
    parts = _split_url(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WrongValue
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise WrongValue
    return parts


def _split_url(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # a port that is no port, half an IPv6 address
        raise WrongValue from None
    if port == 0:
        raise WrongValue
    return parts


def _read_http_url(value: object, _: Path) -> str:
    return _split_http_url(value).geturl()


def _read_koha_api_url(value: object, _: Path) -> str:
    parts = _split_http_url(value)
    if not parts.path.rstrip("/").endswith("/api/v1"):
        raise WrongValue
    return parts.geturl().rstrip("/")


def _read_origin(value: object, _: Path) -> str:
    """Return the origin as browsers write it (RFC 6454, 6.2): in small letters, without the usual port."""
    parts = _split_http_url(value)
    if parts.path not in ("", "/") or not parts.netloc.isascii():
        raise WrongValue
    usual = f":{'443' if parts.scheme == 'https' else '80'}"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual)}"


def _read_crl_url(value: object, directory: Path) -> str:
    if not isinstance(value, str) or not value.startswith(("ldap://", "ldaps://")):
        return _read_http_url(value, directory)
    parts = _split_url(value)
    if not parts.hostname or not parts.path.strip("/") or "@" in parts.netloc or re.search(r"\s", value):
        raise WrongValue
    return value


_SQLITE_FILE = "sqlite:///"


def _read_database_url(value: object, directory: Path) -> str:
    if not isinstance(value, str):
        raise WrongValue
    if value.startswith(_SQLITE_FILE):
        name = value.removeprefix(_SQLITE_FILE)
        if not name or name == ":memory:":
            raise WrongValue  # every process would have a database of its own
        return f"{_SQLITE_FILE}{directory / name}"
    parts = _split_url(value)
    if parts.scheme != "postgresql+psycopg" or not parts.path.strip("/"):
        raise WrongValue
    return value


BOOLEAN = Kind("`true` or `false`", _read_boolean)
PATH = Kind("path, relative to the settings file", _read_path)
REGULAR_EXPRESSION = Kind("regular expression", _read_regular_expression)
TIME_ZONE = Kind("name in the IANA time zone database", _read_time_zone)
HTTP_URL = Kind("http or https URL", _read_http_url)
CRL_URL = Kind("http, https, ldap or ldaps URL", _read_crl_url)
ORIGIN = Kind("origin such as `https://koha.example.jp`", _read_origin)
KOHA_API_URL = Kind("http or https URL that ends in `/api/v1`", _read_koha_api_url)
DATABASE_URL = Kind("`sqlite:///<file>` or `postgresql+psycopg://...`", _read_database_url)
NETWORK = Kind("IP address or network such as `10.1.2.0/24`", _read_network)
HOST = text("host name or IP address", r"[A-Za-z0-9.:_-]+")
PORT = whole_number(1, 65535)
