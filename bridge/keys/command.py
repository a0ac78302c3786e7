"""The master keys from a command, such as a client of a key management service. Edge: a process.

What the command writes is read through a pipe and never logged; what it complains about is not shown
either, as nobody can say what stands in it: run it by hand to see.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from threading import Timer

from bridge.errors import KeyProblem

TIME_LIMIT = 20.0
"""Seconds."""

MAXIMUM_OUTPUT = 64 * 1024
"""Bytes: some hundred keys."""


def read_key_command(command: Sequence[str], time_limit: float = TIME_LIMIT) -> str:
    """Run *command*, without a shell, and return the lines of keys that it writes.

    It and all that it starts are killed after *time_limit* seconds. Raises ``KeyProblem``.
    """
    what = f"the key command {command[0]}"
    try:
        process = subprocess.Popen(  # noqa: S603  # the administrator's settings name it
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise KeyProblem(f"{what} cannot be run: {error.strerror}") from None

    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        os.killpg(process.pid, signal.SIGKILL)

    timer = Timer(time_limit, expire)
    timer.start()
    with process:
        output = b"" if process.stdout is None else process.stdout.read(MAXIMUM_OUTPUT + 1)
        if len(output) > MAXIMUM_OUTPUT:
            process.kill()
        status = process.wait()
        timer.cancel()
    if expired:
        raise KeyProblem(f"{what} did not end within {time_limit:g} seconds")
    if len(output) > MAXIMUM_OUTPUT:
        raise KeyProblem(f"{what} writes more than keys")
    if status != 0:
        raise KeyProblem(f"{what} failed with exit code {status}")
    try:
        return output.decode("ascii")
    except UnicodeDecodeError:
        raise KeyProblem(f"{what} does not write a key file") from None
