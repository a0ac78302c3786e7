import json
import threading

import pytest
import requests

from koha_client import KohaClient, KohaRejected, KohaUnauthorized, MalformedAnswer, OAuth2ClientCredentials
from koha_client.transport import HttpAnswer

GOOD = {"access_token": "abc.def", "token_type": "Bearer", "expires_in": 3600}


class TokenRoute:
    """In the place of the transport: a token route that counts and can be held up."""

    def __init__(self):
        self.granted = 0
        self.answer = GOOD
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()

    def post_form(self, url, auth, form):
        self.asked.set()
        assert self.open.wait(90)
        self.granted += 1
        answer = dict(self.answer)
        if "access_token" in answer:
            answer["access_token"] = f"{answer['access_token']}{self.granted}"
        return HttpAnswer(200, "application/json", json.dumps(answer).encode())


@pytest.fixture
def token_route():
    return TokenRoute()


@pytest.fixture
def seconds():
    return [0.0]


@pytest.fixture
def auth(token_route, seconds):
    return OAuth2ClientCredentials(
        "http://koha/api/v1", "id", "hidden", token_route, clock=lambda: seconds[0]
    )


def authorize(auth):
    request = requests.Request("GET", "http://koha/api/v1/patrons").prepare()
    return auth(request).headers["Authorization"]


def test_a_token_is_kept_until_shortly_before_its_end(auth, token_route, seconds):
    assert authorize(auth) == "Bearer abc.def1"
    seconds[0] = 3539.9
    assert authorize(auth) == "Bearer abc.def1"
    seconds[0] = 3540.0
    assert authorize(auth) == "Bearer abc.def2"


def test_a_short_token_lives_for_half_its_time(auth, token_route, seconds):
    token_route.answer = {**GOOD, "expires_in": 10}
    authorize(auth)
    seconds[0] = 4.9
    authorize(auth)

    assert token_route.granted == 1
    seconds[0] = 5.0
    authorize(auth)
    assert token_route.granted == 2


def test_many_threads_fetch_one_token(auth, token_route):
    token_route.open.clear()
    values = []
    threads = [threading.Thread(target=lambda: values.append(authorize(auth))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert token_route.asked.wait(90)
    token_route.open.set()
    for thread in threads:
        thread.join(90)

    assert values == ["Bearer abc.def1"] * 8
    assert token_route.granted == 1


@pytest.mark.parametrize(
    "change",
    [
        {"token_type": "MAC"},
        {"token_type": None},
        {"access_token": "two words"},
        {"access_token": "line\r\nX-Evil: 1"},
        {"expires_in": "3600"},
        {"expires_in": True},
        {"expires_in": 0},
    ],
    ids=str,
)
def test_a_malformed_token_is_refused(auth, token_route, change):
    token_route.answer = {**GOOD, **change}

    with pytest.raises(MalformedAnswer):
        authorize(auth)


def test_a_koha_without_oauth2_is_told(raw_server, transport):
    body = b'{"error": "Unimplemented grant type"}'
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 37\r\n\r\n"
    with raw_server(head + body) as server:
        auth = OAuth2ClientCredentials(server.base_url, "id", "hidden", transport)
        with pytest.raises(KohaUnauthorized, match="grants no tokens"):
            authorize(auth)


def test_another_refusal_of_the_token_route_stays_what_it_is(raw_server, transport):
    with raw_server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as server:
        auth = OAuth2ClientCredentials(server.base_url, "id", "hidden", transport)
        with pytest.raises(KohaRejected) as caught:
            authorize(auth)

    assert caught.value.status == 404


def test_a_second_401_is_the_answer(koha, raw_server, transport, client_id, client_secret):
    auth = OAuth2ClientCredentials(koha.base_url, client_id, client_secret, transport)
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    with raw_server(refusal) as server, pytest.raises(KohaUnauthorized):
        KohaClient(server.base_url, auth, transport).get_patron(51)

    assert len(server.requests) == 2
    assert koha.tokens_granted == 2


def test_netrc_is_not_asked_for_the_token_route(raw_server, transport, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with raw_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as server:
        auth = OAuth2ClientCredentials(server.base_url, "id", "hidden", transport)
        with pytest.raises(KohaUnauthorized):
            authorize(auth)

    assert b"Authorization" not in server.requests[0]
