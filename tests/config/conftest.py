from pathlib import Path

import pytest

from config import Settings, example_toml, load_settings

PRODUCTION_SECRET = "a-secret-key-of-enough-characters-0123"
ENVIRONMENT = {
    "KOHA_JPKI_WEB_SECRET_KEY": PRODUCTION_SECRET,
    "KOHA_JPKI_LIBRARY_CENTRAL_KOHA_CLIENT_SECRET": "a-client-secret",
}


class SettingsFile:
    """A settings file in a folder of its own, beginning as the example."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "settings.toml"
        self.text = example_toml()
        self.environ = dict(ENVIRONMENT)

    def replace(self, old: str, new: str) -> None:
        assert old in self.text, f"the example has no {old!r}"
        self.text = self.text.replace(old, new, 1)

    def load(self) -> Settings:
        self.path.write_text(self.text, encoding="utf-8")
        return load_settings(self.path, self.environ)


@pytest.fixture
def settings_file(tmp_path):
    return SettingsFile(tmp_path)
