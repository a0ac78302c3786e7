"""The steps in the life of a link, each with its reason, its actor and its line in the audit log.

Every function works in the caller's transaction, so that a step and what follows from it are one.
Which step is possible from which state stands in ``bridge.rules.LINK_STEPS``. A step is safe to do twice:
the second finds another state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from bridge.environment import Environment
from bridge.errors import Denied, LinkNotFound
from bridge.models import (
    Actor,
    AuditTag,
    BulkUnlinkReason,
    CardLink,
    LinkEndReason,
    SuspensionReason,
    UnlinkReason,
)
from bridge.ports import Transaction
from bridge.rules import STAFF_SUSPENSIONS, DenialReason, LinkStep, judge_step
from jpki.revocation import RevocationAnswer


def suspend_revoked(
    environment: Environment,
    transaction: Transaction,
    library_id: str,
    answers: Mapping[str, RevocationAnswer],
    actor: Actor,
) -> Collection[str]:
    """Suspend links of a library whose certificates are revoked, as *answers* says for each link.

    Return those that were active until now. What is kept of an answer is the same for most of many
    links, so that they are written at once.
    """
    alike = defaultdict(list)
    for link_id, answer in answers.items():
        alike[answer.source, answer.as_of, answer.reason].append(link_id)
    suspended: set[str] = set()
    for (source, _, why), link_ids in alike.items():
        details = {"source": source} if why is None else {"source": source, "why": why}
        suspended |= _suspend(
            environment,
            transaction,
            library_id,
            link_ids,
            SuspensionReason.CERTIFICATE_REVOKED,
            actor,
            answers[link_ids[0]],
            **details,
        )
    return suspended


def suspend(
    environment: Environment,
    transaction: Transaction,
    library_id: str,
    link_id: str,
    reason: SuspensionReason,
    actor: Actor,
) -> bool:
    """Suspend an active link, and end the sessions that run on it; say whether it was active."""
    return bool(_suspend(environment, transaction, library_id, [link_id], reason, actor))


def restore(
    environment: Environment,
    transaction: Transaction,
    library_id: str,
    link_id: str,
    actor: Actor,
    reasons: frozenset[SuspensionReason] = STAFF_SUSPENSIONS,
) -> CardLink:
    """Let a link that was suspended for one of *reasons* be used again.

    Raises ``LinkNotFound``, and ``Denied`` where it is not suspended, or for another reason.
    """
    link = transaction.restore_link(library_id, link_id, reasons)
    if link is None:
        found = transaction.find_link(library_id, link_id)
        if found is None:
            raise LinkNotFound
        decision = judge_step(found.state, LinkStep.RESTORE)
        if decision.denial is None:
            raise Denied(DenialReason.LINK_SUSPENDED, found.suspended_reason)
        raise Denied(decision.denial)
    transaction.add_audit_event(environment.event(AuditTag.LINK_RESTORED, library_id, actor, link_id))
    return link


def end(
    environment: Environment,
    transaction: Transaction,
    library_id: str,
    link_id: str,
    reason: UnlinkReason | BulkUnlinkReason | LinkEndReason,
    actor: Actor,
    **details: str,
) -> CardLink:
    """End a link and the sessions that run on it; what identifies the card is wiped.

    *details* stand in the audit log beside the reason. Raises ``LinkNotFound`` where there is none, or it
    has ended.
    """
    link = transaction.end_link(library_id, link_id, reason.value, environment.clock())
    transaction.add_audit_event(
        environment.event(AuditTag.LINK_ENDED, library_id, actor, link_id, reason=reason.value, **details)
    )
    _close_sessions(environment, transaction, library_id, [link_id], DenialReason.LINK_ENDED, actor)
    return link


def _suspend(
    environment: Environment,
    transaction: Transaction,
    library_id: str,
    link_ids: Sequence[str],
    reason: SuspensionReason,
    actor: Actor,
    answer: RevocationAnswer | None = None,
    **details: str,
) -> frozenset[str]:
    suspended = transaction.suspend_links(library_id, link_ids, reason, environment.clock(), answer)
    for link_id in link_ids:
        if link_id in suspended:
            transaction.add_audit_event(
                environment.event(
                    AuditTag.LINK_SUSPENDED, library_id, actor, link_id, reason=reason.value, **details
                )
            )
    _close_sessions(environment, transaction, library_id, suspended, DenialReason.LINK_SUSPENDED, actor)
    return suspended


def _close_sessions(
    environment: Environment,
    transaction: Transaction,
    library_id: str,
    link_ids: Collection[str],
    reason: DenialReason,
    actor: Actor,
) -> None:
    for session in transaction.open_sessions_of_links(link_ids):
        transaction.close_session(session.session_id, environment.clock(), reason.value)
        transaction.add_audit_event(
            environment.event(
                AuditTag.SESSION_CLOSED,
                library_id,
                actor,
                session.session_id,
                terminal_id=session.terminal_id,
                reason=reason.value,
            )
        )
