"""What a broken or hostile self-check machine sends: seeded, so that every run can be had again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from sip2_adapter.codec import checksum
from sip2_adapter.grammar import MESSAGES, REQUESTS, MessageSpec

DATE = b"20261120    155739"
JUNK = (
    b"|",
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b"AA",
    b"|AA",
    b"AY1AZ0000",
    b"\xff\xfe",
    "山田".encode(),
    b"%s",
    b" ",
)


class FrameMaker:
    """Makes requests that name *identifiers*, honest ones and others.

    Nothing made here holds a card number: whatever one is found in an answer came through the proxy.
    """

    def __init__(self, source: random.Random, identifiers: Sequence[bytes]) -> None:
        self._random = source
        self._identifiers = identifiers
        self._sequence = 0
        self._previous = b"9900802.00"
        self._kinds: tuple[tuple[Callable[[], bytes], int], ...] = (
            (self.honest, 6),
            (self._mutated, 8),
            (self._spliced, 2),
            (self._repeated, 1),
            (self._random_bytes, 1),
            (self._wrong_checksum, 1),
            (self._resend, 1),
            (self._injected, 2),
        )

    def next(self) -> bytes:
        """Return one frame, without its terminator; it may hold terminators of its own."""
        kinds, weights = zip(*self._kinds, strict=True)
        frame: bytes = self._random.choices(kinds, weights)[0]()
        self._previous = frame
        return frame

    def honest(self) -> bytes:
        """Return a request that a good machine could send."""
        # A log-in would change the connection: whoever drives the machine does that.
        code = self._random.choice([code for code in REQUESTS if code != b"93"])
        return self._sealed(self._body(MESSAGES[code]))

    def _body(self, spec: MessageSpec) -> bytes:
        fixed = b"".join(
            DATE if field.width == 18 else self._random.choice((b"0", b"1", b"Y", b"N", b" ")) * field.width
            for field in spec.fixed
        )
        fields = b"".join(
            field_id.value + self._value(field_id.value) + b"|"
            for field_id in spec.fields
            if field_id in spec.required or self._random.random() < 0.3
        )
        return spec.code + fixed + fields

    def _value(self, field_id: bytes) -> bytes:
        if field_id == b"AA":
            return self._random.choice(self._identifiers)
        return b"%d" % self._random.randrange(10 ** self._random.randrange(1, 15))

    def _sealed(self, body: bytes) -> bytes:
        if self._random.random() < 0.2:
            return body
        self._sequence = (self._sequence + 1) % 10
        head = body + b"AY%dAZ" % self._sequence
        return head + checksum(head)

    def _mutated(self) -> bytes:
        frame = bytearray(self.honest())
        for _ in range(self._random.randrange(1, 6)):
            place = self._random.randrange(len(frame) + 1)
            match self._random.randrange(4):
                case 0:
                    frame[place:place] = self._random.choice(JUNK)
                case 1:
                    del frame[place : place + self._random.randrange(1, 20)]
                case 2:
                    frame[place : place + 1] = bytes([self._random.randrange(256)])
                case _:
                    frame[place:place] = frame[place : place + self._random.randrange(1, 40)]
        return bytes(frame) if self._random.random() < 0.5 else self._sealed(bytes(frame))

    def _spliced(self) -> bytes:
        one, other = self.honest(), self.honest()
        return one[: self._random.randrange(len(one))] + other[self._random.randrange(len(other)) :]

    def _repeated(self) -> bytes:
        return self._previous

    def _random_bytes(self) -> bytes:
        return self._random.randbytes(self._random.randrange(200))

    def _wrong_checksum(self) -> bytes:
        return self.honest()[:-4] + b"%04X" % self._random.randrange(0x10000)

    def _resend(self) -> bytes:
        return self._random.choice((b"97", b"97AZFEF5", b"96", b"96AZFEF6", b""))

    def _injected(self) -> bytes:
        """Hide a second field or a second message in a value."""
        identifier = self._random.choice(self._identifiers)
        hidden = self._random.choice(
            (b"|AA", b"\rAA", b"\r63001" + DATE + b" " * 10 + b"AA", b"AA", b"&#124;AA")
        )
        value = identifier + hidden + self._random.choice(self._identifiers)
        return self._sealed(b"63001" + DATE + b" " * 10 + b"AOCPL|AA" + value + b"|")
