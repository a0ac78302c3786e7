"""The text of ``docs/apdu.md``, made from the constants and from recorded transcripts. Pure but for ``main``.

``python -m jpki.documentation tests/vectors/apdu > docs/apdu.md`` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jpki.apdu import CommandApdu
from jpki.constants import (
    ALLOWED_FILES,
    CURRENT_FILE,
    JPKI_APPLICATION_ID,
    READABLE_FILES,
    SELECT_BY_NAME,
    SHORT_FILE_IDENTIFIER,
    ElementaryFile,
    Instruction,
    TokenKind,
)
from jpki.status import StatusWord, error_for

HEAD = f"""\
# What is said to the card

Made from `jpki/constants.py`, `jpki/status.py` and the transcripts in `tests/vectors/apdu`, to which the
tests hold the code: `python -m jpki.documentation tests/vectors/apdu > docs/apdu.md`. No official
specification of the card is public; `jpki/constants.py` names the sources.

One application is selected, the JPKI one: `{JPKI_APPLICATION_ID.hex().upper()}`. Every command has the short
form of ISO/IEC 7816-4. A command that is not one of ours is stopped before it reaches the card
(`jpki.card.GuardedConnection`). `[n]` stands for any n bytes; a PIN is masked."""

LABELS = "Told by the label at the head of EF 0006, never by the answer-to-reset. Only the first is served."

STATUS_WORDS = """\
`63Cx` stands for x attempts remaining (`InvalidPinError`). One that is not here is a `CardError`."""


@dataclass(frozen=True)
class RecordedCommand:
    """One command of a transcript and its answer as written there: data or ``[length]``, status word."""

    command: CommandApdu
    answer: str


@dataclass(frozen=True)
class Transcript:
    """A recorded conversation with a card; *title* says what it shows."""

    title: str
    commands: tuple[RecordedCommand, ...]


def parse_transcript(text: str) -> Transcript:
    """Return what a file of ``# words``, ``> command`` and ``< data status word`` lines says.

    The title is its first sentence. Raises ``ValueError`` where a command is none or has no answer.
    """
    words = " ".join(line[2:] for line in text.splitlines() if line.startswith("#"))
    sent = [bytes.fromhex(line[2:]) for line in text.splitlines() if line.startswith(">")]
    received = [line[2:] for line in text.splitlines() if line.startswith("<")]
    commands = (
        RecordedCommand(CommandApdu.decode(command), answer)
        for command, answer in zip(sent, received, strict=True)
    )
    return Transcript(words.partition(". ")[0], tuple(commands))


def apdu_document(transcripts: Iterable[Transcript]) -> str:
    """Return the whole of ``docs/apdu.md``."""
    sections = [
        HEAD,
        "## Files",
        _table(("EF", "short identifier", "name", "this program"), map(_file_row, ElementaryFile)),
        "## Kinds of token",
        LABELS,
        _table(("label", "kind"), ((f"`{kind.value}`", _spoken(kind.name)) for kind in TokenKind)),
        "## Status words",
        STATUS_WORDS,
        _table(("status word", "name", "raised for it"), map(_status_row, StatusWord)),
    ]
    for transcript in transcripts:
        sections += [
            f"## {transcript.title}",
            _table(("", "command", "in words", "answer"), _transcript_rows(transcript.commands)),
        ]
    return "\n\n".join(sections) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spoken(name: str) -> str:
    return name.lower().replace("_", " ")


def _file_row(file: ElementaryFile) -> tuple[str, ...]:
    use = "selects" if file in ALLOWED_FILES else "never touches"
    if file in READABLE_FILES:
        use = "reads"
    return (f"`{file.value.hex().upper()}`", f"`{file.short_identifier:02X}`", _spoken(file.name), use)


def _status_row(status_word: StatusWord) -> tuple[str, ...]:
    good = status_word in (StatusWord.SUCCESS, StatusWord.END_OF_FILE)
    error = "–" if good else f"`{type(error_for(status_word)).__name__}`"
    return (f"`{status_word:04X}`", _spoken(status_word.name), error)


def _transcript_rows(commands: Iterable[RecordedCommand]) -> Iterator[tuple[str, ...]]:
    for number, recorded in enumerate(commands, start=1):
        masked, words = _masked(recorded.command), _in_words(recorded.command)
        yield str(number), f"`{masked}`", words, f"`{recorded.answer}`"


def _masked(command: CommandApdu) -> str:
    """Return the command in hexadecimal with a PIN masked, though the transcripts hold test PINs only."""
    encoded = command.encode().hex().upper()
    if command.ins != Instruction.VERIFY or not command.data:
        return encoded
    header = replace(command, data=b"").encode().hex().upper()
    return f"{header}{len(command.data):02X}{'**' * len(command.data)}"


def _in_words(command: CommandApdu) -> str:
    match command.ins:
        case Instruction.SELECT if command.p1 == SELECT_BY_NAME:
            return "SELECT the JPKI application"
        case Instruction.SELECT:
            return f"SELECT {_spoken(ElementaryFile(command.data).name)}"
        case Instruction.READ_BINARY if command.p1 & SHORT_FILE_IDENTIFIER:
            return f"READ BINARY {command.le} bytes of {_referenced(command.p1)}"
        case Instruction.READ_BINARY:
            return f"READ BINARY {command.le} bytes at {command.p1 << 8 | command.p2}"
        case Instruction.VERIFY:
            what = "the PIN" if command.data else "nothing: attempts remaining?"
            return f"VERIFY {what} ({_referenced(command.p2)})"
        case Instruction.PERFORM_SECURITY_OPERATION:
            return f"COMPUTE DIGITAL SIGNATURE over a DigestInfo ({_referenced(command.p2)})"
    raise ValueError(f"{command!r} is not one of ours")


def _referenced(reference: int) -> str:
    """Return the file that P1 or P2 names."""
    if reference == CURRENT_FILE:
        return "the file selected last"
    identifier = reference - SHORT_FILE_IDENTIFIER
    return next(_spoken(file.name) for file in ElementaryFile if file.short_identifier == identifier)


def main(directory: str) -> int:
    """Write the document made from the transcripts in *directory* to standard output."""
    files = sorted(Path(directory).glob("*.txt"))
    sys.stdout.write(apdu_document(parse_transcript(file.read_text(encoding="utf-8")) for file in files))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
