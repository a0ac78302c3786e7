"""A simulated ACS (Koha's SIP server) for demonstrations and tests; nothing in service imports it."""

from sip2_adapter.simulator.account import Account, Encoding, Policy
from sip2_adapter.simulator.acs import SimulatedAcs
from sip2_adapter.simulator.backend import (
    AcsItem,
    AcsPatron,
    CheckinOutcome,
    HoldOutcome,
    LibraryBackend,
    LoanOutcome,
)
from sip2_adapter.simulator.faults import Fault, recurring

__all__ = [
    "Account",
    "AcsItem",
    "AcsPatron",
    "CheckinOutcome",
    "Encoding",
    "Fault",
    "HoldOutcome",
    "LibraryBackend",
    "LoanOutcome",
    "Policy",
    "SimulatedAcs",
    "recurring",
]
