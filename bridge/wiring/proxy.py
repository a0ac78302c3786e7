"""What the SIP2 proxy runs, and what it watches beside it."""

from __future__ import annotations

from collections.abc import Callable
from ssl import SSLContext
from zoneinfo import ZoneInfo

from bridge.models import Terminal
from bridge.ports import AuditReader
from bridge.resolver import TokenResolver
from bridge.wiring.accounts import build_staff
from bridge.wiring.clock import clock_in, now
from bridge.wiring.environment import lay_foundation
from bridge.wiring.policies import machine_policies
from bridge.wiring.server import build_bridge
from bridge.wiring.tls import build_koha_tls, build_server_tls
from config import LibrarySettings, Settings, Sip2Settings
from sip2_adapter.framing import Terminator
from sip2_adapter.listener import ConnectionLimits, Listener, ProxyLimits
from sip2_adapter.observer import ProxyObserver
from sip2_adapter.proxy import Sip2Proxy


def build_proxy(settings: Settings, observer: ProxyObserver | None = None) -> Sip2Proxy | None:
    """Return the SIP2 proxy, not started, for every library with self-check machines; None without any.

    *observer* counts what they do. Raises ``TlsProblem``.
    """
    if not any(library.sip2 for library in settings.libraries):
        return None
    bridge = build_bridge(settings)
    changes = bridge.store.change_counter()
    limits = settings.sip2
    connections = ConnectionLimits(limits.maximum_connections, limits.maximum_connections_per_address)
    proxy = Sip2Proxy(connections=connections, observer=observer)
    server_contexts: dict[object, SSLContext | None] = {}
    for library in settings.libraries:
        sip2 = library.sip2
        if sip2 is None:
            continue
        files = sip2.certificate_file, sip2.key_file, sip2.machine_authority_file
        if files not in server_contexts:  # libraries that share a port share this, too
            server_contexts[files] = build_server_tls(sip2)
        time_zone = ZoneInfo(library.time_zone)
        resolver = TokenResolver(
            bridge.services.borrowing,
            machine_policies(library, sip2),
            changes,
            clock=now,
            time_zone=time_zone,
        )
        proxy.add_library(
            _listener(library, sip2, server_contexts[files]),
            resolver,
            limits=_proxy_limits(settings, sip2),
            screen_of=resolver.screen_of,
            clock=clock_in(time_zone),
        )
    return proxy


def _listener(library: LibrarySettings, sip2: Sip2Settings, tls: SSLContext | None) -> Listener:
    return Listener(
        name=library.library_id,  # the resolver reads the library from it
        host=sip2.listen_host,
        port=sip2.listen_port,
        upstream_host=sip2.koha_host,
        upstream_port=sip2.koha_port,
        terminator=Terminator[sip2.terminator],
        tls=tls,
        upstream_tls=build_koha_tls(sip2),
        trusted_proxies=sip2.trusted_proxies or (),
        networks=sip2.machine_networks or (),
        machines={machine.sip2_login: machine.networks or () for machine in library.self_check},
        known_machines_only=sip2.known_machines_only,
    )


def _proxy_limits(settings: Settings, sip2: Sip2Settings) -> ProxyLimits:
    everywhere = settings.sip2
    return ProxyLimits(
        answer_timeout=sip2.answer_timeout_seconds,
        idle_timeout=sip2.idle_timeout_seconds,
        keepalive_interval=sip2.keepalive_seconds,
        patron_idle_timeout=settings.tokens.idle_seconds,
        login_timeout=everywhere.login_timeout_seconds,
        frame_timeout=everywhere.frame_timeout_seconds,
        handshake_timeout=everywhere.handshake_timeout_seconds,
        frame_limit=everywhere.frame_limit_bytes,
        garbage_limit=everywhere.garbage_limit,
    )


def build_audit_reader(settings: Settings) -> AuditReader:
    """Return what reads the audit logs, for whoever counts in them."""
    return lay_foundation(settings).store.audit_log()


def read_terminals(settings: Settings) -> Callable[[], list[Terminal]]:
    """Return what reads the terminals of all libraries, for whoever watches over them."""
    staff = build_staff(settings)
    return lambda: [each for library in settings.libraries for each in staff.terminals(library.library_id)]
