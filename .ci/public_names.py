"""Fail where two modules define the same public class or function name.

One name means one thing in this house. Methods do not count, nor do command-line functions (their
names are the command's), Alembic's fixed names, nor the names listed in ALLOWED with a reason.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("bridge", "config", "jpki", "koha_client", "sip2_adapter")
LEFT_OUT = ("bridge/cli/", "bridge/store/migrations/")
ALLOWED = {
    "main": "the entry of a module that is run",
}


def public_definitions(path: Path) -> Iterator[str]:
    """Yield the public classes and functions at the top of a module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        is_definition = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if is_definition and not node.name.startswith("_"):
            yield node.name


def main() -> int:
    """Print every name that is defined twice; return the exit code."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for path in sorted(Path(package).rglob("*.py")):
            if not path.as_posix().startswith(LEFT_OUT):
                for name in public_definitions(path):
                    places[name].append(path.as_posix())
    twice = {name: where for name, where in places.items() if len(where) > 1 and name not in ALLOWED}
    for name, where in sorted(twice.items()):
        print(f"{name} is defined in {' and '.join(where)}")
    print(f"public names: {len(places)}, defined twice: {len(twice)}")
    return 1 if twice else 0


if __name__ == "__main__":
    sys.exit(main())
