"""Processes that the demo starts and stops, each by its own id."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_768)
"""Below those that Linux gives out to whoever asks for any (``ip_local_port_range``)."""
START_SECONDS = 60.0
STOP_SECONDS = 10.0


class PartFailedError(Exception):
    """A part did not start; the text ends with the last lines of its log."""


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on, and that the system gives to nobody meanwhile."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port


def command(*arguments: str) -> list[str]:
    """Return the command line of ``koha-jpki`` under this very interpreter."""
    return [sys.executable, "-m", "bridge", *arguments]


class Part:
    """One process, ready when its port accepts connections; its output goes to a log file."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        port: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._port = port
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # our own command, no shell
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        try:
            self._wait_until_it_listens(self._process)
        except BaseException:
            self._stop(self._process)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._stop(self._process)

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise PartFailedError(f"{self.name} ended with {process.returncode}:\n{self._log_tail()}")
            try:
                socket.create_connection((LOOPBACK, self._port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise PartFailedError(f"{self.name} did not listen within {START_SECONDS:.0f} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
