"""A keyboard on Windows, by SendInput (user32). Edge.

Keys go as scan codes, so that the machine's own layout decides what they give, as with a real keyboard.
Source: Microsoft, "SendInput function" and "KEYBDINPUT structure" (winuser.h).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol

from bridge.agent.errors import OutputUnavailable
from bridge.agent.outputs.keyboard import KeySink

DEVICE = "SendInput"
INPUT_KEYBOARD = 1
KEYEVENTF_KEYUP = 0x0002
KEYEVENTF_SCANCODE = 0x0008
JAPANESE_UNDERSCORE = 89
"""Linux' code of the key left of the right Shift on a Japanese keyboard; its scan code is 0x73."""

SCAN_CODES = {JAPANESE_UNDERSCORE: 0x73}
"""Where Linux' code is not the scan code of set 1."""


class KeyboardInput(ctypes.Structure):
    """KEYBDINPUT."""

    _fields_: ClassVar = [
        ("wVk", ctypes.c_uint16),
        ("wScan", ctypes.c_uint16),
        ("dwFlags", ctypes.c_uint32),
        ("time", ctypes.c_uint32),
        ("dwExtraInfo", ctypes.c_size_t),
    ]


class MouseInput(ctypes.Structure):
    """MOUSEINPUT: never sent, but the largest member of the union decides the size of INPUT."""

    _fields_: ClassVar = [
        ("dx", ctypes.c_int32),
        ("dy", ctypes.c_int32),
        ("mouseData", ctypes.c_uint32),
        ("dwFlags", ctypes.c_uint32),
        ("time", ctypes.c_uint32),
        ("dwExtraInfo", ctypes.c_size_t),
    ]


class _InputUnion(ctypes.Union):
    _fields_: ClassVar = [("ki", KeyboardInput), ("mi", MouseInput)]


class WindowsInput(ctypes.Structure):
    """INPUT."""

    _fields_: ClassVar = [("type", ctypes.c_uint32), ("union", _InputUnion)]


class User32(Protocol):
    """The one function of user32.dll that is used."""

    def SendInput(self, count: int, inputs: object, size: int) -> int:  # noqa: N802  # its name
        """Return how many events were taken; 0 where another program blocks them."""


class SendInputSink:
    """Sends key events through *user32*."""

    def __init__(self, user32: User32) -> None:
        self._user32 = user32

    def key(self, code: int, *, pressed: bool) -> None:
        """Send one event."""
        event = WindowsInput(type=INPUT_KEYBOARD)
        event.union.ki.wScan = SCAN_CODES.get(code, code)
        event.union.ki.dwFlags = KEYEVENTF_SCANCODE | (0 if pressed else KEYEVENTF_KEYUP)
        if self._user32.SendInput(1, ctypes.byref(event), ctypes.sizeof(event)) != 1:
            raise OutputUnavailable(DEVICE, "another program blocks the keyboard")


@contextmanager
def windows_keyboard() -> Iterator[KeySink]:
    """Yield the keyboard of this Windows session. Raises ``OutputUnavailable``."""
    loader = getattr(ctypes, "WinDLL", None)
    if loader is None:
        raise OutputUnavailable(DEVICE, "this is not Windows")
    yield SendInputSink(loader("user32", use_last_error=True))
