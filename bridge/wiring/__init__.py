"""Settings -> running parts. The one place where concrete parts are chosen and put together.

One module for each kind of process (``server``, ``proxy``, ``commands``), over what they share. Everything
here refuses to start rather than to start wrong: ``StoreProblem`` for a database of another version,
``KeyProblem`` for a wrong key, ``TrustFileRefused`` for a CA that is not pinned.
"""

from __future__ import annotations

from bridge.wiring.accounts import build_desk, build_staff
from bridge.wiring.clock import now
from bridge.wiring.commands import (
    build_audit,
    build_categories,
    build_consent,
    build_enrolment,
    build_housekeeping,
    build_key_rotation,
    build_link_records,
    build_link_transfer,
    build_sweep,
)
from bridge.wiring.environment import check_keys
from bridge.wiring.findings import find_limitations, find_problems, find_warnings
from bridge.wiring.libraries import build_koha_client
from bridge.wiring.proxy import build_audit_reader, build_proxy, read_terminals
from bridge.wiring.revocation import build_card_policy, load_trust_store
from bridge.wiring.server import Bridge, build_bridge
from bridge.wiring.tls import build_koha_tls

__all__ = [
    "Bridge",
    "build_audit",
    "build_audit_reader",
    "build_bridge",
    "build_card_policy",
    "build_categories",
    "build_consent",
    "build_desk",
    "build_enrolment",
    "build_housekeeping",
    "build_key_rotation",
    "build_koha_client",
    "build_koha_tls",
    "build_link_records",
    "build_link_transfer",
    "build_proxy",
    "build_staff",
    "build_sweep",
    "check_keys",
    "find_limitations",
    "find_problems",
    "find_warnings",
    "load_trust_store",
    "now",
    "read_terminals",
]
