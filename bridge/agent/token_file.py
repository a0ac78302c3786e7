"""The file that holds a terminal's token."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bridge.agent.errors import WrongSettings


def read_token(path: Path) -> str:
    """Return the terminal token in the file at *path*; raises ``WrongSettings``."""
    try:
        with path.open(encoding="ascii") as file:
            # Of the opened file, so that it cannot be another one by the time it is read.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise WrongSettings("the token file is open to other users: chmod 600")
            token = file.read().strip()
    except OSError as error:
        raise WrongSettings(f"the token file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongSettings("the token file must hold one token") from None
    if not token or not token.isprintable() or " " in token:
        raise WrongSettings("the token file must hold one token")
    return token
