"""Run the tests in two halves at the same time, for machines have two cores, and say how much is covered.

The halves share nothing: each starts its own databases, readers and browsers. What both print is shown as it
comes, each line with the name of its half. Exit code 0 only if both pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

CORE = "tests/bridge/core"
HALVES = {
    "core": [CORE],
    "rest": ["tests", f"--ignore={CORE}"],
}


def main() -> int:
    """Run both, show what each prints, combine what they covered."""
    with tempfile.TemporaryDirectory() as folder:
        coverage_files = {name: f"{folder}/{name}.coverage" for name in HALVES}
        with ThreadPoolExecutor(len(HALVES)) as both:
            codes = dict(zip(HALVES, both.map(_run, HALVES, coverage_files.values()), strict=True))
        coverage = [sys.executable, "-m", "coverage"]
        subprocess.run([*coverage, "combine", *coverage_files.values()], check=True)
        subprocess.run([*coverage, "report"], check=True)
    failed = sorted(name for name, code in codes.items() if code != 0)
    print(f"tests: {', '.join(failed)} failed" if failed else "tests: both halves passed")
    return 1 if failed else 0


def _run(name: str, coverage_file: str) -> int:
    pytest = [sys.executable, "-m", "pytest", "--cov", "--cov-report=", "-p", "no:cacheprovider"]
    environment = {**os.environ, "COVERAGE_FILE": coverage_file}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen([*pytest, *HALVES[name]], env=environment, **output) as running:
        for line in running.stdout or ():
            print(f"{name}: {line}", end="", flush=True)
    return running.returncode


if __name__ == "__main__":
    sys.exit(main())
