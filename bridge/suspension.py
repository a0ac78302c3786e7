"""Suspending the link of a certificate that is revoked: found at a use, or by the sweep."""

from __future__ import annotations

from bridge.environment import Environment
from bridge.models import Actor, AuditTag
from bridge.ports import Transaction
from bridge.rules import DenialReason
from jpki.revocation import RevocationAnswer


def suspend(
    environment: Environment,
    transaction: Transaction,
    library_id: str,
    link_id: str,
    answer: RevocationAnswer,
    actor: Actor,
) -> bool:
    """Suspend an active link for what *answer* says, and end the sessions that run on it.

    Say whether the link was active; nothing happens to any other, so that it is safe to do twice.
    """
    now = environment.clock()
    if not transaction.suspend_link(link_id, answer, DenialReason.CERTIFICATE_REVOKED.value, now):
        return False
    details = {"reason": DenialReason.CERTIFICATE_REVOKED.value, "source": answer.source}
    if answer.reason is not None:
        details["why"] = answer.reason
    transaction.add_audit_event(
        environment.event(AuditTag.LINK_SUSPENDED, library_id, actor, link_id, **details)
    )
    for session in transaction.open_sessions_of_link(link_id):
        transaction.close_session(session.session_id, now, DenialReason.LINK_SUSPENDED.value)
        transaction.add_audit_event(
            environment.event(
                AuditTag.SESSION_CLOSED,
                library_id,
                actor,
                session.session_id,
                terminal_id=session.terminal_id,
                reason=DenialReason.LINK_SUSPENDED.value,
            )
        )
    return True
