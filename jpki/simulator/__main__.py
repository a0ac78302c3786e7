"""Run a simulated card: ``python -m jpki.simulator --card-file FILE --vpcd HOST:PORT``.

The card lies on the virtual reader until the process is ended. With ``--control SOCKET`` it can be
steered (see ``jpki.simulator.host``) and waits there for ``insert``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from jpki.simulator.card import SimulatedCard
from jpki.simulator.host import CardHost, CardNotNoticed, ControlServer
from jpki.simulator.vpcd import DEFAULT_PORT


def main(arguments: list[str] | None = None) -> int:
    """Serve one card; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m jpki.simulator", description=__doc__)
    parser.add_argument("--card-file", type=Path, required=True, help="written by SimulatedCard.save")
    parser.add_argument("--vpcd", default=f"127.0.0.1:{DEFAULT_PORT}", metavar="HOST:PORT")
    parser.add_argument("--control", type=Path, metavar="SOCKET", help="path of a unix socket to make")
    options = parser.parse_args(arguments)
    address, _, port = options.vpcd.rpartition(":")
    try:
        host = CardHost(SimulatedCard.load(options.card_file), address, int(port))
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"{options.card_file}: {error}")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if options.control is not None:
        server = ControlServer(options.control, host)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    else:
        try:
            host.insert()
        except CardNotNoticed as error:
            sys.stderr.write(f"{error}\n")
            return 1
    stopped.wait()
    host.remove()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
