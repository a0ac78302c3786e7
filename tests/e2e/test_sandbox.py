"""The vendor's sandbox, and the examples of the documentation run against it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SECONDS = 120


def koha_jpki(*arguments):
    return [sys.executable, "-m", "bridge", *arguments]


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """A sandbox that runs, as the variables that it prints."""
    folder = tmp_path_factory.mktemp("sandbox") / "files"
    errors = folder.with_name("errors.log")
    with (
        errors.open("w") as log,
        subprocess.Popen(
            koha_jpki("sandbox", str(folder)), stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield read_variables(process, errors)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0, errors.read_text()


def read_variables(process, errors):
    found = {}
    while "SIP2_PORT" not in found:
        line = process.stdout.readline()
        assert line, errors.read_text()
        name, _, value = line.strip().partition("=")
        found[name] = value
    return found


@pytest.mark.parametrize("program", [[sys.executable, "borrow.py"], ["sh", "borrow.sh"]], ids=["py", "sh"])
def test_the_examples_of_the_documentation_get_a_token(variables, program):
    example = [*program[:-1], str(EXAMPLES / program[-1])]
    ended = subprocess.run(
        example, env={**os.environ, **variables}, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().isdigit()


def test_the_sandbox_keeps_its_files_to_its_owner(variables):
    for name in ("COUNTER_TOKEN_FILE", "SELF_CHECK_TOKEN_FILE"):
        assert Path(variables[name]).stat().st_mode & 0o077 == 0
    assert (Path(variables["CARD"]) / "card.key").stat().st_mode & 0o077 == 0


def test_the_sandbox_refuses_a_folder_with_something_in_it(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    ended = subprocess.run(
        koha_jpki("sandbox", str(tmp_path)), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 2
    assert "not empty" in ended.stderr
