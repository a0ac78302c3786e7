"""The page's HTTP server on loopback. Edge, over the standard library: one browser, on the same machine.

Who may call: a browser on this machine that opened the page itself. ``Host`` must be this server's own name
(so that a rebound DNS name gets nothing), ``Sec-Fetch-Site`` and ``Origin`` must not be another site's, and
whatever reads or changes carries the key that stands in the page (so that another page's form does not
count). No answer lets another origin read it, and no request is written to a log.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from string import Template
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from bridge.agent.page.patron_page import PatronPage
from bridge.agent.page.render import page_frame, render
from bridge.agent.page.words import PageLanguage, offered_languages

LOOPBACK = "127.0.0.1"
LONG_POLL = 20.0
"""Seconds after which a page that waits is answered all the same."""

STOP_INTERVAL = 0.05
"""Seconds between two looks whether the server is to stop."""

MAXIMUM_BODY = 1024
"""Bytes: a ticket and four digits."""

SOCKET_SECONDS = 30
"""Seconds for which a connection may say nothing."""

KEY_HEADER = "X-Page-Key"

STATIC = {
    "/patron.js": ("patron.js", "text/javascript; charset=utf-8"),
    "/patron.css": ("patron.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class PageServer(ThreadingHTTPServer):
    """Serves *page* on ``127.0.0.1:port`` (0: any free port) to whoever shows *key*."""

    daemon_threads = True

    def __init__(self, page: PatronPage, *, port: int, key: str, language: PageLanguage) -> None:
        super().__init__((LOOPBACK, port), _PageHandler)
        self.page = page
        self.key = key
        self.language = language
        self.is_closing = False

    @property
    def url(self) -> str:
        """The address for the browser on the patron's display."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    @property
    def hosts(self) -> frozenset[str]:
        """What a browser on this machine calls this server."""
        return frozenset({f"{LOOPBACK}:{self.server_port}", f"localhost:{self.server_port}"})

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a browser that goes away in the middle is no error, and a trace could hold a PIN."""


@contextmanager
def serving(server: PageServer) -> Iterator[PageServer]:
    """Serve in a thread for the block."""
    thread = threading.Thread(
        target=server.serve_forever, args=[STOP_INTERVAL], name="patron page", daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.is_closing = True
        server.shutdown()
        thread.join()
        server.server_close()


class _PageHandler(BaseHTTPRequestHandler):
    """One connection of the browser."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = SOCKET_SECONDS
    server_version = "koha-jpki"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._route(self.GETS)

    def do_POST(self) -> None:
        """Answer a POST."""
        self._route(self.POSTS)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Keep no log: nothing here is worth a line, and a body never comes near one."""

    # -- who is calling

    def _route(self, routes: Mapping[str, Callable[[_PageHandler], None]]) -> None:
        if self.server.is_closing:
            self.close_connection = True  # a connection that is kept outlives the server
            return
        if not self._is_our_page():
            self._answer(HTTPStatus.FORBIDDEN)
            return
        view = routes.get(urlsplit(self.path).path)
        if view is None:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        view(self)

    def _is_our_page(self) -> bool:
        if self.headers.get("Host", "") not in self.server.hosts:
            return False
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return False
        origin = self.headers.get("Origin")
        return origin is None or origin.removeprefix("http://") in self.server.hosts

    def _has_key(self) -> bool:
        shown = self.headers.get(KEY_HEADER, "")
        if hmac.compare_digest(shown.encode(), self.server.key.encode()):
            return True
        self._answer(HTTPStatus.FORBIDDEN)
        return False

    # -- the calls

    def _index(self) -> None:
        template = Template(_static("patron.html").decode("utf-8"))
        page = template.substitute(key=self.server.key, language=self.server.language.value)
        self._answer(HTTPStatus.OK, page.encode("utf-8"), "text/html; charset=utf-8")

    def _file(self) -> None:
        name, kind = STATIC[urlsplit(self.path).path]
        self._answer(HTTPStatus.OK, _static(name), kind)

    def _frame(self) -> None:
        if self._has_key():
            self._json(page_frame(self._language()))

    def _state(self) -> None:
        if not self._has_key():
            return
        query = parse_qs(urlsplit(self.path).query)
        version = query.get("version", ["-1"])[0]
        seen = (int(version) if version.isdecimal() else -1, query.get("tone", [""])[0])
        state, now = self.server.page.wait_for_change(seen, LONG_POLL)
        self._json(render(state, now, self._language()))

    def _barcode(self) -> None:
        if not self._has_key():
            return
        state, _now = self.server.page.state()
        if state.barcode is None:
            self._answer(HTTPStatus.NOT_FOUND)
        else:
            self._answer(HTTPStatus.OK, state.barcode, "image/svg+xml")

    def _pin(self) -> None:
        if not self._has_key():
            return
        body = self._body()
        ticket, pin = body.get("ticket"), body.get("pin")
        if not isinstance(ticket, str) or not isinstance(pin, str):
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        taken = self.server.page.submit_pin(ticket, pin)
        self._answer(HTTPStatus.NO_CONTENT if taken else HTTPStatus.CONFLICT)

    # -- reading and writing

    def _language(self) -> PageLanguage:
        wanted = parse_qs(urlsplit(self.path).query).get("language", [""])[0]
        return next((each for each in offered_languages() if each.value == wanted), self.server.language)

    def _body(self) -> dict[str, object]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAXIMUM_BODY:
            self.close_connection = True
            return {}
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    def _json(self, answer: dict[str, object]) -> None:
        body = json.dumps(answer, ensure_ascii=False).encode("utf-8")
        self._answer(HTTPStatus.OK, body, "application/json")

    def _answer(self, status: HTTPStatus, body: bytes = b"", kind: str = "text/plain") -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    GETS: ClassVar = {
        "/": _index,
        "/frame": _frame,
        "/state": _state,
        "/barcode": _barcode,
        **dict.fromkeys(STATIC, _file),
    }
    POSTS: ClassVar = {"/pin": _pin}


def _static(name: str) -> bytes:
    return (files("bridge.agent.page") / "static" / name).read_bytes()
