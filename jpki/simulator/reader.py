"""A virtual card reader: a pcscd of one's own with vsmartcard's driver, and card processes on it.

Nothing of the system's pcscd is touched, and none need run; root is not needed either. The driver
listens on every network address, so where the kernel allows it, driver and cards are fenced into a
network namespace of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jpki.simulator.card import CardFaults, SimulatedCard
from jpki.simulator.host import INSERT_TIMEOUT, CardState
from jpki.simulator.vpcd import DEFAULT_PORT

PCSCD = Path("/usr/sbin/pcscd")
DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
SETPRIV = Path("/usr/bin/setpriv")
PID_DIRECTORY = Path("/run/pcscd")
"""Where pcscd insists on a directory for its pid file; root's pcscd makes it itself."""

READER_NAMES = ("Virtual PCD 00 00", "Virtual PCD 00 01")
"""The driver's two slots as PC/SC names them."""

START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0
_POLL_INTERVAL = 0.005
_PORTS = range(20_000, 32_767)
"""Below those that Linux gives out to whoever asks for any (``ip_local_port_range``)."""

_CONFIGURATION = """\
FRIENDLYNAME "Virtual PCD"
DEVICENAME /dev/null:{port:#06X}
LIBPATH {driver}
CHANNELID {port:#06X}
"""

_ENDED_WITH_US = (str(SETPRIV), "--pdeathsig", "TERM", "--")
"""Runs a command that the kernel ends with the thread that started it, also where that one is killed.

It stands behind nsenter: entering a user namespace would make the kernel forget the request.
"""

_ACTIVATED = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&0 0</dev/null'
"""Shell text that hands standard input to a command as systemd's socket activation would."""


class VirtualReaderUnavailable(Exception):
    """No virtual reader can run here; *package* is the Debian package that is missing, if one is."""

    def __init__(self, message: str, package: str | None = None) -> None:
        super().__init__(message)
        self.package = package


class VirtualReaderFailure(Exception):
    """pcscd or a card process did not do what it was asked; the text says which and why."""


class CardProcess:
    """A simulated card that runs beside a virtual reader. Made by ``VirtualReader.add_card``.

    Every method raises ``VirtualReaderFailure`` where the process is gone or says no.
    """

    def __init__(self, process: subprocess.Popen[bytes], control: Path) -> None:
        self._process = process
        self._control = control

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def insert(self) -> None:
        """Lay the card on the reader and return when the reader has powered it."""
        self._request(command="insert")

    def remove(self) -> None:
        """Take the card from the reader."""
        self._request(command="remove")

    def swap(self, card: SimulatedCard) -> None:
        """Take the card away and put *card* in its place; it is not laid down yet."""
        path = self._control.with_suffix(".swap")
        card.save(path)
        self._request(command="swap", card_file=str(path))

    def set_faults(self, faults: CardFaults) -> None:
        """Let the card misbehave from now on."""
        self._request(command="faults", faults=asdict(faults))

    def state(self) -> CardState:
        """Return the card's counters and its log."""
        return CardState(**self._request(command="state"))

    def kill(self) -> None:
        """End the process without warning, as if the card were torn away."""
        self._process.kill()
        self._process.wait(STOP_TIMEOUT)

    def stop(self) -> None:
        """End the process."""
        _stop(self._process)

    def _request(self, **request: Any) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(START_TIMEOUT + INSERT_TIMEOUT)
                control.connect(str(self._control))
                control.sendall(json.dumps(request).encode("utf-8") + b"\n")
                answer: dict[str, Any] = json.loads(control.makefile("rb").readline())
        except (OSError, ValueError) as error:
            raise VirtualReaderFailure(f"the card process does not answer: {error}") from error
        if not answer.pop("ok"):
            raise VirtualReaderFailure(str(answer["error"]))
        return answer


class VirtualReader:
    """A pcscd with two virtual readers, from ``with`` to the end of the block.

    Raises ``VirtualReaderUnavailable`` on entering where pcscd or its driver is not installed, and
    ``VirtualReaderFailure`` where pcscd does not start.

    ``environment`` is what a program must have in its environment to see these readers and no
    others; libpcsclite looks at it once in the life of a process. ``fenced`` says whether driver and
    cards are alone in their network; otherwise the driver's two ports are open to the network.

    Use it from one thread, and let that thread live: pcscd and the cards end with it, so that none is
    left over by a program that was killed.
    """

    names = READER_NAMES

    def __init__(self) -> None:
        self.fenced = False
        self._port = DEFAULT_PORT
        self._fence: subprocess.Popen[bytes] | None = None
        self._enter_fence: list[str] = []
        self._service: subprocess.Popen[bytes] | None = None
        self._cards: list[CardProcess] = []
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        require_installed()
        with contextlib.ExitStack() as resources:
            # A short path: the name of a unix socket has at most 107 bytes.
            directory = tempfile.TemporaryDirectory(prefix="jpki-reader-")
            self._directory = Path(resources.enter_context(directory))
            resources.callback(self._stop_all)
            self._raise_fence()
            if not self.fenced:
                self._port = _free_port_pair()
            (self._directory / "conf").mkdir()
            self.start_service()
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._resources.close()

    @property
    def environment(self) -> dict[str, str]:
        """The variable that leads PC/SC programs to this pcscd."""
        return {"PCSCLITE_CSOCK_NAME": str(self._directory / "pcscd.comm")}

    @property
    def log(self) -> str:
        """What pcscd has written. It holds no APDUs."""
        return (self._directory / "pcscd.log").read_text(encoding="utf-8", errors="replace")

    def add_card(self, card: SimulatedCard, slot: int = 0) -> CardProcess:
        """Start a process for *card* that can lay it on the reader ``names[slot]``."""
        number = len(self._cards)
        card_file = self._directory / f"card-{number}.json"
        control = self._directory / f"card-{number}.control"
        card.save(card_file)
        command = [
            *self._enter_fence,
            *_ENDED_WITH_US,
            *(sys.executable, "-m", "jpki.simulator"),
            *("--card-file", str(card_file)),
            *("--vpcd", f"127.0.0.1:{self._port + slot}"),
            *("--control", str(control)),
        ]
        packages = str(Path(__file__).resolve().parents[2])
        search_path = os.pathsep.join(filter(None, (packages, os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": search_path}
        )
        self._cards.append(CardProcess(process, control))
        _wait_until(control.exists, process, "the card process")
        return self._cards[-1]

    def start_service(self, *, with_reader: bool = True) -> None:
        """Start pcscd, again after ``stop_service`` or ``kill_service``; without a reader if wanted."""
        configuration = self._directory / "conf" / "vpcd"
        configuration.unlink(missing_ok=True)
        if with_reader:
            configuration.write_text(_CONFIGURATION.format(port=self._port, driver=DRIVER))
        address = self._directory / "pcscd.comm"
        address.unlink(missing_ok=True)
        log = self._directory / "pcscd.log"
        # The listening socket is pcscd's alone: with a copy here, callers of a dead pcscd would wait.
        with socket.socket(socket.AF_UNIX) as listener, log.open("wb") as output:
            listener.bind(str(address))
            listener.listen(16)
            command = [str(PCSCD), "--foreground", "--info", "--config", str(configuration.parent)]
            self._service = subprocess.Popen(
                [*self._enter_fence, *_ENDED_WITH_US, "/bin/sh", "-c", _ACTIVATED, "sh", *command],
                stdin=listener.fileno(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        _wait_until(lambda: "daemon ready" in self.log, self._service, "pcscd")

    def stop_service(self) -> None:
        """End pcscd in good order; the cards live on."""
        if self._service is not None:
            _stop(self._service)
            self._service = None

    def kill_service(self) -> None:
        """End pcscd without warning."""
        if self._service is not None:
            self._service.kill()
            self._service.wait(STOP_TIMEOUT)
            self._service = None

    def _raise_fence(self) -> None:
        """Open a network namespace, as root or in a user namespace, if the kernel allows it."""
        unshare, nsenter = shutil.which("unshare"), shutil.which("nsenter")
        if unshare is None or nsenter is None:
            return
        script = str(Path(__file__).with_name("fence.py"))
        for namespaces, credentials in ((["-n"], []), (["-r", "-n"], ["-U", "--preserve-credentials"])):
            fence = subprocess.Popen(
                [unshare, *namespaces, "--", sys.executable, "-I", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            if fence.stdout is not None and fence.stdout.readline() == b"ready\n":
                self._fence = fence
                self._enter_fence = [nsenter, "-t", str(fence.pid), *credentials, "-n", "--"]
                self.fenced = True
                return
            _stop(fence)

    def _stop_all(self) -> None:
        for card in self._cards:
            card.stop()
        self.stop_service()
        if self._fence is not None:
            _stop(self._fence)


def require_installed() -> None:
    """Raise ``VirtualReaderUnavailable`` where this machine cannot run a virtual reader."""
    for path, package in ((PCSCD, "pcscd"), (DRIVER, "vsmartcard-vpcd"), (SETPRIV, "util-linux")):
        if not path.exists():
            raise VirtualReaderUnavailable(
                f"{path} is missing: install the Debian package {package}", package
            )
    if os.geteuid() != 0 and not PID_DIRECTORY.is_dir():
        raise VirtualReaderUnavailable(
            f"{PID_DIRECTORY} is missing, and only root can make it: mkdir {PID_DIRECTORY}"
        )


def _free_port_pair() -> int:
    """Return a port that is free together with the next one; the driver takes both."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("", port))
            second.bind(("", port + 1))
            return port


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if process.poll() is not None:
            raise VirtualReaderFailure(f"{what} ended at once with code {process.returncode}")
        if time.monotonic() > deadline:
            raise VirtualReaderFailure(f"{what} was not ready within {START_TIMEOUT} seconds")
        time.sleep(_POLL_INTERVAL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, and reap it."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT)
