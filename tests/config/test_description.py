"""What people may read of a library's settings."""

from __future__ import annotations

from config import KohaSettings, LibrarySettings, SelfCheckSettings, Sip2Settings, describe_library
from config.table import LIBRARY_SECTIONS


def test_a_library_is_described_without_its_secrets_and_without_what_is_not_set():
    described = describe_library(
        LibrarySettings(
            "central",
            "中央図書館",
            koha=KohaSettings("https://koha.example/api/v1", "bridge", client_secret="SECRET-1"),
            sip2=Sip2Settings("::1", 6001, "koha", 6001, directory_password="SECRET-2"),
            self_check=(SelfCheckSettings("one"), SelfCheckSettings("two", token_length=15)),
            cardnumber_prefixes=("2",),
            linked_category={"PT": "PT12"},
        )
    )
    assert "SECRET" not in str(described)
    assert described["koha.client_id"] == "bridge"
    assert described["self_check.2.token_length"] == 15
    assert described["cardnumber_prefixes"] == ["2"]
    assert described["linked_category"] == {"PT": "PT12"}
    assert not [name for name in described if name.startswith("revocation.") or name.endswith("expiry_field")]


def test_every_secret_of_a_library_is_marked_as_one():
    secrets = {
        section.path(setting) for section in LIBRARY_SECTIONS for setting in section.rows if setting.secret
    }
    assert secrets == {"library.koha.client_secret", "library.sip2.directory_password"}
