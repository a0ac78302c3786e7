"""Bar charts as SVG in the page: no script, no style of their own, nothing that only the eye can read.

pygal draws; the look is in ``admin.css``. Each chart stands beside the table of its numbers, so programs
that read a page aloud are told of the table alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pygal
from markupsafe import Markup
from pygal.style import Style

from bridge.statistics import Published

WIDTH, BAR_HEIGHT, FRAME_HEIGHT = 480, 34, 70
"""Units of the drawing, which is as wide as there is room."""

FONT_SIZE = 14
ROOM = 1.15
SVG = "http://www.w3.org/2000/svg"
UNWANTED = frozenset({"defs", "script", "style", "title", "desc"})


@dataclass(frozen=True)
class Bar:
    """One bar: *label* at its side, *words* for its number."""

    label: str
    value: Published
    words: str


def bar_chart(bars: Sequence[Bar]) -> Markup:
    """Return horizontal bars from the top down; nothing where there are none."""
    if not bars:
        return Markup()
    chart = pygal.HorizontalBar(
        css=[],
        js=[],
        style=Style(label_font_size=FONT_SIZE, major_label_font_size=FONT_SIZE, value_font_size=FONT_SIZE),
        width=WIDTH,
        height=FRAME_HEIGHT + BAR_HEIGHT * len(bars),
        margin=8,
        margin_left=24,  # Japanese letters are wider than pygal reckons
        show_legend=False,
        print_values=True,
        print_values_position="top",
        order_min=0,
        # Room at the right for the number at the end of the longest bar.
        range=(0, ROOM * max(1, *(bar.value or 0 for bar in bars))),
        formatter=lambda value: f"{value:,.0f}",
        max_scale=5,
    )
    downwards = list(reversed(bars))  # pygal draws the first at the bottom
    chart.x_labels = [bar.label for bar in downwards]
    chart.add("", [{"value": bar.value or 0, "formatter": _saying(bar.words)} for bar in downwards])
    return _plain(chart.render())


def _saying(words: str) -> Any:
    return lambda _value: words


def _plain(drawing: bytes) -> Markup:
    """Return a drawing without scripts, styles, comments and ids, hidden from programs that read aloud."""
    ElementTree.register_namespace("", SVG)
    # pygal's own output, not a stranger's; the parser drops the comments.
    root = ElementTree.fromstring(drawing)  # noqa: S314
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in UNWANTED:
                parent.remove(child)
        for name in ("id", "style"):
            parent.attrib.pop(name, None)
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704  # escaped by the serialiser
