"""The ways to a self-check machine, each as the machine sees it: keys, a line, a picture, a file, a call."""

import ctypes
import io
import json
import os
import subprocess
import sys
import termios
import threading
import tty
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bridge.agent.errors import OutputUnavailable, WrongSettings
from bridge.agent.outputs import StreamOutput, TokenFraming
from bridge.agent.outputs.barcode import BarcodeKind, BarcodeOutput, barcode_svg
from bridge.agent.outputs.key_codes import KEY_STROKES, KeyboardLayout, KeyCode
from bridge.agent.outputs.keyboard import KeyboardOutput
from bridge.agent.outputs.local_call import CallOutput
from bridge.agent.outputs.local_file import FileOutput
from bridge.agent.outputs.send_input import (
    KEYEVENTF_KEYUP,
    KEYEVENTF_SCANCODE,
    SendInputSink,
    WindowsInput,
    windows_keyboard,
)
from bridge.agent.outputs.serial_line import SerialFrame, SerialOutput
from bridge.agent.outputs.uinput import DEVICE, NAME, uinput_keyboard

TOKEN = "98012345678905"
SECONDS = 60


# -- the keyboard


class RecordedKeyboard:
    """Stands in for a device of the kernel: keeps the events, and reads them as a desktop would."""

    def __init__(self, *, fail_after=None):
        self.events = []
        self.fail_after = fail_after

    @contextmanager
    def plugged_in(self):
        yield self

    def key(self, code, *, pressed):
        if pressed and self.fail_after is not None and len(self.events) >= self.fail_after:
            raise OutputUnavailable("recorded", "gone")
        self.events.append((code, pressed))

    def typed(self, layout):
        by_stroke = {(stroke.code, stroke.shift): text for text, stroke in KEY_STROKES[layout].items()}
        by_stroke[KeyCode.ENTER, False] = "\r"
        text, shift = "", False
        for code, pressed in self.events:
            if code == KeyCode.LEFT_SHIFT:
                shift = pressed
            elif pressed:
                text += by_stroke[code, shift]
        return text


def keyboard_output(keyboard, *, layout=KeyboardLayout.JAPANESE, framing=None, pause=lambda _: None):
    return KeyboardOutput(
        keyboard, layout=layout, framing=framing or TokenFraming(), key_delay=0.01, pause=pause
    )


@pytest.mark.parametrize("layout", KeyboardLayout)
def test_a_machine_reads_the_token_between_prefix_and_suffix(layout):
    keyboard = RecordedKeyboard()
    framing = TokenFraming("A*:", "+_\t\r")
    keyboard_output(keyboard.plugged_in, layout=layout, framing=framing).send(TOKEN)
    assert keyboard.typed(layout) == f"A*:{TOKEN}+_\t\r"


def test_every_key_is_let_go_and_waited_for():
    keyboard, pauses = RecordedKeyboard(), []
    keyboard_output(keyboard.plugged_in, pause=pauses.append).send(TOKEN)
    assert pauses == [0.01] * (len(TOKEN) + 1)
    held = set()
    for code, pressed in keyboard.events:
        (held.add if pressed else held.discard)(code)
    assert not held


def test_a_keyboard_that_fails_in_the_middle_keeps_no_key_down():
    keyboard = RecordedKeyboard(fail_after=5)
    with pytest.raises(OutputUnavailable):
        keyboard_output(keyboard.plugged_in, framing=TokenFraming("ABC", "\r")).send(TOKEN)
    down = [code for code, pressed in keyboard.events if pressed]
    up = [code for code, pressed in keyboard.events if not pressed]
    assert set(down) <= set(up)


def test_a_framing_without_a_key_is_told_before_any_patron_comes():
    with pytest.raises(WrongSettings):
        keyboard_output(RecordedKeyboard().plugged_in, framing=TokenFraming("~", "\r"))


@pytest.mark.parametrize(("prefix", "suffix"), [("é", ""), ("", "\x00"), ("x" * 17, ""), ("", "９")])
def test_a_framing_that_no_scanner_sends_is_refused(prefix, suffix):
    with pytest.raises(WrongSettings):
        TokenFraming(prefix, suffix)


def test_the_kernels_own_keyboard_types_the_token(capsys):
    """Over uinput and back through evdev where the kernel has it; else what a kernel would have been told."""
    if not os.access(DEVICE, os.W_OK):
        with capsys.disabled():
            sys.stdout.write(f"\n  {DEVICE} is not here: the key events go to a recorded sink instead\n")
        with pytest.raises(OutputUnavailable) as refused:
            keyboard_output(uinput_keyboard).send(TOKEN)
        assert refused.value.device == DEVICE
        assert TOKEN not in str(refused.value)
        return
    from evdev import InputDevice, ecodes, list_devices

    events = []

    def read(device):
        for event in device.read_loop():
            if event.type == ecodes.EV_KEY:
                events.append((event.code, bool(event.value)))
            if event.type == ecodes.EV_KEY and (event.code, event.value) == (KeyCode.ENTER, 0):
                return

    @contextmanager
    def watched():
        with uinput_keyboard() as sink:
            device = next(
                each for each in (InputDevice(path) for path in list_devices()) if each.name == NAME
            )
            reader = threading.Thread(target=read, args=[device], daemon=True)
            reader.start()
            yield sink
            reader.join(SECONDS)
            device.close()

    keyboard_output(watched).send(TOKEN)
    keyboard = RecordedKeyboard()
    keyboard.events = events
    assert keyboard.typed(KeyboardLayout.JAPANESE) == f"{TOKEN}\r"


class FakeUser32:
    """Takes what user32.dll would take, and reads it through the structures' own layout."""

    def __init__(self, *, blocked=False):
        self.blocked = blocked
        self.events = []

    def SendInput(self, count, inputs, size):  # noqa: N802
        assert (count, size) == (1, ctypes.sizeof(WindowsInput))
        event = ctypes.cast(inputs, ctypes.POINTER(WindowsInput)).contents
        assert event.union.ki.wVk == 0
        assert event.union.ki.dwFlags & KEYEVENTF_SCANCODE
        if not self.blocked:
            self.events.append((event.union.ki.wScan, not event.union.ki.dwFlags & KEYEVENTF_KEYUP))
        return 0 if self.blocked else 1


def test_windows_is_told_scan_codes_in_a_structure_of_its_size():
    user32 = FakeUser32()
    SendInputSink(user32).key(KEY_STROKES[KeyboardLayout.JAPANESE]["_"].code, pressed=True)
    SendInputSink(user32).key(2, pressed=False)
    assert user32.events == [(0x73, True), (2, False)]
    # sizeof(INPUT) on 64-bit Windows is 40 (winuser.h); SendInput refuses any other.
    assert ctypes.sizeof(WindowsInput) == (40 if ctypes.sizeof(ctypes.c_void_p) == 8 else 28)


def test_a_blocked_keyboard_of_windows_is_told():
    with pytest.raises(OutputUnavailable):
        SendInputSink(FakeUser32(blocked=True)).key(2, pressed=True)


@pytest.mark.skipif(os.name == "nt", reason="this is Windows")
def test_windows_keyboard_elsewhere_is_told_in_plain_words():
    with pytest.raises(OutputUnavailable, match="not Windows"), windows_keyboard():
        pass


# -- the serial line


@pytest.fixture
def line():
    """A pair of connected lines: the machine's end as a descriptor, the agent's as a device name."""
    machine, agent = os.openpty()
    tty.setraw(agent)
    yield machine, os.ttyname(agent)
    os.close(machine)
    os.close(agent)


def read_line(descriptor, length):
    received = b""
    while len(received) < length:
        received += os.read(descriptor, 64)
    return received


@pytest.mark.parametrize(
    ("prefix", "suffix"), [("", "\r"), ("", "\r\n"), ("\x20F", "\n"), ("A", "A\r\n"), ("", "")]
)
def test_a_machine_reads_the_token_from_the_serial_line(line, prefix, suffix):
    machine, device = line
    SerialOutput(device, SerialFrame(), TokenFraming(prefix, suffix)).send(TOKEN)
    expected = f"{prefix}{TOKEN}{suffix}".encode()
    assert read_line(machine, len(expected)) == expected


def test_the_line_is_set_as_the_settings_say(line):
    machine, device = line
    output = SerialOutput(device, SerialFrame(115200, 8, "N", 2), TokenFraming())
    assert output.check() == f"serial line {device} 115200 8N2"
    output.send(TOKEN)
    attributes = termios.tcgetattr(machine)
    assert attributes[5] == termios.B115200
    assert attributes[2] & termios.CSTOPB
    assert read_line(machine, 15) == f"{TOKEN}\r".encode()


@pytest.mark.parametrize("device", ["/dev/null", __file__])
def test_a_device_that_is_no_line_is_told(device):
    with pytest.raises(OutputUnavailable):
        SerialOutput(device, SerialFrame(), TokenFraming()).check()


def test_a_line_that_is_gone_is_told_without_the_token(tmp_path):
    output = SerialOutput(str(tmp_path / "ttyUSB9"), SerialFrame(), TokenFraming())
    for attempt in (output.check, lambda: output.send(TOKEN)):
        with pytest.raises(OutputUnavailable) as refused:
            attempt()
        assert TOKEN not in str(refused.value)


def test_a_line_that_another_program_holds_is_told(line):
    import serial

    _machine, device = line
    held = serial.Serial(device, exclusive=True)
    with pytest.raises(OutputUnavailable):
        SerialOutput(device, SerialFrame(), TokenFraming()).check()
    held.close()


@pytest.mark.parametrize(
    "frame", [(9601, 8, "N", 1), (9600, 9, "N", 1), (9600, 8, "X", 1), (9600, 8, "N", 3)]
)
def test_a_frame_that_no_line_has_is_refused(frame):
    with pytest.raises(WrongSettings):
        SerialFrame(*frame)


# -- the barcode


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"], timeout=120_000
        )
        yield browser
        browser.close()


ZBAR_NAMES = {
    BarcodeKind.CODE_128: f"CODE-128:{TOKEN}",
    BarcodeKind.CODE_39: f"CODE-39:{TOKEN}",
    BarcodeKind.NW_7: f"Codabar:A{TOKEN}A",
    BarcodeKind.QR: f"QR-Code:{TOKEN}",
}


@pytest.mark.parametrize("kind", BarcodeKind)
def test_a_scanner_reads_the_barcode_from_the_screen(kind, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_content(f'<body style="background:#fff">{barcode_svg(TOKEN, kind).decode()}</body>')
    picture = tmp_path / "screen.png"
    page.screenshot(path=picture)
    page.close()
    symbology = ["-Sdisable", f"-S{ZBAR_NAMES[kind].partition(':')[0].lower().replace('-', '')}.enable"]
    if kind is BarcodeKind.QR:
        symbology[1] = "-Sqrcode.enable"
    read = subprocess.run(
        ["zbarimg", "--quiet", *symbology, str(picture)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert read.stdout.strip() == ZBAR_NAMES[kind]


@pytest.mark.parametrize("kind", BarcodeKind)
def test_the_digits_do_not_stand_in_the_picture(kind):
    assert TOKEN.encode() not in barcode_svg(TOKEN, kind)


# -- a file


def test_a_file_holds_the_token_for_its_owner_alone_and_is_wiped(tmp_path):
    path = tmp_path / "token.txt"
    path.write_text("what was there before")
    output = FileOutput(path, TokenFraming("", "\r\n"))
    assert output.check() == f"file {path}"
    output.send(TOKEN)
    assert path.read_bytes() == f"{TOKEN}\r\n".encode()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    output.wipe()
    output.wipe()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_told(tmp_path):
    output = FileOutput(tmp_path / "missing" / "token.txt", TokenFraming())
    for attempt in (output.check, lambda: output.send(TOKEN)):
        with pytest.raises(OutputUnavailable):
            attempt()
    output.wipe()


# -- a call


class Machine(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def machine():
    server = HTTPServer(("127.0.0.1", 0), Machine)
    server.received, server.status = [], 204
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_machines_own_program_is_called_once(machine):
    CallOutput(f"http://127.0.0.1:{machine.server_port}/token").send(TOKEN)
    assert machine.received == [{"token": TOKEN}]


@pytest.mark.parametrize("status", [302, 400, 500])
def test_an_answer_that_is_no_yes_is_told_and_not_repeated(machine, status):
    machine.status = status
    with pytest.raises(OutputUnavailable) as refused:
        CallOutput(f"http://127.0.0.1:{machine.server_port}/token").send(TOKEN)
    assert str(status) in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert len(machine.received) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/token",
        "https://127.0.0.1/token",
        "http://127.0.0.1.example.org/",
        "http://user@127.0.0.1/",
        "http:///token",
        "token",
    ],
)
def test_a_token_never_leaves_this_machine_by_a_call(url):
    with pytest.raises(WrongSettings):
        CallOutput(url)


def test_a_program_that_is_not_there_is_told():
    with pytest.raises(OutputUnavailable):
        CallOutput("http://127.0.0.1:1/token").send(TOKEN)


# -- standard output


def test_a_program_that_started_the_agent_reads_a_line():
    stream = io.StringIO()
    output = StreamOutput(stream)
    assert output.check()
    output.send(TOKEN)
    output.wipe()
    assert stream.getvalue() == f"{TOKEN}\n"
    stream.close()
    with pytest.raises(OutputUnavailable):
        output.send(TOKEN)


def test_a_barcode_is_shown_and_taken_away():
    shown = []
    output = BarcodeOutput(BarcodeKind.NW_7, shown.append)
    assert output.shows_itself
    assert "nw7" in output.check()
    output.send(TOKEN)
    output.wipe()
    assert shown == [barcode_svg(TOKEN, BarcodeKind.NW_7), None]


def test_no_output_repeats_the_token_in_its_repr(tmp_path, line):
    outputs = [
        FileOutput(Path(tmp_path / "t"), TokenFraming()),
        SerialOutput(line[1], SerialFrame(), TokenFraming()),
        keyboard_output(RecordedKeyboard().plugged_in),
    ]
    for output in outputs:
        output.send(TOKEN)
        assert TOKEN not in repr(output)
        assert TOKEN not in repr(vars(output))
