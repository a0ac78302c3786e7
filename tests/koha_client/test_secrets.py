"""Card numbers, names and credentials are in no log line and in no exception, at any level."""

import logging
import traceback

import pytest

from koha_client import KohaClient, KohaError, OAuth2ClientCredentials
from koha_client.simulator import DemoPatron

CARDNUMBER = DemoPatron.FINE.value


def everything_of(error):
    parts = ["".join(traceback.format_exception(error))]
    seen = error
    while seen is not None:
        parts += [repr(seen), str(seen), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(parts)


def assert_no_secret(text, client_secret):
    for secret in (CARDNUMBER, "図書", "太郎", client_secret, "Bearer "):
        assert secret not in text


def test_a_successful_search_logs_no_secret(client, client_secret, caplog):
    caplog.set_level(logging.DEBUG)

    client.find_patron_by_cardnumber(CARDNUMBER)

    assert "GET /patrons" in caplog.text
    assert "GET /api/v1/patrons" in caplog.text  # urllib3's own line, its query cut off
    assert_no_secret(caplog.text, client_secret)


ANSWERS = {
    "refused": f"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: 43\r\n\r\n"
    f'{{"error": "No such thing: {CARDNUMBER}"}}  ',
    "echoing page": f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{CARDNUMBER}",
    "echoing JSON": f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{CARDNUMBER}x",
    "broken": f"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{CARDNUMBER}",
    "not HTTP": CARDNUMBER,
    "closed": "",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_failed_search_tells_no_secret(
    koha, raw_server, transport, client_id, client_secret, caplog, answer
):
    caplog.set_level(logging.DEBUG)
    auth = OAuth2ClientCredentials(koha.base_url, client_id, client_secret, transport)

    with raw_server(answer.encode()) as server, pytest.raises(KohaError) as caught:
        KohaClient(server.base_url, auth, transport).find_patron_by_cardnumber(CARDNUMBER)

    assert any(CARDNUMBER.encode() in request for request in server.requests)
    assert_no_secret(caplog.text, client_secret)
    text = everything_of(caught.value)
    if hasattr(caught.value, "messages"):  # Koha's own words, for whoever asks for them by name
        text = text.replace(repr(vars(caught.value)), "")
    assert_no_secret(text, client_secret)


def test_no_credential_is_in_a_repr(client, transport, client_id, client_secret):
    client.find_patron_by_cardnumber(CARDNUMBER)
    auth = OAuth2ClientCredentials("http://koha", client_id, client_secret, transport)

    assert_no_secret(repr(client) + repr(auth) + repr(client._auth._token), client_secret)
