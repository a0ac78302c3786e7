"""The agent as a service: its parts put together from its settings. The agent's composition root."""

from __future__ import annotations

import random
import secrets
import sys
import time
from collections.abc import Callable

from bridge.agent.api_client import BridgeApi
from bridge.agent.errors import WrongSettings
from bridge.agent.outputs import StreamOutput, TokenFraming, TokenOutput
from bridge.agent.outputs.barcode import BarcodeKind, BarcodeOutput
from bridge.agent.outputs.key_codes import KeyboardLayout
from bridge.agent.outputs.keyboard import KeyboardOutput, OpenKeyboard
from bridge.agent.outputs.local_call import CallOutput
from bridge.agent.outputs.local_file import FileOutput
from bridge.agent.outputs.send_input import windows_keyboard
from bridge.agent.outputs.serial_line import SerialFrame, SerialOutput
from bridge.agent.outputs.uinput import uinput_keyboard
from bridge.agent.page.patron_page import PatronPage
from bridge.agent.page.server import PageServer, serving
from bridge.agent.page.words import PageLanguage
from bridge.agent.reader import CardReader
from bridge.agent.report import StateReporter
from bridge.agent.run import Agent, ExitCode
from bridge.agent.screen import Language
from bridge.agent.token_file import read_token
from config import AgentSettings, CardNumberSettings, OutputSettings
from jpki.card_application import CardApplication, NumberEncoding

ANSWER_TIMEOUT = 30.0
"""Seconds: the bridge asks the OCSP responder and Koha before it answers, each with a time limit."""


def serve_patrons(settings: AgentSettings, reader: CardReader, say: Callable[[str], None]) -> ExitCode:
    """Serve card after card until the settings prove wrong.

    Raises ``WrongSettings`` where they do before the first card.
    """
    page = PatronPage(
        monotonic=time.monotonic,
        draw_ticket=lambda: secrets.token_urlsafe(16),
        card_is_there=reader.card_is_there,
        order_keys=_shuffled if settings.page.scramble_keys else str,
    )
    bridge = BridgeApi(
        settings.bridge_url,
        read_token(settings.token_file),
        ANSWER_TIMEOUT,
        Language.JAPANESE if settings.language.startswith("ja") else Language.ENGLISH,
    )
    output = build_output(settings.output, page.show_barcode) if settings.output is not None else None
    reporter = StateReporter(bridge, reader, output, time.monotonic)
    agent = Agent(
        bridge,
        reader,
        page,
        page,
        output=output,
        pause=time.sleep,
        report=reporter.tell,
        card_application=build_card_application(settings.card_number),
    )
    with serving(_page_server(settings, page)) as server:
        say(f"The patron's page: {server.url}")
        try:
            if output is not None:
                output.wipe()  # of an agent that was killed
            return agent.run()
        finally:
            if output is not None:
                output.wipe()


def build_card_application(settings: CardNumberSettings | None) -> CardApplication | None:
    """Return where the number of the city's application lies. Raises ``WrongSettings``."""
    if settings is None:
        return None
    try:
        return CardApplication(
            bytes.fromhex(settings.application_id),
            bytes.fromhex(settings.file_id),
            settings.offset,
            settings.length,
            NumberEncoding(settings.encoding),
        )
    except ValueError as error:
        raise WrongSettings(f"card_number: {error}") from None


def build_output(settings: OutputSettings, show_barcode: Callable[[bytes | None], None]) -> TokenOutput:
    """Return the way to the self-check machine. Raises ``WrongSettings``."""
    framing = TokenFraming(settings.prefix, settings.suffix)
    match settings.kind:
        case "keyboard":
            return KeyboardOutput(
                _keyboard_of_this_system(),
                layout=KeyboardLayout(settings.layout),
                framing=framing,
                key_delay=settings.key_delay_ms / 1000,
                pause=time.sleep,
            )
        case "serial" if settings.device is not None:
            frame = SerialFrame(settings.baud_rate, settings.data_bits, settings.parity, settings.stop_bits)
            return SerialOutput(settings.device, frame, framing)
        case "barcode":
            return BarcodeOutput(BarcodeKind(settings.barcode), show_barcode)
        case "file" if settings.path is not None:
            return FileOutput(settings.path, framing)
        case "call" if settings.url is not None:
            return CallOutput(settings.url)
        case "stdout":
            return StreamOutput(sys.stdout)
    raise WrongSettings(f"the output {settings.kind} lacks a setting")


def _keyboard_of_this_system() -> OpenKeyboard:
    return windows_keyboard if sys.platform == "win32" else uinput_keyboard


def _page_server(settings: AgentSettings, page: PatronPage) -> PageServer:
    try:
        return PageServer(
            page,
            port=settings.page.port,
            key=secrets.token_urlsafe(32),
            language=PageLanguage(settings.language),
        )
    except OSError as error:
        raise WrongSettings(f"port {settings.page.port} of this machine: {error.strerror}") from None


def _shuffled(digits: str) -> str:
    keys = list(digits)
    random.SystemRandom().shuffle(keys)
    return "".join(keys)
