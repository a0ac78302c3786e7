"""From one master key to the next: what is kept under an older key is brought under the current one.

Digests are made anew from the encrypted serial numbers, so that no card is needed. A batch is one
transaction: a rotation that is killed goes on where it stopped, may run twice, and may run while the
bridge does. Whoever reads asks under every key, and finds a link before its batch and after it.

Open requests and sessions are not rewritten: of a token only its digest is kept. They are over within
minutes, and a key they were made with cannot be retired before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, unique

from bridge.environment import Environment
from bridge.errors import KeyInUse, KeyProblem
from bridge.keys.ring import KeyUse
from bridge.models import Actor, AuditTag
from bridge.ports import KeyedLink, KeyedRecord, Transaction
from jpki.errors import MalformedCertificate

BATCH = 100
"""Links in one transaction: on SQLite everybody else waits for it, some hundredths of a second."""

EVERYWHERE = "-"
"""In whose audit log it stands: master keys belong to no library."""

FORGOTTEN_AFTER = timedelta(days=1)


@unique
class RotationProblem(StrEnum):
    """Why a link stays under its old key."""

    UNREADABLE = "unreadable"
    """Its serial number or card number does not open with the key, or does not fit its digest."""

    LINKED_TWICE = "linked-twice"
    """Another link has the same card: one of the two must be ended by staff."""


@dataclass(frozen=True)
class RotationStep:
    """One batch that is done: links brought under the current key so far, of *total*, and what stayed."""

    done: int
    total: int
    problems: Sequence[tuple[KeyedLink, RotationProblem]]


@dataclass(frozen=True)
class KeyState:
    """One master key: whether it is in the ring, and how much is kept under it."""

    key_id: str
    current: bool
    present: bool
    retired: bool
    uses: Mapping[KeyedRecord, int]


class KeyRotation:
    """Brings everything under the current key, and retires keys that nothing is kept under."""

    def __init__(self, environment: Environment, actor: Actor, batch: int = BATCH) -> None:
        self._environment = environment
        self._actor = actor
        self._batch = batch

    def states(self) -> Sequence[KeyState]:
        """Return every key that is in the ring or that data was made with."""
        keys = self._environment.keys
        with self._environment.store.transaction() as transaction:
            self._end_what_is_over(transaction)
            uses, retired = transaction.key_uses(), transaction.retired_keys()
            others = {*uses, *retired, *transaction.key_checks()} - set(keys.key_ids)
        return [
            KeyState(
                key_id,
                current=key_id == keys.current_key_id,
                present=key_id in keys.key_ids,
                retired=key_id in retired,
                uses=uses.get(key_id, {}),
            )
            for key_id in (*keys.key_ids, *sorted(others))
        ]

    def rotate(self) -> Iterator[RotationStep]:
        """Bring every open link, second factor and seal under the current key, yielding after each batch.

        A second factor that does not open stays under its key, which can be seen in ``states``; an
        administrator resets it.
        """
        current = self._environment.keys.current_key_id
        with self._environment.store.transaction() as transaction:
            total = transaction.count_links_to_rotate(current)
        done, begun = 0, -1
        while done > begun:  # until nothing more can be done: others may have held a link meanwhile
            begun = done
            for moved, problems in self._go_through():
                done += moved
                yield RotationStep(done, max(done, total), problems)
        with self._environment.store.transaction() as transaction:
            self._rotate_second_factors(transaction)
            transaction.reseal_audit_logs(current)
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.KEYS_ROTATED, EVERYWHERE, self._actor, current, links=str(done)
                )
            )

    def retire(self, key_id: str) -> None:
        """Let a key be needed no more. Raises ``KeyInUse``, and ``KeyProblem`` for the current one."""
        if key_id == self._environment.keys.current_key_id:
            raise KeyProblem(f"the master key {key_id} is the current one")
        with self._environment.store.transaction() as transaction:
            self._end_what_is_over(transaction)
            uses = transaction.key_uses().get(key_id, {})
            if uses:
                raise KeyInUse({record.value: number for record, number in uses.items()})
            if not transaction.retire_key(key_id, self._environment.clock()):
                raise KeyProblem(f"no data was ever made with a master key {key_id}")
            transaction.add_audit_event(
                self._environment.event(AuditTag.KEY_RETIRED, EVERYWHERE, self._actor, key_id)
            )

    def _go_through(self) -> Iterator[tuple[int, Sequence[tuple[KeyedLink, RotationProblem]]]]:
        after = None
        while True:
            with self._environment.store.transaction() as transaction:
                links = transaction.links_to_rotate(self._environment.keys.current_key_id, after, self._batch)
                outcomes = [(link, self._rotate(transaction, link)) for link in links]
            if not links:
                return
            after = links[-1].linked_at, links[-1].link_id
            problems = [(link, problem) for link, problem in outcomes if problem is not None]
            yield len(links) - len(problems), problems

    def _rotate(self, transaction: Transaction, link: KeyedLink) -> RotationProblem | None:
        keys, library_id = self._environment.keys, link.library_id
        try:
            if link.serial is None:
                return RotationProblem.UNREADABLE
            record = keys.decrypt(KeyUse.SERIAL_ENCRYPTION, library_id, link.link_id, link.serial)
            identifiers = keys.identifiers_of_record(library_id, link.identifier.kind, record)
            reference = link.patron_reference
            if reference is not None:
                cardnumber = keys.cardnumber_of(library_id, reference)
                reference = keys.patron_references(library_id, cardnumber)[0]
        except (KeyProblem, MalformedCertificate):
            return RotationProblem.UNREADABLE
        if link.identifier not in identifiers:
            return RotationProblem.UNREADABLE
        serial = keys.encrypt(KeyUse.SERIAL_ENCRYPTION, library_id, link.link_id, record)
        met = transaction.rotate_link(link, identifiers[0], serial, reference)
        return None if met else RotationProblem.LINKED_TWICE

    def _rotate_second_factors(self, transaction: Transaction) -> None:
        keys = self._environment.keys
        for account in transaction.second_factors_to_rotate(keys.current_key_id):
            librarian, kept = account.librarian, account.second_factor
            if kept is None:
                continue
            place = KeyUse.SECOND_FACTOR, librarian.library_id, librarian.librarian_id
            with suppress(KeyProblem):
                renewed = keys.encrypt(*place, keys.decrypt(*place, kept.secret))
                transaction.rotate_second_factor(librarian.librarian_id, kept.secret, renewed)

    def _end_what_is_over(self, transaction: Transaction) -> None:
        """End the sessions and requests that nobody came back for: their card numbers are wiped."""
        now = self._environment.clock()
        transaction.expire_link_requests(now)
        for session in transaction.overdue_sessions(now, now - FORGOTTEN_AFTER):
            transaction.close_session(session.session_id, now, "overdue")
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.SESSION_CLOSED,
                    session.library_id,
                    self._actor,
                    session.session_id,
                    terminal_id=session.terminal_id,
                    reason="overdue",
                )
            )
