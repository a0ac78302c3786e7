"""One library's settings for people to read: every setting of the table but the secret ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from config.settings import LibrarySettings
from config.table import LIBRARY_SECTIONS, Section


def describe_library(library: LibrarySettings) -> Mapping[str, object]:
    """Return the settings that count in a library, by name as in the file without ``library.``.

    Values are such as JSON has. What is not set is left out, and so is every secret.
    """
    return {name: value for section in LIBRARY_SECTIONS for name, value in _rows(section, library)}


def _rows(section: Section, library: LibrarySettings) -> Iterator[tuple[str, object]]:
    _, _, name = section.name.partition(".")
    found: Any = getattr(library, name) if name else library
    parts = found if section.listed else (found,)
    for number, part in enumerate(parts, start=1):
        path = f"{name}.{number}" if section.listed else name
        for setting in section.rows:
            value = None if part is None else getattr(part, setting.name)
            if value is not None and not setting.secret:
                yield ".".join(filter(None, (path, setting.name))), _plain(value)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
