"""An OCSP responder for a ``CardPki``: HTTP on loopback, every answer made by ``openssl ocsp``.

openssl's own server is not used, because version 3.0 listens on all addresses.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from jpki.simulator.pki import Authority

MAXIMUM_REQUEST_SIZE = 64 * 1024
ANSWER_SECONDS = 10


class OcspResponderUnavailable(Exception):
    """The program openssl is not installed."""


class OcspResponder:
    """Answers about the cards of both CA generations; a context manager.

    ``directory`` is one that ``CardPki.write`` filled. The index is read again for every question,
    so a revocation counts as soon as ``CardPki.write_index`` has written it. ``validity_minutes`` is
    how far nextUpdate lies after thisUpdate. ``port`` 0 takes a free one.
    """

    def __init__(self, directory: Path, *, validity_minutes: int = 60, port: int = 0) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            raise OcspResponderUnavailable("the program openssl is not installed")
        command = [openssl, "ocsp", *_arguments(directory, validity_minutes)]
        handler = type("Handler", (_Handler,), {"openssl_command": command})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """RFC 6960, appendix A.1, by POST."""

    openssl_command: ClassVar[list[str]]

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if not 0 < length <= MAXIMUM_REQUEST_SIZE:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        answer = subprocess.run(
            self.openssl_command,
            input=self.rfile.read(length),
            capture_output=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
        if answer.returncode != 0:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/ocsp-response")
        self.send_header("Content-Length", str(len(answer.stdout)))
        self.end_headers()
        self.wfile.write(answer.stdout)

    def log_message(self, *_: object) -> None:
        """Say nothing: the demo's output is its story."""


def _arguments(directory: Path, validity_minutes: int) -> list[str]:
    """Return the arguments that make ``openssl ocsp`` turn a request on stdin into an answer on stdout.

    Both generations' responder certificates go into each answer, so it is trusted for the cards of
    either. A response to a request that openssl cannot read is an error, not an answer.
    """
    generations = [authority for authority in Authority if authority.is_authentication]
    bundle = directory / "authorities.pem"
    bundle.write_bytes(
        b"".join((directory / f"{generation.value}.pem").read_bytes() for generation in generations)
    )
    signer, other = (directory / f"responder-{generation.value}.pem" for generation in generations)
    return [
        *("-reqin", "-"),
        *("-respout", "-"),
        *("-index", str(directory / "index.txt")),
        *("-CA", str(bundle)),
        *("-rsigner", str(signer)),
        *("-rkey", str(directory / "responder.key")),
        *("-rother", str(other)),
        *("-rmd", "sha256"),
        *("-nmin", str(validity_minutes)),
    ]
