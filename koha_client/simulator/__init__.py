"""A Koha of our own, for the demo and the tests: people and books, and its REST API."""

from koha_client.simulator.demo_data import DemoItem, DemoPatron, demo_state
from koha_client.simulator.rest import EDIT_BORROWERS, LIST_BORROWERS, KohaRestServer
from koha_client.simulator.state import (
    Block,
    Category,
    CheckInResult,
    Item,
    KohaState,
    Loan,
    LoanResult,
    SimulatedPatron,
)

__all__ = [
    "EDIT_BORROWERS",
    "LIST_BORROWERS",
    "Block",
    "Category",
    "CheckInResult",
    "DemoItem",
    "DemoPatron",
    "Item",
    "KohaRestServer",
    "KohaState",
    "Loan",
    "LoanResult",
    "SimulatedPatron",
    "demo_state",
]
