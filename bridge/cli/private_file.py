"""A file that a command writes for its caller alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write_private(path: Path, lines: Iterable[str]) -> int:
    """Write a file that must be new; return the number of lines. A half-written one is removed.

    Raises ``OSError`` with the file's name in it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    written = 0
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            for line in lines:
                file.write(line)
                written += 1
    except OSError as error:
        path.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        path.unlink()
        raise
    return written
