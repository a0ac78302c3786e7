"""One HTTP exchange with Koha over ``requests``: bounded, never redirected, errors translated.

``ERRORS`` is the one place where the exceptions of ``requests`` become ours. They are not chained:
they carry the URL, and the URL of a patron search carries a card number.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from types import MappingProxyType
from typing import Any

import requests
from requests import exceptions
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError

from koha_client.errors import (
    FIRST_FAILING_STATUS,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    KohaError,
    KohaUnavailable,
    MalformedAnswer,
    ReadTimedOut,
    RequestNotSent,
    TlsFailed,
    error_for_answer,
)

MAXIMUM_BODY_SIZE = 1024 * 1024
"""Far above any answer that we ask for (a page of a list), far below what would hurt."""

_PIECE_SIZE = 16 * 1024

ERRORS: Mapping[type[exceptions.RequestException], type[KohaUnavailable]] = MappingProxyType(
    {
        exceptions.RequestException: ConnectionLost,
        exceptions.ConnectionError: ConnectionLost,  # or ConnectFailed: see error_for_exception
        exceptions.ConnectTimeout: ConnectTimedOut,
        exceptions.ReadTimeout: ReadTimedOut,
        exceptions.Timeout: ReadTimedOut,
        exceptions.SSLError: TlsFailed,
        exceptions.ProxyError: ConnectFailed,
        exceptions.RetryError: ConnectionLost,
        exceptions.ChunkedEncodingError: MalformedAnswer,
        exceptions.ContentDecodingError: MalformedAnswer,
        exceptions.InvalidJSONError: MalformedAnswer,
        exceptions.JSONDecodeError: MalformedAnswer,
        exceptions.StreamConsumedError: MalformedAnswer,
        exceptions.HTTPError: MalformedAnswer,
        exceptions.TooManyRedirects: MalformedAnswer,
        exceptions.URLRequired: RequestNotSent,
        exceptions.MissingSchema: RequestNotSent,
        exceptions.InvalidSchema: RequestNotSent,
        exceptions.InvalidURL: RequestNotSent,
        exceptions.InvalidHeader: RequestNotSent,
        exceptions.InvalidProxyURL: RequestNotSent,
        exceptions.UnrewindableBodyError: RequestNotSent,
    }
)


def error_for_exception(exception: exceptions.RequestException) -> KohaUnavailable:
    """Return our error for an exception of ``requests``; its text is our own."""
    kind = next(ERRORS[parent] for parent in type(exception).__mro__ if parent in ERRORS)
    not_connected = any(isinstance(argument, MaxRetryError) for argument in exception.args)
    if type(exception) is exceptions.ConnectionError and not_connected:
        return ConnectFailed()  # requests has one class for "not connected" and "lost"
    return kind()


@dataclass(frozen=True)
class HttpAnswer:
    """What Koha answered: a status below 300 and a body of at most ``MAXIMUM_BODY_SIZE`` bytes."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    total_count: int | None = None
    """``X-Total-Count``: how many records a list has on all of its pages."""

    def json(self) -> object:
        """Return the JSON value of the body; raises ``MalformedAnswer``."""
        if self.content_type.partition(";")[0].strip().lower() != "application/json":
            raise MalformedAnswer("the answer is not application/json")
        try:
            value: object = json.loads(self.body.decode("utf-8"))
        except (ValueError, RecursionError):
            pass  # raised below, so that the body does not travel on as the cause
        else:
            return value
        raise MalformedAnswer("the answer is not JSON in UTF-8")


def random_request_id() -> int:
    """Return an id for ``x-koha-request-id``, which Koha's contract declares an integer."""
    return secrets.randbelow(2**31)


class Transport:
    """HTTP to Koha, shared by the client and its authentication. Safe to share among threads.

    Time-outs are in seconds: for the connection, for the silence before the answer, and once more
    for the whole of its body. *clock* returns monotonic seconds.
    Proxy and CA settings of the environment are honoured as ``requests`` documents them.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
        user_agent: str = "koha_client",
        session: requests.Session | None = None,
        new_request_id: Callable[[], int] = random_request_id,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._clock = clock
        self._new_request_id = new_request_id
        self._session = session or requests.Session()
        self._session.headers.update(
            {
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # what is not compressed cannot grow when unpacked
                "User-Agent": user_agent,
            }
        )
        # A session cookie of Koha's staff pages must not speak for us in the next request.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        _keep_queries_out_of_the_log()

    def request(
        self,
        method: str,
        url: str,
        auth: AuthBase,
        *,
        params: Mapping[str, str] | None = None,
        document: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Send a request, with *document* as its JSON body. Raises ``KohaError``.

        It is sent once more where there was no connection, and a GET also where that was lost: Koha
        may just have closed an idle one. A second failure is the answer.
        """
        once_more = (ConnectFailed, ConnectionLost) if method == "GET" else (ConnectFailed,)
        try:
            return self._send(method, url, auth, params=params, json=document, headers=headers)
        except once_more:
            pass
        return self._send(method, url, auth, params=params, json=document, headers=headers)

    def post_form(self, url: str, auth: AuthBase, form: Mapping[str, str]) -> HttpAnswer:
        """Send a form, once. Raises ``KohaError``."""
        return self._send("POST", url, auth, data=form)

    def close(self) -> None:
        """Close the connections that are kept for the next request."""
        self._session.close()

    def _send(
        self,
        method: str,
        url: str,
        auth: AuthBase,
        *,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> HttpAnswer:
        try:
            with self._session.request(
                method,
                url,
                **content,
                headers={**(headers or {}), "x-koha-request-id": str(self._new_request_id())},
                auth=auth,
                timeout=(self._connect_timeout, self._read_timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                body = self._read_body(response)
        except exceptions.RequestException as exception:
            error: KohaError = error_for_exception(exception)
        except ReadTimeoutError:
            error = ReadTimedOut()
        except HTTPError:  # urllib3's base: what it says while the body is read
            error = MalformedAnswer("the answer broke off or cannot be decoded")
        else:
            count = response.headers.get("X-Total-Count", "")
            answer = HttpAnswer(
                response.status_code,
                response.headers.get("Content-Type", ""),
                body,
                int(count) if count.isdecimal() else None,
            )
            if answer.status < FIRST_FAILING_STATUS:
                return answer
            error = error_for_answer(answer.status, _json_or_none(answer))
        raise error  # outside the except block: nothing of requests travels along

    def _read_body(self, response: requests.Response) -> bytes:
        """Read a body piece by piece as it arrives, so that neither size nor time runs away."""
        deadline = self._clock() + self._read_timeout
        body = bytearray()
        while piece := response.raw.read1(_PIECE_SIZE, decode_content=True):
            body += piece
            if len(body) > MAXIMUM_BODY_SIZE:
                raise MalformedAnswer(f"the answer is longer than {MAXIMUM_BODY_SIZE} bytes")
            if self._clock() > deadline:
                raise ReadTimedOut
        return bytes(body)


def _json_or_none(answer: HttpAnswer) -> object:
    try:
        return answer.json()
    except MalformedAnswer:
        return None


_LOGGERS_WITH_URLS = ("urllib3.connectionpool", "urllib3.util.retry")


def _without_query(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            argument.partition("?")[0] if isinstance(argument, str) else argument for argument in record.args
        )
    return True


def _keep_queries_out_of_the_log() -> None:
    """Cut the query off the URLs that urllib3 logs at DEBUG: a search's query is a card number."""
    for name in _LOGGERS_WITH_URLS:
        logging.getLogger(name).addFilter(_without_query)
