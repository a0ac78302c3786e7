"""Where the machines of a library connect, and what they are allowed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Final

from sip2_adapter.addresses import IpAddress, IpNetwork, is_within
from sip2_adapter.framing import DEFAULT_FRAME_LIMIT, Terminator
from sip2_adapter.observer import LoginRefusal
from sip2_adapter.tls import ClientTls


@dataclass(frozen=True)
class Listener:
    """A port for the machines of one library, and the ACS behind it.

    Listeners on the same host and port share it: the log-in then decides which library a machine is
    of. They must agree in ``terminator``, ``tls`` and ``trusted_proxies``, and each must name its machines.

    * ``terminator`` is what the machines expect at the end of an answer; LF is for machines that send
      no CR.
    * ``tls`` encrypts the machines' side, ``upstream_tls`` that of the ACS.
    * ``trusted_proxies`` are the load balancers that may connect, and must begin with a PROXY header.
    * ``networks`` is where machines may be; empty: anywhere.
    * ``machines`` are known by their log-in (CN), each with the networks where it may be; empty:
      wherever ``networks`` allows. With ``known_machines_only`` nobody else may log in.
    """

    name: str
    host: str
    port: int
    upstream_host: str
    upstream_port: int
    terminator: Terminator = Terminator.CR
    tls: SSLContext | None = None
    upstream_tls: ClientTls | None = None
    trusted_proxies: tuple[IpNetwork, ...] = ()
    networks: tuple[IpNetwork, ...] = ()
    machines: Mapping[str, tuple[IpNetwork, ...]] = field(default_factory=dict)
    known_machines_only: bool = False

    def allows_address(self, address: IpAddress) -> bool:
        """Say whether a machine of the library may be at *address*."""
        return not self.networks or is_within(address, self.networks)

    def login_refusal(self, login: str, address: IpAddress) -> LoginRefusal | None:
        """Say why a machine at *address* may not log in as *login*, None if it may.

        Koha finds an account in any case of letters, so that a known log-in in another spelling is
        nobody's: it would be the same machine without what is bound to its name.
        """
        if login not in self.machines:
            same = login.strip().casefold()
            spelt_otherwise = any(known.casefold() == same for known in self.machines)
            if self.known_machines_only or spelt_otherwise:
                return LoginRefusal.UNKNOWN_LOGIN
        networks = self.machines.get(login, ())
        if not self.allows_address(address) or (networks and not is_within(address, networks)):
            return LoginRefusal.WRONG_ADDRESS
        return None


def share_a_port(listeners: Sequence[Listener]) -> bool:
    """Say whether *listeners*, all on the same host and port, can be told apart by log-in."""
    logins = [login.casefold() for listener in listeners for login in listener.machines]
    ports = {(each.terminator, each.tls, each.trusted_proxies) for each in listeners}
    all_known = all(listener.known_machines_only for listener in listeners)
    return len(ports) == 1 and all_known and len(set(logins)) == len(logins)


@dataclass(frozen=True)
class ProxyLimits:
    """Times in seconds, sizes in bytes.

    ``answer_timeout`` must be shorter than the machines' own time-out. ``idle_timeout`` must be
    longer than their status interval (5 to 7 minutes are usual). ``patron_idle_timeout`` ends the
    session of a patron who walked away. ``retry_window`` is how long a request that is sent again
    counts as a repetition. ``keepalive_interval`` must be shorter than the ACS's own idle limit
    (Koha: ``client_timeout``): after so long without a request the ACS is asked for its status.

    ``login_timeout`` is how long a connection may last without a log-in, ``frame_timeout`` how long a
    frame may take once it has begun, ``handshake_timeout`` the PROXY header and the TLS handshake.
    ``garbage_limit`` is how many frames in a minute may be no message at all.
    """

    answer_timeout: float = 20.0
    login_timeout: float = 30.0
    idle_timeout: float = 900.0
    patron_idle_timeout: float = 120.0
    retry_window: float = 60.0
    keepalive_interval: float = 240.0
    frame_limit: int = DEFAULT_FRAME_LIMIT
    frame_timeout: float = 10.0
    handshake_timeout: float = 10.0
    garbage_limit: int = 30


@dataclass(frozen=True)
class ConnectionLimits:
    """How many machines may be connected, in all and from one address."""

    total: int = 4096
    per_address: int = 256


DEFAULT_LIMITS: Final = ProxyLimits()
DEFAULT_CONNECTION_LIMITS: Final = ConnectionLimits()
