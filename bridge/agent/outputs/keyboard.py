"""The token typed as a keyboard-wedge scanner types it. The edges are the sinks beside this module."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from bridge.agent.outputs.key_codes import KeyboardLayout, KeyCode, key_strokes
from bridge.agent.outputs.output import TokenFraming


class KeySink(Protocol):
    """A keyboard that a program plays."""

    def key(self, code: int, *, pressed: bool) -> None:
        """Press or release one key. Raises ``OutputUnavailable``."""


OpenKeyboard = Callable[[], AbstractContextManager[KeySink]]
"""Plugs the keyboard in for the block. Raises ``OutputUnavailable``."""


class KeyboardOutput:
    """Types the token. *pause* sleeps for that many seconds, *key_delay* of them after every key."""

    shows_itself = False

    def __init__(
        self,
        open_keyboard: OpenKeyboard,
        *,
        layout: KeyboardLayout,
        framing: TokenFraming,
        key_delay: float,
        pause: Callable[[float], None],
    ) -> None:
        key_strokes(framing.around(""), layout)  # a framing that cannot be typed is told at the start
        self._open_keyboard = open_keyboard
        self._layout = layout
        self._framing = framing
        self._key_delay = key_delay
        self._pause = pause

    def check(self) -> str:
        """Plug the keyboard in and out again."""
        with self._open_keyboard():
            return f"keyboard ({self._layout.value})"

    def send(self, token: str) -> None:
        """Type the token; every key is let go again, whatever happens."""
        with self._open_keyboard() as sink:
            for stroke in key_strokes(self._framing.around(token), self._layout):
                pressed = [KeyCode.LEFT_SHIFT, stroke.code] if stroke.shift else [stroke.code]
                try:
                    for code in pressed:
                        sink.key(code, pressed=True)
                finally:
                    for code in reversed(pressed):
                        sink.key(code, pressed=False)
                self._pause(self._key_delay)

    def wipe(self) -> None:
        """Nothing is left."""
