"""The end without warning: a small part of what ``make soak`` does a thousand times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.kill import Bridge, Clock, problems

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 30), ("postgresql", 20)])
def test_a_process_killed_at_any_moment_leaves_no_half_link_and_loses_none(request, tmp_path, kind, kills):
    command = [sys.executable, "-m", "fuzz.kill", "--kills", str(kills)]
    if kind == "postgresql":
        command += ["--url", request.getfixturevalue("empty_postgresql_url")]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert killed.returncode == 0, killed.stdout + killed.stderr
    assert f"{kills} kills, 0 problems" in killed.stdout


def test_a_link_that_was_told_and_is_not_there_is_noticed(sqlite_url, pki):
    bridge = Bridge(sqlite_url, Clock(), pki)
    place = bridge.furnish()
    assert place.counter in bridge.staff.terminals("central")
    assert list(problems(bridge, sqlite_url, set())) == []
    assert list(problems(bridge, sqlite_url, {("linked", "x")})) == ["a link that was told is lost"]
    bridge.store.dispose()
