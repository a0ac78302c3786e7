"""A self-check machine as the demo sees one: the independent SIP2 client ``Sip2`` from PyPI.

It knows nothing of this project. All that it receives is kept, so that the story can prove that the
card number was never among it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from Sip2.sip2 import Sip2

INSTITUTION_ID = "CENTRAL"
SOCKET_SECONDS = 20


@dataclass(frozen=True)
class KioskAnswer:
    """One answer of the library system as the machine reads it."""

    code: str
    accepted: bool
    fields: Mapping[str, Sequence[str]] = field(repr=False)

    def first(self, field_id: str) -> str:
        """Return the first value of a field, empty where it is absent."""
        return next(iter(self.fields.get(field_id, [])), "")

    @property
    def screen_message(self) -> str:
        """What the machine shows its patron (AF)."""
        return " ".join(self.fields.get("AF", []))


class SelfCheckMachine:
    """One machine, logged in, from ``with`` to the end of the block."""

    def __init__(self, host: str, port: int, *, login: str, password: str, log_directory: Path) -> None:
        self._login = login
        self._password = password
        self._received: list[str] = []
        with _without_its_chatter():
            client = Sip2()
        client.hostName = host
        client.hostPort = port
        client.tlsEnable = False
        client.socketTimeout = SOCKET_SECONDS
        client.institutionId = INSTITUTION_ID
        client.logfile_path = str(log_directory)
        client.loglevel = "CRITICAL"  # its log would hold the terminal's password
        self._client = client

    def __enter__(self) -> Self:
        self._client.connect()
        answer = self._send(self._client.sip_login_request(self._login, self._password))
        if answer[:3] != "941":
            raise ConnectionError(f"the kiosk's log-in was answered {answer[:3]}")
        self._send(self._client.sip_sc_status_request())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _without_its_chatter(), contextlib.suppress(OSError):
            self._client.disconnect()
            del self._client

    @property
    def received(self) -> str:
        """Everything that ever came over this machine's line."""
        return "".join(self._received)

    def patron_information(self, patron_identifier: str) -> KioskAnswer:
        """63: who is this? Accepted means that the machine lets the patron go on (BL Y)."""
        self._client.patron = patron_identifier
        text = self._send(self._client.sip_patron_information_request("none"))
        fields = self._client.sip_patron_information_response(text)["variable"]
        return KioskAnswer(text[:2], fields.get("BL", [""])[0] == "Y", fields)

    def check_out(self, barcode: str) -> KioskAnswer:
        """11: borrow a book for the patron of this session."""
        text = self._send(self._client.sip_checkout_request(barcode))
        return KioskAnswer(text[:2], text[2:3] == "1", self._client.sip_checkout_response(text)["variable"])

    def check_in(self, barcode: str) -> KioskAnswer:
        """09: return a book."""
        text = self._send(self._client.sip_checkin_request(barcode))
        return KioskAnswer(text[:2], text[2:3] == "1", self._client.sip_checkin_response(text)["variable"])

    def end_patron_session(self) -> KioskAnswer:
        """35: the patron is done."""
        text = self._send(self._client.sip_end_patron_session_request())
        fields = self._client.sip_end_patron_session_response(text)["variable"]
        return KioskAnswer(text[:2], text[2:3] == "Y", fields)

    def _send(self, request: str) -> str:
        answer: str = self._client.get_response(request)
        self._received.append(answer)
        return answer


def _without_its_chatter() -> contextlib.redirect_stdout[io.StringIO]:
    """The package prints when an object of its goes away."""
    return contextlib.redirect_stdout(io.StringIO())
