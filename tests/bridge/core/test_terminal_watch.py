"""Waiting for a change at a terminal: told soon, few questions asked, nobody left waiting."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import event

from bridge.models import OutputState, ReaderState, TerminalReport
from bridge.terminals.service import SEEN_INTERVAL, TerminalService
from bridge.terminals.watch import MAXIMUM_WAITING, MAXIMUM_WAITING_AT_PLACE

SOON = 20.0
LONG = 60.0
REPORT = TerminalReport(ReaderState.MISSING, OutputState.NONE, "0.1.0")


def service(place):
    return TerminalService(place.environment, place.tokens.idle_limit)


class Waiting:
    """A wait in a thread of its own."""

    def __init__(self, terminals, terminal, known=None, seconds=LONG):
        self.result = None
        self.seconds = None
        self._arguments = terminals, terminal, known, seconds
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self):
        terminals, *arguments = self._arguments
        begun = time.monotonic()
        self.result = terminals.wait(*arguments)
        self.seconds = time.monotonic() - begun

    def end(self):
        self._thread.join(SOON)
        assert not self._thread.is_alive(), "still waiting"
        return self.result


def until(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def looks(terminals):
    return terminals.watch._looks  # how often it has looked is told to nobody else


def wait_for_a_look(terminals):
    seen = looks(terminals)
    until(lambda: looks(terminals) > seen)


def test_a_started_and_a_cancelled_link_are_told_at_once(place):
    terminals = service(place)
    waiting = Waiting(terminals, place.counter)
    wait_for_a_look(terminals)
    request = place.start()
    assert waiting.end() is True
    assert terminals.open_subject(place.counter) == request.request_id
    waiting = Waiting(terminals, place.counter, request.request_id)
    wait_for_a_look(terminals)
    place.registration.cancel(place.librarian, request.request_id)
    assert waiting.end() is True
    assert terminals.open_subject(place.counter) is None


def test_a_change_of_another_process_is_seen(place, key_ring, clock, pki, make_place):
    from bridge.store import SqlStore, open_engine  # the other process, in effect

    other_store = SqlStore(open_engine(place.url))
    other = make_place(other_store, key_ring, clock, pki)
    other.counter, other.librarian = place.counter, place.librarian
    terminals = service(place)
    waiting = Waiting(terminals, place.counter)
    wait_for_a_look(terminals)
    other.start()
    assert waiting.end() is True
    assert waiting.seconds < LONG / 2
    other_store.dispose()


def test_the_session_of_a_machine_is_open_until_it_is_closed(place):
    terminals = service(place)
    card = place.card()
    place.link(card)
    opened = place.borrow(card)
    assert terminals.open_subject(place.self_check) == opened.session_id
    assert terminals.open_subject(place.second_self_check) is None
    waiting = Waiting(terminals, place.self_check, opened.session_id)
    wait_for_a_look(terminals)
    place.borrowing.close(opened.session_id, "end_patron_session")
    assert waiting.end() is True
    assert terminals.open_subject(place.self_check) is None


@pytest.mark.parametrize("used", [False, True])
def test_a_session_that_nobody_uses_is_over_by_itself(place, used):
    terminals = service(place)
    card = place.card()
    place.link(card)
    opened = place.borrow(card)
    if used:
        place.clock.advance(seconds=60)
        place.borrowing.touch({opened.session_id: place.clock()})
    waiting = Waiting(terminals, place.self_check, opened.session_id)
    wait_for_a_look(terminals)
    place.clock.now += place.tokens.idle_limit - timedelta(seconds=1)
    wait_for_a_look(terminals)
    assert waiting.result is None
    place.clock.advance(seconds=1)
    assert waiting.end() is True


def test_a_request_that_runs_out_is_told(place):
    terminals = service(place)
    request = place.start()
    waiting = Waiting(terminals, place.counter, request.request_id)
    wait_for_a_look(terminals)
    place.clock.advance(minutes=5)
    assert waiting.end() is True


def test_a_wait_ends_after_its_time(place):
    waiting = Waiting(service(place), place.counter, seconds=0.3)
    assert waiting.end() is True
    assert 0.3 <= waiting.seconds < SOON


def test_many_wait_and_one_asks(place_on_sqlite):
    place = place_on_sqlite  # PostgreSQL has no counter that is quicker than looking
    terminals = service(place)
    places = [
        place.counter,
        place.second_counter,
        place.self_check,
        place.second_self_check,
    ]
    asked = Counter()

    def count(_connection, _cursor, statement, *_more):
        asked[statement.split()[0]] += 1

    engine = place.store._engine  # to count what reaches the database
    waits = [Waiting(terminals, terminal) for terminal in places for _ in range(2)]
    wait_for_a_look(terminals)
    wait_for_a_look(terminals)
    event.listen(engine, "before_cursor_execute", count)
    for _ in range(5):
        wait_for_a_look(terminals)
    assert asked["SELECT"] == 0, "nothing has changed, so nothing is read"
    request = place.start()
    assert waits[0].end()
    assert waits[1].end()
    event.remove(engine, "before_cursor_execute", count)
    assert [each.result for each in waits[2:]] == [None] * 6
    terminals.watch.end_when(lambda: True)
    assert [each.end() for each in waits] == [True] * 8
    assert request.terminal_id == place.counter.terminal_id


def test_when_the_one_who_looks_leaves_another_looks(place):
    terminals = service(place)
    first = Waiting(terminals, place.counter, seconds=0.3)
    until(lambda: looks(terminals) > 0)
    second = Waiting(terminals, place.second_counter)
    first.end()
    wait_for_a_look(terminals)
    place.start(place.second_counter)
    assert second.end() is True
    assert second.seconds < LONG / 2


def test_a_fault_of_the_database_ends_a_wait_with_it_and_spoils_nothing(place, monkeypatch):
    terminals = service(place)
    faults = []

    def fail():
        faults.append(1)
        raise OSError

    monkeypatch.setattr(terminals.watch, "_read", fail)
    with pytest.raises(OSError):
        terminals.wait(place.counter, None, LONG)
    monkeypatch.undo()
    waiting = Waiting(terminals, place.counter)
    wait_for_a_look(terminals)
    place.start()
    assert waiting.end() is True
    assert faults == [1]


def test_no_more_wait_than_there_are_places(place):
    terminals = service(place)
    at_one = [Waiting(terminals, place.counter) for _ in range(MAXIMUM_WAITING_AT_PLACE)]
    until(lambda: terminals.watch._waiting.total() == MAXIMUM_WAITING_AT_PLACE)
    assert terminals.wait(place.counter, None, LONG) is False, "of one terminal"
    others = [
        Waiting(terminals, place.add_terminal(f"counter-{number}", place.counter.kind))
        for number in range(10, 10 + MAXIMUM_WAITING - MAXIMUM_WAITING_AT_PLACE)
    ]
    until(lambda: terminals.watch._waiting.total() == MAXIMUM_WAITING)
    assert terminals.wait(place.second_counter, None, LONG) is False, "of all"
    terminals.watch.end_when(lambda: True)
    assert all(each.end() for each in [*at_one, *others])
    assert terminals.watch._waiting == {}


# -- what a terminal tells


def reports(place):
    return {each.terminal_id: (each.last_seen_at, each.report) for each in place.staff.terminals("central")}


def test_what_an_agent_tells_is_kept_when_it_changes_and_every_half_minute(place):
    terminals = service(place)
    assert reports(place)["counter-1"] == (None, None)
    terminals.report(place.counter, REPORT)
    began = place.clock()
    assert reports(place)["counter-1"] == (began, REPORT)
    place.clock.advance(seconds=10)
    terminals.report(place.counter, REPORT)
    assert reports(place)["counter-1"] == (began, REPORT), "not written: nothing is new"
    changed = TerminalReport(ReaderState.READY, OutputState.NONE, "0.1.0")
    terminals.report(place.counter, changed)
    assert reports(place)["counter-1"] == (place.clock(), changed)
    place.clock.now += SEEN_INTERVAL
    terminals.report(place.counter, changed)
    assert reports(place)["counter-1"] == (place.clock(), changed)
    assert reports(place)["counter-2"] == (None, None)


def test_a_call_is_written_down_every_half_minute(place):
    terminals = service(place)
    began = place.clock()
    for seconds in (0, 10, 19):
        place.clock.advance(seconds=seconds)
        terminals.seen(place.counter)
        assert reports(place)["counter-1"] == (began, None)
    place.clock.advance(seconds=1)
    terminals.seen(place.counter)
    assert reports(place)["counter-1"] == (place.clock(), None)


def test_nothing_is_kept_of_a_removed_terminal(place):
    service(place).report(place.counter, REPORT)
    place.staff.remove_terminal(place.command, library_id="central", terminal_id="counter-1")
    service(place).report(place.counter, REPORT)
    place.add_terminal("counter-1", place.counter.kind)
    assert reports(place)["counter-1"] == (None, None)
