"""``python -m fuzz.one TARGET SECONDS CORPUS``: fuzz one target in this process, which libFuzzer ends."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["jpki"]):
    from fuzz.targets import make_targets
    from jpki.simulator.pki import CardPki

FINDINGS = Path("build/fuzz")
LONGEST_INPUT = 4096


def main(name: str, seconds: str, corpus: str) -> None:
    """Fuzz the target of this name, with an empty folder for its corpus.

    What makes it fail is left in ``build/fuzz``.
    """
    logging.disable()  # a refusal a line would be thousands in a second
    now = datetime.now(UTC)
    target = next(target for target in make_targets(CardPki.create(now), now) if target.name == name)
    FINDINGS.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        Path(corpus, f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_INPUT}",
        f"-artifact_prefix={FINDINGS}/{name}-",
        "-timeout=10",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], corpus, *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
