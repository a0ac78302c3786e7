"""Everything that the story needs, started on loopback: from the test CA to the SIP2 proxy.

Installed with the product's own commands, as an administrator would: ``keys generate``, ``trust import``,
``init-db``, ``librarian add``, ``terminal add``, ``serve``, ``sip2-proxy``.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from bridge.demo.cards import CardTable, DemoCard, open_table
from bridge.demo.kiosk import SelfCheckMachine
from bridge.demo.koha import SimulatedKoha
from bridge.demo.processes import LOOPBACK, Part, PartFailedError, command, free_port
from jpki.simulator.card import SimulatedCard
from jpki.simulator.ocsp_responder import OcspResponder
from jpki.simulator.pki import Authority, CardPki, CardProfile
from koha_client.simulator.demo_data import ADULT, LINKED_ADULT, DemoPatron, demo_state
from koha_client.simulator.entities import SimulatedPatron
from koha_client.simulator.state import KohaState

LIBRARY_ID = "central"
SECOND_LIBRARY_ID = "harbour"
SETTINGS_FILE = "bridge.toml"
PIN = "1234"
WRONG_PIN = "9999"
COMMAND_SECONDS = 60


@dataclass(frozen=True)
class DemoAccount:
    """A demo log-in; it opens nothing outside the demo."""

    login_name: str
    password: str


LIBRARIAN = DemoAccount("demo", "demo-demo-demo")
SECOND_LIBRARIAN = DemoAccount("harbour", "harbour-harbour")
KIOSK_ACCOUNT = DemoAccount("selfcheck1", "selfcheck1-password")


PROFILES = {"ending": CardProfile.EXPIRES_SOON}
"""What is special about a card's certificate."""


@dataclass(frozen=True)
class Place:
    """A terminal and the file that holds its token."""

    terminal_id: str
    token_file: Path


@dataclass(frozen=True)
class DemoCards:
    """The cards on the table: one that is used throughout, one that comes to grief, one never linked.

    And those of a life: one whose certificate ends soon, the one after its renewal, the one after its loss,
    and a child's.
    """

    resident: DemoCard
    second: DemoCard
    stranger: DemoCard
    ending: DemoCard
    renewed: DemoCard
    reissued: DemoCard
    childs: DemoCard


@dataclass(frozen=True)
class SecondLibrary:
    """Another town's library on the same bridge, with a Koha, terminals and staff of its own."""

    library_id: str
    counter: Place
    self_check: Place
    proxy_port: int
    koha: KohaState


@dataclass(frozen=True)
class Stack:
    """The running parts, and the handles by which the story plays its people."""

    bridge_url: str
    proxy_port: int
    koha_url: str
    ocsp_url: str
    directory: Path
    table: CardTable
    cards: DemoCards
    counter: Place
    self_check: Place
    koha: KohaState
    second_library: SecondLibrary
    pki: CardPki = field(repr=False)

    def kiosk(self) -> SelfCheckMachine:
        """Return a self-check machine, to be logged in by ``with``."""
        return self._machine(self.proxy_port)

    def second_kiosk(self) -> SelfCheckMachine:
        """Return a machine of the second library."""
        return self._machine(self.second_library.proxy_port)

    def _machine(self, port: int) -> SelfCheckMachine:
        return SelfCheckMachine(
            LOOPBACK,
            port,
            login=KIOSK_ACCOUNT.login_name,
            password=KIOSK_ACCOUNT.password,
            log_directory=self.directory,
        )

    @property
    def kiosk_login(self) -> str:
        """The SIP2 log-in of the demo's machine, with its password."""
        return f"{KIOSK_ACCOUNT.login_name} / {KIOSK_ACCOUNT.password}"

    def patron(self, patron: DemoPatron) -> SimulatedPatron:
        """Return Koha's record of a patron."""
        found = self.koha.find_patron_by_identifier(patron.value)
        if found is None:
            raise LookupError(patron.name)
        return found

    def run_command(self, *arguments: str) -> str:
        """Run one of the product's commands, as an administrator would; return what it printed."""
        return _run(command("--config", str(self.directory / SETTINGS_FILE), *arguments), "")

    def loans_of(self, patron: DemoPatron) -> set[str]:
        """Return the barcodes that Koha has on loan to a patron."""
        return {loan.barcode for loan in self.koha.loans_of(self.patron(patron))}

    def open_links_of_patron(self, patron: DemoPatron) -> Sequence[Mapping[str, object]]:
        """Return the rows of the database, of all libraries, as somebody would see who stole it.

        Both Kohas of the demo happen to give a patron the same number.
        """
        with closing(sqlite3.connect(self.directory / "bridge.sqlite3")) as database:
            database.row_factory = sqlite3.Row
            rows = database.execute(
                "SELECT * FROM card_link WHERE ended_at IS NULL AND patron_id = ?",
                [self.patron(patron).patron_id],
            )
            return [dict(row) for row in rows]

    def revoke(self, card: DemoCard) -> None:
        """Let the CA revoke a card's certificate; the responder knows at once."""
        self.pki.revoke(card.serial_number, datetime.now(UTC))
        self.pki.write_index(self.directory / "pki")


@contextmanager
def running_stack(directory: Path, say: Callable[[str], None], *, with_reader: bool) -> Iterator[Stack]:
    """Start every part, yield the stack, stop every part. *directory* must be empty."""
    with ExitStack() as resources:
        say("test CA, cards, OCSP responder (openssl)")
        pki = CardPki.create(datetime.now(UTC))
        cards = DemoCards(**{card.name: _issue(pki, card.name) for card in fields(DemoCards)})
        pki.write(directory / "pki")
        responder = resources.enter_context(OcspResponder(directory / "pki"))

        say("Koha simulator: REST and SIP2")
        accounts = {KIOSK_ACCOUNT.login_name: KIOSK_ACCOUNT.password}
        state = demo_state(_local_now)
        koha = resources.enter_context(SimulatedKoha(state, accounts))

        second_state = demo_state(_local_now)
        second_koha = resources.enter_context(SimulatedKoha(second_state, accounts))

        web_port, proxy_port, second_proxy_port = free_port(), free_port(), free_port()
        _secret_file(directory / f"{LIBRARY_ID}_koha_client_secret", koha.client_secret)
        _secret_file(directory / f"{SECOND_LIBRARY_ID}_koha_client_secret", second_koha.client_secret)
        settings = directory / SETTINGS_FILE
        settings.write_text(
            _settings(directory, pki, responder.url, web_port)
            + _library_settings(LIBRARY_ID, "中央図書館", koha, proxy_port)
            + _library_settings(SECOND_LIBRARY_ID, "港町図書館", second_koha, second_proxy_port),
            encoding="utf-8",
        )
        say("master key, trust, database, staff, terminals (koha-jpki)")
        _install(settings, directory)
        counter, self_check = _furnish(settings, directory, LIBRARY_ID, LIBRARIAN)
        second_places = _furnish(settings, directory, SECOND_LIBRARY_ID, SECOND_LIBRARIAN)

        say("card reader")
        table = resources.enter_context(open_table(with_reader=with_reader))
        say(f"  {table.description}")

        say("middleware and admin (gunicorn), SIP2 proxy")
        for name, port in (("serve", web_port), ("sip2-proxy", proxy_port)):
            arguments = command("--config", str(settings), name)
            resources.enter_context(Part(name, arguments, port=port, log=directory / f"{name}.log"))
        yield Stack(
            bridge_url=f"http://{LOOPBACK}:{web_port}",
            proxy_port=proxy_port,
            koha_url=koha.rest_url,
            ocsp_url=responder.url,
            directory=directory,
            table=table,
            cards=cards,
            counter=counter,
            self_check=self_check,
            koha=state,
            second_library=SecondLibrary(SECOND_LIBRARY_ID, *second_places, second_proxy_port, second_state),
            pki=pki,
        )


def _local_now() -> datetime:
    return datetime.now().astimezone()


def _issue(pki: CardPki, name: str) -> DemoCard:
    material = pki.issue_card(PROFILES.get(name, CardProfile.GOOD))
    return DemoCard(name, material.serial_number, SimulatedCard.from_material(material, PIN))


def _settings(directory: Path, pki: CardPki, ocsp_url: str, web_port: int) -> str:
    """Return the settings file but for its libraries, as an administrator would write it."""
    fingerprints = [hashlib.sha256(pki.ca_certificate(authority)).hexdigest() for authority in _TRUSTED]
    return f"""\
mode = "development"

[web]
host = "{LOOPBACK}"
port = {web_port}
secret_key_file = "web_secret_key"
secure_cookies = false

[database]
url = "sqlite:///{directory / "bridge.sqlite3"}"

[keys]
master_key_file = "master.key"

[jpki]
trust_directory = "trust"
pinned_fingerprints = {fingerprints}

[revocation]
ocsp_url = "{ocsp_url}"
"""


def _library_settings(library_id: str, name: str, koha: SimulatedKoha, proxy_port: int) -> str:
    """Return the block of one library."""
    return f"""
[[library]]
library_id = "{library_id}"
name = "{name}"

[library.linked_category]
{ADULT.category_id} = "{LINKED_ADULT.category_id}"

[library.koha]
base_url = "{koha.rest_url}"
client_id = "{koha.client_id}"
client_secret_file = "{library_id}_koha_client_secret"

[library.sip2]
listen_host = "{LOOPBACK}"
listen_port = {proxy_port}
koha_host = "{LOOPBACK}"
koha_port = {koha.sip_port}
language = "ja"
"""


_TRUSTED = (Authority.AUTHENTICATION_1, Authority.AUTHENTICATION_2)


def _install(settings: Path, directory: Path) -> None:
    """Do what the README tells an administrator to do, with the same commands."""
    _secret_file(directory / "web_secret_key", secrets.token_hex(32))

    def run(*arguments: str) -> None:
        _run(command("--config", str(settings), *arguments), "")

    run("keys", "generate", str(directory / "master.key"))
    for authority in _TRUSTED:
        run("trust", "import", str(directory / "pki" / f"{authority.value}.pem"))
    run("init-db")


def _furnish(settings: Path, directory: Path, library_id: str, account: DemoAccount) -> tuple[Place, Place]:
    """Give a library a librarian, a counter and a self-check machine."""

    def run(*arguments: str, typed: str = "") -> str:
        return _run(command("--config", str(settings), *arguments), typed)

    run(
        *("librarian", "add", "--library", library_id, "--login-name", account.login_name),
        *("--display-name", "デモ 司書", "--password-stdin"),
        typed=account.password,
    )
    places = []
    for terminal_id, name, more in (
        ("counter-1", "カウンター 1", ["--kind", "counter"]),
        ("selfcheck-1", "自動貸出機 1", ["--kind", "self_check", "--sip2-login", KIOSK_ACCOUNT.login_name]),
    ):
        token = run("terminal", "add", "--library", library_id, "--id", terminal_id, "--name", name, *more)
        token_file = _secret_file(directory / f"{library_id}-{terminal_id}.token", token.strip())
        places.append(Place(terminal_id, token_file))
    return places[0], places[1]


def _secret_file(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="ascii")
    return path


def _run(arguments: list[str], typed: str) -> str:
    ended = subprocess.run(  # our own command, no shell
        arguments, input=typed + "\n", capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    if ended.returncode != 0:
        raise PartFailedError(f"{' '.join(arguments[2:])} ended with {ended.returncode}:\n{ended.stderr}")
    return ended.stdout
