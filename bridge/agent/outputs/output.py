"""The seam between the agent and the self-check machine beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TextIO

from bridge.agent.errors import OutputUnavailable, WrongSettings

MAXIMUM_FRAMING = 16
"""Characters of a prefix or suffix. Scanners send one to three."""


@dataclass(frozen=True)
class TokenFraming:
    r"""What a scanner would send before and after the number: often nothing and ``"\r"``.

    Printable ASCII, tab, CR and LF. Raises ``WrongSettings``.
    """

    prefix: str = ""
    suffix: str = "\r"

    def __post_init__(self) -> None:
        for name, text in (("prefix", self.prefix), ("suffix", self.suffix)):
            if len(text) > MAXIMUM_FRAMING:
                raise WrongSettings(f"the {name} is longer than {MAXIMUM_FRAMING} characters")
            if not all(" " <= character <= "~" or character in "\t\r\n" for character in text):
                raise WrongSettings(f"the {name} may hold ASCII characters, tab, CR and LF alone")

    def around(self, token: str) -> str:
        """Return the token as a scanner would send it."""
        return f"{self.prefix}{token}{self.suffix}"


class TokenOutput(Protocol):
    """One way to the machine. Nothing in it keeps the token, prints it or writes it to a log."""

    @property
    def shows_itself(self) -> bool:
        """Whether the patron must do something, such as hold a barcode to the scanner."""

    def check(self) -> str:
        """Return in a few words what is ready, without sending anything. Raises ``OutputUnavailable``."""

    def send(self, token: str) -> None:
        """Hand the token over, once. Raises ``OutputUnavailable``; then it did not arrive whole."""

    def wipe(self) -> None:
        """Take away what is left of the token. Harmless at any time."""


class StreamOutput:
    """Writes the token to a text stream, a line of its own: for a program that started the agent."""

    shows_itself = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def check(self) -> str:
        """Say where it goes."""
        return "standard output"

    def send(self, token: str) -> None:
        """Write one line at once."""
        try:
            self._stream.write(token + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise OutputUnavailable("standard output", type(error).__name__) from None

    def wipe(self) -> None:
        """Nothing is left."""
