import socket
import threading
from contextlib import contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from koha_client import KohaClient, KohaVersion, OAuth2ClientCredentials, Transport
from koha_client.simulator import KohaRestServer, demo_state

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=ZoneInfo("Asia/Tokyo"))
CLIENT_ID = "bridge-client"
CLIENT_SECRET = "a-client-secret-nobody-may-see"


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self, moment=NOW):
        self.moment = moment

    def __call__(self):
        return self.moment


@pytest.fixture(autouse=True)
def _no_proxy_of_the_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def state(clock):
    return demo_state(clock)


@pytest.fixture
def koha(state):
    with KohaRestServer(state, client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as server:
        yield server


@pytest.fixture
def transport():
    transport = Transport(connect_timeout=30, read_timeout=30)
    yield transport
    transport.close()


@pytest.fixture
def client_of(transport):
    """A client of any of the servers here."""

    def make(server):
        auth = OAuth2ClientCredentials(server.base_url, CLIENT_ID, CLIENT_SECRET, transport)
        return KohaClient(server.base_url, auth, transport)

    return make


@pytest.fixture
def client(koha, client_of):
    return client_of(koha)


@pytest.fixture(params=list(KohaVersion), ids=lambda version: version.value)
def any_koha(request, state):
    """A Koha of each release, one after the other."""
    with KohaRestServer(
        state, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, version=request.param
    ) as server:
        yield server


@pytest.fixture
def client_of_any(any_koha, client_of):
    return client_of(any_koha)


@pytest.fixture
def client_id():
    return CLIENT_ID


@pytest.fixture
def client_secret():
    return CLIENT_SECRET


class RawServer:
    """A server on loopback that answers every request with the same bytes, then closes.

    With *hold* it waits for the client to give up before it closes; with *drip* it then sends blanks,
    one by one, for as long as the client listens. ``requests`` holds what was received.
    """

    def __init__(self, answer, *, hold=False, drip=False):
        self.requests = []
        self._hold = hold
        self._drip = drip
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/api/v1"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(60)
                request = connection.recv(65536)
                if not request:  # the fixture's own knock
                    return
                self.requests.append(request)
                try:
                    self._send(connection)
                except OSError:
                    continue  # the client had read enough

    def _send(self, connection):
        connection.sendall(self._answer)
        if self._hold:
            connection.recv(1)  # returns when the client has given up
        while self._drip and not self._client_has_gone(connection):
            connection.sendall(b" ")

    def _client_has_gone(self, connection):
        connection.settimeout(0.02)
        try:
            return connection.recv(1) == b""
        except TimeoutError:
            return False

    def close(self):
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._socket.close()


@pytest.fixture
def raw_server():
    @contextmanager
    def serve(answer, **behaviour):
        server = RawServer(answer, **behaviour)
        try:
            yield server
        finally:
            server.close()

    return serve
