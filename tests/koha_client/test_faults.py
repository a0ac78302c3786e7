"""Answers that Koha would not give, from a server that says exactly these bytes."""

import gzip
import json

import pytest

from koha_client import (
    BasicCredentials,
    ConnectFailed,
    ConnectionLost,
    HealthState,
    KohaClient,
    KohaRejected,
    MalformedAnswer,
    ReadTimedOut,
    RequestNotSent,
    ServerFailed,
    TlsFailed,
    Transport,
)
from koha_client.transport import MAXIMUM_BODY_SIZE


def http(status, content_type, body, *more):
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *more,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def as_json(value):
    return http("200 OK", "application/json", json.dumps(value).encode())


PATRON = {
    "patron_id": 51,
    "cardnumber": "20260000000018",
    "surname": "図書",
    "firstname": None,
    "library_id": "CPL",
    "category_id": "PT",
    "expiry_date": None,
    "restricted": False,
    "patron_card_lost": None,
    "incorrect_address": None,
}
GOOD_BODY = json.dumps(PATRON).encode()
FAULTS = {
    "an HTML page": (http("200 OK", "text/html", b"<html>"), MalformedAnswer),
    "HTML that claims to be JSON": (http("200 OK", "application/json", b"<html>"), MalformedAnswer),
    "nothing": (http("204 No Content", "application/json", b""), MalformedAnswer),
    "half a JSON value": (http("200 OK", "application/json", GOOD_BODY[:40]), MalformedAnswer),
    "half a body": (http("200 OK", "application/json", GOOD_BODY)[:-10], MalformedAnswer),
    "half a chunk": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
        MalformedAnswer,
    ),
    "a huge body": (
        http("200 OK", "application/json", b" " * (MAXIMUM_BODY_SIZE + 1)),
        MalformedAnswer,
    ),
    "a deep body": (http("200 OK", "application/json", b"[" * 200_000), MalformedAnswer),
    "another charset": (
        http("200 OK", "application/json", '{"surname": "図書"}'.encode("cp932")),
        MalformedAnswer,
    ),
    "broken gzip": (
        http("200 OK", "application/json", GOOD_BODY, "Content-Encoding: gzip"),
        MalformedAnswer,
    ),
    "a list for one patron": (as_json([PATRON]), MalformedAnswer),
    "another patron": (as_json({**PATRON, "patron_id": 52}), MalformedAnswer),
    "a redirect to another host": (
        http("302 Found", "text/html", b"", "Location: http://192.0.2.1/login"),
        KohaRejected,
    ),
    "a proxy's 404": (http("404 Not Found", "text/html", b"<html>"), KohaRejected),
    "a proxy's 502": (http("502 Bad Gateway", "text/html", b"<html>"), ServerFailed),
    "a proxy's 503": (http("503 Service Unavailable", "text/html", b"<html>"), ServerFailed),
    "Koha's 500": (
        http("500 Oops", "application/json", b'{"error_code": "internal_server_error"}'),
        ServerFailed,
    ),
    "no HTTP at all": (b"941\r\n", ConnectionLost),
    "a closed connection": (b"", ConnectionLost),
}


@pytest.fixture
def client_of():
    transports = []

    def make(base_url, read_timeout=30):
        transport = Transport(connect_timeout=30, read_timeout=read_timeout)
        transports.append(transport)
        return KohaClient(base_url, BasicCredentials("bridge", "password"), transport)

    yield make
    for transport in transports:
        transport.close()


@pytest.mark.parametrize(("answer", "error"), FAULTS.values(), ids=FAULTS.keys())
def test_a_bad_answer_is_a_typed_error(client_of, raw_server, answer, error):
    with raw_server(answer) as server, pytest.raises(error) as caught:
        client_of(server.base_url).get_patron(51)

    assert type(caught.value) is error
    assert caught.value.__context__ is None


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("answer", "behaviour"),
    [
        (b"", "hold"),
        (HEAD, "hold"),
        (HEAD + b"Content-Length: 99\r\n\r\n{", "hold"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "hold"),
        (HEAD + b"Content-Length: 9999\r\n\r\n{", "drip"),
        (HEAD + b"\r\n{", "drip"),
    ],
    ids=["silence", "half a head", "half a body", "half the chunks", "a drip", "an endless drip"],
)
def test_a_slow_answer_is_given_up(client_of, raw_server, answer, behaviour):
    with raw_server(answer, **{behaviour: True}) as server, pytest.raises(ReadTimedOut) as caught:
        client_of(server.base_url, read_timeout=0.3).get_patron(51)

    assert caught.value.__context__ is None


def test_a_body_in_chunks_is_read(client_of, raw_server):
    half = len(GOOD_BODY) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD_BODY[:half], GOOD_BODY[half:]))
    with raw_server(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n") as server:
        assert client_of(server.base_url).get_patron(51).patron_id == 51


def test_a_compressed_body_is_bounded_when_unpacked(client_of, raw_server):
    bomb = gzip.compress(b" " * (MAXIMUM_BODY_SIZE * 8))
    answer = http("200 OK", "application/json", bomb, "Content-Encoding: gzip")
    with raw_server(answer) as server, pytest.raises(MalformedAnswer, match="longer than"):
        client_of(server.base_url).get_patron(51)


def test_a_good_answer_from_the_same_server_is_read(client_of, raw_server):
    with raw_server(as_json(PATRON)) as server:
        patron = client_of(server.base_url).get_patron(51)

    assert (patron.surname, patron.firstname, patron.patron_card_lost) == ("図書", "", False)


@pytest.mark.parametrize("answer", [{}, [1], [[]], "text", None], ids=str)
def test_a_search_must_answer_with_a_list_of_patrons(client_of, raw_server, answer):
    with raw_server(as_json(answer)) as server, pytest.raises(MalformedAnswer):
        client_of(server.base_url).find_patron_by_cardnumber("1")


@pytest.mark.parametrize(
    ("answer", "times"),
    [
        (b"", 2),
        (FAULTS["a proxy's 502"][0], 1),
        (FAULTS["an HTML page"][0], 1),
        (FAULTS["a redirect to another host"][0], 1),
    ],
    ids=["lost", "502", "HTML", "redirect"],
)
def test_only_a_lost_connection_is_tried_again_and_once(client_of, raw_server, answer, times):
    with raw_server(answer) as server:
        client_of(server.base_url).check_health()

    assert len(server.requests) == times


def test_a_silent_koha_is_not_asked_twice(client_of, raw_server):
    with raw_server(b"", hold=True) as server:
        client_of(server.base_url, read_timeout=0.3).check_health()

    assert len(server.requests) == 1


def test_a_cookie_is_not_sent_back(client_of, raw_server):
    answer = http("200 OK", "application/json", GOOD_BODY, "Set-Cookie: CGISESSID=stolen; Path=/")
    with raw_server(answer) as server:
        client = client_of(server.base_url)
        client.get_patron(51)
        client.get_patron(51)

    assert not any(b"stolen" in request for request in server.requests)


def test_a_closed_port_is_no_connection(client_of, raw_server):
    with raw_server(b"") as server:
        pass

    with pytest.raises(ConnectFailed):
        client_of(server.base_url).get_patron(51)


def test_plain_http_under_an_https_address_is_a_tls_failure(client_of, raw_server):
    with raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server, pytest.raises(TlsFailed):
        client_of(server.base_url.replace("http:", "https:")).get_patron(51)


@pytest.mark.parametrize("base_url", ["ftp://koha/api/v1", "koha/api/v1", "http://"])
def test_an_impossible_address_is_told_so(client_of, base_url):
    with pytest.raises(RequestNotSent):
        client_of(base_url).get_patron(51)


def test_health_of_a_web_page_is_not_koha(client_of, raw_server):
    with raw_server(FAULTS["an HTML page"][0]) as server:
        assert client_of(server.base_url).check_health().state is HealthState.NOT_KOHA
