"""A simulated Koha by which staff sign in."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from bridge.environment import KohaSignIn
from bridge.patrons.koha import KohaStaffDirectory
from koha_client import KohaClient, OAuth2ClientCredentials, Transport
from koha_client.simulator import KohaRestServer, SimulatedPatron, demo_state
from koha_client.versions import CIRCULATE

KOHA_CLIENT = ("bridge", "a-secret-of-the-bridge")


class StaffKoha:
    """A simulated Koha with two members of staff, of whom the first may lend. ``asked`` are its requests."""

    hanako, jiro = 801, 802
    userid = "hanako.koha"
    password = "Tosho-2026-secret"

    def __init__(self):
        self.state = demo_state(lambda: datetime.now().astimezone())
        self._add(self.hanako, self.userid, CIRCULATE)
        self._add(self.jiro, "jiro.koha")
        self.server = KohaRestServer(self.state, client_id=KOHA_CLIENT[0], client_secret=KOHA_CLIENT[1])
        self.asked = []
        self._answer, self.server.answer = self.server.answer, self._keep
        self.transport = Transport(connect_timeout=30, read_timeout=30)
        auth = OAuth2ClientCredentials(self.server.base_url, *KOHA_CLIENT, self.transport)
        client = KohaClient(self.server.base_url, auth, self.transport)
        self.sign_in = KohaSignIn(KohaStaffDirectory(client, CIRCULATE), timedelta(minutes=5))

    def switch_on(self, environment, library_id):
        """Let the staff of a library sign in here."""
        libraries = environment.libraries
        libraries[library_id] = replace(libraries[library_id], koha_sign_in=self.sign_in)

    def change(self, patron_id, **changes):
        self.state.put_patron(replace(self.state.get_patron(patron_id), **changes))

    @property
    def passwords_tried(self):
        return sum(target.endswith("/auth/password/validation") for target in self.asked)

    @property
    def tries_counted(self):
        return self.state.get_patron(self.hanako).login_attempts

    def _add(self, patron_id, userid, *permissions):
        self.state.put_patron(
            SimulatedPatron(
                patron_id,
                f"S-{patron_id}",
                userid,
                "職員",
                "某",
                "PT",
                None,
                password=self.password,
                permissions=frozenset(permissions),
            )
        )

    def _keep(self, method, target, headers, body):
        self.asked.append(target.partition("?")[0])
        return self._answer(method, target, headers, body)


@pytest.fixture
def staff_koha():
    koha = StaffKoha()
    with koha.server:
        yield koha
    koha.transport.close()
