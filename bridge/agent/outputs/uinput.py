"""A keyboard made by Linux' uinput, through python-evdev. Edge."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.agent.errors import OutputUnavailable
from bridge.agent.outputs.key_codes import KEY_STROKES, KeyCode
from bridge.agent.outputs.keyboard import KeySink

DEVICE = "/dev/uinput"
NAME = "koha-jpki token keyboard"
SETTLE = 0.3
"""Seconds until the desktop has noticed a new keyboard; keys before that are lost (kernel, uinput.rst)."""


class UinputSink:
    """Writes key events to a device of python-evdev."""

    def __init__(self, device: object) -> None:
        self._device = device

    def key(self, code: int, *, pressed: bool) -> None:
        """Send one event and the report that ends it."""
        from evdev import ecodes

        try:
            self._device.write(ecodes.EV_KEY, code, int(pressed))  # type: ignore[attr-defined]  # untyped
            self._device.syn()  # type: ignore[attr-defined]  # untyped
        except OSError as error:
            raise OutputUnavailable(DEVICE, type(error).__name__) from None


@contextmanager
def uinput_keyboard() -> Iterator[KeySink]:
    """Plug the keyboard in for the block. Raises ``OutputUnavailable``."""
    try:
        from evdev import UInput, ecodes
    except ImportError:
        raise OutputUnavailable(DEVICE, "python-evdev is not installed") from None
    codes = {stroke.code for keys in KEY_STROKES.values() for stroke in keys.values()} | {KeyCode.LEFT_SHIFT}
    try:
        device = UInput({ecodes.EV_KEY: sorted(codes)}, name=NAME)
    except (OSError, _uinput_error()) as error:
        raise OutputUnavailable(DEVICE, type(error).__name__) from None
    try:
        time.sleep(SETTLE)
        yield UinputSink(device)
        time.sleep(SETTLE)  # what is still under way is lost with the device
    finally:
        device.close()


def _uinput_error() -> type[Exception]:
    from evdev.uinput import UInputError

    error: type[Exception] = UInputError
    return error
