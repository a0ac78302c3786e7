"""The settings of the bridge: one TOML file, secrets from the environment or files of their own."""

from config.description import describe_library
from config.documentation import example_toml, settings_table_markdown
from config.loader import SettingsError, load_settings
from config.settings import (
    DatabaseSettings,
    JpkiSettings,
    KeySettings,
    KohaSettings,
    LibraryRevocationSettings,
    LibrarySettings,
    LoggingSettings,
    MetricsSettings,
    Mode,
    RevocationSettings,
    SelfCheckSettings,
    Settings,
    Sip2Settings,
    TokenSettings,
    WebSettings,
)

__all__ = [
    "DatabaseSettings",
    "JpkiSettings",
    "KeySettings",
    "KohaSettings",
    "LibraryRevocationSettings",
    "LibrarySettings",
    "LoggingSettings",
    "MetricsSettings",
    "Mode",
    "RevocationSettings",
    "SelfCheckSettings",
    "Settings",
    "SettingsError",
    "Sip2Settings",
    "TokenSettings",
    "WebSettings",
    "describe_library",
    "example_toml",
    "load_settings",
    "settings_table_markdown",
]
