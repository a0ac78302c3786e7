"""What the admin says of the reader program at a terminal: when it was last seen, and how it was."""

from __future__ import annotations

from datetime import datetime

from flask_babel import format_timedelta, gettext

from bridge.admin.words import OUTPUT_STATES, READER_STATES
from bridge.models import OutputState, TerminalReport


def describe_sighting(last_seen_at: datetime | None, report: TerminalReport | None, now: datetime) -> str:
    """Return ``Last seen 2 minutes ago: reader missing``; what is as it should be is told, too."""
    if last_seen_at is None:
        return str(gettext("Never seen"))
    ago = format_timedelta(last_seen_at - now, granularity="second", add_direction=True)
    if report is None:
        return str(gettext("Last seen %(ago)s", ago=ago))
    reader, output = READER_STATES[report.reader], OUTPUT_STATES[report.output]
    if report.output is OutputState.NONE:
        return str(gettext("Last seen %(ago)s: %(state)s", ago=ago, state=reader))
    return str(gettext("Last seen %(ago)s: %(reader)s, %(output)s", ago=ago, reader=reader, output=output))
