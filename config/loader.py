"""Settings file (TOML) and environment -> ``Settings``; every problem is named at once.

Nothing here repeats a value: a wrong value may be a secret in the wrong place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.kinds import WrongValue, carries_password
from config.settings import LibrarySettings, Mode, Settings
from config.table import (
    GENERAL,
    IDENTIFIERS,
    KEYS,
    LIBRARY,
    LIBRARY_KOHA,
    LIBRARY_KOHA_SIGN_IN,
    LIBRARY_REVOCATION,
    LIBRARY_SECTIONS,
    LIBRARY_SELF_CHECK,
    LIBRARY_SIP2,
    METRICS,
    SECTIONS,
    TOKENS,
    UNKNOWN_LIBRARY,
    VERIFIER,
    Section,
    Setting,
    library_variable_part,
)

MINIMUM_SECRET_KEY_LENGTH = 32
MINIMUM_RANDOM_DIGITS = 10
_MAXIMUM_SECRET_FILE_SIZE = 64 * 1024
_WILDCARD_HOSTS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, never bound to


class SettingsError(Exception):
    """The settings cannot be used; ``problems`` names everything that is wrong, a sentence each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Return the settings of the file at *path*, secrets taken from *environ* or their files.

    Raises ``SettingsError`` with every problem found.
    """
    reader = _Reader(path.absolute().parent, environ)
    reading = reader.read(read_document(path))
    problems = (*reader.problems, *_contradictions(reading))
    if problems:
        raise SettingsError(problems)
    return _build(reading)


def read_document(path: Path) -> dict[str, Any]:
    """Return the TOML document at *path*. Raises ``SettingsError`` in words, without quoting a value."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError((f"{path}: cannot be read: {error.strerror}",)) from None
    except UnicodeDecodeError:
        raise SettingsError((f"{path}: is not UTF-8 text",)) from None
    except tomllib.TOMLDecodeError as error:
        # tomllib's own words give the place, and quote at most a key or one character.
        raise SettingsError((f"{path}: is not TOML: {error}",)) from None


_NOTHING = object()
"""Not given, or given in a way that was refused."""

_Values = dict[str, Any]

_Listening = tuple[str, Any, Any, int]
"""A setting's name, host and port; and the number of the library, 0 for none."""


@dataclass(frozen=True)
class _Reading:
    """What could be read, by section name; problems leave gaps. Listed sections are lists."""

    sections: dict[str, _Values]
    libraries: list[dict[str, Any]]


@dataclass
class _Reader:
    directory: Path
    environ: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def read(self, document: dict[str, Any]) -> _Reading:
        sections = {}
        for section in SECTIONS:
            table = document if section is GENERAL else document.get(section.name, {})
            sections[section.name] = self._read_section(section, table, section.name)
        return _Reading(sections, self._read_libraries(document.get(LIBRARY.name, [])))

    def _read_libraries(self, tables: object) -> list[dict[str, Any]]:
        if not isinstance(tables, list) or not tables:
            self.problems.append("library: expected at least one [[library]]")
            return []
        return [self._read_library(table, number) for number, table in enumerate(tables, start=1)]

    def _read_library(self, table: object, number: int) -> dict[str, Any]:
        place = f"library {number}"
        values: dict[str, Any] = {LIBRARY.name: self._read_section(LIBRARY, table, place)}
        library_id = values[LIBRARY.name].get("library_id")
        variable_part = library_variable_part(library_id) if library_id else UNKNOWN_LIBRARY
        inner = table if isinstance(table, dict) else {}
        for section in LIBRARY_SECTIONS[1:]:
            key = section.name.removeprefix("library.")
            if section.optional and key not in inner:
                continue
            if section.listed:
                values[section.name] = self._read_list(section, inner[key], f"{place}.{key}")
                continue
            values[section.name] = self._read_section(
                section, inner.get(key, {}), f"{place}.{key}", variable_part
            )
        return values

    def _read_list(self, section: Section, tables: object, place: str) -> list[_Values]:
        if not isinstance(tables, list):
            self.problems.append(f"{place}: expected [[{section.name}]]")
            return []
        return [
            self._read_section(section, table, f"{place} {number}")
            for number, table in enumerate(tables, start=1)
        ]

    def _read_section(
        self, section: Section, table: object, place: str, library: str = UNKNOWN_LIBRARY
    ) -> _Values:
        if not isinstance(table, dict):
            self.problems.append(f"{place}: expected a table of settings")
            return {}
        self._refuse_unknown_keys(section, table, place)
        values = {}
        for setting in section.rows:
            name = f"{place}.{setting.name}" if place else setting.name
            raw = self._find(setting, table, name, section, library)
            if raw is not _NOTHING:
                try:
                    values[setting.name] = setting.kind.read(raw, self.directory)
                except WrongValue:
                    self.problems.append(f"{name}: expected {setting.kind.description}")
        return values

    def _refuse_unknown_keys(self, section: Section, table: _Values, place: str) -> None:
        known = {setting.name for setting in section.rows}
        from_files = (each for each in section.rows if each.external and not each.variable_only)
        known |= {f"{setting.name}_file" for setting in from_files}
        if section is GENERAL:
            known |= {inner.name for inner in SECTIONS if inner is not GENERAL} | {LIBRARY.name}
        if section is LIBRARY:
            known |= {inner.name.removeprefix("library.") for inner in LIBRARY_SECTIONS[1:]}
        prefix = f"{place}." if place else ""
        self.problems.extend(f"{prefix}{key}: unknown setting" for key in table if key not in known)

    def _find(self, setting: Setting, table: _Values, name: str, section: Section, library: str) -> object:
        """Return the raw value or ``_NOTHING``: from the environment, else a file, else the table."""
        raw = table.get(setting.name, _NOTHING)
        if not setting.external:
            if raw is _NOTHING and section.is_required(setting):
                self.problems.append(f"{name}: missing")
            return raw
        variable = section.environment_variable(setting, library)
        ways = variable if setting.variable_only else f"{setting.name}_file or {variable}"
        if raw is not _NOTHING and (setting.secret or carries_password(str(raw))):
            self.problems.append(f"{name}: no secret stands in the settings file; use {ways}")
            return _NOTHING
        if variable in self.environ:
            return self.environ[variable]
        if f"{setting.name}_file" in table and not setting.variable_only:
            return self._read_external_file(table[f"{setting.name}_file"], f"{name}_file")
        if raw is _NOTHING and section.is_required(setting):
            self.problems.append(f"{name}: missing; give {ways}")
        return raw

    def _read_external_file(self, file_name: object, name: str) -> object:
        if not isinstance(file_name, str) or not file_name or "\0" in file_name:
            self.problems.append(f"{name}: expected the name of a file")
            return _NOTHING
        try:
            with (self.directory / file_name).open("rb") as file:
                content = file.read(_MAXIMUM_SECRET_FILE_SIZE + 1)
        except OSError as error:
            self.problems.append(f"{name}: cannot be read: {error.strerror}")
            return _NOTHING
        if len(content) > _MAXIMUM_SECRET_FILE_SIZE:
            self.problems.append(f"{name}: the file is too large")
            return _NOTHING
        try:
            return content.decode().strip()
        except UnicodeDecodeError:
            self.problems.append(f"{name}: the file is not UTF-8 text")
            return _NOTHING


def _contradictions(reading: _Reading) -> Iterator[str]:
    """Yield what is wrong between settings that are each right."""
    yield from _key_sources(reading.sections[KEYS.name])
    yield from _token_contradictions(reading)
    yield from _repeated_library_ids(reading.libraries)
    yield from _repeated_self_checks(reading.libraries)
    yield from _repeated_listeners(reading)
    yield from _tls_contradictions(reading.libraries)
    yield from _revocation_contradictions(reading)
    yield from _library_systems(reading.libraries)
    yield from _card_numbers(reading)
    yield from _pin_policy_contradictions(reading)
    if reading.sections[""].get("mode") is Mode.PRODUCTION:
        yield from _unfit_for_production(reading)


def _key_sources(keys: _Values) -> Iterator[str]:
    given = [name for name in ("master_key_file", "master_key_command", "master_keys") if keys.get(name)]
    if len(given) != 1:
        variable = KEYS.environment_variable(next(row for row in KEYS.rows if row.variable_only))
        yield f"keys: give one of master_key_file, master_key_command and {variable}"


def _token_contradictions(reading: _Reading) -> Iterator[str]:
    defaults = {setting.name: TOKENS.default(setting) for setting in TOKENS.rows}
    shape: _Values = {**defaults, **reading.sections[TOKENS.name]}
    if _random_digits(shape) < MINIMUM_RANDOM_DIGITS:
        yield f"tokens.length: expected at least {MINIMUM_RANDOM_DIGITS} digits that are left to chance"
    for place, machine in _self_checks(reading.libraries):
        names = ("prefix", "length", "check_digit")
        own = {name: machine[f"token_{name}"] for name in names if f"token_{name}" in machine}
        if own and _random_digits({**shape, **own}) < MINIMUM_RANDOM_DIGITS:
            yield f"{place}.token_length: expected at least {MINIMUM_RANDOM_DIGITS} digits left to chance"


def _random_digits(shape: _Values) -> int:
    checked = shape["check_digit"] != "none"
    return int(shape["length"]) - len(shape["prefix"]) - int(checked)


def _self_checks(libraries: list[dict[str, Any]]) -> Iterator[tuple[str, _Values]]:
    """Yield each self-check machine of the settings and its place in the file."""
    for number, library in enumerate(libraries, start=1):
        for which, machine in enumerate(library.get(LIBRARY_SELF_CHECK.name, []), start=1):
            yield f"library {number}.self_check {which}", machine


def _repeated_self_checks(libraries: list[dict[str, Any]]) -> Iterator[str]:
    for number, library in enumerate(libraries, start=1):
        seen: dict[str, int] = {}
        for which, machine in enumerate(library.get(LIBRARY_SELF_CHECK.name, []), start=1):
            # Koha finds an account in any case of letters.
            first = seen.setdefault(machine.get("sip2_login", "").casefold(), which)
            if first != which and "sip2_login" in machine:
                yield f"library {number}.self_check {which}.sip2_login: the same as that of {first}"


def _pin_policy_contradictions(reading: _Reading) -> Iterator[str]:
    """Yield why a use without the PIN cannot be had (JPKI Act, Art. 38-4 (2); 施行規則 64条の12)."""
    if reading.sections["jpki"].get("pin_policy") != "tap_after_first_pin":
        return
    yield (
        "jpki.pin_policy: tap_after_first_pin needs an external check that the card is genuine, and this "
        "program has none; use pin_and_signature"
    )
    for number, library in enumerate(reading.libraries, start=1):
        if LIBRARY_SIP2.name in library:
            yield (
                f"library {number}.sip2: self-check machines that nobody watches are never used without the "
                "PIN; use jpki.pin_policy pin_and_signature"
            )


_NEEDED_BY_SOURCE = {"crl": "crl_directory", "ocsp": "ocsp_url", "platform": "platform_file"}


def _revocation_contradictions(reading: _Reading) -> Iterator[str]:
    revocation = reading.sections["revocation"]
    named = dict.fromkeys(revocation.get("sources", ()), "revocation.sources")
    for number, library in enumerate(reading.libraries, start=1):
        for source in library.get(LIBRARY_REVOCATION.name, {}).get("sources", ()):
            named.setdefault(source, f"library {number}.revocation.sources")
    for source, place in named.items():
        needed = _NEEDED_BY_SOURCE[source]
        if needed not in revocation:
            yield f"revocation.{needed}: missing; {place} names {source}"
    if "crl_urls" in revocation and "crl_directory" not in revocation:
        yield "revocation.crl_directory: missing; the CRLs of revocation.crl_urls have no place"


def _repeated_library_ids(libraries: list[dict[str, Any]]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for number, library in enumerate(libraries, start=1):
        library_id = library[LIBRARY.name].get("library_id")
        if library_id is None:
            continue
        # Ids that differ in case or in - and _ alone would share their environment variables.
        first = seen.setdefault(library_variable_part(library_id), number)
        if first != number:
            yield f"library {number}.library_id: the same as that of library {first}"


def _repeated_listeners(reading: _Reading) -> Iterator[str]:
    web, metrics = reading.sections["web"], reading.sections["metrics"]
    metrics_host = metrics.get("host", METRICS.default(METRICS.rows[0]))
    taken = [
        ("web.port", web.get("host"), web.get("port"), 0),
        ("metrics.port", metrics_host, metrics.get("port"), 0),
    ]
    if _is_same_address(*taken):
        yield "metrics.port: the same address as web.port"
    for number, library in enumerate(reading.libraries, start=1):
        sip2 = library.get(LIBRARY_SIP2.name, {})
        name = f"library {number}.sip2.listen_port"
        listener = (name, sip2.get("listen_host"), sip2.get("listen_port"), number)
        for earlier in taken:
            if not _is_same_address(earlier, listener):
                continue
            if earlier[3] and earlier[1] == listener[1]:
                yield from _sharing_contradictions(
                    earlier[3], reading.libraries[earlier[3] - 1], number, library
                )
            else:
                yield f"{name}: the same address as {earlier[0]}"
        taken.append(listener)


def _is_same_address(one: _Listening, other: _Listening) -> bool:
    hosts = {one[1], other[1]}
    same_host = len(hosts) == 1 or hosts & _WILDCARD_HOSTS
    return one[2] is not None and one[2] == other[2] and bool(same_host)


_SHARED_WITH_A_PORT = (
    "terminator",
    "certificate_file",
    "key_file",
    "machine_authority_file",
    "trusted_proxies",
)
"""What is settled before a machine has said which library it is of."""


def _sharing_contradictions(
    first: int, one: dict[str, Any], number: int, other: dict[str, Any]
) -> Iterator[str]:
    """Yield what keeps two libraries from sharing a port, so that the log-in decides."""
    place, first_place = f"library {number}", f"library {first}"
    sip2, first_sip2 = other[LIBRARY_SIP2.name], one[LIBRARY_SIP2.name]
    if not (sip2.get("known_machines_only") and first_sip2.get("known_machines_only")):
        yield f"{place}.sip2.listen_port: the same address as {first_place}.sip2.listen_port"
        return
    for name in _SHARED_WITH_A_PORT:
        if sip2.get(name) != first_sip2.get(name):
            yield f"{place}.sip2.{name}: not as in {first_place}, with which it shares a port"
    taken = {machine.get("sip2_login", "").casefold() for _, machine in _self_checks([one])}
    for which, machine in enumerate(other.get(LIBRARY_SELF_CHECK.name, []), start=1):
        if machine.get("sip2_login", "").casefold() in taken:
            yield f"{place}.self_check {which}.sip2_login: also in {first_place}, with which it shares a port"


def _tls_contradictions(libraries: list[dict[str, Any]]) -> Iterator[str]:
    for number, library in enumerate(libraries, start=1):
        sip2, place = library.get(LIBRARY_SIP2.name, {}), f"library {number}.sip2"
        if ("certificate_file" in sip2) != ("key_file" in sip2):
            yield f"{place}: give both of certificate_file and key_file, or neither"
        if "machine_authority_file" in sip2 and "certificate_file" not in sip2:
            yield f"{place}.machine_authority_file: needs {place}.certificate_file"
        if "koha_server_name" in sip2 and "koha_authority_file" not in sip2:
            yield f"{place}.koha_server_name: needs {place}.koha_authority_file"
        if sip2.get("known_machines_only") and not library.get(LIBRARY_SELF_CHECK.name):
            yield f"{place}.known_machines_only: no [[library.self_check]] names a machine"


def _library_systems(libraries: list[dict[str, _Values]]) -> Iterator[str]:
    for number, library in enumerate(libraries, start=1):
        over_rest = LIBRARY_KOHA.name in library
        account = ("directory_login", "directory_password")
        given = [name for name in account if name in library.get(LIBRARY_SIP2.name, {})]
        if not over_rest and not given:
            yield f"library {number}.koha: missing; or give library {number}.sip2.directory_login"
        if LIBRARY_KOHA_SIGN_IN.name in library and not over_rest:
            yield (
                f"library {number}.koha_sign_in: needs library {number}.koha; over SIP2 nobody can be "
                "asked for a permission of staff"
            )
        if len(given) == 1:
            yield f"library {number}.sip2: give both of {' and '.join(account)}, or neither"
        moves = library[LIBRARY.name].get("linked_category", {})
        if moves and not over_rest:
            yield f"library {number}.linked_category: needs library {number}.koha"
        if set(moves) & set(moves.values()):
            yield f"library {number}.linked_category: a category stands on both sides"


def _card_numbers(reading: _Reading) -> Iterator[str]:
    if "card_ap_number" in reading.sections[IDENTIFIERS.name]:
        return
    for number, library in enumerate(reading.libraries, start=1):
        if library[LIBRARY.name].get("card_application_number"):
            yield f"library {number}.card_application_number: needs identifiers.card_ap_number"


def _unfit_for_production(reading: _Reading) -> Iterator[str]:
    web = reading.sections["web"]
    if len(web.get("secret_key", "x" * MINIMUM_SECRET_KEY_LENGTH)) < MINIMUM_SECRET_KEY_LENGTH:
        yield (f"web.secret_key: expected at least {MINIMUM_SECRET_KEY_LENGTH} characters in production")
    if not web.get("hosts"):
        yield "web.hosts: missing; production needs to know by which names it is reached"
    if web.get("secure_cookies") is False:
        yield "web.secure_cookies: must be true in production"
    for setting in VERIFIER.rows:
        if setting.name not in reading.sections[VERIFIER.name]:
            yield (
                f"verifier.{setting.name}: missing; production needs to know who verifies certificates "
                "(利用者証明検証者, JPKI Act, Art. 36)"
            )
    revocation = reading.sections["revocation"]
    if "sources" not in revocation and "ocsp_url" not in revocation:
        yield "revocation.ocsp_url: a revocation source is required in production"
    for number, library in enumerate(reading.libraries, start=1):
        if library.get(LIBRARY_KOHA.name, {}).get("base_url", "").startswith("http:"):
            yield f"library {number}.koha.base_url: must be https in production"
        if any(origin.startswith("http:") for origin in library[LIBRARY.name].get("koha_origins", ())):
            yield f"library {number}.koha_origins: must be https in production"


def _build(reading: _Reading) -> Settings:
    sections = {
        section.name: section.settings_class(**reading.sections[section.name])
        for section in SECTIONS
        if section is not GENERAL
    }
    libraries = tuple(_build_library(library) for library in reading.libraries)
    return Settings(**reading.sections[GENERAL.name], **sections, libraries=libraries)


def _build_library(values: dict[str, Any]) -> LibrarySettings:
    inner = {
        section.name.removeprefix("library."): _build_section(section, values[section.name])
        for section in LIBRARY_SECTIONS[1:]
        if section.name in values
    }
    return LibrarySettings(**values[LIBRARY.name], **inner)


def _build_section(section: Section, values: Any) -> Any:
    if section.listed:
        return tuple(section.settings_class(**each) for each in values)
    return section.settings_class(**values)
