"""The category for linked patrons: decided purely, moved through the services, put right afterwards.

Koha is the simulated one behind real HTTP and the real client.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from secrets import token_bytes

import pytest
from click.testing import CliRunner

from bridge.cli import main
from bridge.errors import CategoryRefused, KohaNotReachable, NoSuchPatron, PatronChanged
from bridge.keys.ring import write_new_key_file
from bridge.models import (
    AuditTag,
    CardIdentifier,
    CardLink,
    CategoryMove,
    IdentifierKind,
    LinkState,
    MoveDirection,
    MoveState,
    UnlinkReason,
)
from bridge.patrons.category import (
    CategoryService,
    MovePreview,
    ReconcileAction,
    SideEffect,
    Verdict,
    Way,
    due_move,
    preview_of,
)
from bridge.patrons.koha import KohaPatronDirectory
from bridge.ports import CategoryDetails, EncryptedValue
from bridge.store import SqlStore, open_engine, upgrade
from jpki.simulator.pki import CardProfile
from koha_client import KohaClient, KohaVersion, OAuth2ClientCredentials, Transport
from koha_client.simulator import DemoPatron, KohaRestServer, demo_state

TABLE = {"PT": "PT12"}
LINKED, BACK = MoveDirection.LINKED, MoveDirection.BACK
CLIENT = ("bridge", "s" * 40)


def move(direction, state, link_id="l1", way=None):
    start, end = way or (("PT", "PT12") if direction is LINKED else ("PT12", "PT"))
    return CategoryMove("m1", "central", link_id, 51, direction, start, end, state, None, None)


# The decision


DUE = [
    # category, last move, living links, due
    ("PT", None, {"l1"}, Way(LINKED, "PT", "PT12")),
    ("VI", None, {"l1"}, None),
    ("PT12", None, {"l1"}, None),
    ("PT", None, set(), None),
    ("PT12", move(LINKED, MoveState.DONE), {"l1"}, None),
    ("PT12", move(LINKED, MoveState.DONE), {"l2"}, None),
    ("PT", move(LINKED, MoveState.PENDING), {"l1"}, None),
    ("PT", move(LINKED, MoveState.FAILED), {"l1", "l2"}, None),
    ("PT", move(LINKED, MoveState.LEFT_ALONE), {"l1"}, None),
    ("PT", move(LINKED, MoveState.LEFT_ALONE), {"l2"}, Way(LINKED, "PT", "PT12")),
    ("PT", move(BACK, MoveState.DONE), {"l2"}, Way(LINKED, "PT", "PT12")),
    ("PT12", move(BACK, MoveState.FAILED), {"l2"}, Way(LINKED, "PT", "PT12")),
    ("PT12", move(BACK, MoveState.LEFT_ALONE), {"l2"}, None),
    (None, move(LINKED, MoveState.DONE), set(), Way(BACK, "PT12", "PT")),
    (None, move(LINKED, MoveState.FAILED), set(), Way(BACK, "PT12", "PT")),
    (None, move(LINKED, MoveState.LEFT_ALONE), set(), None),
    (None, move(BACK, MoveState.PENDING), set(), None),
    (None, move(LINKED, MoveState.DONE), {"l2"}, None),
    (None, None, {"l1"}, None),
]


@pytest.mark.parametrize(("category_id", "last", "living", "due"), DUE)
def test_what_is_due_depends_on_the_links_and_the_last_move(category_id, last, living, due):
    assert due_move(category_id, last, living, TABLE) == due


def test_a_patron_goes_back_even_where_the_table_has_changed():
    assert due_move(None, move(LINKED, MoveState.DONE), set(), {}) == Way(BACK, "PT12", "PT")


@pytest.mark.parametrize(
    ("category_id", "verdict"),
    [("PT", Verdict.MOVE), ("PT12", Verdict.ALREADY_THERE), ("ST", Verdict.LEAVE_ALONE)],
)
def test_a_patron_who_is_elsewhere_is_left_alone(category_id, verdict):
    assert Way(LINKED, "PT", "PT12").judge(category_id) is verdict


@pytest.mark.parametrize(
    ("before", "after", "effects"),
    [
        ({}, {}, ()),
        ({}, {"enrolment_fee": Decimal(300)}, (SideEffect.ENROLMENT_FEE,)),
        ({}, {"enrolment_fee": Decimal(0)}, ()),
        ({"can_be_guarantee": True}, {"can_be_guarantee": False}, (SideEffect.GUARANTORS_REMOVED,)),
        ({}, {"can_be_guarantee": False}, (SideEffect.GUARANTORS_REMOVED,)),
        ({"can_be_guarantee": False}, {"can_be_guarantee": False}, ()),
    ],
)
def test_fees_and_guarantors_are_seen_before_a_move(before, after, effects):
    known = {"PT": CategoryDetails("PT", **before), "PT12": CategoryDetails("PT12", **after)}
    assert preview_of(Way(LINKED, "PT", "PT12"), known).side_effects == effects


def test_what_koha_does_not_tell_is_said_to_be_unknown():
    way = Way(LINKED, "PT", "PT12")
    assert preview_of(way, {}).side_effects == (SideEffect.NOT_KNOWN,)
    assert preview_of(way, {"PT": CategoryDetails("PT")}).side_effects == (SideEffect.CATEGORY_MISSING,)


# Through the services, with a Koha behind HTTP


@pytest.fixture
def state(clock):
    return demo_state(clock)


@pytest.fixture
def server(state):
    with KohaRestServer(state, client_id=CLIENT[0], client_secret=CLIENT[1]) as server:
        yield server


@pytest.fixture
def directory(server):
    transport = Transport(connect_timeout=30, read_timeout=30)
    auth = OAuth2ClientCredentials(server.base_url, *CLIENT, transport)
    yield KohaPatronDirectory(KohaClient(server.base_url, auth, transport))
    transport.close()


class KohaPlace:
    """A ``Place`` whose library is on the simulated Koha."""

    def __init__(self, place, directory, state):
        self.place, self.state, self.directory = place, state, directory
        library = place.environment.libraries[place.library]
        place.environment.libraries[place.library] = replace(
            library, patrons=directory, categories=directory, linked_category=TABLE
        )
        self.categories = CategoryService(place.environment)

    def patron(self, patron=DemoPatron.FINE):
        return self.state.find_patron_by_identifier(patron.value)

    def category(self, patron=DemoPatron.FINE):
        return self.patron(patron).category_id

    def put(self, patron=DemoPatron.FINE, **changes):
        self.state.put_patron(replace(self.patron(patron), **changes))

    def link(self, card, patron=DemoPatron.FINE):
        place = self.place
        place.start(cardnumber=patron.value)
        challenge = place.registration.begin(place.counter, card.certificate_der)
        return place.complete_link(place.counter, card, challenge)

    def unlink(self, link):
        self.place.registration.unlink(self.place.librarian, link.link_id, reason=UnlinkReason.PATRON_REQUEST)

    def move(self, link, direction=LINKED):
        return self.categories.move_of_link(link.library_id, link.link_id, direction)

    def reconcile(self, *, dry_run=False):
        return list(self.categories.reconcile(self.place.library, self.place.command, dry_run=dry_run))


@pytest.fixture
def koha(place, directory, state):
    return KohaPlace(place, directory, state)


def test_linking_moves_the_patron_and_unlinking_moves_back(koha):
    link = koha.link(koha.place.card())
    assert koha.category() == "PT12"
    made = koha.move(link)
    assert (made.state, made.from_category, made.to_category, made.attempts) == (
        MoveState.DONE,
        "PT",
        "PT12",
        1,
    )
    koha.unlink(link)
    assert koha.category() == "PT"
    assert koha.move(link, BACK).state is MoveState.DONE
    moves = koha.place.audit(AuditTag.CATEGORY_MOVED)
    assert [row.details for row in moves] == [{"from": "PT", "to": "PT12"}, {"from": "PT12", "to": "PT"}]
    assert {row.subject for row in moves} == {link.link_id}


def test_the_counter_sees_the_move_and_its_side_effects_before_the_link(koha):
    patron = koha.directory.find_by_cardnumber(DemoPatron.FINE.value)
    preview = koha.categories.preview(koha.place.library, patron)
    assert isinstance(preview, MovePreview)
    assert (preview.before.name, preview.after.name) == ("一般", "一般（カード連携）")
    child = koha.directory.find_by_cardnumber(DemoPatron.CHILD.value)
    assert koha.categories.preview(koha.place.library, child) is None
    koha.link(koha.place.card())
    patron = koha.directory.find_by_cardnumber(DemoPatron.FINE.value)
    assert koha.categories.preview(koha.place.library, patron) is None


def test_koha_that_does_not_list_categories_to_us_is_told_of(koha, server):
    server.permissions = server.permissions - {"parameters:manage_patron_categories"}
    patron = koha.directory.find_by_cardnumber(DemoPatron.FINE.value)
    preview = koha.categories.preview(koha.place.library, patron)
    assert (preview.after.category_id, preview.side_effects) == ("PT12", (SideEffect.NOT_KNOWN,))


def test_koha_before_lists_of_categories_still_moves_patrons(place, state):
    transport = Transport(connect_timeout=30, read_timeout=30)
    version = KohaVersion.V22_11
    with KohaRestServer(state, client_id=CLIENT[0], client_secret=CLIENT[1], version=version) as server:
        auth = OAuth2ClientCredentials(server.base_url, *CLIENT, transport)
        directory = KohaPatronDirectory(KohaClient(server.base_url, auth, transport))
        koha = KohaPlace(place, directory, state)
        patron = directory.find_by_cardnumber(DemoPatron.FINE.value)
        assert koha.categories.preview(place.library, patron).side_effects == (SideEffect.NOT_KNOWN,)
        koha.link(place.card())
        assert koha.category() == "PT12"
        transport.close()


def test_the_directory_refuses_a_patron_that_is_no_longer_as_it_was(koha):
    patron = koha.directory.find_by_cardnumber(DemoPatron.FINE.value)
    with pytest.raises(PatronChanged):
        koha.directory.move(replace(patron, version="2020-01-01T00:00:00+09:00"), "PT12")
    with pytest.raises(NoSuchPatron):
        koha.directory.move(replace(patron, patron_id=999_999), "PT12")
    assert koha.category() == "PT"


def test_a_patron_of_another_category_is_not_moved(koha):
    link = koha.link(koha.place.card(), DemoPatron.CHILD)
    assert koha.move(link) is None
    koha.unlink(link)
    assert koha.category(DemoPatron.CHILD) == "K"


def test_a_second_card_moves_nothing_and_the_last_one_to_go_moves_back(koha):
    first, second = koha.link(koha.place.card()), koha.link(koha.place.card())
    assert koha.move(second) is None
    koha.unlink(first)
    assert koha.category() == "PT12"
    koha.unlink(second)
    assert koha.category() == "PT"


def test_a_failed_move_does_not_undo_the_link_and_is_made_later(koha, server):
    allowed = server.permissions
    server.permissions = frozenset({"borrowers:list_borrowers", "borrowers:edit_borrowers"})
    link = koha.link(koha.place.card())
    failed = koha.move(link)
    assert (failed.state, failed.problem) == (MoveState.FAILED, CategoryRefused.slug)
    assert koha.category() == "PT"
    (again,) = koha.reconcile()
    assert (again.action, again.problem) == (ReconcileAction.FAILED, CategoryRefused.slug)
    assert koha.move(link).attempts == 2
    assert len(koha.place.audit(AuditTag.CATEGORY_MOVE_FAILED)) == 1  # told once, not every night
    server.permissions = allowed
    (foreseen,) = koha.reconcile(dry_run=True)
    assert (foreseen.action, koha.category()) == (ReconcileAction.MOVED, "PT")
    (made,) = koha.reconcile()
    assert (made.action, koha.category()) == (ReconcileAction.MOVED, "PT12")
    assert koha.reconcile() == [
        replace(made, action=ReconcileAction.IN_ORDER, from_category=None, to_category=None)
    ]


def test_koha_in_maintenance_at_the_end_of_a_link_is_made_up_for(koha, server):
    link = koha.link(koha.place.card())
    server.in_maintenance = True
    koha.unlink(link)
    assert koha.move(link, BACK).problem == KohaNotReachable.slug
    assert [result.problem for result in koha.reconcile()] == [KohaNotReachable.slug]
    server.in_maintenance = False
    koha.reconcile()
    assert koha.category() == "PT"
    assert koha.reconcile() == []


def test_a_category_that_koha_does_not_know_is_refused_and_seen(koha):
    koha.place.environment.libraries[koha.place.library] = replace(
        koha.place.environment.libraries[koha.place.library], linked_category={"PT": "NONE"}
    )
    patron = koha.directory.find_by_cardnumber(DemoPatron.FINE.value)
    preview = koha.categories.preview(koha.place.library, patron)
    assert preview.side_effects == (SideEffect.CATEGORY_MISSING,)
    link = koha.link(koha.place.card())
    assert koha.move(link).problem == CategoryRefused.slug


def test_a_patron_whom_staff_moved_is_left_alone_and_listed(koha):
    link = koha.link(koha.place.card())
    koha.put(category_id="VI")
    for _ in range(2):
        (result,) = koha.reconcile()
        assert (result.action, koha.category()) == (ReconcileAction.LEFT_ALONE, "VI")
    assert len(koha.place.audit(AuditTag.CATEGORY_LEFT_ALONE)) == 1
    koha.unlink(link)
    assert koha.category() == "VI"
    assert koha.move(link, BACK) is None
    koha.put(category_id="PT")
    koha.link(koha.place.card())
    assert koha.category() == "PT12"


def test_a_patron_whom_staff_moved_before_the_end_of_the_link_stays_there(koha):
    link = koha.link(koha.place.card())
    koha.put(category_id="VI")
    koha.unlink(link)
    assert koha.move(link, BACK).state is MoveState.LEFT_ALONE
    assert koha.category() == "VI"


def test_a_link_that_ran_out_moves_back_at_the_next_reconciliation(koha):
    link = koha.link(koha.place.card(CardProfile.EXPIRES_SOON))
    koha.place.clock.now = link.not_after + timedelta(seconds=1)
    (result,) = koha.reconcile()
    assert (result.from_category, result.to_category, koha.category()) == ("PT12", "PT", "PT")


def test_a_patron_linked_before_the_table_was_written_is_moved_by_the_reconciliation(koha):
    libraries, library = koha.place.environment.libraries, koha.place.library
    libraries[library] = replace(libraries[library], linked_category={})
    link = koha.link(koha.place.card())
    assert koha.move(link) is None
    libraries[library] = replace(libraries[library], linked_category=TABLE)
    (result,) = koha.reconcile()
    assert (result.action, koha.category()) == (ReconcileAction.MOVED, "PT12")


def test_a_patron_deleted_in_koha_is_nobody_to_move(koha):
    link = koha.link(koha.place.card())
    koha.state.remove_patron(koha.patron().patron_id)
    (result,) = koha.reconcile()
    assert (result.action, result.problem) == (ReconcileAction.LEFT_ALONE, "patron-not-found")
    koha.unlink(link)
    assert koha.move(link, BACK).state is MoveState.LEFT_ALONE


def test_a_patron_changed_at_the_same_moment_is_read_again(koha, monkeypatch):
    real, tries = koha.directory.move, []

    def change_first(patron, category_id):
        tries.append(patron)
        if len(tries) == 1:
            raise PatronChanged
        real(patron, category_id)

    monkeypatch.setattr(koha.directory, "move", change_first)
    link = koha.link(koha.place.card())
    assert (len(tries), koha.move(link).state) == (2, MoveState.DONE)


def test_a_patron_who_never_stands_still_is_tried_again_later(koha, monkeypatch):
    def change(patron, category_id):
        raise PatronChanged

    monkeypatch.setattr(koha.directory, "move", change)
    assert koha.move(koha.link(koha.place.card())).problem == PatronChanged.slug


def test_a_link_that_ends_while_its_move_is_on_the_way_leaves_the_patron_moved_back(koha, monkeypatch):
    real, links = koha.directory.move, []

    def end_the_link_first(patron, category_id):
        monkeypatch.setattr(koha.directory, "move", real)
        with koha.place.store.transaction() as transaction:
            links.extend(transaction.open_links_of_patron(koha.place.library, patron.patron_id))
        koha.unlink(links[0])
        real(patron, category_id)

    monkeypatch.setattr(koha.directory, "move", end_the_link_first)
    link = koha.link(koha.place.card())
    assert koha.move(link).state is MoveState.SUPERSEDED
    assert koha.category() == "PT"


def test_a_reconciliation_stops_where_koha_stays_silent(koha, server):
    for patron in (DemoPatron.FINE, DemoPatron.SECOND, DemoPatron.CHILD, DemoPatron.EXPIRES_TODAY):
        koha.link(koha.place.card(), patron)
    server.in_maintenance = True
    results = koha.categories.reconcile(koha.place.library, koha.place.command, dry_run=False)
    assert [next(results).problem for _ in range(3)] == [KohaNotReachable.slug] * 3
    with pytest.raises(KohaNotReachable):
        next(results)


def test_a_library_without_rest_has_nothing_to_reconcile(place):
    with pytest.raises(CategoryRefused):
        list(CategoryService(place.environment).reconcile(place.library, place.command, dry_run=True))


# The command


@pytest.fixture
def ready(installation, server):
    write_new_key_file(installation.key_file, token_bytes)
    engine = open_engine(installation.load().database.url)
    upgrade(engine)
    engine.dispose()
    installation.koha_url = server.base_url
    installation.write()
    return installation


def test_the_command_says_that_all_is_in_order(ready):
    result = reconcile(ready)
    assert result.stderr == ""
    assert (result.exit_code, result.stdout) == (
        0,
        "in_order 0, upgraded 0, moved 0, left_alone 0, failed 0\n",
    )
    result = reconcile(ready, "--dry-run", "--json")
    assert json.loads(result.stdout) == {"dry_run": True, "libraries": {"central": []}}


def test_the_command_refuses_an_unknown_library(ready):
    result = reconcile(ready, "--library", "x")
    assert result.exit_code == 1
    assert "library-not-found" in result.stderr


@pytest.fixture
def stranded(ready, state):
    """An installation with a linked patron whose move has failed."""
    patron = state.find_patron_by_identifier(DemoPatron.FINE.value)
    ready.path.write_text(
        ready.path.read_text("utf-8").replace(
            "[library.koha]", '[library.linked_category]\nPT = "PT12"\n[library.koha]'
        ),
        "utf-8",
    )
    engine = open_engine(ready.load().database.url)
    key_id = ready.key_file.read_text().split()[0]
    link = CardLink(
        "link-1",
        "central",
        patron.patron_id,
        IdentifierKind.SERIAL_NUMBER,
        LinkState.ACTIVE,
        datetime.now(UTC) + timedelta(days=1),
        datetime.now(UTC),
        "l1",
    )
    failed = replace(
        move(LINKED, MoveState.FAILED, "link-1"),
        patron_id=patron.patron_id,
        created_at=link.linked_at,
        updated_at=link.linked_at,
    )
    with SqlStore(engine).transaction() as transaction:
        transaction.add_link(
            link,
            CardIdentifier(IdentifierKind.SERIAL_NUMBER, key_id, "d1"),
            EncryptedValue(key_id, b"n" * 12, b"c" * 20),
        )
        transaction.add_category_move(failed)
    engine.dispose()
    return ready


def reconcile(installation, *options):
    return CliRunner().invoke(main, ["--config", str(installation.path), "categories", "reconcile", *options])


def test_the_command_tells_each_move_and_foresees_it_in_a_dry_run(stranded, state):
    patron_id = state.find_patron_by_identifier(DemoPatron.FINE.value).patron_id
    line = f"central\t{patron_id}\tmoved\tPT -> PT12\t-"
    foreseen = reconcile(stranded, "--dry-run")
    assert foreseen.stdout.splitlines()[0] == line
    assert foreseen.stdout.splitlines()[1].startswith("dry run, nothing was written: ")
    assert state.get_patron(patron_id).category_id == "PT"
    made = reconcile(stranded)
    assert (made.exit_code, made.stdout.splitlines()[0]) == (0, line)
    assert state.get_patron(patron_id).category_id == "PT12"


def test_the_command_ends_with_1_where_a_move_fails(stranded, server):
    server.permissions = frozenset({"borrowers:list_borrowers"})
    result = reconcile(stranded, "--json")
    assert result.exit_code == 1
    (patron,) = json.loads(result.stdout)["libraries"]["central"]
    assert (patron["action"], patron["problem"]) == ("failed", "category-refused")
