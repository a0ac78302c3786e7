"""The PIN is four digits, typed unseen, and checked before anything is sent."""

import getpass
import io
import os
import pty
import sys

import pytest

from bridge.agent.errors import GivenUp, WrongSettings
from bridge.agent.pin import PipedPinPad, TerminalPinPad, ask_pin
from bridge.agent.screen import VisitStep


class ScreenOfSteps:
    def __init__(self):
        self.steps = []

    def show_step(self, step, **values):
        assert not values
        self.steps.append(step)

    def show_error(self, error):
        raise AssertionError(error)


def test_four_digits_are_taken():
    screen = ScreenOfSteps()
    pin = ask_pin(PipedPinPad(io.StringIO("0123\n9999\n")), screen)
    assert pin.ascii_bytes() == b"0123"
    assert screen.steps == [VisitStep.ENTER_PIN]


@pytest.mark.parametrize("typed", ["123", "12345", "12a4", "１２３４", " 1234", "12 4", "-123", "٣٤٥٦"])
def test_anything_else_is_asked_again(typed):
    screen = ScreenOfSteps()
    pin = ask_pin(PipedPinPad(io.StringIO(f"{typed}\n4321\n")), screen)
    assert pin.ascii_bytes() == b"4321"
    assert screen.steps == [VisitStep.ENTER_PIN, VisitStep.NOT_FOUR_DIGITS, VisitStep.ENTER_PIN]


def test_after_three_such_entries_the_agent_gives_up():
    pad = PipedPinPad(io.StringIO("1\n2\n3\n4321\n"))
    with pytest.raises(GivenUp):
        ask_pin(pad, ScreenOfSteps())


@pytest.mark.parametrize("typed", ["", "\n", "\r\n"])
def test_an_empty_entry_gives_up(typed):
    with pytest.raises(GivenUp):
        ask_pin(PipedPinPad(io.StringIO(typed)), ScreenOfSteps())


def test_a_pin_never_appears_in_an_error():
    with pytest.raises(GivenUp) as given_up:
        ask_pin(PipedPinPad(io.StringIO("98765\n98765\n98765\n")), ScreenOfSteps())
    while error := given_up.value.__context__:
        assert "98765" not in repr(error)
        given_up.value.__context__ = error.__context__


def test_a_pipe_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("1234\n"))
    with pytest.raises(WrongSettings):
        TerminalPinPad()


@pytest.fixture
def terminal(monkeypatch):
    """A pseudo-terminal as standard input; yields the keyboard's end."""
    keyboard, stdin = pty.openpty()
    with os.fdopen(stdin, "r") as stream, os.fdopen(keyboard, "wb", buffering=0) as keys:
        monkeypatch.setattr(sys, "stdin", stream)
        yield keys


def test_a_terminal_that_cannot_hide_the_pin_is_refused(terminal, monkeypatch):
    monkeypatch.setattr(getpass, "unix_getpass", getpass.fallback_getpass, raising=False)
    monkeypatch.setattr(getpass, "getpass", getpass.fallback_getpass)
    pad = TerminalPinPad()
    terminal.write(b"1234\n")
    with pytest.raises(WrongSettings):
        pad.read()
