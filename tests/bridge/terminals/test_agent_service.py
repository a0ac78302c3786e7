"""``koha-jpki agent run``: pcscd, the page in Chromium, and the machine at the other end of a serial line."""

import os
import re
import select
import signal
import subprocess
import sys
import tty
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from bridge.agent.run import ExitCode
from bridge.demo.processes import free_port
from jpki.simulator.card import CardFaults
from jpki.simulator.reader import VirtualReader

PIN = "4937"
ROOT = Path(__file__).parents[3]
SECONDS = 90

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def virtual_reader():
    with VirtualReader() as reader:
        yield reader


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"], timeout=120_000
        )
        yield browser
        browser.close()


@pytest.fixture
def line():
    """The self-check machine's end of a serial line, and the agent's."""
    machine, agent = os.openpty()
    tty.setraw(agent)
    yield machine, os.ttyname(agent)
    os.close(machine)
    os.close(agent)


@contextmanager
def agent_running(virtual_reader, server, token, folder, *, output=""):
    """Run the agent with a settings file in *folder*; yield the process and the page's address."""
    (folder / "terminal.token").write_text(token, encoding="ascii")
    (folder / "terminal.token").chmod(0o600)
    settings = folder / "agent.toml"
    settings.write_text(
        f'bridge_url = "{server.url}"\ntoken_file = "terminal.token"\n'
        f"[page]\nport = {free_port()}\nscramble_keys = true\n{output}",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "agent", "run", "--as-root", "--settings", str(settings)],
        cwd=ROOT,
        env={**os.environ, **virtual_reader.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        first = process.stderr.readline()
        assert first.startswith("The patron's page: "), first + process.stderr.read()
        yield process, first.split()[-1]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=SECONDS)
        process.said = said + errors


@contextmanager
def display(browser, url):
    context = browser.new_context(viewport={"width": 1024, "height": 768})
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(url)
    page.wait_for_selector("#languages button")
    yield page
    context.close()


def touch_pin(page):
    page.wait_for_selector("#pad button")
    for digit in PIN:
        page.get_by_role("button", name=digit, exact=True).click()


def received(descriptor):
    """Return a line; the kernel brings it over in its own time."""
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([descriptor], [], [], SECONDS)
        assert readable, line
        line += os.read(descriptor, 64)
    return line


def open_session(bridge):
    with bridge.engine.connect() as connection:
        return connection.scalar(text("SELECT session_id FROM card_session WHERE closed_at IS NULL"))


def link(bridge, server, virtual_reader, browser, card, folder):
    bridge.start_link()
    with (
        agent_running(virtual_reader, server, bridge.counter_token, folder) as (process, url),
        display(browser, url) as page,
    ):
        card.insert()
        touch_pin(page)
        page.wait_for_selector('body[data-tone="good"]')
        assert "登録しました" in page.inner_text("#headline")
        page.wait_for_selector("#notice:has-text('カードを取ってください')")
        card.remove()
    assert process.returncode == ExitCode.DONE
    assert PIN not in process.said


def test_a_card_borrows_through_page_and_serial_line(
    bridge, server, virtual_reader, browser, make_card, line, tmp_path
):
    machine, device = line
    card = virtual_reader.add_card(make_card())
    (tmp_path / "counter").mkdir()
    link(bridge, server, virtual_reader, browser, card, tmp_path / "counter")

    output = f'[output]\nkind = "serial"\ndevice = "{device}"\nsuffix = "\\r\\n"\n'
    with (
        agent_running(virtual_reader, server, bridge.self_check_token, tmp_path, output=output) as (
            process,
            url,
        ),
        display(browser, url) as page,
    ):
        page.wait_for_selector("#headline:has-text('置いてください')")
        card.insert()
        touch_pin(page)
        page.wait_for_selector('body[data-tone="good"]')
        token = received(machine)
        assert token.endswith(b"\r\n")
        assert token.strip().isdigit()
        assert token.strip().decode() not in page.content()
        card.remove()
        assert card.state().verify_count == 2
        page.wait_for_selector("#headline:has-text('手続き中です')")
        bridge.services.borrowing.close(open_session(bridge), "patron_done")
        page.wait_for_selector("#headline:has-text('番号はもう使えません')")
    assert process.returncode == ExitCode.DONE
    assert token.strip().decode() not in process.said
    assert PIN not in process.said
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert all(token.strip() not in content for content in kept)
    # By themselves; a port or a token may hold the digits by chance.
    assert not any(
        re.search(rb"(?<![0-9A-Za-z])%s(?![0-9A-Za-z])" % PIN.encode(), content) for content in kept
    )


def test_a_card_taken_away_while_the_pin_is_asked_is_told_at_once(
    bridge, server, virtual_reader, browser, make_card, tmp_path
):
    card = virtual_reader.add_card(make_card())
    bridge.start_link()
    with (
        agent_running(virtual_reader, server, bridge.counter_token, tmp_path) as (_process, url),
        display(browser, url) as page,
    ):
        card.insert()
        page.wait_for_selector("#pad button")
        card.remove()
        page.wait_for_selector('body[data-tone="bad"]')
        assert "カードが離れました" in page.inner_text("#headline")
        assert page.locator("#pad button").count() == 0
    assert card.state().verify_count == 0


def test_a_machine_that_is_gone_is_told_and_the_token_shown_nowhere(
    bridge, server, virtual_reader, browser, make_card, tmp_path
):
    card = virtual_reader.add_card(make_card())
    (tmp_path / "counter").mkdir()
    link(bridge, server, virtual_reader, browser, card, tmp_path / "counter")
    output = f'[output]\nkind = "serial"\ndevice = "{tmp_path}/ttyUSB9"\n'
    with (
        agent_running(virtual_reader, server, bridge.self_check_token, tmp_path, output=output) as (
            process,
            url,
        ),
        display(browser, url) as page,
    ):
        card.insert()
        touch_pin(page)
        page.wait_for_selector("#headline:has-text('番号を渡せませんでした')")
        card.remove()
        page.wait_for_selector("#headline:has-text('置いてください')")  # and not: the machine is in use
    assert process.returncode == ExitCode.DONE


def test_a_card_that_is_torn_in_signing_is_asked_for_no_second_pin(
    bridge, server, virtual_reader, browser, make_card, tmp_path
):
    card = virtual_reader.add_card(make_card(faults=CardFaults(tear_after=11)))
    bridge.start_link()
    with (
        agent_running(virtual_reader, server, bridge.counter_token, tmp_path) as (_process, url),
        display(browser, url) as page,
    ):
        card.insert()
        touch_pin(page)
        page.wait_for_selector('body[data-tone="bad"]')
    assert card.state().verify_count <= 1


def test_a_token_that_a_killed_agent_left_in_its_file_is_taken_away(
    bridge, server, virtual_reader, browser, tmp_path
):
    left = tmp_path / "token.txt"
    left.write_text("98012345678905\r", encoding="ascii")
    output = f'[output]\nkind = "file"\npath = "{left}"\n'
    with (
        agent_running(virtual_reader, server, bridge.self_check_token, tmp_path, output=output) as (_, url),
        display(browser, url) as page,
    ):
        page.wait_for_selector("#headline:has-text('置いてください')")
        assert not left.exists()


def test_wrong_settings_end_the_agent_in_plain_words(tmp_path):
    settings = tmp_path / "agent.toml"
    settings.write_text('bridge_url = "https://bridge.example"\n', encoding="utf-8")
    command = [sys.executable, "-m", "bridge", "agent", "run", "--settings", str(settings)]
    ended = subprocess.run(
        [*command, "--as-root"], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == ExitCode.WRONG_SETTINGS
    assert "token_file: missing" in ended.stderr


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="this user is not root")
def test_root_is_refused(tmp_path):
    command = [sys.executable, "-m", "bridge", "agent", "run", "--settings", str(tmp_path / "agent.toml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == ExitCode.WRONG_SETTINGS
    assert "no root" in ended.stderr
