"""The log of the server's commands, on standard error."""

from __future__ import annotations

import logging


class LineFormatter(logging.Formatter):
    """Begins every line of a record, not its first alone, with moment, weight and origin.

    So each line can be searched for and read by itself: what several requests left in one record, a
    traceback, and text with a line break in it, which cannot pass for a record of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines."""
        begin = f"{self.formatTime(record)} {record.levelname} {record.name}: "
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{self.formatStack(record.stack_info)}"
        return begin + text.replace("\n", "\n" + begin)


def set_up_log(level: str) -> None:
    """Write what weighs at least *level*."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every look at the version
