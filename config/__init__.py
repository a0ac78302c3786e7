"""The settings of the bridge: one TOML file, secrets from the environment or files of their own."""

from config.agent_loader import load_agent_settings
from config.agent_settings import AgentSettings, CardNumberSettings, OutputSettings, PageSettings
from config.description import describe_library
from config.documentation import (
    agent_example_toml,
    agent_settings_table_markdown,
    example_toml,
    settings_table_markdown,
)
from config.loader import SettingsError, load_settings
from config.settings import (
    DatabaseSettings,
    IdentifierSettings,
    JpkiSettings,
    KeySettings,
    KohaSettings,
    KohaSignInSettings,
    LibraryLinkSettings,
    LibraryRevocationSettings,
    LibrarySettings,
    LinkSettings,
    LoggingSettings,
    MetricsSettings,
    Mode,
    RevocationSettings,
    SelfCheckSettings,
    Settings,
    Sip2Settings,
    TokenSettings,
    VerifierSettings,
    WebSettings,
)

__all__ = [
    "AgentSettings",
    "CardNumberSettings",
    "DatabaseSettings",
    "IdentifierSettings",
    "JpkiSettings",
    "KeySettings",
    "KohaSettings",
    "KohaSignInSettings",
    "LibraryLinkSettings",
    "LibraryRevocationSettings",
    "LibrarySettings",
    "LinkSettings",
    "LoggingSettings",
    "MetricsSettings",
    "Mode",
    "OutputSettings",
    "PageSettings",
    "RevocationSettings",
    "SelfCheckSettings",
    "Settings",
    "SettingsError",
    "Sip2Settings",
    "TokenSettings",
    "VerifierSettings",
    "WebSettings",
    "agent_example_toml",
    "agent_settings_table_markdown",
    "describe_library",
    "example_toml",
    "load_agent_settings",
    "load_settings",
    "settings_table_markdown",
]
