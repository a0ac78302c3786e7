"""All services as one value: what the API and the admin are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.staff import StaffService
from bridge.administration import AdministrationService
from bridge.borrowing import BorrowingService
from bridge.counter.identification import IdentificationService
from bridge.counter.koha_desk import DeskService
from bridge.links.bulk_unlinking import BulkUnlinkingService
from bridge.links.consent_service import ConsentService
from bridge.patrons.category import CategoryService
from bridge.ports import Clock
from bridge.registration import RegistrationService
from bridge.statistics import StatisticsService
from bridge.terminals.enrolment import EnrolmentService
from bridge.terminals.service import TerminalService


@dataclass(frozen=True)
class Services:
    """The services, and the names of the libraries by id.

    ``koha_staff_urls`` gives, by library id, the origin of Koha's staff pages where one is known.
    """

    registration: RegistrationService
    consent: ConsentService
    identification: IdentificationService
    borrowing: BorrowingService
    staff: StaffService
    own_account: OwnAccountService
    enrolment: EnrolmentService
    terminals: TerminalService
    categories: CategoryService
    bulk_unlinking: BulkUnlinkingService
    administration: AdministrationService
    statistics: StatisticsService
    library_names: Mapping[str, str]
    clock: Clock
    desk: DeskService
    koha_staff_urls: Mapping[str, str] = field(default_factory=dict)
