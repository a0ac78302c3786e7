"""What nobody foresaw, in the log: shared by the API and the admin."""

from __future__ import annotations

import logging
import traceback

logger = logging.getLogger(__name__)


def log_unexpected(error: Exception) -> None:
    """Log what nobody foresaw: its type and place, never its text, which may repeat a secret.

    A database driver, for one, puts the values of the failing statement into its message.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    logger.error("unexpected %s at %s", type(error).__name__, place)
