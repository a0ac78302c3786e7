"""The tests' own web server."""

from __future__ import annotations

import socket
import struct
import threading
from urllib.parse import urlsplit

from tests.serving import served

RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER`` of a socket that is closed without a word."""


class Answer:
    """One that waits within, and says when it is closed."""

    def __init__(self):
        self.is_written, self.browser_is_gone, self.is_closed = (threading.Event() for _ in range(3))

    def __iter__(self):
        yield b"<svg/>"
        self.is_written.set()
        self.browser_is_gone.wait(60)

    def close(self):
        self.is_closed.set()


def test_the_answer_to_a_browser_that_has_gone_away_is_closed():
    answer = Answer()

    def app(_environ, start_response):
        start_response("200 OK", [("Content-Length", "6")])
        return answer

    with served(app) as address:
        browser = socket.create_connection(("127.0.0.1", urlsplit(address).port))
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        browser.sendall(b"GET /icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.is_written.wait(60)
        browser.close()
        answer.browser_is_gone.set()
        assert answer.is_closed.wait(60)
