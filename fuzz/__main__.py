"""``python -m fuzz [SECONDS]``: fuzz every target for its share of the time, each in its own process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import UTC, datetime

from fuzz.targets import make_targets
from jpki.simulator.pki import CardPki

DEFAULT_SECONDS = 60


def main(seconds: int = DEFAULT_SECONDS) -> int:
    """Return 1 if any target failed."""
    now = datetime.now(UTC)
    names = [target.name for target in make_targets(CardPki.create(now), now)]
    share = max(1, seconds // len(names))
    failed = []
    for name in names:
        print(f"fuzz: {name} for {share} s", flush=True)
        with tempfile.TemporaryDirectory(prefix="koha-jpki-fuzz-") as corpus:
            command = [sys.executable, "-m", "fuzz.one", name, str(share), corpus]
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
    print(f"fuzz: {len(names) - len(failed)} of {len(names)} targets held", *failed, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
