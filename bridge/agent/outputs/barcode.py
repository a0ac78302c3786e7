"""The token as a barcode for the machine's own scanner, as SVG. Pure."""

from __future__ import annotations

import io
from collections.abc import Callable
from enum import StrEnum, unique

from bridge.agent.errors import WrongSettings

QUIET_ZONE = 10
"""Modules left blank on either side; ISO/IEC 15417 and 16388 ask for ten."""

MODULE_WIDTH = 0.5
"""Millimetres of the narrowest bar: what a scanner reads from a screen at arm's length."""

BAR_HEIGHT = 25.0
"""Millimetres."""


@unique
class BarcodeKind(StrEnum):
    """The symbologies that library cards carry."""

    CODE_128 = "code128"
    CODE_39 = "code39"
    NW_7 = "nw7"
    """Codabar (JIS X 0506), the common one on Japanese library cards; start and stop are A."""

    QR = "qr"


class BarcodeOutput:
    """Shows the token as a barcode through *show*, which takes a picture (SVG), or None to take it away."""

    shows_itself = True

    def __init__(self, kind: BarcodeKind, show: Callable[[bytes | None], None]) -> None:
        self._kind = kind
        self._show = show

    def check(self) -> str:
        """Draw a barcode and throw it away."""
        barcode_svg("0" * 14, self._kind)
        return f"barcode on the patron's page ({self._kind.value})"

    def send(self, token: str) -> None:
        """Show it."""
        self._show(barcode_svg(token, self._kind))

    def wipe(self) -> None:
        """Take it away."""
        self._show(None)


def barcode_svg(token: str, kind: BarcodeKind) -> bytes:
    """Return a picture of the token as an SVG document. Raises ``WrongSettings`` where a part is missing.

    No digits are written under the bars: the token is for the scanner, not for the next in the queue.
    """
    try:
        return _qr_code(token) if kind is BarcodeKind.QR else _bars(token, kind)
    except ImportError:
        raise WrongSettings("barcodes need the packages python-barcode and segno") from None


def _qr_code(token: str) -> bytes:
    import segno

    picture = io.BytesIO()
    segno.make_qr(token, error="m").save(picture, kind="svg", scale=8, border=4, xmldecl=True)
    return picture.getvalue()


def _bars(token: str, kind: BarcodeKind) -> bytes:
    from barcode import Code39, Code128
    from barcode.codabar import CODABAR
    from barcode.writer import SVGWriter

    match kind:
        case BarcodeKind.CODE_39:
            code = Code39(token, writer=SVGWriter(), add_checksum=False)
        case BarcodeKind.NW_7:
            code = CODABAR(f"A{token}A", writer=SVGWriter())
        case _:
            code = Code128(token, writer=SVGWriter())
    picture: bytes = code.render(
        {
            "module_width": MODULE_WIDTH,
            "module_height": BAR_HEIGHT,
            "quiet_zone": QUIET_ZONE * MODULE_WIDTH,
            "write_text": False,
        }
    )
    return picture
