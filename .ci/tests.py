"""Run the tests in two halves at the same time, for machines have two cores, and say how much is covered.

The halves share nothing: each starts its own databases, readers and browsers. Exit code 0 only if both pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

CORE = "tests/bridge/core"
HALVES = {
    "core": [CORE],
    "rest": ["tests", f"--ignore={CORE}"],
}


def main() -> int:
    """Run both, show what each printed, combine what they covered."""
    with tempfile.TemporaryDirectory() as folder:
        running = {name: _start(name, arguments, Path(folder)) for name, arguments in HALVES.items()}
        codes = {name: process.wait() for name, process in running.items()}
        for name in HALVES:
            print((Path(folder) / f"{name}.log").read_text(encoding="utf-8"), flush=True)
        coverage = [sys.executable, "-m", "coverage"]
        subprocess.run([*coverage, "combine", *(f"{folder}/{name}.coverage" for name in HALVES)], check=True)
        subprocess.run([*coverage, "report"], check=True)
    failed = sorted(name for name, code in codes.items() if code != 0)
    print(f"tests: {', '.join(failed)} failed" if failed else "tests: both halves passed")
    return 1 if failed else 0


def _start(name: str, arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "--cov", "--cov-report=", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "COVERAGE_FILE": str(folder / f"{name}.coverage")}
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


if __name__ == "__main__":
    sys.exit(main())
