"""Enrolling this terminal: its key is made here, and a one-time code says which terminal it is.

The key is in a file beside the token file before anything is sent, and takes its place once the bridge has
said yes. So the work may be cut off at any point: the same command with the same code goes on from there.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from bridge.agent.api_client import BridgeApi, EnrolledTerminal
from bridge.agent.errors import WrongSettings
from bridge.agent.token_file import read_token
from bridge.enrolment_code import EnrolmentCode

KEY_LENGTH = 32
"""Bytes."""

PENDING_SUFFIX = ".new"


def enrol(
    bridge: BridgeApi, code: EnrolmentCode, token_file: Path, random_bytes: Callable[[int], bytes]
) -> EnrolledTerminal:
    """Enrol by *code* and leave this terminal's token in *token_file*, readable by its owner alone.

    The owner stays the same, or is that of the folder. A key that waits from an enrolment cut off is used
    again: the bridge may have said yes to it already. Raises ``WrongSettings`` where a file cannot be read
    or written, and what the client raises.
    """
    pending = token_file.with_name(token_file.name + PENDING_SUFFIX)
    try:
        if not pending.exists() or not pending.stat().st_size:
            _write_new_key(pending, token_file, random_bytes)
    except OSError as error:
        raise WrongSettings(f"{pending} cannot be written: {error.strerror}") from None
    token = read_token(pending)
    enrolled = bridge.enrol(code.value, sha256(token.encode("ascii")).hexdigest())
    try:
        pending.replace(token_file)
        _sync_folder(token_file.parent)
    except OSError as error:
        raise WrongSettings(f"{token_file} cannot be written: {error.strerror}") from None
    return enrolled


def _write_new_key(pending: Path, token_file: Path, random_bytes: Callable[[int], bytes]) -> None:
    pending.unlink(missing_ok=True)  # an empty one is left where the power went between two lines of this
    key = base64.urlsafe_b64encode(random_bytes(KEY_LENGTH)).rstrip(b"=")
    descriptor = os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # for the agent, which is not root
            owner = (token_file if token_file.exists() else token_file.parent).stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(key + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # Windows has no such call
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
