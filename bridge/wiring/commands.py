"""The single services that commands run. But for the sweep, none needs CAs or a source of revocation."""

from __future__ import annotations

from datetime import timedelta

from bridge.audit.log import AuditService
from bridge.housekeeping import Housekeeping
from bridge.keys.rotation import KeyRotation
from bridge.links.bulk_unlinking import BulkUnlinkingService, at_once
from bridge.links.consent_service import ConsentService
from bridge.links.records import LinkRecordService
from bridge.links.transfer import LinkTransferService
from bridge.models import Actor
from bridge.patrons.category import CategoryService
from bridge.revocation.sweep import RevocationSweep
from bridge.terminals.enrolment import EnrolmentService
from bridge.wiring.environment import build_environment, lay_foundation, let_others_write
from bridge.wiring.policies import identifier_forms, revocation_rules
from bridge.wiring.revocation import load_trust_store, sweep_sources
from config import Settings


def build_enrolment(settings: Settings) -> EnrolmentService:
    """Return the service that draws codes for terminals."""
    return EnrolmentService(build_environment(settings))


def build_consent(settings: Settings) -> ConsentService:
    """Return the service that knows what patrons agree to."""
    return ConsentService(build_environment(settings))


def build_categories(settings: Settings) -> CategoryService:
    """Return the service that moves patrons between categories."""
    return CategoryService(build_environment(settings))


def build_housekeeping(settings: Settings, actor: Actor) -> Housekeeping:
    """Return the service that ends and deletes what is over."""
    environment = build_environment(settings)
    categories = CategoryService(environment)
    return Housekeeping(
        environment,
        categories,
        BulkUnlinkingService(environment, categories, at_once, let_others_write),
        actor,
        account_gone=timedelta(days=settings.links.account_gone_days),
        session_retention=timedelta(days=settings.links.session_retention_days),
        idle_limit=timedelta(seconds=settings.tokens.idle_seconds),
    )


def build_audit(settings: Settings) -> AuditService:
    """Return the service that checks and exports the audit logs."""
    environment, store = lay_foundation(settings)
    return AuditService(environment, store.audit_log())


def build_key_rotation(settings: Settings, actor: Actor, *, confirm: bool = True) -> KeyRotation:
    """Return the service that goes over to another master key.

    Without *confirm* it is made also where a key is missing, so that one can be looked at or retired.
    """
    return KeyRotation(build_environment(settings, confirm=confirm), actor)


def build_link_records(settings: Settings) -> LinkRecordService:
    """Return the service by which commands look at links and end them."""
    environment = build_environment(settings)
    return LinkRecordService(environment, CategoryService(environment))


def build_link_transfer(settings: Settings) -> LinkTransferService:
    """Return the service that brings links of other systems in, and gives them out."""
    return LinkTransferService(build_environment(settings), identifier_forms(settings.identifiers))


def build_sweep(settings: Settings, actor: Actor) -> RevocationSweep:
    """Return the sweep of all links; it asks the sources of ``[revocation]`` that know by serial number."""
    return RevocationSweep(
        build_environment(settings),
        load_trust_store(settings),
        sweep_sources(settings.revocation),
        revocation_rules(settings),
        actor,
    )
