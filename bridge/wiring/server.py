"""What the web server runs: all services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

from sqlalchemy.orm import Session, scoped_session

from bridge.administration import AdministrationService
from bridge.borrowing import USE_WRITTEN_WITHIN, BorrowingService
from bridge.counter.identification import IdentificationService
from bridge.counter.koha_desk import DeskService
from bridge.links.bulk_unlinking import BulkUnlinkingService
from bridge.links.consent_service import ConsentService
from bridge.patrons.category import CategoryService
from bridge.registration import RegistrationService
from bridge.services import Services
from bridge.statistics import StatisticsService
from bridge.store import SqlStore
from bridge.terminals.enrolment import EnrolmentService
from bridge.terminals.service import TerminalService
from bridge.verification import CardVerification
from bridge.wiring.accounts import own_account_over, staff_over
from bridge.wiring.environment import lay_foundation, let_others_write
from bridge.wiring.policies import library_policies, token_policy
from bridge.wiring.revocation import build_card_policy, read_crl_heads
from config import Settings, describe_library


@dataclass(frozen=True)
class Bridge:
    """The services, and the session in which the admin's lists read the database."""

    services: Services
    session_factory: scoped_session[Session]
    store: SqlStore


def build_bridge(settings: Settings) -> Bridge:
    """Return the services that *settings* describe."""
    environment, store = lay_foundation(settings)
    verification = CardVerification(environment, build_card_policy(settings))
    categories = CategoryService(environment)
    staff, enrolment = staff_over(environment), EnrolmentService(environment)
    borrowing = BorrowingService(environment, verification, token_policy(settings))
    own_account = own_account_over(settings, environment, staff)
    consent = ConsentService(environment)
    services = Services(
        registration=RegistrationService(environment, verification, categories),
        consent=consent,
        identification=IdentificationService(environment, verification),
        borrowing=borrowing,
        staff=staff,
        own_account=own_account,
        enrolment=enrolment,
        terminals=TerminalService(environment, borrowing.idle_limit + USE_WRITTEN_WITHIN),
        categories=categories,
        bulk_unlinking=BulkUnlinkingService(environment, categories, _in_background, let_others_write),
        administration=AdministrationService(
            environment,
            staff,
            enrolment,
            consent,
            {library.library_id: describe_library(library) for library in settings.libraries},
            {library.library_id: library_policies(settings, library) for library in settings.libraries},
        ),
        statistics=StatisticsService(environment, read_crl_heads(settings.revocation)),
        library_names={library.library_id: library.name for library in settings.libraries},
        clock=environment.clock,
        desk=DeskService(environment, staff, own_account),
        koha_staff_urls={
            library.library_id: library.koha_origins[0]
            for library in settings.libraries
            if library.koha_origins
        },
    )
    return Bridge(services, store.scoped_session(), store)


def _in_background(work: Callable[[], None]) -> None:
    """Run *work* beside the requests. It ends with the program, whatever it has left to do."""
    Thread(target=work, name="bulk-unlinking", daemon=True).start()
