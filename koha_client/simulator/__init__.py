"""A Koha of our own, for the demo, the tests and vendors' trials: people and books, and its REST API."""

from koha_client.simulator.demo_data import DemoItem, DemoPatron, demo_state
from koha_client.simulator.entities import (
    AttributeType,
    Block,
    Branch,
    Category,
    CheckInResult,
    Hold,
    Item,
    Loan,
    LoanResult,
    PatronAttribute,
    SimulatedPatron,
)
from koha_client.simulator.rest import KohaRestServer
from koha_client.simulator.state import KohaState
from koha_client.versions import EDIT_BORROWERS, LIST_BORROWERS

__all__ = [
    "EDIT_BORROWERS",
    "LIST_BORROWERS",
    "AttributeType",
    "Block",
    "Branch",
    "Category",
    "CheckInResult",
    "DemoItem",
    "DemoPatron",
    "Hold",
    "Item",
    "KohaRestServer",
    "KohaState",
    "Loan",
    "LoanResult",
    "PatronAttribute",
    "SimulatedPatron",
    "demo_state",
]
