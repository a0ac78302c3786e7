"""Everything that the story needs, started on loopback: from the test CA to the SIP2 proxy.

Installed with the product's own commands, as an administrator would: ``keys generate``, ``trust import``,
``init-db``, ``librarian add``, ``terminal add``, ``serve``, ``sip2-proxy``.
"""

from __future__ import annotations

import hashlib
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    pki: CardPki = field(repr=False)

    def kiosk(self) -> SelfCheckMachine:
        """Return a self-check machine, to be logged in by ``with``."""
        return SelfCheckMachine(
            LOOPBACK,
            self.proxy_port,
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

        web_port, proxy_port = free_port(), free_port()
        _secret_file(directory / "koha_client_secret", koha.client_secret)
        settings = directory / SETTINGS_FILE
        settings.write_text(
            _settings(directory, pki, responder.url, koha, web_port, proxy_port), encoding="utf-8"
        )
        say("master key, trust, database, staff, terminals (koha-jpki)")
        counter, self_check = _install(settings, directory)

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
            pki=pki,
        )


def _local_now() -> datetime:
    return datetime.now().astimezone()


def _issue(pki: CardPki, name: str) -> DemoCard:
    material = pki.issue_card(PROFILES.get(name, CardProfile.GOOD))
    return DemoCard(name, material.serial_number, SimulatedCard.from_material(material, PIN))


def _settings(
    directory: Path, pki: CardPki, ocsp_url: str, koha: SimulatedKoha, web_port: int, proxy_port: int
) -> str:
    """Return the settings file, as an administrator would write it (see ``config/example.toml``)."""
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

[[library]]
library_id = "{LIBRARY_ID}"
name = "中央図書館"

[library.linked_category]
{ADULT.category_id} = "{LINKED_ADULT.category_id}"

[library.koha]
base_url = "{koha.rest_url}"
client_id = "{koha.client_id}"
client_secret_file = "koha_client_secret"

[library.sip2]
listen_host = "{LOOPBACK}"
listen_port = {proxy_port}
koha_host = "{LOOPBACK}"
koha_port = {koha.sip_port}
language = "ja"
"""


_TRUSTED = (Authority.AUTHENTICATION_1, Authority.AUTHENTICATION_2)


def _install(settings: Path, directory: Path) -> tuple[Place, Place]:
    """Do what the README tells an administrator to do, with the same commands."""
    _secret_file(directory / "web_secret_key", secrets.token_hex(32))

    def run(*arguments: str, typed: str = "") -> str:
        return _run(command("--config", str(settings), *arguments), typed)

    run("keys", "generate", str(directory / "master.key"))
    for authority in _TRUSTED:
        run("trust", "import", str(directory / "pki" / f"{authority.value}.pem"))
    run("init-db")
    run(
        *("librarian", "add", "--library", LIBRARY_ID, "--login-name", LIBRARIAN.login_name),
        *("--display-name", "デモ 司書", "--password-stdin"),
        typed=LIBRARIAN.password,
    )
    places = []
    for terminal_id, name, more in (
        ("counter-1", "カウンター 1", ["--kind", "counter"]),
        ("selfcheck-1", "自動貸出機 1", ["--kind", "self_check", "--sip2-login", KIOSK_ACCOUNT.login_name]),
    ):
        token = run("terminal", "add", "--library", LIBRARY_ID, "--id", terminal_id, "--name", name, *more)
        places.append(Place(terminal_id, _secret_file(directory / f"{terminal_id}.token", token.strip())))
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
