"""The story that the demo tells is a test: every step must do what it says, on real parts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FEWEST_STEPS = 27
"""Linking, borrowing, the larger limit, refusals, the life of a link: a story that lost a chapter must not
pass."""

ROOT = Path(__file__).resolve().parents[2]


def tell(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge", "demo", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def all_steps_held(ended: subprocess.CompletedProcess[str]) -> bool:
    held, told = re.search(r"(\d+) of (\d+) steps held\.", ended.stdout).groups()
    return held == told and int(told) >= FEWEST_STEPS


@pytest.mark.pcsc
def test_the_story_holds_through_pcscd_and_a_virtual_reader():
    ended = tell()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "pcscd, virtual reader" in ended.stdout
    assert all_steps_held(ended)


def test_the_story_holds_behind_the_connection_seam():
    ended = tell("--without-reader")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "connection seam" in ended.stdout
    assert all_steps_held(ended)
