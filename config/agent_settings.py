"""The settings of an agent as values. Defaults stand here; the table beside explains them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class PageSettings:
    """The page on the patron's display."""

    port: int = 8765
    scramble_keys: bool = False


@dataclass(frozen=True)
class OutputSettings:
    """How the one-time token reaches the self-check machine; a counter has none."""

    kind: str
    prefix: str = ""
    suffix: str = "\r"
    layout: str = "jp"
    key_delay_ms: int = 10
    device: str | None = None
    baud_rate: int = 9600
    data_bits: int = 8
    parity: str = "N"
    stop_bits: int = 1
    barcode: str = "nw7"
    path: Path | None = None
    url: str | None = None


@dataclass(frozen=True)
class CardNumberSettings:
    """Where the number of a city's card application (条例利用, カードAP) lies. Not public: never shown."""

    application_id: str = field(repr=False)
    file_id: str = field(repr=False)
    length: int = field(repr=False)
    offset: int = field(repr=False, default=0)
    encoding: str = "ascii"


@dataclass(frozen=True)
class AgentSettings:
    """One agent beside one card reader."""

    bridge_url: str
    token_file: Path
    reader: str | None = None
    language: str = "ja"
    page: PageSettings = field(default_factory=PageSettings)
    output: OutputSettings | None = None
    card_number: CardNumberSettings | None = None
