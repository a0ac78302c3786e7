"""``python -m bench [AREA ...]``: measure, one JSON object a line on stdout, the rest on stderr."""

from __future__ import annotations

import sys
from importlib import import_module

AREAS = ("admin", "agent", "jpki", "koha", "links", "revocation", "sip2")


def main(arguments: list[str]) -> int:
    """Measure the areas named, or all; return 2 for an area that does not exist."""
    unknown = [area for area in arguments if area not in AREAS]
    if unknown:
        print(f"no such area: {', '.join(unknown)}; there are: {', '.join(AREAS)}", file=sys.stderr)
        return 2
    for area in arguments or AREAS:
        for figure in import_module(f"bench.{area}").measure():
            if figure.goal is not None:  # what has no goal is for people
                print(figure.as_json(), flush=True)
            print(f"  {figure.as_text()}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
