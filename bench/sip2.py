"""The SIP2 proxy against HAProxy (TCP mode, one thread), before the same library system, in the same run.

The proxy is the product's own, by its own command and at its usual settings: with its rules, its
counters, a line in the log for each request (into a file) and its database, in which a patron has a
session at each machine. Library system and machines are one small C program each
(``sip2_peer.c``), so that what stands between them is what is measured. That has one CPU of its own,
HAProxy and the proxy alike, and the two ends share another.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection, create_server
from statistics import median
from typing import IO

from bench.figure import Figure
from bench.sip2_proxy import Patrons, prepare

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
"""How long the proxy runs at full rate while its memory is watched."""

_ROUNDS = 7
_LOAD = 64
_IDLE = 2000
_SOURCE = Path(__file__).with_name("sip2_peer.c")
_HAPROXY = """\
global
    nbthread 1
    maxconn 200
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen sip2
    bind 127.0.0.1:{port}
    server acs 127.0.0.1:{acs_port}
"""


@dataclass(frozen=True)
class Load:
    """What the machines saw: how many there were, and nanoseconds until an answer."""

    connections: int
    p50: int
    p99: int

    @property
    def rate(self) -> float:
        """Answers a second while nothing else takes the CPU: each machine asks again at once.

        Not a count over the wall clock. Where other programs run, that count falls for both sides by
        chance, and has shown the proxy as fast as HAProxy; the median answer time hardly moves.
        """
        return self.connections / self.p50 * 1e9


def measure() -> Iterator[Figure]:
    """Yield the figures of the SIP2 proxy."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # those we start inherit it
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peer = _compiled(folder)
        acs = stack.enter_context(_started([peer, "acs", "0"], cpu=1))
        acs_port = _port(acs)
        haproxy = stack.enter_context(_haproxy(folder, acs_port))
        proxy, ours, patrons = stack.enter_context(_proxy(folder / "busy", acs_port))

        def load_us(connections: int, seconds: float) -> Load:
            patrons.sit_down()
            return _load(peer, ours, connections, seconds)

        load_us(_LOAD, 1), _load(peer, haproxy, _LOAD, 1)
        # By turns, so that both see the same machine.
        rates = [load_us(_LOAD, 1).rate / _load(peer, haproxy, _LOAD, 1).rate for _ in range(_ROUNDS)]
        yield Figure("sip2.throughput_vs_haproxy", median(rates), "ratio", 0.5, "higher")

        direct, through_haproxy, through_us = (
            list(loads)
            for loads in zip(
                *(
                    (_load(peer, acs_port, 1, 1), _load(peer, haproxy, 1, 1), load_us(1, 1))
                    for _ in range(_ROUNDS)
                ),
                strict=True,
            )
        )
        alone = median(load.p50 for load in direct)
        added = median(load.p50 for load in through_us) - alone
        added_by_haproxy = median(load.p50 for load in through_haproxy) - alone
        yield Figure("sip2.added_p50_vs_haproxy", added / added_by_haproxy, "ratio", 3, "lower")
        p99 = median(load.p99 for load in through_us) / median(load.p99 for load in through_haproxy)
        yield Figure("sip2.p99_vs_haproxy", p99, "ratio", 2, "lower")

        with _proxy(folder / "idle", acs_port) as (fresh, port, _):
            idle = [peer, "kiosks", str(port), str(_IDLE), "0", "60"]
            with _started(idle, cpu=1) as machines:
                _line(machines)
                yield Figure("sip2.idle_2000_mb", _resident_mb(fresh.pid), "MB", 150, "lower")

        load_us(_LOAD, 5)
        before = _resident_mb(proxy.pid)
        load_us(_LOAD, SOAK_SECONDS)
        yield Figure("sip2.soak_growth_mb", _resident_mb(proxy.pid) - before, "MB", 5, "lower")


def _compiled(folder: Path) -> str:
    program = folder / "sip2_peer"
    subprocess.run(["gcc", "-O2", "-Wall", "-o", program, _SOURCE], check=True)
    return str(program)


@contextmanager
def _started(command: list[str], *, cpu: int, log: IO[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    pinned = ["taskset", "-c", str(cpu), *command] if (os.cpu_count() or 1) > 1 else command
    with subprocess.Popen(pinned, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _haproxy(folder: Path, acs_port: int) -> Iterator[int]:
    """Start HAProxy and yield its port."""
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = folder / "haproxy.cfg"
    settings.write_text(_HAPROXY.format(port=port, acs_port=acs_port))
    with _started(["haproxy", "-f", str(settings), "-db", "-q"], cpu=0):
        deadline = time.monotonic() + 10
        while True:
            try:
                create_connection(("127.0.0.1", port)).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                break
        yield port


@contextmanager
def _proxy(folder: Path, acs_port: int) -> Iterator[tuple[subprocess.Popen[str], int, Patrons]]:
    """Start the product's proxy in *folder*; yield process, port and patrons."""
    command, patrons = prepare(folder, acs_port, _LOAD)
    with (folder / "log").open("w") as log, _started(command, cpu=0, log=log) as process:
        yield process, int(_line(process).rsplit(":", 1)[1]), patrons


def _line(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError(f"{process.args!r} ended")
    return line


def _port(process: subprocess.Popen[str]) -> int:
    return int(_line(process))


def _load(peer: str, port: int, connections: int, seconds: float) -> Load:
    """Let machines ask for *seconds*; raises ``RuntimeError`` when one got a wrong answer."""
    with _started([peer, "kiosks", str(port), str(connections), str(seconds)], cpu=1) as machines:
        _, p50, p99 = map(int, _line(machines).split())
    return Load(connections, p50, p99)


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]
    return int(kilobytes) / 1024
