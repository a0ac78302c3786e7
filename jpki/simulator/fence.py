"""Hold a network namespace open: bring up its loopback, say so, wait until standard input ends.

Run as a script under ``unshare``. It imports nothing of the project, so that it starts at once.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys

_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914  # SIOCGIFFLAGS, SIOCSIFFLAGS, linux/sockios.h
_UP = 0x1  # IFF_UP, linux/if.h
_REQUEST = "16sh14x"  # struct ifreq with ifr_flags


def bring_up(interface: bytes) -> None:
    """Set a network interface up, as ``ip link set <interface> up`` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _GET_FLAGS, struct.pack(_REQUEST, interface, 0))
        _, flags = struct.unpack(_REQUEST, answer)
        fcntl.ioctl(control, _SET_FLAGS, struct.pack(_REQUEST, interface, flags | _UP))


if __name__ == "__main__":
    bring_up(b"lo")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
