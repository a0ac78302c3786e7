"""docs/apdu.md says what the constants say and what the recorded conversations show."""

import subprocess
import sys
from pathlib import Path

import pytest

from jpki.documentation import apdu_document, parse_transcript

ROOT = Path(__file__).parents[3]
UPDATE = [sys.executable, "-m", "jpki.documentation", "tests/vectors/apdu"]


def test_the_document_is_the_one_that_constants_and_transcripts_make():
    made = subprocess.run(UPDATE, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    written = (ROOT / "docs" / "apdu.md").read_text(encoding="utf-8")
    assert written == made, "python -m jpki.documentation tests/vectors/apdu > docs/apdu.md"


def test_no_pin_stands_in_it_not_even_a_test_pin():
    document = (ROOT / "docs" / "apdu.md").read_text(encoding="utf-8")
    assert "04********" in document
    assert "31323334" not in document
    assert "39393939" not in document


def test_a_command_without_answer_is_no_transcript():
    with pytest.raises(ValueError):
        parse_transcript("# cut off\n> 00200080\n< 63C3\n> 00200080\n")


def test_a_command_that_is_not_ours_is_not_described():
    with pytest.raises(ValueError):
        apdu_document([parse_transcript("# get data\n> 00CA00F000\n< 6D00\n")])
