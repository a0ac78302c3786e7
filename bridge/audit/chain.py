"""The chain of the audit log: what is hashed, and how a broken chain is found. Pure.

Each library has a chain of its own. Its events are numbered from 1 without gaps, and each carries

    SHA-256(hash of the event before, 32 bytes; message)

where *message* is UTF-8 of these ten fields, a line feed (U+000A) between two of them and none at the end:

    "koha-jpki-bridge/audit/v1", library, sequence number (decimal), time (UTC, such as
    2026-11-02 03:00:00.000000), tag, kind of actor, id of the actor, subject,
    terminal (empty where there was none), details (JSON, ASCII, keys sorted, ", " and ": " between them)

No field holds a line feed, so that no two events have the same message. Before the first event stand
32 zero bytes. This format never changes; another one would have another first field.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum, unique
from hashlib import sha256
from itertools import repeat
from typing import NamedTuple

FORMAT = "koha-jpki-bridge/audit/v1"
GENESIS = bytes(32)
"""What stands before the first event in place of a hash."""

_SEPARATORS_IN_A_MESSAGE = 9


class ChainedEvent(NamedTuple):
    """One event as it is kept, all of it text but its place and its hash: there may be millions."""

    sequence: int
    at: str
    tag: str
    actor_kind: str
    actor_id: str
    subject: str
    terminal_id: str
    details: str
    hash: bytes


ChainedRow = tuple[int, str, str, str, str, str, str, str, bytes]
"""The fields of a ``ChainedEvent`` as a database's driver gives them, without a copy of each."""


class EventColumns(NamedTuple):
    """The events from *first* to *last* by field, not by event, which is quicker to read and to check.

    ``fields`` are those of a ``ChainedEvent`` up to its details, each as the values of all events in UTF-8
    with a line feed between two; ``hashes`` are of 32 bytes each, with a comma between two. None where there
    is no event.
    """

    first: int
    last: int
    fields: tuple[bytes | None, ...]
    hashes: bytes | None


@dataclass(frozen=True)
class ChainHead:
    """The last event of a library: its number and its hash. ``sequence`` 0 is the beginning."""

    library_id: str
    sequence: int = 0
    hash: bytes = GENESIS


@unique
class FindingKind(StrEnum):
    """What is wrong with a chain."""

    CHANGED = "changed"
    """Does not match its hash: it was changed, put in, or moved, or the one before it was rewritten."""

    MISSING = "missing"
    """A number that nothing has: it was removed."""

    BEYOND_HEAD = "beyond-head"
    """Stands behind the last event that the head knows: it was added by hand."""

    HEAD_CHANGED = "head-changed"
    """The head names another last event, or its seal does not open with the key."""

    NOT_SEALED = "not-sealed"
    """The head carries no seal: it was lost to a change by hand, or nobody has sealed the log yet."""

    OTHER_THAN_ANCHOR = "other-than-anchor"
    """Is not the event that was there when the anchor was written: the log was rewritten."""


@dataclass(frozen=True)
class Finding:
    """Something wrong in one library's chain, from event *first* to event *last*."""

    kind: FindingKind
    library_id: str
    first: int
    last: int


def details_text(details: Mapping[str, str]) -> str:
    """Return the details of an event as they are kept and hashed."""
    return json.dumps(details, sort_keys=True)


def moment_text(at: datetime) -> str:
    """Return a time as it is hashed."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def event_hash(previous: bytes, library_id: str, event: ChainedEvent) -> bytes:
    """Return the hash of *event* behind one with the hash *previous*; its own is not looked at.

    Raises ``ValueError`` where a field holds a line feed.
    """
    message = _message(_beginning(library_id), event)
    if message.count("\n") != _SEPARATORS_IN_A_MESSAGE:
        raise ValueError("a field of an audit event holds a line feed")
    return sha256(previous + message.encode()).digest()


class ChainVerifier:
    """Goes along one library's chain, event after event in the order of their numbers.

    Keeps no event: the memory it takes does not grow with the log. *anchor* is an event that is known to
    have been there: everything up to it is held against it. ``head`` is the last event so far.
    """

    def __init__(self, library_id: str, anchor: ChainHead | None = None) -> None:
        self.head = ChainHead(library_id)
        self._anchor = anchor or self.head
        self._beginning = _beginning(library_id)

    def follow(self, events: Iterable[ChainedRow]) -> Iterator[Finding]:
        """Yield what is wrong with *events*, of which the first follows the last one so far."""
        beginning, anchored, hash_of = self._beginning, self._anchor.sequence, sha256
        sequence, previous = self.head.sequence, self.head.hash
        for event in events:
            number, found = event[0], event[8]
            if number == sequence + 1:
                message = _message(beginning, event)
                if (
                    hash_of(previous + message.encode()).digest() != found
                    or message.count("\n") != _SEPARATORS_IN_A_MESSAGE
                ):
                    yield self._finding(FindingKind.CHANGED, number, number)
            elif number > sequence:
                # Behind a gap nothing can be said of an event but that what follows it fits its hash.
                yield self._finding(FindingKind.MISSING, sequence + 1, number - 1)
            else:  # in a file alone: a database gives them in order
                yield self._finding(FindingKind.CHANGED, number, number)
            if number == anchored and found != self._anchor.hash:
                yield self._finding(FindingKind.OTHER_THAN_ANCHOR, number, number)
            sequence, previous = number, found
        self.head = ChainHead(self.head.library_id, sequence, previous)

    def follow_columns(self, events: EventColumns) -> bool:
        """Go along *events* if nothing is wrong with them, and else not at all; say whether it was done.

        What is wrong, and with which event, ``follow`` tells of the same events one by one.
        """
        number_of_events = events.last - events.first + 1
        # A value that is missing, or has a line feed in it, makes a column too short or too long.
        columns = [[] if values is None else values.split(b"\n") for values in events.fields]
        numbers = "\n".join(map(str, range(events.first, events.last + 1))).encode()
        if (
            events.first != self.head.sequence + 1
            or events.fields[0] != numbers
            or any(len(column) != number_of_events for column in columns)
            or events.first <= self._anchor.sequence <= events.last
        ):
            return False
        previous, hash_of = self.head.hash, sha256
        messages = map(b"\n".join, zip(repeat(self._beginning.encode()), *columns, strict=False))
        hashes = [previous := hash_of(previous + message).digest() for message in messages]
        if b",".join(hashes) != events.hashes:
            return False
        self.head = ChainHead(self.head.library_id, events.last, previous)
        return True

    def end(self, head: ChainHead) -> Iterator[Finding]:
        """Yield what is wrong at the end of the chain, which is at *head*, and may not lack the anchor."""
        last, known = self.head.sequence, max(head.sequence, self._anchor.sequence)
        if last < known:
            yield self._finding(FindingKind.MISSING, last + 1, known)
        if head.sequence < last:
            yield self._finding(FindingKind.BEYOND_HEAD, head.sequence + 1, last)
        elif head.sequence == last and head.hash != self.head.hash:
            yield self._finding(FindingKind.HEAD_CHANGED, last, last)

    def _finding(self, kind: FindingKind, first: int, last: int) -> Finding:
        return Finding(kind, self.head.library_id, first, last)


def joined(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield *findings*, those of one kind whose events follow each other as one."""
    run: Finding | None = None
    for finding in findings:
        if (
            run is not None
            and (run.kind, run.library_id) == (finding.kind, finding.library_id)
            and finding.first == run.last + 1
        ):
            run = Finding(run.kind, run.library_id, run.first, finding.last)
            continue
        if run is not None:
            yield run
        run = finding
    if run is not None:
        yield run


def _beginning(library_id: str) -> str:
    return f"{FORMAT}\n{library_id}"


def _message(beginning: str, event: ChainedRow) -> str:
    sequence, at, tag, actor_kind, actor_id, subject, terminal_id, details, _ = event
    return (
        f"{beginning}\n{sequence}\n{at}\n{tag}\n{actor_kind}\n{actor_id}\n{subject}\n{terminal_id}\n{details}"
    )
