"""Two generations of keys at once, and the way from one to the next."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from secrets import token_bytes
from threading import Barrier, Event

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from bridge.audit.log import AuditService
from bridge.cli import main
from bridge.errors import AlreadyLinked, KeyInUse, KeyProblem
from bridge.keys.ring import KeyRing, KeyUse, MasterKey
from bridge.keys.rotation import KeyRotation, RotationProblem
from bridge.links.identifiers import IdentifierForms
from bridge.links.serial_record import read_serial_record, write_serial_record
from bridge.links.transfer import LinkTransferService
from bridge.models import (
    Actor,
    ActorKind,
    AuditTag,
    CardLink,
    IdentifierKind,
    LinkState,
    UnlinkReason,
)
from bridge.ports import EncryptedValue, KeyedRecord
from bridge.rules import LinkPolicy
from bridge.store import SqlStore
from jpki.certificate import SerialNumber

OLD, NEW = MasterKey("k1", bytes(range(32))), MasterKey("k2", bytes(range(32, 64)))
ISSUER, SERIAL = bytes(20), SerialNumber(4711)
CENTRAL = "central"
TIME_LIMIT = 90
COMMAND = Actor(ActorKind.COMMAND, "test")
MOMENT = datetime(2026, 11, 2, tzinfo=UTC)
LINK = CardLink(
    "link", CENTRAL, 52, IdentifierKind.SERIAL_NUMBER, LinkState.ACTIVE, MOMENT, MOMENT, linked_by="l1"
)

RINGS = {
    "both know both keys": ([NEW, OLD], [OLD, NEW]),
    "one does not know the new key yet": ([NEW, OLD], [OLD]),
    "the other way round": ([OLD], [NEW, OLD]),
}


def ring(*keys: MasterKey) -> KeyRing:
    return KeyRing(keys, token_bytes)


def link_directly(transaction, keys: KeyRing, clock, link_id: str, patron_id: int) -> None:
    """Add a link as the registration does, once it has looked."""
    identifiers = keys.identifiers(CENTRAL, IdentifierKind.SERIAL_NUMBER, ISSUER, SERIAL)
    if transaction.find_open_link(CENTRAL, identifiers) is not None:
        raise AlreadyLinked
    link = replace(LINK, link_id=link_id, patron_id=patron_id, linked_at=clock.now)
    record = write_serial_record(ISSUER, SERIAL)
    serial = keys.encrypt(KeyUse.SERIAL_ENCRYPTION, CENTRAL, link_id, record)
    transaction.add_link(link, identifiers[0], serial, identifiers[1:])


@pytest.mark.parametrize(("first", "second"), RINGS.values(), ids=RINGS)
def test_two_nodes_with_other_keys_first_do_not_link_one_card_twice(store, clock, first, second):
    looked, finished = Event(), Event()

    def one() -> None:
        with store.transaction() as transaction:
            link_directly(transaction, ring(*first), clock, "link-1", 51)
            looked.set()
            # On PostgreSQL the other has looked meanwhile, and seen nothing of this.
            finished.wait(0.5)

    def other() -> None:
        assert looked.wait(TIME_LIMIT)
        try:
            with store.transaction() as transaction:
                link_directly(transaction, ring(*second), clock, "link-2", 52)
        finally:
            finished.set()

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(one), pool.submit(other)]
        assert calls[0].result(TIME_LIMIT) is None
        assert isinstance(calls[1].exception(TIME_LIMIT), AlreadyLinked)
    with store.transaction() as transaction:
        assert [link.link_id for link in transaction.open_links_of_patron(CENTRAL, 51)] == ["link-1"]
        assert transaction.open_links_of_patron(CENTRAL, 52) == []


# Rotation


def without_patron_id(fleet) -> None:
    """Let the library system tell no patron's number, as over SIP2 alone."""
    koha = fleet.first.koha
    koha.patrons[51] = replace(koha.patrons[51], patron_id=None)


class Fleet:
    """One database with links of the old key, and nodes with the rings that are asked for."""

    def __init__(self, make_place, store, clock, pki) -> None:
        self._make_place, self._engine, self._clock, self._pki = make_place, store._engine, clock, pki
        self.first = self.node(OLD)
        self.first.furnish()
        self.librarian = self.first.librarian

    def node(self, *keys: MasterKey):
        """Return a node that has started with these keys."""
        keys = ring(*keys)
        store = SqlStore(self._engine, keys)
        keys.confirm(store)
        place = self._make_place(store, keys, self._clock, self._pki)
        if hasattr(self, "first"):
            for name in ("koha", "librarian", "counter", "second_counter", "self_check"):
                setattr(place, name, getattr(self.first, name))
        koha = self.first.koha if hasattr(self, "first") else place.koha
        libraries = place.environment.libraries
        many = LinkPolicy(maximum_per_patron=99)
        libraries[CENTRAL] = replace(libraries[CENTRAL], patrons=koha, links=many)
        return place


@pytest.fixture
def fleet(make_place, store, clock, pki):
    return Fleet(make_place, store, clock, pki)


def rotation(place, batch: int = 2) -> KeyRotation:
    return KeyRotation(place.environment, COMMAND, batch)


def uses(place):
    return {state.key_id: dict(state.uses) for state in rotation(place).states()}


def end_session(place, opened) -> None:
    place.borrowing.close(opened.session_id, "end_patron_session")


def test_links_made_under_the_old_key_are_used_before_during_and_after_the_rotation(fleet):
    cards = [fleet.first.card() for _ in range(5)]
    links = [fleet.first.link(card).link_id for card in cards]
    node = fleet.node(NEW, OLD)
    steps = rotation(node).rotate()
    for _ in steps:
        for card in cards:
            end_session(node, node.borrow(card))
    assert uses(node) == {"k2": {KeyedRecord.LINK: 5, KeyedRecord.AUDIT_SEAL: 2}, "k1": {}}
    rotation(node).retire("k1")
    alone = fleet.node(NEW)
    for card, link_id in zip(cards, links, strict=True):
        opened = alone.borrow(card)
        assert alone.audit(AuditTag.SESSION_OPENED)[-1].details == {"link": link_id}
        end_session(alone, opened)
    with pytest.raises(AlreadyLinked):
        alone.link(cards[0])


def test_links_under_another_systems_identifier_are_rotated_like_all_others(fleet):
    forms = IdentifierForms({IdentifierKind.PPID: re.compile("[a-z]+")})
    data = b"identifier,patron_id\nabc,51\n"

    def bring_in(place):
        service = LinkTransferService(place.environment, forms)
        day = date(2030, 3, 31)
        return service.import_links(CENTRAL, data, IdentifierKind.PPID, COMMAND, usual_day=day, dry_run=False)

    assert bring_in(fleet.first).new == 1
    node = fleet.node(NEW, OLD)
    assert [step.problems for step in rotation(node).rotate()] == [[]]
    rotation(node).retire("k1")
    alone = fleet.node(NEW)
    assert bring_in(alone).known == 1
    (row,) = LinkTransferService(alone.environment, forms).export_links(CENTRAL, IdentifierKind.PPID, COMMAND)
    assert row["identifier"] == "abc"


def test_a_rotation_that_is_left_in_the_middle_goes_on(fleet):
    for _ in range(5):
        fleet.first.link(fleet.first.card())
    node = fleet.node(NEW, OLD)
    assert next(rotation(node).rotate()).done == 2
    assert uses(node)["k1"][KeyedRecord.LINK] == 3
    steps = list(rotation(node).rotate())
    assert (steps[0].total, steps[-1].done) == (3, 3)
    assert list(rotation(node).rotate()) == []


def test_card_numbers_kept_over_sip2_alone_are_rotated(fleet):
    without_patron_id(fleet)
    link = fleet.first.link(fleet.first.card())
    node = fleet.node(NEW, OLD)
    assert uses(node)["k1"][KeyedRecord.LIBRARY_CARD] == 1
    list(rotation(node).rotate())
    rotation(node).retire("k1")
    alone = fleet.node(NEW)
    rotated = alone.registration.link(fleet.librarian, link.link_id)
    assert rotated.patron_reference.startswith("k2:")
    assert alone.keys.cardnumber_of(CENTRAL, rotated.patron_reference) == alone.cardnumber
    summary = alone.registration.find_patron(fleet.librarian, alone.cardnumber)
    assert [each.link_id for each in summary.open_links] == [link.link_id]


def test_a_key_is_not_retired_while_a_session_or_a_request_runs_on_it(fleet, clock):
    without_patron_id(fleet)
    card = fleet.first.card()
    fleet.first.link(card)
    opened = fleet.first.borrow(card)
    fleet.first.start()
    node = fleet.node(NEW, OLD)
    list(rotation(node).rotate())
    with pytest.raises(KeyInUse) as refusal:
        rotation(node).retire("k1")
    assert refusal.value.uses == {"open requests": 1, "open sessions": 1}
    assert type(node.resolve(opened)).__name__ == "Borrower"
    clock.advance(minutes=16)
    rotation(node).retire("k1")
    assert uses(fleet.node(NEW)) == {
        "k2": {KeyedRecord.LINK: 1, KeyedRecord.LIBRARY_CARD: 1, KeyedRecord.AUDIT_SEAL: 2},
        "k1": {},
    }


def test_the_audit_logs_stay_whole_and_sealed_through_a_rotation(fleet):
    fleet.first.link(fleet.first.card())
    node = fleet.node(NEW, OLD)
    list(rotation(node).rotate())
    rotation(node).retire("k1")
    alone = fleet.node(NEW)
    service = AuditService(alone.environment, alone.store.audit_log())
    assert service.libraries() == ["-", CENTRAL]
    for library in service.libraries():
        assert [each.whole for each in service.check(library)] == [True]


def test_the_current_key_and_one_that_nobody_knows_are_not_retired(fleet):
    for key_id, why in (("k1", "current"), ("k9", "no data")):
        with pytest.raises(KeyProblem, match=why):
            rotation(fleet.first).retire(key_id)


def test_a_retired_key_may_go_and_may_not_come_first_again(fleet):
    node = fleet.node(NEW, OLD)
    list(rotation(node).rotate())
    rotation(node).retire("k1")
    assert fleet.node(NEW, OLD).keys.key_ids == ("k2",)
    assert fleet.node(NEW).keys.key_ids == ("k2",)
    with pytest.raises(KeyProblem, match="k1 was retired"):
        fleet.node(OLD, NEW)


def test_a_lost_key_is_named_with_what_is_lost_at_the_start(fleet):
    fleet.first.link(fleet.first.card())
    with pytest.raises(
        KeyProblem, match="k1, which data was made with, is missing: links 1, audit seals 1 cannot"
    ):
        fleet.node(NEW)


def test_a_key_that_rows_need_is_missed_also_where_its_check_value_is_gone(fleet):
    fleet.first.link(fleet.first.card())
    with fleet.first.store._engine.begin() as connection:
        connection.execute(text("DELETE FROM key_check"))
    with pytest.raises(KeyProblem, match="k1, which data was made with, is missing"):
        fleet.node(NEW)


def break_serial(connection):
    connection.execute(text("UPDATE card_link SET serial_ciphertext = serial_nonce WHERE patron_id = 51"))


def break_digest(connection):
    connection.execute(text("UPDATE card_link SET digest = 'x' WHERE patron_id = 51"))


@pytest.mark.parametrize("damage", [break_serial, break_digest])
def test_a_link_that_cannot_be_rotated_is_named_and_keeps_its_key(fleet, damage):
    broken = fleet.first.link(fleet.first.card())
    fleet.first.start(cardnumber="L-4711-000816")
    card = fleet.first.card()
    challenge = fleet.first.registration.begin(fleet.first.counter, card.certificate_der)
    fleet.first.complete_link(fleet.first.counter, card, challenge)
    with fleet.first.store._engine.begin() as connection:
        damage(connection)
    node = fleet.node(NEW, OLD)
    steps = list(rotation(node).rotate())
    assert {(link.link_id, why) for step in steps for link, why in step.problems} == {
        (broken.link_id, RotationProblem.UNREADABLE)
    }
    assert uses(node)["k1"] == {KeyedRecord.LINK: 1}
    with pytest.raises(KeyInUse):
        rotation(node).retire("k1")


def test_a_card_that_was_linked_twice_before_is_named(fleet, clock):
    with fleet.first.store.transaction() as transaction:
        link_directly(transaction, ring(OLD), clock, "link-1", 51)
    with fleet.first.store.transaction() as transaction:
        identifier = ring(NEW).identifier(CENTRAL, IdentifierKind.SERIAL_NUMBER, ISSUER, SERIAL)
        twin = replace(LINK, link_id="link-2", linked_at=clock.now, not_after=clock.now)
        transaction.add_link(twin, identifier, EncryptedValue("k2", b"n" * 12, b"c" * 20))
    node = fleet.node(NEW, OLD)
    problems = [problem for step in rotation(node).rotate() for problem in step.problems]
    assert [(link.link_id, why) for link, why in problems] == [("link-1", RotationProblem.LINKED_TWICE)]


def test_a_rotation_does_not_bring_back_a_link_that_ends_meanwhile(fleet):
    links = sorted((fleet.first.link(fleet.first.card()) for _ in range(3)), key=lambda link: link.link_id)
    node = fleet.node(NEW, OLD)
    steps = rotation(node, batch=1).rotate()
    next(steps)
    node.registration.unlink(fleet.librarian, links[2].link_id, reason=UnlinkReason.CARD_LOST)
    assert list(steps)[-1].done == 2
    ended = node.registration.link(fleet.librarian, links[2].link_id)
    assert ended.ended_at is not None


def test_cards_are_linked_and_used_while_two_rotations_run(fleet):
    cards = [fleet.first.card() for _ in range(6)]
    for card in cards:
        fleet.first.link(card)
    node = fleet.node(NEW, OLD)
    begin = Barrier(3, timeout=TIME_LIMIT)

    def rotate() -> None:
        begin.wait()
        list(rotation(node, batch=1).rotate())

    def use() -> None:
        begin.wait()
        for card in cards:
            end_session(node, node.borrow(card))
            node.link(node.card())

    with ThreadPoolExecutor(3) as pool:
        for call in [pool.submit(rotate), pool.submit(rotate), pool.submit(use)]:
            call.result(TIME_LIMIT)
    list(rotation(node).rotate())
    assert uses(node)["k2"][KeyedRecord.LINK] == 12
    assert uses(node)["k1"] == {}
    for card in cards:
        end_session(node, node.borrow(card))


ROTATE = """
import sys
from datetime import UTC, date, datetime
from secrets import token_bytes
from bridge.environment import Environment
from bridge.keys.rotation import KeyRotation
from bridge.keys.ring import KeyRing, MasterKey
from bridge.models import Actor, ActorKind
from bridge.store import SqlStore, open_engine

ring = KeyRing([MasterKey("k2", bytes(range(32, 64))), MasterKey("k1", bytes(range(32)))], token_bytes)
store = SqlStore(open_engine(sys.argv[1]), ring)
environment = Environment(store, ring, {}, lambda: datetime.now(UTC), token_bytes)
for step in KeyRotation(environment, Actor(ActorKind.COMMAND, "test"), batch=3).rotate():
    print(step.done, flush=True)
    sys.stdin.readline()
"""


def test_no_link_is_lost_when_a_rotation_is_killed_again_and_again(fleet, clock):
    node = fleet.node(NEW, OLD)
    numbers = [SerialNumber(number) for number in range(1, 201)]
    keys = ring(OLD)
    with fleet.first.store.transaction() as transaction:
        for number in numbers:
            link = replace(LINK, link_id=f"link-{number.value}", linked_at=clock.now, not_after=clock.now)
            serial = keys.encrypt(
                KeyUse.SERIAL_ENCRYPTION, CENTRAL, link.link_id, write_serial_record(ISSUER, number)
            )
            identifier = keys.identifier(CENTRAL, IdentifierKind.SERIAL_NUMBER, ISSUER, number)
            transaction.add_link(link, identifier, serial)
    url = node.store._engine.url.render_as_string(hide_password=False)
    killed = 0
    for lines in (1, 4, 9, 2):
        process = subprocess.Popen(
            [sys.executable, "-c", ROTATE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with process:
            # It is killed in the batch after these or, come so far, behind it.
            process.stdin.write("\n" * lines)
            process.stdin.flush()
            for _ in range(lines):
                assert process.stdout.readline()
            process.kill()
        killed += process.returncode == -signal.SIGKILL
    assert killed == 4
    assert 0 < uses(node)["k1"][KeyedRecord.LINK] < 200
    list(rotation(node, batch=50).rotate())
    rotation(node).retire("k1")
    alone = ring(NEW)
    with node.store.transaction() as transaction:
        for number in numbers:
            identifiers = alone.identifiers(CENTRAL, IdentifierKind.SERIAL_NUMBER, ISSUER, number)
            assert transaction.find_open_link(CENTRAL, identifiers).link_id == f"link-{number.value}"
        links = transaction.active_links_after(None, "", 1000)
    for link in links:
        record = alone.decrypt(KeyUse.SERIAL_ENCRYPTION, CENTRAL, link.link_id, link.serial)
        assert read_serial_record(record)[1].value == int(link.link_id.removeprefix("link-"))


# The commands


@pytest.fixture
def run(installation):
    def call(*arguments: str):
        return CliRunner().invoke(main, ["-c", str(installation.path), *arguments])

    assert call("keys", "generate", str(installation.key_file)).exit_code == 0
    assert call("init-db").exit_code == 0
    added = call("terminal", "add", "--library", CENTRAL, "--id", "c1", "--name", "c", "--kind", "counter")
    assert added.exit_code == 0
    return call


def test_the_whole_way_from_one_key_to_the_next_by_commands(run, installation):
    old = installation.key_file.read_text().split()[0]
    added = run("keys", "add")
    new = installation.key_file.read_text().splitlines()[1].split()[0]
    assert (added.exit_code, new in added.stdout) == (0, True)
    assert run("keys", "make-current", new).exit_code == 0
    assert [line.split()[0] for line in installation.key_file.read_text().splitlines()] == [new, old]
    assert installation.key_file.stat().st_mode & 0o777 == 0o600
    refused = run("keys", "retire", old)
    assert (refused.exit_code, refused.stderr) == (1, "key-in-use: kept under it: audit seals 1\n")
    assert run("keys", "rotate").stdout == (
        f"0 links rotated\n{new}: current, audit seals 2\n{old}: nothing is kept under it\n"
    )
    assert run("keys", "retire", old).exit_code == 0
    installation.key_file.write_text(installation.key_file.read_text().splitlines()[0] + "\n")
    assert run("check-config").exit_code == 0
    assert run("audit", "verify").exit_code == 0
    assert (
        run("keys", "status").stdout
        == f"{new}: current, audit seals 2\n{old}: retired, not in the key file\n"
    )
    document = json.loads(run("keys", "rotate", "--json").stdout)
    assert (document["links"], document["stayed"]) == (0, [])
    assert document["keys"][0]["uses"] == {"audit seals": 2}


def test_a_lost_key_is_told_by_checking_and_by_the_status(run, installation):
    installation.key_file.unlink()
    run("keys", "generate", str(installation.key_file))
    for command in (("check-config",), ("keys", "rotate"), ("audit", "verify")):
        result = run(*command)
        assert result.exit_code == 1
        assert "is missing: audit seals 1 cannot be read without it" in result.stderr
    status = run("keys", "status")
    assert status.exit_code == 1
    assert "not in the key file, audit seals 1" in status.stdout


@pytest.mark.parametrize("command", [("add",), ("make-current", "k1")])
def test_a_key_file_that_is_not_safe_is_not_changed(run, installation, command):
    before = installation.key_file.read_bytes()
    installation.key_file.chmod(0o644)
    assert run("keys", *command).exit_code == 1
    assert installation.key_file.read_bytes() == before


def test_a_key_that_is_not_there_does_not_become_current(run, installation):
    result = run("keys", "make-current", "k9")
    assert (result.exit_code, "has no key k9" in result.stderr) == (1, True)
    assert list(installation.directory.glob("*.new")) == []


def test_the_keys_may_stand_in_the_environment_or_come_from_a_command(run, installation):
    lines = installation.key_file.read_text()
    text_before = installation.path.read_text("utf-8")
    setting = f'master_key_file = "{installation.key_file}"'
    both = run_with(installation, {"KOHA_JPKI_KEYS_MASTER_KEYS": lines})("check-config")
    assert (both.exit_code, "keys: give one of" in both.stderr) == (2, True)
    installation.path.write_text(text_before.replace(setting, ""), "utf-8")
    none = run("check-config")
    assert (none.exit_code, "keys: give one of" in none.stderr) == (2, True)
    variable = run_with(installation, {"KOHA_JPKI_KEYS_MASTER_KEYS": lines})
    assert variable("check-config").exit_code == 0
    assert variable("keys", "add").exit_code == 2
    command = f'master_key_command = ["/bin/cat", "{installation.key_file}"]'
    installation.path.write_text(text_before.replace(setting, command), "utf-8")
    assert run("check-config").exit_code == 0
    assert run("audit", "verify").exit_code == 0


def run_with(installation, environment):
    return lambda *arguments: CliRunner(env=environment).invoke(
        main, ["-c", str(installation.path), *arguments]
    )
