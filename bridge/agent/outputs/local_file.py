"""The token in a file, for a machine whose program watches a folder. Edge."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from bridge.agent.errors import OutputUnavailable
from bridge.agent.outputs.output import TokenFraming


class FileOutput:
    """Writes the token to *path*, readable by its owner alone, whole or not at all.

    The machine's program takes the file away; what it leaves is wiped at the end of the visit.
    """

    shows_itself = False

    def __init__(self, path: Path, framing: TokenFraming) -> None:
        self._path = path
        self._framing = framing

    def check(self) -> str:
        """Look whether the folder takes a file."""
        folder = self._path.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputUnavailable(str(folder), "the folder is missing or not writable")
        return f"file {self._path}"

    def send(self, token: str) -> None:
        """Put the file in place of whatever is there."""
        half = self._path.with_name(f".{self._path.name}.half")
        try:
            half.unlink(missing_ok=True)
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii", newline="") as file:
                file.write(self._framing.around(token))
            half.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                half.unlink(missing_ok=True)
            raise OutputUnavailable(str(self._path), type(error).__name__) from None

    def wipe(self) -> None:
        """Delete the file if the machine has not taken it."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
