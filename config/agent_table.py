"""Every setting of an agent, once, as ``config.table`` has those of the bridge. Pure."""

from __future__ import annotations

from config.agent_settings import AgentSettings, CardNumberSettings, OutputSettings, PageSettings
from config.kinds import BOOLEAN, HTTP_URL, PATH, PORT, choice, text, whole_number
from config.table import Section, Setting

OUTPUT_KINDS = ("keyboard", "serial", "barcode", "file", "call", "stdout")
BAUD_RATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)

AGENT = Section(
    "",
    AgentSettings,
    "The agent beside a card reader: at a counter or at a self-check machine.",
    (
        Setting(
            "bridge_url", HTTP_URL, "Address of the bridge.", example='"https://bridge.library.example.jp"'
        ),
        Setting(
            "token_file",
            PATH,
            "File with this terminal's token; `koha-jpki agent enrol` makes it. Readable by its owner alone.",
            example='"terminal.token"',
        ),
        Setting("reader", text("text"), "Name of the PC/SC reader, where there are several. Default: any."),
        Setting(
            "language",
            choice(("ja", "ja-x-easy", "en", "zh-Hans", "ko", "pt", "vi")),
            "Language of the patron's page for each new patron.",
        ),
    ),
)

PAGE = Section(
    "page",
    PageSettings,
    "The page on the patron's display, on this machine alone.",
    (
        Setting("port", PORT, "Port on 127.0.0.1."),
        Setting("scramble_keys", BOOLEAN, "Put the digits of the PIN pad into another order each time."),
    ),
)

OUTPUT = Section(
    "output",
    OutputSettings,
    "How the one-time number reaches the self-check machine. Leave the table out at a counter.",
    (
        Setting(
            "kind",
            choice(OUTPUT_KINDS),
            "As a keyboard-wedge scanner; as a scanner on a serial line; as a barcode on the patron's page; "
            "in a file; by an HTTP call to a program on this machine; on standard output.",
            example='"keyboard"',
        ),
        Setting("prefix", text("text", r"(?s).{0,16}"), "What the scanner sends before the number."),
        Setting("suffix", text("text", r"(?s).{0,16}"), "What it sends after it."),
        Setting("layout", choice(("us", "jp")), "`keyboard`: what the machine takes its keyboard for."),
        # Slower than 200 ms, a machine takes a scanner for a person.
        Setting("key_delay_ms", whole_number(0, 200), "`keyboard`: milliseconds after each key."),
        Setting("device", text("text"), "`serial`: `/dev/ttyUSB0`, `COM3`."),
        Setting("baud_rate", whole_number(1200, 115200), "`serial`: bits per second."),
        Setting("data_bits", whole_number(7, 8), "`serial`."),
        Setting("parity", choice(("N", "E", "O")), "`serial`: none, even, odd."),
        Setting("stop_bits", whole_number(1, 2), "`serial`."),
        Setting("barcode", choice(("code128", "code39", "nw7", "qr")), "`barcode`: the symbology."),
        Setting("path", PATH, "`file`: where it is written."),
        Setting("url", HTTP_URL, "`call`: what is called, on a loopback address."),
    ),
    optional=True,
)

CARD_NUMBER = Section(
    "card_number",
    CardNumberSettings,
    "Where the number of a city's card application (条例利用, カードAP) lies, for a counter whose library "
    "asks for it (`library.card_application_number`). It is published nowhere: the city has it from J-LIS. "
    "Without this table no application of the card is touched but JPKI's.",
    (
        Setting(
            "application_id",
            text("hexadecimal digits of 5 to 16 bytes", r"(?:[0-9A-Fa-f]{2}){5,16}"),
            "The application's identifier (AID). Those of the card itself are refused.",
            example='"F000000001020304"',
        ),
        Setting(
            "file_id",
            text("four hexadecimal digits", r"[0-9A-Fa-f]{4}"),
            "The file in it (EF).",
            example='"0101"',
        ),
        Setting("length", whole_number(1, 64), "So many bytes belong to the number.", example="12"),
        Setting("offset", whole_number(0, 32767), "Where the number begins in the file."),
        Setting(
            "encoding",
            choice(("ascii", "bcd")),
            "One character in a byte, or two digits. Blanks, zero bytes and FF around it are dropped.",
        ),
    ),
    optional=True,
    commented_out=True,
)

AGENT_SECTIONS = (AGENT, PAGE, OUTPUT, CARD_NUMBER)

NEEDED_BY_OUTPUT = {"serial": "device", "file": "path", "call": "url"}
"""The setting without which an output cannot be."""
