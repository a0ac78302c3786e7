"""Card numbers, names and credentials are in no log line and in no exception, at any level."""

import logging
import traceback
from http import HTTPStatus

import pytest

from koha_client import (
    ExtendedAttribute,
    KohaClient,
    KohaError,
    NewPatron,
    OAuth2ClientCredentials,
    PasswordRules,
)
from koha_client.simulator import DemoPatron
from koha_client.simulator.replies import RestReply

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


PASSWORD = "Tosho-2026-secret"
NEW_NUMBER = "20260000000094"
NEW = NewPatron("新規", "CPL", "PT", NEW_NUMBER, "shinki", "七子", details={"city": "見本市"})
ATTRIBUTE = ExtendedAttribute("SCHOOL", "見本市立第一小学校")
WRITES = {
    "create": lambda client: client.create_patron(NEW),
    "card number": lambda client: client.change_cardnumber(51, NEW_NUMBER, client.get_patron(51).updated_on),
    "password": lambda client: client.set_password(51, PASSWORD, PasswordRules()),
    "attribute": lambda client: client.add_extended_attribute(51, ATTRIBUTE),
}
SECRETS = (NEW_NUMBER, "新規", "七子", "見本市", PASSWORD)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_write_logs_no_secret(client, client_secret, caplog, write):
    caplog.set_level(logging.DEBUG)

    write(client)

    assert_no_secret(caplog.text, client_secret)
    assert not any(secret in caplog.text for secret in SECRETS)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_refused_write_tells_no_secret(client, koha, client_secret, caplog, write):
    """Koha's words repeat all that was sent, as they may."""
    caplog.set_level(logging.DEBUG)
    honest = koha.answer

    def refuse(method, target, headers, body):
        if method == "GET" or "oauth" in target:
            return honest(method, target, headers, body)
        return RestReply(HTTPStatus.BAD_REQUEST, {"error": f"No: {body.decode()} {' '.join(SECRETS)}"})

    koha.answer = refuse

    with pytest.raises(KohaError) as caught:
        write(client)

    text = caplog.text + everything_of(caught.value)
    if hasattr(caught.value, "messages"):  # Koha's own words, for whoever asks for them by name
        text = text.replace(repr(vars(caught.value)), "")
    assert_no_secret(text, client_secret)
    assert not any(secret in text for secret in SECRETS)
