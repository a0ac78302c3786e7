"""Readers and cards through PC/SC: the one module that imports pyscard.

It calls the functions of winscard themselves and keeps no state between calls: each takes its own
context and releases it. So a restart of pcscd needs no care (pyscard's monitor thread would die of
it), and no context is left over (pcscd hands out 200). Commands are never logged.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from smartcard import scard

from jpki.connection import SmartCardConnection
from jpki.errors import (
    CardInUse,
    CardRemoved,
    NoCard,
    NoReader,
    ReaderError,
    ReaderFailure,
    ReaderServiceUnavailable,
    UnresponsiveCard,
)

_ERRORS: dict[int, type[ReaderError]] = {
    scard.SCARD_E_NO_SERVICE: ReaderServiceUnavailable,
    scard.SCARD_E_SERVICE_STOPPED: ReaderServiceUnavailable,
    scard.SCARD_F_COMM_ERROR: ReaderServiceUnavailable,  # pcscd ended during the call
    scard.SCARD_E_INVALID_HANDLE: ReaderServiceUnavailable,  # pcscd was restarted meanwhile
    scard.SCARD_W_SECURITY_VIOLATION: ReaderServiceUnavailable,  # pcscd hung up: denied, full, ending
    scard.SCARD_E_NO_READERS_AVAILABLE: NoReader,
    scard.SCARD_E_UNKNOWN_READER: NoReader,
    scard.SCARD_E_READER_UNAVAILABLE: NoReader,
    scard.SCARD_E_NO_SMARTCARD: NoCard,
    scard.SCARD_W_REMOVED_CARD: CardRemoved,
    scard.SCARD_W_RESET_CARD: CardRemoved,  # held exclusively, so a contactless card left the field
    scard.SCARD_W_UNPOWERED_CARD: CardRemoved,
    scard.SCARD_E_NOT_TRANSACTED: CardRemoved,  # removed, and pcscd has not noticed yet
    scard.SCARD_E_SHARING_VIOLATION: CardInUse,
    scard.SCARD_W_UNRESPONSIVE_CARD: UnresponsiveCard,
    scard.SCARD_W_UNSUPPORTED_CARD: UnresponsiveCard,
}
"""What winscard's results mean, as observed with pcsc-lite 1.9.9. Others are ``ReaderFailure``."""

_POLL_INTERVAL = 0.5
"""Longest single wait in seconds: a wait inside winscard cannot be interrupted by a signal."""


MUTE_PATIENCE = 1.0
"""Seconds: a card that is being laid down may be mute for a moment."""


def list_readers() -> list[str]:
    """Return the names of the readers, in PC/SC's order. Raises ``ReaderServiceUnavailable``."""
    with _context() as context:
        return _readers(context)


def wait_for_card(reader: str | None = None, timeout: float | None = None) -> str:
    """Return the name of a reader as soon as a card lies on it.

    Waits on *reader*, or on all where it is None, for *timeout* seconds, or for ever where that is
    None. Raises ``NoCard`` at the end of that time, ``NoReader`` where there is none (or not that
    one), ``UnresponsiveCard`` where what lies there does not answer, ``ReaderServiceUnavailable``.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    mute_since: float | None = None
    with _context() as context:
        states: dict[str, int] = {}
        while True:
            states = _wait_for_change(context, _watched(context, reader), states, deadline)
            for name, state in states.items():
                if state & scard.SCARD_STATE_PRESENT and not state & scard.SCARD_STATE_MUTE:
                    return name
            if any(state & scard.SCARD_STATE_MUTE for state in states.values()):
                mute_since = time.monotonic() if mute_since is None else mute_since
                if time.monotonic() - mute_since >= MUTE_PATIENCE:
                    raise UnresponsiveCard("what lies on the reader does not answer")
            else:
                mute_since = None
            if deadline is not None and time.monotonic() >= deadline:
                raise NoCard(f"no card within {timeout} seconds")


def wait_for_removal(reader: str, timeout: float | None = None) -> bool:
    """Return True as soon as no card lies on *reader*, False after *timeout* seconds.

    A reader that was unplugged has no card. Raises ``ReaderServiceUnavailable``.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with _context() as context:
        states: dict[str, int] = {}
        while reader in _readers(context):
            states = _wait_for_change(context, [reader], states, deadline)
            if not states[reader] & scard.SCARD_STATE_PRESENT:
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
    return True


@contextmanager
def connect(reader: str) -> Iterator[SmartCardConnection]:
    """Power the card on *reader* and hold it exclusively for the block; power it off at the end.

    Powering off is what makes the card forget a verified PIN. Raises ``NoReader``, ``NoCard``,
    ``CardInUse``, ``CardRemoved``, ``ReaderServiceUnavailable``, ``ReaderFailure``.
    """
    with _context() as context:
        result, handle, protocol = scard.SCardConnect(
            context,
            reader,
            scard.SCARD_SHARE_EXCLUSIVE,
            scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1,
        )
        _check(result)
        try:
            yield _PcscConnection(handle, protocol)
        finally:
            # The result says nothing new: the card or pcscd may be gone, and the caller knows.
            scard.SCardDisconnect(handle, scard.SCARD_UNPOWER_CARD)


class _PcscConnection(SmartCardConnection):
    def __init__(self, handle: int, protocol: int) -> None:
        self._handle = handle
        self._protocol = protocol

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        result, response = scard.SCardTransmit(self._handle, self._protocol, list(apdu))
        _check(result)
        if len(response) < 2:
            # The card vanished during the command: a success without a status word.
            raise CardRemoved("the card gave no status word")
        answer = bytes(response)
        return answer[:-2], int.from_bytes(answer[-2:], "big")


@contextmanager
def _context() -> Iterator[int]:
    result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    _check(result)
    try:
        yield context
    finally:
        scard.SCardReleaseContext(context)


def _readers(context: int) -> list[str]:
    result, readers = scard.SCardListReaders(context, [])
    if result == scard.SCARD_E_NO_READERS_AVAILABLE:
        return []
    _check(result)
    return list(readers)


def _watched(context: int, reader: str | None) -> list[str]:
    readers = _readers(context)
    if reader is None:
        if not readers:
            raise NoReader("no reader is connected")
        return readers
    if reader not in readers:
        raise NoReader(f"no reader called {reader!r} is connected")
    return [reader]


def _wait_for_change(
    context: int, readers: list[str], known: dict[str, int], deadline: float | None
) -> dict[str, int]:
    """Return the states of *readers* when one differs from what is *known*, or after a while."""
    wait = _POLL_INTERVAL
    if deadline is not None:
        wait = max(0.0, min(wait, deadline - time.monotonic()))
    asked = [(name, known.get(name, scard.SCARD_STATE_UNAWARE)) for name in readers]
    result, states = scard.SCardGetStatusChange(context, int(wait * 1000), asked)
    if result != scard.SCARD_E_TIMEOUT:
        _check(result)
    return {name: state for name, state, _ in states}


def _check(result: int) -> None:
    """Raise what *result* stands for, unless it is success."""
    if result != scard.SCARD_S_SUCCESS:
        raise _ERRORS.get(result, ReaderFailure)(scard.SCardGetErrorMessage(result))
