"""The librarian at the counter, as a browser without a screen: log in, find, start a link, watch, unlink."""

from __future__ import annotations

import re
import time
from html import unescape
from http import HTTPStatus

import requests

from bridge.links.consent import STANDARD_VERSION

SECONDS = 20.0
CSRF_FIELD = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


LINK_TO_END = re.compile(r"/admin/links/[0-9a-f]+/unlink")


REASON_CELL = re.compile('<td class="col-ended_reason"[^>]*>([^<]*)</td>')


class DeskError(Exception):
    """The admin did not do what the librarian asked."""


class Desk:
    """A librarian's browser at the admin of *base_url*."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._session = requests.Session()
        self._session.trust_env = False  # loopback needs no proxy

    def log_in(self, login_name: str, password: str) -> None:
        """Log in. Raises ``DeskError``."""
        page = self._get("/admin/login")
        page = self._post("/admin/login", page, login_name=login_name, password=password)
        if "/admin/login" in page.url:
            raise DeskError("log-in refused")

    def find_patron(self, cardnumber: str) -> requests.Response:
        """Return the page that shows the patron with this library card."""
        return self._post("/admin/counter/", self._get("/admin/counter/"), cardnumber=cardnumber)

    def start_link(self, cardnumber: str, terminal_id: str, **choices: str | list[str]) -> str:
        """Start a link for a patron at a counter terminal; return the request's id.

        *choices* are further fields of the page's form.
        """
        page = self.find_patron(cardnumber)
        page = self._post(
            "/admin/counter/start",
            page,
            cardnumber=cardnumber,
            terminal_id=terminal_id,
            consent_version=STANDARD_VERSION,
            consented="y",
            **choices,
        )
        if "/requests/" not in page.url:
            raise DeskError("the link could not be started")
        return page.url.rsplit("/", 1)[1]

    def start_identification(self) -> str:
        """Ask whose card the next one is at the library's only counter; return the request's id."""
        page = self._post("/admin/counter/identify", self._get("/admin/counter/"))
        if "/requests/" not in page.url:
            raise DeskError("it could not be asked whose card it is")
        return page.url.rsplit("/", 1)[1]

    def answer(self, request_id: str) -> str:
        """Return the page that says whose card it was."""
        return self._get(f"/admin/counter/requests/{request_id}").text

    def unlink(self, cardnumber: str) -> requests.Response:
        """End the link of a patron who has one; return the page that follows, with its notices."""
        address = LINK_TO_END.search(self.find_patron(cardnumber).text)
        if address is None:
            raise DeskError("the patron has no link")
        form = self._get(address[0])
        return self._post(address[0], form, reason="patron_request", confirmed="y")

    def link_of(self, cardnumber: str) -> str:
        """Return the id of the link of a patron who has one."""
        address = LINK_TO_END.search(self.find_patron(cardnumber).text)
        if address is None:
            raise DeskError("the patron has no link")
        return address[0].split("/")[3]

    def report_lost(self, cardnumber: str) -> requests.Response:
        """End every link of a patron by library card alone; return the page that follows."""
        page = self.find_patron(cardnumber)
        return self._post("/admin/counter/lost", page, cardnumber=cardnumber, confirmed="y")

    def reasons_of_links(self) -> list[str]:
        """Return what the list of links says of those that have ended or are suspended, the newest first."""
        cells = REASON_CELL.findall(self._get("/admin/links/").text)
        return [unescape(cell) for cell in cells if cell.strip()]

    def links_on_the_list(self) -> list[str]:
        """Return the addresses at which the listed links can be ended."""
        return LINK_TO_END.findall(self._get("/admin/links/").text)

    def may_open(self, address: str) -> bool:
        """Return whether an address shows this librarian anything, rather than that it does not exist."""
        response = self._session.get(self._base_url + address, timeout=SECONDS)
        return response.status_code != HTTPStatus.NOT_FOUND

    def watch(self, request_id: str, seen: str | None = None) -> dict[str, object]:
        """Return how far an order has come, as the page's script sees it.

        With the ``tag`` of what was *seen*, as soon as that is no longer so, or after some seconds.
        """
        query = "" if seen is None else f"?seen={seen}"
        state: dict[str, object] = self._get(f"/admin/counter/requests/{request_id}/state{query}").json()
        return state

    def cancel(self, request_id: str) -> None:
        """Take the order back."""
        address = f"/admin/counter/requests/{request_id}"
        self._post(f"{address}/cancel", self._get(address))

    def _get(self, path: str) -> requests.Response:
        return self._checked(self._session.get(self._base_url + path, timeout=SECONDS))

    def _post(self, path: str, page: requests.Response, **fields: str | list[str]) -> requests.Response:
        """Send a form of *page*, with the CSRF token that stands in it."""
        token = CSRF_FIELD.search(page.text)
        if token is None:
            raise DeskError(f"no form on {page.url}")
        data = {**fields, "csrf_token": unescape(token[1])}
        return self._checked(self._session.post(self._base_url + path, data=data, timeout=SECONDS))

    @staticmethod
    def _checked(response: requests.Response) -> requests.Response:
        if not response.ok:
            raise DeskError(f"{response.request.method} {response.request.path_url}: {response.status_code}")
        return response


def wait_for_end(desk: Desk, request_id: str, *, deadline_seconds: float = SECONDS) -> dict[str, object]:
    """Watch a link until nothing more will change; return its last state."""
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        state = desk.watch(request_id)
        if not state["is_open"]:
            return state
        time.sleep(0.1)
    raise DeskError("the link did not come to an end in time")
