"""``make kpz``: build ``dist/koha-jpki-bridge-<version>.kpz``, the plugin as Koha takes it.

A .kpz is a zip whose root is ``Koha/``. The same files give the same bytes: sorted, with one fixed time.
"""

from __future__ import annotations

import configparser
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

HERE = Path(__file__).resolve().parent
FIXED_TIME = (2026, 1, 1, 0, 0, 0)
MODE = 0o644
SUFFIXES = frozenset({".pm", ".js", ".json", ".tt"})
"""What belongs to the plugin; anything else in the folder was left there by an editor."""


def project_version() -> str:
    """Return the version in ``setup.cfg``."""
    parser = configparser.ConfigParser()
    parser.read(HERE.parent / "setup.cfg", encoding="utf-8")
    return parser["metadata"]["version"]


def build_kpz(directory: Path) -> Path:
    """Write the plugin into *directory*; return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"koha-jpki-bridge-{project_version()}.kpz"
    found = (each for each in (HERE / "Koha").rglob("*") if each.suffix in SUFFIXES)
    files = sorted(found, key=lambda file: file.as_posix())
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for file in files:
            entry = ZipInfo(file.relative_to(HERE).as_posix(), FIXED_TIME)
            entry.compress_type = ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = MODE << 16
            archive.writestr(entry, file.read_bytes())
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{build_kpz(HERE.parent / 'dist')}\n")
