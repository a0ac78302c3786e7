"""The options of a SIP account of the simulated ACS, under Koha's own names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final

from sip2_adapter.simulator.backend import AcsItem, AcsPatron


@unique
class Encoding(StrEnum):
    """The account's ``encoding``. Without one Koha sends Latin-1 or UTF-8, as the text needs."""

    UTF8 = "utf8"
    ASCII = "ascii"
    NOT_SET = ""


@dataclass(frozen=True)
class Account:
    """A log-in (CN, CO) and how Koha talks to it. The defaults are Koha's.

    Koha's templates are functions here. ``custom_patron_fields`` are pairs of a field identifier and
    what it says of a patron, such as ``("PA", lambda patron: "0")`` of KohaSuomi; ``patron_attributes``
    pairs of an identifier and the code of an extended attribute; ``item_fields`` pairs of an identifier
    and what it says of an item. ``screen_msg_regex`` are pairs of a pattern and what stands in its place
    in AF. ``drop_zeros`` is the older Koha that took "0" for nothing.
    """

    login_id: str
    login_password: str = field(repr=False)
    institution: str
    terminator: str = "CRLF"
    encoding: Encoding = Encoding.NOT_SET
    allow_empty_passwords: bool = False
    checked_in_ok: bool = False
    ct_always_send: bool = False
    cv_send_00_on_success: bool = False
    cv_triggers_alert: bool = False
    convert_nonprinting_characters: str | None = None
    ae_field_template: Callable[[AcsPatron], str] | None = None
    av_field_template: Callable[[str], str] | None = None
    da_field_template: Callable[[AcsPatron], str] | None = None
    holds_block_checkin: bool = False
    overdues_block_checkout: bool = False
    send_patron_home_library_in_af: bool = False
    hide_fields: frozenset[str] = frozenset()
    allow_fields: frozenset[str] = frozenset()
    screen_msg_regex: tuple[tuple[str, str], ...] = ()
    custom_patron_fields: tuple[tuple[str, Callable[[AcsPatron], str]], ...] = ()
    patron_attributes: tuple[tuple[str, str], ...] = ()
    item_fields: tuple[tuple[str, Callable[[AcsItem], str]], ...] = ()
    drop_zeros: bool = False


@dataclass(frozen=True)
class Policy:
    """The institution's ``policy``: what 98 says. ``renewal`` is tested as a string, as Koha tests it.

    ``currency`` is that of the library (BH in 24 and 64).
    """

    checkin: bool = True
    checkout: bool = True
    renewal: str = "true"
    status_update: bool = False
    offline: bool = False
    timeout: int = 100
    retries: int = 5
    currency: str = ""


KOHA_DEFAULT_POLICY: Final = Policy()
