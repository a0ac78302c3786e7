"""The audit log held against its chain, its seal and an anchor; written out; sealed anew.

Who can do what to the log unnoticed stands in ``docs/keys-and-audit.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bridge.audit.chain import (
    ChainedEvent,
    ChainHead,
    ChainVerifier,
    Finding,
    FindingKind,
    details_text,
    joined,
)
from bridge.environment import Environment
from bridge.errors import AuditFileMalformed, LibraryNotFound
from bridge.models import Actor, AuditTag
from bridge.ports import AuditReader, AuditSnapshot

EVENTS_AT_ONCE = 10_000
"""Events between two reports of progress."""


@dataclass(frozen=True)
class CheckedLog:
    """A library's log that was gone through: its last event is an anchor for later checks."""

    last: ChainHead
    whole: bool


Progress = Callable[[str, int, int], None]
"""Is told library, number of events done and their total."""

Outcome = Finding | CheckedLog


class AuditService:
    """Checks, exports and seals the audit logs of the database."""

    def __init__(self, environment: Environment, reader: AuditReader) -> None:
        self._environment = environment
        self._reader = reader

    def libraries(self) -> Sequence[str]:
        """Return the libraries that have a log, by id; ``-`` is for log-ins under unknown names."""
        return self._reader.libraries()

    def check(
        self, library_id: str, anchor: ChainHead | None = None, progress: Progress = lambda *_: None
    ) -> Iterator[Outcome]:
        """Yield every finding in a library's log, the ``CheckedLog`` last. Raises ``LibraryNotFound``."""
        with self._reader.snapshot(library_id) as snapshot:
            if snapshot.head is None and not snapshot.total and anchor is None:
                raise LibraryNotFound(library_id)
            verifier = ChainVerifier(library_id, anchor)
            yield from _outcomes(verifier, self._findings(verifier, snapshot, progress))

    def export(self, library_id: str) -> Iterator[str]:
        """Yield a library's log as lines of JSON, without line feeds. Raises ``LibraryNotFound``."""
        with self._reader.snapshot(library_id) as snapshot:
            if snapshot.head is None and not snapshot.total:
                raise LibraryNotFound(library_id)
            for row in snapshot.events:
                yield _line(library_id, ChainedEvent(*row))

    def seal(self, actor: Actor, library_id: str) -> None:
        """Seal a library's log as it stands now, and say so in it. Raises ``LibraryNotFound``."""
        with self._environment.store.transaction() as transaction:
            transaction.seal_audit_log(library_id)
            transaction.add_audit_event(
                self._environment.event(AuditTag.AUDIT_SEALED, library_id, actor, library_id)
            )

    def _findings(
        self, verifier: ChainVerifier, snapshot: AuditSnapshot, progress: Progress
    ) -> Iterator[Finding]:
        done = 0
        for block in snapshot.blocks:
            columns = block.columns
            if columns is not None and verifier.follow_columns(columns):
                done += columns.last - columns.first + 1
                progress(snapshot.library_id, done, snapshot.total)
                continue
            rows = block.rows()
            while chunk := list(islice(rows, EVENTS_AT_ONCE)):
                yield from verifier.follow(chunk)
                done += len(chunk)
                progress(snapshot.library_id, done, snapshot.total)
        head = snapshot.head or ChainHead(snapshot.library_id)
        yield from verifier.end(head)
        if head.sequence and snapshot.seal is None:
            yield Finding(FindingKind.NOT_SEALED, head.library_id, head.sequence, head.sequence)
        elif snapshot.seal is not None and not self._environment.keys.is_sealed(head, snapshot.seal):
            yield Finding(FindingKind.HEAD_CHANGED, head.library_id, head.sequence, head.sequence)


def check_export(
    lines: Iterable[str], library_id: str | None = None, anchors: Mapping[str, ChainHead] | None = None
) -> Iterator[Outcome]:
    """Check an exported log, or one library's part of it, as ``AuditService.check`` does: without seals.

    Raises ``AuditFileMalformed``, and ``LibraryNotFound`` where the export has nothing of *library_id*.
    """
    known = anchors or {}
    chosen = [library_id] if library_id else []
    verifiers = {each: ChainVerifier(each, known.get(each)) for each in chosen or known}
    findings: dict[str, bool] = {}
    for number, line in enumerate(lines, start=1):
        whose, event = _parse_line(line, number)
        if library_id not in (None, whose):
            continue
        verifier = verifiers.setdefault(whose, ChainVerifier(whose))
        for finding in verifier.follow([event]):
            findings[whose] = True
            yield finding
    if library_id is not None and not verifiers[library_id].head.sequence and library_id not in known:
        raise LibraryNotFound(library_id)
    for whose, verifier in verifiers.items():
        for finding in verifier.end(verifier.head):
            findings[whose] = True
            yield finding
        yield CheckedLog(verifier.head, whole=whose not in findings)


def read_anchors(lines: Iterable[str]) -> Mapping[str, ChainHead]:
    """Return of each library the last event that *lines* know: those of an export or of a check in JSON.

    Raises ``AuditFileMalformed``.
    """
    anchors: dict[str, ChainHead] = {}
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            heads = [_head(each) for each in values.get("logs", [values]) if "hash" in each]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise AuditFileMalformed(f"line {number} is not one that this program wrote") from None
        for head in heads:
            if head.library_id not in anchors or anchors[head.library_id].sequence < head.sequence:
                anchors[head.library_id] = head
    return anchors


def _head(values: Mapping[str, Any]) -> ChainHead:
    return ChainHead(str(values["library_id"]), int(values["sequence"]), bytes.fromhex(values["hash"]))


def _outcomes(verifier: ChainVerifier, findings: Iterator[Finding]) -> Iterator[Outcome]:
    whole = True
    for finding in joined(findings):
        whole = False
        yield finding
    yield CheckedLog(verifier.head, whole)


def _line(library_id: str, event: ChainedEvent) -> str:
    values = {"library_id": library_id, **event._asdict()}
    values |= {"details": _details(event.details), "hash": event.hash.hex()}
    return json.dumps(values)


def _details(text: str) -> object:
    """Return the details as an object; a text that somebody has changed stays as it is."""
    try:
        details: object = json.loads(text)
    except ValueError:
        return text
    return details if isinstance(details, dict) and json.dumps(details, sort_keys=True) == text else text


def _parse_line(line: str, number: int) -> tuple[str, ChainedEvent]:
    try:
        values = json.loads(line)
        library_id, details = values.pop("library_id"), values["details"]
        values["details"] = details if isinstance(details, str) else details_text(details)
        values["hash"] = bytes.fromhex(values["hash"])
        event = ChainedEvent(**values)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise AuditFileMalformed(f"line {number} is not one of an exported audit log") from None
    if type(event.sequence) is not int or type(library_id) is not str:
        raise AuditFileMalformed(f"line {number} is not one of an exported audit log")
    return library_id, event
