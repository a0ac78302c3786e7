"""A WSGI application on a port of this machine, for the tests that need one to talk to over the network."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager

from werkzeug.serving import make_server


def closing_its_answers(app):
    """Return *app*, whose answers close themselves.

    Werkzeug's server does not close the answer to a browser that has gone away, as one does that loads its
    next page before it has the icon of the last; the open file is then the failure of whatever test runs.
    """

    def answer(environ, start_response):
        with ExitStack() as stack:
            body = app(environ, start_response)
            if hasattr(body, "close"):
                stack.callback(body.close)
            yield from body

    return answer


@contextmanager
def served(app):
    """Serve *app* in threads for the block; gives its address."""
    server = make_server("127.0.0.1", 0, closing_its_answers(app), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
